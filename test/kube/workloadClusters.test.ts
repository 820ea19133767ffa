/**
 * Holds: one client a cluster and kubeconfig, shared, kept while idle for a bounded time, made anew for other content;
 * failures are not remembered, and what a Secret says is not trusted.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import { KubeError } from "../../src/kube/KubeError.ts"
import { IDLE_MILLIS, MAX_CLIENTS, WorkloadClusters } from "../../src/kube/WorkloadClusters.ts"

const refuse = () => Effect.fail(new KubeError({ reason: "Unavailable", verb: "get", kind: "X", message: "no" }))
const client = (): KubeClientShape => ({
  get: refuse,
  list: refuse,
  watch: () => {
    throw new Error("not asked for")
  },
  create: refuse,
  patch: refuse,
  delete: refuse
})

const counting = () => {
  const opened: Array<string> = []
  const closed: Array<string> = []
  let fails = 0
  const layer = WorkloadClusters.layerOf((cluster, kubeconfig) => {
    const key = `${cluster.namespace}/${cluster.name} ${kubeconfig}`
    if (fails > 0) {
      fails -= 1
      return Effect.fail(new KubeError({ reason: "BadRequest", verb: "configure", kind: "Kubeconfig", message: "bad" }))
    }
    return Effect.acquireRelease(
      Effect.sync(() => {
        opened.push(key)
        return client()
      }),
      () => Effect.sync(() => closed.push(key))
    )
  })
  return { opened, closed, layer, failNext: () => (fails += 1) }
}

const a = { namespace: "default", name: "a" }

describe("WorkloadClusters", () => {
  it.effect("shares by cluster and content, and closes what is idle", () => {
    const { opened, closed, layer } = counting()
    return Effect.gen(function* () {
      const clusters = yield* WorkloadClusters
      const first = yield* Effect.scoped(clusters.client(a, "one"))
      assert.strictEqual(yield* Effect.scoped(clusters.client(a, "one")), first)
      yield* Effect.scoped(clusters.client({ ...a, name: "b" }, "one"))
      yield* Effect.scoped(clusters.client(a, "two"))
      assert.deepStrictEqual(opened, ["default/a one", "default/b one", "default/a two"])
      yield* TestClock.adjust(IDLE_MILLIS / 2)
      yield* Effect.scoped(clusters.client(a, "two"))
      yield* TestClock.adjust(IDLE_MILLIS / 2 + 1)
      assert.sameMembers(closed, ["default/a one", "default/b one"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("a client in use is never closed", () => {
    const { closed, layer } = counting()
    return Effect.gen(function* () {
      const clusters = yield* WorkloadClusters
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* clusters.client(a, "one")
          yield* TestClock.adjust(IDLE_MILLIS * 10)
          assert.deepStrictEqual(closed, [])
        })
      )
    }).pipe(Effect.provide(layer))
  })

  it.effect("a failure is not remembered", () => {
    const { layer, failNext } = counting()
    return Effect.gen(function* () {
      const clusters = yield* WorkloadClusters
      failNext()
      const error = yield* Effect.flip(Effect.scoped(clusters.client(a, "one")))
      assert.strictEqual(error.reason, "BadRequest")
      yield* Effect.scoped(clusters.client(a, "one"))
    }).pipe(Effect.provide(layer))
  })

  it.effect("is bounded", () => {
    const { layer } = counting()
    return Effect.gen(function* () {
      const clusters = yield* WorkloadClusters
      for (let i = 0; i < MAX_CLIENTS; i++) yield* Effect.scoped(clusters.client(a, `${i}`))
      const error = yield* Effect.flip(Effect.scoped(clusters.client(a, "one too many")))
      assert.strictEqual(error.retry, "backoff")
      yield* TestClock.adjust(IDLE_MILLIS + 1)
      yield* Effect.scoped(clusters.client(a, "one too many"))
    }).pipe(Effect.provide(layer))
  })

  it.effect("live: a kubeconfig in a Secret may not run programs", () =>
    Effect.gen(function* () {
      const clusters = yield* WorkloadClusters
      const kubeconfig = JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1" } }],
        contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
        "current-context": "c",
        users: [{ name: "u", user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "true" } } }]
      })
      const error = yield* Effect.flip(Effect.scoped(clusters.client(a, kubeconfig)))
      assert.strictEqual(error.verb, "configure")
    }).pipe(Effect.provide(WorkloadClusters.layer))
  )
})
