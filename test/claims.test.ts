/**
 * Holds, through the whole provider: which host a machine gets and when (label selector, failure domain, age), and what
 * becomes of a pool that is edited while it is used.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Machines } from "../src/api/ClusterApi.ts"
import { Events } from "../src/api/Core.ts"
import { SELECTOR_ANNOTATION, ZONE_LABEL } from "../src/api/Names.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import type { World } from "../src/simulation/World.ts"
import { createMachine, NAMESPACE, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

const machineNow = (world: World, name: string) => world.kube.get(RemoteMachines, ref(name))
const hostOf = (world: World, name: string) =>
  Effect.map(machineNow(world, name), ({ status }) => status?.host?.split(":")[0])
const ready = (world: World, name: string) =>
  Effect.map(machineNow(world, name), ({ status }) => status?.conditions?.find((one) => one.type === "Ready"))

describe("which host a machine gets", () => {
  it.effect("one that its selector selects; a selector that is none is a condition until it is mended", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1, {}, { labels: { rack: "r1" } })
      yield* world.addHost(2, {}, { labels: { rack: "r2" } })
      yield* world.startProvider()
      yield* createMachine(world.kube, {
        name: "m1",
        pool: "default",
        annotations: { [SELECTOR_ANNOTATION]: "rack=r2" }
      })
      yield* createMachine(world.kube, {
        name: "m2",
        pool: "default",
        annotations: { [SELECTOR_ANNOTATION]: "rack in r1" }
      })
      yield* pass(20)
      assert.strictEqual(yield* hostOf(world, "m1"), "10.0.0.2")
      const refused = yield* ready(world, "m2")
      assert.strictEqual(refused?.reason, "SelectorInvalid")
      assert.match(refused?.message ?? "", /machinist\.dev\/selector.*"rack in r1".*kubectl -l/)
      const events = (yield* world.kube.list(Events, { namespace: NAMESPACE })).items
      assert.isTrue(events.some(({ reason }) => reason === "SelectorInvalid"))
      yield* world.kube.patch(RemoteMachines, ref("m2"), {
        metadata: { annotations: { [SELECTOR_ANNOTATION]: "rack in (r1)" } }
      })
      yield* pass(20)
      assert.strictEqual((yield* ready(world, "m2"))?.status, "True")
      assert.strictEqual(yield* hostOf(world, "m2"), "10.0.0.1")
    })
  )

  it.effect("one in the Machine's failure domain, also when that is corrected while it waits; status says which", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1, {}, { labels: { [ZONE_LABEL]: "a" } })
      yield* world.addHost(2, {}, { labels: { [ZONE_LABEL]: "b" } })
      yield* world.addHost(3)
      yield* world.startProvider()
      yield* createMachine(world.kube, { name: "m1", pool: "default", failureDomain: "b" })
      yield* createMachine(world.kube, {
        name: "m2",
        pool: "default",
        failureDomain: "nowhere",
        labels: { [ZONE_LABEL]: "x" }
      })
      yield* pass(20)
      assert.strictEqual(yield* hostOf(world, "m1"), "10.0.0.2")
      assert.strictEqual((yield* machineNow(world, "m1")).status?.failureDomain, "b")
      assert.match((yield* ready(world, "m2"))?.message ?? "", /failure domain "nowhere"/)
      assert.isUndefined((yield* machineNow(world, "m2")).status?.failureDomain)
      yield* world.kube.patch(Machines, ref("m2"), { spec: { failureDomain: "a" } })
      yield* pass(20)
      assert.strictEqual(yield* hostOf(world, "m2"), "10.0.0.1")
      // Where the host is, the host says, not the template.
      assert.strictEqual((yield* machineNow(world, "m2")).status?.failureDomain, "a")
      assert.strictEqual((yield* world.kube.get(Machines, ref("m2"))).metadata.labels?.[ZONE_LABEL], "a")
    })
  )

  it.effect("a host that is given up on takes its failure domain with it", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const dead = yield* world.addHost(1, {}, { labels: { [ZONE_LABEL]: "a" } })
      yield* world.addHost(2)
      dead.setReachability("refusing")
      yield* world.startProvider()
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(120)
      assert.strictEqual(yield* hostOf(world, "m1"), "10.0.0.2")
      const machine = yield* machineNow(world, "m1")
      assert.strictEqual((yield* ready(world, "m1"))?.status, "True")
      assert.isUndefined(machine.metadata.labels?.[ZONE_LABEL])
      assert.isUndefined(machine.status?.failureDomain)
    })
  )

  it.effect("the oldest machine gets a freed host, and a new one", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* createMachine(world.kube, { name: "first", pool: "default" })
      yield* world.startProvider()
      yield* pass(20)
      for (const name of ["z-old", "m-middle", "a-young"]) {
        yield* createMachine(world.kube, { name, pool: "default" })
        yield* pass(2)
      }
      yield* world.kube.delete(RemoteMachines, ref("first"))
      yield* pass(20)
      assert.strictEqual(yield* hostOf(world, "z-old"), "10.0.0.1")
      // Asked again by another process, in whatever order: age still counts.
      const [process] = world.processes
      if (process !== undefined) yield* process.crash
      yield* world.startProvider("next")
      yield* pass(5)
      yield* world.addHost(2)
      yield* pass(20)
      assert.strictEqual(yield* hostOf(world, "m-middle"), "10.0.0.2")
      assert.isUndefined(yield* hostOf(world, "a-young"))
    })
  )
})
