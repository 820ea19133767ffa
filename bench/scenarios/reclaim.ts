/** Owns the scenario `reclaim`: how long a freed host waits for its next machine. On simulated hosts: nothing here is SSH's. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { claimOf } from "../../src/actors/Objects.ts"
import { PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { SIMULATED_KEY } from "../../src/simulation/hosts/Accounts.ts"
import { makeSimulatedHosts } from "../../src/simulation/hosts/SimulatedHosts.ts"
import { bootstrapCommands, cloudConfig } from "../Bootstrap.ts"
import { BenchError, type Scenario } from "../Scenario.ts"
import { median } from "../Statistics.ts"
import { makeWorld, NAMESPACE } from "../World.ts"

const failed = ({ message }: { readonly message: string }) => new BenchError({ scenario: "reclaim", message })

/** Of the two writes that make a claim: on the machine, and on the host. */
const WRITES_A_CLAIM = 2

export const reclaim: Scenario = {
  name: "reclaim",
  description:
    "N hosts, each with a machine, and N machines that wait; the first N are deleted: from the write that frees a host until the one that claims it again, the median host.",
  unit: "ms",
  better: "less",
  limit: "the two writes of a claim alone, for N objects at once, to the same API server.",
  parameters: { machines: 20 },
  unavailable: Effect.succeed(undefined),
  setup: Effect.fnUntraced(function* ({ machines }) {
    const network = yield* makeSimulatedHosts()
    const hosts = Array.from({ length: machines }, (_, index) => ({ address: `10.0.0.${index + 1}`, port: 22 }))
    yield* Effect.forEach(hosts, ({ address }) => network.add({ address }), { discard: true })
    const world = yield* makeWorld({
      scenario: "reclaim",
      hosts,
      ssh: network.client,
      privateKey: SIMULATED_KEY,
      bootstrapData: cloudConfig(bootstrapCommands(1, 0))
    })
    const run = Effect.gen(function* () {
      const first = yield* world.fleet(machines)
      const settled = world.expect("Ready", machines)
      yield* first.create
      yield* settled
      const second = yield* world.fleet(machines)
      const waiting = world.expect("Pending", machines)
      yield* second.create
      yield* waiting

      const { resourceVersion } = yield* Effect.mapError(
        world.user.list(PooledRemoteMachines, { namespace: NAMESPACE }),
        failed
      )
      const freed = new Map<string, number>()
      const waits: Array<number> = []
      const all = yield* Deferred.make<void>()
      const seen = world.user.watch(PooledRemoteMachines, { namespace: NAMESPACE, resourceVersion }).pipe(
        Stream.runForEach((event) =>
          Effect.gen(function* () {
            if (event._tag !== "Modified") return
            const { name } = event.object.metadata
            const now = Number(yield* Clock.currentTimeNanos) / 1e6
            const since = freed.get(name)
            if (claimOf(event.object) === undefined) freed.set(name, since ?? now)
            else if (since !== undefined) {
              freed.delete(name)
              waits.push(now - since)
              if (waits.length === machines) yield* Deferred.succeed(all, undefined)
            }
          })
        ),
        Effect.mapError(failed)
      )
      const ready = world.expect("Ready", machines)
      yield* Effect.raceFirst(seen, Effect.andThen(first.delete, Deferred.await(all)))
      yield* ready
      yield* second.remove
      return { value: median(waits) }
    })
    return { run, limit: world.writesOnly(WRITES_A_CLAIM) }
  })
}
