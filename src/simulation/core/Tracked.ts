/**
 * Owns one kind as a controller uses it: a copy to read (kube/Reflector), and writes after which the copy is known to
 * show them (read your writes: without that a controller creates the same Machine twice, as CAPI's did). Writes nothing
 * that would change nothing. Does not own what is written.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Kind } from "../../api/Kind.ts"
import { type JsonObject, KubeClient, type KubeClientShape, type ObjectRef } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import * as Reflector from "../../kube/Reflector.ts"
import { alters, isDeleting, keyOf, type Raw } from "./Raw.ts"

/** How long a write waits for the copy to show it, milliseconds, as CAPI's; then it goes on. */
const SHOWN_WITHIN_MILLIS = 10_000

/** Whether something was made whose answer was lost is asked this often. */
const ASKED_AGAIN = Schedule.max([Schedule.spaced("200 millis"), Schedule.recurs(5)])

export interface Tracked {
  readonly kind: Kind<Raw>
  readonly get: (ref: ObjectRef) => Effect.Effect<Raw | undefined>
  readonly list: (namespace?: string) => Effect.Effect<ReadonlyArray<Raw>>
  readonly byIndex: (index: string, key: string) => Effect.Effect<ReadonlyArray<Raw>>
  /**
   * True when the server has as many of `label` (`key=value`) that satisfy `counts` as the copy shows: asked before
   * something is made for want of one. An answer that was lost must not be answered by another one made.
   */
  readonly confirm: (
    namespace: string,
    label: string,
    shown: number,
    counts: (object: Raw) => boolean
  ) => Effect.Effect<boolean, KubeError>
  readonly synced: Effect.Effect<void>
  readonly isSynced: Effect.Effect<boolean>
  /** Fails with NotFound where the server refused nothing and made nothing; with Unavailable only when nobody knows. */
  readonly create: (object: JsonObject & { readonly metadata: JsonObject }) => Effect.Effect<Raw, KubeError>
  /** A merge patch on just this state of the object: Conflict when it has changed since. Answers what is stored now. */
  readonly patch: (object: Raw, patch: JsonObject) => Effect.Effect<Raw, KubeError>
  readonly patchStatus: (object: Raw, status: JsonObject) => Effect.Effect<Raw, KubeError>
  /** Of this very object (uid); one that is gone or going is fine. */
  readonly remove: (object: Raw) => Effect.Effect<void, KubeError>
}

export interface TrackOptions {
  readonly kube: KubeClientShape
  readonly kind: Kind<Raw>
  readonly indexes?: Readonly<Record<string, Reflector.Indexer<Raw>>>
  readonly fieldSelector?: string
  /** For each object there is, and each that changes or goes. */
  readonly changed: (object: Raw, gone: boolean, previous: Raw | undefined) => Effect.Effect<void>
}

/** resourceVersions are compared as numbers where they are (KEP-5504); others only for equality. */
const atLeast = (shown: string | undefined, written: string | undefined): boolean =>
  shown === written ||
  (shown !== undefined &&
    written !== undefined &&
    /^\d+$/.test(`${shown}${written}`) &&
    BigInt(shown) >= BigInt(written))

const at = (object: Raw): ObjectRef => ({
  name: object.metadata.name,
  ...(object.metadata.namespace === undefined ? {} : { namespace: object.metadata.namespace })
})

/** What the copy shows, and waiting for it to show something. */
interface Shown {
  readonly changed: (object: Raw) => void
  readonly until: (object: Raw, isShown: (object: Raw | undefined) => boolean) => Effect.Effect<void>
}

const shownBy = (reflector: Reflector.Reflector<Raw>): Shown => {
  /** By key: who waits for the copy to change there. */
  const waiters = new Map<string, Deferred.Deferred<void>>()
  const nextChange = (key: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      const waiter = waiters.get(key) ?? Deferred.makeUnsafe<void>()
      waiters.set(key, waiter)
      return Deferred.await(waiter)
    })
  return {
    changed: (object) => {
      const waiter = waiters.get(keyOf(object))
      waiters.delete(keyOf(object))
      if (waiter !== undefined) Deferred.doneUnsafe(waiter, Effect.void)
    },
    until: (object, isShown) =>
      Effect.gen(function* () {
        while (!isShown(yield* reflector.get(at(object)))) yield* nextChange(keyOf(object))
      }).pipe(Effect.timeoutOption(SHOWN_WITHIN_MILLIS), Effect.asVoid)
  }
}

