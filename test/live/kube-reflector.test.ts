/**
 * Reflector and Lease on a real kube-apiserver that is killed under them: the copy is right again after a restart, old
 * versions are Gone, and leadership moves as client-go would have it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { ConfigMaps, Leases } from "../../src/api/Core.ts"
import { KubeClient } from "../../src/kube/KubeClient.ts"
import * as Lease from "../../src/kube/Lease.ts"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import * as Reflector from "../../src/kube/Reflector.ts"
import { type ApiServer, available, start } from "./apiserver/ApiServer.ts"

class Server extends Context.Service<Server, ApiServer>()("test/live/Server") {
  static readonly layer = Layer.effect(Server, start)
}

const client = Layer.effect(
  KubeClient,
  Effect.flatMap(Server, (server) => makeKubeClient({ _tag: "Files", path: server.kubeconfigPath }))
)

/** A restarted server refuses for a while. */
const again = Schedule.max([Schedule.spaced("200 millis"), Schedule.recurs(100)])

describe.skipIf(!available)("on a real kube-apiserver", () => {
  it.layer(client.pipe(Layer.provideMerge(Server.layer)), { timeout: "15 minutes", excludeTestServices: true })(
    (it) => {
      it.effect("a Reflector's copy stays right through a restart of the server, and tells nothing twice", () =>
        Effect.gen(function* () {
          const kube = yield* KubeClient
          const server = yield* Server
          const namespace = "default"
          const labels = { test: "reflector" }
          const create = (name: string) =>
            kube
              .create(ConfigMaps, { metadata: { namespace, name, labels } })
              .pipe(Effect.retry({ schedule: again, while: (error) => error.reason === "Unavailable" }))
          yield* create("a")
          const reflector = yield* Reflector.make(ConfigMaps, { namespace, labelSelector: "test=reflector" })
          const heard = yield* Queue.unbounded<string>()
          yield* Effect.forkScoped(
            Stream.runForEach(reflector.changes, ({ _tag, object }) =>
              Queue.offer(heard, `${_tag} ${object.metadata.name}`)
            )
          )
          yield* reflector.synced
          yield* create("b")
          assert.deepStrictEqual([yield* Queue.take(heard), yield* Queue.take(heard)], ["Added a", "Added b"])
          yield* server.restart
          yield* create("c")
          assert.strictEqual(yield* Queue.take(heard), "Added c")
          yield* kube.patch(ConfigMaps, { namespace, name: "a" }, { data: { x: "1" } })
          yield* kube.delete(ConfigMaps, { namespace, name: "b" })
          assert.deepStrictEqual([yield* Queue.take(heard), yield* Queue.take(heard)], ["Modified a", "Deleted b"])
          const truth = yield* kube.list(ConfigMaps, { namespace, labelSelector: "test=reflector" })
          assert.deepStrictEqual(yield* reflector.list(), truth.items)
        }).pipe(Effect.scoped)
      )

      it.effect("a version from before the restart is Gone", () =>
        Effect.gen(function* () {
          const kube = yield* KubeClient
          const error = yield* Effect.flip(Stream.runDrain(kube.watch(ConfigMaps, { resourceVersion: "1" })))
          assert.strictEqual(error.reason, "Gone")
        })
      )

      it.effect("a Lease has one leader, and passes on when that one stops", () =>
        Effect.gen(function* () {
          const kube = yield* KubeClient
          const lease = { namespace: "default", name: "election" }
          const options = { ...lease, leaseDuration: 6, renewDeadline: 4, retryPeriod: 0.25 }
          const first = yield* Deferred.make<void>()
          const second = yield* Deferred.make<void>()
          const holder = Effect.map(kube.get(Leases, lease), ({ spec }) => [
            spec?.holderIdentity,
            spec?.leaseTransitions
          ])
          const one = yield* Effect.forkChild(
            Lease.run({ ...options, identity: "one" }, Effect.andThen(Deferred.succeed(first, undefined), Effect.never))
          )
          yield* Deferred.await(first)
          assert.deepStrictEqual(yield* holder, ["one", 0])
          const two = yield* Effect.forkChild(
            Lease.run(
              { ...options, identity: "two" },
              Effect.andThen(Deferred.succeed(second, undefined), Effect.never)
            )
          )
          // Another's edit changes the version under the holder, which reads again and keeps the lease.
          yield* kube.patch(Leases, lease, { metadata: { labels: { edited: "yes" } } })
          const before = (yield* kube.get(Leases, lease)).spec?.renewTime
          yield* kube.get(Leases, lease).pipe(
            Effect.filterOrFail(({ spec }) => spec?.renewTime !== before),
            Effect.retry(again)
          )
          assert.isFalse(yield* Deferred.isDone(second))
          yield* Fiber.interrupt(one)
          yield* Deferred.await(second)
          assert.deepStrictEqual(yield* holder, ["two", 1])
          yield* Fiber.interrupt(two)
          assert.deepStrictEqual(yield* holder, ["", 1])
        })
      )
    }
  )
})
