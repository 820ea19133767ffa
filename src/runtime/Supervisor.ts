/**
 * Owns what happens when an actor's life ends badly: that actor alone is started again, with capped backoff; nobody
 * else notices (one_for_one, as OTP says). Knows no kind, no kube, no SSH.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

/** First wait after a failed life, milliseconds; doubles each time. */
export const RESTART_FIRST_MILLIS = 100
/** Longest wait between two lives, milliseconds. */
export const RESTART_LONGEST_MILLIS = 30_000
/** A life that lasted this long, milliseconds, starts the count anew. */
export const RESTART_FORGIVEN_AFTER_MILLIS = 60_000

const restarts = Metric.counter("machinist_actor_restarts_total", {
  description: "Lives of actors that ended with an error or a defect and were started again"
})

/**
 * Runs `life` until it ends by itself; failures and defects are logged and followed by another life.
 * An interruption (shutdown) is not an error. `life` may tell by `isQuiet` which failures are everyday ones
 * (a write conflict), logged at debug level only.
 */
export const supervise = <E, R>(
  name: string,
  life: Effect.Effect<void, E, R>,
  isQuiet: (error: E) => boolean = () => false
): Effect.Effect<void, never, R> =>
  Effect.gen(function* () {
    let failures = 0
    while (true) {
      const startedAt = yield* Clock.currentTimeMillis
      const exit = yield* Effect.exit(life)
      if (exit._tag === "Success") return
      if (Cause.hasInterruptsOnly(exit.cause)) return yield* Effect.interrupt
      if ((yield* Clock.currentTimeMillis) - startedAt >= RESTART_FORGIVEN_AFTER_MILLIS) failures = 0
      const wait = Math.min(RESTART_FIRST_MILLIS * 2 ** Math.min(failures, 20), RESTART_LONGEST_MILLIS)
      failures += 1
      yield* Metric.update(restarts, 1)
      const quiet = exit.cause.reasons.every((reason) => reason._tag === "Fail" && isQuiet(reason.error))
      const log = quiet ? Effect.logDebug : Effect.logError
      yield* log("actor restarts", { actor: name, inMillis: wait, cause: Cause.pretty(exit.cause) })
      yield* Effect.sleep(wait)
    }
  })
