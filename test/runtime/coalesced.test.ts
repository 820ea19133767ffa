/**
 * Holds: what is asked for within a while is done once a key; failures and defects are done again and hold up no other
 * key; what is asked for while it is done is done again.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import * as Coalesced from "../../src/runtime/Coalesced.ts"

describe("Coalesced", () => {
  it.effect("folds, retries, and goes on after a defect", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      const failures: Array<string> = []
      const ask = yield* Coalesced.make<string, never>({
        settleMillis: 100,
        concurrency: 2,
        work: (key) =>
          Effect.suspend(() => {
            done.push(key)
            const times = done.filter((one) => one === key).length
            if (key === "fails" && times === 1) return Effect.fail("no")
            return key === "breaks" && times === 1 ? Effect.die("broken") : Effect.void
          }),
        failed: (key, failure) =>
          Effect.sync(() => {
            failures.push(`${key}: ${typeof failure === "string" ? failure : String(failure.defect)}`)
          })
      })
      for (const key of ["a", "a", "fails", "breaks", "a"]) yield* ask(key)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(done.sort(), ["a", "breaks", "fails"])
      assert.deepStrictEqual(failures.sort(), ["breaks: broken", "fails: no"])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(done.sort(), ["a", "breaks", "fails", "fails"])
      yield* TestClock.adjust(Coalesced.DEFECT_PAUSE_MILLIS + 100)
      assert.deepStrictEqual(done.sort(), ["a", "breaks", "breaks", "fails", "fails"])
    }).pipe(Effect.scoped)
  )

  it.effect("asked for again while it is done: done again", () =>
    Effect.gen(function* () {
      let times = 0
      const ask = yield* Coalesced.make<never, never>({
        settleMillis: 100,
        concurrency: 1,
        work: () =>
          Effect.andThen(
            Effect.sync(() => {
              times += 1
            }),
            Effect.sleep(1_000)
          ),
        failed: () => Effect.void
      })
      yield* ask("a")
      yield* TestClock.adjust(500)
      yield* ask("a")
      yield* TestClock.adjust(3_000)
      assert.strictEqual(times, 2)
    }).pipe(Effect.scoped)
  )

  it.effect("what fails for good is tried less and less often, and at once again when it is asked for anew", () =>
    Effect.gen(function* () {
      let times = 0
      let broken = true
      const ask = yield* Coalesced.make<string, never>({
        settleMillis: 100,
        concurrency: 1,
        work: () =>
          Effect.suspend(() => {
            times += 1
            return broken ? Effect.fail("no") : Effect.void
          }),
        failed: () => Effect.void
      })
      yield* ask("a")
      yield* TestClock.adjust("10 minutes")
      // Doubling from a tenth of a second to a minute, then once a minute.
      assert.isAtMost(times, 21)
      assert.isAtLeast(times, 12)
      broken = false
      const before = times
      yield* ask("a")
      yield* TestClock.adjust(100)
      assert.strictEqual(times, before + 1)
    }).pipe(Effect.scoped)
  )
})