type Writes = Pick<Tracked, "create" | "patch" | "patchStatus" | "remove">

const writesOf = (kube: KubeClientShape, kind: Kind<Raw>, shown: Shown): Writes => {
  /** A write that let the last finalizer go made the object vanish: then its absence is what shows it. */
  const afterWrite = (written: Raw): Effect.Effect<Raw> =>
    Effect.as(
      shown.until(written, (object) => {
        if (object === undefined) return isDeleting(written) && (written.metadata.finalizers ?? []).length === 0
        if (object.metadata.uid !== written.metadata.uid) return true
        return atLeast(object.metadata.resourceVersion, written.metadata.resourceVersion)
      }),
      written
    )

  /** The answer was lost, not the request: names are made up, so the next try would make a second one. */
  const madeAfterAll = ({ metadata }: { readonly metadata: JsonObject }): Effect.Effect<Raw, KubeError> => {
    const { name, namespace } = metadata
    const ref = {
      name: typeof name === "string" ? name : "",
      ...(typeof namespace === "string" ? { namespace } : {})
    }
    return kube
      .get(kind, ref)
      .pipe(Effect.retry({ schedule: ASKED_AGAIN, while: (error) => error.reason === "Unavailable" }))
  }

  const write = (object: Raw, patch: JsonObject, subresource?: "status"): Effect.Effect<Raw, KubeError> =>
    alters(object, patch)
      ? kube
          .patch(kind, at(object), patch, {
            uid: object.metadata.uid,
            resourceVersion: object.metadata.resourceVersion,
            ...(subresource === undefined ? {} : { subresource })
          })
          .pipe(Effect.flatMap(afterWrite))
      : Effect.succeed(object)

  return {
    create: (object) =>
      kube.create(kind, object).pipe(
        Effect.catchIf(
          (error) => error.reason === "Unavailable",
          (error) => Effect.mapError(madeAfterAll(object), (why) => (why.reason === "NotFound" ? why : error))
        ),
        Effect.flatMap(afterWrite)
      ),
    patch: (object, patch) => write(object, patch),
    patchStatus: (object, status) => write(object, { status }, "status"),
    remove: (object) =>
      kube.delete(kind, at(object), { uid: object.metadata.uid }).pipe(
        // Conflict: the name is another object's by now.
        Effect.catchIf(
          (error) => error.reason === "NotFound" || error.reason === "Conflict",
          () => Effect.void
        ),
        Effect.andThen(
          shown.until(object, (now) => now === undefined || now.metadata.uid !== object.metadata.uid || isDeleting(now))
        )
      )
  }
}

/** Runs until the scope closes. */
export const track = Effect.fnUntraced(function* (
  options: TrackOptions
): Effect.fn.Return<Tracked, never, Scope.Scope> {
  const { kube, kind, changed } = options
  const reflector = yield* Reflector.make(kind, {
    ...(options.indexes === undefined ? {} : { indexes: options.indexes }),
    ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector })
  }).pipe(Effect.provideService(KubeClient, kube))
  const shown = shownBy(reflector)
  yield* reflector.changes.pipe(
    Stream.runForEach((change) =>
      Effect.suspend(() => {
        shown.changed(change.object)
        const previous = change._tag === "Modified" ? change.previous : undefined
        return changed(change.object, change._tag === "Deleted", previous)
      })
    ),
    Effect.forkScoped
  )
  return {
    kind,
    get: reflector.get,
    list: reflector.list,
    byIndex: reflector.byIndex,
    confirm: (namespace, labelSelector, count, counts) =>
      Effect.map(kube.list(kind, { namespace, labelSelector }), ({ items }) => items.filter(counts).length === count),
    synced: reflector.synced,
    isSynced: Effect.map(reflector.lastSync, (last) => last !== undefined),
    ...writesOf(kube, kind, shown)
  }
})
