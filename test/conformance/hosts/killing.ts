/**
 * Owns the scenarios in which something dies: the connection after every line, the driver, the step, the host's power,
 * at every place between two durable writes; and a disk that is full. Whatever dies, calling again converges, a recorded
 * step never runs again, and an interrupted one is told apart.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { CleanRequest, RunRequest } from "../../../src/hosts/HostRuns.ts"
import { droppingSshClient } from "../../../src/simulation/hosts/SshFaults.ts"
import {
  assertError,
  assertOnce,
  assertWell,
  type Bench,
  bytes,
  cleanOf,
  count,
  daemon,
  eventuallyRuns,
  eventuallyTold,
  type Outcome,
  open,
  outcome,
  persistently,
  runOf,
  type Scenario,
  stateOf,
  step,
  success,
  tenant,
  told,
  waitFor
} from "./World.ts"

/** Calls after a kill until it has to have converged. */
const CALLS = 4
/** Kill points that are tried at one time, each on a host of its own. */
const AT_ONE_TIME = 4

const isRun = (request: RunRequest | CleanRequest): request is RunRequest => request.verb === "run"
const call = ({ host, runs }: Bench, request: RunRequest | CleanRequest) =>
  outcome(isRun(request) ? runs.run(host.access, request) : runs.clean(host.access, request))

/** Calls again as a controller would; every error on the way must be one that a retry is right for. */
const converge = Effect.fnUntraced(function* (bench: Bench, request: RunRequest | CleanRequest, first: Outcome) {
  const outcomes = [first]
  for (let last = first; last.error !== undefined; ) {
    assert.strictEqual(last.error.retry, "backoff", `${last.error.reason}: ${last.error.message}`)
    assert.isBelow(outcomes.length, CALLS, `does not converge: ${last.error.message}`)
    last = yield* call(bench, request)
    outcomes.push(last)
  }
  return outcomes
})

/** Each step ended; it began once, and once more for each time it was told to be interrupted. */
const assertAccounted = Effect.fnUntraced(function* (
  bench: Bench,
  names: ReadonlyArray<string>,
  outcomes: ReadonlyArray<Outcome>
) {
  const times = yield* told(bench.host)
  for (const [index, name] of names.entries()) {
    const interrupted = Math.max(...outcomes.map((one) => count(one, "StepInterrupted", index)))
    assert.isAtLeast(times(`end ${name}`), 1, `step ${name} ended`)
    assert.isAtMost(times(`begin ${name}`), 1 + interrupted, `step ${name} began, interrupted ${interrupted} times`)
  }
})

const bootstrap = ({ host }: Bench): RunRequest =>
  runOf([step(host, "one"), step(host, "two"), success(host)], {
    files: [
      { path: `${host.dir}/plain`, content: bytes("plain"), mode: "0600" },
      { path: `${host.dir}/appended`, content: bytes("after\n"), mode: "0644", append: true }
    ]
  })

const assertBootstrapped = Effect.fnUntraced(function* (bench: Bench, outcomes: ReadonlyArray<Outcome>) {
  const { host } = bench
  yield* assertAccounted(bench, ["one", "two", "success"], outcomes)
  assert.strictEqual(yield* host.readFile(`${host.dir}/plain`), "plain")
  assert.strictEqual(yield* host.readFile(`${host.dir}/appended`), "before\nafter\n")
  assert.strictEqual(yield* stateOf(bench), "ready")
})

const cleanUp = ({ host }: Bench): CleanRequest => cleanOf([step(host, "c1"), step(host, "c2")])

const assertClean = Effect.fnUntraced(function* (bench: Bench, outcomes: ReadonlyArray<Outcome>) {
  yield* assertAccounted(bench, ["c1", "c2"], outcomes)
  assert.isUndefined(yield* bench.host.readFile(`${bench.host.dir}/plain`))
  assert.strictEqual(yield* stateOf(bench), "free")
})

interface Deed {
  readonly prepare: (bench: Bench) => Effect.Effect<void>
  readonly request: (bench: Bench) => RunRequest | CleanRequest
  readonly check: (bench: Bench, outcomes: ReadonlyArray<Outcome>) => ReturnType<typeof assertBootstrapped>
}

const running: Deed = {
  prepare: ({ host }) => host.writeFile(`${host.dir}/appended`, "before\n"),
  request: bootstrap,
  check: assertBootstrapped
}
/** As a machine comes by it: what looked at the host goes on with the run. */
const looking: Deed = {
  ...running,
  prepare: Effect.fnUntraced(function* (bench) {
    yield* running.prepare(bench)
    yield* Effect.orDie(bench.runs.inspect(bench.host.access, tenant()))
  })
}
const cleaning: Deed = {
  prepare: Effect.fnUntraced(function* (bench) {
    yield* running.prepare(bench)
    assertWell(yield* call(bench, bootstrap(bench)))
  }),
  request: cleanUp,
  check: assertClean
}

