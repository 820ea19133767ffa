/**
 * Owns how objects of the cluster become requests for a host: where and as whom to connect, what to run, what to clean
 * (hosts/Protocol). Reads Secrets through the KubeClient port; decides nothing.
 */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { machineDataSecretName } from "../api/ClusterApiView.ts"
import { Secrets, secretBytes, secretText } from "../api/Core.ts"
import * as Names from "../api/Names.ts"
import { HOST_DEFAULTS, type RemoteMachine } from "../api/RemoteMachine.ts"
import { type HostFacts, type InstanceData, instanceData } from "../domain/bootstrap/HostFacts.ts"
import { commandsAsScript, type Payload } from "../domain/bootstrap/Payload.ts"
import { parseBootstrapData } from "../domain/bootstrap/ReadBootstrap.ts"
import { payloadSecrets } from "../domain/bootstrap/Secrets.ts"
import type { Claim, RunRecord } from "../domain/Claim.ts"
import { cleaning, installFacts } from "../domain/Cleaning.ts"
import type { Failure } from "../domain/Machine.ts"
import { redactor } from "../domain/Redaction.ts"
import type { CleanRequest, HostAccess, HostReport, RunRequest } from "../hosts/HostRuns.ts"
import type { Tenant } from "../hosts/Protocol.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import type { HostKeyTrust } from "../ssh/HostKeys.ts"
import type { SshLogin } from "../ssh/SshClient.ts"
import { hostTrust, jumpHostTrust, type KeySecret } from "./HostPins.ts"
import { inputFailure, readFailure } from "./MachineFailures.ts"
import type { Surroundings } from "./MachineInputs.ts"
import { keyOf } from "./Objects.ts"

/** One step of a cleaning may run this long, seconds. */
export const CLEAN_STEP_TIMEOUT_SECONDS = 600

/** The owner Machine's bootstrap data as it is in its Secret. */
export interface BootstrapSource {
  readonly data: Uint8Array
  readonly format: string | undefined
  /** sha256 hex of the data and its format. */
  readonly dataHash: string
  /** Of the Secret. */
  readonly at: string
}

export interface Bootstrap {
  readonly payload: Payload
  readonly dataHash: string
  /** What its templates were told; absent: it asks nothing. */
  readonly facts?: HostFacts
}

export const tenant = (machine: RemoteMachine, claim: Claim, fence: number, around: Surroundings): Tenant => ({
  claim: claim.id,
  machine: keyOf(machine),
  // Gone already, as in a namespace deletion: the claim alone names the tenant then.
  cluster: around.cluster?.metadata.uid ?? "unknown",
  fence
})

interface Key extends KeySecret {
  readonly privateKey: Redacted.Redacted<string>
  readonly passphrase?: Redacted.Redacted<string>
}

const readKey = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  namespace: string,
  name: string
): Effect.fn.Return<Key, Failure> {
  const secret = yield* kube
    .get(Secrets, { namespace, name })
    .pipe(Effect.mapError((error) => readFailure("SSH Key Secret", error)))
  const key = secretText(secret, Names.SECRET_VALUE_KEY)
  if (key === undefined || key.trim() === "")
    return yield* Effect.fail(
      inputFailure(
        "SSHKeySecretInvalid",
        `Secret ${namespace}/${name} has no key "${Names.SECRET_VALUE_KEY}" with an SSH private key in it.`
      )
    )
  const passphrase = secretText(secret, Names.SECRET_PASSPHRASE_KEY)?.replace(/\r?\n$/, "")
  return {
    name: `${namespace}/${name}`,
    knownHosts: secretText(secret, Names.SECRET_KNOWN_HOSTS_KEY),
    privateKey: Redacted.make(key),
    ...(passphrase === undefined || passphrase === "" ? {} : { passphrase: Redacted.make(passphrase) })
  }
})

const login = ({ privateKey, passphrase }: Key, hostKeys: HostKeyTrust) => ({
  privateKey,
  ...(passphrase === undefined ? {} : { passphrase }),
  hostKeys
})

/** The chain of jump hosts, each with the key of its own Secret or, without one, the host's. */
const jumpHosts = Effect.fnUntraced(function* (kube: KubeClientShape, machine: RemoteMachine, own: Key) {
  const namespace = machine.metadata.namespace ?? ""
  const chain: Array<SshLogin> = []
  for (const jump of machine.spec.jumpHosts ?? []) {
    const name = jump.sshKeyRef?.name ?? ""
    const key = name === "" ? own : yield* readKey(kube, namespace, name)
    const trust = yield* Effect.fromResult(jumpHostTrust(machine, jump, key))
    chain.push({
      address: jump.address,
      port: jump.port ?? HOST_DEFAULTS.port,
      user: jump.user ?? HOST_DEFAULTS.user,
      ...login(key, trust)
    })
  }
  return chain
})

