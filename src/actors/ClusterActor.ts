/**
 * Owns the life of one RemoteCluster's actor: the one loop of runtime/Actor with domain/RemoteCluster's decisions. It has
 * no durable work: its whole deed is the status. Writes status fields of its own, and nothing else of the object.
 */
import * as Effect from "effect/Effect"
import type { Cluster } from "../api/ClusterApi.ts"
import { clusterPaused, hasPausedAnnotation, isDeleting, ownerCluster } from "../api/ClusterApiView.ts"
import * as Names from "../api/Names.ts"
import { type RemoteCluster, RemoteClusters } from "../api/RemoteCluster.ts"
import type { Notice } from "../domain/Notice.ts"
import * as Domain from "../domain/RemoteCluster.ts"
import { type JsonObject, KubeClient } from "../kube/KubeClient.ts"
import { absent, KubeError } from "../kube/KubeError.ts"
import * as Actor from "../runtime/Actor.ts"
import type { Mailbox } from "../runtime/Mailbox.ts"
import { supervise } from "../runtime/Supervisor.ts"
import { EventRecorder } from "./EventRecorder.ts"
import * as Recorder from "./ObjectRecorder.ts"
import { annotation } from "./Objects.ts"

/** What the provider's watches tell: the object (undefined: gone); also when only its Cluster changed. */
export interface Sighting {
  readonly remoteCluster: RemoteCluster | undefined
}

export interface Surroundings {
  /** The owner Cluster, or the one that the cluster-name label names. */
  readonly cluster: Cluster | undefined
}

export interface Options {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  /** What the caches show around the object, at the time of asking. */
  readonly around: (remoteCluster: RemoteCluster) => Effect.Effect<Surroundings>
  /** For inspection: every state that is entered. */
  readonly entered?: (state: Domain.State) => void
}

const definition: Actor.Definition<Domain.State, Domain.Event, never, Notice> = {
  transition: Domain.transition,
  activity: () => undefined,
  isFinal: Domain.isFinal
}

/** Ends when the object is gone, or being deleted. */
export const life = (options: Options, mailbox: Mailbox<Sighting>) =>
  supervise(
    `RemoteCluster ${options.namespace}/${options.name}`,
    Effect.scoped(oneLife(options, mailbox)),
    (error) => error._tag === "ObjectChanged" || error instanceof KubeError
  )

const oneLife = Effect.fnUntraced(function* (options: Options, mailbox: Mailbox<Sighting>) {
  const kube = yield* KubeClient
  const events = yield* EventRecorder
  const { namespace, name, uid } = options
  const first = yield* absent(kube.get(RemoteClusters, { namespace, name }))
  if (first === undefined || first.metadata.uid !== uid) return
  const recorder = yield* Recorder.make(kube, first, recording)
  const read = Effect.suspend(() => {
    const current = recorder.current()
    return Effect.map(options.around(current), (around) => observe(current, around))
  })
  const observed = yield* read
  const initial = Domain.recover(observed)
  const notify = (notice: Notice) => events.record(RemoteClusters, recorder.current(), notice)
  yield* Effect.forEach(Domain.opening(initial, observed), notify, { discard: true })

  const observations: Mailbox<Domain.Event> = {
    post: () => Effect.void,
    observe: () => undefined,
    clear: mailbox.clear,
    take: Effect.flatMap(mailbox.take, ({ remoteCluster }) => {
      if (remoteCluster === undefined) return Effect.succeed<Domain.Event>({ _tag: "Observed", observed: GONE })
      recorder.seen(remoteCluster)
      return Effect.map(read, (now): Domain.Event => ({ _tag: "Observed", observed: now }))
    })
  }

  yield* Actor.live(
    definition,
    {
      commit: recorder.commit,
      perform: () => Effect.void,
      notify,
      ...(options.entered === undefined ? {} : { entered: options.entered })
    },
    observations,
    { initial, previous: initial }
  )
})

const GONE: Domain.Observed = { exists: false, deleting: true, owned: false, provisioned: false, halted: undefined }

export const observe = (object: RemoteCluster, around: Surroundings): Domain.Observed => ({
  exists: true,
  deleting: isDeleting(object),
  owned: ownerCluster(object) !== undefined,
  provisioned: object.status?.initialization?.provisioned === true,
  halted: halted(object, around)
})

const halted = (object: RemoteCluster, { cluster }: Surroundings): Domain.State["halted"] => {
  if (annotation(object, Names.MANAGED_BY_ANNOTATION) !== undefined) return "managed"
  if (annotation(object, Names.DELETE_FOR_MOVE_ANNOTATION) !== undefined) return "moving"
  return hasPausedAnnotation(object) || (cluster !== undefined && clusterPaused(cluster)) ? "paused" : undefined
}

/** Both contracts in one patch: core up to v1.10 reads `ready`, later ones `initialization` (CONTRACT section 1). */
export const statusPatch = (object: RemoteCluster, state: Domain.State, now: string): JsonObject | undefined => {
  const conditions = Domain.conditions(state)
  if (conditions === undefined) return undefined
  const { status } = object
  const becomes = state.phase === "Ready" && state.halted === undefined
  const changes =
    becomes && (status?.ready !== true || status.initialization?.provisioned !== true)
      ? { ready: true, initialization: { provisioned: true } }
      : {}
  return Recorder.statusChange(object, conditions, changes, now)
}

const recording: Recorder.Recording<RemoteCluster, Domain.State> = {
  kind: RemoteClusters,
  isFinal: Domain.isFinal,
  durablePatch: () => undefined,
  statusPatch,
  // Waiting for an owner is over in a moment: core sets it as soon as it sees the Cluster.
  isProgress: (before, after) => after.phase === "Pending" && before?.halted === after.halted,
  sameFacts: () => true
}
