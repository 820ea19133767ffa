/**
 * Holds: a host that can't be cleaned is quarantined, claimed by nobody, and cleaned again from time to time: seldom,
 * with a greater fence each time; once it is clean it goes back to its pool by itself, or at once by a person's word.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { claimOf } from "../src/actors/Objects.ts"
import { Machines } from "../src/api/ClusterApi.ts"
import { Events } from "../src/api/Core.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import type { SimulatedHost } from "../src/simulation/hosts/SimulatedHost.ts"
import type { World } from "../src/simulation/World.ts"
import { createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

const host = (world: World) => world.kube.get(PooledRemoteMachines, ref("h1"))

/** A machine came, and went, and its host is dirty for good. */
const quarantined = Effect.fnUntraced(function* (world: World) {
  const h1 = yield* world.addHost(1)
  h1.script("reset k0s", { exitCode: 1, creates: ["/var/lib/k0s/stuck"] })
  yield* world.startProvider()
  yield* createMachine(world.kube, { name: "m1", pool: "default" })
  yield* pass(20)
  yield* world.kube.delete(RemoteMachines, ref("m1"))
  // CLEAN_BUDGET tries, at most a minute apart.
  yield* pass(20 * 60)
  assert.strictEqual((yield* host(world)).status?.phase, "Quarantined")
  assert.deepStrictEqual((yield* world.kube.list(RemoteMachines)).items, [])
  return h1
})

const mend = (h1: SimulatedHost) => h1.script("reset k0s", { goesOn: true, removes: ["/var/lib/k0s/stuck"] })

const resets = (world: World): number =>
  world.witness.entries().filter((one) => one._tag === "StepBegan" && one.name === "reset k0s").length

describe("a host that can't be cleaned", () => {
  it.effect("is given to nobody, tried again seldom, and freed once it is clean", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const h1 = yield* quarantined(world)
      yield* createMachine(world.kube, { name: "m2", pool: "default" })
      const before = resets(world)
      const fence = claimOf(yield* host(world))?.run?.fence ?? 0
      yield* pass(3 * 3600)
      // 10 minutes, then twice as long each time, at most an hour; up to half of it less.
      const tries = resets(world) - before
      assert.isAtLeast(tries, 3)
      assert.isAtMost(tries, 8)
      assert.strictEqual(claimOf(yield* host(world))?.run?.fence, fence + tries)
      const waiting = yield* world.kube.get(RemoteMachines, ref("m2"))
      assert.strictEqual(waiting.status?.conditions?.[0]?.reason, "NoFreeHost")
      const events = (yield* world.kube.list(Events)).items.filter(
        (one) => one.involvedObject?.kind === "PooledRemoteMachine"
      )
      assert.deepStrictEqual(
        events.map((one) => one.reason),
        ["NotClean"]
      )
      // One more may have come before it was counted.
      assert.isAtLeast(events[0]?.count ?? 0, tries)

      mend(h1)
      yield* pass(3600 + 60)
      const mended = yield* world.kube.get(RemoteMachines, ref("m2"))
      assert.strictEqual(mended.status?.ready, true, JSON.stringify(mended.status?.conditions))
      const after = yield* host(world)
      assert.strictEqual(claimOf(after)?.machine, "default/m2")
      assert.isUndefined(after.metadata.annotations?.["machinist.dev/release"])
    }).pipe(Effect.scoped)
  )

  it.effect("is freed at once by a person's word, and left alone in maintenance", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const h1 = yield* quarantined(world)
      const annotate = (annotations: Record<string, string | null>) =>
        world.kube.patch(PooledRemoteMachines, ref("h1"), { metadata: { annotations } })
      const before = resets(world)
      yield* annotate({ "machinist.dev/maintenance": "" })
      yield* pass(2 * 3600)
      assert.strictEqual(resets(world), before)
      mend(h1)
      yield* annotate({ "machinist.dev/maintenance": null, "machinist.dev/release": "by hand" })
      yield* pass(5)
      assert.isUndefined(claimOf(yield* host(world)))
      assert.strictEqual((yield* host(world)).status?.phase, "Free")
    }).pipe(Effect.scoped)
  )

  it.effect("of another provider's work says what would change it, until there are commands; then it is cleaned", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      const configRef = { kind: "KubeadmConfig" }
      yield* world.kube.patch(Machines, ref("m1"), { spec: { bootstrap: { configRef } } })
      yield* world.startProvider()
      yield* pass(20)
      yield* world.kube.delete(RemoteMachines, ref("m1"))
      yield* pass(3_600)
      const ready = Effect.map(host(world), ({ status }) => status?.conditions?.find(({ type }) => type === "Ready"))
      const told = yield* ready
      assert.strictEqual(told?.reason, "Quarantined")
      const remedy = /bootstrapped by KubeadmConfig.*cleaned again once.*spec\.machine\.customCleanUpCommands/
      assert.match(told?.message ?? "", remedy)
      assert.notMatch(told?.message ?? "", /from time to time/)
      const event = (yield* world.kube.list(Events)).items.find(({ reason }) => reason === "Quarantined")
      assert.match(event?.message ?? "", remedy)
      assert.notMatch(event?.message ?? "", /from time to time/)
      // With commands it is tried, whether or not it is reached.
      world.hosts.host("10.0.0.1")?.setReachability("refusing")
      yield* world.kube.patch(PooledRemoteMachines, ref("h1"), {
        spec: { machine: { customCleanUpCommands: ["kubeadm reset -f"] } }
      })
      yield* pass(5)
      assert.match((yield* ready)?.message ?? "", /cleaned again from time to time/)
      world.hosts.host("10.0.0.1")?.setReachability("up")
      yield* pass(3_600)
      assert.strictEqual((yield* host(world)).status?.phase, "Free")
    }).pipe(Effect.scoped)
  )
})
