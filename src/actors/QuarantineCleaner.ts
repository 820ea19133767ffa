/**
 * Owns cleaning quarantined pool hosts once more, in the background: seldom, few at a time, for ever. What cleaning needs
 * stands in the claim that the host still carries (domain/Claim); a host that comes out clean is freed as a person would
 * free it, by annotation. Machines are cleaned by their own actors; this is for hosts whose machine is gone.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as Names from "../api/Names.ts"
import { type PooledRemoteMachine, PooledRemoteMachines } from "../api/PooledRemoteMachine.ts"
import { backoffMillis, QUARANTINE_BACKOFF } from "../domain/Backoff.ts"
import { type Claim, encodeClaim, type RunRecord } from "../domain/Claim.ts"
import { CLEAN_BUDGET, type Pins } from "../domain/Machine.ts"
import * as notices from "../domain/MachineNotices.ts"
import { type HostAccess, HostRuns } from "../hosts/HostRuns.ts"
import { KubeClient } from "../kube/KubeClient.ts"
import { EventRecorder } from "./EventRecorder.ts"
import { isUnpinned, pinPatch, pinsOf } from "./HostPins.ts"
import * as HostPlan from "./HostPlan.ts"
import { hostFailure } from "./MachineFailures.ts"
import { annotation, asMachine, claimOf } from "./Objects.ts"
import { CLEANING_MILLIS, cleaningTimedOut } from "./RunLimits.ts"

/** How often it is looked who is due, milliseconds. */
export const TICK_MILLIS = 30_000
/** Hosts that are cleaned at one time: machines must not wait for sessions because of them. */
export const RETRIES_IN_FLIGHT = 2

/** Value of annotation `release` when it was not a person. */
export const RELEASED_CLEAN = "cleaned"

interface Quarantined {
  readonly host: PooledRemoteMachine
  readonly claim: Claim
  readonly run: RunRecord
}

/** Held, gone, moved, or asked to be let alone: not ours to touch. */
const LET_ALONE = [Names.DELETE_FOR_MOVE_ANNOTATION, Names.PAUSED_ANNOTATION, Names.MAINTENANCE_ANNOTATION]

export const quarantinedOf = (host: PooledRemoteMachine): Quarantined | undefined => {
  const claim = claimOf(host)
  if (claim?.quarantined === undefined || claim.run === undefined) return undefined
  const leave =
    host.metadata.deletionTimestamp !== undefined ||
    [...LET_ALONE, Names.RELEASE_ANNOTATION].some((name) => annotation(host, name) !== undefined)
  return leave ? undefined : { host, claim, run: claim.run }
}

const refOf = ({ metadata }: PooledRemoteMachine) => ({ namespace: metadata.namespace ?? "", name: metadata.name })

/**
 * The next fence, durable before the host hears of it: a try that was cut off is followed by a greater one. A host key
 * that nobody has pinned yet is, in the same write.
 */
const takeFence = Effect.fnUntraced(function* ({ host, claim, run }: Quarantined, pins: Pins | undefined) {
  const kube = yield* KubeClient
  const next = { ...run, fence: run.fence + 1 }
  const annotations = {
    ...pinPatch(host, pins),
    [Names.CLAIM_ANNOTATION]: encodeClaim({ ...claim, run: next })
  }
  const written = yield* kube.patch(
    PooledRemoteMachines,
    refOf(host),
    { metadata: { annotations } },
    { uid: host.metadata.uid, resourceVersion: host.metadata.resourceVersion }
  )
  return { run: next, written }
})

/** Nothing is cleaned behind a key that nobody vouches for: a host without a pin is looked at first. */
const seenFirst = Effect.fnUntraced(function* ({ host, claim, run }: Quarantined, access: HostAccess) {
  if (!isUnpinned(access.target)) return undefined
  const hosts = yield* HostRuns
  const who = { claim: claim.id, machine: claim.machine, cluster: "unknown", fence: run.fence }
  const report = yield* Effect.mapError(hosts.inspect(access, who), (error) =>
    hostFailure(error, asMachine(host), HostPlan.redaction(undefined, access))
  )
  return pinsOf(host, access.target, report)
})

