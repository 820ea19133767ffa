/**
 * Owns every decision about one RemoteMachine: its states, what may happen in them and the durable work each wants
 * (DESIGN, "RemoteMachine"; docs/states.md). Pure: no services, no clock. How a state is found again is
 * MachineRecovery.ts; who picks a host is Pool.ts; how a state looks to people is MachineStatus.ts.
 */
import * as Data from "effect/Data"
import * as Equal from "effect/Equal"
import type { Claim, RunRecord } from "./Claim.ts"
import * as notices from "./MachineNotices.ts"
import type { Notice, RetryClass } from "./Notice.ts"

/** Failed connects to an untouched pool host until it is suspected and another one is asked for. */
export const CONNECT_BUDGET = 5
/** Tries of a failing bootstrap step (resumed at that step) until a person is needed. */
export const STEP_BUDGET = 3
/** Tries of cleaning, at most a minute apart, until the host is quarantined: about a quarter of an hour. */
export const CLEAN_BUDGET = 20

/** What a machine without a host waits for; each is the reason of a condition, never a failure. */
export type Waiting =
  | { readonly on: "OwnerMachine" }
  | { readonly on: "ClusterInfrastructure" }
  | { readonly on: "BootstrapData" }
  /** The spec asks for what can't be done; it waits until the spec is changed. */
  | { readonly on: "Refused"; readonly reason: string; readonly message: string }
  /** Said by the allocator: unknown pool, nothing free. */
  | { readonly on: "Host"; readonly reason: string; readonly message: string }

/** A failed activity, as conditions and decisions need it. Secrets are redacted before it gets here. */
export interface Failure {
  /** Reason of the condition and of the Event. */
  readonly reason: string
  readonly message: string
  readonly retry: RetryClass
}

export interface Progress {
  /** From 1. */
  readonly step: number
  readonly of: number
  readonly name: string
  /** RFC 3339. */
  readonly startedAt: string
}

export type Phase = Data.TaggedEnum<{
  /** No host yet. */
  Pending: { readonly waiting: ReadonlyArray<Waiting>; readonly deleting: boolean }
  /** The claim is durable on both objects; the host is untouched. */
  Claimed: {
    readonly claim: Claim
    readonly attempt: number
    readonly failure: Failure | undefined
    readonly leaving: Leaving
  }
  /** The bootstrap runs, or ran, on the host. */
  Provisioning: {
    readonly claim: Claim
    readonly run: RunRecord
    /** Of the activity: makes late results harmless. */
    readonly attempt: number
    /** Of the failing step: the host runs it again only for a greater one. */
    readonly stepAttempt: number
    /** Failures in a row; a step that moves forgives them. */
    readonly failures: number
    /** What `failures` was when this attempt began: how long it waits first. */
    readonly wait: number
    readonly progress: Progress | undefined
    readonly failure: Failure | undefined
    /** `clean`: the journal can't be continued; clean first, then a new run. */
    readonly work: "run" | "clean"
  }
  Ready: { readonly claim: Claim; readonly run: RunRecord }
  Cleaning: {
    readonly claim: Claim
    readonly run: RunRecord
    readonly attempt: number
    readonly work: "clean" | "quarantine" | "release"
    readonly failure: Failure | undefined
  }
  /** Finalizer gone. */
  Deleted: {}
}>
/** Why an untouched host is given back. */
export type Leaving = "no" | "deleted" | "suspect"
export const Phase = Data.taggedEnum<Phase>()

export interface State {
  readonly phase: Phase
  /** `paused`: object or Cluster; `moving`: annotated delete-for-move, gone for us. */
  readonly halted: "paused" | "moving" | undefined
  /** Fingerprint of everything a person can change to help; a change of it lets a blocked machine go on. */
  readonly inputs: string
}

/** What the caches and objects say, assembled afresh each time. */
export interface Observed {
  readonly exists: boolean
  readonly deleting: boolean
  readonly finalizer: boolean
  readonly halted: State["halted"]
  /** OwnerMachine, ClusterInfrastructure, BootstrapData; in this order. */
  readonly waiting: ReadonlyArray<Waiting>
  readonly claim: Claim | undefined
  readonly run: RunRecord | undefined
  /** The host's address is in the spec. */
  readonly populated: boolean
  readonly providerID: string | undefined
  readonly inputs: string
  /** For machines that were ready before annotations of ours existed: uid and name to name their claim by. */
  readonly identity: { readonly uid: string; readonly machine: string }
}

