/**
 * Holds DESIGN's promises through seeds: whatever fails, crashes or is asked for meanwhile, nothing unsafe ever happens,
 * and once faults stop everything settles. `SEED=n` replays one and prints its story; `MACHINIST_SEEDS` sets how many.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leadingUpTo, SEEDS, seed, seedOnly, shortStory, told } from "./seeds.ts"

const BATCH = 10
/** Found when a seed drew less (Plan.ts, `drawMore`, `drawControlPlane`): they are lived through as they were then. */
const PLAIN_REGRESSIONS = {
  20: "a leader change made a person's retry mean nothing",
  25: "two leaders claimed two hosts for one machine",
  111: "an intent was left on a machine whose host was lost",
  145: "a leader that came back late wrote over the claim of a host that was touched meanwhile",
  147: "a freed host was shown as reserved, for ever",
  299: "a claim that lost its machine was not undone",
  306: "a host was given back as suspect while another leader used it",
  608: "the API server's failures made a host suspect",
  10253: "a host's object was taken away in use, cleaning was given up, and the object was made anew",
  10919: "an old list said that a bootstrap config was gone, and its finalizer was let go before its token",
  10987: "a leader's claim outlived machine and leader: only a person may release the host",
  11599: "a leader that had written nothing let a bootstrap config go whose token another leader had made"
}
const REGRESSIONS = {
  451: "a token that nobody could revoke in eight tries is left to expire, and said so",
  95: "a namespace was deleted before anyone could hold the key: the host's object, made anew, knows of no tenant",
  1999: "an old list hid who has an address, and another one claimed it: it waits until that one leaves",
  2942: "a quarantined host was being cleaned at the moment that was looked at for quiet",
  12473: "the same, of a host outside pools: nobody could tell it that it was given up on",
  5614: "a leader that came back while it gave a host back freed it, though another one used it again by then"
}

describe("seeded runs of the whole provider", () => {
  if (seedOnly !== undefined) {
    it.live(`seed ${seedOnly}`, () =>
      Effect.gen(function* () {
        const report = yield* seed(seedOnly ?? 0)
        process.stdout.write(`${told(report)}\n`)
        assert.deepStrictEqual(report.violations, [])
      })
    )
    return
  }
  for (let first = 1; first <= SEEDS; first += BATCH) {
    const last = Math.min(SEEDS, first + BATCH - 1)
    it.live(`seeds ${first} to ${last}`, () =>
      Effect.gen(function* () {
        const failed: Array<string> = []
        for (let number = first; number <= last; number++) {
          const report = yield* seed(number)
          for (const one of report.violations.slice(0, 3))
            failed.push(`SEED=${number}: ${one.checker} at ${one.at}: ${one.what}`)
          failed.push(...shortStory(report))
        }
        assert.deepStrictEqual(failed, [])
      })
    )
  }

  // Each found a mistake of the provider, or of its checkers, once; whatever the number of seeds, these are lived through.
  for (const [drawn, regressions] of [
    ["plain", PLAIN_REGRESSIONS],
    ["withoutControlPlanes", REGRESSIONS]
  ] as const)
    for (const [number, found] of Object.entries(regressions))
      it.live(`seed ${number} (${drawn}): ${found}`, () =>
        Effect.gen(function* () {
          assert.deepStrictEqual((yield* seed(Number(number), { drawn })).violations, [])
        })
      )

  it("a failing seed is told with what happened last before it", () => {
    const line = (at: number) => `${(at / 1000).toFixed(3).padStart(9)} s  at ${at}`
    const story = Array.from({ length: 100 }, (_, index) => line(index * 70))
    const told = leadingUpTo(story, 1_400)
    assert.deepStrictEqual([told[0], told.at(-1), told.length], [line(420), line(1_400), 15])
    assert.strictEqual(leadingUpTo(story, 0).at(-1), line(6_930))
  })

  it.live("a seed replays exactly", () =>
    Effect.gen(function* () {
      for (const number of [3, 7]) {
        const one = yield* seed(number)
        const two = yield* seed(number)
        assert.strictEqual(one.traceHash, two.traceHash)
        assert.isAbove(one.world.witness.entries().length, 0)
      }
      assert.notStrictEqual((yield* seed(3)).traceHash, (yield* seed(4)).traceHash)
    })
  )
})
