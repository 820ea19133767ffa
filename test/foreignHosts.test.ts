/**
 * Holds: a pool host that turns out to be another tenant's keeps nobody from another one that is free. It is given back
 * untouched, marked, and not chosen again for a while; a machine that has no other waits for it, and none goes from one
 * such host to the next and back.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { UNCLEAN_MILLIS } from "../src/actors/Objects.ts"
import { Machines } from "../src/api/ClusterApi.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import { encodeClaim } from "../src/domain/Claim.ts"
import { judge } from "../src/simulation/Checkers.ts"
import { CLOUD_CONFIG } from "../src/simulation/ClusterObjects.ts"
import * as Worlds from "../src/simulation/World.ts"
import { createHost, createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

type World = Worlds.World

/** With bootstrap data of its own. */
const addMachine = ({ kube }: World, name: string, annotations = {}) =>
  createMachine(kube, { name, pool: "default", annotations, data: CLOUD_CONFIG.replace("echo one", `echo ${name}`) })

/** What another management cluster has on the first so many of the hosts; ours has an object for each of them. */
const shared = Effect.fnUntraced(function* (taken: number, hosts: number) {
  const other = yield* makeWorld
  for (let index = 1; index <= taken; index++) {
    yield* other.addHost(index)
    yield* addMachine(other, `theirs${index}`)
  }
  yield* other.startProvider("other")
  yield* pass(30)
  const world = yield* Worlds.makeWorld({ hosts: other.hosts })
  for (let index = 1; index <= hosts; index++)
    if (index <= taken) yield* createHost(world.kube, { name: `h${index}`, address: `10.0.0.${index}` })
    else yield* world.addHost(index)
  yield* world.startProvider("provider")
  return { other, world }
})

const machineNow = (world: World, name: string) => world.kube.get(RemoteMachines, ref(name))
const at = (world: World, name: string) =>
  Effect.map(machineNow(world, name), ({ spec, status }) => `${status?.phase} ${spec.address ?? "nowhere"}`)
const hostNow = (world: World, name: string) => world.kube.get(PooledRemoteMachines, ref(name))
const events = (world: World, reason: string) =>
  world.history.versions().filter(({ kind, object, type }) => {
    return kind === "Event" && type === "Added" && JSON.stringify(object).includes(`"reason":"${reason}"`)
  }).length

const violations = (world: World) =>
  judge({
    witness: world.witness.entries(),
    versions: world.history.versions(),
    writes: world.server.writes(),
    logs: [],
    canaries: [],
    dataOwner: () => undefined,
    isProvider: (client) => client === "provider",
    lives: 1
  })

