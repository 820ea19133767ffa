/**
 * Owns the wiring of RemoteClusters. Decides nothing.
 */
import * as Effect from "effect/Effect"
import * as ClusterActor from "../actors/ClusterActor.ts"
import { type RemoteCluster, RemoteClusters } from "../api/RemoteCluster.ts"
import type { Core } from "./Core.ts"
import * as Family from "./Family.ts"

/** Runs until the scope closes; returns when the watches have synced and every RemoteCluster has its actor. */
export const run = Effect.fnUntraced(function* (core: Core) {
  const around = (remoteCluster: RemoteCluster) => Effect.map(core.clusterOf(remoteCluster), (cluster) => ({ cluster }))
  const clusters = yield* Family.make(core, {
    kind: RemoteClusters,
    sighting: (remoteCluster): ClusterActor.Sighting => ({ remoteCluster }),
    life: (remoteCluster: RemoteCluster, mailbox) => {
      const { namespace = "", name, uid = "" } = remoteCluster.metadata
      return ClusterActor.life({ namespace, name, uid, around }, mailbox)
    }
  })
  yield* Effect.all([clusters.reflector.synced, core.synced], { discard: true })
  yield* clusters.follow
})
