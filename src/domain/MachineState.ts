/**
 * Owns the vocabulary of one RemoteMachine: its states, what may happen to it, and the durable work it may want
 * (DESIGN, "RemoteMachine"; docs/states.md). Decides nothing: Machine.ts does, and MachineRecovery.ts after a restart.
 */
import * as Data from "effect/Data"
import type { Claim, RunRecord } from "./Claim.ts"
import type { RetryClass } from "./Notice.ts"

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
  /** The host answered so, or not at all; absent: the API server, or an input. */
  readonly ofHost?: true
  /** No try of ours helps; a person's retry begins with a clean host. */
  readonly final?: true
  /** It failed on the way, at a jump host: the host itself is not to be suspected. */
  readonly elsewhere?: true
  /** The host is another tenant's, and another one of its pool is free. */
  readonly another?: true
}

export interface Progress {
  /** From 1. */
  readonly step: number
  readonly of: number
  readonly name: string
  /** RFC 3339. */
  readonly startedAt: string
}

/** Shown when the run is over, whichever steps were seen to start: progress is coalesced, and re-attached runs tell late. */
export interface LastStep {
  readonly of: number
  readonly name: string
  /** RFC 3339; absent: nobody heard of it. */
  readonly startedAt?: string
}

export type Phase = Data.TaggedEnum<{
  /** No host yet. */
  Pending: { readonly waiting: ReadonlyArray<Waiting>; readonly deleting: boolean }
  /** The claim is durable on both objects; the host is untouched. */
  Claimed: {
    readonly claim: Claim
    /** Of the run record that the object may carry: of a run of this claim that was cleaned since. 0: none. */
    readonly fence: number
    /** Of the same record: how often the host was begun on anew. It goes on counting. */
    readonly begunAnew: number
    /** In a row. */
    readonly failures: number
    /** Of these, those that the host is to blame for. */
    readonly unreached: number
    readonly failure: Failure | undefined
    readonly leaving: Leaving
  }
  /** The bootstrap runs, or ran, on the host. */
  Provisioning: {
    readonly claim: Claim
    readonly run: RunRecord
    /** Of the failing step: the host runs it again only for a greater one. Durable, in the run record. */
    readonly stepAttempt: number
    /** Failures in a row; a step that moves forgives them. */
    readonly failures: number
    /** What `failures` was when this attempt began: how long it waits first. */
    readonly wait: number
    /** Whose backoff that wait is: a host that is away is looked for sooner than a failed step is repeated. */
    readonly pace: Pace
    readonly progress: Progress | undefined
    readonly failure: Failure | undefined
    /** `clean`: the journal can't be continued; clean first, then a new run. */
    readonly work: "run" | "clean"
  }
  /** `last`: the step that ended the run; absent after a restart, which has no need of it. */
  Ready: { readonly claim: Claim; readonly run: RunRecord; readonly last?: LastStep }
  Cleaning: {
    readonly claim: Claim
    readonly run: RunRecord
    /** From 1; the host cleans again only for a greater one. */
    readonly tries: number
    /** Failures before this try, as far as it waits for them; 0: it is made at once. */
    readonly wait: number
    readonly work: "clean" | "quarantine" | "release"
    readonly failure: Failure | undefined
  }
  /** Finalizer gone. */
  Deleted: {}
}>
/** Why an untouched host is given back. */
export type Leaving = "no" | "deleted" | "suspect" | "unclean"
export type Pace = "connect" | "step"
export const Phase = Data.taggedEnum<Phase>()

/** Host keys as the annotations have them. One that is seen first is written before anything secret is said there. */
export interface Pins {
  readonly hostKey?: string
  readonly jumpHostKeys?: string
}

