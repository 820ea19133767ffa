/**
 * Owns what core does for a Cluster (CAPI v1.13, internal/controllers/cluster): owner and label on the objects it refers
 * to, endpoint, provisioned, initialized, phase, conditions, counts, and deletion from the workers inwards.
 *
 * Unlike CAPI:
 * - plain-clusters: no topology, no failure domains, no kubeconfig made where there is no control plane
 */
import * as Effect from "effect/Effect"
import * as Names from "../../api/Names.ts"
import type { ConditionInput } from "../../domain/Conditions.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import { jsonAt } from "../apiserver/Json.ts"
import { type Core, ensureFinalizer, ensureOwned, heldByPause, INDEX, LOOK_AGAIN_MILLIS, writeStatus } from "./Core.ts"
import type { Contract, Reference } from "./Foreign.ts"
import { CLUSTER_FINALIZER } from "./Names.ts"
import { hasFinalizer, isDeleting, keyOf, ownerJson, type Raw, refOfKey, withoutFinalizer } from "./Raw.ts"
import type { Tracked } from "./Tracked.ts"
import * as View from "./View.ts"
import type { Again } from "./WorkQueue.ts"

/** What a reference leads to. */
interface Referred {
  readonly reference: Reference | undefined
  readonly object: Raw | undefined
  readonly contract: Contract
  readonly tracked: Tracked | undefined
}

interface Descendants {
  readonly deployments: ReadonlyArray<Raw>
  readonly sets: ReadonlyArray<Raw>
  readonly workers: ReadonlyArray<Raw>
  readonly controlPlane: ReadonlyArray<Raw>
}

interface Facts {
  readonly infrastructure: Referred
  readonly controlPlane: Referred
  readonly descendants: Descendants
  readonly provisioned: boolean
  readonly initialized: boolean
  readonly connected: boolean
}

const refer = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  field: "infrastructureRef" | "controlPlaneRef"
): Effect.fn.Return<Referred, KubeError> {
  const reference = View.referenceAt(cluster, field)
  if (reference === undefined) return { reference, object: undefined, contract: "either", tracked: undefined }
  const found = yield* core.foreign.get(reference)
  if (found.object === undefined) return { reference, ...found }
  const object = yield* ensureOwned(found.tracked, found.object, ownerJson(cluster, "owner"), cluster.metadata.name)
  return { reference, ...found, object }
})

const descendantsOf = Effect.fnUntraced(function* (core: Core, cluster: Raw): Effect.fn.Return<Descendants> {
  const key = keyOf(cluster)
  const machines = yield* core.machines.byIndex(INDEX.cluster, key)
  const isControlPlane = (machine: Raw) => machine.metadata.labels?.[Names.CONTROL_PLANE_LABEL] !== undefined
  return {
    deployments: yield* core.machineDeployments.byIndex(INDEX.cluster, key),
    sets: yield* core.machineSets.byIndex(INDEX.cluster, key),
    workers: machines.filter((machine) => !isControlPlane(machine)),
    controlPlane: machines.filter(isControlPlane)
  }
})

/** Provisioned and initialized never go back, whatever the objects say later. */
const observe = Effect.fnUntraced(function* (core: Core, cluster: Raw): Effect.fn.Return<Facts, KubeError> {
  const infrastructure = yield* refer(core, cluster, "infrastructureRef")
  const controlPlane = yield* refer(core, cluster, "controlPlaneRef")
  const descendants = yield* descendantsOf(core, cluster)
  const { object: infra } = infrastructure
  const { object: plane } = controlPlane
  const provisioned =
    View.clusterProvisioned(cluster) ||
    (infrastructure.reference === undefined && !isDeleting(cluster)) ||
    (infra !== undefined && !isDeleting(infra) && View.infrastructureProvisioned(infrastructure.contract, infra))
  const initialized =
    View.clusterInitialized(cluster) ||
    (controlPlane.reference === undefined
      ? descendants.controlPlane.some((machine) => View.nodeNameOf(machine) !== undefined)
      : plane !== undefined && !isDeleting(plane) && View.saysInitialized(controlPlane.contract, plane))
  const connected = provisioned && initialized && !isDeleting(cluster) && (yield* connection(core, cluster))
  return { infrastructure, controlPlane, descendants, provisioned, initialized, connected }
})

const connection = (core: Core, cluster: Raw): Effect.Effect<boolean> =>
  core.nodes.connect(cluster).pipe(
    Effect.andThen(core.nodes.current(keyOf(cluster))),
    Effect.map((nodes) => nodes !== undefined),
    // A workload cluster that can't be reached holds nothing else up.
    Effect.catch((error) =>
      Effect.as(Effect.logDebug("no way into the workload cluster", { error: error.message }), false)
    )
  )

