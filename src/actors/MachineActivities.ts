/**
 * Owns what each activity of a RemoteMachine does in the world: ask for a host, look at it, run, clean, give it back.
 * Every one may be interrupted anywhere and started again; it reports facts, and decides nothing (domain/Machine does).
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { machineDataSecretName } from "../api/ClusterApiView.ts"
import { Secrets } from "../api/Core.ts"
import * as Names from "../api/Names.ts"
import type { RemoteMachine } from "../api/RemoteMachine.ts"
import { backoffMillis, CLEAN_BACKOFF, CONNECT_BACKOFF, STEP_BACKOFF } from "../domain/Backoff.ts"
import type { RunRecord } from "../domain/Claim.ts"
import { Activity, Event, type Failure, type LastStep } from "../domain/Machine.ts"
import type { HostError } from "../hosts/HostError.ts"
import type { HostAccess, HostRunsShape } from "../hosts/HostRuns.ts"
import type { TenancyRecord, Tenant } from "../hosts/Protocol.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import { KubeError } from "../kube/KubeError.ts"
import { isUnpinned, pinsOf } from "./HostPins.ts"
import * as HostPlan from "./HostPlan.ts"
import type { KeyGuardShape } from "./KeyGuard.ts"
import { hostFailure, inputFailure } from "./MachineFailures.ts"
import type { Surroundings } from "./MachineInputs.ts"
import { ObjectChanged } from "./ObjectRecorder.ts"
import { annotation, keyOf, runOf } from "./Objects.ts"
import { changed } from "./ObjectWatch.ts"
import type { PoolAllocatorShape } from "./PoolAllocator.ts"
import { CLEANING_MILLIS, cleaningTimedOut, limitsOf, RunLimits, timedOut } from "./RunLimits.ts"

/** What someone may have mended where no watch shows it (on the host) is looked at again after this long, milliseconds. */
export const RECHECK_MILLIS = 60_000
/** Trying to tell a host that it is quarantined may take this long, milliseconds. */
export const QUARANTINE_MILLIS = 30_000

export interface Services {
  readonly kube: KubeClientShape
  readonly hosts: HostRunsShape
  readonly allocator: PoolAllocatorShape
  readonly keys: KeyGuardShape
  readonly current: () => RemoteMachine
  /** The allocator and the API answer with newer objects than the caches have. */
  readonly seen: (machine: RemoteMachine) => void
  readonly around: () => Effect.Effect<Surroundings>
}

type Post = (event: Event) => Effect.Effect<void>
type Acting = Effect.Effect<void, KubeError | ObjectChanged>

