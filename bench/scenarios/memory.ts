/** Owns the scenario `memory`: what the provider itself costs, with everything outside of it in memory and instant. */
import * as Effect from "effect/Effect"
import { SIMULATED_KEY } from "../../src/simulation/hosts/Accounts.ts"
import { makeSimulatedHosts } from "../../src/simulation/hosts/SimulatedHosts.ts"
import { bootstrapCommands, cloudConfig } from "../Bootstrap.ts"
import type { Scenario } from "../Scenario.ts"
import { makeWorld } from "../World.ts"

/** Of the write budget in DESIGN, "Ports". */
const WRITES_PER_MACHINE = 8

/** 10.x.y.z, for any number of hosts we can be asked for. */
const addressOf = (index: number): string => `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`

export const memory: Scenario = {
  name: "memory",
  description:
    "The real provider brings N RemoteMachines from creation to Ready on simulated hosts and a simulated API server, with steps that take no time.",
  unit: "ms",
  better: "less",
  limit: `the write budget alone: ${WRITES_PER_MACHINE} writes of a small object a machine, to the same API server.`,
  parameters: { machines: 200, steps: 4 },
  unavailable: Effect.succeed(undefined),
  setup: Effect.fnUntraced(function* (parameters) {
    const network = yield* makeSimulatedHosts()
    const hosts = Array.from({ length: parameters.machines }, (_, index) => ({ address: addressOf(index), port: 22 }))
    yield* Effect.forEach(hosts, ({ address }) => network.add({ address }), { discard: true })
    const world = yield* makeWorld({
      scenario: "memory",
      hosts,
      ssh: network.client,
      privateKey: SIMULATED_KEY,
      bootstrapData: cloudConfig(bootstrapCommands(parameters["steps"] ?? 1, 0))
    })
    return { run: world.round, limit: world.writesOnly(WRITES_PER_MACHINE) }
  })
}
