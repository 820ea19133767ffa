/**
 * Owns core's view of the workload clusters: one connection a Cluster, made with Secret `<cluster>-kubeconfig`, and a copy
 * of its Nodes. Does not own what a Node means to a Machine, nor the clusters (SimulatedWorkloads.ts, or real ones).
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { Secrets, secretText } from "../../api/Core.ts"
import { kubeconfigSecretName, MACHINE_NAME_NODE_LABEL, SECRET_VALUE_KEY } from "../../api/Names.ts"
import type { JsonObject, KubeClientShape } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import type { WorkloadClustersShape } from "../../kube/WorkloadClusters.ts"
import { stringAt } from "../apiserver/Json.ts"
import { keyOf, Nodes, namespaceOf, type Raw } from "./Raw.ts"
import { type Tracked, track } from "./Tracked.ts"
import { nonEmpty } from "./View.ts"

export interface WorkloadNodes {
  /** Connects, or connects anew when the kubeconfig is another one; undefined while there is none. */
  readonly connect: (cluster: Raw) => Effect.Effect<Tracked | undefined, KubeError>
  /** Undefined: not connected, or its Nodes not listed yet. */
  readonly current: (clusterKey: string) => Effect.Effect<Tracked | undefined>
  readonly forget: (clusterKey: string) => Effect.Effect<void>
}

interface Connection {
  readonly kubeconfig: string
  readonly scope: Scope.Closeable
  readonly nodes: Tracked
}

export interface WorkloadNodesOptions {
  readonly kube: KubeClientShape
  readonly clusters: WorkloadClustersShape
  /** A Node of this cluster came, changed or went. */
  readonly changed: (clusterKey: string, node: Raw) => Effect.Effect<void>
  /** The Nodes of this cluster have been listed for the first time. */
  readonly connected: (clusterKey: string) => Effect.Effect<void>
}

const PROVIDER_ID = "providerID"
const MACHINE = "machine"

export const make = Effect.fnUntraced(function* (
  options: WorkloadNodesOptions
): Effect.fn.Return<WorkloadNodes, never, Scope.Scope> {
  const { kube, clusters, changed, connected } = options
  const parent = yield* Effect.scope
  const connections = new Map<string, Connection>()

  const forget = (key: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      const known = connections.get(key)
      connections.delete(key)
      return known === undefined ? Effect.void : Scope.close(known.scope, Exit.void)
    })

  const open = Effect.fnUntraced(function* (cluster: Raw, kubeconfig: string) {
    const key = keyOf(cluster)
    const scope = yield* Scope.fork(parent)
    const nodes = yield* Effect.gen(function* () {
      const client = yield* clusters.client(
        { namespace: namespaceOf(cluster), name: cluster.metadata.name },
        kubeconfig
      )
      return yield* track({
        kube: client,
        kind: Nodes,
        indexes: {
          [PROVIDER_ID]: (node) => [providerId(node)].flatMap((id) => id ?? []),
          [MACHINE]: claimedMachine
        },
        changed: (node) => changed(key, node)
      })
    }).pipe(
      Scope.provide(scope),
      Effect.tapError(() => Scope.close(scope, Exit.void))
    )
    connections.set(key, { kubeconfig, scope, nodes })
    yield* Effect.forkIn(Effect.andThen(nodes.synced, connected(key)), scope)
    return nodes
  })

  return {
    connect: Effect.fnUntraced(function* (cluster) {
      const key = keyOf(cluster)
      const ref = { namespace: namespaceOf(cluster), name: kubeconfigSecretName(cluster.metadata.name) }
      const secret = yield* kube.get(Secrets, ref).pipe(
        Effect.catchIf(
          (error) => error.reason === "NotFound",
          () => Effect.succeed(undefined)
        )
      )
      const kubeconfig = secret === undefined ? undefined : nonEmpty(secretText(secret, SECRET_VALUE_KEY))
      const known = connections.get(key)
      if (kubeconfig !== undefined && known?.kubeconfig === kubeconfig) return known.nodes
      yield* forget(key)
      return kubeconfig === undefined ? undefined : yield* open(cluster, kubeconfig)
    }),
    current: Effect.fnUntraced(function* (key) {
      const known = connections.get(key)
      return known !== undefined && (yield* known.nodes.isSynced) ? known.nodes : undefined
    }),
    forget
  }
})

export const providerId = (node: Raw): string | undefined => nonEmpty(stringAt(node.spec, "providerID"))

export const withProviderId = (nodes: Tracked, id: string): Effect.Effect<ReadonlyArray<Raw>> =>
  nodes.byIndex(PROVIDER_ID, id)

/** Of which Machine a Node without a providerID says it is: its name, or the label that our k0s gives it. */
export const claimedMachine = (node: Raw): ReadonlyArray<string> =>
  [node.metadata.name, node.metadata.labels?.[MACHINE_NAME_NODE_LABEL]].flatMap((name) => name ?? [])

export const ofMachine = (nodes: Tracked, name: string): Effect.Effect<ReadonlyArray<Raw>> =>
  nodes.byIndex(MACHINE, name)

export const nodeConditionStatus = (node: Raw, type: string): string | undefined => {
  const conditions = node.status?.["conditions"]
  if (!Array.isArray(conditions)) return undefined
  const found: JsonObject | undefined = conditions.find((one) => stringAt(one, "type") === type)
  return stringAt(found, "status")
}
