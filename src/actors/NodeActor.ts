/**
 * Owns the life of one workload cluster's Node watch: connect, list, watch, and do what domain/Nodes decides, while a
 * Machine waits for its Node. It meets nobody but the objects; a cluster that can't be reached delays only itself.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Machine, Machines } from "../api/ClusterApi.ts"
import { type Node, Nodes } from "../api/Core.ts"
import * as Names from "../api/Names.ts"
import { backoffMillis, WORKLOAD_BACKOFF } from "../domain/Backoff.ts"
import type { Failure } from "../domain/Bootstrap.ts"
import { Deed, deeds, type Need, type NodeView } from "../domain/Nodes.ts"
import * as NodeWatch from "../domain/NodeWatch.ts"
import type { Notice } from "../domain/Notice.ts"
import { KubeClient, type KubeClientShape, type WatchEvent } from "../kube/KubeClient.ts"
import { absent, type KubeError } from "../kube/KubeError.ts"
import { WorkloadClusters } from "../kube/WorkloadClusters.ts"
import * as Actor from "../runtime/Actor.ts"
import { type Mailbox, translated } from "../runtime/Mailbox.ts"
import { supervise } from "../runtime/Supervisor.ts"
import { EventRecorder } from "./EventRecorder.ts"
import { apiFailure, converse, type Target, type Workload, workload } from "./WorkloadAccess.ts"

/** A watch that ends sooner than this, milliseconds, was as good as refused. */
const SHORT_WATCH_MILLIS = 1_000

/** Changes that come together are looked at together, after this long, milliseconds. */
const PACE_MILLIS = 50

/** What the caches say about a cluster, at the time of asking. */
export interface Sight {
  readonly target: Target
  readonly needs: ReadonlyArray<Need>
  /** All Machines of the cluster, by name. */
  readonly machines: ReadonlyMap<string, Machine>
}

export interface Options {
  readonly namespace: string
  /** Of the Cluster. */
  readonly name: string
  readonly look: Effect.Effect<Sight>
  /** Whether any Machine of it waits for its Node: asked at every piece of news, so without looking at all of them. */
  readonly isNeeded: Effect.Effect<boolean>
}

/** The provider's watches: something about the cluster's Machines changed. */
export interface News {
  readonly news: true
}

const definition: Actor.Definition<NodeWatch.State, NodeWatch.Event, NodeWatch.Activity, NodeWatch.Notice> = {
  transition: NodeWatch.transition,
  activity: NodeWatch.activity,
  isFinal: NodeWatch.isFinal
}

const nonEmpty = (text: string | undefined): string | undefined => (text === "" ? undefined : text)

export const viewOf = ({ metadata, spec }: Node): NodeView => ({
  name: metadata.name,
  uid: metadata.uid ?? "",
  resourceVersion: metadata.resourceVersion ?? "",
  providerID: nonEmpty(spec?.providerID),
  says: [
    ...new Set(
      [metadata.labels?.[Names.MACHINE_NAME_NODE_LABEL], metadata.annotations?.[Names.NODE_MACHINE_ANNOTATION]].flatMap(
        (name) => nonEmpty(name) ?? []
      )
    )
  ]
})

const assigned = (deed: Extract<Deed, { _tag: "Assign" }>): Notice => ({
  type: "Normal",
  reason: "NodeProviderIDSet",
  message: `Node ${deed.node.name} is this Machine: its providerID is ${deed.need.providerID} now`
})
const removed = (deed: Extract<Deed, { _tag: "Remove" }>): Notice => ({
  type: "Normal",
  reason: "FormerNodeRemoved",
  message: `Node ${deed.node.name} of Machine ${deed.machines.join(", ")}, which is gone, was of the same host (${deed.need.providerID}): removed`
})
const lost = (failure: Failure): Notice => ({
  type: "Warning",
  reason: failure.reason,
  message: `This Machine's Node can't be looked for: ${failure.message}`
})

/** Ends when no Machine of the cluster needs it. */
export const life = (options: Options, mailbox: Mailbox<News | NodeWatch.Event>) =>
  supervise(`Nodes of ${options.namespace}/${options.name}`, Effect.scoped(oneLife(options, mailbox)))

const oneLife = Effect.fnUntraced(function* (options: Options, mailbox: Mailbox<News | NodeWatch.Event>) {
  const kube = yield* KubeClient
  const clusters = yield* WorkloadClusters
  const events = yield* EventRecorder
  yield* mailbox.clear
  /** Rung when the Nodes or the Machines are others than they were. */
  const bell = yield* Queue.sliding<void>(1)
  const observed = Effect.map(options.isNeeded, (needed) => NodeWatch.Event.Observed({ needed }))

  const items = translated<News, NodeWatch.Event>(mailbox, (item) =>
    "_tag" in item ? Effect.succeed(item) : Effect.andThen(Queue.offer(bell, undefined), observed)
  )

  const tell = (sight: Sight, machine: string, notice: Notice) => {
    const found = sight.machines.get(machine)
    return found === undefined ? Effect.void : events.record(Machines, found, notice)
  }
  const watch = makeWatch({
    kube,
    bell,
    look: options.look,
    tell,
    open: (target) => workload({ kube, clusters }, target)
  })

  yield* Actor.live(
    definition,
    {
      commit: () => Effect.void,
      perform: watch,
      notify: (notice) =>
        Effect.flatMap(options.look, (sight) =>
          notice._tag === "Found"
            ? Effect.logDebug("the workload cluster answers again", { cluster: options.name })
            : Effect.forEach(sight.needs, ({ machine }) => tell(sight, machine, lost(notice.failure)), {
                discard: true
              })
        )
    },
    items,
    { initial: NodeWatch.initial, previous: NodeWatch.initial }
  )
})

