/**
 * Owns every decision about one RemoteCluster: there is nothing to make, so it is provisioned as soon as a Cluster owns
 * it (CONTRACT section 1, InfraCluster). Pure. Never touches `spec.controlPlaneEndpoint`: a control plane provider
 * writes it, and nothing waits for it.
 */
import type { ConditionInput } from "./Conditions.ts"
import type { Notice } from "./Notice.ts"

export interface State {
  readonly phase: "Pending" | "Ready" | "Deleted"
  /** `managed`: somebody else's (annotation managed-by), left alone altogether. */
  readonly halted: "paused" | "moving" | "managed" | undefined
}

export interface Observed {
  readonly exists: boolean
  readonly deleting: boolean
  /** A Cluster is its owner. */
  readonly owned: boolean
  /** It said so before: that never goes back. */
  readonly provisioned: boolean
  readonly halted: State["halted"]
}

export interface Event {
  readonly _tag: "Observed"
  readonly observed: Observed
}

const phaseOf = ({ exists, deleting, owned, provisioned }: Observed): State["phase"] =>
  // It has no finalizer of ours: once it is being deleted there is nothing left to do.
  !exists || deleting ? "Deleted" : owned || provisioned ? "Ready" : "Pending"

export const recover = (observed: Observed): State => ({ phase: phaseOf(observed), halted: observed.halted })

export const PROVISIONED: Notice = {
  type: "Normal",
  reason: "Provisioned",
  message: "Owned by a Cluster: there is no infrastructure to make, so it is provisioned"
}

/** What a life that starts with this state has to say: usually the Cluster owns the object already. */
export const opening = (initial: State, observed: Observed): ReadonlyArray<Notice> =>
  initial.phase === "Ready" && initial.halted === undefined && !observed.provisioned ? [PROVISIONED] : []

export const transition = (state: State, { observed }: Event): readonly [State, ReadonlyArray<Notice>] => {
  // What was provisioned once stays so, though an owner reference be rewritten.
  const found = phaseOf(observed)
  const phase = state.phase === "Ready" && found === "Pending" ? "Ready" : found
  const { halted } = observed
  if (phase === state.phase && halted === state.halted) return [state, []]
  const notices = phase === "Ready" && state.phase !== "Ready" && halted === undefined ? [PROVISIONED] : []
  return [{ phase, halted }, notices]
}

export const isFinal = (state: State): boolean => state.phase === "Deleted"

const PAUSED: ConditionInput = {
  type: "Paused",
  status: "True",
  reason: "Paused",
  message: "Nothing is done for this cluster while it, or its Cluster, is paused"
}

/** What is written to the status; undefined: not a thing (moved, or managed by somebody else). */
export const conditions = (state: State): ReadonlyArray<ConditionInput> | undefined => {
  switch (state.halted) {
    case "managed":
    case "moving":
      return undefined
    case "paused":
      return [PAUSED]
    case undefined:
      return [
        state.phase === "Ready"
          ? { type: "Ready", status: "True", reason: "Provisioned", message: "" }
          : {
              type: "Ready",
              status: "False",
              reason: "WaitingForCluster",
              message: "Waiting until a Cluster of Cluster API owns this object"
            },
        { type: "Paused", status: "False", reason: "NotPaused" }
      ]
  }
}
