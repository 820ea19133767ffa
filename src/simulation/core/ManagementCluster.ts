/**
 * Owns the management cluster of a simulation put together: CRDs installed, SimulatedCore and the stand-ins at work over
 * one API, workload clusters that answer. The provider is not part of it: it is what such a cluster is for. Over HTTP
 * only the client differs.
 */
import * as Context from "effect/Context"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { CustomResourceDefinitions } from "../../api/Core.ts"
import { ourCrds } from "../../api/crd/Render.ts"
import type { JsonObject, KubeClientShape } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import { WorkloadClusters } from "../../kube/WorkloadClusters.ts"
import { objectAt, stringAt } from "../apiserver/Json.ts"
import type { SimulatedHosts } from "../hosts/SimulatedHosts.ts"
import { seededSecureRandom } from "../Surroundings.ts"
import { coreCrds } from "./crds.ts"
import * as SimulatedCore from "./SimulatedCore.ts"
import * as SimulatedWorkloads from "./SimulatedWorkloads.ts"
import { standInCrds } from "./standins/crds.ts"
import * as StandIns from "./standins/StandIns.ts"

export interface ManagementClusterOptions {
  /** A client for each who writes: core and stand-ins are told apart in the server's log. */
  readonly client: (name: "core" | "stand-ins") => KubeClientShape
  /** Where AWSMachines run. Absent: hosts of their own. */
  readonly hosts?: SimulatedHosts
  /** Host of control plane endpoints that nobody gave. Absent: 127.0.0.1. */
  readonly controlPlaneHost?: string
  /** Absent: workload clusters of its own. */
  readonly workloads?: SimulatedWorkloads.SimulatedWorkloads
}

export interface ManagementCluster {
  readonly core: SimulatedCore.SimulatedCoreShape
  readonly standIns: StandIns.StandInsShape
  readonly workloads: SimulatedWorkloads.SimulatedWorkloads
  /** Objects that any of its controllers has yet to look at. */
  readonly pending: () => number
}

/** Every definition that a simulated management cluster serves: ours, CAPI's, the stand-ins'. */
export const allCrds: ReadonlyArray<JsonObject> = [
  ...ourCrds.map((crd): JsonObject => JSON.parse(JSON.stringify(crd))),
  ...coreCrds,
  ...standInCrds
]

/** What is there already, from whoever, is kept: it may be the real one. */
export const installCrds = (kube: KubeClientShape): Effect.Effect<void, KubeError> =>
  Effect.forEach(
    allCrds,
    (crd) =>
      kube
        .create(CustomResourceDefinitions, {
          metadata: { name: stringAt(crd, "metadata", "name") ?? "", labels: objectAt(crd, "metadata", "labels") },
          spec: objectAt(crd, "spec")
        })
        .pipe(
          Effect.catchIf(
            (error) => error.reason === "AlreadyExists",
            () => Effect.void
          )
        ),
    { discard: true }
  )

/** Runs until the scope closes; installs the CRDs first. */
export const make = Effect.fnUntraced(function* (
  options: ManagementClusterOptions
): Effect.fn.Return<ManagementCluster, KubeError, SecureRandom.SecureRandom | Scope.Scope> {
  yield* installCrds(options.client("core"))
  const workloads = options.workloads ?? (yield* SimulatedWorkloads.make())
  const workloadClusters = Context.get(yield* Layer.build(workloads.clusters), WorkloadClusters)
  const standIns = yield* StandIns.make({
    kube: options.client("stand-ins"),
    workloads,
    ...(options.hosts === undefined ? {} : { hosts: options.hosts }),
    ...(options.controlPlaneHost === undefined ? {} : { controlPlaneHost: options.controlPlaneHost })
  })
  const core = yield* SimulatedCore.make({
    kube: options.client("core"),
    workloadClusters
  })
  return { core, standIns, workloads, pending: () => core.pending() + standIns.pending() }
})

/** Its keys and tokens are drawn from the seed of whoever asks. */
export const makeSeeded = (options: ManagementClusterOptions) => Effect.provide(make(options), seededSecureRandom)
