/**
 * Holds: pool hosts that nobody uses are probed, slowly and a few at a time; conditions and the choice follow what is
 * found; nothing is written while nothing changes; a suspect host becomes healthy by a probe; an orphaned host is freed
 * by its own record; and none of it happens unless it is asked for.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { PROBES_IN_FLIGHT } from "../src/actors/PoolProbes.ts"
import { Secrets, secretData } from "../src/api/Core.ts"
import { CLAIM_ANNOTATION, MAINTENANCE_ANNOTATION } from "../src/api/Names.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import { KubeError } from "../src/kube/KubeError.ts"
import { ProviderOptions } from "../src/provider/Options.ts"
import { root, SIMULATED_KEY, withoutSudo } from "../src/simulation/hosts/Accounts.ts"
import type { Wrap } from "../src/simulation/Processes.ts"
import * as Worlds from "../src/simulation/World.ts"
import { createHost, createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

type World = Worlds.World

const INTERVAL_SECONDS = 600

/** A provider that probes. */
const start = (world: World, wrap: Wrap = {}, poolProbeSeconds = INTERVAL_SECONDS) =>
  Effect.flatMap(ProviderOptions, (options) =>
    world.startProvider("provider", wrap).pipe(Effect.provideService(ProviderOptions, { ...options, poolProbeSeconds }))
  )

const hostNow = (world: World, name: string) => world.kube.get(PooledRemoteMachines, ref(name))
const condition = (world: World, name: string, type: string) =>
  Effect.map(hostNow(world, name), ({ status }) => status?.conditions?.find((one) => one.type === type))
const shown = Effect.fnUntraced(function* (world: World, name: string) {
  const reachable = yield* condition(world, name, "Reachable")
  const clean = yield* condition(world, name, "Clean")
  return [(yield* hostNow(world, name)).status?.phase, reachable?.status, clean?.status]
})
const addressOf = (world: World, name: string) =>
  Effect.map(world.kube.get(RemoteMachines, ref(name)), ({ spec }) => spec.address)
const hostWrites = (world: World) =>
  world.server.writes().filter((one) => one.client === "provider" && one.kind === "PooledRemoteMachine").length