export const make = (services: Services) => {
  const { kube, hosts, allocator, current, around } = services
  const claimant = () => {
    const { namespace = "", name, uid = "" } = current().metadata
    return { namespace, name, uid, pool: current().spec.pool }
  }
  const pause = (policy: typeof CONNECT_BACKOFF, failures: number) =>
    failures === 0
      ? Effect.void
      : Effect.flatMap(Random.next, (random) => Effect.sleep(backoffMillis(policy, failures, random)))

  /** Read when the host was looked at, for the run that follows: the same bytes say the same. */
  let read: HostPlan.Bootstrap | undefined
  const readAlready = (dataHash: string): HostPlan.Bootstrap | undefined => {
    const known = read?.dataHash === dataHash ? read : undefined
    read = undefined
    return known
  }

  const claim = (post: Post): Acting =>
    Effect.gen(function* () {
      const who = claimant()
      const done = yield* allocator.claim(
        who.pool !== undefined || current().spec.address === undefined ? who : { ...who, pool: undefined },
        (waiting) => post(Event.HostWaiting({ waiting }))
      )
      services.seen(done.machine)
      yield* post(Event.HostClaimed({ claim: done.claim }))
    })

  const release = (activity: Extract<Activity, { _tag: "Release" }>, post: Post): Acting =>
    Effect.andThen(
      allocator.release(claimant(), activity.claim, activity),
      post(Event.Released({ leaving: activity.leaving }))
    )

  /** The host serves somebody else: one of this cluster's, whom an old list hid, or a stranger. */
  const refusal = Effect.fnUntraced(function* (machine: RemoteMachine, tenancy: TenancyRecord) {
    const here = yield* allocator.tenantHere(claimant(), tenancy.claim)
    if (here !== undefined) return inputFailure("AddressInUse", here)
    const another = yield* allocator.hasAnother(claimant())
    return { ...foreign(machine, tenancy), ...(another ? { another } : {}) }
  })

  /** Reads everything and connects; the host stays untouched. */
  const inspect = ({ claim, attempt, wait }: Extract<Activity, { _tag: "Inspect" }>, post: Post): Acting => {
    const work = Effect.gen(function* () {
      yield* pause(CONNECT_BACKOFF, wait)
      const machine = current()
      const surroundings = yield* around()
      yield* Effect.fromResult(limitsOf(machine, yield* RunLimits))
      const source = yield* HostPlan.source(kube, machine, surroundings)
      // Data that can't be run is told of before a host is asked for anything.
      const early = yield* HostPlan.bootstrap(source, machine, claim, undefined)
      read = early
      const access = yield* HostPlan.access(kube, machine)
      const fence = runOf(machine)?.fence ?? 0
      const report = yield* Effect.mapError(
        hosts.inspect(access, HostPlan.tenant(machine, claim, fence, surroundings)),
        (error) => hostFailure(error, machine, HostPlan.redaction(early, access))
      )
      const { tenancy } = report
      const held = tenancy !== undefined && tenancy.claim !== claim.id && tenancy.state !== "free"
      if (held && !mayAdopt(machine)) return yield* Effect.flatMap(refusal(machine, tenancy), Effect.fail)
      const data = early ?? (yield* HostPlan.bootstrap(source, machine, claim, HostPlan.factsOf(report)))
      if (data === undefined) return yield* Effect.die("facts were given")
      // Once the host is touched it must be possible to clean it.
      yield* services.keys.hold(machine)
      const startedAt = yield* now
      const run = {
        ...HostPlan.runRecord(surroundings, data, Math.max(fence, tenancy?.fence ?? 0) + 1),
        startedAt
      }
      const pins = pinsOf(machine, access.target, report)
      yield* post(Event.Inspected({ attempt, run, ...(pins === undefined ? {} : { pins }) }))
    })
    return Effect.catch(work, (failure) => post(Event.Failed({ attempt, failure })))
  }

  /**
   * A host that was in use before anyone pinned its key (a machine taken over, or a pin that a person took away) is only
   * looked at: once the pin is written, the activity begins anew. Nothing secret is said to whoever answers till then.
   */
  const pinned = <E>(
    work: { readonly access: HostAccess; readonly who: Tenant; readonly attempt: number; readonly post: Post },
    act: Effect.Effect<void, E>
  ): Effect.Effect<void, E | HostError> => {
    const { access, who, attempt, post } = work
    if (!isUnpinned(access.target)) return act
    return Effect.flatMap(hosts.inspect(access, who), (report) => {
      const pins = pinsOf(current(), access.target, report)
      return pins === undefined ? act : post(Event.HostKeysSeen({ attempt, pins }))
    })
  }

  /** One exec: starts the run, or re-attaches to it, and follows it to its end. */
  const run = (activity: Extract<Activity, { _tag: "Run" }>, post: Post): Acting => {
    const { attempt, stepAttempt, wait, pace } = activity
    const failed = (failure: Failure) => post(Event.Failed({ attempt, failure }))
    return Effect.gen(function* () {
      yield* pause(pace === "step" ? STEP_BACKOFF : CONNECT_BACKOFF, wait)
      const machine = current()
      const surroundings = yield* around()
      const source = yield* HostPlan.source(kube, machine, surroundings)
      const data =
        readAlready(source.dataHash) ?? (yield* HostPlan.bootstrap(source, machine, activity.claim, activity.run.facts))
      // A template without the facts that it was rendered with is not what the host was being provisioned with either.
      if (data?.dataHash !== activity.run.dataHash)
        return yield* post(Event.JournalUnusable({ attempt, message: OTHER_DATA, newData: true }))
      const access = yield* HostPlan.access(kube, machine)
      const who = HostPlan.tenant(machine, activity.claim, activity.run.fence, surroundings)
      const { stepSeconds, bootstrapSeconds } = yield* Effect.fromResult(limitsOf(machine, yield* RunLimits))
      const request = HostPlan.runRequest(machine, who, data, stepAttempt, stepSeconds)
      const of = request.steps.length
      let last: LastStep = { of, name: request.steps[of - 1]?.name ?? "" }
      const act = hosts.run(access, request).pipe(
        Stream.runForEach(
          Effect.fnUntraced(function* (event) {
            if (event._tag !== "StepStarted") return
            const startedAt = yield* now
            const name = request.steps[event.step]?.name ?? ""
            if (event.step === of - 1) last = { ...last, startedAt }
            yield* post(Event.Progressed({ attempt, progress: { step: event.step + 1, of, name, startedAt } }))
          })
        ),
        Effect.andThen(Effect.suspend(() => post(Event.Provisioned({ attempt, last }))))
      )
      yield* Effect.catch(pinned({ access, who, attempt, post }, act), (error) =>
        runError(error, attempt, post, HostPlan.redaction(data, access))
      ).pipe(
        Effect.timeoutOrElse({
          duration: yield* left(activity.run, bootstrapSeconds),
          orElse: () => failed(timedOut(machine, bootstrapSeconds))
        })
      )
    }).pipe(Effect.catch((error) => (error instanceof ObjectChanged ? Effect.fail(error) : failed(error))))
  }

  const runError = (error: HostError, attempt: number, post: Post, redact: (text: string) => string) => {
    switch (error.reason) {
      // Someone acts for this claim with a newer fence: what this life knows is out of date.
      case "StaleFence":
        return Effect.fail(new ObjectChanged({ object: keyOf(current()) }))
      case "DataChanged":
      case "JournalLost":
      case "Released":
        return post(Event.JournalUnusable({ attempt, message: redact(error.message) }))
      case "ForeignTenant":
      case "Quarantined":
        return post(
          mayAdopt(current())
            ? Event.JournalUnusable({ attempt, message: ADOPTING })
            : Event.Failed({ attempt, failure: hostFailure(error, current(), redact) })
        )
      default:
        return post(Event.Failed({ attempt, failure: hostFailure(error, current(), redact) }))
    }
  }

  const clean = (activity: Extract<Activity, { _tag: "Clean" }>, post: Post): Acting => {
    const { claim, attempt, tries, wait, next } = activity
    return Effect.gen(function* () {
      if (wait > 0) yield* Effect.raceFirst(pause(CLEAN_BACKOFF, wait), keysChange)
      const machine = current()
      if (HostPlan.isUncleanable(machine, activity.run))
        return yield* post(Event.Uncleanable({ attempt, failure: uncleanable(machine, activity.run) }))
      const access = yield* HostPlan.access(kube, machine)
      const who = HostPlan.tenant(machine, claim, activity.run.fence, yield* around())
      const request = HostPlan.cleanRequest(machine, who, activity.run, tries, next === "rerun" && mayAdopt(machine))
      const act = Effect.andThen(Stream.runDrain(hosts.clean(access, request)), post(Event.Cleaned({ attempt })))
      yield* pinned({ access, who, attempt, post }, act).pipe(
        Effect.catch((error) => {
          // Crash-point table, row "cleared, before finalizer". The host's own record is the last authority, not the
          // PooledRemoteMachine's: another tenant could only come once ours was gone.
          if (error.reason === "Released" || (error.reason === "ForeignTenant" && next === "release"))
            return post(Event.Cleaned({ attempt }))
          if (error.reason === "StaleFence") return Effect.fail(new ObjectChanged({ object: keyOf(machine) }))
          return post(
            Event.Failed({ attempt, failure: hostFailure(error, machine, HostPlan.redaction(undefined, access)) })
          )
        }),
        Effect.timeoutOrElse({
          duration: CLEANING_MILLIS,
          orElse: () => post(Event.Failed({ attempt, failure: cleaningTimedOut(machine) }))
        })
      )
    }).pipe(
      Effect.catch((error) =>
        error instanceof ObjectChanged || error instanceof KubeError
          ? Effect.fail(error)
          : post(Event.Failed({ attempt, failure: error }))
      )
    )
  }

  const quarantine = (activity: Extract<Activity, { _tag: "Quarantine" }>, post: Post): Acting =>
    Effect.gen(function* () {
      const { claim, run, reason } = activity
      const machine = current()
      const who = HostPlan.tenant(machine, claim, run.fence, yield* around())
      const tell = Effect.flatMap(HostPlan.access(kube, machine), (access) => hosts.quarantine(access, who))
      // A host outside pools has nobody else to remember it; one that can't be reached can't be told.
      yield* tell.pipe(Effect.timeout(QUARANTINE_MILLIS), Effect.ignore)
      yield* allocator.quarantine(claimant(), { ...claim, run }, reason)
      yield* post(Event.Released({ leaving: "deleted" }))
    })

  /** Ends when a key that opens the host, or the way to it, has been changed: what failed for it is tried at once. */
  const keysChange: Effect.Effect<void> = Effect.suspend(() => {
    const machine = current()
    const namespace = machine.metadata.namespace ?? ""
    return Effect.raceAllFirst([
      Effect.never,
      ...HostPlan.keySecrets(machine).map((name) => changed(kube, Secrets, namespace, name))
    ])
  })

  /** Ends when a Secret that the machine needs is another one than now, or it is time to look at the host again. */
  const awaitChange = ({ recheck }: Extract<Activity, { _tag: "AwaitChange" }>, post: Post): Acting =>
    Effect.gen(function* () {
      const machine = current()
      const { owner } = yield* around()
      const data = owner === undefined ? undefined : machineDataSecretName(owner)
      const names = [...HostPlan.keySecrets(machine), ...(data === undefined ? [] : [data])]
      const watches = names.map((name) => changed(kube, Secrets, machine.metadata.namespace ?? "", name))
      const timer = recheck ? Effect.sleep(RECHECK_MILLIS) : Effect.never
      yield* Effect.raceAllFirst([timer, ...watches])
      yield* post(Event.InputsChanged())
    })

  return (activity: Activity, post: Post): Acting =>
    Activity.$match(activity, {
      Claim: () => claim(post),
      Release: (one) => release(one, post),
      Inspect: (one) => inspect(one, post),
      Run: (one) => run(one, post),
      Clean: (one) => clean(one, post),
      Quarantine: (one) => quarantine(one, post),
      AwaitChange: (one) => awaitChange(one, post)
    })
}

