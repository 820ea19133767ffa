/**
 * Owns when a key is reconciled: asked for any number of times it runs once more, never twice at a time; a failure is
 * tried again with capped backoff; a result may ask for a later look. Level-triggered: what changed is not remembered.
 * Does not own what reconciling is.
 */
import * as Cause from "effect/Cause"
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

/** Runs until the scope closes. The queue holds a key at most once, so it is bounded by the number of objects. */
export const make = <E, R>(
  name: string,
  reconcile: (key: string) => Effect.Effect<Again, E, R>
): Effect.Effect<WorkQueue, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const queue = yield* Queue.unbounded<string>()
    const waiting = new Set<string>()
    const running = new Set<string>()
    /** Asked for while it ran. */
    const dirty = new Set<string>()
    const failures = new Map<string, number>()
    const timers = yield* FiberMap.make<string>()
    const idle = Latch.makeUnsafe(true)

    const addNow = (key: string): void => {
      idle.closeUnsafe()
      if (running.has(key)) dirty.add(key)
      else if (!waiting.has(key)) {
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
      else if (running.size === 0 && waiting.size === 0) idle.openUnsafe()
    }

    const one = Effect.gen(function* () {
      const key = yield* Queue.take(queue)
      waiting.delete(key)
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
    return { add, pending: () => waiting.size + running.size, idle: idle.await }
  })
