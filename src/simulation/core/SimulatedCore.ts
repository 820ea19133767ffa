/**
 * Owns CAPI's core controllers as one resource over a KubeClient, in memory or over HTTP: Cluster, Machine, MachineSet
 * and MachineDeployment do what CONTRACT section 2 lists, as CAPI v1.13 does it. Works under a test clock and live.
 * Does not own the kinds of providers, control planes or hosts (stand-ins are in standins/), nor the workload clusters.
 * Each controller's header says what it leaves out; besides: no webhooks (what they default is written by the controllers),
 * no conversion between API versions, no MachinePools, ClusterClasses, MachineHealthChecks.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { CLUSTER_NAME_LABEL } from "../../api/Names.ts"
import { KubeClient, type KubeClientShape } from "../../kube/KubeClient.ts"
import { WorkloadClusters, type WorkloadClustersShape } from "../../kube/WorkloadClusters.ts"
import * as ClusterController from "./ClusterController.ts"
import { type Core, INDEX } from "./Core.ts"
import * as Foreign from "./Foreign.ts"
import * as MachineController from "./MachineController.ts"
import * as MachineDeploymentController from "./MachineDeploymentController.ts"
import * as MachineSetController from "./MachineSetController.ts"
import * as ProviderIds from "./ProviderIds.ts"
import {
  Clusters,
  controllerOf,
  isOwner,
  keyIn,
  keyOf,
  MachineDeployments,
  MachineSets,
  Machines,
  namespaceOf,
  type Raw
} from "./Raw.ts"
import { type Tracked, track } from "./Tracked.ts"
import { clusterNameOf, nodeNameOf, providerIdOf, referenceAt, referenceKey } from "./View.ts"
import * as WorkloadNodes from "./WorkloadNodes.ts"
import * as WorkQueue from "./WorkQueue.ts"

export interface SimulatedCoreOptions {
  readonly kube: KubeClientShape
  readonly workloadClusters: WorkloadClustersShape
  /** Stands in for whoever sets `spec.providerID` on Nodes; see ProviderIds.ts. Absent: nobody does. */
  readonly assignProviderIDs?: boolean
}

export interface SimulatedCoreShape {
  /** Objects that wait or are worked on now: 0 when core has nothing to do but wait. */
  readonly pending: () => number
  /** Until it had nothing to do for a moment; what watches are yet to deliver is not known to it. */
  readonly idle: Effect.Effect<void>
}

const clusterKeys = (object: Raw): ReadonlyArray<string> => {
  const name = object.metadata.labels?.[CLUSTER_NAME_LABEL] ?? clusterNameOf(object)
  return name === undefined ? [] : [keyIn(namespaceOf(object), name)]
}

const REFERENCES = [
  ["infrastructureRef"],
  ["controlPlaneRef"],
  ["bootstrap", "configRef"],
  ["template", "spec", "bootstrap", "configRef"],
  ["template", "spec", "infrastructureRef"]
] as const

const referenceKeys = (object: Raw): ReadonlyArray<string> =>
  REFERENCES.flatMap((path) => {
    const reference = referenceAt(object, ...path)
    return reference === undefined
      ? []
      : [referenceKey(reference.group, reference.kind, reference.namespace, reference.name)]
  })

const nodeKeys = (machine: Raw): ReadonlyArray<string> => {
  const [cluster] = clusterKeys(machine)
  return [providerIdOf(machine), nodeNameOf(machine), machine.metadata.name].flatMap((id) =>
    cluster === undefined || id === undefined ? [] : [`${cluster}/${id}`]
  )
}

const indexes = {
  [INDEX.cluster]: clusterKeys,
  [INDEX.controller]: (object: Raw) => [controllerOf(object)?.uid].flatMap((uid) => uid ?? []),
  [INDEX.reference]: referenceKeys,
  [INDEX.node]: nodeKeys
}

