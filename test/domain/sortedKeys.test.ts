/** Holds the ordered set of free hosts (domain/SortedKeys) against a plain Set that is sorted each time. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as SortedKeys from "../../src/domain/SortedKeys.ts"

describe("SortedKeys", () => {
  it.effect("whatever is added and removed, also twice: the same keys in order, and no former state is changed", () =>
    Effect.gen(function* () {
      const model = new Set<string>()
      let keys = SortedKeys.empty
      // Grows past several blocks, then shrinks to nothing.
      for (const [chance, rounds] of [
        [9, 3_000],
        [1, 6_000]
      ] as const)
        for (let round = 0; round < rounds; round++) {
          const key = `h${yield* Random.nextIntBetween(0, 900)}`
          const before = keys
          const length = keys.flat().length
          const adds = (yield* Random.nextIntBetween(0, 10)) < chance
          keys = adds ? SortedKeys.add(keys, key) : SortedKeys.remove(keys, key)
          model[adds ? "add" : "delete"](key)
          assert.strictEqual(before.flat().length, length)
          if (round % 50 === 0) assert.deepStrictEqual(keys.flat(), [...model].sort())
        }
      assert.deepStrictEqual(keys.flat(), [...model].sort())
      for (const key of model) keys = SortedKeys.remove(keys, key)
      assert.deepStrictEqual(keys, SortedKeys.empty)
    }).pipe(Random.withSeed("sorted keys"))
  )

  it("the first that suits is found without asking the rest", () => {
    const asked: Array<string> = []
    const keys = ["c", "a", "d", "b"].reduce(SortedKeys.add, SortedKeys.empty)
    const found = SortedKeys.first(keys, (key) => {
      asked.push(key)
      return key >= "b" ? key.toUpperCase() : undefined
    })
    assert.strictEqual(found, "B")
    assert.deepStrictEqual(asked, ["a", "b"])
    assert.isUndefined(SortedKeys.first(keys, () => undefined))
  })
})
