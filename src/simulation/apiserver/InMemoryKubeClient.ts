/**
 * Owns the KubeClient port over the store: kinds to resource types and served versions, refusals to KubeErrors, objects
 * decoded once however many read them. Does not own any rule of the API (ApiStore) nor faults (Faults.ts).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { apiVersionOf, type Kind, type KubeObject } from "../../api/Kind.ts"
import { decodeObject } from "../../kube/Decode.ts"
import type {
  JsonObject,
  KubeClientShape,
  ListOptions,
  ObjectList,
  ObjectRef,
  UndecodableObject,
  WatchEvent
} from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import { fail, fromStatus, type Subject, subjectOf } from "../../kube/Status.ts"
import type { ApiStore } from "./ApiStore.ts"
import { isJsonObject, type StoredObject, stringAt } from "./Json.ts"
import { present, type Reads } from "./Reads.ts"
import type { Outcome, Target } from "./Requests.ts"
import { isServed, type ResourceType } from "./ResourceType.ts"
import type { ApiStatus } from "./Status.ts"
import type { StoreWatchEvent, Watches } from "./Watch.ts"

export interface ServerParts {
  readonly store: ApiStore
  readonly reads: Reads
  readonly watches: Watches
  /** How long a watch opened now may live, in virtual milliseconds; undefined: until the client leaves. */
  readonly watchMillis: () => number | undefined
}

interface Served {
  readonly type: ResourceType
  readonly version: string
}

const statusError = (subject: Subject, status: ApiStatus): KubeError =>
  fromStatus(subject, status.code, { reason: status.reason, message: status.message, details: status.details })

/** The first of the kind's versions that is served: what the live client's discovery finds. */
const served = (
  parts: ServerParts,
  subject: Subject,
  kind: Kind<KubeObject>,
  ref: { readonly namespace?: string | undefined; readonly name?: string | undefined },
  allNamespaces: boolean
): Effect.Effect<Served, KubeError> => {
  const refuse = (message: string) => Effect.fail(fail(subject, "BadRequest", message))
  if (ref.namespace !== undefined && !kind.namespaced) return refuse(`${kind.kind} has no namespace`)
  if (ref.namespace === undefined && kind.namespaced && !allNamespaces) return refuse(`${kind.kind} needs a namespace`)
  if (ref.namespace === "" || ref.name === "") return refuse(`"" is not a name`)
  const type = parts.store.registry.byResource(kind.group, kind.plural)
  const version = type === undefined ? undefined : kind.versions.find((candidate) => isServed(type, candidate))
  return type === undefined || version === undefined || type.namespaced !== kind.namespaced
    ? Effect.fail(fail(subject, "Unavailable", `the server does not serve ${kind.kind} (is its CRD installed?)`))
    : Effect.succeed({ type, version })
}

type Decoded<A> = Result.Result<A, UndecodableObject>

/** One object is read by many watchers, and again by every get: its decoding is remembered with it. */
class Decoder<A extends KubeObject> {
  readonly #kind: Kind<A>
  readonly #known = new WeakMap<StoredObject, Decoded<A>>()

  constructor(kind: Kind<A>) {
    this.#kind = kind
  }

  decode(object: StoredObject): Decoded<A> {
    const known = this.#known.get(object)
    if (known !== undefined) return known
    const fresh = decodeObject(this.#kind, object.apiVersion, object)
    this.#known.set(object, fresh)
    return fresh
  }
}

/** A map from each kind to its own decoder, which the type of Map can't say. */
export class Decoders {
  readonly #byKind = new WeakMap<object, unknown>()