/** Where and as whom; the keys are read each time, so that a changed Secret is used at once. */
export const access = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  machine: RemoteMachine
): Effect.fn.Return<HostAccess, Failure> {
  const { address, port, user, useSudo, sshKeyRef } = machine.spec
  const at = keyOf(machine)
  if (address === undefined)
    return yield* Effect.fail(inputFailure("AddressMissing", `${at} has no spec.address, and no pool to get one from.`))
  const name = sshKeyRef?.name ?? ""
  if (name === "")
    return yield* Effect.fail(
      inputFailure("SSHKeyRefMissing", `${at} has no spec.sshKeyRef.name: name the Secret that holds the private key.`)
    )
  const key = yield* readKey(kube, machine.metadata.namespace ?? "", name)
  const chain = yield* jumpHosts(kube, machine, key)
  return {
    target: {
      address,
      port: port ?? HOST_DEFAULTS.port,
      user: user ?? HOST_DEFAULTS.user,
      ...login(key, yield* Effect.fromResult(hostTrust(machine, key))),
      ...(chain.length === 0 ? {} : { jumpHosts: chain })
    },
    useSudo: useSudo ?? HOST_DEFAULTS.useSudo
  }
})

/** Every Secret that connecting needs. */
export const keySecrets = ({ spec }: RemoteMachine): ReadonlyArray<string> =>
  [
    ...new Set([spec.sshKeyRef?.name ?? "", ...(spec.jumpHosts ?? []).map((jump) => jump.sshKeyRef?.name ?? "")])
  ].filter((name) => name !== "")

const invalid = (at: string, why: string): Failure =>
  inputFailure("BootstrapDataInvalid", `Bootstrap data in Secret ${at} can't be run: ${why}`)

export const source = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  machine: RemoteMachine,
  around: Surroundings
): Effect.fn.Return<BootstrapSource, Failure> {
  const name = around.owner === undefined ? undefined : machineDataSecretName(around.owner)
  if (name === undefined)
    return yield* Effect.fail(
      inputFailure("BootstrapDataNotFound", `The owner Machine of ${keyOf(machine)} has no bootstrap data yet.`)
    )
  const namespace = machine.metadata.namespace ?? ""
  const secret = yield* kube
    .get(Secrets, { namespace, name })
    .pipe(Effect.mapError((error) => readFailure("Bootstrap Data Secret", error)))
  const data = secretBytes(secret, Names.SECRET_VALUE_KEY)
  const format = secretText(secret, Names.SECRET_FORMAT_KEY)
  const at = `${namespace}/${name}`
  if (data === undefined || data.length === 0)
    return yield* Effect.fail(invalid(at, `it has no key "${Names.SECRET_VALUE_KEY}".`))
  const dataHash = createHash("sha256")
    .update(format ?? "cloud-config")
    .update("\0")
    .update(data)
    .digest("hex")
  return { data, format, dataHash, at }
})

/** The zone as people label it: on the machine, where a pool host's labels come to. */
const ZONE_LABEL = "topology.kubernetes.io/zone"

/** The claim, not the object's uid: it outlives `clusterctl move`, and another tenancy has another. */
const instanceOf = (machine: RemoteMachine, claim: Claim, facts: HostFacts): InstanceData => {
  const zone = machine.metadata.labels?.[ZONE_LABEL]
  return instanceData({
    facts,
    id: claim.id,
    name: machine.metadata.name,
    address: machine.spec.address ?? "",
    ...(zone === undefined ? {} : { zone })
  })
}

export const factsOf = ({ hostname, system }: HostReport): HostFacts => ({ hostname, ...system })

/**
 * The data as files and steps; nothing has touched the host yet. `undefined`: it is a template that needs `facts`, which
 * are those of the run once there is one.
 */
export const bootstrap = Effect.fnUntraced(function* (
  { data, format, dataHash, at }: BootstrapSource,
  machine: RemoteMachine,
  claim: Claim,
  facts: HostFacts | undefined
): Effect.fn.Return<Bootstrap | undefined, Failure> {
  const parsed = parseBootstrapData(data, format)
  if (Result.isSuccess(parsed)) return { payload: parsed.success, dataHash }
  if (parsed.failure.reason !== "FactsNeeded") return yield* Effect.fail(invalid(at, parsed.failure.message))
  if (facts === undefined) return undefined
  const rendered = parseBootstrapData(data, format, instanceOf(machine, claim, facts))
  if (Result.isFailure(rendered)) return yield* Effect.fail(invalid(at, rendered.failure.message))
  return { payload: rendered.success, dataHash, facts }
})