export interface State {
  readonly phase: Phase
  /** Of the activity that this state wants: grows with each new one, and makes late results harmless. */
  readonly attempt: number
  /** `paused`: object or Cluster; `moving`: annotated delete-for-move, gone for us. */
  readonly halted: "paused" | "moving" | undefined
  /** Fingerprint of everything a person can change to help; a change of it lets a blocked machine go on. */
  readonly inputs: string
  /** Pins that the object has, or will with this state. */
  readonly pins?: Pins
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
  readonly pins?: Pins
  /** For machines that were ready before annotations of ours existed: uid and name to name their claim by. */
  readonly identity: { readonly uid: string; readonly machine: string }
}

export type Event = Data.TaggedEnum<{
  Observed: { readonly observed: Observed }
  /** The allocator's answer. */
  HostClaimed: { readonly claim: Claim }
  HostWaiting: { readonly waiting: Waiting }
  /** Connected; the host is ours to take: `run` is the record to persist before the first exec that changes it. */
  Inspected: { readonly attempt: number; readonly run: RunRecord; readonly pins?: Pins }
  /** A host that was in use already had no pin: the activity begins anew once it has. */
  HostKeysSeen: { readonly attempt: number; readonly pins: Pins }
  Progressed: { readonly attempt: number; readonly progress: Progress }
  Provisioned: { readonly attempt: number; readonly last?: LastStep }
  Cleaned: { readonly attempt: number }
  /** The journal is lost or of other data: clean, then run anew. `newData`: ours is another now, whatever the host says. */
  JournalUnusable: { readonly attempt: number; readonly message: string; readonly newData?: true }
  Failed: { readonly attempt: number; readonly failure: Failure }
  /** Nobody knows how to clean what another bootstrap provider put there. */
  Uncleanable: { readonly attempt: number; readonly failure: Failure }
  /** A Secret that was waited for changed, or it is time to look at the host again. */
  InputsChanged: {}
  /** Of the release that was asked for: another one's means nothing. */
  Released: { readonly leaving: Exclude<Leaving, "no"> }
}>
export const Event = Data.taggedEnum<Event>()

export type Activity = Data.TaggedEnum<{
  Claim: {}
  /** `fence`: a run record with a greater one means that another leader has touched the host meanwhile. */
  Release: { readonly claim: Claim | undefined; readonly leaving: Exclude<Leaving, "no">; readonly fence: number }
  /** `wait`: failures in a row before this one; the pause it begins with is a function of it (Backoff.ts). */
  Inspect: { readonly claim: Claim; readonly attempt: number; readonly wait: number }
  Run: {
    readonly claim: Claim
    readonly run: RunRecord
    readonly attempt: number
    readonly stepAttempt: number
    readonly wait: number
    readonly pace: Pace
  }
  /** `release`: the machine is deleted; `rerun`: the host is for the same claim again. */
  Clean: {
    readonly claim: Claim
    readonly run: RunRecord
    readonly attempt: number
    readonly tries: number
    readonly wait: number
    readonly next: "release" | "rerun"
  }
  Quarantine: { readonly claim: Claim; readonly run: RunRecord; readonly reason: string }
  /** Nothing is tried until a Secret changes, or (unless a budget is spent) a while has passed. */
  AwaitChange: { readonly recheck: boolean; readonly attempt: number }
}>
export const Activity = Data.taggedEnum<Activity>()

export const provisioning = (claim: Claim, run: RunRecord): Phase =>
  Phase.Provisioning({
    claim,
    run,
    stepAttempt: run.stepAttempt ?? 1,
    failures: 0,
    wait: 0,
    pace: "connect",
    progress: undefined,
    failure: undefined,
    work: "run"
  })

/** `before`: of a run of this claim that was cleaned since. */
export const claimed = (claim: Claim, leaving: Leaving = "no", before?: RunRecord): Phase =>
  Phase.Claimed({
    claim,
    fence: before?.fence ?? 0,
    begunAnew: before?.begunAnew ?? 0,
    failures: 0,
    unreached: 0,
    failure: undefined,
    leaving
  })

export const cleaning = (claim: Claim, run: RunRecord): Phase =>
  Phase.Cleaning({ claim, run, tries: 1, wait: 0, work: "clean", failure: undefined })
