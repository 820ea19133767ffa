/**
 * Owns how a bootstrap config's state looks to people and to Cluster API: status fields and conditions of contract
 * v1beta1 and v1beta2 (CONTRACT section 1), and whether a state wants our finalizer. Pure; when it is written is the
 * actor's.
 */
import type { Failure, State, Waiting } from "./BootstrapState.ts"
import type { ConditionInput } from "./Conditions.ts"

/** `undefined`: leave it as it is. */
export const wantsFinalizer = (state: State): boolean | undefined => {
  if (state.halted !== undefined) return undefined
  const { phase } = state
  switch (phase._tag) {
    case "Pending":
    case "Claimed":
    // It is there, and can't be added to what is being deleted.
    case "Cleaning":
      return undefined
    case "Provisioning":
      return true
    case "Ready":
      return phase.token !== "gone"
    case "Deleted":
      return false
  }
}

export interface BootstrapStatus {
  readonly phase: State["phase"]["_tag"]
  /** The Secret is there, or was needed for the last time: only ever true, it never goes back (contract v1beta2). */
  readonly ready: boolean
  readonly conditions: ReadonlyArray<ConditionInput>
}

export const status = (state: State): BootstrapStatus => ({
  phase: state.phase._tag,
  ready: state.phase._tag === "Ready",
  conditions: conditions(state)
})

const PAUSED: ConditionInput = {
  type: "Paused",
  status: "True",
  reason: "Paused",
  message: "Nothing is done for this config while it, or its Cluster, is paused"
}
const NOT_PAUSED: ConditionInput = { type: "Paused", status: "False", reason: "NotPaused" }

const WAITING: Record<Exclude<Waiting["on"], "Refused" | "FirstController">, string> = {
  OwnerMachine: "Waiting until a Machine or MachinePool of Cluster API owns this config",
  Cluster: "Waiting until the Cluster of the owner is there",
  ControlPlaneEndpoint: "Waiting until the Cluster has a control plane endpoint (spec.controlPlaneEndpoint)",
  ControlPlaneInitialized: "Waiting until the control plane of the Cluster is initialized"
}

const waitingReason = (waiting: Waiting): readonly [string, string] => {
  if (waiting.on === "Refused") return [waiting.reason, waiting.message]
  if (waiting.on === "FirstController")
    return [
      "WaitingForFirstController",
      `Waiting until Machine ${waiting.machine}, the first controller, is provisioned and has an address`
    ]
  return [`WaitingFor${waiting.on}`, WAITING[waiting.on]]
}

const conditions = (state: State): ReadonlyArray<ConditionInput> =>
  state.halted !== undefined ? [PAUSED] : [...phaseConditions(state), NOT_PAUSED]

/** `Ready` is what Cluster API mirrors; `DataSecretAvailable` is the one thing that makes it true. */
const both = (status: "True" | "False", reason: string, message: string): ReadonlyArray<ConditionInput> => [
  { type: "Ready", status, reason, message },
  { type: "DataSecretAvailable", status, reason, message }
]

const failedOr = (failure: Failure | undefined, reason: string, doing: string): ReadonlyArray<ConditionInput> =>
  failure === undefined ? both("False", reason, doing) : both("False", failure.reason, failure.message)

const phaseConditions = ({ phase }: State): ReadonlyArray<ConditionInput> => {
  switch (phase._tag) {
    case "Pending": {
      const [first] = phase.waiting
      const [reason, message] = first === undefined ? ["Reading", "Reading the config's inputs"] : waitingReason(first)
      return both("False", reason, message)
    }
    case "Claimed":
      return failedOr(phase.failure, "Reading", "Reading the config's inputs")
    case "Provisioning":
      return failedOr(phase.failure, "Rendering", "Minting the join token and rendering the bootstrap data")
    case "Ready":
      return both("True", "DataSecretCreated", readyMessage(phase))
    case "Cleaning":
      return [
        {
          type: "Ready",
          status: "False",
          reason: phase.failure?.reason ?? "Deleting",
          message: phase.failure?.message ?? "Being deleted; its join token is revoked"
        }
      ]
    case "Deleted":
      return []
  }
}

const readyMessage = (phase: Extract<State["phase"], { _tag: "Ready" }>): string => {
  if (phase.token === "gone") return "The Machine has joined; its join token is revoked"
  if (phase.failure === undefined) return "The bootstrap data is in its Secret"
  const what = phase.token === "kept" ? "be kept valid" : "be revoked"
  return `The bootstrap data is in its Secret, but the join token can't ${what}: ${phase.failure.message}`
}

/** A state whose status may wait for the next coalesced write; anything else is shown at once. */
export const isProgress = (before: State | undefined, after: State): boolean => {
  const { phase } = after
  if (before !== undefined && before.halted !== after.halted) return false
  if (phase._tag === "Claimed" || phase._tag === "Provisioning") return phase.failure === undefined
  return phase._tag === "Pending" && phase.waiting.length === 0
}
