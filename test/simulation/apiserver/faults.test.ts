/**
 * Injected faults between client and server: they are those of a real network, they replay, and after a cut nothing
 * reaches the store any more.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { ConfigMaps } from "../../../src/api/Core.ts"
import type { KubeError } from "../../../src/kube/KubeError.ts"
import {
  cuttableKubeClient,
  drawKubeFaults,
  faultyKubeClient,
  type KubeFault,
  noKubeFaults
} from "../../../src/simulation/Faults.ts"
import { make } from "../../../src/simulation/SimulatedApiServer.ts"

const ref = { namespace: "default", name: "c" }
const body = { metadata: ref }

const reason = <A>(effect: Effect.Effect<A, KubeError>) =>
  Effect.match(effect, { onFailure: (error) => error.reason, onSuccess: () => "success" as const })

describe("faults of the Kubernetes port", () => {
  it.effect("an error before the request: nothing was carried out", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const faulty = (plan: object) => faultyKubeClient(server.kubeClient, () => ({ ...noKubeFaults, ...plan }))
      assert.strictEqual(yield* reason(faulty({ unavailable: 1 }).create(ConfigMaps, body)), "Unavailable")
      const busy = yield* Effect.flip(faulty({ tooManyRequests: 1 }).create(ConfigMaps, body))
      assert.strictEqual(busy.reason, "TooManyRequests")
      assert.strictEqual(busy.retryAfterSeconds, 1)
      assert.strictEqual(yield* reason(faulty({ conflict: 1 }).patch(ConfigMaps, ref, {})), "Conflict")
      assert.strictEqual(yield* reason(faulty({ conflict: 1 }).get(ConfigMaps, ref)), "NotFound")
      assert.deepStrictEqual(server.writes(), [])
    })
  )

  it.effect("a lost response: the write is there, the client saw it fail", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const faults: Array<KubeFault> = []
      const client = faultyKubeClient(
        server.kubeClient,
        () => ({ ...noKubeFaults, lostResponse: 1 }),
        (fault) => faults.push(fault)
      )
      assert.strictEqual(yield* reason(client.create(ConfigMaps, body)), "Unavailable")
      assert.strictEqual((yield* client.get(ConfigMaps, ref)).metadata.name, "c")
      assert.deepStrictEqual(faults, ["lostResponse"])
    })
  )

  it.effect("delays are virtual time, before and after the request", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const client = faultyKubeClient(server.kubeClient, () => ({
        ...noKubeFaults,
        requestDelay: [100, 101],
        responseDelay: [1000, 1001]
      }))
      const fiber = yield* Effect.forkChild(client.create(ConfigMaps, body))
      yield* TestClock.adjust(99)
      assert.strictEqual(server.writes().length, 0)
      yield* TestClock.adjust(1)
      assert.strictEqual(server.writes().length, 1)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1000)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
    })
  )

  it.effect("watches open as Gone, break between events, come late, and stay in order", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const { resourceVersion } = yield* server.kubeClient.list(ConfigMaps)
      yield* server.kubeClient.create(ConfigMaps, body)
      yield* server.kubeClient.patch(ConfigMaps, ref, { data: { a: "1" } })
      yield* server.kubeClient.delete(ConfigMaps, ref)
      let plan = { ...noKubeFaults, watchGone: 1 }
      const client = faultyKubeClient(server.kubeClient, () => plan)
      const watch = client.watch(ConfigMaps, { resourceVersion })
      assert.strictEqual(yield* reason(Stream.runDrain(watch)), "Gone")
      plan = { ...noKubeFaults, watchBreak: 1 }
      assert.strictEqual(yield* reason(Stream.runDrain(watch)), "Unavailable")
      plan = { ...noKubeFaults, watchDelay: [10, 5000] }
      const fiber = yield* Effect.forkChild(watch.pipe(Stream.take(3), Stream.runCollect))
      yield* TestClock.adjust(9)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        (yield* Fiber.join(fiber)).map((event) => event._tag),
        ["Added", "Modified", "Deleted"]
      )
    })
  )

  it.effect("a stuck watch loses what follows, and is found dead in the end; a stuttering one tells twice", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const { resourceVersion } = yield* server.kubeClient.list(ConfigMaps)
      yield* server.kubeClient.create(ConfigMaps, body)
      yield* server.kubeClient.patch(ConfigMaps, ref, { data: { a: "1" } })
      let plan = { ...noKubeFaults, watchStuck: 1 }
      const watch = faultyKubeClient(server.kubeClient, () => plan).watch(ConfigMaps, { resourceVersion })
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        reason(Stream.runForEach(watch, ({ _tag }) => Effect.sync(() => seen.push(_tag))))
      )
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(fiber), "Gone")
      assert.deepStrictEqual(seen, [])
      plan = { ...noKubeFaults, watchRepeat: 1 }
      assert.deepStrictEqual(
        (yield* watch.pipe(Stream.take(4), Stream.runCollect)).map((event) => event._tag),
        ["Added", "Added", "Modified", "Modified"]
      )
    })
  )

  it.effect(
    "a stale list is what was listed before, with its resourceVersion, so that a watch from there catches up",
    () =>
      Effect.gen(function* () {
        const server = yield* make()
        let plan = noKubeFaults
        const client = faultyKubeClient(server.kubeClient, () => plan)
        plan = { ...noKubeFaults, staleList: 1 }
        // Nothing was listed yet: there is nothing stale to tell.
        const before = yield* client.list(ConfigMaps)
        yield* server.kubeClient.create(ConfigMaps, body)
        const stale = yield* client.list(ConfigMaps)
        assert.deepStrictEqual(stale, before)
        const [event] = yield* client.watch(ConfigMaps, stale).pipe(Stream.take(1), Stream.runCollect)
        assert.strictEqual(event?._tag, "Added")
        plan = noKubeFaults
        assert.lengthOf((yield* client.list(ConfigMaps)).items, 1)
      })
  )

  it.effect("the same seed injects the same faults", () =>
    Effect.gen(function* () {
      const run = Effect.gen(function* () {
        const server = yield* make()
        const plan = yield* drawKubeFaults
        const faults: Array<string> = []
        const client = faultyKubeClient(
          server.kubeClient,
          () => plan,
          (fault, subject) => faults.push(`${fault} ${subject.verb}`)
        )
        const fiber = yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: 200 }), (_, n) =>
            Effect.ignore(client.create(ConfigMaps, { metadata: { ...ref, name: `c${n}` } }))
          )
        )
        yield* TestClock.adjust("1 hour")
        yield* Fiber.join(fiber)
        return faults
      }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
      const one = yield* run.pipe(Random.withSeed("x"))
      assert.deepStrictEqual(one, yield* run.pipe(Random.withSeed("x")))
      assert.isAbove(one.length, 0)
    })
  )
})

describe("the cut", () => {
  const cuttable = (afterwards: "hang" | "fail") =>
    Effect.gen(function* () {
      const server = yield* make()
      let cut = false
      const inner = cuttableKubeClient(server.kubeClient, { isCut: () => cut }, afterwards)
      const slow = faultyKubeClient(inner, () => ({ ...noKubeFaults, requestDelay: [1000, 1001] }))
      const throwNow = () => {
        cut = true
      }
      return { server, inner, slow, throwNow }
    })

  it.effect("a request on its way does not arrive", () =>
    Effect.gen(function* () {
      const { server, slow, throwNow } = yield* cuttable("hang")
      const fiber = yield* Effect.forkChild(slow.create(ConfigMaps, body))
      yield* TestClock.adjust(999)
      throwNow()
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(fiber.pollUnsafe())
      assert.deepStrictEqual(server.writes(), [])
      yield* Fiber.interrupt(fiber)
    })
  )

  it.effect("finalizers of interrupted fibers write nothing, and do not hang the crash", () =>
    Effect.gen(function* () {
      for (const afterwards of ["hang", "fail"] as const) {
        const { server, inner, throwNow } = yield* cuttable(afterwards)
        const holder = Effect.acquireUseRelease(
          inner.create(ConfigMaps, body),
          () => Effect.never,
          () => Effect.ignore(inner.delete(ConfigMaps, ref))
        )
        const fiber = yield* Effect.forkChild(holder)
        yield* TestClock.adjust(1)
        throwNow()
        yield* Fiber.interrupt(fiber)
        assert.deepStrictEqual(
          server.writes().map((write) => write.verb),
          ["create"]
        )
      }
    })
  )

  it.effect("watches fall silent or fail, and calls with them", () =>
    Effect.gen(function* () {
      const { server, inner, throwNow } = yield* cuttable("fail")
      const { resourceVersion } = yield* inner.list(ConfigMaps)
      const fiber = yield* Effect.forkChild(reason(Stream.runDrain(inner.watch(ConfigMaps, { resourceVersion }))))
      yield* TestClock.adjust(1)
      throwNow()
      yield* server.kubeClient.create(ConfigMaps, body)
      assert.strictEqual(yield* Fiber.join(fiber), "Unavailable")
      assert.strictEqual(yield* reason(inner.get(ConfigMaps, ref)), "Unavailable")
      assert.strictEqual(yield* reason(Stream.runDrain(inner.watch(ConfigMaps, { resourceVersion }))), "Unavailable")
    })
  )
})
