/**
 * Holds: Events are gone an hour after their last write, and only those, as on a real server.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { ConfigMaps, Events } from "../../../src/api/Core.ts"
import * as SimulatedApiServer from "../../../src/simulation/SimulatedApiServer.ts"

const event = (name: string) => ({
  metadata: { namespace: "default", name },
  involvedObject: { kind: "ConfigMap", namespace: "default", name: "c" },
  reason: "Test",
  message: name,
  type: "Normal"
})

const names = (server: SimulatedApiServer.SimulatedApiServerShape) =>
  Effect.map(server.kubeClient.list(Events), ({ items }) => items.map(({ metadata }) => metadata.name))

describe("Events", () => {
  it.effect("expire an hour after they were last written", () =>
    Effect.gen(function* () {
      const server = yield* SimulatedApiServer.make()
      const kube = server.kubeClient
      yield* kube.create(ConfigMaps, { metadata: { namespace: "default", name: "c" } })
      yield* kube.create(Events, event("once"))
      yield* kube.create(Events, event("again"))
      yield* TestClock.adjust("50 minutes")
      yield* kube.patch(Events, { namespace: "default", name: "again" }, { count: 2 })
      assert.deepStrictEqual(yield* names(server), ["again", "once"])
      yield* TestClock.adjust("12 minutes")
      assert.deepStrictEqual(yield* names(server), ["again"])
      yield* TestClock.adjust("50 minutes")
      assert.deepStrictEqual(yield* names(server), [])
      assert.lengthOf((yield* kube.list(ConfigMaps, { namespace: "default" })).items, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("that were restored begin their hour then", () =>
    Effect.gen(function* () {
      const server = yield* SimulatedApiServer.make()
      yield* server.kubeClient.create(Events, event("kept"))
      const snapshot = server.snapshot()
      const later = yield* SimulatedApiServer.make()
      yield* later.restore(snapshot)
      yield* TestClock.adjust("59 minutes")
      assert.deepStrictEqual(yield* names(later), ["kept"])
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(yield* names(later), [])
    }).pipe(Effect.scoped)
  )
})
