/**
 * Owns the stand-in for K0sControlPlane: its Secrets and an API server in memory, and `replicas` Machines, each with an
 * infrastructure machine cloned from its template and a K0sControllerConfig. The API server answers whether or not a
 * controller runs, so it is initialized at once. Machines beyond `replicas` go one at a time, the last first; a change
 * of version or template replaces nothing.
 */
import * as Effect from "effect/Effect"
import * as Names from "../../../api/Names.ts"
import type { ConditionInput } from "../../../domain/Conditions.ts"
import type { JsonObject } from "../../../kube/KubeClient.ts"
import type { KubeError } from "../../../kube/KubeError.ts"
import { objectAt, stringAt } from "../../apiserver/Json.ts"
import { clone } from "../Clone.ts"
import { ensureFinalizer, LOOK_AGAIN_MILLIS } from "../Core.ts"
import { CONTROL_PLANE_NAME_LABEL } from "../Names.ts"
import {
  hasFinalizer,
  isControlledBy,
  isDeleting,
  namespaceOf,
  ownerJson,
  type Raw,
  rawKind,
  refOfKey,
  withoutFinalizer
} from "../Raw.ts"
import type { Tracked } from "../Tracked.ts"
import * as View from "../View.ts"
import type { Again } from "../WorkQueue.ts"
import { ensureAccess } from "./ControlPlaneAccess.ts"
import { at, CONTROL_PLANE_FINALIZER, workloadOf } from "./K0smotronControlPlanes.ts"
import { notServed, refusalOf } from "./OwnControlPlane.ts"
import { ensureLabelled, isHeld, ownerCluster, type Surroundings, writeStatus } from "./Surroundings.ts"

export const K0sControlPlanes = rawKind({
  group: Names.CONTROL_PLANE_GROUP,
  kind: "K0sControlPlane",
  plural: "k0scontrolplanes",
  versions: ["v1beta1"]
})

const machinesOf = Effect.fnUntraced(function* (around: Surroundings, controlPlane: Raw) {
  const all = yield* around.machines.list(namespaceOf(controlPlane))
  return all.filter((machine) => isControlledBy(machine, controlPlane))
})

const nameOf = (controlPlane: Raw, index: number): string => `${controlPlane.metadata.name}-${index}`

const indexOf = (controlPlane: Raw, machine: Raw): number =>
  Number(machine.metadata.name.slice(controlPlane.metadata.name.length + 1))

const controllerConfig = (controlPlane: Raw, name: string) => ({
  group: Names.BOOTSTRAP_GROUP,
  kind: "K0sControllerConfig",
  name,
  namespace: namespaceOf(controlPlane),
  version: Names.API_VERSION
})

/** Each object by its own name: a try that ended half way is taken up where it stopped. */
const createMachine = Effect.fnUntraced(function* (
  around: Surroundings,
  controlPlane: Raw,
  cluster: Raw,
  name: string
): Effect.fn.Return<void, KubeError> {
  const template = View.referenceAt(controlPlane, "machineTemplate", "infrastructureRef")
  if (template === undefined) return
  const labels: JsonObject = {
    ...objectAt(controlPlane.spec, "machineTemplate", "metadata", "labels"),
    [Names.CLUSTER_NAME_LABEL]: cluster.metadata.name,
    [Names.CONTROL_PLANE_LABEL]: "true",
    [CONTROL_PLANE_NAME_LABEL]: controlPlane.metadata.name
  }
  const annotations = objectAt(controlPlane.spec, "machineTemplate", "metadata", "annotations")
  const owner = ownerJson(controlPlane, "owner")
  const there = yield* around.foreign.get({ ...template, kind: template.kind.replace(/Template$/, ""), name })
  const infrastructure =
    there.object ??
    (yield* clone(around.foreign, { template, name, cluster: cluster.metadata.name, labels, annotations, owner }))
      .object
  const reference = controllerConfig(controlPlane, name)
  const known = yield* around.foreign.get(reference)
  const version = stringAt(controlPlane.spec, "version")
  const config =
    known.object ??
    (yield* known.tracked.create({
      metadata: { name, namespace: reference.namespace, labels, annotations, ownerReferences: [owner] },
      spec: { ...objectAt(controlPlane.spec, "k0sConfigSpec"), version }
    }))
  yield* around.machines.create({
    metadata: {
      name,
      namespace: reference.namespace,
      labels,
      annotations,
      ownerReferences: [ownerJson(controlPlane, "controller")]
    },
    spec: {
      clusterName: cluster.metadata.name,
      version,
      bootstrap: { configRef: View.referenceJson(cluster, config) },
      infrastructureRef: View.referenceJson(cluster, infrastructure)
    }
  })
})

