/**
 * Owns every decision about one RemoteMachine: its states, what may happen in them and the durable work each wants
 * (DESIGN, "RemoteMachine"; docs/states.md). Pure: no services, no clock. How a state is found again is
 * MachineRecovery.ts; who picks a host is Pool.ts; how a state looks to people is MachineStatus.ts.
 */
import * as Equal from "effect/Equal"
import { RETRY_ANNOTATION } from "../api/Names.ts"
import type { RunRecord } from "./Claim.ts"
import * as notices from "./MachineNotices.ts"
import { contradicts, recoverPhase } from "./MachineRecovery.ts"
import {
  Activity,
  claimed,
  cleaning,
  Event,
  type Failure,
  type Leaving,
  type Observed,
  Phase,
  type Pins,
  provisioning,
  type State,
  type Waiting
} from "./MachineState.ts"
import type { Notice } from "./Notice.ts"

export type { Failure, LastStep, Leaving, Observed, Pins, Progress, Waiting } from "./MachineState.ts"
export { Activity, Event, Phase, type State } from "./MachineState.ts"

/** Failed connects to an untouched pool host until it is suspected and another one is asked for. */
export const CONNECT_BUDGET = 5
/** Tries of a failing bootstrap step (resumed at that step) until a person is needed. */
export const STEP_BUDGET = 3
/** How often a host is cleaned and begun on anew, its journal being of no use, until a person is needed: about a minute. */
export const START_OVER_BUDGET = 5
/** Tries of cleaning, at most a minute apart, until the host is quarantined: about a quarter of an hour. */
export const CLEAN_BUDGET = 20

/** Whoever ran last there: the host is verified clean. */
const CLEANED = Number.MAX_SAFE_INTEGER

type Step = readonly [State, ReadonlyArray<Notice>]
const none: ReadonlyArray<Notice> = []

export const isFinal = (state: State): boolean => state.phase._tag === "Deleted"

// ---------------------------------------------------------------------------------------------------- activity

export const activity = (state: State): Activity | undefined => {
  const { attempt } = state
  if (state.halted !== undefined) return undefined
  return Phase.$match(state.phase, {
    Pending: ({ deleting, waiting }) =>
      deleting
        ? Activity.Release({ claim: undefined, leaving: "deleted", fence: 0 })
        : waiting.every((one) => one.on === "Host")
          ? Activity.Claim()
          : undefined,
    Claimed: ({ claim, fence, failures, failure, leaving }) =>
      leaving !== "no"
        ? Activity.Release({ claim, leaving, fence })
        : blocked(failure)
          ? Activity.AwaitChange({ recheck: failure.retry === "waitForChange", attempt })
          : Activity.Inspect({ claim, attempt, wait: failures }),
    Provisioning: ({ claim, run, stepAttempt, failures, wait, pace, failure, work }) =>
      blocked(failure)
        ? Activity.AwaitChange({ recheck: failure.retry === "waitForChange", attempt })
        : work === "clean"
          ? Activity.Clean({ claim, run, attempt, tries: failures + 1, wait, next: "rerun" })
          : Activity.Run({ claim, run, attempt, stepAttempt, wait, pace }),
    Ready: () => undefined,
    Cleaning: ({ claim, run, tries, wait, work, failure }) =>
      work === "clean"
        ? Activity.Clean({ claim, run, attempt, tries, wait, next: "release" })
        : work === "quarantine"
          ? Activity.Quarantine({ claim, run, reason: failure?.message ?? "cleaning failed" })
          : Activity.Release({ claim, leaving: "deleted", fence: CLEANED }),
    Deleted: () => undefined
  })
}

/** `budget` failures that are kept in the state have spent their budget (see `failed`). */
const blocked = (failure: Failure | undefined): failure is Failure =>
  failure !== undefined && failure.retry !== "backoff"

/** Still shown, no longer blocking: it is being tried again. */
const tried = (failure: Failure): Failure => ({ ...failure, retry: "backoff" })

// ---------------------------------------------------------------------------------------------------- transition

