/**
 * Owns what `clusterctl move` does to the objects of a cluster, as two API servers see it: paused on both sides, created
 * anew on the other (no status, new uids, owners re-linked), then annotated, deleted and stripped of finalizers here.
 *
 * Unlike clusterctl:
 * - waits-for-nobody: the caller sees to it that no run is in flight (`block-move`) and nothing is being deleted, which
 *   clusterctl would not move, or finds out what happens if it is
 */
import * as Effect from "effect/Effect"
import { Clusters, Machines } from "../api/ClusterApi.ts"
import { Secrets } from "../api/Core.ts"
import type { Kind, KubeObject } from "../api/Kind.ts"
import * as Names from "../api/Names.ts"
import { PooledRemoteMachines } from "../api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../api/RemoteMachine.ts"
import type { JsonObject, KubeClientShape } from "../kube/KubeClient.ts"
import { CLUSTER, ref } from "./ClusterObjects.ts"

export interface MoveOptions {
  /** Between the pause and the copies. */
  readonly whilePaused: Effect.Effect<void>
  /** Names of Secrets that the other side has already. */
  readonly known: ReadonlyArray<string>
}

/** Both sides have the Cluster already. */
export const move = Effect.fnUntraced(function* (from: KubeClientShape, to: KubeClientShape, options: MoveOptions) {
  const pause = { spec: { paused: true } }
  yield* Effect.ignore(from.patch(Clusters, ref(CLUSTER), pause))
  yield* to.patch(Clusters, ref(CLUSTER), pause)
  yield* options.whilePaused
  const uids = new Map<string, string>()
  const copy = Effect.fnUntraced(function* <A extends KubeObject>(kind: Kind<A>, skip: ReadonlyArray<string> = []) {
    for (const object of (yield* from.list(kind)).items) {
      if (skip.includes(object.metadata.name)) continue
      const { status: _, ...rest } = JSON.parse(JSON.stringify(object))
      const { name, namespace, labels, annotations, finalizers, ownerReferences } = rest.metadata
      const owners = (ownerReferences ?? []).map((one: { readonly uid: string }) => ({
        ...one,
        uid: uids.get(one.uid) ?? one.uid
      }))
      const metadata: JsonObject = { name, namespace, labels, annotations, finalizers, ownerReferences: owners }
      const made = yield* to.create(kind, { ...rest, apiVersion: undefined, kind: undefined, metadata })
      uids.set(object.metadata.uid ?? "", made.metadata.uid ?? "")
    }
  })
  yield* copy(Secrets, options.known)
  yield* copy(Machines)
  yield* copy(PooledRemoteMachines)
  yield* copy(RemoteMachines)
  yield* letGo(from)
  yield* to.patch(Clusters, ref(CLUSTER), { spec: { paused: false } })
})

const letGo = Effect.fnUntraced(function* (from: KubeClientShape) {
  const kinds: ReadonlyArray<Kind<KubeObject>> = [RemoteMachines, PooledRemoteMachines, Machines]
  for (const kind of kinds)
    for (const { metadata } of (yield* from.list(kind)).items) {
      const at = ref(metadata.name)
      yield* from.patch(kind, at, { metadata: { annotations: { [Names.DELETE_FOR_MOVE_ANNOTATION]: "" } } })
      yield* Effect.ignore(from.delete(kind, at))
      yield* Effect.ignore(from.patch(kind, at, { metadata: { finalizers: [] } }))
    }
})
