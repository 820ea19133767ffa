/**
 * Owns CAPI's core controllers as one resource over a KubeClient, in memory or over HTTP: Cluster, Machine, MachineSet
 * and MachineDeployment do what CONTRACT section 2 lists, as CAPI v1.13 does it. Works under a test clock and live.
 * Does not own the kinds of providers, control planes or hosts (stand-ins are in standins/), nor the workload clusters.
 * In-place updates are none of it, nor of CAPI's without its feature gate.
 *
 * Unlike CAPI (each controller's header has more):
 * - no-core-webhooks: what they default is written by the controllers; nothing is refused
 * - no-core-conversion: between API versions
 * - few-core-kinds: no MachinePools, ClusterClasses, MachineHealthChecks
 * - no-core-events: nobody is told in Events
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { CLUSTER_GROUP, CLUSTER_NAME_LABEL } from "../../api/Names.ts"
import { KubeClient, type KubeClientShape } from "../../kube/KubeClient.ts"
import { WorkloadClusters, type WorkloadClustersShape } from "../../kube/WorkloadClusters.ts"
import * as ClusterController from "./ClusterController.ts"
import { type Core, INDEX } from "./Core.ts"
import * as Foreign from "./Foreign.ts"
import * as MachineController from "./MachineController.ts"
import * as MachineDeploymentController from "./MachineDeploymentController.ts"
import * as MachineSetController from "./MachineSetController.ts"
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

/** Owners count their Machines no more often than this, milliseconds: a hundred that change at once are one look. */
const PACE_MILLIS = 50

