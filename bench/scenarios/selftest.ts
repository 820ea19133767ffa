/** Owns the scenario that checks the frame itself, and the floor of what any other can show: fibers that only wait. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type Scenario, timed } from "../Scenario.ts"

export const selftest: Scenario = {
  name: "selftest",
  description:
    "Starts one fiber a machine, each of which waits a while, and joins them all: the frame and the scheduler.",
  unit: "ms",
  better: "less",
  limit: "one fiber that waits as long.",
  parameters: { machines: 1000, waitMillis: 20 },
  unavailable: Effect.succeed(undefined),
  setup: (parameters) => {
    const wait = Effect.sleep(Duration.millis(parameters["waitMillis"] ?? 0))
    return Effect.succeed({
      run: timed(Effect.replicateEffect(wait, parameters.machines, { concurrency: "unbounded", discard: true })),
      limit: timed(wait)
    })
  }
}
