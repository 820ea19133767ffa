/**
 * Owns when a key is reconciled: asked for any number of times it runs once more, never twice at a time; a failure is
 * tried again with capped backoff; a result may ask for a later look. Level-triggered: what changed is not remembered.
 * Does not own what reconciling is.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { KubeError } from "../../kube/KubeError.ts"

/** First wait after a failure, milliseconds; doubled each time up to the last. */
const BACKOFF_FIRST_MILLIS = 50
const BACKOFF_LAST_MILLIS = 10_000
/** Keys of one kind that are worked on at one time. */
const CONCURRENCY = 8

/** Keys whose last run is remembered, for the pace; beyond that all are forgotten. */
const MAX_REMEMBERED = 10_000

/** Milliseconds after which to look again though nothing may have changed; undefined: only when something does. */
export type Again = number | undefined

export interface WorkQueue {
  readonly add: (key: string) => Effect.Effect<void>
  /** Keys that wait or are worked on now; those that only wait for their time are not counted. */
  readonly pending: () => number
  readonly idle: Effect.Effect<void>
}

/** Everyday: someone else wrote first, or the server was away. */
const isQuiet = (cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.squash(cause)
  return error instanceof KubeError && (error.retry === "backoff" || error.reason === "NotFound")
}

/**
 * `paceMillis`: one key is looked at no more often than this; what happens meanwhile is one look, later. For those who
 * count many others. Runs until the scope closes. The queue holds a key at most once, so it is bounded by the number of objects.
 */
export const make = <E, R>(
  name: string,
  reconcile: (key: string) => Effect.Effect<Again, E, R>,
  paceMillis = 0
): Effect.Effect<WorkQueue, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const queue = yield* Queue.unbounded<string>()
    const waiting = new Set<string>()
    const running = new Set<string>()
    /** Asked for while it ran. */
    const dirty = new Set<string>()
    /** Asked for too soon after they ran: wait for their time. */
    const paced = new Set<string>()
    const startedAt = new Map<string, number>()
    const failures = new Map<string, number>()
    const timers = yield* FiberMap.make<string>()
    const idle = Latch.makeUnsafe(true)

    const addNow = (key: string): void => {
      idle.closeUnsafe()
      if (running.has(key)) dirty.add(key)
      else if (!waiting.has(key) && !paced.has(key)) {
        waiting.add(key)
        Queue.offerUnsafe(queue, key)
      }
    }
    const add = (key: string) => Effect.sync(() => addNow(key))
    const addLater = (key: string, millis: number) =>
      FiberMap.run(timers, key, Effect.andThen(Effect.sleep(millis), add(key)))

    const failed = Effect.fnUntraced(function* (key: string, cause: Cause.Cause<E>) {
      if (Cause.hasInterruptsOnly(cause)) return yield* Effect.interrupt
      const count = failures.get(key) ?? 0
      failures.set(key, count + 1)
      const millis = Math.min(BACKOFF_LAST_MILLIS, BACKOFF_FIRST_MILLIS * 2 ** Math.min(count, 20))
      const log = isQuiet(cause) ? Effect.logDebug : Effect.logWarning
      yield* log("reconcile failed, tried again").pipe(
        Effect.annotateLogs({ controller: name, key, inMillis: millis, cause: Cause.pretty(cause) })
      )
      yield* addLater(key, millis)
    })

    const finished = (key: string): void => {
      running.delete(key)
      if (dirty.delete(key)) addNow(key)
      else if (running.size + waiting.size + paced.size === 0) idle.openUnsafe()
    }

    /** How long the key still has to wait, milliseconds; from now on it counts as started when it has not to. */
    const early = (key: string, nowMillis: number): number => {
      const wait = (startedAt.get(key) ?? Number.NEGATIVE_INFINITY) + paceMillis - nowMillis
      if (wait > 0) return wait
      if (startedAt.size >= MAX_REMEMBERED) startedAt.clear()
      if (paceMillis > 0) startedAt.set(key, nowMillis)
      return 0
    }
    const release = (key: string, millis: number) => {
      const now = Effect.sync(() => {
        paced.delete(key)
        addNow(key)
      })
      return FiberMap.run(timers, key, Effect.andThen(Effect.sleep(millis), now))
    }

    const one = Effect.gen(function* () {
      const key = yield* Queue.take(queue)
      // It waits until the very step in which it runs: or it could be asked for, and run, twice at a time.
      const nowMillis = yield* Clock.currentTimeMillis
      waiting.delete(key)
      const wait = early(key, nowMillis)
      if (wait > 0) {
        paced.add(key)
        yield* release(key, wait)
        return
      }
      running.add(key)
      yield* FiberMap.remove(timers, key)
      yield* Effect.suspend(() => reconcile(key)).pipe(
        Effect.matchCauseEffect({
          onFailure: (cause) => failed(key, cause),
          onSuccess: (again) => {
            failures.delete(key)
            return again === undefined ? Effect.void : addLater(key, again)
          }
        }),
        Effect.ensuring(Effect.sync(() => finished(key)))
      )
    })
    for (let worker = 0; worker < CONCURRENCY; worker++) yield* Effect.forkScoped(Effect.forever(one))
    return { add, pending: () => waiting.size + running.size + paced.size, idle: idle.await }
  })
