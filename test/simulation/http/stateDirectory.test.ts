/**
 * What was answered is on disk: a server killed at any moment is found again as it was.
 */
import { cpSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { ConfigMaps, Namespaces } from "../../../src/api/Core.ts"
import { keptIdentity } from "../../../src/simulation/http/ServerIdentity.ts"
import * as SimulatedApiServer from "../../../src/simulation/SimulatedApiServer.ts"
import { keepIn } from "../../../src/simulation/StateDirectory.ts"
import { widgetDefinition } from "./Widgets.ts"

const services = Layer.merge(NodeServices.layer, SecureRandom.layerWebCrypto)

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-state-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

const opened = Effect.fnUntraced(function* (directory: string) {
  const server = yield* SimulatedApiServer.make()
  const continued = yield* keepIn(server, directory)
  return { server, continued }
})

/** Everything there is, but for the order of time. */
const contents = (server: SimulatedApiServer.SimulatedApiServerShape) =>
  server
    .snapshot()
    .objects.map(({ object, plural }) => `${plural} ${JSON.stringify(object)}`)
    .toSorted()

/** What a server started on a copy of the files, as they are now, finds. */
const found = (directory: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const copy = yield* temporary
      cpSync(directory, copy, { recursive: true })
      const { server, continued } = yield* opened(copy)
      assert.isTrue(continued)
      return contents(server)
    })
  )

describe("a state directory", () => {
  it.live("after every single answer the files hold everything that was answered", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const { server, continued } = yield* opened(directory)
      assert.isFalse(continued)
      const { kubeClient } = server
      const one = { namespace: "default", name: "one" }
      const steps = [
        server.apply(widgetDefinition),
        kubeClient.create(ConfigMaps, { metadata: { ...one, finalizers: ["a.b/c"] }, data: { a: "b" } }),
        kubeClient.patch(ConfigMaps, one, { data: { a: "c" } }),
        server.apply({ apiVersion: "example.com/v1", kind: "Widget", metadata: { name: "w" }, spec: { size: 2 } }),
        kubeClient.delete(ConfigMaps, one),
        kubeClient.patch(ConfigMaps, one, { metadata: { finalizers: null } }),
        kubeClient.create(Namespaces, { metadata: { name: "more" } })
      ]
      for (const step of steps) {
        yield* step
        assert.deepStrictEqual(yield* found(directory), contents(server))
      }
      assert.strictEqual(statSync(join(directory, "objects.sqlite")).mode & 0o777, 0o600)
      assert.strictEqual(statSync(join(directory, "objects.sqlite-wal")).mode & 0o777, 0o600)
    }).pipe(Effect.scoped, Effect.provide(services))
  )
  it.live("goes on from there: kinds are served, revisions grow, old watches are Gone", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const before = yield* Effect.scoped(
        Effect.gen(function* () {
          const { server } = yield* opened(directory)
          yield* server.apply(widgetDefinition)
          yield* server.apply({
            apiVersion: "example.com/v1",
            kind: "Widget",
            metadata: { name: "w" },
            spec: { size: 2 }
          })
          return server.store.storage.revision
        })
      )
      const { server } = yield* opened(directory)
      assert.isAbove(server.store.storage.revision, before)
      assert.strictEqual(server.store.registry.byKind("example.com", "Widget")?.plural, "widgets")
      yield* server.apply({ apiVersion: "example.com/v1", kind: "Widget", metadata: { name: "w" }, spec: { size: 3 } })
      const gone = yield* Effect.flip(
        Stream.runHead(server.kubeClient.watch(Namespaces, { resourceVersion: String(before) }))
      )
      assert.strictEqual(gone.reason, "Gone")
    }).pipe(Effect.scoped, Effect.provide(services))
  )
  it.live("belongs to one process at a time, and damage is told", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      yield* opened(directory)
      assert.include((yield* Effect.flip(opened(directory))).message, "is used by another process")
      const broken = yield* temporary
      writeFileSync(join(broken, "objects.sqlite"), "this is no database, whatever its name says")
      assert.include((yield* Effect.flip(opened(broken))).message, "can't be used")
      const file = join(broken, "file")
      writeFileSync(file, "")
      assert.include((yield* Effect.flip(opened(join(file, "below")))).message, "can't be made")
    }).pipe(Effect.scoped, Effect.provide(services))
  )
  it.live("keeps certificate and token, so that a kubeconfig stays good", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const first = yield* keptIdentity(directory)
      assert.deepStrictEqual(yield* keptIdentity(directory), first)
      assert.strictEqual(statSync(join(directory, "identity.json")).mode & 0o777, 0o600)
      writeFileSync(join(directory, "identity.json"), "{")
      assert.notStrictEqual((yield* keptIdentity(directory)).token, first.token)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.live("before a watch hears of a change it is on disk: nobody acts on what could be lost", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const copy = yield* temporary
      const { server } = yield* opened(directory)
      const heard = yield* server.kubeClient.watch(ConfigMaps, { resourceVersion: "0" }).pipe(
        Stream.filter((event) => event._tag === "Added"),
        Stream.tap(() => Effect.sync(() => cpSync(directory, copy, { recursive: true }))),
        Stream.take(1),
        Stream.runDrain,
        Effect.forkChild({ startImmediately: true })
      )
      yield* Effect.yieldNow
      yield* server.kubeClient.create(ConfigMaps, { metadata: { namespace: "default", name: "heard-of" } })
      yield* Fiber.join(heard)
      assert.include((yield* found(copy)).join("\n"), "heard-of")
    }).pipe(Effect.scoped, Effect.provide(services))
  )
})
