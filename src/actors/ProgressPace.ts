/**
 * Owns how often progress is shown: by one object, and by all objects of the process together. What only shows progress
 * is nobody's to wait for, and each such write is an event for everyone who watches. So the more objects get on at once,
 * the rarer each one's. Does not own what progress is, nor the writing (ObjectRecorder.ts).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** Two status writes of one object that only show progress are at least this far apart, milliseconds. */
export const PROGRESS_INTERVAL_MILLIS = 1_000
/** Progress writes of all objects together, a second, until each would wait for longer than the next bound says. */
export const PROGRESS_WRITES_PER_SECOND = 20
/** Nobody's progress is older than this, milliseconds, however many there are. */
export const PROGRESS_LONGEST_MILLIS = 10_000

/** Says how long to wait, milliseconds, until this write is made, and takes that moment. */
export type ProgressPace = Effect.Effect<number>

/** One for all who share an API server. */
export const make = (): ProgressPace => {
  let free = 0
  return Effect.map(Clock.currentTimeMillis, (now) => {
    const at = Math.min(Math.max(free, now + PROGRESS_INTERVAL_MILLIS), now + PROGRESS_LONGEST_MILLIS)
    free = at + 1_000 / PROGRESS_WRITES_PER_SECOND
    return at - now
  })
}

/** Whoever shares nothing keeps to the interval alone. */
export const ProgressPace = Context.Reference<ProgressPace>("machinist/actors/ProgressPace", {
  defaultValue: () => Effect.succeed(PROGRESS_INTERVAL_MILLIS)
})
