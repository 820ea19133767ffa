/**
 * Owns the scenarios in which a host says no: foreign and stale tenants, lost or foreign journals, accounts without the
 * right. Does not own how cleaning makes a host free again (cleaning.ts).
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import {
  assertError,
  assertOnce,
  assertWell,
  cleanOf,
  eventuallyTold,
  how,
  open,
  outcome,
  runOf,
  type Scenario,
  stateOf,
  step,
  success,
  tenant,
  told,
  waitFor
} from "./World.ts"

export const refusing: ReadonlyArray<Scenario> = [
  {
    title: "inspect touches nothing, and tells who holds the host",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const before = yield* host.stateListing
      const report = yield* runs.inspect(host.access, tenant())
      assert.isUndefined(report.tenancy)
      assert.isTrue(report.bootId.length > 8)
      assert.strictEqual(yield* host.stateListing, before)
      assertWell(yield* outcome(runs.run(host.access, runOf([success(host)]))))
      const seen = yield* runs.inspect(host.access, tenant("claim-b", 1))
      const { bootId: _, ...record } = seen.tenancy ?? { bootId: "" }
      assert.deepStrictEqual(record, { ...tenant(), state: "ready" })
    })
  },
  {
    title: "another claim is refused for a run and for a cleaning, and changes nothing",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      assertWell(yield* outcome(runs.run(host.access, runOf([success(host)]))))
      const other = { tenant: tenant("claim-b", 9), dataHash: "ffff" }
      assertError(yield* outcome(runs.run(host.access, runOf([step(host, "b")], other))), "ForeignTenant")
      const clean = cleanOf([step(host, "c")], { tenant: other.tenant })
      assertError(yield* outcome(runs.clean(host.access, clean)), "ForeignTenant")
      const times = yield* told(host)
      assert.strictEqual(times("begin b") + times("begin c"), 0)
      assert.strictEqual(yield* stateOf(bench), "ready")
    })
  },
  {
    title: "a newer fence takes a run over, which goes on; the older one is refused from then on",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const request = runOf([step(host, "one", waitFor(host, "one")), success(host)])
      const old = yield* Effect.forkChild(outcome(runs.run(host.access, request)))
      yield* eventuallyTold(host, "begin one")
      const newer = yield* Effect.forkChild(
        outcome(runs.run(host.access, { ...request, tenant: tenant("claim-a", 2) }))
      )
      const record = runs.inspect(host.access, tenant()).pipe(Effect.map(({ tenancy }) => tenancy?.fence))
      yield* Effect.repeat(record, { until: (fence) => fence === 2 })
      assertError(yield* outcome(runs.run(host.access, request)), "StaleFence")
      assertError(yield* outcome(runs.clean(host.access, cleanOf([step(host, "c")]))), "StaleFence")
      assertError(yield* Fiber.join(old), "StaleFence")
      yield* open(host, "one")
      const result = yield* Fiber.join(newer)
      assertWell(result)
      assert.strictEqual(how(result), "attached")
      yield* assertOnce(host, "one", "success")
      assert.strictEqual((yield* told(host))("begin c"), 0)
    })
  },
  {
    title: "other bootstrap data under the same claim is refused, not run",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      assertWell(yield* outcome(runs.run(host.access, runOf([success(host)]))))
      const other = runOf([step(host, "other")], { dataHash: "dddd", attempt: 2 })
      assertError(yield* outcome(runs.run(host.access, other)), "DataChanged")
      assert.strictEqual((yield* told(host))("begin other"), 0)
    })
  },
  {
    title: "a lost journal is refused, not started over; a cleaning still works",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const request = runOf([step(host, "one"), success(host)])
      assertWell(yield* outcome(runs.run(host.access, request)))
      yield* host.loseJournal("claim-a")
      assertError(yield* outcome(runs.run(host.access, { ...request, attempt: 2 })), "JournalLost")
      yield* assertOnce(host, "one", "success")
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([]))))
      assert.strictEqual(yield* stateOf(bench), "free")
    })
  },
  {
    title:
      "a record that was taken away by hand begins nothing beside what runs, nor on what that left; a cleaning works",
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      const request = runOf([step(host, "one", waitFor(host, "one")), success(host)])
      const first = yield* Effect.forkChild(outcome(runs.run(host.access, request)))
      yield* eventuallyTold(host, "begin one")
      yield* host.loseRecord
      assertError(yield* outcome(runs.run(host.access, request)), "JournalLost")
      yield* open(host, "one")
      assertWell(yield* Fiber.join(first))
      assertError(yield* outcome(runs.run(host.access, request)), "JournalLost")
      yield* assertOnce(host, "one", "success")
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([]))))
      assert.strictEqual(yield* stateOf(bench), "free")
    })
  },
  {
    title: "a cleaned claim can't start again; a greater fence can, as the same claim or as another",
    play: Effect.fnUntraced(function* ({ host, runs }) {
      const request = runOf([step(host, "one"), success(host)])
      assertWell(yield* outcome(runs.run(host.access, request)))
      assertWell(yield* outcome(runs.clean(host.access, cleanOf([]))))
      assertError(yield* outcome(runs.run(host.access, { ...request, attempt: 2 })), "Released")
      const late = runOf([step(host, "late")], { tenant: tenant("claim-b", 1) })
      assertError(yield* outcome(runs.run(host.access, late)), "StaleFence")
      const next = runOf([step(host, "next"), success(host)], { tenant: tenant("claim-b", 2) })
      const result = yield* outcome(runs.run(host.access, next))
      assertWell(result)
      assert.strictEqual(how(result), "fresh")
      assert.strictEqual((yield* told(host))("begin late"), 0)
      yield* assertOnce(host, "one", "next")
    })
  },
  {
    title: "sudo makes an ordinary user root; without it, or refused by it, nothing is touched",
    needs: ["accounts"],
    play: Effect.fnUntraced(function* (bench) {
      const { host, runs } = bench
      if (host.accounts === undefined) return assert.fail("no accounts")
      const { plain, refused, sudoer } = host.accounts
      const before = yield* host.stateListing
      const request = runOf([step(host, "one"), success(host)])
      assertError(yield* outcome(runs.run(refused, request)), "SudoRefused")
      const unsupported = assertError(yield* outcome(runs.run(plain, request)), "Unsupported")
      assert.include(unsupported.message, "useSudo")
      assert.strictEqual(yield* host.stateListing, before)
      assertWell(yield* outcome(runs.run(sudoer, request)))
      yield* assertOnce(host, "one", "success")
      assert.strictEqual(yield* stateOf(bench), "ready")
    })
  }
]
