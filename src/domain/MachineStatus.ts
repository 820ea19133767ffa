/**
 * Owns how a RemoteMachine's state looks to people and to Cluster API: the status fields and conditions of contract
 * v1beta1 and v1beta2 (CONTRACT section 1), and the durable facts a state wants written in metadata and spec.
 * Pure; when it is written is the actor's.
 */
import type { RunRecord } from "./Claim.ts"
import type { ConditionInput } from "./Conditions.ts"
import type { Failure, Phase, Pins, State, Waiting } from "./Machine.ts"

/** Where the machine is, as its spec says. */
export interface Place {
  readonly address: string
  readonly port: number
}

/** `address:port`, with brackets around an IPv6 address (RFC 3986). */
const authority = ({ address, port }: Place): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`

/** k0smotron's form, but for IPv6, where its own could not be told apart; CAPI only ever compares it with the Node's. */
export const providerIDOf = (place: Place): string => `remote-machine://${authority(place)}`

/** What must be written in metadata and spec before the state is acted on; `undefined` leaves a field alone. */
export interface Durable {
  readonly run?: RunRecord
  readonly providerID?: string
  /** Host keys that were seen first, as the annotations have them. */
  readonly pins?: Pins
  /** `clusterctl move` must wait while a run is in flight. */
  readonly blockMove: boolean
}

export const durable = (state: State, place: Place | undefined): Durable => {
  // The removal of block-move is the one thing that a pause asks for: the run goes on by itself on the host.
  if (state.halted !== undefined) return { blockMove: false }
  return { ...durableOf(state.phase, place), ...(state.pins === undefined ? {} : { pins: state.pins }) }
}

const durableOf = (phase: Phase, place: Place | undefined): Durable => {
  switch (phase._tag) {
    case "Pending":
    case "Claimed":
    case "Deleted":
      return { blockMove: false }
    case "Provisioning":
      return {
        // So that the next leader asks for the same try again, and a person's retry is not taken for an old one.
        run: phase.stepAttempt === 1 ? phase.run : { ...phase.run, stepAttempt: phase.stepAttempt },
        blockMove: true
      }
    case "Ready":
      return place === undefined ? { blockMove: false } : { providerID: providerIDOf(place), blockMove: false }
    case "Cleaning":
      return { run: phase.run, blockMove: false }
  }
}

export interface MachineStatus {
  readonly phase: string
  readonly host?: string
  /** Only ever true: it never goes back (contract v1beta2). */
  readonly ready?: true
  readonly bootstrap?: {
    readonly step: number
    readonly of: number
    readonly progress: string
    readonly name: string
    readonly startedAt?: string
    readonly attempt?: number
  }
  readonly conditions: ReadonlyArray<ConditionInput>
}

export const status = (state: State, place: Place | undefined): MachineStatus => {
  const { phase } = state
  const host = place === undefined ? {} : { host: authority(place) }
  return {
    phase: phase._tag,
    ...host,
    ...(phase._tag === "Ready" ? { ready: true as const } : {}),
    ...progress(phase),
    conditions: conditions(state)
  }
}

const progress = (phase: Phase): Pick<MachineStatus, "bootstrap"> => {
  if (phase._tag === "Provisioning" && phase.progress !== undefined) {
    const { step, of } = phase.progress
    return { bootstrap: { ...phase.progress, progress: `${step}/${of}`, attempt: phase.stepAttempt } }
  }
  // Progress is coalesced: without this, a Ready machine would show whichever step was written last.
  if (phase._tag === "Ready" && phase.last !== undefined) {
    return { bootstrap: { ...phase.last, step: phase.last.of, progress: `${phase.last.of}/${phase.last.of}` } }
  }
  return {}
}

export const PAUSED: ConditionInput = {
  type: "Paused",
  status: "True",
  reason: "Paused",
  message: "Nothing is done for this machine while it, or its Cluster, is paused"
}
export const NOT_PAUSED: ConditionInput = { type: "Paused", status: "False", reason: "NotPaused" }

const is = (type: string, reason: string, message?: string): ConditionInput => ({
  type,
  status: "True",
  reason,
  ...(message === undefined ? {} : { message })
})
const isNot = (type: string, reason: string, message: string): ConditionInput => ({
  type,
  status: "False",
  reason,
  message
})

const WAITING: Record<Exclude<Waiting["on"], "Host" | "Refused">, string> = {
  OwnerMachine: "Waiting until a Machine of Cluster API owns this object",
  ClusterInfrastructure: "Waiting until the Cluster's infrastructure is ready",
  BootstrapData: "Waiting until the Machine has bootstrap data (spec.bootstrap.dataSecretName)"
}

const waitingReason = (waiting: Waiting): readonly [string, string] =>
  waiting.on === "Host" || waiting.on === "Refused"
    ? [waiting.reason, waiting.message]
    : [`WaitingFor${waiting.on}`, WAITING[waiting.on]]

const conditions = (state: State): ReadonlyArray<ConditionInput> => {
  if (state.halted !== undefined) return [PAUSED]
  return [...phaseConditions(state), NOT_PAUSED]
}

const phaseConditions = ({ phase }: State): ReadonlyArray<ConditionInput> => {
  switch (phase._tag) {
    case "Pending": {
      if (phase.deleting) return [isNot("Ready", "Deleting", "Being deleted; no host was touched")]
      const [first] = phase.waiting
      const [reason, message] = first === undefined ? ["ClaimingHost", "Asking for a host"] : waitingReason(first)
      return [isNot("Ready", reason, message), isNot("HostClaimed", reason, message)]
    }
    case "Claimed": {
      if (phase.leaving === "deleted") return [isNot("Ready", "Deleting", "Being deleted; the host was not touched")]
      return [...unready(phase.failure, "Connecting", "Connecting to the host"), claimed(phase.claim.host)]
    }
    case "Provisioning": {
      const { progress, failure } = phase
      const doing =
        phase.work === "clean"
          ? "Cleaning the host before the bootstrap starts anew"
          : progress === undefined
            ? "The bootstrap starts on the host"
            : `Step ${progress.step} of ${progress.of} runs: ${progress.name}`
      return [...unready(failure, "Provisioning", doing), claimed(phase.claim.host)]
    }
    case "Ready":
      return [is("Ready", "Provisioned"), is("Provisioned", "Provisioned"), claimed(phase.claim.host)]
    case "Cleaning": {
      const reason = phase.failure?.reason ?? (phase.work === "clean" ? "Cleaning" : "Releasing")
      const message = phase.failure?.message ?? "Deletion was asked for; the host is being cleaned"
      return [isNot("Ready", reason, message), claimed(phase.claim.host)]
    }
    case "Deleted":
      return []
  }
}

const claimed = (host: string): ConditionInput =>
  is("HostClaimed", "HostClaimed", host === "" ? "The machine has a host of its own" : `PooledRemoteMachine ${host}`)

const unready = (failure: Failure | undefined, reason: string, doing: string): ReadonlyArray<ConditionInput> => {
  const [why, message] = failure === undefined ? [reason, doing] : [failure.reason, failure.message]
  return [isNot("Ready", why, message), isNot("Provisioned", why, message)]
}

/** A state whose status may wait for the next coalesced write; anything else is shown at once. */
export const isProgress = (before: State | undefined, after: State): boolean => {
  const { phase } = after
  if (before?.halted !== after.halted) return false
  if (phase._tag === "Claimed") return phase.failure === undefined
  if (phase._tag === "Pending") return phase.waiting.length === 0
  if (phase._tag === "Provisioning") return phase.failure === undefined || phase.failure.retry === "backoff"
  return false
}
