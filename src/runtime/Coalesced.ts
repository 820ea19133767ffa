/**
 * Owns work by key that may be asked for more often than it has to be done: what is asked for within a while is done
 * once, some keys side by side; what fails is done again with the next round, what breaks after a pause. Knows no kind, no kube, no SSH.
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

/** After a defect, until the key is worked on again, milliseconds. */
export const DEFECT_PAUSE_MILLIS = 5_000

/** Returns how work is asked for. Bounded by the number of keys. */
export const make = <E, R>(
  options: Options<E, R>
): Effect.Effect<(key: string) => Effect.Effect<void>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const asked = new Set<string>()
    const wake = yield* Queue.sliding<void>(1)
    const ask = (key: string): Effect.Effect<void> =>
      Effect.suspend(() => {
        asked.add(key)
        return Effect.asVoid(Queue.offer(wake, undefined))
      })
    const one = (key: string) =>
      options.work(key).pipe(
        Effect.catch((error) => Effect.andThen(options.failed(key, error), ask(key))),
        Effect.catchDefect((defect) =>
          options
            .failed(key, { defect })
            .pipe(Effect.andThen(Effect.forkIn(Effect.delay(ask(key), DEFECT_PAUSE_MILLIS), scope)), Effect.asVoid)
        )
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
