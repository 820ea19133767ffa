/**
 * Owns what core does for a Machine (CAPI v1.13, internal/controllers/machine): ownership of its bootstrap and
 * infrastructure objects, bootstrap data, providerID, addresses, its Node, phase and conditions, and the order of its
 * deletion.
 *
 * Unlike CAPI:
 * - no-drain: a Machine that goes waits for no Pod and no volume, its Node is only cordoned
 * - no-certificate-expiry: is not shown
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Names from "../../api/Names.ts"
import type { Json, JsonObject } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import { jsonAt, objectAt, stringAt } from "../apiserver/Json.ts"
import {
  type Core,
  clusterOf,
  ensureFinalizer,
  ensureOwned,
  heldByPause,
  LOOK_AGAIN_MILLIS,
  writeStatus
} from "./Core.ts"
import type { Reference } from "./Foreign.ts"
import { conditionsFor, phaseOf } from "./MachineConditions.ts"
import { deleteMachine } from "./MachineDeletion.ts"
import { nodeOf, syncNode } from "./MachineNode.ts"
import type { External, Scene } from "./MachineScene.ts"
import { MACHINE_FINALIZER, SET_NAME_LABEL } from "./Names.ts"
import {
  controllerOf,
  hasFinalizer,
  hasOwnerOfKind,
  isDeleting,
  isOwner,
  ownerJson,
  type Raw,
  refOfKey,
  withOwner,
  withoutFinalizer
} from "./Raw.ts"
import * as Rollout from "./Rollout.ts"
import * as View from "./View.ts"
import type { Again } from "./WorkQueue.ts"

const absent: External = { reference: undefined, object: undefined, contract: "either", tracked: undefined }

/** MachineSets and control planes own what they clone until the Machine is there. */
const isCreator = (cluster: Raw, machine: Raw): Parameters<typeof withOwner>[2] => {
  const plane = View.referenceAt(cluster, "controlPlaneRef")
  const isControlPlane = machine.metadata.labels?.[Names.CONTROL_PLANE_LABEL] !== undefined
  return (owner) =>
    isOwner(owner, Names.CLUSTER_GROUP, "MachineSet") ||
    (isControlPlane && plane !== undefined && isOwner(owner, plane.group, plane.kind))
}

const adopt = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  machine: Raw,
  reference: Reference | undefined
): Effect.fn.Return<External, KubeError> {
  if (reference === undefined) return absent
  const found = yield* core.foreign.get(reference)
  if (found.object === undefined) return { reference, ...found }
  const object = yield* ensureOwned(
    found.tracked,
    found.object,
    ownerJson(machine, "controller"),
    cluster.metadata.name,
    isCreator(cluster, machine)
  )
  return { reference, ...found, object }
})

/** A Machine of nobody is the Cluster's. Its label, and the webhook's `v` before the version. */
const ensureMetadata = (core: Core, cluster: Raw, machine: Raw): Effect.Effect<Raw, KubeError> => {
  const name = cluster.metadata.name
  const labels = { [Names.CLUSTER_NAME_LABEL]: name }
  const version = View.nonEmpty(stringAt(machine.spec, "version"))
  const spec = version === undefined || version.startsWith("v") ? {} : { spec: { version: `v${version}` } }
  const owned =
    controllerOf(machine) !== undefined ||
    hasOwnerOfKind(machine, Names.CLUSTER_GROUP, "MachineSet", "Cluster") ||
    machine.metadata.labels?.[SET_NAME_LABEL] !== undefined
  const owners = owned ? {} : { ownerReferences: withOwner(machine, ownerJson(cluster, "owner")) }
  return core.machines.patch(machine, { ...spec, metadata: { labels, ...owners } })
}

/** The data once made stays, whatever becomes of the config. */
const dataSecretName = (machine: Raw, { contract, object }: External): string | undefined => {
  const known = View.nonEmpty(stringAt(machine.spec, "bootstrap", "dataSecretName"))
  if (known !== undefined || object === undefined || isDeleting(object)) return known
  return View.dataSecretCreated(contract, object) ? View.nonEmpty(stringAt(object.status, "dataSecretName")) : undefined
}

interface Provisioned {
  readonly providerID: string
  readonly addresses: Json | undefined
  /** Where older providers have it, and where the contract does. */
  readonly specFailureDomain: string | undefined
  readonly failureDomain: string | undefined
}

const provisionedBy = (machine: Raw, { contract, object }: External): Provisioned | undefined => {
  if (object === undefined || isDeleting(object)) return undefined
  if (!View.infrastructureProvisioned(contract, object) && !View.machineProvisioned(machine)) return undefined
  const providerID = View.providerIdOf(object)
  if (providerID === undefined) return undefined
  return {
    providerID,
    addresses: jsonAt(object.status, ["addresses"]),
    specFailureDomain: View.nonEmpty(stringAt(object.spec, "failureDomain")),
    failureDomain: View.nonEmpty(stringAt(object.status, "failureDomain"))
  }
}

