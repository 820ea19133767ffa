/**
 * Owns the scenario `blackhole`: one host among N never answers a connection; what the others' machines lose by it. On
 * simulated hosts: a network that swallows packets needs no real one.
 */
import * as Effect from "effect/Effect"
import { SIMULATED_KEY } from "../../src/simulation/hosts/Accounts.ts"
import { makeSimulatedHosts } from "../../src/simulation/hosts/SimulatedHosts.ts"
import { bootstrapCommands, cloudConfig } from "../Bootstrap.ts"
import { type Scenario, timed } from "../Scenario.ts"
import { makeWorld } from "../World.ts"

const addressOf = (index: number): string => `10.0.${index >> 8}.${index & 255}`

/** N machines on N hosts; measured until all that can be Ready are. */
const worldWith = Effect.fnUntraced(function* (machines: number, steps: number, blackholed: boolean) {
  const network = yield* makeSimulatedHosts()
  const hosts = Array.from({ length: machines }, (_, index) => ({ address: addressOf(index), port: 22 }))
  yield* Effect.forEach(hosts, ({ address }) => network.add({ address }), { discard: true })
  // In the middle, where it is neither the first nor the last that is asked.
  if (blackholed) network.host(addressOf(machines >> 1))?.setReachability("blackholed")
  const world = yield* makeWorld({
    scenario: "blackhole",
    hosts,
    ssh: network.client,
    privateKey: SIMULATED_KEY,
    bootstrapData: cloudConfig(bootstrapCommands(steps, 0))
  })
  return Effect.gen(function* () {
    const fleet = yield* world.fleet(machines)
    const ready = world.expect("Ready", machines - (blackholed ? 1 : 0))
    const sample = yield* timed(Effect.andThen(fleet.create, ready))
    yield* fleet.remove
    return sample
  })
})

export const blackhole: Scenario = {
  name: "blackhole",
  description: "N machines on N hosts of which one never answers: from their creation until the other N-1 are Ready.",
  unit: "ms",
  better: "less",
  limit: "N-1 machines on N-1 hosts that all answer.",
  parameters: { machines: 100, steps: 4 },
  unavailable: Effect.succeed(undefined),
  setup: Effect.fnUntraced(function* ({ machines, steps = 1 }) {
    return {
      run: yield* worldWith(machines, steps, true),
      limit: yield* worldWith(machines - 1, steps, false)
    }
  })
}
