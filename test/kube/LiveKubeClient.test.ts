/**
 * The live client against servers that misbehave on command: paging that expires, versions that go
 * away, refusals of every kind, limits. What an orderly server does is in test/live/kube.test.ts.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { type Answer, type Asked, kubeconfig, serve, status } from "./FakeServer.ts"
import { clientOf, failure, line, ref, Things, tags, thing, Versioned } from "./Things.ts"

describe("requests", () => {
  it.live("say who they are, address the object, and send what the port promises", () =>
    Effect.gen(function* () {
      const { client, asked } = yield* clientOf(() => ({ json: thing("a") }))
      yield* client.patch(
        Things,
        ref,
        { metadata: { labels: { x: null } } },
        { uid: "u", resourceVersion: "7", subresource: "status" }
      )
      yield* client.create(Things, { metadata: { namespace: "ns", name: "a" } })
      yield* client.delete(Things, ref, { uid: "u", propagationPolicy: "Background" })
      const [patch, create, remove] = asked
      assert.strictEqual(patch?.headers.authorization, "Bearer t")
      assert.match(patch?.headers["user-agent"] ?? "", /^machinist\/\d/)
      assert.strictEqual(patch?.headers["content-type"], "application/merge-patch+json")
      assert.strictEqual(patch?.path, "/apis/g.dev/v1/namespaces/ns/things/a/status")
      assert.deepStrictEqual(JSON.parse(patch?.body ?? ""), {
        metadata: { labels: { x: null }, uid: "u", resourceVersion: "7" }
      })
      assert.strictEqual(create?.path, "/apis/g.dev/v1/namespaces/ns/things")
      assert.deepStrictEqual(JSON.parse(create?.body ?? ""), {
        apiVersion: "g.dev/v1",
        kind: "Thing",
        metadata: { namespace: "ns", name: "a" }
      })
      assert.deepStrictEqual(JSON.parse(remove?.body ?? ""), {
        apiVersion: "v1",
        kind: "DeleteOptions",
        preconditions: { uid: "u" },
        propagationPolicy: "Background"
      })
    }).pipe(Effect.scoped)
  )

  it.live("never leave the path of one object", () =>
    Effect.gen(function* () {
      const { client, asked } = yield* clientOf(() => ({ json: {} }))
      for (const name of ["", ".", "..", "a/b", "%2e%2e"]) {
        assert.strictEqual((yield* failure(client.delete(Things, { namespace: "ns", name }))).reason, "BadRequest")
      }
      assert.strictEqual((yield* failure(client.get(Things, { name: "a" }))).reason, "BadRequest")
      assert.strictEqual(
        (yield* failure(client.list({ ...Things, namespaced: false }, { namespace: "ns" }))).reason,
        "BadRequest"
      )
      assert.lengthOf(asked, 0)
    }).pipe(Effect.scoped)
  )

  it.live("that are refused fail with the reason, and the server's words", () =>
    Effect.gen(function* () {
      const answers: ReadonlyArray<readonly [Answer, string]> = [
        [status(400, "BadRequest"), "BadRequest"],
        [status(403, "Forbidden"), "Forbidden"],
        [status(404, "NotFound", { details: { name: "a" } }), "NotFound"],
        [status(405, "MethodNotAllowed"), "BadRequest"],
        [status(409, "AlreadyExists"), "AlreadyExists"],
        [status(409, "Conflict"), "Conflict"],
        [status(410, "Expired"), "Gone"],
        [status(415, "UnsupportedMediaType"), "BadRequest"],
        [status(422, "Invalid"), "Invalid"],
        [status(422, "Invalid", { details: { causes: [{ field: "metadata.uid" }] } }), "Conflict"],
        [status(429, "TooManyRequests"), "TooManyRequests"],
        [status(500, "InternalError"), "Unavailable"],
        [status(503, "ServiceUnavailable"), "Unavailable"],
        [status(504, "Timeout"), "Unavailable"],
        [{ status: 502, text: "<html>secret page</html>" }, "Unavailable"],
        [{ status: 200, text: "<html>login</html>" }, "Unavailable"],
        [{ status: 302, text: "", headers: { location: "/login" } }, "Unavailable"],
        // Not the object is missing, but the kind: nobody may conclude that the object is gone.
        [{ status: 404, text: "404 page not found" }, "Unavailable"],
        [{ json: { metadata: { name: 7 } } }, "Decode"]
      ]
      let next = 0
      const { client } = yield* clientOf(() => answers[next]?.[0])
      for (const [answer, reason] of answers) {
        const error = yield* failure(client.get(Things, ref))
        assert.strictEqual(error.reason, reason, JSON.stringify(answer))
        assert.deepInclude(error, { verb: "get", kind: "Thing", namespace: "ns", name: "a" })
        assert.notInclude(error.message, "secret page")
        next++
      }
    }).pipe(Effect.scoped)
  )

  it.live("carry the server's Retry-After", () =>
    Effect.gen(function* () {
      const { client } = yield* clientOf((asked) =>
        asked.path.endsWith("/a")
          ? { ...status(429, "TooManyRequests"), json: {}, headers: { "retry-after": "7" } }
          : status(503, "ServiceUnavailable", { details: { retryAfterSeconds: 3 } })
      )
      assert.strictEqual((yield* failure(client.get(Things, ref))).retryAfterSeconds, 7)
      assert.strictEqual((yield* failure(client.list(Things))).retryAfterSeconds, 3)
    }).pipe(Effect.scoped)
  )

  it.live("fail as Unavailable, without a word of the request, when nobody listens", () =>
    Effect.gen(function* () {
      const url = yield* Effect.scoped(
        Effect.map(
          serve(() => undefined),
          (server) => server.url
        )
      )
      const client = yield* makeKubeClient({ _tag: "Text", kubeconfig: kubeconfig(url, { token: "s3cret" }) })
      const error = yield* failure(client.get(Things, ref))
      assert.strictEqual(error.reason, "Unavailable")
      assert.include(error.message, "ECONNREFUSED")
      assert.notInclude(JSON.stringify(error), "s3cret")
    }).pipe(Effect.scoped)
  )

  it.effect("give up 30 s after their turn came", () =>
    Effect.gen(function* () {
      const full = yield* Deferred.make<void>()
      let arrived = 0
      const { client } = yield* clientOf(() => {
        arrived++
        if (arrived === 64) Deferred.doneUnsafe(full, Effect.void)
        return arrived <= 64 ? undefined : { json: thing("a") }
      })
      const requests = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 65 }), () => Effect.result(client.get(Things, ref)), {
          concurrency: "unbounded"
        })
      )
      yield* Deferred.await(full)
      yield* TestClock.adjust("31 seconds")
      const results = yield* Fiber.join(requests)
      const reasons = results.map((result) => (Result.isFailure(result) ? result.failure.reason : "success"))
      assert.deepStrictEqual([...new Set(reasons.slice(0, 64)), reasons[64]], ["Unavailable", "success"])
    }).pipe(Effect.scoped)
  )

  it.live("are counted by verb, kind and code", () =>
    Effect.gen(function* () {
      const { client } = yield* clientOf(({ path }) =>
        path.endsWith("/a") ? { json: thing("a") } : status(404, "NotFound")
      )
      yield* client.get(Things, ref)
      yield* client.get(Things, ref)
      yield* failure(client.delete(Things, { ...ref, name: "b" }))
      const counted = (yield* Metric.snapshot)
        .filter(({ id }) => id === "machinist_kube_requests_total")
        .map(({ attributes, state }) => [attributes, state])
      assert.deepInclude(counted, [
        { verb: "get", kind: "Thing", code: "200" },
        { count: 2, incremental: true }
      ])
      assert.deepInclude(counted, [
        { verb: "delete", kind: "Thing", code: "404" },
        { count: 1, incremental: true }
      ])
    }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.live("are 64 at once, and a watch does not wait for them", () =>
    Effect.gen(function* () {
      const full = yield* Deferred.make<void>()
      const waiting: Array<Asked> = []
      let most = 0
      const { client } = yield* clientOf((asked) => {
        if (asked.query["watch"] === "true") {
          asked.raw.end(line("BOOKMARK", thing("", "9")))
          return undefined
        }
        waiting.push(asked)
        most = Math.max(most, waiting.length)
        if (waiting.length === 64) Deferred.doneUnsafe(full, Effect.void)
        return undefined
      })
      const requests = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 100 }), () => client.get(Things, ref), { concurrency: "unbounded" })
      )
      yield* Deferred.await(full)
      const events = yield* Stream.runCollect(client.watch(Things, { resourceVersion: "1" }))
      assert.deepStrictEqual(tags(events), ["Bookmark 9"])
      // One goes, one comes, until all hundred were answered.
      const answer = () => {
        for (const asked of waiting.splice(0)) asked.raw.end(JSON.stringify(thing("a")))
      }
      const answering = yield* Effect.forkChild(Effect.forever(Effect.andThen(Effect.sync(answer), Effect.sleep(1))))
      assert.lengthOf(yield* Fiber.join(requests), 100)
      yield* Fiber.interrupt(answering)
      assert.strictEqual(most, 64)
    }).pipe(Effect.scoped)
  )
})

describe("list", () => {
  const page = (names: ReadonlyArray<string>, resourceVersion: string, next?: string): Answer => ({
    json: { items: names.map((name) => thing(name)), metadata: { resourceVersion, continue: next } }
  })

  it.live("reads all pages, and answers with the version of the snapshot", () =>
    Effect.gen(function* () {
      const { client, asked } = yield* clientOf(({ query }) =>
        // A server that lost the snapshot goes on with a newer one: what is before it must be watched from the first.
        query["continue"] === undefined ? page(["a", "b"], "5", "next") : page(["c"], "6")
      )
      const list = yield* client.list(Things, { labelSelector: "x in (y)", fieldSelector: "metadata.name=a" })
      assert.deepStrictEqual(
        list.items.map((item) => item.metadata.name),
        ["a", "b", "c"]
      )
      assert.deepStrictEqual(list.items[0]?.kind, "Thing")
      assert.strictEqual(list.resourceVersion, "5")
      assert.deepStrictEqual(
        asked.map((one) => one.query),
        [
          { limit: "500", labelSelector: "x in (y)", fieldSelector: "metadata.name=a" },
          { limit: "500", labelSelector: "x in (y)", fieldSelector: "metadata.name=a", continue: "next" }
        ]
      )
    }).pipe(Effect.scoped)
  )

  it.live("begins anew, once and in one piece, when the continue token expires", () =>
    Effect.gen(function* () {
      let expired = 0
      const { client, asked } = yield* clientOf(({ query }) => {
        if (query["continue"] !== undefined) {
          expired++
          return status(410, "Expired")
        }
        return query["limit"] === undefined ? page(["a", "b", "c"], "9") : page(["a", "b"], "5", "next")
      })
      const list = yield* client.list(Things)
      assert.deepStrictEqual([list.items.length, list.resourceVersion, expired], [3, "9", 1])
      assert.lengthOf(asked, 3)
    }).pipe(Effect.scoped)
  )

  it.live("fails with Gone when even that expires", () =>
    Effect.gen(function* () {
      const { client, asked } = yield* clientOf(() => status(410, "Expired"))
      assert.strictEqual((yield* failure(client.list(Things))).reason, "Gone")
      assert.lengthOf(asked, 2)
    }).pipe(Effect.scoped)
  )

  it.live("survives an object that does not decode, and names it without its data", () =>
    Effect.gen(function* () {
      const { client } = yield* clientOf(() => ({
        json: { items: [thing("a"), { ...thing("b"), size: "s3cret" }], metadata: { resourceVersion: "5" } }
      }))
      const list = yield* client.list(Things)
      assert.deepStrictEqual(
        list.items.map((item) => item.metadata.name),
        ["a"]
      )
      assert.deepInclude(list.undecodable?.[0], { name: "b", uid: "uid-b" })
      assert.include(list.undecodable?.[0]?.message, "size")
      assert.notInclude(JSON.stringify(list.undecodable), "s3cret")
    }).pipe(Effect.scoped)
  )
})

describe("versions", () => {
  it.live("are discovered once, in order of preference, and again when the server drops one", () =>
    Effect.gen(function* () {
      let served = "v2"
      const { client, asked } = yield* clientOf(({ path }) => {
        if (path === "/apis/g.dev") return { json: { versions: [{ version: "v1" }, { version: "v2" }] } }
        const version = path.split("/")[3] ?? ""
        if (path.split("/").length === 4) {
          return { json: { resources: version === served ? [{ name: "things" }] : [] } }
        }
        return version === served ? { json: thing(version) } : { status: 404, text: "404 page not found" }
      })
      assert.strictEqual((yield* client.get(Versioned, ref)).metadata.name, "v2")
      assert.strictEqual((yield* client.get(Versioned, ref)).metadata.name, "v2")
      assert.lengthOf(asked, 4)
      served = "v1"
      assert.strictEqual((yield* client.get(Versioned, ref)).metadata.name, "v1")
      served = "none"
      assert.strictEqual((yield* failure(client.get(Versioned, ref))).reason, "Unavailable")
    }).pipe(Effect.scoped)
  )
})
