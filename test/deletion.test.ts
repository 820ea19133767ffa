/**
 * Holds: deletion waits for nothing but the host. Whatever is gone before the RemoteMachine (owner, Cluster, bootstrap
 * config and data, pool host, key), in whatever order, as Helm and namespace deletions do it: the host ends clean, or
 * quarantined where there is no way to it any more, and no object is left behind.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { Clusters, Machines } from "../src/api/ClusterApi.ts"
import { Events, Namespaces, Secrets } from "../src/api/Core.ts"
import type { Kind, KubeObject } from "../src/api/Kind.ts"
import { SSH_KEY_FINALIZER } from "../src/api/Names.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import type { SimulatedHost } from "../src/simulation/hosts/SimulatedHost.ts"
import { dirtyHosts, doubleTenants } from "../src/simulation/Witness.ts"
import type { World } from "../src/simulation/World.ts"
import { CLUSTER, createCluster, createHost, createKey, createMachine } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

const TEAM = "team"
const at = (name: string) => ({ namespace: TEAM, name })

/** A namespace with one cluster, a pool host and a host outside pools, and a machine on each. */
const team = Effect.gen(function* () {
  const world = yield* makeWorld
  const { kube } = world
  yield* kube.create(Namespaces, { metadata: { name: TEAM } })
  yield* createCluster(kube, CLUSTER, TEAM)
  yield* createKey(kube, "key", undefined, TEAM)
  const pooled = yield* world.hosts.add({ address: "10.0.0.1", name: "h1" })
  const fixed = yield* world.hosts.add({ address: "10.0.0.2", name: "h2" })
  yield* createHost(kube, { namespace: TEAM, name: "h1", address: "10.0.0.1" })
  yield* createMachine(kube, { namespace: TEAM, name: "m1", pool: "default" })
  yield* createMachine(kube, {
    namespace: TEAM,
    name: "m2",
    spec: { address: "10.0.0.2", sshKeyRef: { name: "key" } }
  })
  return { world, hosts: [pooled, fixed] }
})

/** What is there once both machines are made; each may go before the RemoteMachines do. */
const others: ReadonlyArray<{
  readonly what: string
  readonly kind: Kind<KubeObject>
  readonly names: ReadonlyArray<string>
}> = [
  { what: "owner Machine", kind: Machines, names: ["m1", "m2"] },
  { what: "Cluster", kind: Clusters, names: [CLUSTER] },
  { what: "bootstrap data", kind: Secrets, names: ["m1-bootstrap", "m2-bootstrap"] },
  { what: "pool host", kind: PooledRemoteMachines, names: ["h1"] },
  { what: "SSH key", kind: Secrets, names: ["key"] }
]

const remove = (world: World, kind: Kind<KubeObject>, names: ReadonlyArray<string>) =>
  Effect.forEach(names, (name) => Effect.ignore(world.kube.delete(kind, at(name))), { discard: true })

/** Nothing of ours and nothing that we hold is left; what was on the hosts is gone. */
const gone = Effect.fnUntraced(function* (world: World, hosts: ReadonlyArray<SimulatedHost>) {
  const { kube } = world
  assert.deepStrictEqual((yield* kube.list(RemoteMachines, { namespace: TEAM })).items, [])
  const secrets = (yield* kube.list(Secrets, { namespace: TEAM })).items
  assert.deepStrictEqual(
    secrets.filter(({ metadata }) => metadata.finalizers?.includes(SSH_KEY_FINALIZER)),
    []
  )
  for (const host of hosts) assert.deepStrictEqual(host.residue(), [], host.name)
  const entries = world.witness.entries()
  assert.deepStrictEqual([...dirtyHosts(entries), ...doubleTenants(entries)], [])
})

/** Every order of these; 5 things make 120 of them, most of which tell nothing that a few don't. */
const ORDERS = 12