export const transition = (state: State, event: Event): Step =>
  Event.$match(event, {
    Observed: ({ observed }): Step => observe(state, observed),
    HostClaimed: ({ claim }): Step => {
      const { phase } = state
      if (phase._tag !== "Pending") return [state, none]
      // A deleting machine's claim is never used: the release that follows gives it back.
      return [anew(state, claimed(claim, phase.deleting ? "deleted" : "no")), [notices.claimed(claim)]]
    },
    HostWaiting: ({ waiting }): Step => {
      const { phase } = state
      if (phase._tag !== "Pending" || Equal.equals(phase.waiting, [waiting])) return [state, none]
      return [to(state, Phase.Pending({ ...phase, waiting: [waiting] })), [notices.waiting(waiting)]]
    },
    Inspected: ({ attempt, run, pins }): Step => {
      const { phase } = state
      if (phase._tag !== "Claimed" || state.attempt !== attempt || phase.leaving !== "no") return [state, none]
      const record = phase.begunAnew === 0 ? run : { ...run, begunAnew: phase.begunAnew }
      return [pinning(anew(state, provisioning(phase.claim, record)), pins), none]
    },
    HostKeysSeen: ({ attempt, pins }): Step =>
      state.attempt === attempt ? [pinning(anew(state, state.phase), pins), none] : [state, none],
    Progressed: ({ attempt, progress }): Step => {
      const { phase } = state
      if (phase._tag !== "Provisioning" || state.attempt !== attempt) return [state, none]
      return [to(state, Phase.Provisioning({ ...phase, progress, failures: 0, failure: undefined })), none]
    },
    Provisioned: ({ attempt, last }): Step => {
      const { phase } = state
      if (phase._tag !== "Provisioning" || state.attempt !== attempt || phase.work !== "run") return [state, none]
      const ended = last === undefined ? {} : { last }
      return [
        to(state, Phase.Ready({ claim: phase.claim, run: phase.run, ...ended })),
        [notices.provisioned(phase.claim)]
      ]
    },
    JournalUnusable: ({ attempt, message, newData }): Step => startOver(state, attempt, message, newData === true),
    Cleaned: ({ attempt }): Step => cleaned(state, attempt),
    Failed: ({ attempt, failure }): Step => failed(state, attempt, failure),
    Uncleanable: ({ attempt, failure }): Step => {
      const { phase } = state
      if (phase._tag !== "Cleaning" || state.attempt !== attempt || phase.work !== "clean") return [state, none]
      return [
        anew(state, Phase.Cleaning({ ...phase, failure, work: "quarantine" })),
        [notices.quarantined(phase.claim, failure, "withCommands")]
      ]
    },
    InputsChanged: (): Step => unblock(state),
    Released: ({ leaving }): Step => released(state, leaving)
  })

/** The activity that runs, if it is still wanted, goes on. */
const to = (state: State, phase: Phase): State => ({ ...state, phase })
/** Another activity begins: what the one before still says means nothing. */
const anew = (state: State, phase: Phase): State => ({ ...state, phase, attempt: state.attempt + 1 })

const pinning = (state: State, pins: Pins | undefined): State =>
  pins === undefined ? state : { ...state, pins: { ...state.pins, ...pins } }

/** A pin of ours that comes back is no news; one that a person changed, or took away, is. */
const unlikePinned = (state: State, observed: Observed): boolean =>
  !Equal.equals(state.pins ?? NO_PINS, observed.pins ?? NO_PINS)
const NO_PINS: Pins = {}

const observe = (before: State, observed: Observed): Step => {
  if (!observed.exists) return [to(before, Phase.Deleted()), none]
  const halted = observed.halted
  const noticed = before.inputs !== observed.inputs || unlikePinned(before, observed)
  const state: State =
    noticed || before.halted !== halted
      ? { ...before, inputs: observed.inputs, halted, pins: observed.pins ?? NO_PINS }
      : before
  if (halted !== undefined) return [state, none]
  // Another leader acted on this machine: what it wrote counts, not what we had in mind.
  if (contradicts(state.phase, observed)) return [anew(state, recoverPhase(observed)), none]
  const { phase } = state
  if (observed.deleting && phase._tag !== "Cleaning") return leave(state)
  if (phase._tag === "Pending" && !phase.deleting) {
    // The allocator's word stands until something else is missing.
    const waiting = observed.waiting.length > 0 ? observed.waiting : phase.waiting.filter((one) => one.on === "Host")
    return Equal.equals(waiting, phase.waiting)
      ? [state, none]
      : [to(state, Phase.Pending({ ...phase, waiting })), refusals(waiting)]
  }
  return noticed ? hurry(state) : [state, none]
}

/** Deletion was asked for. It waits for nothing else: no owner, no Cluster, no bootstrap data (CONTRACT section 1). */
const leave = (state: State): Step =>
  Phase.$match(state.phase, {
    Pending: (phase): Step =>
      phase.deleting ? [state, none] : [to(state, Phase.Pending({ ...phase, deleting: true })), none],
    Claimed: (phase): Step =>
      phase.leaving === "deleted"
        ? [state, none]
        : [anew(state, Phase.Claimed({ ...phase, leaving: "deleted" })), none],
    Provisioning: ({ claim, run }): Step => [anew(state, cleaning(claim, run)), [notices.cleaning(claim)]],
    Ready: ({ claim, run }): Step => [anew(state, cleaning(claim, run)), [notices.cleaning(claim)]],
    Cleaning: (): Step => [state, none],
    Deleted: (): Step => [state, none]
  })

