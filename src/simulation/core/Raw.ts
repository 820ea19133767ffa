/**
 * Owns the objects that SimulatedCore works on: any kind, its spec and status as JSON, because CAPI's controllers follow
 * references to kinds they have never heard of, and read two shapes of their own. Also the small questions about owners,
 * finalizers and names. Does not own what a field means (View.ts).
 */
import * as Schema from "effect/Schema"
import { nullable } from "../../api/Field.ts"
import type { Kind, KubeObject, ObjectMeta, OwnerReference } from "../../api/Kind.ts"
import { objectFields } from "../../api/Meta.ts"
import * as Names from "../../api/Names.ts"
import type { Json, JsonObject } from "../../kube/KubeClient.ts"

const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** Whatever came over the wire is JSON: only that it is an object is asked. */
const anyObject = Schema.declare<JsonObject>(isObject)

const RawSchema = Schema.Struct({
  ...objectFields,
  spec: nullable(anyObject),
  status: nullable(anyObject),
  data: nullable(anyObject)
})
export interface Raw extends KubeObject {
  readonly spec?: JsonObject
  readonly status?: JsonObject
  /** Of Secrets, base64. */
  readonly data?: JsonObject
}

export interface RawKindInput {
  readonly group: string
  readonly kind: string
  readonly plural: string
  readonly versions: readonly [string, ...ReadonlyArray<string>]
  readonly namespaced?: boolean
}

export const rawKind = (input: RawKindInput): Kind<Raw> => ({ namespaced: true, ...input, schema: RawSchema })

/** v1.10 has only v1beta1, v1.16 drops it: the client discovers. */
const capi = (kind: string, plural: string): Kind<Raw> =>
  rawKind({ group: Names.CLUSTER_GROUP, kind, plural, versions: ["v1beta2", "v1beta1"] })

export const Clusters = capi("Cluster", "clusters")
export const Machines = capi("Machine", "machines")
export const MachineSets = capi("MachineSet", "machinesets")
export const MachineDeployments = capi("MachineDeployment", "machinedeployments")
export const Nodes = rawKind({ group: "", kind: "Node", plural: "nodes", versions: ["v1"], namespaced: false })

/** `namespace/name`: how work queues and indexes name an object. */
export const keyOf = (object: { readonly metadata: Pick<ObjectMeta, "name" | "namespace"> }): string =>
  `${object.metadata.namespace ?? ""}/${object.metadata.name}`

export const keyIn = (namespace: string, name: string): string => `${namespace}/${name}`

export const refOfKey = (key: string): { readonly namespace: string; readonly name: string } => {
  const slash = key.indexOf("/")
  return { namespace: key.slice(0, slash), name: key.slice(slash + 1) }
}

export const namespaceOf = (object: KubeObject): string => object.metadata.namespace ?? ""
export const isDeleting = (object: KubeObject): boolean => object.metadata.deletionTimestamp !== undefined
export const hasFinalizer = (object: KubeObject, finalizer: string): boolean =>
  object.metadata.finalizers?.includes(finalizer) ?? false
/** For a merge patch, which replaces lists whole. */
export const withoutFinalizer = (object: KubeObject, finalizer: string): ReadonlyArray<string> =>
  (object.metadata.finalizers ?? []).filter((one) => one !== finalizer)
export const withFinalizer = (object: KubeObject, finalizer: string): ReadonlyArray<string> => [
  ...withoutFinalizer(object, finalizer),
  finalizer
]

export const groupOf = (apiVersion: string): string => {
  const slash = apiVersion.indexOf("/")
  return slash < 0 ? "" : apiVersion.slice(0, slash)
}

export const controllerOf = (object: KubeObject): OwnerReference | undefined =>
  object.metadata.ownerReferences?.find((owner) => owner.controller === true)

export const isControlledBy = (object: KubeObject, owner: KubeObject): boolean =>
  controllerOf(object)?.uid === owner.metadata.uid

export const isOwner = (owner: OwnerReference, group: string, kind: string): boolean =>
  owner.kind === kind && groupOf(owner.apiVersion) === group

export const hasOwnerOfKind = (object: KubeObject, group: string, ...kinds: ReadonlyArray<string>): boolean =>
  object.metadata.ownerReferences?.some((owner) => kinds.some((kind) => isOwner(owner, group, kind))) ?? false

/** An owner reference as it goes into a patch. */
export type OwnerJson = {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  readonly uid: string
  readonly controller?: boolean
  readonly blockOwnerDeletion?: boolean
}

export const ownerJson = (owner: KubeObject, how: "owner" | "controller"): OwnerJson => ({
  apiVersion: owner.apiVersion ?? "",
  kind: owner.kind ?? "",
  name: owner.metadata.name,
  uid: owner.metadata.uid ?? "",
  ...(how === "controller" ? { controller: true, blockOwnerDeletion: true } : {})
})

const plainOwner = (owner: OwnerReference): OwnerJson => ({
  apiVersion: owner.apiVersion,
  kind: owner.kind,
  name: owner.name,
  uid: owner.uid,
  ...(owner.controller === undefined ? {} : { controller: owner.controller }),
  ...(owner.blockOwnerDeletion === undefined ? {} : { blockOwnerDeletion: owner.blockOwnerDeletion })
})

/** The list with `owner` in it (by uid), less those that `drop` names. */
export const withOwner = (
  object: KubeObject,
  owner: OwnerJson,
  drop: (reference: OwnerReference) => boolean = () => false
): ReadonlyArray<OwnerJson> => {
  const others = (object.metadata.ownerReferences ?? []).filter((one) => !drop(one))
  const at = others.findIndex((one) => one.uid === owner.uid)
  if (at < 0) return [...others.map(plainOwner), owner]
  return others.map((one, index) => (index === at ? owner : plainOwner(one)))
}

/** Whether a merge patch would change anything. */
export const alters = (current: unknown, patch: Json | undefined): boolean => {
  if (patch === undefined) return false
  if (patch === null) return current !== undefined && current !== null
  if (Array.isArray(patch)) {
    return (
      !Array.isArray(current) || current.length !== patch.length || patch.some((one, i) => differs(current[i], one))
    )
  }
  if (isObject(patch)) {
    // Nothing merged into nothing is nothing: the API server drops empty maps of metadata again.
    if (current === undefined) return Object.values(patch).some((value) => alters(undefined, value))
    return !isObject(current) || Object.entries(patch).some(([key, value]) => alters(current[key], value))
  }
  return current !== patch
}

/** Inside lists a merge patch replaces: equality, where an undefined key equals an absent one. */
const differs = (current: unknown, wanted: unknown): boolean => {
  if (Array.isArray(wanted)) {
    return (
      !Array.isArray(current) || current.length !== wanted.length || wanted.some((one, i) => differs(current[i], one))
    )
  }
  if (isObject(wanted)) {
    if (!isObject(current)) return true
    const keys = new Set([...Object.keys(current), ...Object.keys(wanted)])
    return [...keys].some((key) => differs(current[key], wanted[key]))
  }
  return current !== wanted
}
