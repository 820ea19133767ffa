/**
 * Holds the rules of the ClusterRoles to what the provider asks for through crashes, conflicts, deletions, moves and
 * whatever else seeds draw: nothing is refused. (The examples' worlds run each half with its own rights, too.)
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { LEASE_RULES, RULES } from "../../src/api/install/Rbac.ts"
import { type Restricted, restricted } from "../support/rights.ts"
import { seed as seedRun } from "./seeds.ts"

/** Enough that every kind of failure is drawn several times. */
const SEEDS = 12

describe("rights", () => {
  it.live(`the rules are enough for ${SEEDS} seeds`, () =>
    Effect.gen(function* () {
      const all: Array<Restricted> = []
      const wrap = {
        kube: (inner: Parameters<typeof restricted>[0]) => {
          const made = restricted(inner, [...RULES.infrastructure, ...RULES.bootstrap, ...LEASE_RULES])
          all.push(made)
          return made.kube
        }
      }
      for (let seed = 1; seed <= SEEDS; seed++) yield* seedRun(seed, { wrap })
      assert.isAtLeast(all.length, SEEDS)
      assert.deepStrictEqual([...new Set(all.flatMap(({ refused }) => refused()))], [])
    })
  )
})