export type Event = Data.TaggedEnum<{
  Observed: { readonly observed: Observed }
  /** The allocator's answer. */
  HostClaimed: { readonly claim: Claim }
  HostWaiting: { readonly waiting: Waiting }
  /** Connected; the host is ours to take: `run` is the record to persist before the first exec that changes it. */
  Inspected: { readonly attempt: number; readonly run: RunRecord }
  Progressed: { readonly attempt: number; readonly progress: Progress }
  Provisioned: { readonly attempt: number }
  Cleaned: { readonly attempt: number }
  /** The journal is lost or of other data: clean, then run anew. */
  JournalUnusable: { readonly attempt: number; readonly message: string }
  Failed: { readonly attempt: number; readonly failure: Failure }
  /** Nobody knows how to clean what another bootstrap provider put there. */
  Uncleanable: { readonly attempt: number; readonly failure: Failure }
  /** A Secret that was waited for changed, or it is time to look at the host again. */
  InputsChanged: {}
  Released: {}
}>
export const Event = Data.taggedEnum<Event>()

export type Activity = Data.TaggedEnum<{
  Claim: {}
  Release: { readonly claim: Claim | undefined; readonly leaving: Exclude<Leaving, "no"> }
  /** `wait`: failures in a row before this one; the pause it begins with is a function of it (Backoff.ts). */
  Inspect: { readonly claim: Claim; readonly attempt: number; readonly wait: number }
  Run: {
    readonly claim: Claim
    readonly run: RunRecord
    readonly attempt: number
    readonly stepAttempt: number
    readonly wait: number
  }
  /** `release`: the machine is deleted; `rerun`: the host is for the same claim again. */
  Clean: {
    readonly claim: Claim
    readonly run: RunRecord
    readonly attempt: number
    readonly wait: number
    readonly next: "release" | "rerun"
  }
  Quarantine: { readonly claim: Claim; readonly run: RunRecord; readonly reason: string }
  /** Nothing is tried until a Secret changes, or (unless a budget is spent) a while has passed. */
  AwaitChange: { readonly recheck: boolean; readonly attempt: number }
}>
export const Activity = Data.taggedEnum<Activity>()

type Step = readonly [State, ReadonlyArray<Notice>]
const none: ReadonlyArray<Notice> = []

export const isFinal = (state: State): boolean => state.phase._tag === "Deleted"

// ---------------------------------------------------------------------------------------------------- activity

