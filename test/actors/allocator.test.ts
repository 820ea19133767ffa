/**
 * Holds: a claim is exclusive, durable and idempotent (DESIGN, "Claims"): every write x crash before or after it x who
 * recovers ends with one machine on one host, or with none and a free host.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HashMap from "effect/HashMap"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as ClaimWrites from "../../src/actors/ClaimWrites.ts"
import { claimOf } from "../../src/actors/Objects.ts"
import { EARLY_SECONDS, PoolAllocator } from "../../src/actors/PoolAllocator.ts"
import { type PooledRemoteMachine, PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../../src/api/RemoteMachine.ts"
import type { Waiting } from "../../src/domain/Machine.ts"
import { KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import type { KubeError } from "../../src/kube/KubeError.ts"
import { cuttableKubeClient } from "../../src/simulation/Faults.ts"
import { apiServer, createHost, createKey, createMachine, ref } from "../support/cluster.ts"

const claimantOf = (machine: RemoteMachine) => ({
  namespace: machine.metadata.namespace ?? "",
  name: machine.metadata.name,
  uid: machine.metadata.uid ?? "",
  pool: machine.spec.pool
})

/** Until the scope ends; it was told nothing yet. */
const started = (client: KubeClientShape) =>
  Effect.flatMap(Layer.build(PoolAllocator.layer.pipe(Layer.provide(Layer.succeed(KubeClient, client)))), (context) =>
    PoolAllocator.pipe(Effect.provideContext(context))
  )

/** An allocator of one process, fed once with what the server has; `crash` cuts its client, then drops its fibers. */
const process = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  limitWrites = Number.POSITIVE_INFINITY,
  after = false
) {
  let cut = false
  let writes = 0
  const counting: KubeClientShape = {
    ...kube,
    patch: (kind, at, patch, options) =>
      Effect.suspend(() => {
        writes += 1
        if (writes < limitWrites) return kube.patch(kind, at, patch, options)
        if (!after) {
          cut = true
          return Effect.interruptible(Effect.never)
        }
        return kube.patch(kind, at, patch, options).pipe(
          Effect.tap(() =>
            Effect.sync(() => {
              cut = true
            })
          ),
          Effect.andThen(Effect.interruptible(Effect.never))
        )
      })
  }
  const scope = yield* Scope.make()
  const client = cuttableKubeClient(counting, { isCut: () => cut })
  const allocator = yield* started(client).pipe(Scope.provide(scope))
  for (const machine of (yield* kube.list(RemoteMachines)).items) yield* allocator.machineSeen(machine)
  for (const host of (yield* kube.list(PooledRemoteMachines)).items) yield* allocator.hostSeen(host)
  yield* allocator.synced
  return {
    allocator,
    crash: Effect.suspend(() => {
      cut = true
      return Scope.close(scope, Exit.void)
    })
  }
})

const world = Effect.gen(function* () {
  const server = yield* apiServer()
  const kube = server.kubeClient
  yield* createKey(kube)
  return { server, kube }
})

const told = () => Effect.void

/** Machine m1 has h1, the only host. */
const claimedHost = Effect.gen(function* () {
  const { kube } = yield* world
  yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
  const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
  const { allocator } = yield* process(kube)
  const { claim } = yield* allocator.claim(claimantOf(machine), told)
  return { kube, machine, allocator, claim }
})

/** What another leader does meanwhile: one act each time that the status of a host was written. */
const meanwhile = (
  kube: KubeClientShape,
  ...acts: ReadonlyArray<Effect.Effect<unknown, KubeError>>
): KubeClientShape => {
  const left = [...acts]
  return {
    ...kube,
    patch: (kind, at, patch, options) =>
      Effect.tap(kube.patch(kind, at, patch, options), () =>
        kind.kind === "PooledRemoteMachine" && options?.subresource === "status"
          ? (left.shift() ?? Effect.void)
          : Effect.void
      )
  }
}

/** Another leader uses the host of m1. */
const touch = (kube: KubeClientShape) => {
  const run = { fence: 1, touched: true, bootstrapKind: "", dataHash: "", k0sInstallDir: "", role: "worker" }
  return kube.patch(RemoteMachines, ref("m1"), {
    metadata: { annotations: { "machinist.dev/run": JSON.stringify(run) } }
  })
}

