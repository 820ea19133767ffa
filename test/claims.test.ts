/**
 * Holds, through the whole provider: which host a machine gets and when (label selector, failure domain, age), and what
 * becomes of a pool that is edited while it is used.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Machines } from "../src/api/ClusterApi.ts"
import { Events } from "../src/api/Core.ts"
import {
  CLAIM_ANNOTATION,
  PAUSED_ANNOTATION,
  REMOTE_MACHINE_FINALIZER,
  SELECTOR_ANNOTATION,
  ZONE_LABEL
} from "../src/api/Names.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import type { JsonObject } from "../src/kube/KubeClient.ts"
import { dirtyHosts, doubleTenants } from "../src/simulation/Witness.ts"
import type { World } from "../src/simulation/World.ts"
import { createHost, createKey, createMachine, NAMESPACE, ref } from "./support/cluster.ts"
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

  it.effect("the oldest machine gets a host that is free when a process starts, whoever asks first; then by name", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.startProvider()
      for (const name of ["z-old", "n-middle", "m-middle", "a-young"]) {
        if (name !== "m-middle") yield* pass(2)
        yield* createMachine(world.kube, { name, pool: "default" })
      }
      yield* pass(5)
      const [process] = world.processes
      if (process !== undefined) yield* process.crash
      yield* world.addHost(1)
      yield* world.addHost(2)
      yield* world.startProvider("next")
      yield* pass(20)
      assert.isDefined(yield* hostOf(world, "z-old"))
      assert.isDefined(yield* hostOf(world, "m-middle"))
      assert.isUndefined(yield* hostOf(world, "n-middle"))
      assert.isUndefined(yield* hostOf(world, "a-young"))
    })
  )

  it.effect("a machine that can't use a host yet holds none back when a process starts", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* createMachine(world.kube, { name: "paused", pool: "default", annotations: { [PAUSED_ANNOTATION]: "" } })
      yield* createMachine(world.kube, { name: "unbootstrapped", pool: "default" })
      yield* world.kube.patch(Machines, ref("unbootstrapped"), { spec: { bootstrap: { dataSecretName: null } } })
      yield* pass(2)
      yield* createMachine(world.kube, { name: "young", pool: "default" })
      yield* world.addHost(1)
      yield* world.startProvider()
      yield* pass(20)
      assert.isDefined(yield* hostOf(world, "young"))
      for (const name of ["paused", "unbootstrapped"])
        assert.isUndefined((yield* machineNow(world, name)).metadata.annotations?.[CLAIM_ANNOTATION])
    })
  )
})

const hostNow = (world: World, name: string) => world.kube.get(PooledRemoteMachines, ref(name))
const hostReady = (world: World, name: string) =>
  Effect.map(hostNow(world, name), ({ status }) => status?.conditions?.find((one) => one.type === "Ready"))
const editHost = (world: World, name: string, spec: JsonObject) =>
  world.kube.patch(PooledRemoteMachines, ref(name), { spec })

describe("a pool that is edited while it is used", () => {
  it.effect("user, sudo, key and cleanup commands of a claimed host reach its machine; not while it is paused", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* createKey(world.kube, "key2")
      yield* world.startProvider()
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(20)
      yield* world.kube.patch(RemoteMachines, ref("m1"), { metadata: { annotations: { [PAUSED_ANNOTATION]: "" } } })
      yield* editHost(world, "h1", {
        machine: { user: "ops", useSudo: true, sshKeyRef: { name: "key2" }, customCleanUpCommands: ["echo bye"] }
      })
      yield* pass(5)
      assert.strictEqual((yield* machineNow(world, "m1")).spec.user, "root")
      yield* world.kube.patch(RemoteMachines, ref("m1"), { metadata: { annotations: { [PAUSED_ANNOTATION]: null } } })
      yield* pass(5)
      const { user, useSudo, sshKeyRef, customCleanUpCommands } = (yield* machineNow(world, "m1")).spec
      assert.deepStrictEqual(
        { user, useSudo, sshKeyRef, customCleanUpCommands },
        { user: "ops", useSudo: true, sshKeyRef: { name: "key2" }, customCleanUpCommands: ["echo bye"] }
      )
      // Back to nothing, by whatever it is written: absent and empty are the same.
      yield* editHost(world, "h1", { machine: { user: "root", useSudo: null, customCleanUpCommands: [] } })
      yield* pass(5)
      const again = (yield* machineNow(world, "m1")).spec
      assert.deepStrictEqual([again.user, again.useSudo, again.customCleanUpCommands], ["root", false, undefined])
      const before = world.server.writes().length
      yield* pass(30)
      assert.strictEqual(world.server.writes().length, before)
    })
  )

  it.effect("a wrong user is mended on the host, while its machine waits and while it is cleaned", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1, {}, { machine: { user: "nobody" } })
      yield* world.startProvider()
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(20)
      assert.strictEqual((yield* ready(world, "m1"))?.reason, "AuthenticationFailed")
      yield* editHost(world, "h1", { machine: { user: "root" } })
      yield* pass(20)
      assert.strictEqual((yield* ready(world, "m1"))?.status, "True")
      yield* editHost(world, "h1", { machine: { user: "nobody" } })
      yield* pass(5)
      yield* world.kube.delete(RemoteMachines, ref("m1"))
      yield* pass(20)
      assert.strictEqual((yield* ready(world, "m1"))?.reason, "AuthenticationFailed")
      yield* editHost(world, "h1", { machine: { user: "root" } })
      yield* pass(120)
      assert.strictEqual((yield* hostNow(world, "h1")).status?.phase, "Free")
    })
  )

  it.effect("another address or pool: the machine keeps what it has; the next one gets what is written now", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* world.hosts.add({ address: "10.0.0.9", name: "h9" })
      yield* world.startProvider()
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(20)
      yield* editHost(world, "h1", { pool: "other", machine: { address: "10.0.0.9" } })
      // The old address is still in use, whoever else says that it is theirs.
      yield* createHost(world.kube, { name: "h2", address: "10.0.0.1" })
      yield* createMachine(world.kube, { name: "m2", pool: "default" })
      yield* createMachine(world.kube, { name: "m3", pool: "other" })
      yield* pass(20)
      assert.strictEqual(yield* hostOf(world, "m1"), "10.0.0.1")
      assert.strictEqual((yield* hostReady(world, "h1"))?.reason, "AddressChanged")
      assert.match((yield* hostReady(world, "h1"))?.message ?? "", /default\/m1.*10\.0\.0\.1:22.*10\.0\.0\.9:22/)
      assert.strictEqual((yield* hostNow(world, "h2")).status?.phase, "Refused")
      assert.match((yield* ready(world, "m2"))?.message ?? "", /1 refused/)
      yield* world.kube.delete(RemoteMachines, ref("m1"))
      yield* pass(30)
      assert.deepStrictEqual([yield* hostOf(world, "m2"), yield* hostOf(world, "m3")], ["10.0.0.1", "10.0.0.9"])
      assert.deepStrictEqual([...dirtyHosts(world.witness.entries()), ...doubleTenants(world.witness.entries())], [])
    })
  )

  it.effect("refused for an address is over, and said so, once the machine or the host that has it is gone", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* world.addHost(2)
      yield* createMachine(world.kube, { name: "fixed", spec: { address: "10.0.0.1", sshKeyRef: { name: "key" } } })
      yield* createHost(world.kube, { name: "again", address: "10.0.0.2" })
      yield* world.startProvider()
      yield* pass(20)
      const phases = Effect.forEach(["h1", "h2", "again"], (name) =>
        Effect.map(hostNow(world, name), ({ status }) => status?.phase)
      )
      assert.deepStrictEqual(yield* phases, ["Refused", "Refused", "Free"])
      yield* world.kube.delete(RemoteMachines, ref("fixed"))
      yield* world.kube.delete(PooledRemoteMachines, ref("again"))
      yield* pass(20)
      assert.strictEqual((yield* hostNow(world, "h1")).status?.phase, "Free")
      assert.strictEqual((yield* hostReady(world, "h1"))?.status, "True")
      assert.strictEqual((yield* hostNow(world, "h2")).status?.phase, "Free")
    })
  )

  it.effect("a claimed host whose name is written with capitals is not taken for an edited one", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.hosts.add({ address: "Node-1.Example.org", name: "h1" })
      yield* createHost(world.kube, { name: "h1", address: "Node-1.Example.org" })
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* world.startProvider()
      yield* pass(20)
      assert.strictEqual((yield* machineNow(world, "m1")).spec.address, "Node-1.Example.org")
      const { conditions, phase } = (yield* hostNow(world, "h1")).status ?? {}
      assert.strictEqual(phase, "Reserved")
      assert.notStrictEqual(conditions?.find(({ type }) => type === "Ready")?.reason, "AddressChanged")
    })
  )

  it.effect("shrunk: a claimed host is held until its machine is done with it, then it goes; nobody else gets it", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const host = yield* world.addHost(1)
      yield* world.startProvider()
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(20)
      yield* world.kube.delete(PooledRemoteMachines, ref("h1"))
      yield* createMachine(world.kube, { name: "m2", pool: "default" })
      yield* pass(20)
      assert.strictEqual((yield* ready(world, "m1"))?.status, "True")
      assert.strictEqual((yield* hostReady(world, "h1"))?.reason, "Deleting")
      assert.match((yield* hostReady(world, "h1"))?.message ?? "", /RemoteMachine default\/m1/)
      yield* world.kube.delete(RemoteMachines, ref("m1"))
      yield* pass(20)
      assert.deepStrictEqual(host.residue(), [])
      assert.strictEqual((yield* Effect.flip(hostNow(world, "h1"))).reason, "NotFound")
      assert.strictEqual((yield* ready(world, "m2"))?.reason, "PoolEmpty")
    })
  )

  it.effect("a free host goes at once, and the finalizer costs no write of its own", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* world.startProvider()
      yield* pass(5)
      const before = world.server.writes().length
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(20)
      const writes = world.server.writes().slice(before)
      const durable = writes.filter((one) => one.kind === "PooledRemoteMachine" && one.subresource === undefined)
      assert.strictEqual(durable.length, 1)
      assert.include((yield* hostNow(world, "h1")).metadata.finalizers ?? [], REMOTE_MACHINE_FINALIZER)
      yield* world.kube.delete(RemoteMachines, ref("m1"))
      yield* pass(20)
      yield* world.kube.delete(PooledRemoteMachines, ref("h1"))
      assert.strictEqual((yield* Effect.flip(hostNow(world, "h1"))).reason, "NotFound")
    })
  )
})