/** Takes what we put on the host, and what we reach it with, out of what it says. */
export const redaction = (data: Bootstrap | undefined, access: HostAccess | undefined): ((text: string) => string) =>
  redactor([
    ...(data === undefined ? [] : payloadSecrets(data.payload)),
    ...(access === undefined ? [] : [access.target, ...(access.target.jumpHosts ?? [])]).flatMap(
      ({ passphrase, privateKey }) => [
        Redacted.value(privateKey),
        ...(passphrase === undefined ? [] : [Redacted.value(passphrase)])
      ]
    )
  ])

const workingDirOf = ({ spec }: RemoteMachine): string => spec.workingDir || HOST_DEFAULTS.workingDir

/** What cleaning will need one day, taken down before anything is changed. */
export const runRecord = (around: Surroundings, data: Bootstrap, fence: number): RunRecord => {
  const facts = installFacts(data.payload)
  const kind = around.owner?.spec?.bootstrap?.configRef?.kind ?? ""
  return {
    fence,
    touched: true,
    bootstrapKind: kind,
    dataHash: data.dataHash,
    k0sInstallDir: facts?.k0sInstallDir ?? "/usr/local/bin",
    role: facts?.role ?? (kind === "K0sControllerConfig" ? "controller" : "worker"),
    ...(facts?.kubeletRootDir === undefined ? {} : { kubeletRootDir: facts.kubeletRootDir }),
    ...(facts?.dataDir === undefined ? {} : { dataDir: facts.dataDir }),
    ...(facts?.workingDir === undefined ? {} : { workingDir: facts.workingDir }),
    ...(facts?.downloadedK0s === true ? { downloadedK0s: true } : {}),
    ...(data.facts === undefined ? {} : { facts: data.facts })
  }
}

export const runRequest = (
  machine: RemoteMachine,
  who: Tenant,
  data: Bootstrap,
  attempt: number,
  stepTimeoutSeconds: number
): RunRequest => {
  const { files, steps } = data.payload
  return {
    verb: "run",
    tenant: who,
    dataHash: data.dataHash,
    attempt,
    workingDir: workingDirOf(machine),
    files,
    steps: machine.spec.commandsAsScript === true && steps.length > 0 ? [commandsAsScript(steps)] : steps,
    sentinel: true,
    stepTimeoutSeconds
  }
}

/** k0s was put there by us (or k0smotron): an adopted machine's kind is unknown, and k0smotron knew no other. */
const isK0s = (run: RunRecord): boolean => run.bootstrapKind === "" || run.bootstrapKind.startsWith("K0s")

/** Nobody knows how to clean: another bootstrap provider ran, and no commands were given. */
export const isUncleanable = (machine: RemoteMachine, run: RunRecord): boolean =>
  !isK0s(run) &&
  (machine.spec.customCleanUpCommands ?? []).length === 0 &&
  machine.metadata.annotations?.[Names.REUSE_WITHOUT_CLEANING_ANNOTATION] === undefined

export const cleanRequest = (
  machine: RemoteMachine,
  who: Tenant,
  run: RunRecord,
  attempt: number,
  adopt: boolean
): CleanRequest => {
  const { steps, remove, verify } = cleaning({
    bootstrap: isK0s(run) ? "k0s" : "other",
    role: run.role,
    k0sInstallDir: run.k0sInstallDir,
    kubeletRootDir: run.kubeletRootDir,
    dataDir: run.dataDir,
    workingDir: run.workingDir,
    downloadedK0s: run.downloadedK0s,
    tries: attempt,
    customCleanUpCommands: machine.spec.customCleanUpCommands
  })
  return {
    verb: "clean",
    tenant: who,
    attempt,
    workingDir: workingDirOf(machine),
    // Every step of a cleaning runs, whatever became of the one before.
    steps: machine.spec.commandsAsScript === true && steps.length > 0 ? [commandsAsScript(steps, "keepGoing")] : steps,
    remove,
    verify,
    stepTimeoutSeconds: CLEAN_STEP_TIMEOUT_SECONDS,
    ...(adopt ? { adopt: true } : {})
  }
}
