/**
 * The in-memory server's watches: what is remembered, what is Gone, bookmarks, and the end of a watch.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { ConfigMaps } from "../../../src/api/Core.ts"
import type { KubeClientShape, WatchEvent } from "../../../src/kube/KubeClient.ts"
import type { KubeError } from "../../../src/kube/KubeError.ts"
import { make } from "../../../src/simulation/SimulatedApiServer.ts"

const namespace = "default"

const write = (client: KubeClientShape, times: number) =>
  Effect.gen(function* () {
    const ref = { namespace, name: "busy" }
    yield* Effect.ignore(client.create(ConfigMaps, { metadata: ref }))
    for (let n = 0; n < times; n++) {
      const { resourceVersion = "" } = (yield* client.get(ConfigMaps, ref)).metadata
      yield* client.patch(ConfigMaps, ref, { data: { after: resourceVersion } })
    }
    return (yield* client.get(ConfigMaps, ref)).metadata.resourceVersion ?? ""
  })

const told = (event: WatchEvent<{ readonly metadata: { readonly name: string } }>): string =>
  event._tag === "Bookmark" ? "Bookmark" : `${event._tag} ${event.object.metadata.name}`

const endOf = <A>(stream: Stream.Stream<A, KubeError>) =>
  Effect.match(Stream.runDrain(stream), { onFailure: (error) => error.reason, onSuccess: () => "ended" as const })

describe("history of the in-memory API server", () => {
  it.effect(
    "a watch from before the remembered history is Gone; from within it misses nothing (unlike: history-by-count)",
    () =>
      Effect.gen(function* () {
        const { kubeClient: client } = yield* make({ historyEvents: 10 })
        const old = yield* write(client, 1)
        const recent = yield* write(client, 5)
        const stale = client.watch(ConfigMaps, { namespace, resourceVersion: old })
        yield* write(client, 10)
        assert.strictEqual(yield* endOf(stale), "Gone")
        const now = yield* client.list(ConfigMaps)
        yield* write(client, 10)
        const events = yield* client.watch(ConfigMaps, now).pipe(Stream.take(10), Stream.runCollect)
        assert.strictEqual(events.length, 10)
        assert.strictEqual(yield* endOf(client.watch(ConfigMaps, { resourceVersion: recent })), "Gone")
      })
  )

  it.effect("a watcher that falls behind the history is Gone, and costs the others nothing", () =>
    Effect.gen(function* () {
      const { kubeClient: client } = yield* make({ historyEvents: 10 })
      const { resourceVersion } = yield* client.list(ConfigMaps)
      const [slowly, quickly] = [yield* Queue.bounded<string>(1), yield* Queue.unbounded<string>()]
      const follow = (queue: Queue.Enqueue<string>) =>
        client.watch(ConfigMaps, { resourceVersion }).pipe(
          Stream.runForEach((event) => Queue.offer(queue, told(event))),
          Effect.match({ onFailure: (error) => error.reason, onSuccess: () => "ended" as const })
        )
      const slow = yield* Effect.forkChild(follow(slowly))
      const quick = yield* Effect.forkChild(follow(quickly))
      for (let n = 0; n < 60; n++) {
        yield* write(client, 5)
        yield* Queue.takeN(quickly, n === 0 ? 6 : 5)
      }
      assert.isUndefined(quick.pollUnsafe())
      const drain = yield* Effect.forkChild(Effect.forever(Queue.take(slowly)))
      assert.strictEqual(yield* Fiber.join(slow), "Gone")
      yield* Fiber.interrupt(drain)
    })
  )

  it.effect("after a compaction everything before is Gone, and what follows goes on", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const client = server.kubeClient
      const old = yield* write(client, 1)
      const last = yield* write(client, 1)
      yield* server.compact
      assert.strictEqual(yield* endOf(client.watch(ConfigMaps, { resourceVersion: old })), "Gone")
      const fiber = yield* Effect.forkChild(
        client.watch(ConfigMaps, { resourceVersion: last }).pipe(Stream.take(1), Stream.runCollect)
      )
      yield* write(client, 1)
      assert.deepStrictEqual((yield* Fiber.join(fiber)).map(told), ["Modified busy"])
    })
  )

  it.effect("resourceVersion 0 tells first what is there; one of the future is Unavailable for now", () =>
    Effect.gen(function* () {
      const { kubeClient: client } = yield* make()
      yield* write(client, 1)
      const events = yield* client
        .watch(ConfigMaps, { namespace, resourceVersion: "0" })
        .pipe(Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(events.map(told), ["Added busy"])
      assert.strictEqual(yield* endOf(client.watch(ConfigMaps, { resourceVersion: "1000" })), "Unavailable")
      assert.strictEqual(yield* endOf(client.watch(ConfigMaps, { resourceVersion: "x" })), "BadRequest")
    })
  )

  it.effect("an idle watch gets a bookmark a minute, from which it can be resumed (unlike: idle-bookmarks)", () =>
    Effect.gen(function* () {
      const { kubeClient: client } = yield* make()
      yield* write(client, 3)
      const { resourceVersion } = yield* client.list(ConfigMaps)
      const idle = { namespace: "kube-system", resourceVersion }
      const fiber = yield* Effect.forkChild(client.watch(ConfigMaps, idle).pipe(Stream.take(2), Stream.runCollect))
      yield* TestClock.adjust("1 minute")
      const last = yield* write(client, 2)
      yield* TestClock.adjust("1 minute")
      const [first, second] = yield* Fiber.join(fiber)
      assert.deepStrictEqual(first, { _tag: "Bookmark", resourceVersion })
      assert.deepStrictEqual(second, { _tag: "Bookmark", resourceVersion: last })
    })
  )

  it.effect(
    "the server ends a watch after five to ten minutes, and all of them when it restarts (unlike: early-watch-ends)",
    () =>
      Effect.gen(function* () {
        const server = yield* make()
        const { resourceVersion } = yield* server.kubeClient.list(ConfigMaps)
        const watch = server.kubeClient.watch(ConfigMaps, { resourceVersion })
        const fiber = yield* Effect.forkChild(endOf(watch))
        yield* TestClock.adjust("4 minutes")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("7 minutes")
        assert.strictEqual(yield* Fiber.join(fiber), "ended")
        const other = yield* Effect.forkChild(endOf(watch))
        yield* Effect.yieldNow
        yield* server.closeWatches
        assert.strictEqual(yield* Fiber.join(other), "ended")
        assert.strictEqual(server.watches.open, 0)
      })
  )

  it.effect("a watcher that leaves is forgotten", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const { resourceVersion } = yield* server.kubeClient.list(ConfigMaps)
      const fibers = yield* Effect.forEach(Array.from({ length: 50 }), () =>
        Effect.forkChild(Stream.runDrain(server.kubeClient.watch(ConfigMaps, { resourceVersion })))
      )
      yield* TestClock.adjust(1)
      assert.strictEqual(server.watches.open, 50)
      yield* Fiber.interruptAll(fibers)
      assert.strictEqual(server.watches.open, 0)
    })
  )

  it.effect("whatever happens, a watch from a list's moment tells exactly what the next list shows", () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= 40; seed++) yield* mirrored.pipe(Random.withSeed(seed), Effect.scoped)
    })
  )
})

/** Random writes by several clients at once, mirrored by watchers with and without selectors. */
const mirrored = Effect.gen(function* () {
  const server = yield* make()
  const client = server.kubeClient
  const selections = [
    {},
    { labelSelector: "on=yes" },
    { labelSelector: "on!=yes" },
    { fieldSelector: "metadata.name=c1" }
  ]
  const mirrors = yield* Effect.forEach(selections, (selection) =>
    Effect.gen(function* () {
      const seen = new Map<string, string>()
      const list = yield* client.list(ConfigMaps, { namespace, ...selection })
      yield* Effect.forkScoped(
        client.watch(ConfigMaps, { namespace, ...selection, resourceVersion: list.resourceVersion }).pipe(
          Stream.runForEach((event) =>
            Effect.sync(() => {
              if (event._tag === "Bookmark") return
              const { name, resourceVersion = "" } = event.object.metadata
              assert.strictEqual(seen.has(name), event._tag !== "Added", `${event._tag} ${name}`)
              if (event._tag === "Deleted") seen.delete(name)
              else seen.set(name, resourceVersion)
            })
          )
        )
      )
      return { selection, seen }
    })
  )
  yield* Effect.forEach(Array.from({ length: 60 }), () => Effect.ignore(randomWrite(client)), {
    concurrency: 4,
    discard: true
  })
  yield* TestClock.adjust(10)
  for (const { selection, seen } of mirrors) {
    const list = yield* client.list(ConfigMaps, { namespace, ...selection })
    assert.deepStrictEqual(
      [...seen].sort(),
      list.items.map((item) => [item.metadata.name, item.metadata.resourceVersion ?? ""]).sort()
    )
  }
})

const randomWrite = (client: KubeClientShape) =>
  Effect.gen(function* () {
    const name = `c${yield* Random.nextIntBetween(0, 4)}`
    const ref = { namespace, name }
    const on = (yield* Random.nextBoolean) ? "yes" : null
    switch (yield* Random.nextIntBetween(0, 5)) {
      case 0:
      case 1:
        return yield* client.create(ConfigMaps, {
          metadata: {
            ...ref,
            labels: on === null ? {} : { on },
            finalizers: on === null ? [] : ["test.machinist.dev/hold"]
          }
        })
      case 2:
        return yield* client.patch(ConfigMaps, ref, { metadata: { labels: { on } } })
      case 3:
        return yield* client.delete(ConfigMaps, ref)
      default:
        return yield* client.patch(ConfigMaps, ref, { metadata: { finalizers: null } })
    }
  })
