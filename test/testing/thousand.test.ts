/**
 * Holds: a thousand machines live their whole life, from creation to a clean host, in one unit test.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { MachineDeployments, makeSimulation } from "../../src/testing.ts"

const MACHINES = 1_000
const LIMIT_MILLIS = 600_000
/** Real time: a wake that a thousand machines hear of takes longer than the clock's own patience on a busy machine. */
const BUSY = "5 minutes"

it.effect(
  "a thousand machines, created, running, deleted, every host clean",
  () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: MACHINES })
      yield* simulation.addWorkers({ replicas: MACHINES })
      yield* simulation.until("all run", simulation.areRunning(MACHINES))
      assert.lengthOf(simulation.claims(), MACHINES)
      yield* simulation.kube.delete(MachineDeployments, { namespace: "default", name: "workers" })
      yield* simulation.until(
        "no host is claimed",
        Effect.sync(() => simulation.claims().length === 0)
      )
      assert.deepStrictEqual(
        simulation.hosts.hosts().filter((host) => host.residue().length > 0),
        []
      )
      assert.deepStrictEqual(simulation.violations(), [])
    }).pipe(Effect.scoped, Effect.provide(TestClock.layer({ warningDelay: BUSY }))),
  LIMIT_MILLIS
)