/** Of the infrastructure, else of the control plane; only while the Cluster has none of its own. */
const endpointFrom = (cluster: Raw, facts: Facts): JsonObject | undefined => {
  if (View.endpointOf(cluster) !== undefined) return undefined
  const from = [
    facts.provisioned ? facts.infrastructure.object : undefined,
    facts.initialized ? facts.controlPlane.object : undefined
  ]
  for (const object of from) {
    const endpoint = object === undefined || isDeleting(object) ? undefined : View.endpointOf(object)
    if (endpoint !== undefined) return endpoint
  }
  return undefined
}

const phaseOf = (cluster: Raw, facts: Facts): string => {
  if (isDeleting(cluster)) return "Deleting"
  if (facts.provisioned && View.endpointOf(cluster) !== undefined) return "Provisioned"
  const referred = facts.infrastructure.reference ?? facts.controlPlane.reference
  return referred === undefined ? "Pending" : "Provisioning"
}

// ---------------------------------------------------------------------------------------------------- deletion

interface Deletion {
  readonly reason: string
  readonly message: string
  readonly done: boolean
}

const waiting = (reason: string, message: string): Deletion => ({ reason, message, done: false })

const named = (title: string, objects: ReadonlyArray<Raw>): ReadonlyArray<string> =>
  objects.length === 0
    ? []
    : [
        `* ${title}: ${objects
          .map((one) => one.metadata.name)
          .sort()
          .join(", ")}`
      ]

const deleteOwned = (cluster: Raw, tracked: Tracked, objects: ReadonlyArray<Raw>) =>
  Effect.forEach(
    objects.filter(
      (object) =>
        !isDeleting(object) && object.metadata.ownerReferences?.some((one) => one.uid === cluster.metadata.uid)
    ),
    tracked.remove,
    { discard: true }
  )

const deleteReferred = Effect.fnUntraced(function* ({
  object,
  reference,
  tracked
}: Referred): Effect.fn.Return<string | undefined, KubeError> {
  if (object === undefined || reference === undefined || tracked === undefined) return undefined
  if (!isDeleting(object)) yield* tracked.remove(object)
  return `Waiting for ${reference.kind} to be deleted`
})

/** Workers, then the control plane, then the infrastructure: each waits until the one before is gone. */
const reconcileDelete = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  facts: Facts
): Effect.fn.Return<Deletion, KubeError> {
  const { deployments, sets, workers, controlPlane } = facts.descendants
  const standAlone = facts.controlPlane.reference === undefined ? controlPlane : []
  yield* deleteOwned(cluster, core.machineDeployments, deployments)
  yield* deleteOwned(cluster, core.machineSets, sets)
  yield* deleteOwned(cluster, core.machines, workers)
  if (deployments.length + sets.length + workers.length === 0) yield* deleteOwned(cluster, core.machines, standAlone)
  const left = [
    ...named("Control plane Machines", standAlone),
    ...named("MachineDeployments", deployments),
    ...named("MachineSets", sets),
    ...named("Worker Machines", workers)
  ]
  if (left.length > 0) return waiting("WaitingForWorkersDeletion", left.join("\n"))
  const plane = yield* deleteReferred(facts.controlPlane)
  if (plane !== undefined) return waiting("WaitingForControlPlaneDeletion", plane)
  const infra = yield* deleteReferred(facts.infrastructure)
  if (infra !== undefined) return waiting("WaitingForInfrastructureDeletion", infra)
  return { reason: "DeletionCompleted", message: "Deletion completed", done: true }
})

// ---------------------------------------------------------------------------------------------------- status

const objectCondition = (
  cluster: Raw,
  { object, reference }: Referred,
  type: string,
  from: string,
  reached: boolean,
  title: { readonly yes: string; readonly no: string; readonly field: string }
): ConditionInput => {
  if (reference === undefined)
    return { type, status: reached ? "True" : "Unknown", reason: reached ? title.yes : title.no }
  const { kind } = reference
  if (object !== undefined)
    return View.mirrored(object, from, type, {
      status: reached ? "True" : "False",
      reason: reached ? title.yes : title.no,
      message: reached ? "" : `${kind} ${title.field} is false`
    })
  if (!reached) return { type, status: "False", reason: "DoesNotExist", message: `${kind} does not exist` }
  const message = isDeleting(cluster)
    ? `${kind} has been deleted`
    : `${kind} has been deleted while the Cluster still exists`
  return { type, status: "False", reason: "Deleted", message }
}

const workersCondition = (deployments: ReadonlyArray<Raw>): ConditionInput => {
  const type = "WorkersAvailable"
  if (deployments.length === 0) return { type, status: "True", reason: "NoWorkers" }
  const bad = deployments.filter((one) => !View.isConditionTrue(one, "Available"))
  return bad.length === 0
    ? { type, status: "True", reason: "Available" }
    : { type, status: "False", reason: "NotAvailable", message: named("MachineDeployments", bad).join("") }
}