const now = Effect.map(Clock.currentTimeMillis, (millis) => DateTime.formatIso(DateTime.makeUnsafe(millis)))

/** Of the whole bootstrap's time, milliseconds. A machine that was taken over, or is older than this, begins now. */
const left = (run: RunRecord, seconds: number) =>
  Effect.map(Clock.currentTimeMillis, (millis) => {
    const started = run.startedAt === undefined ? Number.NaN : Date.parse(run.startedAt)
    return Math.max(0, seconds * 1_000 - (Number.isNaN(started) ? 0 : millis - started))
  })

const OTHER_DATA =
  "The bootstrap data is not what this host was being provisioned with: the host is cleaned, then provisioned anew."

const ADOPTING =
  "The host is another tenant's, or quarantined, and this machine may adopt it: the host is cleaned, then provisioned."

/** A person said that whoever held the host has no right to it any more. */
const mayAdopt = (machine: RemoteMachine): boolean => annotation(machine, Names.ADOPT_FOREIGN_ANNOTATION) !== undefined

const foreign = (machine: RemoteMachine, tenancy: TenancyRecord): Failure => ({
  reason: "ForeignTenant",
  message:
    `Host ${machine.spec.address ?? ""} of ${keyOf(machine)} already serves RemoteMachine ${tenancy.machine} (claim ${tenancy.claim}), ` +
    "perhaps of another management cluster. Delete that machine, use another host, or, if that tenant is no more, " +
    `annotate this RemoteMachine with ${Names.ADOPT_FOREIGN_ANNOTATION}: the host is then cleaned first.`,
  retry: "waitForChange"
})

const uncleanable = (machine: RemoteMachine, run: RunRecord): Failure =>
  inputFailure(
    "NoCleanUpCommands",
    `${keyOf(machine)} was bootstrapped by ${run.bootstrapKind}: only its users know how to clean that, and no customCleanUpCommands say it.`
  )
