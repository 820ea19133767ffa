/**
 * Holds DESIGN's "Keys": the SSH key Secret carries our finalizer from before a host is touched until the last machine
 * that needs it is gone; decided by evidence, one write a Secret, and bounded. (Crashes: actors/machine-crash.test.ts.)
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { KEY_SETTLE_MILLIS, KeyGuard, keysNeededBy } from "../src/actors/KeyGuard.ts"
import { Clusters } from "../src/api/ClusterApi.ts"
import { Secrets, secretData } from "../src/api/Core.ts"
import { DELETE_FOR_MOVE_ANNOTATION, PAUSED_ANNOTATION, SSH_KEY_FINALIZER, SSH_KEY_LABEL } from "../src/api/Names.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../src/api/RemoteMachine.ts"
import { KubeClient, type KubeClientShape } from "../src/kube/KubeClient.ts"
import { KubeError } from "../src/kube/KubeError.ts"
import { SIMULATED_KEY } from "../src/simulation/hosts/Accounts.ts"
import type { World } from "../src/simulation/World.ts"
import { apiServer, CLUSTER, createKey, createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

const key = (world: World, name = "key") => Effect.option(world.kube.get(Secrets, ref(name)))
const isHeld = (world: World, name = "key") =>
  Effect.map(key(world, name), (secret) =>
    secret._tag === "Some" ? (secret.value.metadata.finalizers ?? []).includes(SSH_KEY_FINALIZER) : undefined
  )
const secretWrites = (world: World) =>
  world.server.writes().filter((one) => one.client === "provider" && one.kind === "Secret").length
const ready = (world: World, name: string) =>
  Effect.map(world.kube.get(RemoteMachines, ref(name)), ({ status }) =>
    status?.conditions?.find((one) => one.type === "Ready")
  )
const machine = (world: World, name: string) => createMachine(world.kube, { name, pool: "default" })
const remove = (world: World, name: string) => world.kube.delete(RemoteMachines, ref(name))

describe("an SSH key Secret", () => {
  it.effect(
    "is held before its first host is touched, let go after its last machine: one write each for all of them",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld
        for (const index of [1, 2, 3]) yield* world.addHost(index)
        let touchedUnheld = 0
        yield* world.startProvider("provider", {
          hosts: (inner) => ({
            ...inner,
            run: (access, request) => {
              const secret = Effect.runSync(world.kube.get(Secrets, ref("key")))
              if (secret.metadata.finalizers?.includes(SSH_KEY_FINALIZER) !== true) touchedUnheld += 1
              return inner.run(access, request)
            }
          })
        })
        for (const name of ["m1", "m2", "m3"]) yield* machine(world, name)
        yield* pass(30)
        assert.isTrue(yield* isHeld(world))
        assert.strictEqual(touchedUnheld, 0)
        assert.strictEqual(secretWrites(world), 1)
        for (const name of ["m1", "m2"]) yield* remove(world, name)
        yield* pass(30)
        assert.isTrue(yield* isHeld(world))
        yield* remove(world, "m3")
        yield* pass(30)
        const secret = yield* world.kube.get(Secrets, ref("key"))
        assert.deepStrictEqual(secret.metadata.finalizers ?? [], [])
        assert.isUndefined(secret.metadata.labels?.[SSH_KEY_LABEL])
        assert.strictEqual(secretWrites(world), 2)
      })
  )

  it.effect("is not written for a machine that never gets as far as its host", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const host = yield* world.addHost(1)
      host.setReachability("refusing")
      yield* world.startProvider()
      yield* machine(world, "m1")
      yield* pass(60)
      assert.strictEqual(secretWrites(world), 0)
    })
  )

  it.effect("deleted while it is needed: it stays until the host is clean; nobody new begins with it", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const host = yield* world.addHost(1)
      yield* world.addHost(2)
      yield* world.startProvider()
      yield* machine(world, "m1")
      yield* pass(20)
      yield* world.kube.delete(Secrets, ref("key"))
      yield* machine(world, "m2")
      yield* pass(20)
      assert.isTrue(yield* isHeld(world))
      const refused = yield* ready(world, "m2")
      assert.strictEqual(refused?.reason, "SSHKeySecretDeleting")
      assert.match(refused?.message ?? "", /default\/key.*Create it again, or name another/)
      assert.isUndefined(world.hosts.hosts()[1]?.tenancy())
      yield* remove(world, "m1")
      yield* pass(30)
      assert.deepStrictEqual(host.residue(), [])
      // m2 claimed a host, which is untouched: it needs the key only once it begins.
      yield* remove(world, "m2")
      yield* pass(30)
      assert.isUndefined(yield* isHeld(world))
    })
  )

  it.effect("gone and created again: the machine that waits goes on by itself", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* world.kube.patch(Secrets, ref("key"), { metadata: { finalizers: ["example.com/mine"] } })
      yield* world.kube.delete(Secrets, ref("key"))
      yield* world.startProvider()
      yield* machine(world, "m1")
      yield* pass(20)
      assert.strictEqual((yield* ready(world, "m1"))?.reason, "SSHKeySecretDeleting")
      yield* world.kube.patch(Secrets, ref("key"), { metadata: { finalizers: [] } })
      yield* createKey(world.kube)
      yield* pass(20)
      assert.strictEqual((yield* ready(world, "m1"))?.status, "True")
    })
  )

  it.effect("that may not be patched: a condition that says so, an untouched host, and it goes on when it may", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      let allowed = false
      yield* world.startProvider("provider", {
        kube: (inner) => ({
          ...inner,
          patch: (kind, at, patch, options) =>
            kind.kind === "Secret" && !allowed
              ? Effect.fail(
                  new KubeError({ reason: "Forbidden", verb: "patch", kind: "Secret", message: "secrets: forbidden" })
                )
              : inner.patch(kind, at, patch, options)
        })
      })
      yield* machine(world, "m1")
      yield* pass(20)
      const refused = yield* ready(world, "m1")
      assert.strictEqual(refused?.reason, "SSHKeySecretNotHeld")
      assert.match(refused?.message ?? "", /default\/key.*permission to patch Secrets/)
      assert.isUndefined(world.hosts.hosts()[0]?.tenancy())
      allowed = true
      yield* pass(70)
      assert.strictEqual((yield* ready(world, "m1"))?.status, "True")
    })
  )

  it.effect("that may not be read: told as a missing permission, and it goes on when it may", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      let allowed = false
      const refused = new KubeError({
        reason: "Forbidden",
        verb: "get",
        kind: "Secret",
        message: 'secrets "key" is forbidden: User "machinist" cannot get resource "secrets"'
      })
      yield* world.startProvider("provider", {
        kube: (inner) => ({
          ...inner,
          get: (kind, at) => (kind.kind === "Secret" && !allowed ? Effect.fail(refused) : inner.get(kind, at))
        })
      })
      yield* machine(world, "m1")
      yield* pass(20)
      const told = yield* ready(world, "m1")
      assert.strictEqual(told?.reason, "APIServerForbidden")
      assert.match(told?.message ?? "", /secrets "key" is forbidden.*needs the permission to get Secrets.*ClusterRole/)
      allowed = true
      yield* pass(70)
      assert.strictEqual((yield* ready(world, "m1"))?.status, "True")
    })
  )

  it.effect("of a machine that is given another key: the new one is held, the old one let go", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      yield* createKey(world.kube, "key2")
      yield* world.startProvider()
      yield* machine(world, "m1")
      yield* pass(20)
      yield* world.kube.patch(PooledRemoteMachines, ref("h1"), { spec: { machine: { sshKeyRef: { name: "key2" } } } })
      yield* pass(10)
      assert.deepStrictEqual([yield* isHeld(world), yield* isHeld(world, "key2")], [false, true])
    })
  )

  it.effect("is left alone while paused, and taken care of afterwards; what is moved away needs it no more", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      const first = yield* world.startProvider()
      yield* machine(world, "m1")
      yield* pass(20)
      yield* first.crash
      // As on the target of a move: the Secret has come without our finalizer.
      yield* world.kube.patch(Clusters, ref(CLUSTER), { spec: { paused: true } })
      yield* world.kube.patch(Secrets, ref("key"), {
        metadata: { finalizers: [], labels: { [SSH_KEY_LABEL]: null } }
      })
      const before = secretWrites(world)
      yield* world.startProvider()
      yield* pass(10)
      assert.strictEqual(secretWrites(world), before)
      yield* world.kube.patch(Clusters, ref(CLUSTER), { spec: { paused: false } })
      yield* pass(10)
      assert.isTrue(yield* isHeld(world))
      // As on its source.
      yield* world.kube.patch(Clusters, ref(CLUSTER), { spec: { paused: true } })
      yield* pass(5)
      yield* world.kube.patch(RemoteMachines, ref("m1"), {
        metadata: { annotations: { [DELETE_FOR_MOVE_ANNOTATION]: "" } }
      })
      yield* remove(world, "m1")
      yield* world.kube.patch(RemoteMachines, ref("m1"), { metadata: { finalizers: [] } })
      yield* pass(10)
      assert.isFalse(yield* isHeld(world))
    })
  )

  it.effect("is let go although nothing cleaned its host, once cleaning is given up on", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const host = yield* world.addHost(1)
      yield* world.startProvider()
      yield* machine(world, "m1")
      yield* pass(20)
      yield* world.kube.delete(Secrets, ref("key"))
      host.setReachability("blackholed")
      yield* remove(world, "m1")
      yield* pass(60)
      assert.isTrue(yield* isHeld(world))
      yield* pass(3_600)
      assert.isUndefined(yield* isHeld(world))
      const object = yield* world.kube.get(PooledRemoteMachines, ref("h1"))
      assert.strictEqual(object.status?.phase, "Quarantined")
    })
  )
})

describe("keysNeededBy", () => {
  const machine = (metadata: Partial<RemoteMachine["metadata"]>): RemoteMachine => ({
    metadata: { name: "m1", namespace: "default", finalizers: ["remotemachine.k0smotron.io/finalizer"], ...metadata },
    spec: {
      address: "10.0.0.1",
      sshKeyRef: { name: "own" },
      jumpHosts: [{ address: "jump", sshKeyRef: { name: "jump" } }]
    }
  })
  const run = { annotations: { "machinist.dev/run": "{}" } }

  it("its own and those of its jump hosts, from the claim on, until its finalizer is gone", () => {
    assert.deepStrictEqual(keysNeededBy(machine({})), [])
    assert.deepStrictEqual(keysNeededBy(machine(run)), ["default/own", "default/jump"])
    const deletionTimestamp = "2026-01-01T00:00:00Z"
    assert.deepStrictEqual(keysNeededBy(machine({ ...run, deletionTimestamp })), ["default/own", "default/jump"])
    assert.deepStrictEqual(keysNeededBy(machine({ ...run, deletionTimestamp, finalizers: ["another"] })), [])
  })
})

// ---------------------------------------------------------------------------------------------------- races

const guard = (kube: KubeClientShape) =>
  Effect.map(Layer.build(KeyGuard.layer.pipe(Layer.provide(Layer.succeed(KubeClient, kube)))), (context) =>
    KeyGuard.pipe(Effect.provideContext(context))
  ).pipe(Effect.flatten)

const claimed = { annotations: { "machinist.dev/claim": "{}" } }

describe("another leader", () => {
  it.effect("that needs the key just when it is let go: it is held again", () =>
    Effect.gen(function* () {
      const server = yield* apiServer()
      const { kubeClient: kube } = server
      yield* kube.create(Secrets, {
        metadata: { ...ref("key"), finalizers: [SSH_KEY_FINALIZER], labels: { [SSH_KEY_LABEL]: "" } },
        data: secretData({ value: SIMULATED_KEY })
      })
      let raced = false
      const keys = yield* guard({
        ...kube,
        patch: (kind, at, patch, options) =>
          Effect.gen(function* () {
            if (kind.kind === "Secret" && !raced) {
              raced = true
              yield* kube.create(RemoteMachines, {
                metadata: { ...ref("m1"), ...claimed, finalizers: ["remotemachine.k0smotron.io/finalizer"] },
                spec: { address: "10.0.0.1", sshKeyRef: { name: "key" } }
              })
            }
            return yield* kube.patch(kind, at, patch, options)
          })
      })
      yield* keys.synced(undefined)
      yield* pass(1 + KEY_SETTLE_MILLIS / 1_000)
      assert.isTrue(raced)
      const secret = yield* kube.get(Secrets, ref("key"))
      assert.deepStrictEqual(secret.metadata.finalizers, [SSH_KEY_FINALIZER])
    }).pipe(Effect.scoped)
  )

  it.effect("whose machine the caches don't show (another watch filter), or that can't be read: the key is kept", () =>
    Effect.gen(function* () {
      const server = yield* apiServer()
      const { kubeClient: kube } = server
      yield* kube.create(Secrets, {
        metadata: { ...ref("key"), finalizers: [SSH_KEY_FINALIZER], labels: { [SSH_KEY_LABEL]: "" } },
        data: secretData({ value: SIMULATED_KEY })
      })
      yield* kube.create(RemoteMachines, {
        metadata: { ...ref("m1"), ...claimed, annotations: { ...claimed.annotations, [PAUSED_ANNOTATION]: "" } },
        spec: { address: "10.0.0.1", sshKeyRef: { name: "key" } }
      })
      const before = yield* kube.get(Secrets, ref("key"))
      const keys = yield* guard(kube)
      yield* keys.synced(undefined)
      yield* pass(3)
      // Not for a moment was it without.
      assert.deepStrictEqual(yield* kube.get(Secrets, ref("key")), before)
      yield* kube.delete(RemoteMachines, ref("m1"))
      yield* keys.synced("default")
      yield* pass(3)
      assert.deepStrictEqual((yield* kube.get(Secrets, ref("key"))).metadata.finalizers ?? [], [])
    }).pipe(Effect.scoped)
  )
})