export const activity = (state: State): Activity | undefined => {
  if (state.halted !== undefined) return undefined
  return Phase.$match(state.phase, {
    Pending: ({ deleting, waiting }) =>
      deleting
        ? Activity.Release({ claim: undefined, leaving: "deleted" })
        : waiting.every((one) => one.on === "Host")
          ? Activity.Claim()
          : undefined,
    Claimed: ({ claim, attempt, failure, leaving }) =>
      leaving !== "no"
        ? Activity.Release({ claim, leaving })
        : blocked(failure)
          ? Activity.AwaitChange({ recheck: failure.retry === "waitForChange", attempt })
          : Activity.Inspect({ claim, attempt, wait: attempt - 1 }),
    Provisioning: ({ claim, run, attempt, stepAttempt, wait, failure, work }) =>
      blocked(failure)
        ? Activity.AwaitChange({ recheck: failure.retry === "waitForChange", attempt })
        : work === "clean"
          ? Activity.Clean({ claim, run, attempt, wait, next: "rerun" })
          : Activity.Run({ claim, run, attempt, stepAttempt, wait }),
    Ready: () => undefined,
    Cleaning: ({ claim, run, attempt, work, failure }) =>
      work === "clean"
        ? Activity.Clean({ claim, run, attempt, wait: attempt - 1, next: "release" })
        : work === "quarantine"
          ? Activity.Quarantine({ claim, run, reason: failure?.message ?? "cleaning failed" })
          : Activity.Release({ claim, leaving: "deleted" }),
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
      const next = Phase.Claimed({ claim, attempt: 1, failure: undefined, leaving: phase.deleting ? "deleted" : "no" })
      return [to(state, next), [notices.claimed(claim)]]
    },
    HostWaiting: ({ waiting }): Step => {
      const { phase } = state
      if (phase._tag !== "Pending" || Equal.equals(phase.waiting, [waiting])) return [state, none]
      return [to(state, Phase.Pending({ ...phase, waiting: [waiting] })), [notices.waiting(waiting)]]
    },
    Inspected: ({ attempt, run }): Step => {
      const { phase } = state
      if (phase._tag !== "Claimed" || phase.attempt !== attempt || phase.leaving !== "no") return [state, none]
      return [to(state, provisioning(phase.claim, run)), none]
    },
    Progressed: ({ attempt, progress }): Step => {
      const { phase } = state
      if (phase._tag !== "Provisioning" || phase.attempt !== attempt) return [state, none]
      return [to(state, Phase.Provisioning({ ...phase, progress, failures: 0, failure: undefined })), none]
    },
    Provisioned: ({ attempt }): Step => {
      const { phase } = state
      if (phase._tag !== "Provisioning" || phase.attempt !== attempt || phase.work !== "run") return [state, none]
      return [to(state, Phase.Ready({ claim: phase.claim, run: phase.run })), [notices.provisioned(phase.claim)]]
    },
    JournalUnusable: ({ attempt, message }): Step => {
      const { phase } = state
      if (phase._tag !== "Provisioning" || phase.attempt !== attempt) return [state, none]
      const next = Phase.Provisioning({ ...phase, work: "clean", attempt: attempt + 1, progress: undefined })
      return [to(state, next), [notices.startingOver(message)]]
    },
    Cleaned: ({ attempt }): Step => cleaned(state, attempt),
    Failed: ({ attempt, failure }): Step => failed(state, attempt, failure),
    Uncleanable: ({ attempt, failure }): Step => {
      const { phase } = state
      if (phase._tag !== "Cleaning" || phase.attempt !== attempt || phase.work !== "clean") return [state, none]
      const next = Phase.Cleaning({ ...phase, failure, attempt: attempt + 1, work: "quarantine" })
      return [to(state, next), [notices.quarantined(phase.claim, failure)]]
    },
    InputsChanged: (): Step => unblock(state),
    Released: (): Step => released(state)
  })

const to = (state: State, phase: Phase): State => ({ ...state, phase })

export const provisioning = (claim: Claim, run: RunRecord): Phase =>
  Phase.Provisioning({
    claim,
    run,
    attempt: 1,
    stepAttempt: 1,
    failures: 0,
    wait: 0,
    progress: undefined,
    failure: undefined,
    work: "run"
  })

const observe = (before: State, observed: Observed): Step => {
  if (!observed.exists) return [to(before, Phase.Deleted()), none]
  const halted = observed.halted
  const noticed = before.inputs !== observed.inputs
  const state: State = noticed || before.halted !== halted ? { ...before, inputs: observed.inputs, halted } : before
  if (halted !== undefined) return [state, none]
  if (observed.deleting) return leave(state)
  const { phase } = state
  if (phase._tag === "Pending" && !phase.deleting) {
    // The allocator's word stands until something else is missing.
    const waiting = observed.waiting.length > 0 ? observed.waiting : phase.waiting.filter((one) => one.on === "Host")
    return Equal.equals(waiting, phase.waiting)
      ? [state, none]
      : [to(state, Phase.Pending({ ...phase, waiting })), none]
  }
  return noticed ? unblock(state) : [state, none]
}

/** Deletion was asked for. It waits for nothing else: no owner, no Cluster, no bootstrap data (CONTRACT section 1). */
const leave = (state: State): Step =>
  Phase.$match(state.phase, {
    Pending: (phase): Step =>
      phase.deleting ? [state, none] : [to(state, Phase.Pending({ ...phase, deleting: true })), none],
    Claimed: (phase): Step =>
      phase.leaving === "deleted" ? [state, none] : [to(state, Phase.Claimed({ ...phase, leaving: "deleted" })), none],
    Provisioning: ({ claim, run }): Step => [to(state, cleaning(claim, run)), [notices.cleaning(claim)]],
    Ready: ({ claim, run }): Step => [to(state, cleaning(claim, run)), [notices.cleaning(claim)]],
    Cleaning: (): Step => [state, none],
    Deleted: (): Step => [state, none]
  })

