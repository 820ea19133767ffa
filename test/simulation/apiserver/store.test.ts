/**
 * The in-memory store beyond the port: full updates, JSON patches, dry runs, pages, the write log, snapshots, replay.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { ConfigMaps, Nodes, Secrets } from "../../../src/api/Core.ts"
import type { JsonObject } from "../../../src/kube/KubeClient.ts"
import { make, type SimulatedApiServerShape } from "../../../src/simulation/SimulatedApiServer.ts"
import { Gadgets, gadgetDefinition } from "../../conformance/kube/World.ts"

const namespace = "default"

const target = (server: SimulatedApiServerShape, name: string, plural = "configmaps", group = "") => {
  const type = server.store.registry.byResource(group, plural)
  assert.isDefined(type)
  return { client: "test", nowMillis: 0, type, version: type.storageVersion, namespace, name }
}

const crd: JsonObject = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  ...gadgetDefinition
}

describe("store of the in-memory API server", () => {
  it.effect("what a client mutates afterwards is no longer the store's", () =>
    Effect.gen(function* () {
      const { kubeClient: client } = yield* make()
      const data = { a: "1" }
      yield* client.create(ConfigMaps, { metadata: { namespace, name: "c" }, data })
      data.a = "2"
      assert.deepStrictEqual((yield* client.get(ConfigMaps, { namespace, name: "c" })).data, { a: "1" })
    })
  )

  it.effect("a PUT replaces all but the status, which has its own", () =>
    Effect.gen(function* () {
      const server = yield* make()
      yield* server.apply(crd)
      const at = target(server, "g", "gadgets", "conformance.machinist.dev")
      const head = { apiVersion: "conformance.machinist.dev/v1", kind: "Gadget" }
      const made = Result.getOrThrow(
        server.store.create({
          ...at,
          object: { ...head, metadata: { name: "g" }, spec: { size: 2, tags: { a: "b" } } }
        })
      )
      const { resourceVersion } = made.metadata
      const put = (object: JsonObject, subresource?: "status") => server.store.update({ ...at, object, subresource })
      const metadata = { name: "g", namespace, resourceVersion }
      const blind = put({ ...head, metadata: { name: "g" }, spec: {} })
      assert.strictEqual(Result.isFailure(blind) ? blind.failure.reason : "", "Invalid")
      const status = Result.getOrThrow(put({ ...head, metadata, spec: { size: 9 }, status: { phase: "A" } }, "status"))
      assert.deepStrictEqual([status["spec"], status["status"]], [{ size: 2, tags: { a: "b" } }, { phase: "A" }])
      const stale = put({ ...head, metadata, spec: {} })
      assert.strictEqual(Result.isFailure(stale) ? stale.failure.reason : "", "Conflict")
      const next = Result.getOrThrow(
        put({
          ...head,
          metadata: { ...metadata, resourceVersion: status.metadata.resourceVersion },
          spec: { mode: "fast" }
        })
      )
      assert.deepStrictEqual([next["spec"], next["status"]], [{ mode: "fast", size: 3 }, { phase: "A" }])
      assert.strictEqual(next.metadata.generation, 2)
      const alien = put({ ...head, metadata: { name: "g", uid: "other" }, spec: {} })
      assert.strictEqual(Result.isFailure(alien) ? alien.failure.reason : "", "Conflict")
    })
  )

  it.effect("JSON patches: every operation, all or nothing", () =>
    Effect.gen(function* () {
      const server = yield* make()
      yield* server.kubeClient.create(ConfigMaps, {
        metadata: { namespace, name: "c", annotations: { "x/y": "2" } },
        data: { a: "1" }
      })
      const patch = (...operations: ReadonlyArray<JsonObject>) =>
        server.store.patch({ ...target(server, "c"), patch: { type: "json", operations } })
      const next = Result.getOrThrow(
        patch(
          { op: "test", path: "/data/a", value: "1" },
          { op: "replace", path: "/data/a", value: "one" },
          { op: "add", path: "/metadata/labels", value: { l: "v" } },
          { op: "copy", from: "/data/a", path: "/data/b" },
          { op: "move", from: "/metadata/annotations/x~1y", path: "/data/z" },
          { op: "add", path: "/metadata/finalizers", value: ["a/b"] },
          { op: "add", path: "/metadata/finalizers/-", value: "c/d" },
          { op: "add", path: "/metadata/finalizers/0", value: "e/f" },
          { op: "remove", path: "/metadata/finalizers/1" }
        )
      )
      assert.deepStrictEqual(next["data"], { a: "one", b: "one", z: "2" })
      assert.deepStrictEqual(next.metadata.finalizers, ["e/f", "c/d"])
      for (const wrong of [
        [
          { op: "replace", path: "/data/a", value: "two" },
          { op: "test", path: "/data/b", value: "nope" }
        ],
        [{ op: "remove", path: "/data/none" }],
        [{ op: "replace", path: "/data/none", value: "" }],
        [{ op: "add", path: "/no/where", value: "" }],
        [{ op: "fly", path: "/data/a" }]
      ]) {
        const refused = patch(...wrong)
        assert.strictEqual(Result.isFailure(refused) ? refused.failure.reason : "", "BadRequest", JSON.stringify(wrong))
      }
      assert.deepStrictEqual(server.store.storage.get(target(server, "c")), next)
    })
  )

  it.effect("a dry run judges and changes nothing", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const before = server.store.storage.revision
      const at = { ...target(server, "c"), dryRun: true }
      const made = Result.getOrThrow(server.store.create({ ...at, object: { metadata: { name: "c" } } }))
      assert.isString(made.metadata.uid)
      assert.strictEqual(server.store.storage.revision, before)
      yield* server.kubeClient.create(ConfigMaps, { metadata: { namespace, name: "c" } })
      assert.isTrue(Result.isFailure(server.store.create({ ...at, object: { metadata: { name: "c" } } })))
      Result.getOrThrow(server.store.delete(at))
      Result.getOrThrow(server.store.patch({ ...at, patch: { type: "merge", body: { data: { a: "b" } } } }))
      assert.isUndefined(server.store.storage.get(at)?.["data"])
      assert.strictEqual(server.writes().length, 1)
    })
  )

  it.effect("pages show one moment, and a lost token is Expired", () =>
    Effect.gen(function* () {
      const server = yield* make()
      for (let n = 0; n < 5; n++) yield* server.kubeClient.create(Secrets, { metadata: { namespace, name: `s${n}` } })
      const { type, version } = target(server, "", "secrets")
      const first = Result.getOrThrow(server.reads.list({ type, version, namespace, limit: 2 }))
      assert.strictEqual(first.remainingItemCount, 3)
      yield* server.kubeClient.delete(Secrets, { namespace, name: "s3" })
      const page = (token: string | undefined) =>
        server.reads.list({ type, version, namespace, limit: 2, continue: token })
      const second = Result.getOrThrow(page(first.continue))
      const third = Result.getOrThrow(page(second.continue))
      assert.deepStrictEqual(
        [first, second, third].flatMap((list) => list.items.map((item) => item.metadata.name)),
        ["s0", "s1", "s2", "s3", "s4"]
      )
      assert.isUndefined(third.continue)
      assert.strictEqual(third.resourceVersion, first.resourceVersion)
      const lost = page(second.continue)
      assert.strictEqual(Result.isFailure(lost) ? lost.failure.reason : "", "Expired")
    })
  )

  it.effect("the write log tells who asked for what, and what came of it", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const [a, b] = [server.client("a"), server.client("b")]
      const ref = { namespace, name: "c" }
      yield* TestClock.adjust(1500)
      const { uid } = (yield* a.create(ConfigMaps, { metadata: ref })).metadata
      yield* b.patch(ConfigMaps, ref, { data: { x: "1" } })
      yield* b.patch(ConfigMaps, ref, { data: { x: "1" } })
      yield* Effect.ignore(a.patch(ConfigMaps, ref, {}, { resourceVersion: "1" }))
      yield* a.get(ConfigMaps, ref)
      yield* a.create(Nodes, { metadata: { name: "n" } })
      yield* a.patch(Nodes, { name: "n" }, { status: {} }, { subresource: "status" })
      yield* b.delete(ConfigMaps, ref)
      assert.deepStrictEqual(
        server.writes().map((w) => [w.client, w.verb, w.subresource, w.kind, w.name, w.outcome, w.reason]),
        [
          ["a", "create", undefined, "ConfigMap", "c", "changed", undefined],
          ["b", "patch", undefined, "ConfigMap", "c", "changed", undefined],
          ["b", "patch", undefined, "ConfigMap", "c", "unchanged", undefined],
          ["a", "patch", undefined, "ConfigMap", "c", "refused", "Conflict"],
          ["a", "create", undefined, "Node", "n", "changed", undefined],
          ["a", "patch", "status", "Node", "n", "changed", undefined],
          ["b", "delete", undefined, "ConfigMap", "c", "changed", undefined]
        ]
      )
      assert.isTrue(server.writes().every((w) => w.timeMillis === 1500 && (w.kind === "Node" || w.uid === uid)))
    })
  )

  it.effect("the write log keeps only the latest", () =>
    Effect.gen(function* () {
      const server = yield* make({ writeLogEntries: 5 })
      for (let n = 0; n < 23; n++) yield* server.kubeClient.create(Secrets, { metadata: { namespace, name: `s${n}` } })
      assert.deepStrictEqual(
        server.writes().map((w) => w.name),
        ["s18", "s19", "s20", "s21", "s22"]
      )
    })
  )

  it.effect("a restore brings back what was, and nobody can watch across it", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const client = server.kubeClient
      const owner = yield* client.create(ConfigMaps, { metadata: { namespace, name: "owner" } })
      const snapshot = server.snapshot()
      const { resourceVersion } = yield* client.list(ConfigMaps)
      yield* server.apply(crd)
      yield* client.create(Gadgets, { metadata: { namespace, name: "g" }, spec: {} })
      yield* client.delete(ConfigMaps, { namespace, name: "owner" })
      yield* client.create(ConfigMaps, { metadata: { namespace, name: "later" } })
      const watch = yield* Effect.forkChild(
        client
          .watch(ConfigMaps, { resourceVersion: (yield* client.list(ConfigMaps)).resourceVersion })
          .pipe(Stream.runDrain)
      )
      yield* Effect.yieldNow
      yield* server.restore(snapshot)
      assert.deepStrictEqual((yield* client.list(ConfigMaps)).items, [owner])
      const unserved = yield* Effect.flip(client.list(Gadgets))
      assert.strictEqual(unserved.reason, "Unavailable")
      yield* watch.pipe((fiber) => Effect.sync(() => fiber.pollUnsafe()))
      for (const old of [resourceVersion, String(snapshot.revision)]) {
        const gone = yield* Effect.flip(Stream.runDrain(client.watch(ConfigMaps, { resourceVersion: old })))
        assert.strictEqual(gone.reason, "Gone")
      }
      const next = yield* client.patch(ConfigMaps, { namespace, name: "owner" }, { data: { a: "b" } })
      assert.isAbove(Number(next.metadata.resourceVersion), snapshot.revision)
      // Ownership is known again, too.
      yield* client.create(ConfigMaps, {
        metadata: {
          namespace,
          name: "child",
          ownerReferences: [{ apiVersion: "v1", kind: "ConfigMap", name: "owner", uid: owner.metadata.uid ?? "" }]
        }
      })
      yield* client.delete(ConfigMaps, { namespace, name: "owner" })
      yield* server.settled
      assert.deepStrictEqual((yield* client.list(ConfigMaps)).items, [])
    })
  )

  it.effect("the same seed gives the same uids, names and controllers' order; another seed others", () =>
    Effect.gen(function* () {
      const run = Effect.gen(function* () {
        const server = yield* make({ controllers: { minDelayMillis: 0, maxDelayMillis: 50 } })
        const client = server.kubeClient
        yield* server.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: "n" } })
        for (const kind of [ConfigMaps, Secrets] as const) {
          for (let n = 0; n < 3; n++) yield* client.create(kind, { metadata: { namespace: "n", generateName: "x-" } })
        }
        yield* client.delete({ ...Nodes, kind: "Namespace", plural: "namespaces" }, { name: "n" })
        yield* TestClock.adjust("1 minute")
        yield* server.settled
        return server.writes().map((w) => `${w.verb} ${w.kind} ${w.name} ${w.uid} ${w.revision}`)
      }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
      const [one, again, other] = [
        yield* run.pipe(Random.withSeed(1)),
        yield* run.pipe(Random.withSeed(1)),
        yield* run.pipe(Random.withSeed(2))
      ]
      assert.deepStrictEqual(one, again)
      assert.notDeepEqual(one, other)
    })
  )

  it.live("ten thousand objects and fifty watchers", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const client = server.kubeClient
      const { resourceVersion } = yield* client.list(ConfigMaps)
      const watchers = yield* Effect.forEach(Array.from({ length: 50 }), (_, index) => {
        const all = index < 25
        const selection = all ? {} : { labelSelector: `shard=${index}` }
        return Effect.forkChild(
          client
            .watch(ConfigMaps, { resourceVersion, ...selection })
            .pipe(Stream.take(all ? 10_000 : 200), Stream.runCount)
        )
      })
      for (let n = 0; n < 10_000; n++) {
        yield* client.create(ConfigMaps, { metadata: { namespace, name: `c${n}`, labels: { shard: String(n % 50) } } })
      }
      const seen = yield* Fiber.joinAll(watchers)
      assert.strictEqual(
        seen.reduce((sum, count) => sum + count, 0),
        25 * 10_000 + 25 * 200
      )
      assert.strictEqual((yield* client.list(ConfigMaps)).items.length, 10_000)
    })
  )
})