const scale = Effect.fnUntraced(function* (
  around: Surroundings,
  controlPlane: Raw,
  cluster: Raw
): Effect.fn.Return<ReadonlyArray<Raw>, KubeError> {
  const wanted = isDeleting(controlPlane) ? 0 : (View.replicasOf(controlPlane) ?? 1)
  const machines = yield* machinesOf(around, controlPlane)
  for (let index = 0; index < wanted; index++) {
    const name = nameOf(controlPlane, index)
    if (!machines.some((machine) => machine.metadata.name === name))
      yield* createMachine(around, controlPlane, cluster, name)
  }
  const surplus = machines
    .filter((machine) => indexOf(controlPlane, machine) >= wanted)
    .sort((a, b) => indexOf(controlPlane, b) - indexOf(controlPlane, a))
  const [last] = surplus
  // etcd loses its members one at a time; a control plane that goes altogether has none to keep.
  const going = wanted === 0 ? surplus : surplus.some(isDeleting) || last === undefined ? [] : [last]
  yield* Effect.forEach(
    going.filter((machine) => !isDeleting(machine)),
    around.machines.remove,
    { discard: true }
  )
  return yield* machinesOf(around, controlPlane)
})

const reconcileDelete = Effect.fnUntraced(function* (
  around: Surroundings,
  planes: Tracked,
  controlPlane: Raw
): Effect.fn.Return<Again, KubeError> {
  if (!hasFinalizer(controlPlane, CONTROL_PLANE_FINALIZER)) return undefined
  const left = yield* machinesOf(around, controlPlane)
  yield* Effect.forEach(
    left.filter((machine) => !isDeleting(machine)),
    around.machines.remove,
    { discard: true }
  )
  if (left.length > 0) return undefined
  yield* around.workloads.close(workloadOf(controlPlane))
  yield* planes.patch(controlPlane, {
    metadata: { finalizers: withoutFinalizer(controlPlane, CONTROL_PLANE_FINALIZER) }
  })
  return undefined
})

const WAITING: ReadonlyArray<ConditionInput> = ["Available", "Ready"].map((type) => ({
  type,
  status: "False",
  reason: "WaitingForEndpoint",
  message: "Set spec.controlPlaneEndpoint of the Cluster: a K0sControlPlane can't make one up."
}))

export const reconcile = Effect.fnUntraced(function* (
  around: Surroundings,
  planes: Tracked,
  key: string
): Effect.fn.Return<Again, KubeError> {
  const found = yield* planes.get(refOfKey(key))
  if (found === undefined) return undefined
  const cluster = yield* ownerCluster(around, found)
  if (isHeld(found, cluster)) return undefined
  if (isDeleting(found)) return yield* reconcileDelete(around, planes, found)
  if (cluster === undefined) return undefined
  let controlPlane = yield* ensureFinalizer(planes, found, CONTROL_PLANE_FINALIZER)
  controlPlane = yield* ensureLabelled(planes, controlPlane)
  const endpoint = View.endpointOf(cluster)
  if (endpoint === undefined) {
    yield* writeStatus(planes, controlPlane, { ready: false }, WAITING)
    return undefined
  }
  const access = yield* ensureAccess(around, { controlPlane, cluster: cluster.metadata.name, endpoint })
  const refusal = yield* refusalOf(around, at(cluster), access)
  if (refusal !== undefined) {
    yield* writeStatus(planes, controlPlane, { ready: false }, notServed(refusal))
    return LOOK_AGAIN_MILLIS
  }
  controlPlane = yield* writeStatus(
    planes,
    controlPlane,
    {
      ready: true,
      initialized: true,
      initialization: { controlPlaneInitialized: true },
      version: stringAt(controlPlane.spec, "version")
    },
    [
      { type: "Available", status: "True", reason: "Available" },
      { type: "Ready", status: "True", reason: "Ready" }
    ]
  )
  if (!View.clusterProvisioned(cluster)) return undefined
  const template = View.referenceAt(controlPlane, "machineTemplate", "infrastructureRef")
  if (template !== undefined && (yield* around.foreign.get(template)).object === undefined) return LOOK_AGAIN_MILLIS
  const machines = yield* scale(around, controlPlane, cluster)
  const ready = machines.filter((machine) => View.isConditionTrue(machine, "Ready")).length
  yield* writeStatus(
    planes,
    controlPlane,
    {
      replicas: machines.length,
      readyReplicas: ready,
      availableReplicas: ready,
      upToDateReplicas: machines.length,
      updatedReplicas: machines.length,
      unavailableReplicas: machines.length - ready
    },
    []
  )
  return undefined
})
