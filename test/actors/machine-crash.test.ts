/**
 * Holds DESIGN's crash-point table: a machine's life, cut before and after every write and at every line that a host
 * says, carried on by the same process, the next leader, or another cluster after `clusterctl move`. It ends Ready with
 * each step run once, or deleted with its host clean and free.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { claimOf } from "../../src/actors/Objects.ts"
import { PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import { unsettled } from "../../src/simulation/seeded/Settled.ts"
import { dirtyHosts, doubleTenants, failedStepsRunTwice, stepsRunTwice } from "../../src/simulation/Witness.ts"
import { ref } from "../support/cluster.ts"
import { type CrashPoint, type Lived, live, recoverers } from "./machineCrash.ts"

/**
 * Counted once, without a crash; a life that needs more writes or execs must be seen here (DESIGN's write budget). One
 * write each way is the key Secret's: it is held once, however many machines share it.
 */
const WRITES = 15
const LINES = 17
/** Of them, until Ready. */
const WRITES_TO_READY = 9
const LINES_TO_READY = 11

const safe = ({ world }: Lived) => {
  const entries = world.witness.entries()
  assert.deepStrictEqual(
    [...stepsRunTwice(entries), ...failedStepsRunTwice(entries), ...doubleTenants(entries), ...dirtyHosts(entries)],
    []
  )
  return entries
}

const readyOnce = Effect.fnUntraced(function* (lived: Lived) {
  const entries = safe(lived)
  const steps = entries.filter((one) => one._tag === "StepBegan" && one.verb === "run").map((one) => one.at)
  assert.strictEqual(steps.length, 3)
  assert.deepStrictEqual(yield* unsettled(lived.world), [])
  const machine = yield* lived.world.kube.get(RemoteMachines, ref("m1"))
  assert.strictEqual(machine.spec.providerID, "remote-machine://10.0.0.1:22")
})

const goneAndFree = Effect.fnUntraced(function* (lived: Lived) {
  safe(lived)
  assert.strictEqual((yield* Effect.flip(lived.world.kube.get(RemoteMachines, ref("m1")))).reason, "NotFound")
  assert.isUndefined(claimOf(yield* lived.world.kube.get(PooledRemoteMachines, ref("h1"))))
  assert.deepStrictEqual(yield* unsettled(lived.world), [])
})

const points = (deleting: boolean): ReadonlyArray<CrashPoint> => [
  ...Array.from({ length: deleting ? WRITES : WRITES_TO_READY }, (_, index) => index + 1).flatMap(
    (number): Array<CrashPoint> => [
      { at: "before write", number },
      { at: "after write", number }
    ]
  ),
  ...Array.from(
    { length: deleting ? LINES : LINES_TO_READY },
    (_, index): CrashPoint => ({ at: "host said", number: index + 1 })
  )
]

/** A failing assertion says at which point. */
const at = <E, R>(point: CrashPoint, check: Effect.Effect<void, E, R>): Effect.Effect<void, E, R> =>
  Effect.catchCause(check, (cause) => assert.fail(`${point.at} ${point.number}: ${Cause.pretty(cause)}`))

describe("a machine's life with a crash in it", () => {
  it.effect("without one, it takes the writes and lines that the table below is made of", () =>
    Effect.gen(function* () {
      const lived = yield* live("next leader", true)
      yield* goneAndFree(lived)
      assert.deepStrictEqual([lived.writes, lived.lines], [WRITES, LINES])
      const ready = yield* live("next leader", false)
      yield* readyOnce(ready)
      assert.deepStrictEqual([ready.writes, ready.lines], [WRITES_TO_READY, LINES_TO_READY])
    }).pipe(Effect.scoped)
  )

  for (const recoverer of recoverers) {
    it.effect(`to Ready; carried on by: ${recoverer}`, () =>
      Effect.gen(function* () {
        for (const point of points(false)) {
          const lived = yield* live(recoverer, false, point)
          assert.isTrue(lived.crashed, `${point.at} ${point.number} was reached`)
          yield* at(point, readyOnce(lived))
        }
      }).pipe(Effect.scoped)
    )
    it.effect(`to its end; carried on by: ${recoverer}`, () =>
      Effect.gen(function* () {
        for (const point of points(true)) {
          const lived = yield* live(recoverer, true, point)
          assert.isTrue(lived.crashed, `${point.at} ${point.number} was reached`)
          yield* at(point, goneAndFree(lived))
        }
      }).pipe(Effect.scoped)
    )
  }
})
