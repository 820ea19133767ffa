/**
 * Owns the scenario `seeds`: how many seeded simulations (topology and faults drawn, all checkers, to the end) one process
 * runs in a second. `npm run simulate:seeds` does that in several.
 */
import * as Effect from "effect/Effect"
import { seed } from "../../test/simulation/seeds.ts"
import { BenchError, type Scenario, timed } from "../Scenario.ts"

const failed = (message: string): BenchError => new BenchError({ scenario: "seeds", message })

/** A seed that finds something is no measurement. */
const one = Effect.fnUntraced(function* (number: number) {
  const { violations } = yield* Effect.mapError(seed(number), ({ message }) => failed(message))
  const message = `seed ${number} found something: SEED=${number} npm test -- test/simulation/seeds.test.ts tells it`
  if (violations.length > 0) return yield* failed(message)
})

/** Faults are errors by the thousand: as the sweep does, without their traces. */
const withoutTraces = Effect.acquireRelease(
  Effect.sync(() => {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    return limit
  }),
  (limit) =>
    Effect.sync(() => {
      Error.stackTraceLimit = limit
    })
)

export const seeds: Scenario = {
  name: "seeds",
  description: "Seeded simulations, one after the other: drawn, run, settled, judged.",
  unit: "seeds/s",
  better: "more",
  limit: "none: the same work without a provider does not exist.",
  // Each seed draws its own, a few at a time.
  parameters: { machines: 1, seeds: 20, from: 1 },
  unavailable: Effect.succeed(undefined),
  setup: ({ seeds: count = 1, from = 1 }) =>
    Effect.as(withoutTraces, {
      run: Effect.gen(function* () {
        const numbers = Array.from({ length: count }, (_, index) => from + index)
        const { value } = yield* timed(Effect.forEach(numbers, one, { discard: true }))
        return { value: (count * 1_000) / value, also: { seconds: value / 1_000 } }
      })
    })
}
