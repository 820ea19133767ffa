/**
 * Owns every decision about one bootstrap config (K0sWorkerConfig, K0sControllerConfig): its states, what may happen in
 * them, the durable work each wants, and how a state is found again. Pure: no services, no clock. What is rendered is
 * BootstrapScript.ts; how a state looks to people is BootstrapStatus.ts; reading and writing are the actor's.
 *
 * The durable fact is our finalizer: it is written before a join token is minted and taken away once none is left, so
 * "finalizer there" and "a token of this config may exist" are the same. Which token that is, is read from the workload
 * cluster (BootstrapTokens.ts): no secret, and nothing that could contradict it, is kept in metadata.
 */
import * as Equal from "effect/Equal"
import * as notices from "./BootstrapNotices.ts"
import {
  Activity,
  Event,
  type Failure,
  type Observed,
  Phase,
  type State,
  type Trying,
  type Waiting
} from "./BootstrapState.ts"
import type { Notice } from "./Notice.ts"

export type { Awaited, Failure, Observed, Waiting } from "./BootstrapState.ts"
export { Activity, Event, Phase, type State } from "./BootstrapState.ts"

/** Tries of revoking a token until it is left to expire by itself: a few minutes, then nobody waits any more. */
export const REVOKE_BUDGET = 8

type Step = readonly [State, ReadonlyArray<Notice>]
const none: ReadonlyArray<Notice> = []

export const isFinal = (state: State): boolean => state.phase._tag === "Deleted"

const FIRST: Trying = { failures: 0, wait: 0, failure: undefined }
const claimed = Phase.Claimed(FIRST)
const provisioning = Phase.Provisioning(FIRST)
const cleaning = Phase.Cleaning(FIRST)
const ready = (token: "kept" | "revoking" | "gone"): Phase => Phase.Ready({ ...FIRST, token })

// ---------------------------------------------------------------------------------------------------- recovery

/**
 * After a restart, a move or a conflict: metadata and spec are believed, never status. `data`: a Secret that this
 * config may call its own exists; with it nothing is rendered anew, whatever else is missing.
 */
export const recover = (observed: Observed, data: boolean): State => ({
  phase: recoverPhase(observed, data),
  attempt: 1,
  halted: observed.halted,
  inputs: observed.inputs,
  provisioned: observed.provisioned
})

const recoverPhase = (observed: Observed, data: boolean): Phase => {
  const { exists, deleting, finalizer, joined, waiting } = observed
  if (!exists) return Phase.Deleted()
  if (deleting) return finalizer ? cleaning : Phase.Deleted()
  if (joined) return ready(finalizer ? "revoking" : "gone")
  if (data) return finalizer ? ready("kept") : provisioning
  if (waiting.length > 0) return Phase.Pending({ waiting, minted: finalizer })
  return finalizer ? provisioning : claimed
}

/** What a life that starts with this state has to say. */
export const opening = ({ phase, halted }: State): ReadonlyArray<Notice> =>
  phase._tag === "Pending" && halted === undefined ? phase.waiting.flatMap(notices.waiting) : none

// ---------------------------------------------------------------------------------------------------- activity

export const activity = ({ phase, attempt, halted, provisioned }: State): Activity | undefined => {
  if (halted !== undefined) return undefined
  return Phase.$match(phase, {
    Pending: () => undefined,
    Claimed: ({ wait, failure }) => blocked(failure, attempt) ?? Activity.Inspect({ attempt, wait }),
    Provisioning: ({ wait, failure }) => blocked(failure, attempt) ?? Activity.Provision({ attempt, wait }),
    Ready: ({ token, wait }) =>
      token === "kept"
        ? Activity.Keep({ attempt, wait, provisioned })
        : token === "revoking"
          ? Activity.Revoke({ attempt, wait, andData: false })
          : undefined,
    Cleaning: ({ wait }) => Activity.Revoke({ attempt, wait, andData: true }),
    Deleted: () => undefined
  })
}