const conditionsFor = (cluster: Raw, facts: Facts, deletion: Deletion | undefined): ReadonlyArray<ConditionInput> => {
  const { provisioned, initialized, connected } = facts
  const parts: ReadonlyArray<ConditionInput> = [
    deletion === undefined
      ? { type: "Deleting", status: "False", reason: "NotDeleting" }
      : { type: "Deleting", status: "True", reason: deletion.reason, message: deletion.message },
    connected
      ? { type: "RemoteConnectionProbe", status: "True", reason: "ProbeSucceeded" }
      : {
          type: "RemoteConnectionProbe",
          status: "False",
          reason: "ProbeFailed",
          message: "Remote connection not established yet"
        },
    objectCondition(cluster, facts.infrastructure, "InfrastructureReady", "Ready", provisioned, {
      yes: "Ready",
      no: "NotReady",
      field: "status.initialization.provisioned"
    }),
    objectCondition(cluster, facts.controlPlane, "ControlPlaneAvailable", "Available", initialized, {
      yes: "Available",
      no: "NotAvailable",
      field: "status.initialization.controlPlaneInitialized"
    }),
    workersCondition(facts.descendants.deployments)
  ]
  return [
    ...parts,
    initialized
      ? { type: "ControlPlaneInitialized", status: "True", reason: "Initialized" }
      : {
          type: "ControlPlaneInitialized",
          status: "False",
          reason: "NotInitialized",
          message: "Control plane not yet initialized"
        },
    View.summary("Available", parts, ["Deleting"], {
      all: "Available",
      no: "NotAvailable",
      unknown: "AvailableUnknown"
    }),
    View.pausedCondition(cluster, undefined, Names.PAUSED_ANNOTATION)
  ]
}

const COUNTS = ["replicas", "readyReplicas", "availableReplicas", "upToDateReplicas"] as const

const counts = (facts: Facts): JsonObject => {
  const { deployments, workers } = facts.descendants
  const plane = facts.controlPlane.object
  const many = (type: string) => workers.filter((machine) => View.isConditionTrue(machine, type)).length
  return {
    ...(plane === undefined
      ? {}
      : {
          controlPlane: {
            desiredReplicas: View.replicasOf(plane),
            ...Object.fromEntries(COUNTS.map((field) => [field, jsonAt(plane.status, [field])]))
          }
        }),
    workers: {
      desiredReplicas: deployments.reduce((sum, one) => sum + (View.replicasOf(one) ?? 0), 0),
      replicas: workers.length,
      readyReplicas: many("Ready"),
      availableReplicas: many("Available"),
      upToDateReplicas: many("UpToDate")
    }
  }
}

const statusFields = (cluster: Raw, facts: Facts): JsonObject => {
  const phase = phaseOf(cluster, facts)
  if (!View.isV1Beta2(cluster))
    return { phase, infrastructureReady: facts.provisioned, controlPlaneReady: facts.initialized }
  return {
    phase,
    ...counts(facts),
    // Never an empty `initialization: {}`, and never a false where nothing was said.
    ...(facts.provisioned || facts.initialized
      ? {
          initialization: {
            ...(facts.provisioned ? { infrastructureProvisioned: true } : {}),
            ...(facts.initialized ? { controlPlaneInitialized: true } : {})
          }
        }
      : {})
  }
}

export const reconcile = Effect.fnUntraced(function* (core: Core, key: string): Effect.fn.Return<Again, KubeError> {
  const found = yield* core.clusters.get(refOfKey(key))
  if (found === undefined) {
    yield* core.nodes.forget(key)
    return undefined
  }
  if (isDeleting(found) && !hasFinalizer(found, CLUSTER_FINALIZER)) return undefined
  let cluster = yield* ensureFinalizer(core.clusters, found, CLUSTER_FINALIZER)
  if (yield* heldByPause(core.clusters, cluster, cluster)) return undefined
  const facts = yield* observe(core, cluster)
  const endpoint = endpointFrom(cluster, facts)
  if (endpoint !== undefined)
    cluster = yield* core.clusters.patch(cluster, { spec: { controlPlaneEndpoint: endpoint } })
  const deletion = isDeleting(cluster) ? yield* reconcileDelete(core, cluster, facts) : undefined
  cluster = yield* writeStatus(
    core.clusters,
    cluster,
    statusFields(cluster, facts),
    conditionsFor(cluster, facts, deletion)
  )
  if (deletion?.done === true) {
    yield* core.clusters.patch(cluster, { metadata: { finalizers: withoutFinalizer(cluster, CLUSTER_FINALIZER) } })
    return undefined
  }
  // Secrets are not watched: a kubeconfig that is missing, or another one, is found by looking again.
  return facts.provisioned && facts.initialized && !facts.connected ? LOOK_AGAIN_MILLIS : undefined
})