/** Lets `deed` pass undisturbed once, to know how many places there are; then once more for each place. */
const everywhere = (deed: Deed, how: "process" | "power") =>
  Effect.fnUntraced(function* (bench: Bench) {
    yield* deed.prepare(bench)
    yield* bench.host.failAt(undefined)
    const undisturbed = yield* call(bench, deed.request(bench))
    assertWell(undisturbed)
    const places = yield* bench.host.failpointsPassed
    assert.isAbove(places, 10)
    const disturbed = Effect.fnUntraced(function* (n: number) {
      const other = yield* bench.another
      yield* deed.prepare(other)
      yield* other.host.failAt(n, how)
      const first = yield* call(other, deed.request(other))
      yield* other.host.failAt(undefined)
      // Also when the place was not passed yet: what the driver does after it told the end is killed then.
      if (how === "power") yield* other.host.reboot ?? Effect.void
      const outcomes = yield* converge(other, deed.request(other), first)
      yield* deed.check(other, outcomes)
    }, Effect.scoped)
    const numbers = Array.from({ length: places }, (_, i) => i + 1).filter((n) => n % bench.everyNthKill === 0)
    yield* Effect.forEach(
      numbers,
      (n) =>
        disturbed(n).pipe(Effect.catchDefect((defect) => Effect.die(new Error(`killed at ${n}`, { cause: defect })))),
      { concurrency: AT_ONE_TIME, discard: true }
    )
  })

export const killing: ReadonlyArray<Scenario> = [
  {
    title: "a connection lost after every line of a run: the next call attaches, and no step runs twice",
    play: Effect.fnUntraced(function* ({ another }) {
      for (let lines = 0; lines < 9; lines += 1) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const bench = yield* another
            yield* running.prepare(bench)
            const lossy = yield* bench.over(droppingSshClient(bench.host.ssh, () => lines))
            const lost = yield* outcome(lossy.run(bench.host.access, bootstrap(bench)))
            if (lost.error !== undefined) assertError(lost, "ConnectFailed")
            const outcomes = yield* converge(bench, bootstrap(bench), yield* call(bench, bootstrap(bench)))
            yield* assertBootstrapped(bench, outcomes)
            yield* assertOnce(bench.host, "one", "two", "success")
          })
        )
      }
    })
  },
  {
    title: "a driver killed within a step is noticed and started again; the old step is dead before it runs once more",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const steps = [
        step(host, "before", ...daemon(host, `${host.dir}/agent`)),
        step(host, "cut", ...daemon(host, `${host.dir}/orphan`), waitFor(host, "cut")),
        success(host)
      ]
      const run = yield* Effect.forkChild(outcome(runs.run(host.access, runOf(steps))))
      yield* eventuallyTold(host, "begin cut")
      yield* host.killDriver
      yield* Effect.repeat(told(host), { until: (times) => times("begin cut") === 2 })
      yield* open(host, "cut")
      const result = yield* Fiber.join(run)
      assertWell(result)
      assert.strictEqual(count(result, "StepInterrupted", 1), 1)
      const times = yield* told(host)
      assert.strictEqual(times("end cut"), 1)
      yield* assertOnce(host, "before", "success")
      // A daemon of a step that had ended is no part of the interrupted one.
      yield* eventuallyRuns(host, "agent")
    })
  },
  {
    title: "power lost within a step: told as interrupted, run once more, everything before it not",
    needs: ["reboot"],
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const request = runOf([step(host, "one"), step(host, "cut", waitFor(host, "cut")), success(host)])
      const run = yield* Effect.forkChild(outcome(runs.run(host.access, request)))
      yield* eventuallyTold(host, "begin cut")
      yield* host.reboot ?? Effect.void
      assert.strictEqual((yield* Fiber.join(run)).error?.retry, "backoff")
      yield* open(host, "cut")
      const result = yield* persistently(outcome(runs.run(host.access, request)))
      assertWell(result)
      assert.strictEqual(count(result, "StepInterrupted", 1), 1)
      const times = yield* told(host)
      assert.strictEqual(times("begin cut"), 2)
      yield* assertOnce(host, "one", "success")
    })
  },
  {
    title: "a full disk before the start is told as such, and leaves nothing that is in the way later",
    needs: ["fillDisk"],
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const request = runOf([step(host, "one"), success(host)])
      yield* host.fillDisk?.(true) ?? Effect.void
      const full = assertError(yield* outcome(runs.run(host.access, request)), "DriverFailed")
      assert.match(full.message, /space|full/)
      yield* host.fillDisk?.(false) ?? Effect.void
      assertWell(yield* outcome(runs.run(host.access, request)))
      yield* assertOnce(host, "one", "success")
    })
  },
  {
    title: "a disk that fills up during a step: its end is recorded, and it does not run again",
    needs: ["fillDisk"],
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const request = runOf([step(host, "one", waitFor(host, "one")), success(host)])
      const run = yield* Effect.forkChild(outcome(runs.run(host.access, request)))
      yield* eventuallyTold(host, "begin one")
      yield* host.fillDisk?.(true) ?? Effect.void
      yield* open(host, "one")
      const first = yield* Fiber.join(run)
      yield* host.fillDisk?.(false) ?? Effect.void
      yield* converge(bench, request, first)
      yield* assertOnce(host, "one", "success")
    })
  },
  {
    title: "a run's processes killed before and after every durable write",
    long: true,
    play: everywhere(looking, "process")
  },
  {
    title: "a cleaning's processes killed before and after every durable write",
    long: true,
    play: everywhere(cleaning, "process")
  },
  {
    title: "power lost before and after every durable write of a run",
    needs: ["reboot"],
    long: true,
    play: everywhere(running, "power")
  },
  {
    title: "power lost before and after every durable write of a cleaning",
    needs: ["reboot"],
    long: true,
    play: everywhere(cleaning, "power")
  }
]