const isBlocking = (failure: Failure | undefined): failure is Failure =>
  failure !== undefined && failure.retry !== "backoff"

const blocked = (failure: Failure | undefined, attempt: number): Activity | undefined =>
  isBlocking(failure) ? Activity.AwaitChange({ attempt, awaited: failure.awaited }) : undefined

// ---------------------------------------------------------------------------------------------------- transition

export const transition = (state: State, event: Event): Step => {
  if ("attempt" in event && event.attempt !== state.attempt) return [state, none]
  const { phase } = state
  return Event.$match(event, {
    Observed: ({ observed }): Step => observe(state, observed),
    Inspected: (): Step => (phase._tag === "Claimed" ? [enter(state, provisioning), none] : [state, none]),
    Provided: ({ adopted }): Step =>
      phase._tag === "Provisioning" ? [enter(state, ready("kept")), [notices.provided(adopted)]] : [state, none],
    Kept: (): Step =>
      phase._tag === "Ready" && phase.failures > 0
        ? // The same attempt: keeping goes on.
          [{ ...state, phase: Phase.Ready({ ...phase, failures: 0, failure: undefined }) }, none]
        : [state, none],
    DataLost: (): Step =>
      phase._tag === "Ready" && phase.token === "kept"
        ? [enter(state, provisioning), [notices.dataLost]]
        : [state, none],
    Joined: (): Step => (phase._tag === "Ready" ? joined(state, false) : [state, none]),
    Revoked: ({ leftBehind }): Step => revoked(state, leftBehind),
    Failed: ({ failure }): Step => failed(state, failure),
    InputsChanged: (): Step => unblock(state)
  })
}

const enter = (state: State, phase: Phase): State => ({ ...state, phase, attempt: state.attempt + 1 })

const observe = (before: State, observed: Observed): Step => {
  // Nothing is written to what is gone: an old list may only have said so, and then its finalizer stands for a token.
  if (!observed.exists) return [enter({ ...before, halted: "gone" }, Phase.Deleted()), none]
  const { halted, inputs, provisioned } = observed
  const noticed = before.inputs !== inputs
  const same = !noticed && before.halted === halted && before.provisioned === provisioned
  const state: State = same ? before : { ...before, inputs, halted, provisioned }
  if (halted !== undefined) return [state, none]
  if (observed.deleting) return leave(state, observed)
  if (observed.joined) return joined(state, observed.finalizer)
  const { phase } = state
  if (phase._tag === "Pending") return pending(state, phase, observed.waiting)
  const missing = observed.waiting.filter((one) => one.on !== "Refused")
  // What the config asks for may be refused only while there is nothing yet: an adopted Secret may hold more than we render.
  const waits = phase._tag === "Claimed" ? observed.waiting : phase._tag === "Provisioning" ? missing : []
  if (waits.length > 0)
    return [
      enter(state, Phase.Pending({ waiting: waits, minted: phase._tag === "Provisioning" })),
      waits.flatMap(notices.waiting)
    ]
  return [noticed ? afresh(state) : state, none]
}

const pending = (state: State, phase: Extract<Phase, { _tag: "Pending" }>, waiting: ReadonlyArray<Waiting>): Step => {
  if (waiting.length === 0) return [enter(state, phase.minted ? provisioning : claimed), none]
  if (Equal.equals(waiting, phase.waiting)) return [state, none]
  return [enter(state, Phase.Pending({ ...phase, waiting })), waiting.flatMap(notices.waiting)]
}

/**
 * Deletion waits for nothing but the token, and for that not for ever. A finalizer that this life did not put there is of a
 * life before, or of another leader at the same time: the token that it stands for is looked for.
 */
