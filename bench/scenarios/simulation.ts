/**
 * Owns the scenario `simulation`: what machinist/testing costs its users. A MachineDeployment of N machines, from creation
 * to Running to a clean host, in virtual time, with a bootstrap that takes `bootstrapSeconds` of it.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { TestClock } from "effect/testing"
import { MachineDeployments, makeSimulation, Scripts } from "../../src/testing.ts"
import { BenchError, type Scenario, timed } from "../Scenario.ts"

const BYTES_PER_MEGABYTE = 1_048_576

const failed = ({ message }: { readonly message: string }) => new BenchError({ scenario: "simulation", message })

const wholeLife = Effect.fnUntraced(function* (machines: number, bootstrapSeconds: number) {
  const simulation = yield* makeSimulation({ hosts: machines })
  for (const host of simulation.hosts.hosts()) host.script("start k0s", Scripts.slow(`${bootstrapSeconds} seconds`))
  yield* simulation.addWorkers({ replicas: machines })
  yield* simulation.until("all run", simulation.areRunning(machines))
  yield* simulation.kube.delete(MachineDeployments, { namespace: "default", name: "workers" })
  yield* simulation.until(
    "no host is claimed",
    Effect.sync(() => simulation.claims().length === 0)
  )
  return process.memoryUsage().rss
})

export const simulation: Scenario = {
  name: "simulation",
  description:
    "A MachineDeployment of N machines in a simulated cluster with the real provider: created, running, deleted, every host clean; in virtual time.",
  unit: "machines/s",
  better: "more",
  limit: "none: the same work without a provider does not exist.",
  parameters: { machines: 200, bootstrapSeconds: 10 },
  unavailable: Effect.succeed(undefined),
  setup: (parameters) =>
    Effect.succeed({
      run: Effect.gen(function* () {
        let bytes = 0
        const life = wholeLife(parameters.machines, parameters["bootstrapSeconds"] ?? 0).pipe(
          Effect.tap((rss) =>
            Effect.sync(() => {
              bytes = rss
            })
          ),
          Effect.scoped,
          // The time of the simulation is virtual, that of the measurement around it is not.
          Effect.provide(Layer.merge(TestClock.layer(), Logger.layer([]))),
          Effect.mapError(failed)
        )
        const { value } = yield* timed(life)
        const also = { seconds: value / 1000, rssMegabytes: bytes / BYTES_PER_MEGABYTE }
        return { value: (parameters.machines * 1000) / value, also }
      })
    })
}