const assertClaimed = (machine: RemoteMachine, host: PooledRemoteMachine) => {
  const claim = claimOf(machine)
  assert.isDefined(claim)
  assert.strictEqual(claimOf(host)?.id, claim?.id)
  assert.strictEqual(claim?.host, host.metadata.name)
  assert.strictEqual(machine.spec.address, host.spec.machine.address)
  assert.strictEqual(host.status?.reserved, true)
  assert.deepStrictEqual(host.status?.machineRef, { name: machine.metadata.name, namespace: "default" })
  assert.include(machine.metadata.finalizers ?? [], "remotemachine.k0smotron.io/finalizer")
}

describe("PoolAllocator", () => {
  it.effect(
    "claims: four writes, both sides carry the id, the machine gets the host's fields, labels and annotations",
    () =>
      Effect.gen(function* () {
        const { server, kube } = yield* world
        yield* createHost(kube, {
          name: "h1",
          address: "10.0.0.1",
          labels: { rack: "r1", "cluster.x-k8s.io/x": "no" },
          machine: { port: 2222, user: "ops", useSudo: true, customCleanUpCommands: ["true"] }
        })
        const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
        const before = server.writes().length
        const { allocator } = yield* process(server.client("provider"))
        const claimed = yield* allocator.claim(claimantOf(machine), told)
        const writes = server
          .writes()
          .slice(before)
          .filter((one) => one.client === "provider")
        // intent, claim, the host's status, populate; and the Machine's labels.
        assert.strictEqual(writes.length, 5)
        const stored = yield* kube.get(RemoteMachines, ref("m1"))
        const host = yield* kube.get(PooledRemoteMachines, ref("h1"))
        assertClaimed(stored, host)
        // What people read is in the same write.
        assert.strictEqual(host.status?.conditions?.find((one) => one.type === "Ready")?.reason, "Reserved")
        assert.strictEqual(claimed.machine.spec.port, 2222)
        assert.strictEqual(stored.spec.user, "ops")
        assert.strictEqual(stored.spec.useSudo, true)
        assert.deepStrictEqual(stored.spec.customCleanUpCommands, ["true"])
        assert.strictEqual(stored.metadata.labels?.["rack"], "r1")
        assert.isUndefined(stored.metadata.labels?.["cluster.x-k8s.io/x"])
      }).pipe(Effect.scoped)
  )

  it.effect("gives each of many machines a host of its own, and tells the rest why they wait", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      for (let i = 0; i < 5; i++) yield* createHost(kube, { name: `h${i}`, address: `10.0.0.${i}` })
      const machines = []
      for (let i = 0; i < 7; i++) machines.push(yield* createMachine(kube, { name: `m${i}`, pool: "default" }))
      const { allocator } = yield* process(kube)
      const reasons: Array<string> = []
      const fibers = []
      for (const machine of machines)
        fibers.push(
          yield* Effect.forkChild(
            allocator.claim(claimantOf(machine), (waiting) =>
              Effect.sync(() => {
                reasons.push(waiting.on === "Host" ? waiting.reason : waiting.on)
              })
            )
          )
        )
      yield* TestClock.adjust("5 seconds")
      const hosts = (yield* kube.list(PooledRemoteMachines)).items
      assert.strictEqual(new Set(hosts.map((host) => claimOf(host)?.machine)).size, 5)
      assert.deepStrictEqual(reasons, ["NoFreeHost", "NoFreeHost"])
      const [first] = machines
      assert.isDefined(first)
      yield* kube.delete(RemoteMachines, ref("m0"))
      if (first !== undefined) yield* allocator.release(claimantOf(first), undefined, { leaving: "deleted", fence: 0 })
      yield* TestClock.adjust("5 seconds")
      // Freed hosts go to whoever waits longest.
      const after = yield* kube.get(RemoteMachines, ref("m5"))
      assert.strictEqual(claimOf(after)?.host, "h0")
      yield* Effect.forEach(fibers, Fiber.interrupt, { discard: true })
    }).pipe(Effect.scoped)
  )

  const WRITES = 4
  for (const after of [false, true]) {
    for (let write = 1; write <= WRITES; write++) {
      for (const next of ["same-process-restarts", "next-leader"] as const) {
        it.effect(
          `crash ${after ? "after" : "before"} write ${write}, ${next}: the claim is completed, on the same host if one was held`,
          () =>
            Effect.gen(function* () {
              const { kube } = yield* world
              yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
              yield* createHost(kube, { name: "h2", address: "10.0.0.2" })
              const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
              const first = yield* process(kube, write, after)
              const asking = yield* Effect.forkChild(first.allocator.claim(claimantOf(machine), told))
              yield* TestClock.adjust("1 second")
              const intended = claimOf(yield* kube.get(RemoteMachines, ref("m1")))
              yield* Fiber.interrupt(asking)
              yield* first.crash
              // Another machine asks first: an intended host is not free for it.
              const other = yield* createMachine(kube, { name: "m0", pool: "default" })
              const second = yield* process(kube)
              yield* second.allocator.claim(claimantOf(other), told)
              const claimed = yield* second.allocator.claim(
                claimantOf(yield* kube.get(RemoteMachines, ref("m1"))),
                told
              )
              if (intended !== undefined) assert.strictEqual(claimed.claim.id, intended.id)
              const stored = yield* kube.get(RemoteMachines, ref("m1"))
              assertClaimed(stored, yield* kube.get(PooledRemoteMachines, ref(claimed.claim.host)))
              const hosts = (yield* kube.list(PooledRemoteMachines)).items
              assert.strictEqual(new Set(hosts.map((host) => claimOf(host)?.machine)).size, 2)
            }).pipe(Effect.scoped)
        )
      }
      it.effect(
        `crash ${after ? "after" : "before"} write ${write}, then deletion: nothing is held and nothing is left`,
        () =>
          Effect.gen(function* () {
            const { kube } = yield* world
            yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
            const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
            const first = yield* process(kube, write, after)
            yield* Effect.forkChild(first.allocator.claim(claimantOf(machine), told))
            yield* TestClock.adjust("1 second")
            yield* first.crash
            yield* kube.delete(RemoteMachines, ref("m1"))
            const second = yield* process(kube)
            yield* second.allocator.release(claimantOf(machine), undefined, { leaving: "deleted", fence: 0 })
            const host = yield* kube.get(PooledRemoteMachines, ref("h1"))
            assert.isUndefined(claimOf(host))
            assert.notStrictEqual(host.status?.reserved, true)
            assert.deepStrictEqual(host.metadata.finalizers ?? [], [])
            const error = yield* Effect.flip(kube.get(RemoteMachines, ref("m1")))
            assert.strictEqual(error.reason, "NotFound")
          }).pipe(Effect.scoped)
      )
    }
  }

  for (const after of [false, true]) {
    for (let write = 1; write <= 3; write++) {
      it.effect(
        `crash ${after ? "after" : "before"} write ${write} of a release: the next one finishes it, and never frees another's host`,
        () =>
          Effect.gen(function* () {
            const { kube } = yield* world
            yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
            const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
            const first = yield* process(kube)
            const { claim } = yield* first.allocator.claim(claimantOf(machine), told)
            yield* first.crash
            yield* kube.delete(RemoteMachines, ref("m1"))
            const second = yield* process(kube, write, after)
            yield* Effect.forkChild(
              second.allocator.release(claimantOf(machine), claim, { leaving: "deleted", fence: 0 })
            )
            yield* TestClock.adjust("1 second")
            yield* second.crash
            // A third process: another machine takes the host if it is free by now; the release is carried on.
            const third = yield* process(kube)
            const other = yield* createMachine(kube, { name: "m2", pool: "default" })
            const asking = yield* Effect.forkChild(third.allocator.claim(claimantOf(other), told))
            yield* TestClock.adjust("1 second")
            yield* third.allocator.release(claimantOf(machine), claim, { leaving: "deleted", fence: 0 })
            yield* TestClock.adjust("5 seconds")
            const got = yield* Fiber.join(asking)
            assertClaimed(got.machine, yield* kube.get(PooledRemoteMachines, ref("h1")))
            const error = yield* Effect.flip(kube.get(RemoteMachines, ref("m1")))
            assert.strictEqual(error.reason, "NotFound")
          }).pipe(Effect.scoped)
      )
    }
  }

  it.effect("a requester that is interrupted at any moment leaks nothing: its next request finds the same claim", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const { allocator } = yield* process(kube)
      for (let round = 0; round < 10; round++) {
        const asking = yield* Effect.forkChild(allocator.claim(claimantOf(machine), told))
        for (let turn = 0; turn < round; turn++) yield* Effect.yieldNow
        yield* Fiber.interrupt(asking)
      }
      const { claim } = yield* allocator.claim(claimantOf(machine), told)
      assertClaimed(yield* kube.get(RemoteMachines, ref("m1")), yield* kube.get(PooledRemoteMachines, ref("h1")))
      yield* allocator.release(claimantOf(machine), claim, { leaving: "suspect", fence: 0 })
      const host = yield* kube.get(PooledRemoteMachines, ref("h1"))
      assert.isUndefined(claimOf(host))
      assert.strictEqual(host.status?.phase, "Suspect")
      const stored = yield* kube.get(RemoteMachines, ref("m1"))
      assert.isUndefined(stored.spec.address)
    }).pipe(Effect.scoped)
  )

  it.effect("two allocators (two leaders) on one pool never hold one host twice", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      for (let i = 0; i < 4; i++) yield* createHost(kube, { name: `h${i}`, address: `10.0.0.${i}` })
      const machines = []
      for (let i = 0; i < 4; i++) machines.push(yield* createMachine(kube, { name: `m${i}`, pool: "default" }))
      const one = yield* process(kube)
      const two = yield* process(kube)
      const asking = yield* Effect.forkChild(
        Effect.forEach(
          machines,
          (machine, index) => (index % 2 === 0 ? one : two).allocator.claim(claimantOf(machine), told),
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("5 seconds")
      const claimed = yield* Fiber.join(asking)
      assert.strictEqual(new Set(claimed.map((one) => one.claim.host)).size, 4)
      for (const { machine, claim } of claimed)
        assertClaimed(machine, yield* kube.get(PooledRemoteMachines, ref(claim.host)))
    }).pipe(Effect.scoped)
  )

  it.effect(
    "a machine that does not listen for a while hears the last of why it waits, and nobody piles up the rest",
    () =>
      Effect.gen(function* () {
        const { kube } = yield* world
        yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
        const machine = yield* createMachine(kube, { name: "m1", pool: "other" })
        const { allocator } = yield* process(kube)
        const heard: Array<string> = []
        const listens = yield* Latch.make(true)
        let speaking = 0
        let most = 0
        const told = (waiting: Waiting) =>
          Effect.gen(function* () {
            speaking += 1
            most = Math.max(most, speaking)
            yield* listens.await
            speaking -= 1
            heard.push("message" in waiting ? waiting.message : waiting.on)
          })
        yield* Effect.forkChild(allocator.claim(claimantOf(machine), told))
        yield* TestClock.adjust("1 second")
        yield* listens.close
        for (let index = 1; index <= 100; index++) {
          const host = yield* kube.create(PooledRemoteMachines, {
            metadata: { ...ref(`x${index}`), annotations: { "machinist.dev/maintenance": "" } },
            spec: { pool: "other", machine: { address: `10.0.1.${index}`, sshKeyRef: { name: "key" } } }
          })
          yield* allocator.hostSeen(host)
          yield* TestClock.adjust("1 millis")
        }
        assert.strictEqual(most, 1)
        yield* listens.open
        yield* TestClock.adjust("1 second")
        // One word was on its way when it stopped to listen.
        assert.isAtMost(heard.length, 3)
        assert.match(heard[0] ?? "", /No PooledRemoteMachine/)
        assert.match(heard.at(-1) ?? "", /None of the 100 hosts .* 100 in maintenance/)
      }).pipe(Effect.scoped)
  )

  for (const limit of [1, 2, 3, 4])
    for (const after of [false, true])
      it.effect(
        `a host given back as unclean, crash ${after ? "after" : "before"} write ${limit}: one host, or none`,
        () =>
          Effect.gen(function* () {
            const { kube } = yield* world
            for (const index of [1, 2]) yield* createHost(kube, { name: `h${index}`, address: `10.0.0.${index}` })
            const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
            const first = yield* process(kube)
            const { claim } = yield* first.allocator.claim(claimantOf(machine), told)
            assert.strictEqual(claim.host, "h1")
            yield* first.crash
            const second = yield* process(kube, limit, after)
            yield* Effect.forkChild(
              second.allocator.release(claimantOf(machine), claim, { leaving: "unclean", fence: 0 })
            )
            yield* TestClock.adjust("1 second")
            yield* second.crash
            const third = yield* process(kube)
            const found = yield* third.allocator.claim(claimantOf(machine), told)
            const given = claimOf(yield* kube.get(PooledRemoteMachines, ref("h1"))) === undefined
            assert.strictEqual(found.claim.host, given ? "h2" : "h1")
            const [mine, other] = given ? ["h2", "h1"] : ["h1", "h2"]
            assertClaimed(yield* kube.get(RemoteMachines, ref("m1")), yield* kube.get(PooledRemoteMachines, ref(mine)))
            assert.isUndefined(claimOf(yield* kube.get(PooledRemoteMachines, ref(other))))
            // It may be given back untouched in four writes, and then it is.
            if (limit === 4 && after) assert.isTrue(given)
          }).pipe(Effect.scoped)
      )

  it.effect(
    "a machine that is being deleted, which nobody knows yet, gets no host, and none is held for it meanwhile",
    () =>
      Effect.gen(function* () {
        const { server, kube } = yield* world
        yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
        const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
        const { allocator } = yield* process(kube)
        // It had a host before: an API server refuses a new finalizer, and would refuse the intent with it.
        yield* kube.patch(RemoteMachines, ref("m1"), {
          metadata: { finalizers: ["remotemachine.k0smotron.io/finalizer"] }
        })
        yield* kube.delete(RemoteMachines, ref("m1"))
        const before = server.writes().length
        const asking = yield* Effect.forkChild(allocator.claim(claimantOf(machine), told))
        yield* TestClock.adjust("5 seconds")
        const onHost = server
          .writes()
          .slice(before)
          .filter(({ kind, subresource }) => {
            return kind === "PooledRemoteMachine" && subresource === undefined
          })
        assert.deepStrictEqual(onHost, [])
        assert.isUndefined(claimOf(yield* kube.get(RemoteMachines, ref("m1"))))
        yield* Fiber.interrupt(asking)
      }).pipe(Effect.scoped)
  )

  it.effect("a host whose claim no machine carries is held as Orphaned, and freed only by hand", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      yield* kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: {
          annotations: {
            "machinist.dev/claim": JSON.stringify({ id: "lost", host: "h1", machine: "default/gone", uid: "u" })
          }
        }
      })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const { allocator } = yield* process(kube)
      const asking = yield* Effect.forkChild(allocator.claim(claimantOf(machine), told))
      yield* TestClock.adjust("5 seconds")
      const held = yield* kube.get(PooledRemoteMachines, ref("h1"))
      assert.strictEqual(held.status?.phase, "Orphaned")
      assert.strictEqual(claimOf(held)?.id, "lost")
      const asked = yield* kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { annotations: { "machinist.dev/release": "" } }
      })
      yield* allocator.hostSeen(asked)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(asking)).claim.host, "h1")
    }).pipe(Effect.scoped)
  )

  it.effect("k0smotron's reservation without a claim of ours, and a claim that can't be read, hold the host", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      yield* kube.patch(
        PooledRemoteMachines,
        ref("h1"),
        { status: { reserved: true, machineRef: { name: "old", namespace: "default" } } },
        { subresource: "status" }
      )
      yield* createHost(kube, { name: "h2", address: "10.0.0.2" })
      yield* kube.patch(PooledRemoteMachines, ref("h2"), { metadata: { annotations: { "machinist.dev/claim": "?" } } })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const { allocator } = yield* process(kube)
      const reasons: Array<string> = []
      yield* Effect.forkChild(
        allocator.claim(claimantOf(machine), (waiting) =>
          Effect.sync(() => {
            reasons.push(waiting.on === "Host" ? waiting.message : "")
          })
        )
      )
      yield* TestClock.adjust("5 seconds")
      assert.match(reasons.join(), /None of the 2 hosts.*2 reserved/)
    }).pipe(Effect.scoped)
  )

  it.effect("two host objects with one address: the second is refused, and said to be", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      yield* createHost(kube, { name: "h2", address: "10.0.0.1" })
      const { allocator } = yield* process(kube)
      const one = yield* createMachine(kube, { name: "m1", pool: "default" })
      const two = yield* createMachine(kube, { name: "m2", pool: "default" })
      yield* allocator.claim(claimantOf(one), told)
      yield* Effect.forkChild(allocator.claim(claimantOf(two), told))
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(claimOf(yield* kube.get(PooledRemoteMachines, ref("h2"))))
      assert.strictEqual((yield* kube.get(PooledRemoteMachines, ref("h2"))).status?.phase, "Refused")
    }).pipe(Effect.scoped)
  )

  it.effect("late news of a host that is gone, or of a former host of its name, changes nothing", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      const former = yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      const { allocator } = yield* process(kube)
      yield* kube.delete(PooledRemoteMachines, ref("h1"))
      yield* allocator.hostGone(former)
      // The answer to a write that took the last finalizer away shows the object once more.
      const leaving = { ...former, metadata: { ...former.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } }
      yield* allocator.hostSeen(leaving)
      assert.strictEqual(HashMap.size((yield* allocator.state).hosts), 0)
      yield* allocator.hostSeen(yield* createHost(kube, { name: "h1", address: "10.0.0.1" }))
      yield* allocator.hostGone(former)
      yield* allocator.hostSeen(leaving)
      assert.strictEqual(HashMap.size((yield* allocator.state).hosts), 1)
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      yield* allocator.machineSeen(machine)
      yield* allocator.machineGone(machine)
      yield* allocator.machineSeen({
        ...machine,
        metadata: { ...machine.metadata, deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: [] }
      })
      assert.strictEqual(HashMap.size((yield* allocator.state).machines), 0)
    }).pipe(Effect.scoped)
  )

  it.effect("a cache that still shows the claim is no proof of it: the host was freed behind its back (seed 147)", () =>
    Effect.gen(function* () {
      const { kube, machine, allocator, claim } = yield* claimedHost
      // As a release that was cut off before its last write leaves it; only the machine's news has come.
      const spec = { address: null, port: null, user: null, sshKeyRef: null }
      yield* allocator.machineSeen(yield* kube.patch(RemoteMachines, ref("m1"), { spec }))
      yield* kube.patch(PooledRemoteMachines, ref("h1"), {
        metadata: { annotations: { "machinist.dev/claim": null }, finalizers: [] }
      })
      const status = { reserved: false, machineRef: null, phase: "Free" }
      yield* kube.patch(PooledRemoteMachines, ref("h1"), { status }, { subresource: "status" })
      const again = yield* allocator.claim(claimantOf(machine), told)
      assert.strictEqual(again.claim.id, claim.id)
      assertClaimed(yield* kube.get(RemoteMachines, ref("m1")), yield* kube.get(PooledRemoteMachines, ref("h1")))
    }).pipe(Effect.scoped)
  )

  it.effect("a cache that still shows the intent is no proof of it", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const { allocator } = yield* process(kube)
      yield* allocator.claim(claimantOf(machine), told)
      // Both sides were undone by another leader, and neither news has come.
      const undone = { metadata: { annotations: { "machinist.dev/claim": null } } }
      yield* kube.patch(RemoteMachines, ref("m1"), { ...undone, spec: { address: null, port: null } })
      yield* kube.patch(PooledRemoteMachines, ref("h1"), undone)
      yield* allocator.claim(claimantOf(machine), told)
      assertClaimed(yield* kube.get(RemoteMachines, ref("m1")), yield* kube.get(PooledRemoteMachines, ref("h1")))
    }).pipe(Effect.scoped)
  )

  it.effect("who is asked for when a process starts, and then can't use a host, holds none back and gets none", () =>
    Effect.gen(function* () {
      const { server, kube } = yield* world
      const old = yield* createMachine(kube, { name: "old", pool: "default" })
      yield* TestClock.adjust(2_000)
      const young = yield* createMachine(kube, { name: "young", pool: "default" })
      const allocator = yield* started(server.client("provider"))
      const around = { failureDomain: undefined, paused: false, asks: true }
      yield* Effect.forEach([young, old], (machine) => allocator.machineSeen(machine, around))
      yield* allocator.synced
      assert.deepStrictEqual(
        (yield* allocator.state).waiting.map(({ key }) => key),
        ["default/old", "default/young"]
      )
      // Before its actor lives.
      yield* allocator.machineSeen(old, { ...around, paused: true, asks: false })
      const asked = yield* Effect.forkScoped(allocator.claim(claimantOf(young), told))
      yield* TestClock.adjust(1)
      // Who has asked is not forgotten when the caches say, late, that it does not ask.
      yield* allocator.machineSeen(young, { ...around, asks: false })
      yield* allocator.hostSeen(yield* createHost(kube, { name: "h1", address: "10.0.0.1" }))
      assert.strictEqual((yield* Fiber.join(asked)).claim.host, "h1")
      assert.isUndefined(claimOf(yield* kube.get(RemoteMachines, ref("old"))))
    }).pipe(Effect.scoped)
  )

  it.effect("a host is only promised to a machine whose actor has not asked, and not for ever", () =>
    Effect.gen(function* () {
      const { server, kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      const old = yield* createMachine(kube, { name: "old", pool: "default" })
      yield* TestClock.adjust(2_000)
      const young = yield* createMachine(kube, { name: "young", pool: "default" })
      const allocator = yield* started(server.client("provider"))
      const around = { failureDomain: undefined, paused: false, asks: true }
      yield* Effect.forEach([young, old], (machine) => allocator.machineSeen(machine, around))
      yield* allocator.hostSeen(yield* kube.get(PooledRemoteMachines, ref("h1")))
      yield* allocator.synced
      const asked = yield* Effect.forkScoped(allocator.claim(claimantOf(young), told))
      yield* TestClock.adjust((EARLY_SECONDS - 1) * 1_000)
      const claims = Effect.map(kube.list(RemoteMachines), ({ items }) => items.filter((one) => claimOf(one)).length)
      assert.strictEqual(yield* claims, 0)
      yield* TestClock.adjust(1_000)
      assert.strictEqual((yield* Fiber.join(asked)).claim.host, "h1")
      assert.isUndefined(claimOf(yield* kube.get(RemoteMachines, ref("old"))))
      // Late, it waits like everyone.
      yield* Effect.forkScoped(allocator.claim(claimantOf(old), told))
      yield* TestClock.adjust(1_000)
      assert.strictEqual(yield* claims, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("a claim whose host was touched is not written over by a leader that chose by an old copy", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      yield* createHost(kube, { name: "h2", address: "10.0.0.2" })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const { allocator } = yield* process(kube)
      const first = yield* allocator.claim(claimantOf(machine), told)
      yield* touch(kube)
      const before = yield* kube.get(RemoteMachines, ref("m1"))
      const other = { ...first.claim, id: "late", host: "h2" }
      const lost = yield* Effect.flip(
        ClaimWrites.make(kube).claim(claimantOf(machine), other, {
          replaces: first.claim.id,
          machine: undefined,
          host: undefined
        })
      )
      assert.strictEqual("why" in lost ? lost.why : lost.reason, "machine-claimed")
      assert.deepStrictEqual(yield* kube.get(RemoteMachines, ref("m1")), before)
    }).pipe(Effect.scoped)
  )

  it.effect("an untouched claim is not written over either, but by who read it: another leader was faster", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      for (const index of [1, 2]) yield* createHost(kube, { name: `h${index}`, address: `10.0.0.${index}` })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const { allocator } = yield* process(kube)
      // As another leader has it, of whom nobody here has heard yet.
      const theirs = { id: "theirs", host: "h2", machine: "default/m1", uid: machine.metadata.uid ?? "" }
      yield* ClaimWrites.make(kube).claim(claimantOf(machine), theirs, {})
      const asked = yield* allocator.claim(claimantOf(machine), told)
      assert.deepStrictEqual(asked.claim, theirs)
      assertClaimed(yield* kube.get(RemoteMachines, ref("m1")), yield* kube.get(PooledRemoteMachines, ref("h2")))
      assert.isUndefined(claimOf(yield* kube.get(PooledRemoteMachines, ref("h1"))))
    }).pipe(Effect.scoped)
  )

  // Seed 628: nothing but work without end, and no time passed in which the news could have come.
  it.effect("a race that was lost to who is not known yet is not run again before there is news", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      yield* createHost(kube, { name: "h2", address: "10.0.0.2" })
      yield* kube.patch(PooledRemoteMachines, ref("h2"), {
        metadata: { annotations: { "machinist.dev/maintenance": "" } }
      })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const { allocator } = yield* process(kube)
      const theirs = { id: "theirs", host: "h2", machine: "default/m1", uid: machine.metadata.uid ?? "" }
      yield* ClaimWrites.make(kube).claim(claimantOf(machine), theirs, {})
      yield* touch(kube)
      // That its host has the claim is not seen here yet.
      yield* allocator.machineSeen(yield* kube.get(RemoteMachines, ref("m1")))
      const asked = yield* Effect.forkChild(allocator.claim(claimantOf(machine), told))
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(asked.pollUnsafe())
      const state = yield* allocator.state
      for (let turn = 0; turn < 100; turn++) yield* Effect.yieldNow
      assert.strictEqual(yield* allocator.state, state, "while no time passes, nothing is decided")
      assert.isUndefined(claimOf(yield* kube.get(PooledRemoteMachines, ref("h1"))))
      yield* allocator.hostSeen(yield* kube.get(PooledRemoteMachines, ref("h2")))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual((yield* Fiber.join(asked)).claim, theirs)
    }).pipe(Effect.scoped)
  )

  it.effect("a machine that another leader has meanwhile meant for another host gets nothing of this one", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      for (const index of [1, 2]) yield* createHost(kube, { name: `h${index}`, address: `10.0.0.${index}` })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const claim = (id: string, host: string) => ({ id, host, machine: "default/m1", uid: machine.metadata.uid ?? "" })
      const theirs = claim("theirs", "h2")
      const claimed = { metadata: { annotations: { "machinist.dev/claim": JSON.stringify(theirs) } } }
      const slower = meanwhile(kube, kube.patch(RemoteMachines, ref("m1"), claimed))
      const lost = yield* Effect.flip(ClaimWrites.make(slower).claim(claimantOf(machine), claim("mine", "h1"), {}))
      assert.strictEqual("why" in lost ? lost.why : lost.reason, "machine-claimed")
      const after = yield* kube.get(RemoteMachines, ref("m1"))
      assert.deepStrictEqual(claimOf(after), theirs)
      assert.isUndefined(after.spec.address)
      assert.isUndefined(claimOf(yield* kube.get(PooledRemoteMachines, ref("h1"))))
    }).pipe(Effect.scoped)
  )

  it.effect("a host that another leader frees and claims anew in the midst of a release keeps that claim", () =>
    Effect.gen(function* () {
      const { kube, machine, claim } = yield* claimedHost
      const theirs = { id: "theirs", host: "h1", machine: "default/m2", uid: "u2" }
      const claimed = { metadata: { annotations: { "machinist.dev/claim": JSON.stringify(theirs) } } }
      const slower = meanwhile(kube, kube.patch(PooledRemoteMachines, ref("h1"), claimed))
      yield* ClaimWrites.make(slower).release(claimantOf(machine), claim, { leaving: "suspect", fence: 0 })
      assert.deepStrictEqual(claimOf(yield* kube.get(PooledRemoteMachines, ref("h1"))), theirs)
      assert.isUndefined(claimOf(yield* kube.get(RemoteMachines, ref("m1"))))
    }).pipe(Effect.scoped)
  )

  it.effect("a host that another leader uses again in the midst of a release stays with its machine", () =>
    Effect.gen(function* () {
      const { kube, machine, claim } = yield* claimedHost
      // It completes the intent that it finds.
      const again = ClaimWrites.make(kube).claim(claimantOf(machine), claim, {})
      const slower = meanwhile(kube, Effect.catchTag(again, "ClaimLost", Effect.die))
      const released = ClaimWrites.make(slower).release(claimantOf(machine), claim, { leaving: "suspect", fence: 0 })
      assert.strictEqual((yield* Effect.flip(released)).reason, "Conflict")
      assertClaimed(yield* kube.get(RemoteMachines, ref("m1")), yield* kube.get(PooledRemoteMachines, ref("h1")))
    }).pipe(Effect.scoped)
  )

  for (const [what, leaving, act] of [
    ["completes the claim of", "suspect", { spec: { address: "10.0.0.1" } }],
    ["touches", "suspect", undefined],
    ["touches", "deleted", undefined]
  ] as const)
    it.effect(`a host that another leader ${what} as its status is cleared keeps the claim (${leaving})`, () =>
      Effect.gen(function* () {
        const { kube, machine, claim } = yield* claimedHost
        const slower = meanwhile(kube, act === undefined ? touch(kube) : kube.patch(RemoteMachines, ref("m1"), act))
        const released = ClaimWrites.make(slower).release(claimantOf(machine), claim, { leaving, fence: 0 })
        assert.strictEqual((yield* Effect.flip(released)).reason, "Conflict")
        for (const object of [
          yield* kube.get(RemoteMachines, ref("m1")),
          yield* kube.get(PooledRemoteMachines, ref("h1"))
        ])
          assert.strictEqual(claimOf(object)?.id, claim.id)
      }).pipe(Effect.scoped)
    )

  it.effect("a claim that nobody will use is not undone any more once another leader has got to the host with it", () =>
    Effect.gen(function* () {
      const { kube } = yield* world
      yield* createHost(kube, { name: "h1", address: "10.0.0.1" })
      const machine = yield* createMachine(kube, { name: "m1", pool: "default" })
      const claim = { id: "mine", host: "h1", machine: "default/m1", uid: machine.metadata.uid ?? "" }
      const slower = meanwhile(kube, kube.delete(RemoteMachines, ref("m1")), touch(kube))
      const asked = yield* Effect.forkChild(Effect.flip(ClaimWrites.make(slower).claim(claimantOf(machine), claim, {})))
      yield* TestClock.adjust("1 minute")
      const lost = yield* Fiber.join(asked)
      assert.strictEqual("why" in lost ? lost.why : lost.reason, "machine-leaves")
      assert.strictEqual(claimOf(yield* kube.get(PooledRemoteMachines, ref("h1")))?.id, "mine")
    }).pipe(Effect.scoped)
  )
})
