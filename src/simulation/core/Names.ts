/**
 * Owns the names that CAPI's own controllers use among themselves (v1.13), beyond those in api/Names.ts, and how they
 * make names up. Does not own what is done with them.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

export const CLUSTER_FINALIZER = "cluster.cluster.x-k8s.io"
export const MACHINE_FINALIZER = "machine.cluster.x-k8s.io"
export const MACHINE_SET_FINALIZER = "cluster.x-k8s.io/machineset"
export const MACHINE_DEPLOYMENT_FINALIZER = "cluster.x-k8s.io/machinedeployment"

export const SET_NAME_LABEL = "cluster.x-k8s.io/set-name"
export const DEPLOYMENT_NAME_LABEL = "cluster.x-k8s.io/deployment-name"
export const CONTROL_PLANE_NAME_LABEL = "cluster.x-k8s.io/control-plane-name"
/** Tells a deployment's sets, and their Machines, apart. */
export const TEMPLATE_HASH_LABEL = "machine-template-hash"

/** A person wants this Machine to go first. */
export const DELETE_MACHINE_ANNOTATION = "cluster.x-k8s.io/delete-machine"
export const DISABLE_MACHINE_CREATE_ANNOTATION = "cluster.x-k8s.io/disable-machine-create"
export const EXCLUDE_NODE_DRAINING_ANNOTATION = "machine.cluster.x-k8s.io/exclude-node-draining"
export const PRE_DRAIN_HOOK_PREFIX = "pre-drain.delete.hook.machine.cluster.x-k8s.io"
export const PRE_TERMINATE_HOOK_PREFIX = "pre-terminate.delete.hook.machine.cluster.x-k8s.io"
export const REVISION_ANNOTATION = "machinedeployment.clusters.x-k8s.io/revision"
export const REVISION_HISTORY_ANNOTATION = "machinedeployment.clusters.x-k8s.io/revision-history"
export const DESIRED_REPLICAS_ANNOTATION = "machinedeployment.clusters.x-k8s.io/desired-replicas"
export const MAX_REPLICAS_ANNOTATION = "machinedeployment.clusters.x-k8s.io/max-replicas"

/** On Nodes. */
export const NODE_CLUSTER_NAME_ANNOTATION = "cluster.x-k8s.io/cluster-name"
export const NODE_CLUSTER_NAMESPACE_ANNOTATION = "cluster.x-k8s.io/cluster-namespace"
export { NODE_MACHINE_ANNOTATION } from "../../api/Names.ts"
export const NODE_OWNER_KIND_ANNOTATION = "cluster.x-k8s.io/owner-kind"
export const NODE_OWNER_NAME_ANNOTATION = "cluster.x-k8s.io/owner-name"
export const NODE_UNINITIALIZED_TAINT = "node.cluster.x-k8s.io/uninitialized"
/** Labels of a Machine in these domains (and below them) are copied to its Node. */
export const NODE_LABEL_DOMAINS = ["node-restriction.kubernetes.io", "node.cluster.x-k8s.io"] as const
export const NODE_ROLE_LABEL_DOMAIN = "node-role.kubernetes.io"

/** On every object that a stand-in fills in place of the controller whose kind it is. */
export const STAND_IN_ANNOTATION = "machinist.dev/stand-in"
export const STAND_IN_CONDITION = "StandIn"

/** Without vowels and look-alikes, as upstream: no name is a word. */
const SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
const SUFFIX_LENGTH = 5
/** Characters: names end up in labels. */
const MAX_NAME_LENGTH = 63

export const randomSuffix: Effect.Effect<string> = Effect.gen(function* () {
  let suffix = ""
  for (let i = 0; i < SUFFIX_LENGTH; i++) {
    suffix += SUFFIX_LETTERS[yield* Random.nextIntBetween(0, SUFFIX_LETTERS.length, { halfOpen: true })] ?? ""
  }
  return suffix
})

/** `base-xxxxx`, the base cut so that it all fits a label. */
export const generatedName = (base: string, suffix: string): string =>
  `${`${base}-`.slice(0, MAX_NAME_LENGTH - SUFFIX_LENGTH)}${suffix}`

/** 32-bit FNV-1a of canonical JSON, in decimal, as the template hash is written. */
export const hashOf = (value: unknown): string => {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(canonical(value), "utf8")) hash = Math.imul(hash ^ byte, 0x01000193)
  return String(hash >>> 0)
}

/** Keys in order: equal values give equal text. */
export const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : part
  ) ?? ""

/** A label's value for a name that may be too long for one. */
export const labelValue = (name: string): string => (name.length <= MAX_NAME_LENGTH ? name : `hash_${hashOf(name)}_z`)