/** A work queue that exists before what is to be reconciled does: all controllers know each other. */
interface Doorbell {
  readonly ring: (key: string) => Effect.Effect<void>
  readonly connect: (queue: WorkQueue.WorkQueue) => void
}

const doorbell = (): Doorbell => {
  let queue: WorkQueue.WorkQueue | undefined
  return {
    ring: (key) => Effect.suspend(() => queue?.add(key) ?? Effect.void),
    connect: (made) => {
      queue = made
    }
  }
}

const ringAll = (bell: Doorbell, objects: Effect.Effect<ReadonlyArray<Raw>>): Effect.Effect<void> =>
  Effect.flatMap(objects, (found) => Effect.forEach(found, (object) => bell.ring(keyOf(object)), { discard: true }))

/** Runs until the scope closes. */
export const make = Effect.fnUntraced(function* (
  options: SimulatedCoreOptions
): Effect.fn.Return<SimulatedCoreShape, never, Scope.Scope> {
  const { kube } = options
  const bells = { cluster: doorbell(), machine: doorbell(), set: doorbell(), deployment: doorbell() }
  const tracked: { clusters?: Tracked; machines?: Tracked; sets?: Tracked; deployments?: Tracked } = {}
  const within = (which: keyof typeof tracked, index: string, key: string) =>
    Effect.suspend(() => tracked[which]?.byIndex(index, key) ?? Effect.succeed([]))

  /** Its owner counts it, its Cluster counts them all. */
  const machineChanged = Effect.fnUntraced(function* (machine: Raw) {
    yield* bells.machine.ring(keyOf(machine))
    const owner = controllerOf(machine)
    if (owner !== undefined && isOwner(owner, "cluster.x-k8s.io", "MachineSet"))
      yield* bells.set.ring(keyIn(namespaceOf(machine), owner.name))
    yield* Effect.forEach(clusterKeys(machine), bells.cluster.ring, { discard: true })
  })
  const setChanged = Effect.fnUntraced(function* (set: Raw) {
    yield* bells.set.ring(keyOf(set))
    const owner = controllerOf(set)
    if (owner !== undefined) yield* bells.deployment.ring(keyIn(namespaceOf(set), owner.name))
    yield* Effect.forEach(clusterKeys(set), bells.cluster.ring, { discard: true })
  })
  /** The Machines say whether they are what it wants. */
  const deploymentChanged = Effect.fnUntraced(function* (deployment: Raw, _gone: boolean, previous: Raw | undefined) {
    yield* bells.deployment.ring(keyOf(deployment))
    yield* Effect.forEach(clusterKeys(deployment), bells.cluster.ring, { discard: true })
    if (previous !== undefined && previous.metadata.generation === deployment.metadata.generation) return
    const sets = yield* within("sets", INDEX.controller, deployment.metadata.uid ?? "")
    for (const set of sets) yield* ringAll(bells.machine, within("machines", INDEX.controller, set.metadata.uid ?? ""))
  })
  /** Paused, endpoint, initialized: everything of the Cluster may be waiting for it. Its counts interest nobody. */
  const clusterChanged = Effect.fnUntraced(function* (cluster: Raw, _gone: boolean, previous: Raw | undefined) {
    const key = keyOf(cluster)
    yield* bells.cluster.ring(key)
    if (previous !== undefined && gist(previous) === gist(cluster)) return
    yield* ringAll(bells.machine, within("machines", INDEX.cluster, key))
    yield* ringAll(bells.set, within("sets", INDEX.cluster, key))
    yield* ringAll(bells.deployment, within("deployments", INDEX.cluster, key))
  })

  const clusters = yield* track({ kube, kind: Clusters, indexes, changed: clusterChanged })
  const machines = yield* track({ kube, kind: Machines, indexes, changed: machineChanged })
  const machineSets = yield* track({ kube, kind: MachineSets, indexes, changed: setChanged })
  const machineDeployments = yield* track({ kube, kind: MachineDeployments, indexes, changed: deploymentChanged })
  Object.assign(tracked, { clusters, machines, sets: machineSets, deployments: machineDeployments })

  const foreign = yield* Foreign.make(
    kube,
    Effect.fnUntraced(function* (group, kind, object) {
      const key = referenceKey(group, kind, namespaceOf(object), object.metadata.name)
      yield* ringAll(bells.machine, machines.byIndex(INDEX.reference, key))
      yield* ringAll(bells.cluster, clusters.byIndex(INDEX.reference, key))
      yield* ringAll(bells.set, machineSets.byIndex(INDEX.reference, key))
      yield* ringAll(bells.deployment, machineDeployments.byIndex(INDEX.reference, key))
    })
  )
  const nodes = yield* WorkloadNodes.make({
    kube,
    clusters: options.workloadClusters,
    changed: Effect.fnUntraced(function* (cluster, node) {
      const ids = [WorkloadNodes.providerId(node), ...WorkloadNodes.claimedMachine(node)].flatMap((id) => id ?? [])
      yield* Effect.forEach(ids, (id) => ringAll(bells.machine, machines.byIndex(INDEX.node, `${cluster}/${id}`)), {
        discard: true
      })
      // The first one shows that the connection works.
      yield* bells.cluster.ring(cluster)
    })
  })
  const core: Core = {
    clusters,
    machines,
    machineSets,
    machineDeployments,
    foreign,
    nodes,
    wake: { cluster: bells.cluster.ring, machine: bells.machine.ring }
  }
  yield* Effect.all([clusters.synced, machines.synced, machineSets.synced, machineDeployments.synced])
  const reconcileMachine =
    options.assignProviderIDs === true ? ProviderIds.before(MachineController.reconcile) : MachineController.reconcile
  const queues = {
    cluster: yield* WorkQueue.make("Cluster", (key) => ClusterController.reconcile(core, key)),
    machine: yield* WorkQueue.make("Machine", (key) => reconcileMachine(core, key)),
    set: yield* WorkQueue.make("MachineSet", (key) => MachineSetController.reconcile(core, key)),
    deployment: yield* WorkQueue.make("MachineDeployment", (key) => MachineDeploymentController.reconcile(core, key))
  }
  bells.cluster.connect(queues.cluster)
  bells.machine.connect(queues.machine)
  bells.set.connect(queues.set)
  bells.deployment.connect(queues.deployment)
  // What was heard of before the queues were there.
  yield* ringAll(bells.cluster, clusters.list())
  yield* ringAll(bells.deployment, machineDeployments.list())
  yield* ringAll(bells.set, machineSets.list())
  yield* ringAll(bells.machine, machines.list())
  const all = Object.values(queues)
  return {
    pending: () => all.reduce((sum, queue) => sum + queue.pending(), 0),
    idle: Effect.gen(function* () {
      while (all.some((queue) => queue.pending() > 0)) for (const queue of all) yield* queue.idle
    })
  }
})

/** What of a Cluster the reconciles of its descendants read. */
const gist = (cluster: Raw): string =>
  JSON.stringify([
    cluster.metadata.generation,
    cluster.metadata.deletionTimestamp,
    cluster.status?.["initialization"],
    cluster.status?.["infrastructureReady"],
    cluster.status?.["controlPlaneReady"]
  ])

export class SimulatedCore extends Context.Service<SimulatedCore, SimulatedCoreShape>()(
  "machinist/simulation/SimulatedCore"
) {
  static readonly layer = (options: Pick<SimulatedCoreOptions, "assignProviderIDs"> = {}) =>
    Layer.effect(
      SimulatedCore,
      Effect.gen(function* () {
        const kube = yield* KubeClient
        const workloadClusters = yield* WorkloadClusters
        return yield* make({ kube, workloadClusters, ...options })
      })
    )
}
