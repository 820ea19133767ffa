/**
 * Holds what becomes of an Event: written though the API server is busy for a moment, counted up when it is repeated, made
 * anew when the API server has forgotten it; and nothing but the Event is lost when it never can be written.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { EventRecorder } from "../../src/actors/EventRecorder.ts"
import { Events } from "../../src/api/Core.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import type { Notice } from "../../src/domain/Notice.ts"
import { KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import { KubeError, type KubeErrorReason } from "../../src/kube/KubeError.ts"
import * as SimulatedApiServer from "../../src/simulation/SimulatedApiServer.ts"

const gaveUp: Notice = { type: "Warning", reason: "TokenNotRevoked", message: "Gave up" }
const later: Notice = { type: "Normal", reason: "Later", message: "Something else" }
const machine = { metadata: { namespace: "default", name: "m", uid: "1" }, spec: {} }

/** A recorder on an API server that answers the next writes of Events with these reasons; after that as it is. */
const setUp = Effect.gen(function* () {
  const server = yield* SimulatedApiServer.make()
  const kube = server.client("user")
  const refusals: Array<KubeErrorReason> = []
  const refused = <A>(write: Effect.Effect<A, KubeError>) =>
    Effect.suspend(() => {
      const reason = refusals.shift()
      return reason === undefined
        ? write
        : Effect.fail(new KubeError({ reason, verb: "create", kind: "Event", message: "drawn" }))
    })
  const client: KubeClientShape = {
    ...kube,
    create: (kind, object) => refused(kube.create(kind, object)),
    patch: (kind, at, patch, options) => refused(kube.patch(kind, at, patch, options))
  }
  const context = yield* Layer.build(Layer.provide(EventRecorder.layer, Layer.succeed(KubeClient, client)))
  const record = (notice: Notice) =>
    EventRecorder.use((recorder) => recorder.record(RemoteMachines, machine, notice)).pipe(
      Effect.provideContext(context),
      Effect.andThen(TestClock.adjust("2 minutes"))
    )
  const told = Effect.map(kube.list(Events), ({ items }) =>
    items.map(({ reason, count }) => `${reason} ${count}`).sort()
  )
  const forget = Effect.flatMap(kube.list(Events), ({ items }) =>
    Effect.forEach(items, ({ metadata }) => kube.delete(Events, { namespace: "default", name: metadata.name }))
  )
  return { refusals, record, told, forget }
})

describe("an Event", () => {
  // Seed 6413: that a token was given up on was said in an Event that the API server was too busy for, and nowhere else.
  it.effect("is not lost to a moment at which the API server is busy or away, nor is the next one", () =>
    Effect.gen(function* () {
      const { record, refusals, told } = yield* setUp
      refusals.push("TooManyRequests", "Unavailable", "TooManyRequests", "Unavailable", "Unavailable")
      yield* record(gaveUp)
      yield* record(later)
      assert.deepStrictEqual(yield* told, ["Later 1", "TokenNotRevoked 1"])
    }).pipe(Effect.scoped)
  )

  it.effect("that says the same again is counted up", () =>
    Effect.gen(function* () {
      const { record, refusals, told } = yield* setUp
      yield* record(gaveUp)
      refusals.push("Unavailable")
      yield* record(gaveUp)
      assert.deepStrictEqual(yield* told, ["TokenNotRevoked 2"])
    }).pipe(Effect.scoped)
  )

  it.effect("that says the same when the API server has forgotten the first one is a new one", () =>
    Effect.gen(function* () {
      const { forget, record, told } = yield* setUp
      yield* record(gaveUp)
      yield* forget
      yield* record(gaveUp)
      yield* record(gaveUp)
      assert.deepStrictEqual(yield* told, ["TokenNotRevoked 2"])
    }).pipe(Effect.scoped)
  )

  it.effect("that never could be written is written the next time it happens", () =>
    Effect.gen(function* () {
      const { record, refusals, told } = yield* setUp
      refusals.push("Forbidden")
      yield* record(gaveUp)
      assert.deepStrictEqual(yield* told, [])
      yield* record(gaveUp)
      assert.deepStrictEqual(yield* told, ["TokenNotRevoked 1"])
    }).pipe(Effect.scoped)
  )
})
