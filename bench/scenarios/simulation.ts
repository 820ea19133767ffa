/**
 * Owns the scenario `simulation`: what machinist/testing costs its users. A MachineDeployment of N machines, from creation
 * to Running to a clean host, in virtual time, with a bootstrap that takes `bootstrapSeconds` of it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { TestClock } from "effect/testing"
import { MachineDeployments, makeSimulation, Scripts } from "../../src/testing.ts"
import { used } from "../Memory.ts"
import { BenchError, type Scenario } from "../Scenario.ts"

/** The clock waits so long (real time) for what it woke before it goes on without: no busy machine may change a run. */
const BUSY = "10 minutes"

const failed = ({ message }: { readonly message: string }) => new BenchError({ scenario: "simulation", message })

/** `real`: the clock of the measurement; that of the simulation is virtual. Looking at the memory is not measured. */
const wholeLife = Effect.fnUntraced(function* (machines: number, bootstrapSeconds: number, real: Clock.Clock) {
  const measured = <A, E, R>(work: Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      const begun = real.currentTimeMillisUnsafe()
      return Effect.map(work, () => (real.currentTimeMillisUnsafe() - begun) / 1_000)
    })
  const cpu = process.cpuUsage()
  const simulation = yield* makeSimulation({ hosts: machines })
  for (const host of simulation.hosts.hosts()) host.script("start k0s", Scripts.slow(`${bootstrapSeconds} seconds`))
  const up = yield* measured(
    Effect.andThen(
      simulation.addWorkers({ replicas: machines }),
      simulation.until("all run", simulation.areRunning(machines))
    )
  )
  const running = yield* used
  const down = yield* measured(
    Effect.andThen(
      simulation.kube.delete(MachineDeployments, { namespace: "default", name: "workers" }),
      simulation.until(
        "no host is claimed",
        Effect.sync(() => simulation.claims().length === 0)
      )
    )
  )
  const { system, user } = process.cpuUsage(cpu)
  return {
    cpuSeconds: (system + user) / 1_000_000,
    upSeconds: up,
    downSeconds: down,
    virtualSeconds: (yield* Clock.currentTimeMillis) / 1_000,
    liveMebibytes: running.live,
    rssMebibytes: running.rss
  }
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
        const real = yield* Clock.Clock
        const also = yield* wholeLife(parameters.machines, parameters["bootstrapSeconds"] ?? 0, real).pipe(
          Effect.scoped,
          Effect.provide(Layer.merge(TestClock.layer({ warningDelay: BUSY }), Logger.layer([]))),
          Effect.mapError(failed)
        )
        return { value: parameters.machines / (also.upSeconds + also.downSeconds), also }
      })
    })
}
