/**
 * Owns how a simulated host's delays are written down: a fixed time, or a span one is drawn from, in milliseconds.
 * Does not own any particular delay.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/** Milliseconds: fixed, or drawn from min to max inclusive. */
export type Millis = number | readonly [min: number, max: number]

/** 0 neither sleeps nor draws. */
export const pass = (time: Millis): Effect.Effect<void> =>
  typeof time === "number"
    ? time === 0
      ? Effect.void
      : Effect.sleep(time)
    : Effect.flatMap(Random.nextIntBetween(time[0], time[1] + 1), (ms) => Effect.sleep(ms))
