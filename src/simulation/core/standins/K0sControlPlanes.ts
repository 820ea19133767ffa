/**
 * Owns the stand-in for K0sControlPlane: its Secrets, an API server in memory that answers while a controller of its runs,
 * and `replicas` Machines, each with an infrastructure machine cloned from its template and a K0sControllerConfig, made and
 * taken away one at a time (ControlPlaneScale.ts). Initialized once the first controller answers. With `updateStrategy:
 * Recreate` a change of version or template replaces the Machines.
 *
 * Unlike k0smotron:
 * - no-autopilot: without Recreate (InPlace) a new version is only written to the Machines
 */
import * as Effect from "effect/Effect"
import * as Names from "../../../api/Names.ts"
import type { ConditionInput } from "../../../domain/Conditions.ts"
import type { JsonObject } from "../../../kube/KubeClient.ts"
import type { KubeError } from "../../../kube/KubeError.ts"
import { jsonAt, objectAt, stringAt } from "../../apiserver/Json.ts"
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
import { type ControllerView, nextMove } from "./ControlPlaneScale.ts"
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

/** The Cluster's endpoint has to be in the certificates; as k0smotron does it, where nodes don't balance by themselves. */
const k0sConfigSpec = (controlPlane: Raw, cluster: Raw): JsonObject => {
  const spec = objectAt(controlPlane.spec, "k0sConfigSpec")
  const k0s = objectAt(spec, "k0s")
  const host = View.endpointOf(cluster)?.host
  const balanced = jsonAt(k0s, ["spec", "network", "nodeLocalLoadBalancing", "enabled"]) === true
  if (Object.keys(k0s).length === 0 || host === undefined || balanced) return spec
  const inner = objectAt(k0s, "spec")
  return { ...spec, k0s: { ...k0s, spec: { ...inner, api: { ...objectAt(inner, "api"), externalAddress: host } } } }
}

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
      spec: { ...k0sConfigSpec(controlPlane, cluster), version }
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

const isRecreating = (controlPlane: Raw): boolean => stringAt(controlPlane.spec, "updateStrategy") === "Recreate"

const viewOf = Effect.fnUntraced(function* (
  around: Surroundings,
  controlPlane: Raw,
  machine: Raw
): Effect.fn.Return<ControllerView, KubeError> {
  const reference = View.referenceAt(machine, "infrastructureRef")
  const infrastructure = reference === undefined ? undefined : (yield* around.foreign.get(reference)).object
  const from = infrastructure?.metadata.annotations?.[Names.CLONED_FROM_NAME_ANNOTATION]
  const template = View.referenceAt(controlPlane, "machineTemplate", "infrastructureRef")
  const version = stringAt(machine.spec, "version") === stringAt(controlPlane.spec, "version")
  return {
    name: machine.metadata.name,
    index: indexOf(controlPlane, machine),
    running: View.machineProvisioned(machine),
    deleting: isDeleting(machine),
    current: !isRecreating(controlPlane) || (version && (from === undefined || from === template?.name))
  }
})

const scale = Effect.fnUntraced(function* (
  around: Surroundings,
  controlPlane: Raw,
  cluster: Raw
): Effect.fn.Return<ReadonlyArray<Raw>, KubeError> {
  const wanted = isDeleting(controlPlane) ? 0 : (View.replicasOf(controlPlane) ?? 1)
  const machines = yield* machinesOf(around, controlPlane)
  const version = stringAt(controlPlane.spec, "version")
  if (!isRecreating(controlPlane))
    for (const machine of machines)
      if (stringAt(machine.spec, "version") !== version) yield* around.machines.patch(machine, { spec: { version } })
  const views = yield* Effect.forEach(machines, (machine) => viewOf(around, controlPlane, machine))
  const move = nextMove(views, wanted)
  // Those that join need somebody who answers.
  const mayCreate = machines.length === 0 || around.workloads.isUp(at(cluster))
  if (move.do === "create" && mayCreate)
    yield* createMachine(around, controlPlane, cluster, nameOf(controlPlane, move.index))
  if (move.do === "remove")
    yield* Effect.forEach(
      machines.filter(({ metadata }) => move.names.includes(metadata.name)),
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

const STARTING: ReadonlyArray<ConditionInput> = ["Available", "Ready"].map((type) => ({
  type,
  status: "False",
  reason: "WaitingForController",
  message: "No controller of this control plane runs."
}))

const AVAILABLE: ReadonlyArray<ConditionInput> = ["Available", "Ready"].map((type) => ({
  type,
  status: "True",
  reason: type
}))

/** Members of etcd whose Machines are gone: they count for the quorum, and answer nobody. */
const leftBehind = (
  around: Surroundings,
  cluster: Raw,
  machines: ReadonlyArray<Raw>
): ReadonlyArray<ConditionInput> => {
  const names = new Set(machines.map(({ metadata }) => metadata.name))
  const lost = around.workloads.members(at(cluster)).filter(({ name }) => !names.has(name))
  return [
    lost.length === 0
      ? { type: "EtcdHealthy", status: "True", reason: "AllMembersKnown" }
      : {
          type: "EtcdHealthy",
          status: "False",
          reason: "MembersLeftBehind",
          message: `Their Machines are gone, and they did not leave: ${lost.map(({ name }) => name).join(", ")}`
        }
  ]
}

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
  const refusal = yield* refusalOf(around, at(cluster), access, around.workloads.controllers)
  if (refusal !== undefined) {
    yield* writeStatus(planes, controlPlane, { ready: false }, notServed(refusal))
    return LOOK_AGAIN_MILLIS
  }
  const isUp = around.workloads.isUp(at(cluster))
  controlPlane = yield* isUp
    ? writeStatus(
        planes,
        controlPlane,
        {
          ready: true,
          initialized: true,
          initialization: { controlPlaneInitialized: true },
          version: stringAt(controlPlane.spec, "version")
        },
        AVAILABLE
      )
    : writeStatus(planes, controlPlane, { ready: false }, STARTING)
  if (!View.clusterProvisioned(cluster)) return undefined
  const template = View.referenceAt(controlPlane, "machineTemplate", "infrastructureRef")
  if (template !== undefined && (yield* around.foreign.get(template)).object === undefined) return LOOK_AGAIN_MILLIS
  const machines = yield* scale(around, controlPlane, cluster)
  // A controller that runs no workloads has no Node.
  const ready = machines.filter(View.machineProvisioned).length
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
    leftBehind(around, cluster, machines)
  )
  // Whoever stops or starts to answer tells nobody.
  return machines.length > 0 && !isUp ? LOOK_AGAIN_MILLIS : undefined
})
