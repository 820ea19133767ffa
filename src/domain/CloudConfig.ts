/**
 * Owns nothing itself: the one door to the cloud-config format. Writing is bootstrap/CloudConfigRender.ts, reading
 * bootstrap/CloudConfigParse.ts, errors bootstrap/BootstrapDataError.ts, and what goes in and out bootstrap/Payload.ts.
 */
export { BootstrapDataError, BootstrapDataErrorReason } from "./bootstrap/BootstrapDataError.ts"
export { parseCloudConfig } from "./bootstrap/CloudConfigParse.ts"
export { renderCloudConfig } from "./bootstrap/CloudConfigRender.ts"
export { type BootstrapFile, commandsAsScript, namedStep, type Payload, type Step } from "./bootstrap/Payload.ts"
