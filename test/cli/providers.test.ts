/**
 * Holds: `--providers` is one of ours or both, anything else is refused by name, and halves apart have Leases apart.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { chosenHalves, leaseName } from "../../src/cli/Providers.ts"
import { HALVES } from "../../src/provider/Options.ts"

describe("--providers", () => {
  it.effect("takes one or both, in any order", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* chosenHalves("bootstrap"), ["bootstrap"])
      assert.deepStrictEqual(yield* chosenHalves("bootstrap, infrastructure"), HALVES)
    })
  )

  it.effect("refuses what is none of ours", () =>
    Effect.gen(function* () {
      for (const text of ["", "core", "bootstrap,core", "bootstrap infrastructure"]) {
        const error = yield* Effect.flip(chosenHalves(text))
        assert.include(error.userMessage, "--providers")
        assert.include(error.userMessage, JSON.stringify(text))
      }
    })
  )

  it("halves that stand in one namespace do not wait for each other's Lease", () => {
    const names = [leaseName(HALVES), ...HALVES.map((half) => leaseName([half]))]
    assert.strictEqual(new Set(names).size, 3)
  })
})