interface Watching {
  readonly kube: KubeClientShape
  readonly bell: Queue.Queue<void>
  readonly look: Effect.Effect<Sight>
  readonly tell: (sight: Sight, machine: string, notice: Notice) => Effect.Effect<void>
  readonly open: (target: Target) => Effect.Effect<Workload, Failure, Scope.Scope>
}

const makeWatch = ({ kube, bell, look, open, tell }: Watching) => {
  /** The cache may be behind: only the API server itself can say that a Machine is gone. */
  const areGone = (namespace: string, machines: ReadonlyArray<string>) =>
    Effect.forEach(machines, (name) => absent(kube.get(Machines, { namespace, name }))).pipe(
      Effect.mapError(apiFailure),
      Effect.map((found) => found.every((machine) => machine === undefined))
    )

  const act = (there: Workload, sight: Sight) =>
    Deed.$match({
      Assign: (deed) =>
        there.kube
          .patch(Nodes, { name: deed.node.name }, { spec: { providerID: deed.need.providerID } }, deed.node)
          .pipe(
            Effect.andThen(tell(sight, deed.need.machine, assigned(deed))),
            Effect.catch((error) => unlessOvertaken(error, there))
          ),
      Remove: (deed) =>
        Effect.flatMap(areGone(sight.target.namespace, [deed.node.name, ...deed.machines]), (gone) =>
          gone
            ? there.kube.delete(Nodes, { name: deed.node.name }, { uid: deed.node.uid }).pipe(
                Effect.andThen(tell(sight, deed.need.machine, removed(deed))),
                Effect.catch((error) => unlessOvertaken(error, there))
              )
            : Effect.void
        )
    })

  const tend = Effect.fnUntraced(function* (there: Workload, nodes: ReadonlyMap<string, Node>) {
    const sight = yield* look
    const wanted = deeds([...nodes.values()].map(viewOf), sight.needs, new Set(sight.machines.keys()))
    yield* Effect.forEach(wanted, act(there, sight), { discard: true })
  })

  const follow = Effect.fnUntraced(function* (post: Post, attempt: number) {
    const { target } = yield* look
    const there = yield* open(target)
    const { items, resourceVersion } = yield* converse(there, (client) => client.list(Nodes))
    yield* post(NodeWatch.Event.Answered({ attempt }))
    const nodes = new Map(items.map((node) => [node.metadata.name, node]))
    yield* Queue.offer(bell, undefined)
    const begun = yield* Clock.currentTimeMillis
    const watched = there.kube.watch(Nodes, { resourceVersion }).pipe(
      Stream.runForEach((event) => {
        keep(nodes, event)
        return Queue.offer(bell, undefined)
      }),
      Effect.mapError(there.failure)
    )
    const tended = Effect.forever(
      Effect.andThen(Effect.andThen(Queue.take(bell), Effect.sleep(PACE_MILLIS)), tend(there, nodes))
    )
    yield* Effect.raceFirst(watched, tended)
    // Servers close watches after a while. One that does so at once doesn't mean it well.
    if ((yield* Clock.currentTimeMillis) - begun < SHORT_WATCH_MILLIS)
      return yield* Effect.fail<Failure>({
        reason: "WorkloadClusterUnreachable",
        message: "the watch on its Nodes ended at once",
        retry: "backoff"
      })
  })

  return ({ attempt, wait }: NodeWatch.Activity, post: Post): Effect.Effect<void> => {
    const pause =
      wait === 0
        ? Effect.void
        : Effect.flatMap(Random.next, (random) => Effect.sleep(backoffMillis(WORKLOAD_BACKOFF, wait, random)))
    return Effect.andThen(pause, Effect.forever(Effect.scoped(follow(post, attempt)))).pipe(
      Effect.catch((failure) => post(NodeWatch.Event.Broke({ attempt, failure })))
    )
  }
}

type Post = (event: NodeWatch.Event) => Effect.Effect<void>

const keep = (nodes: Map<string, Node>, event: WatchEvent<Node>): void => {
  if (event._tag === "Bookmark") return
  if (event._tag === "Deleted") nodes.delete(event.object.metadata.name)
  else nodes.set(event.object.metadata.name, event.object)
}

/** Someone changed or removed the Node meanwhile: the watch says so, and it is looked at again. */
const unlessOvertaken = (error: KubeError, there: Workload): Effect.Effect<void, Failure> =>
  error.reason === "Conflict" || error.reason === "NotFound" ? Effect.void : Effect.fail(there.failure(error))
