/**
 * Owns the stand-ins as one resource: whoever serves the kinds that the specification's examples use and that are neither
 * CAPI's nor ours. Runs over the KubeClient port like a provider of its own. Does not own core (SimulatedCore.ts).
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Kind } from "../../../api/Kind.ts"
import { CLUSTER_GROUP } from "../../../api/Names.ts"
import { HostRuns } from "../../../hosts/HostRuns.ts"
import * as LiveHostRuns from "../../../hosts/LiveHostRuns.ts"
import type { KubeClientShape } from "../../../kube/KubeClient.ts"
import type { KubeError } from "../../../kube/KubeError.ts"
import { WorkloadClusters } from "../../../kube/WorkloadClusters.ts"
import type { SimulatedHosts } from "../../hosts/SimulatedHosts.ts"
import { makeSimulatedHosts } from "../../hosts/SimulatedHosts.ts"
import * as Foreign from "../Foreign.ts"
import type { WorkloadServer } from "../K0sAdmission.ts"
import { Clusters, isOwner, keyIn, keyOf, Machines, namespaceOf, type Raw } from "../Raw.ts"
import type { SimulatedWorkloads } from "../SimulatedWorkloads.ts"
import { type Tracked, track } from "../Tracked.ts"
import { referenceAt } from "../View.ts"
import * as WorkQueue from "../WorkQueue.ts"
import * as Aws from "./Aws.ts"
import * as K0sControlPlanes from "./K0sControlPlanes.ts"
import * as K0smotronControlPlanes from "./K0smotronControlPlanes.ts"
import type { Surroundings } from "./Surroundings.ts"

const LOOPBACK = "127.0.0.1"

export interface StandInsOptions {
  readonly kube: KubeClientShape
  readonly workloads: SimulatedWorkloads<WorkloadServer>
  /** Where AWSMachines run. Absent: hosts of their own. */
  readonly hosts?: SimulatedHosts
  /** Host of endpoints that nobody gave. Absent: 127.0.0.1. */
  readonly controlPlaneHost?: string
}

export interface StandInsShape {
  readonly pending: () => number
  /** Those on which AWSMachines run. */
  readonly hosts: SimulatedHosts
}

type Reconcile = (key: string) => Effect.Effect<WorkQueue.Again, KubeError>

interface StandIn {
  readonly queue: WorkQueue.WorkQueue
  readonly tracked: Tracked
}

/** The queue hears of its own objects; of others those who `make` it tell it. */
const standIn = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  kind: Kind<Raw>,
  reconcile: (tracked: Tracked) => Reconcile
): Effect.fn.Return<StandIn, never, Scope.Scope> {
  let queue: WorkQueue.WorkQueue | undefined
  const tracked = yield* track({
    kube,
    kind,
    changed: (object) => Effect.suspend(() => queue?.add(keyOf(object)) ?? Effect.void)
  })
  const made = yield* WorkQueue.make(`stand-in ${kind.kind}`, reconcile(tracked))
  queue = made
  yield* Effect.flatMap(tracked.list(), (all) => Effect.forEach(all, (one) => made.add(keyOf(one)), { discard: true }))
  return { queue: made, tracked }
})

const referred = (object: Raw, ...path: ReadonlyArray<string>) => {
  const reference = referenceAt(object, ...path)
  return reference === undefined ? undefined : { kind: reference.kind, key: keyIn(reference.namespace, reference.name) }
}

/** Runs until the scope closes. Their CRDs (standins/crds.ts) have to be there. */
export const make = Effect.fnUntraced(function* (
  options: StandInsOptions
): Effect.fn.Return<StandInsShape, never, SecureRandom.SecureRandom | Scope.Scope> {
  const { kube, workloads } = options
  const all = new Map<string, StandIn>()
  const tell = (target: { readonly kind: string; readonly key: string } | undefined) =>
    target === undefined ? Effect.void : (all.get(target.kind)?.queue.add(target.key) ?? Effect.void)

  const clusters = yield* track({
    kube,
    kind: Clusters,
    changed: (cluster) =>
      Effect.andThen(tell(referred(cluster, "controlPlaneRef")), tell(referred(cluster, "infrastructureRef")))
  })
  const machines = yield* track({
    kube,
    kind: Machines,
    changed: (machine) =>
      Effect.andThen(
        tell(referred(machine, "infrastructureRef")),
        Effect.forEach(
          machine.metadata.ownerReferences ?? [],
          (owner) =>
            isOwner(owner, CLUSTER_GROUP, "Cluster")
              ? Effect.void
              : tell({ kind: owner.kind, key: keyIn(namespaceOf(machine), owner.name) }),
          { discard: true }
        )
      )
  })
  const foreign = yield* Foreign.make(kube, () => Effect.void)
  const around: Surroundings = {
    kube,
    clusters,
    machines,
    foreign,
    workloads,
    workloadClusters: Context.get(yield* Layer.build(workloads.clusters), WorkloadClusters),
    random: yield* SecureRandom.SecureRandom,
    controlPlaneHost: options.controlPlaneHost ?? LOOPBACK
  }
  const hosts = options.hosts ?? (yield* makeSimulatedHosts())
  const runs = Context.get(yield* Layer.build(Layer.provide(LiveHostRuns.layer, hosts.layer)), HostRuns)
  const instances = yield* Aws.makeInstances(around, hosts, runs)
  yield* Effect.all([clusters.synced, machines.synced])
  const kinds: ReadonlyArray<readonly [Kind<Raw>, (tracked: Tracked) => Reconcile]> = [
    [
      K0smotronControlPlanes.K0smotronControlPlanes,
      (planes) => (key) => Effect.scoped(K0smotronControlPlanes.reconcile(around, planes, key))
    ],
    [K0sControlPlanes.K0sControlPlanes, (planes) => (key) => K0sControlPlanes.reconcile(around, planes, key)],
    [Aws.AwsClusters, (tracked) => (key) => Aws.reconcileCluster(around, tracked, key)],
    [Aws.AwsMachines, (tracked) => (key) => Aws.reconcileMachine(around, instances, tracked, key)]
  ]
  for (const [kind, reconcile] of kinds) all.set(kind.kind, yield* standIn(kube, kind, reconcile))
  return { pending: () => [...all.values()].reduce((sum, { queue }) => sum + queue.pending(), 0), hosts }
})
