/**
 * Owns the copies of CAPI's own objects that every actor looks around in: Clusters, Machines, and MachinePools once
 * someone is owned by one. Watched once for the whole provider.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Cluster, Clusters, type Machine, type MachinePool, MachinePools, Machines } from "../api/ClusterApi.ts"
import {
  clusterNameOf,
  isControlPlaneMachine,
  machineClusterName,
  ownerCluster,
  ownerPool
} from "../api/ClusterApiView.ts"
import type { KubeObject } from "../api/Kind.ts"
import type { KubeClient } from "../kube/KubeClient.ts"
import * as Reflector from "../kube/Reflector.ts"
import { ProviderOptions } from "./Options.ts"

/** Index of Machines by `namespace/name` of their Cluster. */
const CLUSTER = "cluster"
/** Index of control-plane Machines by `namespace/name` of their Cluster. */
const CONTROLLERS = "controllers"

export interface Core {
  readonly clusters: Reflector.Reflector<Cluster>
  readonly machines: Reflector.Reflector<Machine>
  /** Made when it is asked for first: a management cluster need not have the kind. Not waited for by `synced`. */
  readonly pools: Effect.Effect<Reflector.Reflector<MachinePool>>
  /** The MachinePool that owns the object, if it is still the one that the reference means. */
  readonly poolOf: (object: KubeObject) => Effect.Effect<MachinePool | undefined>
  /** By `namespace/name` of the Cluster, which may be gone. */
  readonly machinesOf: (clusterKey: string) => Effect.Effect<ReadonlyArray<Machine>>
  readonly controllersOf: (cluster: Cluster) => Effect.Effect<ReadonlyArray<Machine>>
  /** Of a Machine (`spec.clusterName`), or of anything that carries the cluster-name label or is owned by a Cluster. */
  readonly clusterOf: (object: KubeObject | Machine) => Effect.Effect<Cluster | undefined>
  readonly synced: Effect.Effect<void>
}

const clusterKey = (machine: Machine): string =>
  `${machine.metadata.namespace ?? ""}/${machineClusterName(machine) ?? ""}`

/** Not narrowed by the watch filter: CAPI's objects carry that label only when the user put it there. */
export const make = Effect.gen(function* () {
  const { namespace } = yield* ProviderOptions
  const options = namespace === undefined ? {} : { namespace }
  const clusters = yield* Reflector.make(Clusters, options)
  const machines = yield* Reflector.make(Machines, {
    ...options,
    indexes: {
      [CLUSTER]: (machine) => [clusterKey(machine)],
      [CONTROLLERS]: (machine) => (isControlPlaneMachine(machine) ? [clusterKey(machine)] : [])
    }
  })
  const pools = yield* Effect.cached(
    Reflector.make(MachinePools, options).pipe(Effect.provideContext(yield* Effect.context<KubeClient | Scope.Scope>()))
  )
  const poolOf = Effect.fnUntraced(function* (object: KubeObject) {
    const reference = ownerPool(object)
    if (reference === undefined) return undefined
    const found = yield* (yield* pools).get({ namespace: object.metadata.namespace ?? "", name: reference.name })
    return found?.metadata.uid === reference.uid ? found : undefined
  })
  const clusterOf = (object: KubeObject | Machine): Effect.Effect<Cluster | undefined> => {
    const name =
      clusterNameOf(object) ?? ownerCluster(object)?.name ?? ("spec" in object ? machineClusterName(object) : undefined)
    if (name === undefined) return Effect.succeed(undefined)
    return clusters.get({ namespace: object.metadata.namespace ?? "", name })
  }
  return {
    clusters,
    machines,
    pools,
    poolOf,
    machinesOf: (clusterKey) => machines.byIndex(CLUSTER, clusterKey),
    controllersOf: ({ metadata }) => machines.byIndex(CONTROLLERS, `${metadata.namespace ?? ""}/${metadata.name}`),
    clusterOf,
    synced: Effect.asVoid(Effect.all([clusters.synced, machines.synced]))
  } satisfies Core
})