/** Something a person can change has changed: what was blocked is tried again. */
const unblock = (state: State): Step => {
  const { phase } = state
  if (phase._tag === "Claimed" && blocked(phase.failure))
    return [anew(state, Phase.Claimed({ ...phase, failures: 0, unreached: 0, failure: tried(phase.failure) })), none]
  if (phase._tag === "Provisioning" && blocked(phase.failure)) {
    // Only a step that failed is run again by a greater one; a key or a host that was wrong cost it nothing.
    const stepAttempt = phase.stepAttempt + (phase.failure.retry === "budget" ? 1 : 0)
    // What ran out of time may hang still: only cleaning ends it.
    const work = phase.failure.final === true ? "clean" : phase.work
    // A person has seen to it.
    const run = phase.failure.retry === "budget" ? forgiven(phase.run) : phase.run
    const next = { ...phase, run, work, stepAttempt, failures: goingOn(phase), wait: 0, failure: tried(phase.failure) }
    return [anew(state, Phase.Provisioning(next)), none]
  }
  return [state, none]
}

/** A host cleans again only for a greater try (`failures` and one), whatever was forgiven. */
const goingOn = ({ failures, work }: Extract<Phase, { readonly _tag: "Provisioning" }>): number =>
  work === "clean" ? failures : 0

/** What would be tried again after a while is tried now: a person has changed something, or asked for it. */
const hurry = (state: State): Step => {
  const { phase } = state
  if (phase._tag === "Claimed" && phase.leaving === "no" && phase.failures > 0 && !blocked(phase.failure))
    return [anew(state, Phase.Claimed({ ...phase, failures: 0 })), none]
  // Without a failure a run is being followed, and needs no hurry.
  if (phase._tag === "Provisioning" && phase.wait > 0 && phase.failure !== undefined && !blocked(phase.failure))
    return [anew(state, Phase.Provisioning({ ...phase, failures: goingOn(phase), wait: 0 })), none]
  if (phase._tag === "Cleaning" && phase.work === "clean" && phase.wait > 0)
    return [anew(state, Phase.Cleaning({ ...phase, wait: 0 })), none]
  return unblock(state)
}

/** What is looked at again every minute, and still the same, is not told again. */
const told = (before: Failure | undefined, failure: Failure): ReadonlyArray<Notice> =>
  before?.reason === failure.reason && before.message === failure.message && failure.retry === "waitForChange"
    ? none
    : [notices.failed(failure)]

const failed = (state: State, attempt: number, failure: Failure): Step => {
  const { phase } = state
  switch (phase._tag) {
    case "Pending":
    case "Ready":
    case "Deleted":
      return [state, none]
    case "Claimed": {
      if (state.attempt !== attempt || phase.leaving !== "no") return [state, none]
      // Whose it is, only a person can say; a machine that has touched nothing there need not wait for that.
      if (failure.another === true && phase.claim.host !== "")
        return [
          anew(state, Phase.Claimed({ ...phase, failure, leaving: "unclean" })),
          [...told(phase.failure, failure), notices.givenBack(phase.claim)]
        ]
      if (failure.retry !== "backoff")
        return [to(state, Phase.Claimed({ ...phase, failure })), told(phase.failure, failure)]
      const failures = phase.failures + 1
      // The API server's troubles, or a jump host's, are no reason to suspect a host.
      const unreached = phase.unreached + (failure.ofHost === true && failure.elsewhere !== true ? 1 : 0)
      const leaving = unreached >= CONNECT_BUDGET && phase.claim.host !== "" ? "suspect" : "no"
      return [
        anew(state, Phase.Claimed({ ...phase, failure, failures, unreached, leaving })),
        [notices.failed(failure)]
      ]
    }
    case "Provisioning": {
      if (state.attempt !== attempt) return [state, none]
      const spent =
        failure.final === true ||
        (failure.retry === "budget" && phase.stepAttempt >= STEP_BUDGET && phase.work === "run")
      if (spent || failure.retry === "waitForChange")
        return [to(state, Phase.Provisioning({ ...phase, failure })), told(phase.failure, failure)]
      const stepFailed = failure.retry === "budget" && phase.work === "run"
      const next = Phase.Provisioning({
        ...phase,
        stepAttempt: phase.stepAttempt + (stepFailed ? 1 : 0),
        failures: phase.failures + 1,
        wait: phase.failures + 1,
        pace: stepFailed ? "step" : "connect",
        // A failure that will be tried again is not a blocking one, whatever its class.
        failure: tried(failure)
      })
      return [anew(state, next), [notices.failed(failure)]]
    }
    case "Cleaning": {
      if (state.attempt !== attempt || phase.work !== "clean") return [state, none]
      const counts = failure.ofHost === true || failure.retry !== "backoff"
      const spent = counts && phase.tries >= CLEAN_BUDGET
      const tries = phase.tries + (counts ? 1 : 0)
      const next = Phase.Cleaning({
        ...phase,
        failure,
        tries,
        wait: Math.max(1, tries - 1),
        work: spent ? "quarantine" : "clean"
      })
      return [
        anew(state, next),
        [spent ? notices.quarantined(phase.claim, failure, "seldom") : notices.failed(failure)]
      ]
    }
  }
}

