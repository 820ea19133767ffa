/**
 * Owns the copies of CAPI's own objects that every actor looks around in: Clusters and Machines. Watched once for the
 * whole provider.
 */
import * as Effect from "effect/Effect"
import { type Cluster, Clusters, type Machine, Machines } from "../api/ClusterApi.ts"
import { clusterNameOf, machineClusterName, ownerCluster } from "../api/ClusterApiView.ts"
import type { KubeObject } from "../api/Kind.ts"
import * as Reflector from "../kube/Reflector.ts"
import { ProviderOptions } from "./Options.ts"

export interface Core {
  readonly clusters: Reflector.Reflector<Cluster>
  readonly machines: Reflector.Reflector<Machine>
  /** Of a Machine (`spec.clusterName`), or of anything that carries the cluster-name label or is owned by a Cluster. */
  readonly clusterOf: (object: KubeObject | Machine) => Effect.Effect<Cluster | undefined>
  readonly synced: Effect.Effect<void>
}

/** Not narrowed by the watch filter: CAPI's objects carry that label only when the user put it there. */
export const make = Effect.gen(function* () {
  const { namespace } = yield* ProviderOptions
  const options = namespace === undefined ? {} : { namespace }
  const clusters = yield* Reflector.make(Clusters, options)
  const machines = yield* Reflector.make(Machines, options)
  const clusterOf = (object: KubeObject | Machine): Effect.Effect<Cluster | undefined> => {
    const name =
      clusterNameOf(object) ?? ownerCluster(object)?.name ?? ("spec" in object ? machineClusterName(object) : undefined)
    if (name === undefined) return Effect.succeed(undefined)
    return clusters.get({ namespace: object.metadata.namespace ?? "", name })
  }
  return {
    clusters,
    machines,
    clusterOf,
    synced: Effect.asVoid(Effect.all([clusters.synced, machines.synced]))
  } satisfies Core
})
