/**
 * Owns SimulatedCore on API servers in memory, as the scenarios of core want it. Does not own any scenario.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ourCrds } from "../../../src/api/crd/Render.ts"
import { WorkloadClusters } from "../../../src/kube/WorkloadClusters.ts"
import { coreCrds } from "../../../src/simulation/core/crds.ts"
import * as SimulatedCore from "../../../src/simulation/core/SimulatedCore.ts"
import { standInCrds } from "../../../src/simulation/core/standins/crds.ts"
import * as SimulatedApiServer from "../../../src/simulation/SimulatedApiServer.ts"

export const inMemory = Effect.gen(function* () {
  const server = yield* SimulatedApiServer.make()
  const workload = yield* SimulatedApiServer.make()
  for (const crd of [...ourCrds, ...coreCrds, ...standInCrds]) yield* server.apply(JSON.parse(JSON.stringify(crd)))
  const built = yield* Layer.build(WorkloadClusters.layerOf(() => Effect.succeed(workload.client("core"))))
  yield* SimulatedCore.make({
    kube: server.client("core"),
    workloadClusters: Context.get(built, WorkloadClusters)
  })
  return { kube: server.kubeClient, workload: Effect.succeed({ kube: workload.kubeClient, kubeconfig: "simulated" }) }
})