describe("a pool host that is another tenant's", () => {
  it.effect("is given back untouched for one that is free, and not chosen again", () =>
    Effect.gen(function* () {
      const { world } = yield* shared(1, 3)
      yield* addMachine(world, "m1")
      yield* pass(30)
      assert.strictEqual(yield* at(world, "m1"), "Ready 10.0.0.2")
      assert.deepStrictEqual(world.phases("m1"), ["Pending", "Claimed", "Pending", "Claimed", "Provisioning", "Ready"])
      const { metadata, status } = yield* hostNow(world, "h1")
      assert.strictEqual(status?.phase, "Unclean")
      assert.isUndefined(metadata.annotations?.["machinist.dev/claim"])
      const clean = status?.conditions?.find(({ type }) => type === "Clean")
      assert.deepInclude(clean, { status: "False", reason: "ForeignTenant" })
      assert.strictEqual(world.hosts.host("10.0.0.1")?.tenancy()?.machine, "default/theirs1")
      assert.strictEqual(events(world, "HostGivenBack"), 1)
      yield* addMachine(world, "m2")
      yield* pass(30)
      assert.strictEqual(yield* at(world, "m2"), "Ready 10.0.0.3")
      assert.strictEqual(events(world, "HostGivenBack"), 1)
      assert.deepStrictEqual(violations(world), [])
    }).pipe(Effect.scoped)
  )

  it.effect("leaves none of its labels behind on the machine that gave it back, nor on its Machine", () =>
    Effect.gen(function* () {
      const { world } = yield* shared(1, 1)
      const zone = "topology.kubernetes.io/zone"
      yield* world.kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { labels: { rack: "r1", disk: "ssd", [zone]: "a" }, annotations: { site: "x" } }
      })
      yield* createMachine(world.kube, { name: "m1", pool: "default", labels: { disk: "ssd" } })
      yield* pass(20)
      assert.strictEqual(yield* at(world, "m1"), "Claimed 10.0.0.1")
      const both = Effect.gen(function* () {
        const machine = (yield* machineNow(world, "m1")).metadata
        const owner = (yield* world.kube.get(Machines, ref("m1"))).metadata
        return [machine, owner].map(({ labels = {}, annotations = {} }) =>
          [labels["rack"], labels["disk"], labels["row"], labels[zone], annotations["site"]]
            .map((one) => one ?? "-")
            .join(" ")
        )
      })
      assert.deepStrictEqual(yield* both, ["r1 ssd - a x", "r1 ssd - a x"])
      yield* world.addHost(2, {}, { labels: { rack: "r2", row: "7" } })
      yield* pass(90)
      assert.strictEqual(yield* at(world, "m1"), "Ready 10.0.0.2")
      // "disk" was the machine's own before.
      assert.deepStrictEqual(yield* both, ["r2 ssd 7 - -", "r2 - 7 - -"])
    }).pipe(Effect.scoped)
  )

  it.effect("that is the only one is kept, until its tenant leaves or another one comes", () =>
    Effect.gen(function* () {
      const { other, world } = yield* shared(2, 2)
      for (const name of ["m1", "m2"]) yield* addMachine(world, name)
      yield* pass(3_600)
      const before = world.server.writes().length
      yield* pass(3_600)
      // One may have been sent on before it was known of both; nobody goes back and forth.
      assert.isAtMost(events(world, "HostGivenBack"), 1)
      assert.strictEqual(world.server.writes().length, before)
      assert.sameMembers([yield* at(world, "m1"), yield* at(world, "m2")], ["Claimed 10.0.0.1", "Claimed 10.0.0.2"])
      yield* other.kube.delete(RemoteMachines, ref("theirs1"))
      yield* pass(120)
      const onFirst = (yield* at(world, "m1")).endsWith("10.0.0.1") ? "m1" : "m2"
      const onSecond = onFirst === "m1" ? "m2" : "m1"
      assert.strictEqual(yield* at(world, onFirst), "Ready 10.0.0.1")
      yield* world.addHost(3)
      yield* pass(120)
      assert.strictEqual(yield* at(world, onSecond), "Ready 10.0.0.3")
      assert.strictEqual((yield* hostNow(world, "h2")).status?.phase, "Unclean")
      assert.deepStrictEqual(violations(world), [])
    }).pipe(Effect.scoped)
  )

  it.effect("is chosen again after a while, as the last one, and used once its tenant has left", () =>
    Effect.gen(function* () {
      const { other, world } = yield* shared(1, 2)
      yield* addMachine(world, "m1")
      yield* pass(30)
      yield* other.kube.delete(RemoteMachines, ref("theirs1"))
      yield* addMachine(world, "m2")
      yield* pass(30)
      const [told] = (yield* machineNow(world, "m2")).status?.conditions ?? []
      assert.match(told?.message ?? "", /1 not clean/)
      yield* pass(UNCLEAN_MILLIS / 1_000)
      assert.strictEqual(yield* at(world, "m2"), "Ready 10.0.0.1")
      assert.isUndefined((yield* hostNow(world, "h1")).status?.conditions?.find(({ type }) => type === "Clean"))
    }).pipe(Effect.scoped)
  )

  it.effect("is not given back by a machine that may adopt it", () =>
    Effect.gen(function* () {
      const { world } = yield* shared(1, 2)
      yield* addMachine(world, "m1", { "machinist.dev/adopt-foreign": "" })
      yield* pass(120)
      assert.strictEqual(yield* at(world, "m1"), "Ready 10.0.0.1")
      assert.strictEqual(events(world, "HostGivenBack"), 0)
    }).pipe(Effect.scoped)
  )
})

describe("a host outside pools that a machine of this cluster has", () => {
  it.effect("is told as an address in use to one that claimed it by an old list, and used once the other is gone", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.hosts.add({ address: "10.0.0.1", name: "h1" })
      const spec = { address: "10.0.0.1", sshKeyRef: { name: "key" } }
      yield* world.startProvider()
      yield* createMachine(world.kube, { name: "m1", spec })
      yield* pass(20)
      assert.strictEqual(yield* at(world, "m1"), "Ready 10.0.0.1")
      const claim = encodeClaim({ id: "late", host: "", machine: "default/m2", uid: "u2" })
      yield* createMachine(world.kube, { name: "m2", spec, annotations: { "machinist.dev/claim": claim } })
      yield* pass(20)
      assert.strictEqual(yield* at(world, "m2"), "Claimed 10.0.0.1")
      const told = (yield* machineNow(world, "m2")).status?.conditions?.find(({ type }) => type === "Ready")
      assert.strictEqual(told?.reason, "AddressInUse")
      assert.match(told?.message ?? "", /10\.0\.0\.1:22 of default\/m2 .*RemoteMachine default\/m1.*spec\.address/)
      yield* world.kube.delete(RemoteMachines, ref("m1"))
      yield* pass(80)
      assert.strictEqual(yield* at(world, "m2"), "Ready 10.0.0.1")
    }).pipe(Effect.scoped)
  )
})
