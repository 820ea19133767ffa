/** Holds how often progress is shown: once a second by one object, and no more than twenty times a second by all of them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import * as ProgressPace from "../../src/actors/ProgressPace.ts"

const times = <A, E, R>(count: number, work: Effect.Effect<A, E, R>) =>
  Effect.all(Array.from({ length: count }, () => work))

describe("ProgressPace", () => {
  it.effect("one alone waits for its second, each time", () =>
    Effect.gen(function* () {
      const pace = ProgressPace.make()
      assert.strictEqual(yield* pace, ProgressPace.PROGRESS_INTERVAL_MILLIS)
      yield* TestClock.adjust(ProgressPace.PROGRESS_INTERVAL_MILLIS)
      assert.strictEqual(yield* pace, ProgressPace.PROGRESS_INTERVAL_MILLIS)
    })
  )

  it.effect("many at once are spread out, and none waits longer than the longest", () =>
    Effect.gen(function* () {
      const pace = ProgressPace.make()
      const hundred = yield* times(100, pace)
      assert.strictEqual(hundred[0], 1_000)
      assert.strictEqual(hundred[20], 2_000)
      assert.strictEqual(hundred[99], 1_000 + 99 * 50)
      const thousand = yield* times(900, pace)
      assert.strictEqual(thousand.at(-1), ProgressPace.PROGRESS_LONGEST_MILLIS)
      assert.isTrue(thousand.every((wait) => wait <= ProgressPace.PROGRESS_LONGEST_MILLIS))
    })
  )

  it.effect("whoever shares nothing keeps to its own interval", () =>
    Effect.gen(function* () {
      const pace = yield* ProgressPace.ProgressPace
      assert.deepStrictEqual(yield* times(3, pace), [1_000, 1_000, 1_000])
    })
  )
})
