/**
 * Owns work by key that may be asked for more often than it has to be done: what is asked for within a while is done
 * once, some keys side by side; what fails is done again, each time after twice as long; what breaks after a pause. Knows no kind, no kube, no SSH.
 */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"

export interface Options<E, R> {
  /** Everything asked for within this time, milliseconds, is one piece of work a key. */
  readonly settleMillis: number
  /** Keys that are worked on at one time. */
  readonly concurrency: number
  /** Its failure means: again. */
  readonly work: (key: string) => Effect.Effect<void, E, R>
  /** Told of a failure or a defect, which ends nothing but this piece of work. */
  readonly failed: (key: string, failure: E | { readonly defect: unknown }) => Effect.Effect<void>
}

/** What fails again and again is not tried more often than this, milliseconds. */
export const FAILURE_CAP_MILLIS = 60_000
/** After a defect, until the key is worked on again, milliseconds. */
export const DEFECT_PAUSE_MILLIS = 5_000

/** Returns how work is asked for. Bounded by the number of keys. */
export const make = <E, R>(
  options: Options<E, R>
): Effect.Effect<(key: string) => Effect.Effect<void>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const asked = new Set<string>()
    /** In a row, by key. */
    const failures = new Map<string, number>()
    const wake = yield* Queue.sliding<void>(1)
    const ask = (key: string): Effect.Effect<void> =>
      Effect.suspend(() => {
        asked.add(key)
        return Effect.asVoid(Queue.offer(wake, undefined))
      })
    const later = (key: string, millis: number) => Effect.asVoid(Effect.forkIn(Effect.delay(ask(key), millis), scope))
    const again = (key: string) =>
      Effect.suspend(() => {
        const before = failures.get(key) ?? 0
        failures.set(key, before + 1)
        // The first time with the next round: usually somebody else wrote, and that is over.
        const pause = before === 0 ? 0 : options.settleMillis * 2 ** before
        return later(key, Math.min(FAILURE_CAP_MILLIS, pause))
      })
    const one = (key: string) =>
      options.work(key).pipe(
        Effect.tap(() => Effect.sync(() => failures.delete(key))),
        Effect.catch((error) => Effect.andThen(options.failed(key, error), again(key))),
        Effect.catchDefect((defect) => Effect.andThen(options.failed(key, { defect }), later(key, DEFECT_PAUSE_MILLIS)))
      )
    const round = Effect.gen(function* () {
      yield* Queue.take(wake)
      yield* Effect.sleep(options.settleMillis)
      const keys = [...asked]
      asked.clear()
      yield* Effect.forEach(keys, one, { concurrency: options.concurrency, discard: true })
    })
    yield* Effect.forkScoped(Effect.forever(round))
    return ask
  })
