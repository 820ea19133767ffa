/**
 * Holds a MachinePool's bootstrap config over the whole provider, with the rights that it is installed with: MachinePools
 * are looked at only once a config is owned by one.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MachinePools } from "../src/api/ClusterApi.ts"
import { Secrets, secretBytes } from "../src/api/Core.ts"
import { K0sWorkerConfigs } from "../src/api/K0sConfigs.ts"
import { seededSecureRandom } from "../src/simulation/Surroundings.ts"
import { eventually, makeWorld } from "./simulation/core/Examples.ts"

describe("a MachinePool", () => {
  it.effect("has its data once it is there, whatever came first", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const namespace = "machine"
      yield* world.apply(namespace)
      yield* world.server.registerKind(MachinePools)
      const pool = yield* world.kube.create(MachinePools, {
        metadata: { name: "pool", namespace },
        spec: { clusterName: "cp-test", template: { spec: { clusterName: "cp-test", version: "v1.30.0" } } }
      })
      yield* world.kube.create(K0sWorkerConfigs, {
        metadata: {
          name: "pool",
          namespace,
          // Both are core's to set.
          labels: { "cluster.x-k8s.io/cluster-name": "cp-test" },
          ownerReferences: [
            {
              apiVersion: "cluster.x-k8s.io/v1beta1",
              kind: "MachinePool",
              name: "pool",
              uid: pool.metadata.uid ?? "",
              controller: true
            }
          ]
        }
      })
      yield* eventually(
        "its data is there",
        Effect.map(world.kube.list(Secrets, { namespace }), ({ items }) =>
          items.some(({ metadata, type }) => metadata.name === "pool" && type === "cluster.x-k8s.io/secret")
        )
      )
      const data = secretBytes(yield* world.kube.get(Secrets, { namespace, name: "pool" }), "value")
      const text = new TextDecoder().decode(data)
      assert.include(text, "v1.30.0+k0s.0")
      assert.notInclude(text, "--hostname-override")
      const config = yield* world.kube.get(K0sWorkerConfigs, { namespace, name: "pool" })
      assert.strictEqual(config.status?.dataSecretName, "pool")
    }).pipe(Effect.provide(seededSecureRandom))
  )
})
