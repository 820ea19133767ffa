/**
 * Owns a KubeClient whose every answer a test gives by hand: requests wait until they are answered. For the Reflector
 * and the Lease under virtual time. Does not imitate an API server (simulation/ does).
 */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Kind, KubeObject } from "../../src/api/Kind.ts"
import type { KubeClientShape, ListOptions, ObjectList, WatchEvent } from "../../src/kube/KubeClient.ts"
import { KubeError, type KubeErrorReason } from "../../src/kube/KubeError.ts"

export const Thing = Schema.Struct({
  metadata: Schema.Struct({
    name: Schema.String,
    namespace: Schema.String,
    uid: Schema.String,
    resourceVersion: Schema.String
  })
})
export type Thing = typeof Thing.Type

export const Things: Kind<Thing> = {
  group: "g.dev",
  versions: ["v1"],
  kind: "Thing",
  plural: "things",
  namespaced: true,
  schema: Thing
}

export const thing = (name: string, version: number | string, uid = `uid-${name}`, namespace = "ns"): Thing => ({
  metadata: { name, namespace, uid, resourceVersion: String(version) }
})

export const refused = (reason: KubeErrorReason, retryAfterSeconds?: number): KubeError =>
  new KubeError({
    reason,
    verb: "test",
    kind: "Thing",
    message: "scripted",
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
  })

export interface Listing {
  readonly options: ListOptions
  readonly answer: (
    items: ReadonlyArray<Thing>,
    version: number,
    more?: Partial<ObjectList<Thing>>
  ) => Effect.Effect<void>
  readonly fail: (error: KubeError) => Effect.Effect<void>
  readonly die: (defect: unknown) => Effect.Effect<void>
}

export interface Watching {
  readonly resourceVersion: string
  readonly send: (...events: ReadonlyArray<WatchEvent<Thing>>) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
  readonly fail: (error: KubeError) => Effect.Effect<void>
}

export interface ScriptedKube {
  readonly client: KubeClientShape
  /** The next list or watch that is asked for; waits for it. */
  readonly nextList: Effect.Effect<Listing>
  readonly nextWatch: Effect.Effect<Watching>
  /** Requests that nobody took yet. */
  readonly waiting: Effect.Effect<number>
}

const unscripted = () => Effect.die(new Error("not scripted"))

/** Answers are Things, whatever kind is asked for: they go through that kind's Schema, as they would elsewhere. */
const as = <A extends KubeObject>(kind: Kind<A>, value: Thing): A => Schema.decodeUnknownSync(kind.schema)(value)

const asEvent = <A extends KubeObject>(kind: Kind<A>, event: WatchEvent<Thing>): WatchEvent<A> =>
  event._tag === "Bookmark" ? event : { ...event, object: as(kind, event.object) }

export const makeScriptedKube: Effect.Effect<ScriptedKube> = Effect.gen(function* () {
  const lists = yield* Queue.unbounded<Listing>()
  const watches = yield* Queue.unbounded<Watching>()
  const client: KubeClientShape = {
    get: unscripted,
    create: unscripted,
    patch: unscripted,
    delete: unscripted,
    list: (kind, options = {}) =>
      Effect.gen(function* () {
        const reply = yield* Deferred.make<ObjectList<Thing>, KubeError>()
        yield* Queue.offer(lists, {
          options,
          answer: (items, version, more) =>
            Deferred.succeed(reply, { items, resourceVersion: String(version), ...more }),
          fail: (error) => Deferred.fail(reply, error),
          die: (defect) => Deferred.die(reply, defect)
        })
        const { items, ...rest } = yield* Deferred.await(reply)
        return { ...rest, items: items.map((item) => as(kind, item)) }
      }),
    watch: (kind, { resourceVersion }) =>
      Stream.unwrap(
        Effect.gen(function* () {
          const events = yield* Queue.unbounded<WatchEvent<Thing>, KubeError | Cause.Done>()
          yield* Queue.offer(watches, {
            resourceVersion,
            send: (...sent) => Queue.offerAll(events, sent),
            end: Queue.end(events),
            fail: (error) => Queue.fail(events, error)
          })
          return Stream.map(Stream.fromQueue(events), (event) => asEvent(kind, event))
        })
      )
  }
  return {
    client,
    nextList: Queue.take(lists),
    nextWatch: Queue.take(watches),
    waiting: Effect.zipWith(Queue.size(lists), Queue.size(watches), (a, b) => a + b)
  }
})
