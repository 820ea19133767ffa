/**
 * Owns one kind as a controller uses it: a copy to read (kube/Reflector), and writes after which the copy is known to
 * show them (read your writes: without that a controller creates the same Machine twice, as CAPI's did). Writes nothing
 * that would change nothing. Does not own what is written.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Kind } from "../../api/Kind.ts"
import { type JsonObject, KubeClient, type KubeClientShape, type ObjectRef } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import * as Reflector from "../../kube/Reflector.ts"
import { alters, isDeleting, keyOf, type Raw } from "./Raw.ts"

/** How long a write waits for the copy to show it, milliseconds, as CAPI's; then it goes on. */
const SHOWN_WITHIN_MILLIS = 10_000

export interface Tracked {
  readonly kind: Kind<Raw>
  readonly get: (ref: ObjectRef) => Effect.Effect<Raw | undefined>
  readonly list: (namespace?: string) => Effect.Effect<ReadonlyArray<Raw>>
  readonly byIndex: (index: string, key: string) => Effect.Effect<ReadonlyArray<Raw>>
  readonly synced: Effect.Effect<void>
  readonly isSynced: Effect.Effect<boolean>
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

export const track = Effect.fnUntraced(function* (
  options: TrackOptions
): Effect.fn.Return<Tracked, never, Scope.Scope> {
  const { kube, kind, changed } = options
  const reflector = yield* Reflector.make(kind, {
    ...(options.indexes === undefined ? {} : { indexes: options.indexes }),
    ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector })
  }).pipe(Effect.provideService(KubeClient, kube))

  /** By key: who waits for the copy to change there. */
  const waiters = new Map<string, Deferred.Deferred<void>>()
  const wake = (object: Raw): void => {
    const waiter = waiters.get(keyOf(object))
    waiters.delete(keyOf(object))
    if (waiter !== undefined) Deferred.doneUnsafe(waiter, Effect.void)
  }
  yield* reflector.changes.pipe(
    Stream.runForEach((change) =>
      Effect.suspend(() => {
        wake(change.object)
        const previous = change._tag === "Modified" ? change.previous : undefined
        return changed(change.object, change._tag === "Deleted", previous)
      })
    ),
    Effect.forkScoped
  )
  const nextChange = (key: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      const waiter = waiters.get(key) ?? Deferred.makeUnsafe<void>()
      waiters.set(key, waiter)
      return Deferred.await(waiter)
    })

  const shown = (ref: ObjectRef, key: string, isShown: (object: Raw | undefined) => boolean): Effect.Effect<void> =>
    Effect.gen(function* () {
      while (!isShown(yield* reflector.get(ref))) yield* nextChange(key)
    }).pipe(Effect.timeoutOption(SHOWN_WITHIN_MILLIS), Effect.asVoid)

  const at = (object: Raw): ObjectRef => ({
    name: object.metadata.name,
    ...(object.metadata.namespace === undefined ? {} : { namespace: object.metadata.namespace })
  })

  /** A write that let the last finalizer go made the object vanish: then its absence is what shows it. */
  const afterWrite = (written: Raw): Effect.Effect<Raw> =>
    Effect.as(
      shown(at(written), keyOf(written), (object) => {
        if (object === undefined) return isDeleting(written) && (written.metadata.finalizers ?? []).length === 0
        if (object.metadata.uid !== written.metadata.uid) return true
        return atLeast(object.metadata.resourceVersion, written.metadata.resourceVersion)
      }),
      written
    )

  /** The answer was lost, not the request: names are made up, so the next try would make a second one. */
  const madeAfterAll = ({ metadata }: { readonly metadata: JsonObject }): Effect.Effect<Raw, KubeError> => {
    const { name, namespace } = metadata
    return kube.get(kind, {
      name: typeof name === "string" ? name : "",
      ...(typeof namespace === "string" ? { namespace } : {})
    })
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
    kind,
    get: reflector.get,
    list: reflector.list,
    byIndex: reflector.byIndex,
    synced: reflector.synced,
    isSynced: Effect.map(reflector.lastSync, (last) => last !== undefined),
    create: (object) =>
      kube.create(kind, object).pipe(
        Effect.catchIf(
          (error) => error.reason === "Unavailable",
          (error) => Effect.mapError(madeAfterAll(object), () => error)
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
          shown(
            at(object),
            keyOf(object),
            (now) => now === undefined || now.metadata.uid !== object.metadata.uid || isDeleting(now)
          )
        )
      )
  }
})
