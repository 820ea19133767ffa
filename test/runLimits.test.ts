/**
 * Holds: a step, and a whole bootstrap, take only so long as the operator or the machine's annotation says; what ran out
 * of time is said so, and a person's retry begins with a clean host, whatever hung.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Events } from "../src/api/Core.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import type { World } from "../src/simulation/World.ts"
import { createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

const ready = Effect.fnUntraced(function* (world: World) {
  const machine = yield* world.kube.get(RemoteMachines, ref("m1"))
  return machine.status?.conditions?.find((one) => one.type === "Ready")
})

const annotate = (world: World, annotations: Record<string, string | null>) =>
  world.kube.patch(RemoteMachines, ref("m1"), { metadata: { annotations } })

/** Its second step hangs, once. */
const hanging = Effect.fnUntraced(function* (annotations: Record<string, string>) {
  const world = yield* makeWorld
  const host = yield* world.addHost(1)
  host.script("runcmd 2", { hang: true, times: 1 })
  yield* createMachine(world.kube, { name: "m1", pool: "default" })
  yield* annotate(world, annotations)
  yield* world.startProvider()
  return { world, host }
})

describe("limits of a bootstrap", () => {
  it.effect("the whole: said with the remedy, through a new leader, and retried from a clean host", () =>
    Effect.gen(function* () {
      const { world } = yield* hanging({ "machinist.dev/bootstrap-timeout": "10m" })
      yield* pass(5 * 60)
      assert.strictEqual((yield* ready(world))?.reason, "Provisioning")
      // The time counts from when the host was taken, not from when this leader came.
      yield* world.processes[0]?.crash ?? Effect.void
      yield* world.startProvider("second")
      yield* pass(5 * 60 + 10)
      const told = yield* ready(world)
      assert.strictEqual(told?.reason, "BootstrapTimedOut")
      assert.match(told?.message ?? "", /default\/m1 took longer than 10m.*bootstrap-timeout.*machinist\.dev\/retry/)
      yield* pass(10 * 60)
      assert.strictEqual((yield* ready(world))?.reason, "BootstrapTimedOut")
      yield* annotate(world, { "machinist.dev/retry": "1" })
      yield* pass(60)
      assert.strictEqual((yield* ready(world))?.status, "True", JSON.stringify(yield* ready(world)))
      const facts = world.witness.entries()
      assert.strictEqual(facts.filter((one) => one._tag === "Wiped").length, 1)
      assert.deepStrictEqual(
        facts.flatMap((one) => (one._tag === "Tenant" ? one.residue : [])),
        []
      )
    }).pipe(Effect.scoped)
  )

  it.effect("one step: killed by the host, and tried again", () =>
    Effect.gen(function* () {
      const { world } = yield* hanging({ "machinist.dev/step-timeout": "90s" })
      yield* pass(80)
      assert.strictEqual((yield* ready(world))?.reason, "Provisioning")
      yield* pass(60)
      const told = (yield* world.kube.list(Events)).items.filter((one) => one.reason === "StepFailed")
      assert.lengthOf(told, 1)
      assert.match(told[0]?.message ?? "", /runcmd 2.*90 s/)
      assert.strictEqual((yield* ready(world))?.status, "True")
    }).pipe(Effect.scoped)
  )

  it.effect("an annotation that is no duration is refused before the host is touched, and mended", () =>
    Effect.gen(function* () {
      const { world } = yield* hanging({
        "machinist.dev/step-timeout": "soon",
        "machinist.dev/bootstrap-timeout": "1h"
      })
      yield* pass(20)
      const told = yield* ready(world)
      assert.strictEqual(told?.reason, "InvalidTimeout")
      assert.match(
        told?.message ?? "",
        /machinist\.dev\/step-timeout of default\/m1 is not a duration.*Correct or remove/
      )
      assert.deepStrictEqual(
        world.witness.entries().filter((one) => one._tag === "Tenant"),
        []
      )
      yield* annotate(world, { "machinist.dev/step-timeout": "5s" })
      yield* pass(60)
      assert.strictEqual((yield* ready(world))?.status, "True")
    }).pipe(Effect.scoped)
  )
})