const forgiven = ({ begunAnew: _, ...run }: RunRecord): RunRecord => run

const unusable = (message: string, spent: boolean): Failure => ({
  reason: "JournalUnusable",
  message: spent
    ? `${message} It was cleaned and begun on anew ${START_OVER_BUDGET} times, and is not again by itself. See what removes /var/lib/machinist there, or who else uses the host; then annotate with ${RETRY_ANNOTATION} (any new value).`
    : message,
  retry: "budget",
  ofHost: true,
  final: true
})

/**
 * The host is cleaned, and looked at anew. What moved in between forgives nothing: a host that loses its journal half an
 * hour into each run would be cleaned for ever. The first time is at once, as after a crash of ours in an odd moment.
 */
const startOver = (state: State, attempt: number, message: string, newData: boolean): Step => {
  const { phase } = state
  if (phase._tag !== "Provisioning" || state.attempt !== attempt) return [state, none]
  const before = newData ? 0 : (phase.run.begunAnew ?? 0)
  const spent = before >= START_OVER_BUDGET
  const failure = unusable(message, spent)
  if (spent) return [to(state, Phase.Provisioning({ ...phase, failure })), [notices.failed(failure)]]
  const next = Phase.Provisioning({
    ...phase,
    run: newData ? forgiven(phase.run) : { ...phase.run, begunAnew: before + 1 },
    work: "clean",
    failures: 0,
    wait: before,
    progress: undefined,
    failure: before === 0 ? phase.failure : tried(failure)
  })
  return [anew(state, next), [notices.startingOver(message)]]
}

const cleaned = (state: State, attempt: number): Step => {
  const { phase } = state
  if (phase._tag === "Cleaning" && state.attempt === attempt && phase.work === "clean")
    return [
      anew(state, Phase.Cleaning({ ...phase, work: "release", failure: undefined })),
      [notices.cleaned(phase.claim)]
    ]
  if (phase._tag === "Provisioning" && state.attempt === attempt && phase.work === "clean")
    // The tombstone has this claim's fence: look at the host anew, so that the new run's record has a greater one.
    return [anew(state, claimed(phase.claim, "no", phase.run)), none]
  return [state, none]
}

/** What people must be told at once: their spec asks for what can't be done. Other waiting is everyday. */
const refusals = (waiting: ReadonlyArray<Waiting>): ReadonlyArray<Notice> =>
  waiting.filter((one) => one.on === "Refused").map(notices.waiting)

/** What is told when a life begins, before any event. */
export const opening = ({ phase }: State): ReadonlyArray<Notice> =>
  phase._tag === "Pending" ? refusals(phase.waiting) : none

const unclaimed = Phase.Pending({ waiting: [], deleting: false })

/** `leaving`: which release it was. A host given back for its own sake must not pass for the end of a deletion. */
const released = (state: State, leaving: Exclude<Leaving, "no">): Step => {
  const { phase } = state
  switch (phase._tag) {
    case "Pending":
      return phase.deleting && leaving === "deleted" ? [anew(state, Phase.Deleted()), none] : [state, none]
    case "Claimed":
      if (phase.leaving !== leaving) return [state, none]
      return [anew(state, leaving === "deleted" ? Phase.Deleted() : unclaimed), none]
    case "Cleaning":
      return phase.work === "clean" || leaving !== "deleted" ? [state, none] : [anew(state, Phase.Deleted()), none]
    case "Provisioning":
    case "Ready":
    case "Deleted":
      return [state, none]
  }
}
