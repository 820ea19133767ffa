/**
 * Owns the words of a RemoteMachine's Events, one function each. When they are said is Machine.ts's.
 */
import type { Claim } from "./Claim.ts"
import type { Failure, Waiting } from "./MachineState.ts"
import type { Notice } from "./Notice.ts"

const hostOf = (claim: Claim): string => (claim.host === "" ? "its own host" : `host ${claim.host}`)

export const claimed = (claim: Claim): Notice => ({
  type: "Normal",
  reason: "HostClaimed",
  message: `Claimed ${hostOf(claim)} (claim ${claim.id})`
})

export const givenBack = (claim: Claim): Notice => ({
  type: "Normal",
  reason: "HostGivenBack",
  message: `Gave ${hostOf(claim)} back untouched: another one of its pool is free`
})

export const waiting = (waiting: Waiting): Notice =>
  waiting.on === "Host" || waiting.on === "Refused"
    ? { type: "Warning", reason: waiting.reason, message: waiting.message }
    : { type: "Normal", reason: `WaitingFor${waiting.on}`, message: `Waiting for ${waiting.on}` }

export const provisioned = (claim: Claim): Notice => ({
  type: "Normal",
  reason: "Provisioned",
  message: `Bootstrap succeeded on ${hostOf(claim)}`
})

export const startingOver = (message: string): Notice => ({ type: "Warning", reason: "StartingOver", message })

export const failed = (failure: Failure): Notice => ({
  type: "Warning",
  reason: failure.reason,
  message: failure.message
})

export const cleaning = (claim: Claim): Notice => ({
  type: "Normal",
  reason: "Cleaning",
  message: `Deletion asked for: cleaning ${hostOf(claim)}`
})

export const cleaned = (claim: Claim): Notice => ({
  type: "Normal",
  reason: "Cleaned",
  message: `${hostOf(claim)} is verified clean`
})

/** When a quarantined pool host is cleaned again: seldom, or, after another provider's work, once somebody says how. */
export const CLEANED_AGAIN = {
  seldom: "cleaned again from time to time",
  withCommands: "cleaned again once its PooledRemoteMachine has spec.machine.customCleanUpCommands"
} as const

export const quarantined = (claim: Claim, failure: Failure, again: keyof typeof CLEANED_AGAIN): Notice => ({
  type: "Warning",
  reason: "Quarantined",
  message:
    `Gave up cleaning ${hostOf(claim)}: ${failure.message} It is not given to another machine` +
    (claim.host === ""
      ? ". Clean it by hand, then remove /var/lib/machinist on it."
      : `, and ${CLEANED_AGAIN[again]}. Or clean it by hand, then annotate its PooledRemoteMachine with machinist.dev/release.`)
})
