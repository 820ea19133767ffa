/**
 * Owns that a unit test draws the same "random" numbers each time: backoff and probe jitter, names, ids. A run that fails
 * fails again. What other draws would show is for the seeded simulation to find; MACHINIST_TEST_SEED=… draws others here.
 * A setup file of vitest's: it runs before each test file.
 */
import { beforeEach } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

const real = Math.random
const variant = process.env["MACHINIST_TEST_SEED"] ?? ""

beforeEach(({ task }) => {
  const { nextDoubleUnsafe } = Effect.runSync(Random.Random.pipe(Random.withSeed(`${variant} ${task.name}`)))
  // Effect's Random draws from it where a test gives no seed of its own.
  Math.random = nextDoubleUnsafe
  return () => {
    Math.random = real
  }
})
