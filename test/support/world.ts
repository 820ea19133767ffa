/**
 * What tests of the provider share beyond the simulation's world (src/simulation/World): virtual time.
 */
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import * as World from "../../src/simulation/World.ts"

export type { Entered } from "../../src/simulation/Processes.ts"

export const makeWorld = World.makeWorld()

/** Virtual time in small steps: what wakes at one moment may sleep again before the next. Seconds. */
export const pass = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds * 4 }), () => TestClock.adjust(250), { discard: true })