const leave = (state: State, observed: Observed): Step =>
  Phase.$match(state.phase, {
    Pending: ({ minted }): Step => [enter(state, minted || observed.finalizer ? cleaning : Phase.Deleted()), none],
    Claimed: (): Step => [enter(state, observed.finalizer ? cleaning : Phase.Deleted()), none],
    Provisioning: (): Step => [enter(state, cleaning), none],
    Ready: ({ token }): Step => [enter(state, token === "gone" ? Phase.Deleted() : cleaning), none],
    Cleaning: (): Step => [state, none],
    Deleted: (): Step => [state, none]
  })

/** The Machine has become part of its cluster: the token goes, the Secret stays. */
const joined = (state: State, finalizer: boolean): Step =>
  Phase.$match(state.phase, {
    Pending: ({ minted }): Step => [enter(state, ready(minted || finalizer ? "revoking" : "gone")), none],
    Claimed: (): Step => [enter(state, ready(finalizer ? "revoking" : "gone")), none],
    Provisioning: (): Step => [enter(state, ready("revoking")), none],
    Ready: (phase): Step => (phase.token === "kept" ? [enter(state, ready("revoking")), none] : [state, none]),
    Cleaning: (): Step => [state, none],
    Deleted: (): Step => [state, none]
  })

/** What was waited for may be there: what was blocked is tried again. */
const unblock = (state: State): Step => {
  const { phase } = state
  const waits = (phase._tag === "Claimed" || phase._tag === "Provisioning") && isBlocking(phase.failure)
  return [waits ? afresh(state) : state, none]
}

/** With other inputs what goes on is out of date, too; a failure stays shown until it is no more. */
const afresh = (state: State): State => {
  const { phase } = state
  if (phase._tag !== "Claimed" && phase._tag !== "Provisioning") return state
  const failure = phase.failure === undefined ? undefined : patient(phase.failure)
  const again: Trying = { failures: 0, wait: 0, failure }
  return enter(state, phase._tag === "Claimed" ? Phase.Claimed(again) : Phase.Provisioning(again))
}

const retried = (phase: Trying, failure: Failure): Trying => ({
  failures: phase.failures + 1,
  wait: phase.failures + 1,
  failure
})

/** Tried again without anything being changed: keeping and revoking a token, and what was unblocked. */
const patient = (failure: Failure): Failure => ({ ...failure, retry: "backoff" })

const failed = (state: State, failure: Failure): Step => {
  const { phase } = state
  switch (phase._tag) {
    case "Pending":
    case "Deleted":
      return [state, none]
    case "Claimed":
      return [enter(state, Phase.Claimed(retried(phase, failure))), notices.failed(phase.failure, failure)]
    case "Provisioning":
      return [enter(state, Phase.Provisioning(retried(phase, failure))), notices.failed(phase.failure, failure)]
    case "Ready": {
      if (phase.token === "gone") return [state, none]
      if (phase.token === "revoking" && phase.failures + 1 >= REVOKE_BUDGET)
        return [enter(state, ready("gone")), [notices.leftBehind(failure.message)]]
      const next = Phase.Ready({ ...retried(phase, patient(failure)), token: phase.token })
      return [enter(state, next), notices.failed(phase.failure, failure)]
    }
    case "Cleaning":
      if (phase.failures + 1 >= REVOKE_BUDGET)
        return [enter(state, Phase.Deleted()), [notices.leftBehind(failure.message)]]
      return [enter(state, Phase.Cleaning(retried(phase, patient(failure)))), notices.failed(phase.failure, failure)]
  }
}

const revoked = (state: State, leftBehind: string | undefined): Step => {
  const { phase } = state
  const said = leftBehind === undefined ? none : [notices.leftBehind(leftBehind)]
  if (phase._tag === "Cleaning") return [enter(state, Phase.Deleted()), said]
  if (phase._tag === "Ready" && phase.token === "revoking")
    return [enter(state, ready("gone")), leftBehind === undefined ? [notices.revoked] : said]
  return [state, none]
}