describe("deletion", () => {
  for (const { what, kind, names } of others)
    for (const late of [false, true])
      it.effect(`${what} is gone first${late ? ", and the machine is still being provisioned" : ""}`, () =>
        Effect.gen(function* () {
          const { world, hosts } = yield* team
          if (late) for (const host of hosts) host.script("runcmd 2", { hang: true })
          yield* world.startProvider()
          yield* pass(20)
          yield* remove(world, kind, names)
          yield* pass(5)
          yield* remove(world, RemoteMachines, ["m1", "m2"])
          yield* pass(60)
          yield* gone(world, hosts)
          const pool = (yield* world.kube.list(PooledRemoteMachines, { namespace: TEAM })).items
          assert.strictEqual(pool.length, what === "pool host" ? 0 : 1)
          assert.notInclude(
            pool.map((host) => host.status?.phase),
            "Quarantined"
          )
        })
      )

  it.effect("everything, in any order, with the RemoteMachines somewhere among it", () =>
    Effect.gen(function* () {
      for (let order = 1; order <= ORDERS; order++) {
        const all = [...others, { what: "RemoteMachines", kind: RemoteMachines, names: ["m1", "m2"] }]
        const shuffled = yield* Random.shuffle(all).pipe(Random.withSeed(`deletion ${order}`))
        const { world, hosts } = yield* team
        yield* world.startProvider()
        yield* pass(20)
        for (const { kind, names } of shuffled) {
          yield* remove(world, kind, names)
          yield* pass(order % 3)
        }
        yield* pass(60)
        yield* Effect.catchCause(gone(world, hosts), (cause) =>
          Effect.sync(() => assert.fail(`${shuffled.map(({ what }) => what).join(", ")}: ${Cause.pretty(cause)}`))
        )
        assert.deepStrictEqual((yield* world.kube.list(PooledRemoteMachines, { namespace: TEAM })).items, [])
      }
    })
  )

  it.effect("of the namespace: hosts are cleaned before key and objects are let go, and the namespace goes", () =>
    Effect.gen(function* () {
      const { world, hosts } = yield* team
      for (const host of hosts) host.script("stop k0s", { duration: 5_000 })
      yield* world.startProvider()
      yield* pass(20)
      const before = world.server.writes().length
      yield* world.kube.delete(Namespaces, { name: TEAM })
      yield* pass(1)
      // Everything is being deleted at once; the key is still there to clean with.
      assert.isDefined((yield* world.kube.get(Secrets, at("key"))).metadata.deletionTimestamp)
      yield* pass(60)
      yield* gone(world, hosts)
      assert.strictEqual((yield* Effect.flip(world.kube.get(Namespaces, { name: TEAM }))).reason, "NotFound")
      const made = world.server
        .writes()
        .slice(before)
        .filter((one) => one.client === "provider" && one.verb === "create" && one.kind !== "Event")
      assert.deepStrictEqual(made, [])
    })
  )

  it.effect("of the namespace while the host is away: held until cleaning is given up on, and that is said", () =>
    Effect.gen(function* () {
      const { world, hosts } = yield* team
      yield* world.startProvider()
      yield* pass(20)
      for (const host of hosts) host.setReachability("blackholed")
      yield* world.kube.delete(Namespaces, { name: TEAM })
      yield* pass(120)
      const held = yield* world.kube.get(RemoteMachines, at("m1"))
      const ready = held.status?.conditions?.find((one) => one.type === "Ready")
      assert.strictEqual(ready?.reason, "ConnectFailed")
      yield* pass(3_600)
      assert.strictEqual((yield* Effect.flip(world.kube.get(Namespaces, { name: TEAM }))).reason, "NotFound")
    })
  )

  it.effect("while a cleaning takes very long: said after half an hour, and followed again until it ends", () =>
    Effect.gen(function* () {
      const { world, hosts } = yield* team
      const slow = [1, 2, 3, 4, 5].map((index) => `sleep ${index}`)
      yield* world.kube.patch(PooledRemoteMachines, at("h1"), { spec: { machine: { customCleanUpCommands: slow } } })
      for (const [index] of slow.entries()) hosts[0]?.script(`clean-up ${index + 1}`, { duration: 9 * 60_000 })
      yield* world.startProvider()
      yield* pass(20)
      yield* world.kube.delete(RemoteMachines, at("m1"))
      yield* pass(31 * 60)
      const held = yield* world.kube.get(RemoteMachines, at("m1"))
      assert.strictEqual(held.status?.conditions?.find((one) => one.type === "Ready")?.reason, "CleaningTimedOut")
      yield* pass(16 * 60)
      assert.strictEqual((yield* Effect.flip(world.kube.get(RemoteMachines, at("m1")))).reason, "NotFound")
      const begun = world.witness.entries().flatMap((one) => (one._tag === "StepBegan" ? [one.name] : []))
      for (const [index] of slow.entries())
        assert.strictEqual(begun.filter((name) => name === `clean-up ${index + 1}`).length, 1, begun.join())
    })
  )

  it.effect(
    "without the key (its finalizer was taken away by hand): given up on in bounded time, and said loudly",
    () =>
      Effect.gen(function* () {
        const { world } = yield* team
        yield* world.startProvider()
        yield* pass(20)
        yield* world.kube.patch(Secrets, at("key"), { metadata: { finalizers: [] } })
        yield* world.kube.delete(Secrets, at("key"))
        yield* remove(world, RemoteMachines, ["m1", "m2"])
        yield* pass(30)
        const waits = yield* world.kube.get(RemoteMachines, at("m1"))
        assert.strictEqual(
          waits.status?.conditions?.find((one) => one.type === "Ready")?.reason,
          "SSHKeySecretNotFound"
        )
        yield* pass(3_600)
        assert.deepStrictEqual((yield* world.kube.list(RemoteMachines, { namespace: TEAM })).items, [])
        const host = yield* world.kube.get(PooledRemoteMachines, at("h1"))
        assert.strictEqual(host.status?.phase, "Quarantined")
        const events = (yield* world.kube.list(Events, { namespace: TEAM })).items
        const loud = events.filter(({ reason }) => reason === "Quarantined")
        assert.isAbove(loud.length, 0, events.map(({ reason }) => reason).join())
        assert.match(loud[0]?.message ?? "", /key/)
      })
  )
})
