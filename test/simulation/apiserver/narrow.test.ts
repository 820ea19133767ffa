/**
 * Holds that looking by name and by label finds what looking at everything would: lists after any writes, and a watch of one
 * object among the events of many others.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { ConfigMaps } from "../../../src/api/Core.ts"
import { make as makeServer } from "../../../src/simulation/SimulatedApiServer.ts"

const namespaces = ["a", "b"]
const make = Effect.fnUntraced(function* () {
  const server = yield* makeServer()
  for (const name of namespaces) yield* server.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name } })
  return server
})
const draw = <A>(all: ReadonlyArray<A>) =>
  Effect.map(Random.nextIntBetween(0, all.length, { halfOpen: true }), (at): A | undefined => all[at])

describe("looking by name and label", () => {
  it.effect("lists are those of all objects, filtered, whatever was written", () =>
    Effect.gen(function* () {
      const { kubeClient: client } = yield* make()
      const names = ["one", "two", "three", "four", "five"]
      const values = ["", "x", "y", undefined]
      let found = 0
      for (let round = 0; round < 400; round++) {
        const [namespace = "a", name = "one", value] = [
          yield* draw(namespaces),
          yield* draw(names),
          yield* draw(values)
        ]
        const ref = { namespace, name }
        const labels = value === undefined ? {} : { rack: value, other: "z" }
        switch (yield* Random.nextIntBetween(0, 3)) {
          case 0:
            yield* Effect.ignore(client.create(ConfigMaps, { metadata: { ...ref, labels } }))
            break
          case 1:
            yield* Effect.ignore(client.patch(ConfigMaps, ref, { metadata: { labels: { rack: value ?? null } } }))
            break
          default:
            yield* Effect.ignore(client.delete(ConfigMaps, ref))
        }
        const all = (yield* client.list(ConfigMaps, { namespace })).items
        const listed = (options: { readonly labelSelector?: string; readonly fieldSelector?: string }) =>
          Effect.map(client.list(ConfigMaps, { namespace, ...options }), ({ items }) => items)
        found += all.filter(({ metadata }) => metadata.labels?.["rack"] === "x").length
        for (const rack of ["", "x"])
          assert.deepStrictEqual(
            yield* listed({ labelSelector: `rack=${rack}` }),
            all.filter(({ metadata }) => metadata.labels?.["rack"] === rack)
          )
        assert.deepStrictEqual(
          yield* listed({ labelSelector: "other=z,rack==y" }),
          all.filter(({ metadata }) => metadata.labels?.["other"] === "z" && metadata.labels["rack"] === "y")
        )
        assert.deepStrictEqual(
          yield* listed({ fieldSelector: "metadata.name=two", labelSelector: "rack" }),
          all.filter(({ metadata }) => metadata.name === "two" && metadata.labels?.["rack"] !== undefined)
        )
        assert.deepStrictEqual(
          yield* listed({ fieldSelector: "metadata.name!=two" }),
          all.filter(({ metadata }) => metadata.name !== "two")
        )
      }
      assert.isAbove(found, 100)
    }).pipe(Random.withSeed("narrow"))
  )

  it.effect("one object is followed through the events of many others, and its bookmarks come up to date", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const client = server.client("test")
      const others = (count: number) =>
        Effect.forEach(Array.from({ length: count }), () =>
          client.patch(ConfigMaps, { namespace: "a", name: "other" }, { data: { n: `${counter++}` } })
        )
      let counter = 0
      yield* client.create(ConfigMaps, { metadata: { namespace: "a", name: "other" } })
      const { resourceVersion } = yield* client.list(ConfigMaps, {})
      const seen = yield* Queue.unbounded<string>()
      const watch = client.watch(ConfigMaps, { namespace: "a", fieldSelector: "metadata.name=mine", resourceVersion })
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(watch, (event) =>
          Queue.offer(
            seen,
            event._tag === "Bookmark"
              ? `Bookmark ${event.resourceVersion}`
              : `${event._tag} ${event.object.data?.["v"]}`
          )
        )
      )
      yield* Effect.yieldNow
      yield* others(300)
      yield* client.create(ConfigMaps, { metadata: { namespace: "b", name: "mine" }, data: { v: "not this one" } })
      yield* client.create(ConfigMaps, { metadata: { namespace: "a", name: "mine" }, data: { v: "1" } })
      yield* client.patch(ConfigMaps, { namespace: "a", name: "mine" }, { data: { v: "2" } })
      assert.strictEqual(yield* Queue.take(seen), "Added 1")
      assert.strictEqual(yield* Queue.take(seen), "Modified 2")
      yield* others(300)
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(yield* Queue.take(seen), `Bookmark ${(yield* client.list(ConfigMaps, {})).resourceVersion}`)
      yield* Queue.clear(seen)
      yield* client.delete(ConfigMaps, { namespace: "a", name: "mine" })
      assert.strictEqual(yield* Queue.take(seen), "Deleted 2")
      yield* Fiber.interrupt(fiber)
    })
  )
})
