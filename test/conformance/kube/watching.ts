/**
 * Owns the scenarios about watches: order, selectors, where a watch may start, and what it tells of deletions.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ConfigMaps } from "../../../src/api/Core.ts"
import type { Kind } from "../../../src/api/Kind.ts"
import { objectFields } from "../../../src/api/Meta.ts"
import { following, freshNamespace, type It, told, World, watching } from "./World.ts"

const HOLD = "test.machinist.dev/hold"

const StrictConfigMap = Schema.Struct({ ...objectFields, data: Schema.Struct({ must: Schema.String }) })
const StrictConfigMaps: Kind<typeof StrictConfigMap.Type> = { ...ConfigMaps, schema: StrictConfigMap }

export const watches = (it: It) => {
  it.effect("events come in order, each with a higher resourceVersion, and only from after the start", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      yield* client.create(ConfigMaps, { metadata: { namespace, name: "before" } })
      const events = yield* following(
        ConfigMaps,
        { namespace },
        4,
        Effect.gen(function* () {
          yield* client.create(ConfigMaps, { metadata: ref, data: { n: "1" } })
          yield* client.patch(ConfigMaps, ref, { data: { n: "2" } })
          yield* client.patch(ConfigMaps, ref, { data: { n: "2" } })
          yield* client.create(ConfigMaps, { metadata: { namespace, name: "b" } })
          yield* client.delete(ConfigMaps, ref)
        })
      )
      assert.deepStrictEqual(events.map(told), ["Added a", "Modified a", "Added b", "Deleted a"])
      const versions = events.map((event) => Number(event.object.metadata.resourceVersion))
      assert.deepStrictEqual(
        versions,
        [...versions].sort((a, b) => a - b)
      )
      assert.strictEqual(new Set(versions).size, 4)
      assert.deepStrictEqual(events[3]?.object.data, { n: "2" })
    })
  )

  it.effect("a watch may start from any object's resourceVersion, and tells what came after it", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      const made = yield* client.create(ConfigMaps, { metadata: ref })
      yield* client.patch(ConfigMaps, ref, { data: { n: "1" } })
      yield* client.delete(ConfigMaps, ref)
      yield* client.create(ConfigMaps, { metadata: ref })
      const resourceVersion = made.metadata.resourceVersion ?? ""
      const events = yield* watching(ConfigMaps, { namespace, resourceVersion }, 3, Effect.void)
      assert.deepStrictEqual(events.map(told), ["Modified a", "Deleted a", "Added a"])
    })
  )

  it.effect("to a selector, what comes to match is Added and what no longer does is Deleted, as it last matched", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      const label = (on: string | null, n: string) =>
        client.patch(ConfigMaps, ref, { metadata: { labels: { on } }, data: { n } })
      const { resourceVersion } = yield* client.list(ConfigMaps, { namespace })
      yield* client.create(ConfigMaps, { metadata: ref, data: { n: "0" } })
      yield* label("yes", "1")
      yield* label("yes", "2")
      const left = yield* label(null, "3")
      yield* label(null, "4")
      yield* label("yes", "5")
      yield* client.delete(ConfigMaps, ref)
      const events = yield* watching(
        ConfigMaps,
        { namespace, labelSelector: "on=yes", resourceVersion },
        5,
        Effect.void
      )
      assert.deepStrictEqual(
        events.map((event) => `${event._tag} ${event.object.data?.["n"]}`),
        ["Added 1", "Modified 2", "Deleted 2", "Added 5", "Deleted 5"]
      )
      assert.strictEqual(events[2]?.object.metadata.resourceVersion, left.metadata.resourceVersion)
    })
  )

  it.effect("field selectors and namespaces narrow a watch", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const [here, there] = [yield* freshNamespace, yield* freshNamespace]
      const make = (namespace: string, name: string) => client.create(ConfigMaps, { metadata: { namespace, name } })
      const events = yield* following(
        ConfigMaps,
        { namespace: here, fieldSelector: "metadata.name=b" },
        1,
        Effect.gen(function* () {
          yield* make(there, "b")
          yield* make(here, "a")
          yield* make(here, "b")
        })
      )
      assert.deepStrictEqual(events.map(told), ["Added b"])
      assert.strictEqual(events[0]?.object.metadata.namespace, here)
    })
  )

  it.effect("a deletion with finalizers is a Modified, then a Deleted that shows the state as it was last stored", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      yield* client.create(ConfigMaps, { metadata: { ...ref, finalizers: [HOLD] } })
      const events = yield* following(
        ConfigMaps,
        { namespace },
        2,
        Effect.gen(function* () {
          yield* client.delete(ConfigMaps, ref)
          yield* client.patch(ConfigMaps, ref, { metadata: { finalizers: null } })
        })
      )
      assert.deepStrictEqual(events.map(told), ["Modified a", "Deleted a"])
      const [marked, gone] = events
      assert.isString(marked?.object.metadata.deletionTimestamp)
      assert.isString(gone?.object.metadata.deletionTimestamp)
      assert.deepStrictEqual(gone?.object.metadata.finalizers, [HOLD])
    })
  )

  it.effect("an event that does not decode becomes a bookmark that names it", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const { resourceVersion } = yield* client.list(ConfigMaps, { namespace })
      yield* client.create(ConfigMaps, { metadata: { namespace, name: "odd" } })
      yield* client.create(ConfigMaps, { metadata: { namespace, name: "good" }, data: { must: "1" } })
      const events = yield* client.watch(StrictConfigMaps, { namespace, resourceVersion }).pipe(
        Stream.filter((event) => event._tag !== "Bookmark" || event.skipped !== undefined),
        Stream.take(2),
        Stream.runCollect
      )
      assert.deepStrictEqual(
        events.map((event) =>
          event._tag === "Bookmark" ? `${event.skipped?.type} ${event.skipped?.name}` : told(event)
        ),
        ["Added odd", "Added good"]
      )
    })
  )

  it.effect("several watchers of one kind each see everything", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const { resourceVersion } = yield* client.list(ConfigMaps, { namespace })
      const watcher = watching(ConfigMaps, { namespace, resourceVersion }, 3, Effect.void)
      const make = Effect.forEach(["a", "b", "c"], (name) =>
        client.create(ConfigMaps, { metadata: { namespace, name } })
      )
      const [seen] = yield* Effect.all(
        [
          Effect.all(
            Array.from({ length: 8 }, () => watcher),
            { concurrency: "unbounded" }
          ),
          make
        ],
        {
          concurrency: "unbounded"
        }
      )
      for (const events of seen) assert.deepStrictEqual(events.map(told), ["Added a", "Added b", "Added c"])
    })
  )
}
