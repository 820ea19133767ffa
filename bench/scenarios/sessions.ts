/**
 * Owns the scenario `sessions`: the memory of a controller that follows N runs, each over an SSH session of its own. On real
 * sshd hosts, with the simulated API server and its objects in the same process. Needs root.
 */
import * as Effect from "effect/Effect"
import { SESSION_IDLE_SECONDS } from "../../src/hosts/LiveHostRuns.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import * as TestHosts from "../../test/live/hosts/TestHosts.ts"
import { bareSession } from "../BareSsh.ts"
import { cloudConfig } from "../Bootstrap.ts"
import { used } from "../Memory.ts"
import { BenchError, type Sample, type Scenario } from "../Scenario.ts"
import { makeWorld } from "../World.ts"

const failed = (message: string): BenchError => new BenchError({ scenario: "sessions", message })

/** Longer than any round; ended by the deletion. */
const STEP = "sleep 3600"
/** What was said last may be on its way still. */
const SETTLING = "1 second"
/** The connections of the round before are kept until then, and would be missing in the end from what is measured. */
const IDLE = `${SESSION_IDLE_SECONDS + 1} seconds` as const
/** How much more lives once `open` has ended. */
const growth = <R>(open: Effect.Effect<unknown, BenchError, R>): Effect.Effect<Sample, BenchError, R> =>
  Effect.gen(function* () {
    yield* Effect.sleep(IDLE)
    const before = yield* used
    yield* open
    yield* Effect.sleep(SETTLING)
    const after = yield* used
    return { value: after.live - before.live, also: { rssMebibytes: after.rss } }
  })

export const sessions: Scenario = {
  name: "sessions",
  description: "The memory that N machines in provisioning take, each with its SSH session open, garbage collected.",
  unit: "MiB",
  better: "less",
  limit: "N bare ssh2 connections with an exec each, open at once.",
  parameters: { machines: 100 },
  unavailable: Effect.succeed(TestHosts.unavailable),
  setup: Effect.fnUntraced(function* ({ machines }) {
    const hosts = yield* Effect.mapError(TestHosts.light(machines), ({ message }) => failed(message))
    const world = yield* makeWorld({
      scenario: "sessions",
      hosts: hosts.map(({ address, port }) => ({ address, port })),
      ssh: yield* LiveSshClient.make(),
      privateKey: hosts[0]?.privateKey ?? "",
      bootstrapData: cloudConfig([STEP])
    })
    const run = Effect.gen(function* () {
      const fleet = yield* world.fleet(machines)
      const provisioning = world.expect("Provisioning", machines)
      const sample = yield* growth(Effect.andThen(fleet.create, provisioning))
      yield* fleet.remove
      return sample
    })
    const limit = Effect.scoped(
      growth(Effect.forEach(hosts, (host) => bareSession(host.target(), STEP), { concurrency: "unbounded" }))
    )
    return { run, limit }
  })
}
