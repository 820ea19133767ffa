/**
 * SimulatedCore keeps its promises over HTTP, against a real kube-apiserver, which is the workload cluster of all its
 * Clusters, too: real validation of our definitions, real watches, real conflicts.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { WorkloadClusters } from "../../src/kube/WorkloadClusters.ts"
import { installCrds } from "../../src/simulation/core/ManagementCluster.ts"
import { Clusters, MachineDeployments, MachineSets, Machines } from "../../src/simulation/core/Raw.ts"
import * as SimulatedCore from "../../src/simulation/core/SimulatedCore.ts"
import * as CoreWorld from "../conformance/core/World.ts"
import { coreConformance } from "../conformance/core.ts"
import { available, start } from "./apiserver/ApiServer.ts"

/** Until a new kind is served everywhere. */
const SERVED = Schedule.max([Schedule.spaced("100 millis"), Schedule.recurs(100)])

const make = Effect.gen(function* () {
  const server = yield* start
  const client = makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
  const kube = yield* client
  yield* installCrds(kube)
  const {
    ControlPlanes,
    RemoteClusters,
    RemoteMachines,
    RemoteMachineTemplates,
    WorkerConfigs,
    WorkerConfigTemplates
  } = CoreWorld
  const ours = [
    ControlPlanes,
    RemoteClusters,
    RemoteMachines,
    RemoteMachineTemplates,
    WorkerConfigs,
    WorkerConfigTemplates
  ]
  for (const kind of [Clusters, Machines, MachineSets, MachineDeployments, ...ours]) {
    yield* kube.list(kind).pipe(Effect.retry(SERVED))
  }
  const workloadClusters = Context.get(yield* Layer.build(WorkloadClusters.layer), WorkloadClusters)
  yield* SimulatedCore.make({ kube: yield* client, workloadClusters })
  return { kube, workload: Effect.succeed({ kube, kubeconfig: server.kubeconfig }) }
})

coreConformance("over HTTP", make, { skip: !available })