export const cleaning = (claim: Claim, run: RunRecord): Phase =>
  Phase.Cleaning({ claim, run, attempt: 1, work: "clean", failure: undefined })

/** Something a person can change has changed: what was blocked is tried again. */
const unblock = (state: State): Step => {
  const { phase } = state
  if (phase._tag === "Claimed" && blocked(phase.failure))
    return [to(state, Phase.Claimed({ ...phase, attempt: phase.attempt + 1, failure: tried(phase.failure) })), none]
  if (phase._tag === "Provisioning" && blocked(phase.failure)) {
    const next = {
      ...phase,
      attempt: phase.attempt + 1,
      stepAttempt: phase.stepAttempt + 1,
      failures: 0,
      wait: 0,
      failure: tried(phase.failure)
    }
    return [to(state, Phase.Provisioning(next)), none]
  }
  return [state, none]
}

const failed = (state: State, attempt: number, failure: Failure): Step => {
  const { phase } = state
  switch (phase._tag) {
    case "Pending":
    case "Ready":
    case "Deleted":
      return [state, none]
    case "Claimed": {
      if (phase.attempt !== attempt || phase.leaving !== "no") return [state, none]
      const spent = failure.retry === "backoff" && attempt >= CONNECT_BUDGET && phase.claim.host !== ""
      const next = spent
        ? Phase.Claimed({ ...phase, failure, leaving: "suspect" })
        : Phase.Claimed({ ...phase, failure, attempt: failure.retry === "backoff" ? attempt + 1 : attempt })
      return [to(state, next), [notices.failed(failure)]]
    }
    case "Provisioning": {
      if (phase.attempt !== attempt) return [state, none]
      const spent = failure.retry === "budget" && phase.stepAttempt >= STEP_BUDGET
      const again = failure.retry === "backoff" || (failure.retry === "budget" && !spent)
      const next = Phase.Provisioning({
        ...phase,
        attempt: again ? attempt + 1 : attempt,
        stepAttempt: failure.retry === "budget" && !spent ? phase.stepAttempt + 1 : phase.stepAttempt,
        failures: phase.failures + 1,
        wait: phase.failures + 1,
        // A failure that will be tried again is not a blocking one, whatever its class.
        failure: again ? tried(failure) : failure
      })
      return [to(state, next), [notices.failed(failure)]]
    }
    case "Cleaning": {
      if (phase.attempt !== attempt || phase.work !== "clean") return [state, none]
      const spent = attempt >= CLEAN_BUDGET
      const next = Phase.Cleaning({
        ...phase,
        failure,
        attempt: attempt + 1,
        work: spent ? "quarantine" : "clean"
      })
      return [to(state, next), [spent ? notices.quarantined(phase.claim, failure) : notices.failed(failure)]]
    }
  }
}

const cleaned = (state: State, attempt: number): Step => {
  const { phase } = state
  if (phase._tag === "Cleaning" && phase.attempt === attempt && phase.work === "clean")
    return [
      to(state, Phase.Cleaning({ ...phase, work: "release", failure: undefined })),
      [notices.cleaned(phase.claim)]
    ]
  if (phase._tag === "Provisioning" && phase.attempt === attempt && phase.work === "clean")
    // The tombstone has this claim's fence: look at the host anew, so that the new run's record has a greater one.
    return [to(state, Phase.Claimed({ claim: phase.claim, attempt: 1, failure: undefined, leaving: "no" })), none]
  return [state, none]
}

const unclaimed = Phase.Pending({ waiting: [], deleting: false })

const released = (state: State): Step => {
  const { phase } = state
  switch (phase._tag) {
    case "Pending":
      return phase.deleting ? [to(state, Phase.Deleted()), none] : [state, none]
    case "Claimed":
      if (phase.leaving === "no") return [state, none]
      return [to(state, phase.leaving === "deleted" ? Phase.Deleted() : unclaimed), none]
    case "Cleaning":
      return phase.work === "clean" ? [state, none] : [to(state, Phase.Deleted()), none]
    case "Provisioning":
    case "Ready":
    case "Deleted":
      return [state, none]
  }
}
