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
import type { CommonInput, FileInput } from "../domain/bootstrap/CommonInput.ts"
import type { Ingress } from "../domain/bootstrap/Ingress.ts"
import type { Payload } from "../domain/bootstrap/Payload.ts"
import { type ClusterCertificates, controllerBootstrap } from "../domain/ControllerScript.ts"
import {
  type BootstrapToken,
  controllerTokenSecret,
  encodeJoinToken,
  type JoinToken,
  type TokenSecret,
  workerTokenSecret
} from "../domain/JoinToken.ts"
import { labelValue, qualifiedName } from "../domain/QualifiedName.ts"

export type BootstrapConfig = K0sWorkerConfig | K0sControllerConfig
export type BootstrapKind = "K0sWorkerConfig" | "K0sControllerConfig"
export type BootstrapRole = "worker" | "controller"

interface CommonInputs {
  /** Undefined: of a MachinePool. */
  readonly machineName: string | undefined
  /** Normalised; undefined: the latest. */
  readonly version: string | undefined
  /** PEM. */
  readonly ca: string
  readonly files: ReadonlyArray<FileInput>
  /** As it was given; gzip is fine. */
  readonly customUserData: Uint8Array | undefined
}

export interface WorkerInputs extends CommonInputs {
  readonly role: "worker"
  /** Where the machine joins. */
  readonly server: string
  readonly ingress: Ingress | undefined
}

export interface ControllerInputs extends CommonInputs {
  readonly role: "controller"
  readonly join:
    | { readonly as: "first"; readonly certificates: ClusterCertificates }
    | { readonly as: "joining"; readonly server: string }
}

/** Everything that is rendered but the config itself and the token. */
export type Inputs = WorkerInputs | ControllerInputs

/** The one that starts a cluster has nobody to show a token to. */
export const needsToken = (inputs: Inputs): boolean => inputs.role === "worker" || inputs.join.as === "joining"

export interface Refusal {
  readonly reason: string
  readonly message: string
}

export interface Renderer {
  readonly kind: Kind<BootstrapConfig>
  readonly role: BootstrapRole
  /** What no retry and no other object can help: the config must be changed. */
  readonly refusal: (config: BootstrapConfig) => Refusal | undefined
  /** `whose`: kind, namespace and name of who joins with it. */
  readonly tokenSecret: (token: BootstrapToken, expiresMillis: number, whose: string) => TokenSecret
}

/** k0s' own configuration, which only controllers have. */
export const k0sConfigOf = (config: BootstrapConfig): unknown =>
  config.spec !== undefined && "k0s" in config.spec ? config.spec.k0s : undefined

const tunneling = (config: BootstrapConfig): Refusal | undefined =>
  config.spec !== undefined && "tunneling" in config.spec && config.spec.tunneling?.enabled === true
    ? {
        reason: "TunnelingNotSupported",
        message:
          "spec.tunneling is not supported: Machinist runs no tunnel (frp). Give the control plane an endpoint that " +
          "workers and the management cluster reach, and set spec.tunneling.enabled to false."
      }
    : undefined

export const renderers: Readonly<Record<BootstrapKind, Renderer>> = {
  K0sWorkerConfig: {
    kind: K0sWorkerConfigs,
    role: "worker",
    refusal: () => undefined,
    tokenSecret: workerTokenSecret
  },
  K0sControllerConfig: {
    kind: K0sControllerConfigs,
    role: "controller",
    refusal: tunneling,
    tokenSecret: controllerTokenSecret
  }
}

const commonInput = ({ spec }: BootstrapConfig, inputs: CommonInputs): CommonInput => ({
  machineName: inputs.machineName,
  version: inputs.version,
  args: spec?.args,
  files: inputs.files,
  preStartCommands: spec?.preStartCommands,
  postStartCommands: spec?.postStartCommands,
  preInstalledK0s: spec?.preInstalledK0s,
  downloadURL: spec?.downloadURL,
  k0sInstallDir: spec?.k0sInstallDir,
  useSystemHostname: spec?.useSystemHostname,
  workingDir: spec?.workingDir
})

type Refused = { readonly reason?: string; readonly message: string }

/** The files and steps, before they have a format. */
export const payloadOf = (
  config: BootstrapConfig,
  inputs: Inputs,
  token: BootstrapToken
): Result.Result<Payload, Refused> => {
  const common = commonInput(config, inputs)
  const joinToken = (user: JoinToken["user"], server: string) => encodeJoinToken({ server, ca: inputs.ca, user, token })
  if (inputs.role === "worker") {
    const { ingress, server } = inputs
    return workerBootstrap({ ...common, joinToken: joinToken("kubelet-bootstrap", server), ingress })
  }
  const { join, machineName } = inputs
  if (machineName === undefined) return Result.fail({ message: "A MachinePool can't own a controller" })
  return controllerBootstrap({
    ...common,
    machineName,
    k0sConfig: k0sConfigOf(config),
    join: join.as === "first" ? join : { as: "joining", joinToken: joinToken("controller-bootstrap", join.server) }
  })
}

/** What the API server would refuse only when the token is minted already. */
const badMetadata = ({ spec }: BootstrapConfig): string | undefined => {
  const { annotations = {}, labels = {} } = spec?.secretMetadata ?? {}
  for (const [key, value] of Object.entries(labels)) {
    if (qualifiedName(key) !== undefined) return "spec.secretMetadata.labels has a key that no label can have"
    if (labelValue(value) !== undefined)
      return `spec.secretMetadata.labels has a value for ${key} that no label can have`
  }
  return Object.keys(annotations).some((key) => qualifiedName(key.toLowerCase()) !== undefined)
    ? "spec.secretMetadata.annotations has a key that no annotation can have"
    : undefined
}

export const render = (
  config: BootstrapConfig,
  inputs: Inputs,
  token: BootstrapToken
): Result.Result<Rendered, Refused> => {
  const bad = badMetadata(config)
  if (bad !== undefined) return Result.fail({ message: bad })
  return Result.flatMap(payloadOf(config, inputs, token), (payload) =>
    bootstrapData(payload, { customUserData: inputs.customUserData, ignition: config.spec?.ignition })
  )
}
