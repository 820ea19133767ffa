/**
 * Holds bootstrap configs that a MachinePool owns: data that many machines share, with one token that lives as long as the
 * pool, and nothing in it that would give them all one name.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MachinePools } from "../../src/api/ClusterApi.ts"
import { secretText } from "../../src/api/Core.ts"
import { K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import type { JsonObject } from "../../src/kube/KubeClient.ts"
import * as B from "../support/bootstrap.ts"
import { CLUSTER, ref } from "../support/cluster.ts"

const HOUR_MILLIS = 3_600_000

const createConfig = Effect.fnUntraced(function* (all: B.World, owner: JsonObject, spec: JsonObject = {}) {
  return yield* all.kube.create(K0sWorkerConfigs, {
    metadata: {
      ...ref(B.NAME),
      labels: { "cluster.x-k8s.io/cluster-name": CLUSTER },
      ownerReferences: [owner]
    },
    spec
  })
})

describe("a MachinePool's config", () => {
  it.effect("is rendered once for all its machines: no label, no host name, the pool's version", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* createConfig(all, yield* B.createPool(all.kube), { args: ["--debug"] })
      const process = yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const text = B.dataText(yield* B.dataSecret(all))
      assert.include(text, "v1.33.1+k0s.1")
      assert.include(text, "install worker --token-file /etc/k0s.token --debug $force")
      assert.notInclude(text, "k0smotron.io/machine-name")
      assert.notInclude(text, "--hostname-override")
      const [token] = yield* B.tokens(all)
      assert.include(secretText(token ?? assert.fail(), "description") ?? "", "MachinePool default/pool")
      assert.strictEqual(process.writes(), 4)
    }).pipe(Effect.scoped)
  )

  it.effect("keeps its one token valid while the pool exists, also as machines join; revoked when it goes", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* createConfig(all, yield* B.createPool(all.kube))
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const before = B.dataText(yield* B.dataSecret(all))
      const [first] = yield* B.tokens(all)
      yield* all.kube.patch(
        MachinePools,
        ref("pool"),
        { status: { replicas: 3, readyReplicas: 3 } },
        { subresource: "status" }
      )
      yield* B.settle(100 * HOUR_MILLIS)
      const [token, ...others] = yield* B.tokens(all)
      assert.deepStrictEqual(others, [])
      assert.strictEqual(token?.metadata.uid, first?.metadata.uid)
      assert.isAbove(Date.parse(secretText(token ?? assert.fail(), "expiration") ?? ""), 100 * HOUR_MILLIS)
      assert.strictEqual(B.dataText(yield* B.dataSecret(all)), before)
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      yield* B.eventually(
        "gone",
        Effect.map(B.configNow(all), (config) => config === undefined)
      )
      assert.deepStrictEqual(yield* B.tokens(all), [])
      assert.isUndefined(yield* B.dataSecret(all))
    }).pipe(Effect.scoped)
  )
})
