/**
 * Owns what the controllers of SimulatedCore share: the copies of CAPI's kinds, the way to foreign kinds and to Nodes, and
 * each other's work queues. Does not own any controller's rules.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Names from "../../api/Names.ts"
import type { ConditionInput } from "../../domain/Conditions.ts"
import { rfc3339 } from "../../domain/Rfc3339.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import type { Foreign } from "./Foreign.ts"
import {
  hasFinalizer,
  isDeleting,
  keyIn,
  namespaceOf,
  type OwnerJson,
  type Raw,
  refOfKey,
  withFinalizer,
  withOwner
} from "./Raw.ts"
import type { Tracked } from "./Tracked.ts"
import { clusterNameOf, conditionsJson, isPausedCluster, pausedCondition } from "./View.ts"
import type { WorkloadNodes } from "./WorkloadNodes.ts"

/** Indexes of the copies. */
export const INDEX = {
  /** `namespace/name` of the Cluster, by label or `spec.clusterName`. */
  cluster: "cluster",
  /** uid of the controlling owner. */
  controller: "controller",
  /** View.referenceKey of every object that the spec refers to. */
  reference: "reference",
  /** `namespace/cluster/providerID`, and `namespace/cluster/node` of a Machine. */
  node: "node"
} as const

export interface Core {
  readonly clusters: Tracked
  readonly machines: Tracked
  readonly machineSets: Tracked
  readonly machineDeployments: Tracked
  readonly foreign: Foreign
  readonly nodes: WorkloadNodes
}

/** After this long a controller looks again for something that no watch will tell of, milliseconds. */
export const LOOK_AGAIN_MILLIS = 5_000

export const now: Effect.Effect<string> = Effect.map(Clock.currentTimeMillis, rfc3339)

/** Undefined: the object has no Cluster that exists. */
export const clusterOf = (core: Core, object: Raw): Effect.Effect<Raw | undefined> => {
  const name = clusterNameOf(object)
  return name === undefined ? Effect.succeed(undefined) : core.clusters.get(refOfKey(keyIn(namespaceOf(object), name)))
}

/** First of all, so that no deletion comes between. Nothing is added to what is being deleted. */
export const ensureFinalizer = (tracked: Tracked, object: Raw, finalizer: string): Effect.Effect<Raw, KubeError> =>
  isDeleting(object) || hasFinalizer(object, finalizer)
    ? Effect.succeed(object)
    : tracked.patch(object, { metadata: { finalizers: withFinalizer(object, finalizer) } })

export const isPaused = (object: Raw, cluster: Raw | undefined): boolean =>
  object.metadata.annotations?.[Names.PAUSED_ANNOTATION] !== undefined ||
  (cluster !== undefined && isPausedCluster(cluster))

/** Says so in the condition; true when nothing else may be done. */
export const heldByPause = Effect.fnUntraced(function* (
  tracked: Tracked,
  object: Raw,
  cluster: Raw | undefined
): Effect.fn.Return<boolean, KubeError> {
  if (!isPaused(object, cluster)) return false
  yield* writeStatus(tracked, object, {}, [pausedCondition(object, cluster, Names.PAUSED_ANNOTATION)])
  return true
})

/** Fields and conditions in one write; nothing when all of it stands there already. */
export const writeStatus = Effect.fnUntraced(function* (
  tracked: Tracked,
  object: Raw,
  fields: JsonObject,
  conditions: ReadonlyArray<ConditionInput>
): Effect.fn.Return<Raw, KubeError> {
  return yield* tracked.patchStatus(object, {
    ...fields,
    ...conditionsJson(object, conditions, yield* now),
    ...(object.metadata.generation === undefined ? {} : { observedGeneration: object.metadata.generation })
  })
})

/** The owner in the list and the cluster-name label on the object. */
export const ensureOwned = (
  tracked: Tracked,
  object: Raw,
  owner: OwnerJson,
  cluster: string | undefined,
  drop: Parameters<typeof withOwner>[2] = () => false
): Effect.Effect<Raw, KubeError> =>
  tracked.patch(object, {
    metadata: {
      ownerReferences: withOwner(object, owner, drop),
      ...(cluster === undefined ? {} : { labels: { [Names.CLUSTER_NAME_LABEL]: cluster } })
    }
  })