/** Why the Machine is not what its deployment wants by now. */
const outdated = Effect.fnUntraced(function* (core: Core, machine: Raw): Effect.fn.Return<Scene["outdated"]> {
  const owner = controllerOf(machine)
  if (owner === undefined || !isOwner(owner, Names.CLUSTER_GROUP, "MachineSet")) return undefined
  const namespace = machine.metadata.namespace ?? ""
  const set = yield* core.machineSets.get({ namespace, name: owner.name })
  const parent = set === undefined ? undefined : controllerOf(set)
  if (set === undefined || parent === undefined) return undefined
  const deployment = yield* core.machineDeployments.get({ namespace, name: parent.name })
  if (deployment === undefined) return undefined
  const expired = Rollout.isExpired(deployment, set, yield* Clock.currentTimeMillis)
  return [
    ...Rollout.differences(Rollout.templateOf(set), Rollout.templateOf(deployment)),
    ...(expired ? ["MachineDeployment spec.rolloutAfter expired"] : [])
  ]
})

const specPatch = (data: string | undefined, provisioned: Provisioned | undefined): JsonObject => ({
  ...(data === undefined ? {} : { bootstrap: { dataSecretName: data } }),
  ...(provisioned === undefined ? {} : { providerID: provisioned.providerID }),
  ...(provisioned?.specFailureDomain === undefined ? {} : { failureDomain: provisioned.specFailureDomain })
})

const statusFields = (scene: Scene, provisioned: Provisioned | undefined): JsonObject => {
  const { bootstrap, machine, node } = scene
  // Data that a person gave, without a config, is not "created".
  const hasData =
    View.machineDataCreated(machine) ||
    (bootstrap.object !== undefined &&
      View.nonEmpty(stringAt(machine.spec, "bootstrap", "dataSecretName")) !== undefined)
  const isProvisioned = provisioned !== undefined || View.machineProvisioned(machine)
  const nodeName = View.nodeNameOf(machine) ?? node?.metadata.name
  const common: JsonObject = {
    ...(provisioned?.addresses === undefined ? {} : { addresses: provisioned.addresses }),
    ...(node === undefined ? {} : { nodeInfo: objectAt(node.status, "nodeInfo") }),
    phase: phaseOf(machine, { hasData, isProvisioned, nodeName })
  }
  if (!View.isV1Beta2(machine)) {
    return {
      ...common,
      bootstrapReady: hasData,
      infrastructureReady: isProvisioned,
      ...(node === undefined
        ? {}
        : { nodeRef: { apiVersion: "v1", kind: "Node", name: node.metadata.name, uid: node.metadata.uid } })
    }
  }
  return {
    ...common,
    ...(provisioned?.failureDomain === undefined ? {} : { failureDomain: provisioned.failureDomain }),
    ...(node === undefined || View.nodeNameOf(machine) !== undefined ? {} : { nodeRef: { name: node.metadata.name } }),
    ...(hasData || isProvisioned
      ? {
          initialization: {
            ...(hasData ? { bootstrapDataSecretCreated: true } : {}),
            ...(isProvisioned ? { infrastructureProvisioned: true } : {})
          }
        }
      : {})
  }
}

/** Only infrastructure can say when it is ready; while a Node is waited for its watch tells. */
const again = (scene: Scene): Again => {
  const missing = (one: External) => one.reference !== undefined && one.object === undefined
  return !isDeleting(scene.machine) && (missing(scene.bootstrap) || missing(scene.infrastructure))
    ? LOOK_AGAIN_MILLIS
    : undefined
}

export const reconcile = Effect.fnUntraced(function* (core: Core, key: string): Effect.fn.Return<Again, KubeError> {
  const found = yield* core.machines.get(refOfKey(key))
  if (found === undefined || (isDeleting(found) && !hasFinalizer(found, MACHINE_FINALIZER))) return undefined
  const cluster = yield* clusterOf(core, found)
  // As in core: without its Cluster a Machine is not touched. The Cluster's arrival wakes it.
  if (cluster === undefined) return undefined
  let machine = yield* ensureFinalizer(core.machines, found, MACHINE_FINALIZER)
  if (yield* heldByPause(core.machines, machine, cluster)) return undefined
  machine = yield* ensureMetadata(core, cluster, machine)

  const bootstrap = yield* adopt(core, cluster, machine, View.referenceAt(machine, "bootstrap", "configRef"))
  const infrastructure = yield* adopt(core, cluster, machine, View.referenceAt(machine, "infrastructureRef"))
  const provisioned = provisionedBy(machine, infrastructure)
  machine = yield* core.machines.patch(machine, {
    spec: specPatch(dataSecretName(machine, bootstrap), provisioned)
  })
  const { ambiguous, connected, node } = yield* nodeOf(core, cluster, machine)
  const scene: Scene = {
    cluster,
    machine,
    bootstrap,
    infrastructure,
    node: node === undefined ? undefined : yield* syncNode(core, cluster, machine, node),
    connected,
    ambiguous,
    outdated: yield* outdated(core, machine)
  }
  const deletion = isDeleting(machine) ? yield* deleteMachine(core, scene) : undefined
  const { conditions, availableInMillis } = conditionsFor(scene, deletion, yield* Clock.currentTimeMillis)
  machine = yield* writeStatus(core.machines, machine, statusFields(scene, provisioned), conditions)
  if (deletion?.done === true) {
    yield* core.machines.patch(machine, { metadata: { finalizers: withoutFinalizer(machine, MACHINE_FINALIZER) } })
    return undefined
  }
  return availableInMillis ?? deletion?.again ?? again(scene)
})
