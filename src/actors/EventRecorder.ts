/**
 * Owns Kubernetes Events (the objects): what happened, for `kubectl describe` and `kubectl get events`. They may be
 * lost, so nothing waits for them: bounded queue, one writer, repeated ones counted up, a refused one dropped. But not for
 * a moment's reason: some tell of what no condition says any more, as of a token that was given up on.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { Events } from "../api/Core.ts"
import { apiVersionOf, type Kind, type KubeObject } from "../api/Kind.ts"
import type { Notice } from "../domain/Notice.ts"
import { shortened } from "../domain/Shorten.ts"
import { KubeClient } from "../kube/KubeClient.ts"
import { absent, type KubeError } from "../kube/KubeError.ts"
import { Backlog } from "../runtime/Backlog.ts"

/** Events waiting to be written; the oldest are dropped first. */
export const EVENTS_WAITING = 1_024
/** What their queue is called where its backlog is told. */
export const EVENTS = "events"
/** Kinds of Events remembered to count repetitions up instead of writing another object. */
export const EVENTS_REMEMBERED = 4_096
/** Characters: the API server refuses longer ones. */
export const MAX_EVENT_MESSAGE = 1_024
/** Tries of one Event while the API server is busy or away; the pauses begin with a second and double: half a minute. */
const EVENT_TRIES = 6
const FIRST_PAUSE_MILLIS = 1_000
/** As a client-go recorder calls itself: shown in the column FROM. */
export const EVENT_SOURCE = "machinist"

export interface EventRecorderShape {
  readonly record: <A extends KubeObject>(kind: Kind<A>, object: A, notice: Notice) => Effect.Effect<void>
}

interface Pending {
  readonly kind: Kind<KubeObject>
  readonly object: KubeObject
  readonly notice: Notice
  readonly at: number
}

export class EventRecorder extends Context.Service<EventRecorder, EventRecorderShape>()(
  "machinist/actors/EventRecorder"
) {
  static readonly layer = Layer.effect(
    EventRecorder,
    Effect.suspend(() => make)
  )
}

const patiently = <A>(call: Effect.Effect<A, KubeError>): Effect.Effect<A, KubeError> =>
  Effect.retry(call, {
    while: ({ reason }) => reason === "TooManyRequests" || reason === "Unavailable",
    times: EVENT_TRIES - 1,
    schedule: Schedule.exponential(FIRST_PAUSE_MILLIS)
  })

const manifest = (
  { kind, object, notice }: Pending,
  metadata: { readonly name: string; readonly namespace: string },
  time: string
) => ({
  metadata,
  involvedObject: {
    apiVersion: apiVersionOf(kind.group, kind.versions[0]),
    kind: kind.kind,
    name: object.metadata.name,
    namespace: metadata.namespace,
    uid: object.metadata.uid,
    resourceVersion: object.metadata.resourceVersion
  },
  type: notice.type,
  reason: notice.reason,
  message: shortened(notice.message, MAX_EVENT_MESSAGE),
  source: { component: EVENT_SOURCE },
  firstTimestamp: time,
  lastTimestamp: time,
  count: 1
})

const make = Effect.gen(function* () {
  const kube = yield* KubeClient
  const { capacity, told } = yield* Backlog
  const queue = yield* Queue.sliding<Pending>(capacity(EVENTS_WAITING))
  const written = new Map<string, { readonly name: string; count: number }>()

  const write = Effect.fnUntraced(function* (pending: Pending) {
    const { object, notice, at } = pending
    const namespace = object.metadata.namespace ?? "default"
    const key = JSON.stringify([object.metadata.uid, notice.type, notice.reason, notice.message])
    const time = DateTime.formatIso(DateTime.makeUnsafe(Math.floor(at / 1000) * 1000)).replace(".000Z", "Z")
    const known = written.get(key)
    if (known !== undefined) {
      known.count += 1
      const again = { count: known.count, lastTimestamp: time }
      const counted = yield* absent(patiently(kube.patch(Events, { namespace, name: known.name }, again)))
      if (counted !== undefined) return
      // The API server keeps Events for an hour or so.
    }
    const name = `${object.metadata.name.slice(0, 230)}.${(yield* suffix).padStart(16, "0")}`
    if (written.size >= EVENTS_REMEMBERED) written.clear()
    written.set(key, { name, count: 1 })
    yield* patiently(kube.create(Events, manifest(pending, { name, namespace }, time))).pipe(
      Effect.tapError(() => Effect.sync(() => written.delete(key)))
    )
  })

  const suffix = Effect.map(Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER), (value) => value.toString(16))

  yield* Queue.take(queue).pipe(
    Effect.flatMap((pending) =>
      // In a terminating namespace there is nothing to be done.
      Effect.catch(write(pending), (error) => Effect.logDebug("event not written", error.message))
    ),
    Effect.forever,
    Effect.forkScoped
  )

  return EventRecorder.of({
    record: (kind, object, notice) =>
      Effect.map(Clock.currentTimeMillis, (at) => {
        Queue.offerUnsafe(queue, { kind, object, notice, at })
        told(EVENTS, Queue.sizeUnsafe(queue))
      })
  })
})