export interface SimulatedCoreOptions {
  readonly kube: KubeClientShape
  readonly workloadClusters: WorkloadClustersShape
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

interface Bells {
  readonly cluster: Doorbell
  readonly machine: Doorbell
  readonly set: Doorbell
  readonly deployment: Doorbell
}

/** The copies, while they come to be: each hears of changes from its first moment on. */
interface Copies {
  clusters?: Tracked
  machines?: Tracked
  sets?: Tracked
  deployments?: Tracked
}

/** Who has to look again when an object of CAPI's changed. */
const listeners = (bells: Bells, copies: Copies) => {
  const within = (which: keyof Copies, index: string, key: string) =>
    Effect.suspend(() => copies[which]?.byIndex(index, key) ?? Effect.succeed([]))
  /** Who may adopt an orphan: any of its Cluster that matches. */
  const ringAdopters = (bell: Doorbell, which: keyof Copies, orphan: Raw) =>
    Effect.forEach(clusterKeys(orphan), (key) => ringAll(bell, within(which, INDEX.cluster, key)), { discard: true })
  const ringCluster = (object: Raw) => Effect.forEach(clusterKeys(object), bells.cluster.ring, { discard: true })

  /** Its owner counts it, its Cluster counts them all. */
  const machine = Effect.fnUntraced(function* (object: Raw) {
    yield* bells.machine.ring(keyOf(object))
    const owner = controllerOf(object)
    if (owner === undefined) yield* ringAdopters(bells.set, "sets", object)
    else if (isOwner(owner, CLUSTER_GROUP, "MachineSet")) yield* bells.set.ring(keyIn(namespaceOf(object), owner.name))
    yield* ringCluster(object)
  })
  const set = Effect.fnUntraced(function* (object: Raw) {
    yield* bells.set.ring(keyOf(object))
    const owner = controllerOf(object)
    if (owner === undefined) yield* ringAdopters(bells.deployment, "deployments", object)
    else yield* bells.deployment.ring(keyIn(namespaceOf(object), owner.name))
    yield* ringCluster(object)
  })
  /** The Machines say whether they are what it wants. */
  const deployment = Effect.fnUntraced(function* (object: Raw, _gone: boolean, previous: Raw | undefined) {
    yield* bells.deployment.ring(keyOf(object))
    yield* ringCluster(object)
    if (previous !== undefined && previous.metadata.generation === object.metadata.generation) return
    const sets = yield* within("sets", INDEX.controller, object.metadata.uid ?? "")
    for (const one of sets) yield* ringAll(bells.machine, within("machines", INDEX.controller, one.metadata.uid ?? ""))
  })
  /** Paused, endpoint, initialized: everything of the Cluster may be waiting for it. Its counts interest nobody. */
  const cluster = Effect.fnUntraced(function* (object: Raw, _gone: boolean, previous: Raw | undefined) {
    const key = keyOf(object)
    yield* bells.cluster.ring(key)
    if (previous !== undefined && gist(previous) === gist(object)) return
    yield* ringAll(bells.machine, within("machines", INDEX.cluster, key))
    yield* ringAll(bells.set, within("sets", INDEX.cluster, key))
    yield* ringAll(bells.deployment, within("deployments", INDEX.cluster, key))
  })
  return { machine, set, deployment, cluster }
}

const makeCore = Effect.fnUntraced(function* (
  { kube, workloadClusters }: SimulatedCoreOptions,
  bells: Bells
): Effect.fn.Return<Core, never, Scope.Scope> {
  const copies: Copies = {}
  const changed = listeners(bells, copies)
  const clusters = yield* track({ kube, kind: Clusters, indexes, changed: changed.cluster })
  const machines = yield* track({ kube, kind: Machines, indexes, changed: changed.machine })
  const machineSets = yield* track({ kube, kind: MachineSets, indexes, changed: changed.set })
  const machineDeployments = yield* track({ kube, kind: MachineDeployments, indexes, changed: changed.deployment })
  Object.assign(copies, { clusters, machines, sets: machineSets, deployments: machineDeployments })

  const foreign = yield* Foreign.make(
    kube,
    Effect.fnUntraced(function* (group, kind, object) {
      const key = referenceKey(group, kind, namespaceOf(object), object.metadata.name)
      yield* ringAll(bells.machine, machines.byIndex(INDEX.reference, key))
      const around = yield* clusters.byIndex(INDEX.reference, key)
      yield* ringAll(bells.cluster, Effect.succeed(around))
      // A control plane that stands still by now is what their preflight checks wait for.
      for (const cluster of around) yield* ringAll(bells.set, machineSets.byIndex(INDEX.cluster, keyOf(cluster)))
      yield* ringAll(bells.set, machineSets.byIndex(INDEX.reference, key))
      yield* ringAll(bells.deployment, machineDeployments.byIndex(INDEX.reference, key))
    })
  )
  const nodes = yield* WorkloadNodes.make({
    kube,
    clusters: workloadClusters,
    changed: Effect.fnUntraced(function* (cluster, node) {
      const ids = [WorkloadNodes.providerId(node), ...WorkloadNodes.claimedMachine(node)].flatMap((id) => id ?? [])
      yield* Effect.forEach(ids, (id) => ringAll(bells.machine, machines.byIndex(INDEX.node, `${cluster}/${id}`)), {
        discard: true
      })
    }),
    // Whoever waits for a Node could not be told that there is none.
    connected: Effect.fnUntraced(function* (cluster) {
      yield* bells.cluster.ring(cluster)
      yield* ringAll(bells.machine, machines.byIndex(INDEX.cluster, cluster))
    })
  })
  yield* Effect.all([clusters.synced, machines.synced, machineSets.synced, machineDeployments.synced])
  return { clusters, machines, machineSets, machineDeployments, foreign, nodes }
})

/** Runs until the scope closes. */
export const make = Effect.fnUntraced(function* (
  options: SimulatedCoreOptions
): Effect.fn.Return<SimulatedCoreShape, never, Scope.Scope> {
  const bells: Bells = { cluster: doorbell(), machine: doorbell(), set: doorbell(), deployment: doorbell() }
  const core = yield* makeCore(options, bells)
  const queues = {
    cluster: yield* WorkQueue.make("Cluster", (key) => ClusterController.reconcile(core, key), PACE_MILLIS),
    machine: yield* WorkQueue.make("Machine", (key) => MachineController.reconcile(core, key)),
    set: yield* WorkQueue.make("MachineSet", (key) => MachineSetController.reconcile(core, key), PACE_MILLIS),
    deployment: yield* WorkQueue.make(
      "MachineDeployment",
      (key) => MachineDeploymentController.reconcile(core, key),
      PACE_MILLIS
    )
  }
  bells.cluster.connect(queues.cluster)
  bells.machine.connect(queues.machine)
  bells.set.connect(queues.set)
  bells.deployment.connect(queues.deployment)
  // What was heard of before the queues were there.
  yield* ringAll(bells.cluster, core.clusters.list())
  yield* ringAll(bells.deployment, core.machineDeployments.list())
  yield* ringAll(bells.set, core.machineSets.list())
  yield* ringAll(bells.machine, core.machines.list())
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
  static readonly layer = Layer.effect(
    SimulatedCore,
    Effect.gen(function* () {
      const kube = yield* KubeClient
      const workloadClusters = yield* WorkloadClusters
      return yield* make({ kube, workloadClusters })
    })
  )
}