const clean = Effect.fnUntraced(function* (one: Quarantined) {
  const { host, claim } = one
  const kube = yield* KubeClient
  const hosts = yield* HostRuns
  const before = yield* HostPlan.access(kube, asMachine(host))
  const pins = yield* seenFirst(one, before)
  const { run, written } = yield* takeFence(one, pins)
  const machine = asMachine(written)
  const access = pins === undefined ? before : yield* HostPlan.access(kube, machine)
  const who = { claim: claim.id, machine: claim.machine, cluster: "unknown", fence: run.fence }
  // Greater than any try before it, and every time another one: the host cleans again only for that.
  const request = HostPlan.cleanRequest(machine, who, run, CLEAN_BUDGET + run.fence, false)
  yield* hosts.clean(access, request).pipe(
    Stream.runDrain,
    Effect.catch((error) =>
      error.reason === "Released"
        ? Effect.void
        : Effect.fail(hostFailure(error, machine, HostPlan.redaction(undefined, access)))
    ),
    Effect.timeoutOrElse({ duration: CLEANING_MILLIS, orElse: () => Effect.fail(cleaningTimedOut(host)) })
  )
})

/** Whether the host is clean now. */
const attempt = Effect.fnUntraced(function* (one: Quarantined) {
  const { host, claim } = one
  const kube = yield* KubeClient
  const events = yield* EventRecorder
  const tell = (notice: ReturnType<typeof notices.failed>) => events.record(PooledRemoteMachines, host, notice)
  return yield* clean(one).pipe(
    Effect.andThen(
      // Not with a resourceVersion: the claim that it is for is checked when it is freed.
      kube.patch(
        PooledRemoteMachines,
        refOf(host),
        { metadata: { annotations: { [Names.RELEASE_ANNOTATION]: RELEASED_CLEAN } } },
        { uid: host.metadata.uid }
      )
    ),
    Effect.andThen(tell(notices.cleaned(claim))),
    Effect.as(true),
    Effect.catch((failure) =>
      // A conflict or an API server that is away is nobody's news; the host's trouble is.
      "_tag" in failure ? Effect.succeed(false) : Effect.as(tell(notices.failed(failure)), false)
    )
  )
})

export interface QuarantineCleaner {
  /** News of a pool host. */
  readonly seen: (host: PooledRemoteMachine) => Effect.Effect<void>
}

/** Lives as long as the scope; does nothing, and looks at nothing, while no host is quarantined. `list`: the cache. */
export const make = Effect.fnUntraced(function* (list: Effect.Effect<ReadonlyArray<PooledRemoteMachine>>) {
  const wake = yield* Queue.sliding<void>(1)
  /** By claim: when it is due, and how often it failed. */
  const due = new Map<string, { readonly at: number; readonly failures: number }>()
  const schedule = Effect.fnUntraced(function* (id: string, failures: number) {
    const wait = backoffMillis(QUARANTINE_BACKOFF, failures, yield* Random.next)
    due.set(id, { at: (yield* Clock.currentTimeMillis) + wait, failures })
  })
  const one = Effect.fnUntraced(function* (quarantined: Quarantined) {
    const { id } = quarantined.claim
    const failures = due.get(id)?.failures ?? 1
    if (yield* attempt(quarantined)) due.delete(id)
    else yield* schedule(id, failures + 1)
  })
  /** How many hosts are quarantined. */
  const tick = Effect.gen(function* () {
    const all = (yield* list).map(quarantinedOf).filter((each) => each !== undefined)
    const ids = new Set(all.map(({ claim }) => claim.id))
    for (const id of due.keys()) if (!ids.has(id)) due.delete(id)
    for (const id of ids) if (!due.has(id)) yield* schedule(id, 1)
    const now = yield* Clock.currentTimeMillis
    // Another provider's work needs commands; until somebody gives them there is nothing to try.
    const ready = all.filter(
      ({ host, claim, run }) => (due.get(claim.id)?.at ?? now) <= now && !HostPlan.isUncleanable(asMachine(host), run)
    )
    yield* Effect.forEach(ready, one, { concurrency: RETRIES_IN_FLIGHT, discard: true })
    return all.length
  })
  const whileAny = Effect.repeat(
    Effect.tap(tick, (count) => (count > 0 ? Effect.sleep(TICK_MILLIS) : Effect.void)),
    {
      while: (count) => count > 0
    }
  )
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Queue.take(wake), whileAny)))
  const cleaner: QuarantineCleaner = {
    seen: (host) => (quarantinedOf(host) === undefined ? Effect.void : Effect.asVoid(Queue.offer(wake, undefined)))
  }
  return cleaner
})
