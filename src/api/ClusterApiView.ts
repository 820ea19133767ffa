/**
 * Owns the answers that CAPI's objects give in either API version (the table of CONTRACT section 1): ready, initialized,
 * paused, references, owners. Pure. Does not own the fields (ClusterApi.ts) nor what an actor does with an answer.
 */
import type { Cluster, ForeignReference, Machine } from "./ClusterApi.ts"
import type { KubeObject, ObjectMeta, OwnerReference } from "./Kind.ts"
import { CLUSTER_GROUP, CLUSTER_NAME_LABEL, CONTROL_PLANE_LABEL, PAUSED_ANNOTATION } from "./Names.ts"

/** A reference as we use it: never by version. */
export interface ObjectReference {
  readonly group: string
  readonly kind: string
  readonly name: string
  readonly namespace: string | undefined
}

/** `a.b/v1` -> `a.b`; `v1` (the core group) -> the empty string. */
export const groupOf = (apiVersion: string): string => {
  const slash = apiVersion.indexOf("/")
  return slash < 0 ? "" : apiVersion.slice(0, slash)
}

/**
 * v1beta1 names a namespace, v1beta2 means the referrer's own. A reference that lacks kind or name is none: v1beta2
 * serializes unset references as `{}`.
 */
export const toReference = (
  reference: ForeignReference | undefined,
  from: { readonly metadata: Pick<ObjectMeta, "namespace"> }
): ObjectReference | undefined => {
  if (reference === undefined) return undefined
  const { kind, name } = reference
  if (kind === undefined || kind === "" || name === undefined || name === "") return undefined
  return {
    group: reference.apiGroup ?? groupOf(reference.apiVersion ?? ""),
    kind,
    name,
    namespace: nonEmpty(reference.namespace) ?? from.metadata.namespace
  }
}

const nonEmpty = (text: string | undefined): string | undefined => (text === "" ? undefined : text)

const conditionIsTrue = (
  conditions: ReadonlyArray<{ readonly type: string; readonly status: string }> | undefined,
  type: string
): boolean => conditions?.some((condition) => condition.type === type && condition.status === "True") ?? false

export const clusterInfrastructureReady = (cluster: Cluster): boolean =>
  cluster.status?.initialization?.infrastructureProvisioned ?? cluster.status?.infrastructureReady ?? false

/** v1beta1 has it as a condition only; its `controlPlaneReady` is another thing (it may go back to false). */
export const controlPlaneInitialized = (cluster: Cluster): boolean =>
  cluster.status?.initialization?.controlPlaneInitialized ??
  conditionIsTrue(cluster.status?.conditions, "ControlPlaneInitialized")

export const clusterPaused = (cluster: Cluster): boolean => cluster.spec?.paused === true

/** Presence counts, whatever the value. */
export const hasPausedAnnotation = (object: KubeObject): boolean =>
  object.metadata.annotations?.[PAUSED_ANNOTATION] !== undefined

/** A missing Cluster pauses nothing. */
export const isPaused = (object: KubeObject, cluster: Cluster | undefined): boolean =>
  hasPausedAnnotation(object) || (cluster !== undefined && clusterPaused(cluster))

/** Host "" or port 0 is how Go writes an endpoint that isn't set. */
export const controlPlaneEndpoint = (
  cluster: Cluster
): { readonly host: string; readonly port: number } | undefined => {
  const endpoint = cluster.spec?.controlPlaneEndpoint
  if (endpoint?.host === undefined || endpoint.host === "" || endpoint.port === undefined || endpoint.port === 0) {
    return undefined
  }
  return { host: endpoint.host, port: endpoint.port }
}

export const clusterInfrastructureRef = (cluster: Cluster): ObjectReference | undefined =>
  toReference(cluster.spec?.infrastructureRef, cluster)

export const clusterControlPlaneRef = (cluster: Cluster): ObjectReference | undefined =>
  toReference(cluster.spec?.controlPlaneRef, cluster)

export const machineDataSecretName = (machine: Machine): string | undefined =>
  nonEmpty(machine.spec?.bootstrap?.dataSecretName)

export const machineBootstrapRef = (machine: Machine): ObjectReference | undefined =>
  toReference(machine.spec?.bootstrap?.configRef, machine)

export const machineInfrastructureRef = (machine: Machine): ObjectReference | undefined =>
  toReference(machine.spec?.infrastructureRef, machine)

export const machineClusterName = (machine: Machine): string | undefined =>
  nonEmpty(machine.spec?.clusterName) ?? clusterNameOf(machine)

export const machineVersion = (machine: Machine): string | undefined => nonEmpty(machine.spec?.version)

/** Name of the Node that the Machine has become. */
export const machineNodeName = (machine: Machine): string | undefined => nonEmpty(machine.status?.nodeRef?.name)

export const machineProviderID = (machine: Machine): string | undefined => nonEmpty(machine.spec?.providerID)

export const machineAddresses = (
  machine: Machine
): ReadonlyArray<{ readonly type: string; readonly address: string }> =>
  (machine.status?.addresses ?? []).filter(({ address }) => address !== "")

export const machineInfrastructureReady = (machine: Machine): boolean =>
  machine.status?.initialization?.infrastructureProvisioned ?? machine.status?.infrastructureReady ?? false

export const machineBootstrapReady = (machine: Machine): boolean =>
  machine.status?.initialization?.bootstrapDataSecretCreated ?? machine.status?.bootstrapReady ?? false

export const isControlPlaneMachine = (machine: KubeObject): boolean =>
  machine.metadata.labels?.[CONTROL_PLANE_LABEL] !== undefined

/** From the label that CAPI puts on every object of a cluster. */
export const clusterNameOf = (object: KubeObject): string | undefined =>
  nonEmpty(object.metadata.labels?.[CLUSTER_NAME_LABEL])

/** By group and kind, never by version: core upgrades rewrite the version of its owner references. */
export const ownerOf = (object: KubeObject, group: string, kind: string): OwnerReference | undefined =>
  object.metadata.ownerReferences?.find((owner) => owner.kind === kind && groupOf(owner.apiVersion) === group)

/** The Machine, which core makes the controlling owner; before that MachineSet or control plane may own the object. */
export const ownerMachine = (object: KubeObject): OwnerReference | undefined =>
  ownerOf(object, CLUSTER_GROUP, "Machine")

/** Cluster API's own MachinePool: one bootstrap config for many machines. */
export const ownerPool = (object: KubeObject): OwnerReference | undefined =>
  ownerOf(object, CLUSTER_GROUP, "MachinePool")

export const ownerCluster = (object: KubeObject): OwnerReference | undefined =>
  ownerOf(object, CLUSTER_GROUP, "Cluster")

export const isDeleting = (object: KubeObject): boolean => object.metadata.deletionTimestamp !== undefined
