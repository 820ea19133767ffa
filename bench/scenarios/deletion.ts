/**
 * Owns the scenario `deletion`: how long what a deleted machine's step started lives on. On a real sshd host, whose
 * processes are seen from outside. Needs root.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import * as TestHosts from "../../test/live/hosts/TestHosts.ts"
import { bareRun } from "../BareSsh.ts"
import { cloudConfig } from "../Bootstrap.ts"
import { BenchError, type Scenario, timed } from "../Scenario.ts"
import { makeWorld } from "../World.ts"

const failed = (message: string): BenchError => new BenchError({ scenario: "deletion", message })

/** Looks at the process table, a millisecond apart, until the process must be gone (or there). */
const LOOKS = 60_000

const commandLine = (pid: string): string => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").trim()
  } catch {
    // It ended just now.
    return ""
  }
}

const pidsOf = (command: string): ReadonlyArray<string> =>
  readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandLine(pid) === command)

const until = (what: string, condition: () => boolean): Effect.Effect<void, BenchError> =>
  Effect.suspend(() => (condition() ? Effect.void : Effect.fail(failed(`waited in vain until ${what}`)))).pipe(
    Effect.retry({ schedule: Schedule.spaced("1 millis"), times: LOOKS })
  )

/** No other process of this machine sleeps for so long. */
const HUNG = `sleep ${86_400 + (process.pid % 10_000)}`

/** Ends when what hangs is gone. */
const killed = Effect.gen(function* () {
  yield* until("the step hangs", () => pidsOf(HUNG).length > 0)
  const pids = pidsOf(HUNG)
  return until("the hung process is gone", () => !pids.some((pid) => existsSync(`/proc/${pid}`)))
})

export const deletion: Scenario = {
  name: "deletion",
  description:
    "A machine whose step hangs is deleted: from the deletion until the step's process is gone from its host.",
  unit: "ms",
  better: "less",
  limit: "one bare ssh2 connection and exec that kills such a process by its number.",
  parameters: { machines: 1 },
  unavailable: Effect.succeed(TestHosts.unavailable),
  setup: Effect.fnUntraced(function* ({ machines }) {
    const orFailed = Effect.mapError(({ message }: { readonly message: string }) => failed(message))
    const hosts = yield* orFailed(TestHosts.light(machines))
    const world = yield* makeWorld({
      scenario: "deletion",
      hosts: hosts.map(({ address, port }) => ({ address, port })),
      ssh: yield* LiveSshClient.make(),
      privateKey: hosts[0]?.privateKey ?? "",
      bootstrapData: cloudConfig([HUNG])
    })
    const run = Effect.gen(function* () {
      const fleet = yield* world.fleet(machines)
      yield* fleet.create
      yield* until("every step hangs", () => pidsOf(HUNG).length === machines)
      const gone = yield* killed
      const deleted = world.expect("Deleted", machines)
      const sample = yield* timed(Effect.andThen(fleet.delete, gone))
      yield* deleted
      return sample
    })
    const limit = Effect.gen(function* () {
      const pids = yield* orFailed(
        Effect.forEach(hosts, (host) => TestHosts.execOk(host, `${HUNG} </dev/null >/dev/null 2>&1 & echo $!`))
      )
      const gone = yield* killed
      const kill = Effect.forEach(hosts, (host, index) => bareRun(host.target(), `kill -9 ${pids[index]}`), {
        concurrency: "unbounded"
      })
      return yield* timed(Effect.andThen(kill, gone))
    })
    return { run, limit }
  })
}