  of<A extends KubeObject>(kind: Kind<A>): Decoder<A> {
    const known = this.#byKind.get(kind)
    // Only `of` writes, under the kind whose type the decoder has.
    if (known instanceof Decoder) return known as Decoder<A>
    const fresh = new Decoder(kind)
    this.#byKind.set(kind, fresh)
    return fresh
  }
}

const warnSkipped = (kind: Kind<KubeObject>, object: UndecodableObject) =>
  Effect.logWarning("object skipped: it does not have the shape its kind promises").pipe(
    Effect.annotateLogs({
      kind: kind.kind,
      namespace: object.namespace ?? "",
      name: object.name,
      complaint: object.message
    })
  )

const watchEvent = <A extends KubeObject>(decoder: Decoder<A>, event: StoreWatchEvent): WatchEvent<A> => {
  if (event.type === "Bookmark") return { _tag: "Bookmark", resourceVersion: event.resourceVersion }
  const decoded = decoder.decode(event.object)
  return Result.isSuccess(decoded)
    ? { _tag: event.type, object: decoded.success }
    : {
        _tag: "Bookmark",
        resourceVersion: event.object.metadata.resourceVersion,
        skipped: { ...decoded.failure, type: event.type }
      }
}

export const makeInMemoryKubeClient = (parts: ServerParts, decoders: Decoders, client: string): KubeClientShape => {
  const { store } = parts

  const answer = <A extends KubeObject>(
    subject: Subject,
    kind: Kind<A>,
    { type, version }: Served,
    outcome: Outcome
  ) => {
    if (Result.isFailure(outcome)) return Effect.fail(statusError(subject, outcome.failure))
    const decoded = decoders.of(kind).decode(present(type, outcome.success, version))
    return Result.isSuccess(decoded)
      ? Effect.succeed(decoded.success)
      : Effect.fail(fail(subject, "Decode", decoded.failure.message))
  }

  /** Looked up and carried out in one synchronous step: no other request comes between. */
  const onObject = (
    subject: Subject,
    kind: Kind<KubeObject>,
    ref: ObjectRef,
    act: (target: Target) => Outcome
  ): Effect.Effect<readonly [Served, Outcome], KubeError> =>
    Clock.clockWith((clock) =>
      Effect.map(served(parts, subject, kind, ref, false), (found) => {
        const nowMillis = clock.currentTimeMillisUnsafe()
        const target = { client, nowMillis, ...found, namespace: ref.namespace ?? "", name: ref.name }
        return [found, act(target)] as const
      })
    )

  const get: KubeClientShape["get"] = (kind, ref) => {
    const subject = subjectOf("get", kind.kind, ref)
    return Effect.flatMap(
      onObject(subject, kind, ref, (target) => parts.reads.get(target)),
      ([found, outcome]) => answer(subject, kind, found, outcome)
    )
  }

  const list: KubeClientShape["list"] = Effect.fnUntraced(function* <A extends KubeObject>(
    kind: Kind<A>,
    options?: ListOptions
  ) {
    const subject = subjectOf("list", kind.kind, options?.namespace === undefined ? {} : options)
    const found = yield* served(parts, subject, kind, { namespace: options?.namespace }, true)
    const listed = parts.reads.list({ ...found, ...options })
    if (Result.isFailure(listed)) return yield* statusError(subject, listed.failure)
    const decoder = decoders.of(kind)
    const items: Array<A> = []
    const undecodable: Array<UndecodableObject> = []
    for (const object of listed.success.items) {
      const decoded = decoder.decode(object)
      if (Result.isSuccess(decoded)) items.push(decoded.success)
      else undecodable.push(decoded.failure)
    }
    yield* Effect.forEach(undecodable, (object) => warnSkipped(kind, object), { discard: true })
    const result: ObjectList<A> = {
      items,
      resourceVersion: listed.success.resourceVersion,
      ...(undecodable.length === 0 ? {} : { undecodable })
    }
    return result
  })

  const watch: KubeClientShape["watch"] = (kind, options) => {
    const subject = subjectOf("watch", kind.kind, options.namespace === undefined ? {} : options)
    const decoder = decoders.of(kind)
    const open = Effect.gen(function* () {
      const found = yield* served(parts, subject, kind, { namespace: options.namespace }, true)
      const millis = parts.watchMillis()
      const closeAtMillis = millis === undefined ? undefined : (yield* Clock.currentTimeMillis) + millis
      return parts.watches.watch({ ...found, ...options, bookmarks: true, closeAtMillis }).pipe(
        Stream.mapError((status) => statusError(subject, status)),
        Stream.map((event) => watchEvent(decoder, event)),
        Stream.tap((event) =>
          event._tag === "Bookmark" && event.skipped !== undefined ? warnSkipped(kind, event.skipped) : Effect.void
        )
      )
    })
    return Stream.unwrap(open)
  }

  const create: KubeClientShape["create"] = (kind, object) => {
    const namespace = stringAt(object.metadata, "namespace")
    const name = stringAt(object.metadata, "name")
    const subject: Subject = { verb: "create", kind: kind.kind, namespace, name }
    const body = (version: string): JsonObject => ({
      ...object,
      apiVersion: apiVersionOf(kind.group, version),
      kind: kind.kind
    })
    return Effect.flatMap(
      onObject(subject, kind, { name: name ?? "-", ...(namespace === undefined ? {} : { namespace }) }, (target) =>
        store.create({ ...target, object: body(target.version) })
      ),
      ([found, outcome]) => answer(subject, kind, found, outcome)
    )
  }

  const patch: KubeClientShape["patch"] = (kind, ref, changes, options) => {
    const subject = subjectOf("patch", kind.kind, ref)
    const given = changes["metadata"]
    const metadata: JsonObject = {
      ...(isJsonObject(given) ? given : {}),
      ...(options?.uid === undefined ? {} : { uid: options.uid }),
      ...(options?.resourceVersion === undefined ? {} : { resourceVersion: options.resourceVersion })
    }
    const body = Object.keys(metadata).length === 0 ? changes : { ...changes, metadata }
    return Effect.flatMap(
      onObject(subject, kind, ref, (target) =>
        store.patch({ ...target, subresource: options?.subresource, patch: { type: "merge", body } })
      ),
      ([found, outcome]) => answer(subject, kind, found, outcome)
    )
  }

  const remove: KubeClientShape["delete"] = (kind, ref, options) => {
    const subject = subjectOf("delete", kind.kind, ref)
    return Effect.flatMap(
      onObject(subject, kind, ref, (target) => store.delete({ ...target, options })),
      ([, outcome]) => (Result.isSuccess(outcome) ? Effect.void : Effect.fail(statusError(subject, outcome.failure)))
    )
  }

  return { get, list, watch, create, patch, delete: remove }
}
