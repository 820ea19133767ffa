/**
 * Holds the conformance suite of CAPI's core to be what CAPI's own manager does: the same scenarios that SimulatedCore
 * passes, on a real API server, with CAPI's own webhooks and conversion between its API versions.
 */
import * as Effect from "effect/Effect"
import { makeKubeClient } from "../../../src/kube/LiveKubeClient.ts"
import { installCrds } from "../../../src/simulation/core/ManagementCluster.ts"
import { coreConformance } from "../../conformance/core.ts"
import { available, start } from "../apiserver/ApiServer.ts"
import * as Manager from "./Manager.ts"

const make = Effect.gen(function* () {
  const server = yield* start
  const kube = yield* makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
  // Ours and the stand-ins'; CAPI's own are the manager's, and were there first.
  const definitions = installCrds(kube)
  yield* Manager.start(server, kube, definitions)
  return { kube, workload: Effect.succeed({ kube, kubeconfig: server.kubeconfig }) }
})

coreConformance("CAPI's own manager", make, { skip: !available || !Manager.available, concurrent: true })
