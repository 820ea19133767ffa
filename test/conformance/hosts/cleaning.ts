/**
 * Owns the scenarios of a cleaning: what it kills, runs, removes and verifies, the tombstone it leaves, and how one that
 * did not succeed goes on. Does not own kills of the driver (killing.ts).
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { SENTINEL } from "../../../src/hosts/Protocol.ts"
import { droppingSshClient } from "../../../src/simulation/hosts/SshFaults.ts"
import {
  assertError,
  assertOnce,
  assertWell,
  bytes,
  cleanOf,
  count,
  daemon,
  eventuallyRuns,
  eventuallyTold,
  how,
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

const failing = (name: string, code: number) => ({ name, script: `exit ${code}\n` })

export const cleaning: ReadonlyArray<Scenario> = [
  {
    title: "a cleaning runs all its steps though some fail, removes what was written, and leaves only a tombstone",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const written = `${host.dir}/files/written`
      const files = [{ path: written, content: bytes("x"), mode: "0600" }]
      assertWell(yield* outcome(runs.run(host.access, runOf([success(host)], { files }))))
      yield* host.writeFile(`${host.dir}/named`, "x")
      const steps = [failing("broken", 3), step(host, "second")]
      const result = yield* outcome(
        runs.clean(host.access, cleanOf(steps, { remove: [`${host.dir}/named`], tenant: tenant("claim-a", 2) }))
      )
      assertWell(result)
      assert.strictEqual(how(result), "fresh")
      yield* assertOnce(host, "second")
      for (const path of [written, `${host.dir}/named`, SENTINEL]) assert.isUndefined(yield* host.readFile(path), path)
      const report = yield* runs.inspect(host.access, tenant())
      const { bootId: _, ...record } = report.tenancy ?? { bootId: "" }
      assert.deepStrictEqual(record, { ...tenant("claim-a", 2), state: "free" })
      assert.isBelow(yield* host.stateBytes, 64 * 1024)
    })
  },
  {
    title: "a cleaned claim that is cleaned again is told so at once, with no step run",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      assertWell(yield* outcome(runs.run(host.access, runOf([success(host)]))))
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([step(host, "c")]))))
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([step(host, "c")], { attempt: 2 }))))
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([step(host, "c")], { tenant: tenant("claim-a", 5) }))))
      yield* assertOnce(host, "c")
    })
  },
  {
    title: "a host that was never touched is verified and gets its tombstone",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([]))))
      assert.strictEqual(yield* stateOf(bench), "free")
      assertError(yield* outcome(runs.run(host.access, runOf([step(host, "late")]))), "Released")
    })
  },
  {
    title: "a claim that never began on a freed host does not run its clean-up steps there",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([]))))
      const clean = cleanOf([step(host, "c")], { tenant: tenant("claim-b", 2) })
      assertWell(yield* outcome(runs.clean(host.access, clean)))
      assert.strictEqual((yield* told(host))("begin c"), 0)
      const report = yield* runs.inspect(host.access, tenant())
      assert.strictEqual(report.tenancy?.claim, "claim-b")
    })
  },
  {
    title: "a hanging step and everything daemonized are killed; the run's follower is told, and never starts it again",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const steps = [step(host, "hang", ...daemon(host, `${host.dir}/agent`), waitFor(host, "never")), success(host)]
      const run = yield* Effect.forkChild(outcome(runs.run(host.access, runOf(steps))))
      yield* eventuallyTold(host, "begin hang")
      yield* eventuallyRuns(host, "agent")
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([step(host, "c")]))))
      assert.strictEqual(yield* host.running("agent"), 0)
      assertError(yield* Fiber.join(run), "Released")
      const times = yield* told(host)
      assert.strictEqual(times("begin hang"), 1)
      assert.strictEqual(times("end hang"), 0)
      assert.strictEqual(yield* stateOf(bench), "free")
    })
  },
  {
    title: "leftovers are named and keep the host; a greater attempt tries everything again",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      yield* host.writeFile("/var/lib/k0s/data", "x")
      yield* host.writeFile(`${host.dir}/leftover`, "x")
      assertWell(yield* outcome(runs.run(host.access, runOf([success(host)]))))
      const request = cleanOf([step(host, "c")], { verify: { k0s: true, paths: [`${host.dir}/leftover`] } })
      const dirty = assertError(yield* outcome(runs.clean(host.access, request)), "NotClean")
      assert.sameMembers([...(dirty.leftovers ?? [])], ["/var/lib/k0s", `${host.dir}/leftover`])
      assert.strictEqual(yield* stateOf(bench), "cleaning")
      const same = yield* outcome(runs.clean(host.access, request))
      assertError(same, "NotClean")
      assert.strictEqual(how(same), "ended")
      assertError(yield* outcome(runs.run(host.access, runOf([success(host)], { attempt: 2 }))), "Released")
      assert.strictEqual((yield* told(host))("begin c"), 1)
      yield* host.remove("/var/lib/k0s")
      yield* host.remove(`${host.dir}/leftover`)
      assertWell(yield* outcome(runs.clean(host.access, { ...request, attempt: 2 })))
      assert.strictEqual((yield* told(host))("begin c"), 2)
      assert.strictEqual(yield* stateOf(bench), "free")
    })
  },
  {
    title: "a k0s that still runs is a leftover, whoever started it",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const install = step(host, "install", `cp ${host.program} /usr/local/bin/k0s`)
      assertWell(yield* outcome(runs.run(host.access, runOf([install, success(host)]))))
      // One that no run tagged, as a service manager starts it.
      yield* host.startUntagged("/usr/local/bin/k0s")
      yield* eventuallyRuns(host, "k0s")
      const dirty = assertError(yield* outcome(runs.clean(host.access, cleanOf([]))), "NotClean")
      assert.isTrue(
        dirty.leftovers?.some((one) => one.includes("process") && one.includes("k0s")),
        String(dirty.leftovers)
      )
    })
  },
  {
    title: "a cleaning whose caller went away goes on by itself; its steps run once",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      assertWell(yield* outcome(runs.run(host.access, runOf([success(host)]))))
      const request = cleanOf([step(host, "c1"), step(host, "c2", waitFor(host, "c2")), step(host, "c3")])
      const caller = yield* Effect.forkChild(outcome(runs.clean(host.access, request)))
      yield* eventuallyTold(host, "begin c2")
      yield* Fiber.interrupt(caller)
      const again = yield* Effect.forkChild(outcome(runs.clean(host.access, request)))
      yield* open(host, "c2")
      const result = yield* Fiber.join(again)
      assertWell(result)
      yield* assertOnce(host, "c1", "c2", "c3")
      assert.strictEqual(yield* stateOf(bench), "free")
    })
  },
  {
    title: "a connection lost after every line of a cleaning: the next call ends it, and no step runs twice",
    play: Effect.fnUntraced(function* ({ another }) {
      for (let lines = 0; lines < 7; lines += 1) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const bench = yield* another
            const { host, runs } = bench
            assertWell(yield* outcome(runs.run(host.access, runOf([success(host)]))))
            const request = cleanOf([step(host, "c1"), step(host, "c2")])
            const lossy = yield* bench.over(droppingSshClient(host.ssh, () => lines))
            const lost = yield* outcome(lossy.clean(host.access, request))
            if (lost.error !== undefined) assertError(lost, "ConnectFailed")
            const result = yield* outcome(runs.clean(host.access, request))
            assertWell(result)
            yield* assertOnce(host, "c1", "c2")
          })
        )
      }
    })
  },
  {
    title: "a quarantined host refuses other claims; one that a person allows to adopt it cleans it",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const written = `${host.dir}/secret`
      const files = [{ path: written, content: bytes("x"), mode: "0600" }]
      const steps = [step(host, "one", ...daemon(host, `${host.dir}/agent`)), success(host)]
      assertWell(yield* outcome(runs.run(host.access, runOf(steps, { files }))))
      yield* runs.quarantine(host.access, tenant())
      assert.strictEqual(yield* stateOf(bench), "quarantined")
      const other = tenant("claim-b", 1)
      assertError(yield* outcome(runs.run(host.access, runOf([step(host, "b")], { tenant: other }))), "Quarantined")
      assertError(yield* outcome(runs.run(host.access, runOf(steps, { attempt: 2 }))), "Quarantined")
      assertError(yield* outcome(runs.clean(host.access, cleanOf([], { tenant: other }))), "Quarantined")
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([step(host, "c")], { tenant: other, adopt: true }))))
      yield* assertOnce(host, "one", "c")
      assert.strictEqual(yield* host.running("agent"), 0)
      assert.isUndefined(yield* host.readFile(written))
      const report = yield* runs.inspect(host.access, other)
      assert.strictEqual(report.tenancy?.claim, "claim-b")
      assert.strictEqual(report.tenancy?.state, "free")
    })
  },
  {
    title: "a reboot in a cleaning's step: the next call goes on with it",
    needs: ["reboot"],
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      assertWell(yield* outcome(runs.run(host.access, runOf([success(host)]))))
      const request = cleanOf([step(host, "c1"), step(host, "c2", waitFor(host, "c2")), step(host, "c3")])
      const caller = yield* Effect.forkChild(outcome(runs.clean(host.access, request)))
      yield* eventuallyTold(host, "begin c2")
      yield* host.reboot ?? Effect.void
      yield* Fiber.join(caller)
      yield* open(host, "c2")
      const result = yield* persistently(outcome(runs.clean(host.access, request)))
      assertWell(result)
      assert.strictEqual(count(result, "StepInterrupted", 1), 1)
      const times = yield* told(host)
      assert.strictEqual(times("begin c2"), 2)
      yield* assertOnce(host, "c1", "c3")
      assert.strictEqual(yield* stateOf(bench), "free")
    })
  }
]