describe("a host that nobody uses", () => {
  it.effect("is found usable, said once, and preferred to one that is not known yet", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(2)
      yield* start(world)
      yield* pass(70)
      assert.deepStrictEqual(yield* shown(world, "h2"), ["Free", "True", "True"])
      const before = hostWrites(world)
      yield* pass(2 * INTERVAL_SECONDS)
      assert.strictEqual(hostWrites(world), before)
      // By name h1 would come first.
      yield* world.addHost(1)
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(20)
      assert.strictEqual(yield* addressOf(world, "m1"), "10.0.0.2")
      // While it is used nobody looks whether it is clean, and nothing says so.
      assert.isUndefined(yield* condition(world, "h2", "Clean"))
    })
  )

  for (const { what, reason, says, spoil, mend } of [
    {
      what: "is not reached",
      reason: "ConnectFailed",
      says: /10\.0\.0\.1:22/,
      spoil: (world: World) => Effect.sync(() => world.hosts.host("10.0.0.1")?.setReachability("refusing")),
      mend: (world: World) => Effect.sync(() => world.hosts.host("10.0.0.1")?.setReachability("up"))
    },
    {
      what: "does not answer at all",
      reason: "ConnectFailed",
      says: /10\.0\.0\.1:22/,
      spoil: (world: World) => Effect.sync(() => world.hosts.host("10.0.0.1")?.setReachability("blackholed")),
      mend: (world: World) => Effect.sync(() => world.hosts.host("10.0.0.1")?.setReachability("up"))
    },
    {
      what: "has no key",
      reason: "SSHKeySecretNotFound",
      says: /key.*Create it, or correct the reference/,
      spoil: (world: World) => world.kube.delete(Secrets, ref("key")),
      mend: (world: World) =>
        world.kube.create(Secrets, { metadata: ref("key"), data: secretData({ value: SIMULATED_KEY }) })
    },
    {
      what: "refuses the key",
      reason: "AuthenticationFailed",
      says: /default\/key/,
      spoil: (world: World) => Effect.sync(() => world.hosts.host("10.0.0.1")?.accounts.delete("root")),
      mend: (world: World) => Effect.sync(() => world.hosts.host("10.0.0.1")?.accounts.set("root", root(SIMULATED_KEY)))
    },
    {
      what: "refuses sudo",
      reason: "SudoRefused",
      says: /ops@10\.0\.0\.1:22/,
      spoil: (world: World) =>
        Effect.andThen(
          Effect.sync(() => world.hosts.host("10.0.0.1")?.accounts.set("ops", withoutSudo(SIMULATED_KEY))),
          world.kube.patch(PooledRemoteMachines, ref("h1"), { spec: { machine: { user: "ops", useSudo: true } } })
        ),
      mend: (world: World) =>
        Effect.sync(() => world.hosts.host("10.0.0.1")?.accounts.set("ops", { ...root(SIMULATED_KEY), uid: 1001 }))
    }
  ])
    it.effect(`that ${what} is given to nobody, with the reason, until a probe finds it mended`, () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        yield* world.addHost(1)
        yield* spoil(world)
        yield* start(world)
        yield* pass(100)
        assert.deepStrictEqual(yield* shown(world, "h1"), ["Suspect", "False", undefined])
        const reachable = yield* condition(world, "h1", "Reachable")
        assert.strictEqual(reachable?.reason, reason)
        assert.match(reachable?.message ?? "", says)
        yield* createMachine(world.kube, { name: "m1", pool: "default" })
        // Longer than a suspicion without probes lasts.
        yield* pass(400)
        assert.isUndefined(yield* addressOf(world, "m1"))
        yield* mend(world)
        yield* pass(INTERVAL_SECONDS)
        assert.strictEqual(yield* addressOf(world, "m1"), "10.0.0.1")
      })
    )

  it.effect("is not doubted because its key may not be read: that is the provider's trouble, not the host's", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      let refusals = 0
      const refused = () => {
        refusals += 1
        return new KubeError({ reason: "Forbidden", verb: "get", kind: "Secret", message: "secrets: forbidden" })
      }
      yield* start(world, {
        kube: (inner) => ({
          ...inner,
          get: (kind, at) => (kind.kind === "Secret" ? Effect.fail(refused()) : inner.get(kind, at))
        })
      })
      yield* pass(200)
      assert.isAbove(refusals, 0)
      assert.deepStrictEqual(yield* shown(world, "h1"), ["Free", undefined, undefined])
    })
  )

  it.effect(
    "that a machine gave up on is healthy again as soon as a probe says so, not after the suspicion's time",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        const host = yield* world.addHost(1)
        host.setReachability("refusing")
        yield* start(world, {}, 60)
        yield* createMachine(world.kube, { name: "m1", pool: "default" })
        yield* pass(60)
        assert.strictEqual((yield* hostNow(world, "h1")).status?.phase, "Suspect")
        host.setReachability("up")
        yield* pass(70)
        assert.strictEqual(yield* addressOf(world, "m1"), "10.0.0.1")
      })
  )

  it.effect("whose record names a tenant of another management cluster is unclean, and free once that has left", () =>
    Effect.gen(function* () {
      const other = yield* makeWorld
      yield* other.addHost(1)
      yield* other.startProvider()
      yield* createMachine(other.kube, { name: "theirs", pool: "default" })
      yield* pass(20)
      const world = yield* Worlds.makeWorld({ hosts: other.hosts })
      yield* createHost(world.kube, { name: "h1", address: "10.0.0.1" })
      yield* start(world)
      yield* pass(70)
      assert.deepStrictEqual(yield* shown(world, "h1"), ["Unclean", "True", "False"])
      const clean = yield* condition(world, "h1", "Clean")
      assert.strictEqual(clean?.reason, "ForeignTenant")
      assert.match(clean?.message ?? "", /default\/theirs.*adopt-foreign/)
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(20)
      assert.isUndefined(yield* addressOf(world, "m1"))
      yield* other.kube.delete(RemoteMachines, ref("theirs"))
      yield* pass(INTERVAL_SECONDS + 20)
      assert.strictEqual(yield* addressOf(world, "m1"), "10.0.0.1")
    })
  )

  it.effect("in maintenance is left alone; afterwards it is looked at", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const host = yield* world.addHost(1)
      yield* world.kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { annotations: { [MAINTENANCE_ANNOTATION]: "" } }
      })
      yield* start(world)
      yield* pass(2 * INTERVAL_SECONDS)
      assert.deepStrictEqual(yield* shown(world, "h1"), ["Maintenance", undefined, undefined])
      host.setReachability("refusing")
      yield* world.kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { annotations: { [MAINTENANCE_ANNOTATION]: null } }
      })
      yield* pass(70)
      assert.deepStrictEqual(yield* shown(world, "h1"), ["Suspect", "False", undefined])
    })
  )

  it.effect("held by a claim that no machine carries is freed when its own record says that the claim is over", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* world.addHost(2)
      yield* start(world)
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      yield* pass(20)
      const claim = (yield* hostNow(world, "h1")).metadata.annotations?.[CLAIM_ANNOTATION] ?? ""
      yield* world.kube.delete(RemoteMachines, ref("m1"))
      yield* pass(20)
      // A backup from before the machine's end is restored: the hosts say they are claimed, one of them wrongly so.
      for (const [name, text] of [
        ["h1", claim],
        ["h2", claim.replace('"h1"', '"h2"').replace(/"id":"[^"]*"/, '"id":"of-another-cluster"')]
      ] as const)
        yield* world.kube.patch(PooledRemoteMachines, ref(name), {
          metadata: { annotations: { [CLAIM_ANNOTATION]: text } }
        })
      yield* pass(2 * INTERVAL_SECONDS)
      const first = yield* hostNow(world, "h1")
      assert.strictEqual(first.status?.phase, "Free")
      assert.isUndefined(first.metadata.annotations?.[CLAIM_ANNOTATION])
      // Absence is no evidence: h2's record says nothing about that claim.
      assert.strictEqual((yield* hostNow(world, "h2")).status?.phase, "Orphaned")
    })
  )

  it.effect("is probed a few at a time, once an interval, and not all at one moment", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const probed: Array<string> = []
      let now = 0
      let most = 0
      const inspecting: Wrap["hosts"] = (inner) => ({
        ...inner,
        inspect: (access, tenant) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              probed.push(access.target.address)
              now += 1
              most = Math.max(most, now)
            }),
            () => Effect.delay(inner.inspect(access, tenant), 1_000),
            () =>
              Effect.sync(() => {
                now -= 1
              })
          )
      })
      for (let index = 1; index <= 40; index++) yield* world.addHost(index)
      yield* start(world, { hosts: inspecting })
      yield* pass(15)
      const early = probed.length
      yield* pass(75)
      assert.strictEqual(new Set(probed).size, 40)
      assert.strictEqual(probed.length, 40)
      assert.isBelow(early, 30)
      assert.strictEqual(most, PROBES_IN_FLIGHT)
      yield* pass(INTERVAL_SECONDS)
      assert.isAtLeast(probed.length, 80)
      assert.isAtMost(probed.length, 3 * 40)
    })
  )

  it.effect("is never connected to when probing is off", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      let connects = 0
      yield* world.addHost(1)
      yield* world.startProvider("provider", {
        ssh: (inner) => ({
          connect: (target) => {
            connects += 1
            return inner.connect(target)
          }
        })
      })
      yield* pass(2 * INTERVAL_SECONDS)
      assert.strictEqual(connects, 0)
    })
  )
})
