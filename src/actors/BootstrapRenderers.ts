/**
 * Owns what differs between the kinds of bootstrap config: what is refused, which token lets the machine in, and what the
 * data is rendered from. Another kind is another `Renderer` here. Pure; inputs are read by BootstrapSources.
 */
import * as Result from "effect/Result"
import {
  type K0sControllerConfig,
  K0sControllerConfigs,
  type K0sWorkerConfig,
  K0sWorkerConfigs
} from "../api/K0sConfigs.ts"
import type { Kind } from "../api/Kind.ts"
import { bootstrapData, type Rendered } from "../domain/BootstrapData.ts"
import { workerBootstrap } from "../domain/BootstrapScript.ts"
import type { FileInput } from "../domain/bootstrap/CommonInput.ts"
import type { Ingress } from "../domain/bootstrap/Ingress.ts"
import {
  type BootstrapToken,
  controllerTokenSecret,
  encodeJoinToken,
  type TokenSecret,
  workerTokenSecret
} from "../domain/JoinToken.ts"

export type BootstrapConfig = K0sWorkerConfig | K0sControllerConfig
export type BootstrapKind = "K0sWorkerConfig" | "K0sControllerConfig"

/** Everything that is rendered but the config itself and the token. */
export interface Inputs {
  readonly machineName: string
  /** Normalised; undefined: the latest. */
  readonly version: string | undefined
  /** PEM. */
  readonly ca: string
  /** Where the machine joins. */
  readonly server: string
  readonly files: ReadonlyArray<FileInput>
  readonly ingress: Ingress | undefined
  /** As it was given; gzip is fine. */
  readonly customUserData: Uint8Array | undefined
}

export interface Refusal {
  readonly reason: string
  readonly message: string
}

export interface Renderer {
  readonly kind: Kind<BootstrapConfig>
  /** What no retry and no other object can help: the config must be changed. */
  readonly refusal: (config: BootstrapConfig) => Refusal | undefined
  readonly tokenSecret: (token: BootstrapToken, expiresMillis: number, machine: string) => TokenSecret
  readonly render: (
    config: BootstrapConfig,
    inputs: Inputs,
    token: BootstrapToken
  ) => Result.Result<Rendered, { readonly reason?: string; readonly message: string }>
}

export const NOT_SUPPORTED_YET = "NotSupportedYet"
const notYet = (what: string, instead: string): Refusal => ({
  reason: NOT_SUPPORTED_YET,
  message: `${what} is not supported yet: ${instead}`
})

const worker: Renderer = {
  kind: K0sWorkerConfigs,
  refusal: () => undefined,
  tokenSecret: workerTokenSecret,
  render: (config, inputs, token) => {
    const { spec } = config
    const payload = workerBootstrap({
      machineName: inputs.machineName,
      version: inputs.version,
      joinToken: encodeJoinToken({ server: inputs.server, ca: inputs.ca, user: "kubelet-bootstrap", token }),
      args: spec?.args,
      files: inputs.files,
      preStartCommands: spec?.preStartCommands,
      postStartCommands: spec?.postStartCommands,
      preInstalledK0s: spec?.preInstalledK0s,
      downloadURL: spec?.downloadURL,
      k0sInstallDir: spec?.k0sInstallDir,
      useSystemHostname: spec?.useSystemHostname,
      workingDir: spec?.workingDir,
      ingress: inputs.ingress
    })
    return Result.flatMap(payload, (done) =>
      bootstrapData(done, { customUserData: inputs.customUserData, ignition: spec?.ignition })
    )
  }
}

const controllerRefusal = notYet(
  "K0sControllerConfig",
  "use a K0smotronControlPlane, or let k0smotron's bootstrap provider make the controllers"
)

const controller: Renderer = {
  kind: K0sControllerConfigs,
  refusal: () => controllerRefusal,
  tokenSecret: controllerTokenSecret,
  render: () => Result.fail(controllerRefusal)
}

export const renderers: Readonly<Record<BootstrapKind, Renderer>> = {
  K0sWorkerConfig: worker,
  K0sControllerConfig: controller
}
