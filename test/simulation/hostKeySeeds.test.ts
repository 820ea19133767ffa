/**
 * Holds DESIGN's promises through seeds in which hosts get other keys and somebody else answers at their addresses: on
 * top of everything that a seed has, nothing unsafe happens, and once people have looked everything settles.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { drawPlan, type Plan, type Planned } from "../../src/simulation/seeded/Plan.ts"
import { seed, told } from "./seeds.ts"

/** Seeds with two leaders at once are seeds.test.ts's business. */
const SEEDS = 6
const FIRST = 5_000
const BATCH = 3
const IMPOSTOR_CHANCE = 0.1
const MOST_NEW_KEYS = 5
const LONGEST_MILLIS = 240_000

const below = (limit: number) => Random.nextIntBetween(0, limit, { halfOpen: true })

const withNewKeys = Effect.fnUntraced(function* (plan: Plan) {
  const actions: Array<Planned> = plan.actions.filter(({ action }) => action.do !== "twoLeaders")
  const count = 1 + (yield* below(MOST_NEW_KEYS))
  for (let index = 0; index < count; index++) {
    const host = plan.hosts[yield* below(plan.hosts.length)]?.name ?? "h1"
    const at = yield* below(plan.troubleMillis)
    actions.push({ at, action: { do: "newHostKey", host, forMillis: yield* below(LONGEST_MILLIS) } })
  }
  const planned: Plan = {
    ...plan,
    actions: actions.sort((a, b) => a.at - b.at),
    ssh: { ...plan.ssh, impostor: IMPOSTOR_CHANCE }
  }
  return planned
})

const planOf = (number: number) => drawPlan.pipe(Effect.flatMap(withNewKeys), Random.withSeed(`host keys ${number}`))

describe("seeded runs with host keys that change", () => {
  for (let first = FIRST; first < FIRST + SEEDS; first += BATCH)
    it.live(`seeds ${first} to ${first + BATCH - 1}`, () =>
      Effect.gen(function* () {
        for (let number = first; number < first + BATCH; number++) {
          const report = yield* seed(number, { plan: yield* planOf(number) })
          assert.deepStrictEqual(report.violations, [], report.violations.length === 0 ? "" : told(report))
        }
      })
    )
})
