/**
 * Owns what a deed cost the hosts, where the host is a test host: CPU time by its cgroup, processes started by its own PID
 * numbers. Told beside a result, so that a reader sees whether hosts that share this machine's cores, or we, were slow.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as TestHosts from "../test/live/hosts/TestHosts.ts"
import { BenchError, type Sample } from "./Scenario.ts"

/** Hosts that are asked at once. */
const HOSTS_AT_ONCE = 16
/** Milliseconds between two looks at whether the hosts still work on what was measured, and looks until it is enough. */
const LOOK_MILLIS = 200
const LOOKS = 50
/** CPU microseconds between two looks below which a host is at rest: sshd and its kin wake up now and then. */
const REST_MICROS = 2_000

interface Reading {
  /** Of all hosts; undefined where there are no cgroups. */
  readonly cpuMicros: number | undefined
  /** Of all hosts. */
  readonly processes: number
}

/** Microseconds of CPU that everything in the host's cgroup has used. */
const cpuMicros = ({ machine }: TestHosts.TestHost): number | undefined => {
  if (machine.cgroup === undefined) return undefined
  const usage = /^usage_usec (\d+)$/m.exec(readFileSync(join(machine.cgroup, "cpu.stat"), "utf8"))
  return usage === null ? undefined : Number(usage[1])
}

const sum = (values: ReadonlyArray<number | undefined>): number | undefined =>
  values.reduce((total, value) => (total === undefined || value === undefined ? undefined : total + value), 0)

const allCpuMicros = (hosts: ReadonlyArray<TestHosts.TestHost>) => Effect.sync(() => sum(hosts.map(cpuMicros)))

/** PIDs of a host's own namespace are given out in turn: a new shell's number counts what was started before. */
const started = (host: TestHosts.TestHost): Effect.Effect<number, BenchError> =>
  Effect.mapBoth(TestHosts.execOk(host, "echo $$"), {
    onFailure: ({ message }) => new BenchError({ scenario: "host meter", message }),
    onSuccess: Number
  })

const read = (hosts: ReadonlyArray<TestHosts.TestHost>): Effect.Effect<Reading, BenchError> =>
  Effect.gen(function* () {
    // The question itself costs a process and its CPU: the same before and after, and not between.
    const processes = yield* Effect.forEach(hosts, started, { concurrency: HOSTS_AT_ONCE })
    return { cpuMicros: yield* allCpuMicros(hosts), processes: sum(processes) ?? 0 }
  })

/** What a run left to be done (sshd's goodbye, a driver's last words) is part of its cost. */
const atRest = (hosts: ReadonlyArray<TestHosts.TestHost>): Effect.Effect<void> =>
  Effect.gen(function* () {
    let before = yield* allCpuMicros(hosts)
    for (let look = 0; look < LOOKS && before !== undefined; look++) {
      yield* Effect.sleep(LOOK_MILLIS)
      const now = yield* allCpuMicros(hosts)
      if (now === undefined || now - before < REST_MICROS) return
      before = now
    }
  })

/** The sample with what it cost: CPU of the hosts and of this process, and processes started, each a host. */
export const metered = <R>(
  hosts: ReadonlyArray<TestHosts.TestHost>,
  work: Effect.Effect<Sample, BenchError, R>
): Effect.Effect<Sample, BenchError, R> =>
  Effect.gen(function* () {
    const before = yield* read(hosts)
    const own = process.cpuUsage()
    const sample = yield* work
    const spent = process.cpuUsage(own)
    yield* atRest(hosts)
    const cpu = yield* allCpuMicros(hosts)
    const after = yield* read(hosts)
    const each = (total: number) => total / hosts.length
    return {
      ...sample,
      also: {
        ...sample.also,
        ...(cpu === undefined || before.cpuMicros === undefined
          ? {}
          : { hostCpuMillisPerMachine: each((cpu - before.cpuMicros) / 1000) }),
        processesPerHost: each(after.processes - before.processes) - 1,
        controllerCpuMillisPerMachine: each((spent.user + spent.system) / 1000)
      }
    }
  })
