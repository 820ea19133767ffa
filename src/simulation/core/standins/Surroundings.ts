/**
 * Owns what all stand-ins share: copies of Clusters and Machines, the way to other kinds, the workload clusters, and how
 * an object says that a stand-in fills it. Does not own any stand-in.
 */
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Names from "../../../api/Names.ts"
import type { ConditionInput } from "../../../domain/Conditions.ts"
import type { JsonObject, KubeClientShape } from "../../../kube/KubeClient.ts"
import type { KubeError } from "../../../kube/KubeError.ts"
import type { WorkloadClustersShape } from "../../../kube/WorkloadClusters.ts"
import { now } from "../Core.ts"
import type { Foreign } from "../Foreign.ts"
import type { WorkloadServer } from "../K0sAdmission.ts"
import { STAND_IN_ANNOTATION, STAND_IN_CONDITION } from "../Names.ts"
import { hasOwnerOfKind, isOwner, namespaceOf, type Raw } from "../Raw.ts"
import type { SimulatedWorkloads } from "../SimulatedWorkloads.ts"
import type { Tracked } from "../Tracked.ts"
import * as View from "../View.ts"

export interface Surroundings {
  readonly kube: KubeClientShape
  readonly clusters: Tracked
  readonly machines: Tracked
  readonly foreign: Foreign
  readonly workloads: SimulatedWorkloads<WorkloadServer>
  readonly workloadClusters: WorkloadClustersShape
  readonly random: SecureRandom.SecureRandom["Service"]
  /** Where control planes without an endpoint of their own say they are. */
  readonly controlPlaneHost: string
}

/** The Cluster that core has made the owner. */
export const ownerCluster = (around: Surroundings, object: Raw): Effect.Effect<Raw | undefined> => {
  const owner = object.metadata.ownerReferences?.find((one) => isOwner(one, Names.CLUSTER_GROUP, "Cluster"))
  return owner === undefined
    ? Effect.succeed(undefined)
    : around.clusters.get({ namespace: namespaceOf(object), name: owner.name })
}

export const isHeld = (object: Raw, cluster: Raw | undefined): boolean =>
  object.metadata.annotations?.[Names.PAUSED_ANNOTATION] !== undefined ||
  (cluster !== undefined && View.isPausedCluster(cluster))

const standIn: ConditionInput = {
  type: STAND_IN_CONDITION,
  status: "True",
  reason: "Simulated",
  message: "This status is written by a stand-in of the simulation, not by the controller whose kind it is."
}

export const ensureLabelled = (tracked: Tracked, object: Raw): Effect.Effect<Raw, KubeError> =>
  tracked.patch(object, { metadata: { annotations: { [STAND_IN_ANNOTATION]: "true" } } })

/** Providers' conditions are metav1.Conditions in every version of theirs. */
export const writeStatus = Effect.fnUntraced(function* (
  tracked: Tracked,
  object: Raw,
  fields: JsonObject,
  conditions: ReadonlyArray<ConditionInput>
): Effect.fn.Return<Raw, KubeError> {
  const shaped = View.metaConditions(object, [...conditions, standIn], yield* now)
  return yield* tracked.patchStatus(object, { ...fields, conditions: shaped })
})

export const ownedByMachine = (object: Raw): boolean => hasOwnerOfKind(object, Names.CLUSTER_GROUP, "Machine")
