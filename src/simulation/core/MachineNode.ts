/**
 * Owns the bond between a Machine and its Node: exactly one Node with the Machine's providerID, and what core writes on
 * it. Does not own the connection (WorkloadNodes.ts), nor who sets the Node's providerID.
 */
import * as Effect from "effect/Effect"
import type { JsonObject } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import { arrayAt, stringAt } from "../apiserver/Json.ts"
import type { Core } from "./Core.ts"
import * as CoreNames from "./Names.ts"
import { controllerOf, keyOf, namespaceOf, type Raw } from "./Raw.ts"
import * as View from "./View.ts"
import { withProviderId } from "./WorkloadNodes.ts"

/**
 * A workload cluster lies behind a network: two Machines that take one Node for theirs write on it in turns, as in core,
 * but no faster than this, milliseconds. (A host's next tenant has the providerID of the last one, whose Machine may still
 * be going.) Without it they would do so for ever at one moment of virtual time.
 */
const TAKE_OVER_MILLIS = 50

export interface NodeSight {
  readonly node: Raw | undefined
  /** False: nobody can say whether there is a Node. */
  readonly connected: boolean
  /** Several Nodes have the providerID: core refuses to guess, and calls it an error of its own. */
  readonly ambiguous: boolean
}

/** Two Nodes of one providerID are none: core refuses to guess. */
export const nodeOf = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  machine: Raw
): Effect.fn.Return<NodeSight> {
  const nodes = yield* core.nodes.current(keyOf(cluster))
  if (nodes === undefined) return { node: undefined, connected: false, ambiguous: false }
  const id = View.providerIdOf(machine)
  if (id === undefined) return { node: undefined, connected: true, ambiguous: false }
  const found = yield* withProviderId(nodes, id)
  if (found.length > 1)
    yield* Effect.logWarning("more than one Node has the providerID").pipe(
      Effect.annotateLogs({ providerID: id, nodes: found.map((node) => node.metadata.name).join(", ") })
    )
  return { node: found.length === 1 ? found[0] : undefined, connected: true, ambiguous: found.length > 1 }
})

const isManagedLabel = (key: string): boolean => {
  const domain = key.split("/")[0] ?? ""
  return (
    domain === CoreNames.NODE_ROLE_LABEL_DOMAIN ||
    CoreNames.NODE_LABEL_DOMAINS.some((one) => domain === one || domain.endsWith(`.${one}`))
  )
}

/** The labels CAPI manages, and who the Node is; never takes anything away but the taint that waits for this. */
export const syncNode = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  machine: Raw,
  node: Raw
): Effect.fn.Return<Raw, KubeError> {
  const nodes = yield* core.nodes.current(keyOf(cluster))
  if (nodes === undefined) return node
  const owner = controllerOf(machine)
  const labels = Object.fromEntries(
    Object.entries(machine.metadata.labels ?? {}).filter(([key]) => isManagedLabel(key))
  )
  const annotations = {
    [CoreNames.NODE_CLUSTER_NAME_ANNOTATION]: cluster.metadata.name,
    [CoreNames.NODE_CLUSTER_NAMESPACE_ANNOTATION]: namespaceOf(cluster),
    [CoreNames.NODE_MACHINE_ANNOTATION]: machine.metadata.name,
    ...(owner === undefined
      ? {}
      : {
          [CoreNames.NODE_OWNER_KIND_ANNOTATION]: owner.kind,
          [CoreNames.NODE_OWNER_NAME_ANNOTATION]: owner.name
        })
  }
  const taints = arrayAt(node.spec, "taints")
  const kept = taints.filter((taint) => stringAt(taint, "key") !== CoreNames.NODE_UNINITIALIZED_TAINT)
  const patch: JsonObject = {
    metadata: { labels, annotations },
    ...(kept.length === taints.length ? {} : { spec: { taints: kept } })
  }
  const before = node.metadata.annotations?.[CoreNames.NODE_MACHINE_ANNOTATION]
  if (before !== undefined && before !== machine.metadata.name) yield* Effect.sleep(TAKE_OVER_MILLIS)
  return yield* nodes.patch(node, patch)
})
