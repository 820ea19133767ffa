/**
 * Owns how a RemoteMachine's state is found again after a restart, a move or a conflict, from what is written on the
 * objects: the crash-point table of DESIGN, "Claims". Only metadata and spec are believed, never status. Pure.
 */
import type { Claim, RunRecord } from "./Claim.ts"
import { claimed, cleaning, type Observed, Phase, provisioning, type State } from "./MachineState.ts"

/** After a restart, a move or a conflict: only metadata and spec are believed, never status. */
export const recover = (observed: Observed): State => ({
  phase: observed.exists ? recoverPhase(observed) : Phase.Deleted(),
  attempt: 1,
  halted: observed.halted,
  inputs: observed.inputs,
  ...(observed.pins === undefined ? {} : { pins: observed.pins })
})

export const recoverPhase = (observed: Observed): Phase => {
  const { claim, run, deleting, providerID, populated } = observed
  if (deleting && !observed.finalizer && claim === undefined) return Phase.Deleted()
  if (providerID !== undefined || run?.touched === true) {
    const held = claim ?? adopted(observed)
    const record = { ...(run ?? ADOPTED_RUN), fence: (run ?? ADOPTED_RUN).fence + 1 }
    if (deleting) return cleaning(held, record)
    return providerID !== undefined ? Phase.Ready({ claim: held, run: run ?? ADOPTED_RUN }) : provisioning(held, record)
  }
  if (deleting) return Phase.Pending({ waiting: [], deleting: true })
  if (claim !== undefined && (populated || claim.host === "")) return claimed(claim)
  return Phase.Pending({ waiting: observed.waiting, deleting: false })
}

/**
 * Whether what is written on the object rules out what this life believes: two leaders may act on one machine for a
 * while, and the later one's claim or release is the one that counts. A claim that is merely absent says nothing about a
 * touched host (someone may have taken the annotation away), and neither does one while we are giving it back ourselves.
 */
export const contradicts = (phase: Phase, observed: Pick<Observed, "claim" | "populated" | "run">): boolean => {
  const { claim, populated, run } = observed
  switch (phase._tag) {
    case "Claimed":
      if ((run?.fence ?? 0) > phase.fence) return true
      if (phase.leaving !== "no") return claim !== undefined && claim.id !== phase.claim.id
      return claim?.id !== phase.claim.id || !(populated || claim.host === "")
    case "Provisioning":
    case "Ready":
    case "Cleaning":
      return claim !== undefined && claim.id !== phase.claim.id
    case "Pending":
    case "Deleted":
      return false
  }
}

/** A machine that k0smotron made ready has a providerID and no annotations: its host is kept, and cleaned one day. */
const adopted = (observed: Observed): Claim => ({
  id: `adopted-${observed.identity.uid}`,
  host: "",
  machine: observed.identity.machine,
  uid: observed.identity.uid
})
const ADOPTED_RUN: RunRecord = {
  fence: 1,
  touched: true,
  bootstrapKind: "",
  dataHash: "",
  k0sInstallDir: "/usr/local/bin",
  role: "worker"
}
