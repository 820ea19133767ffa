/**
 * Owns waiting until one named object is another one than now. Level-triggered users read it again afterwards.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Kind, KubeObject } from "../api/Kind.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"

/** Between two tries of a watch that broke, milliseconds. */
export const REWATCH_MILLIS = 5_000

export interface Sight<A> {
  /** Undefined: it is not there. */
  readonly object: A | undefined
  readonly resourceVersion: string
}

/** The object, and from where to watch for its next change. */
export const look = <A extends KubeObject>(kube: KubeClientShape, kind: Kind<A>, namespace: string, name: string) =>
  Effect.map(
    kube.list(kind, { namespace, fieldSelector: `metadata.name=${name}` }),
    ({ items, resourceVersion }): Sight<A> => ({
      object: items.find((one) => one.metadata.name === name),
      resourceVersion
    })
  )

/**
 * Ends with the first change after `resourceVersion`, or when the watch can't tell any more (closed, too old, broken):
 * either way it is time to look again.
 */
export const changedSince = <A extends KubeObject>(
  kube: KubeClientShape,
  kind: Kind<A>,
  namespace: string,
  name: string,
  resourceVersion: string
): Effect.Effect<void> =>
  kube.watch(kind, { namespace, fieldSelector: `metadata.name=${name}`, resourceVersion }).pipe(
    Stream.filter((event) => event._tag !== "Bookmark"),
    Stream.runHead,
    Effect.flatMap((head) => (head._tag === "Some" ? Effect.void : Effect.sleep(REWATCH_MILLIS))),
    Effect.catch(() => Effect.sleep(REWATCH_MILLIS))
  )

/** Ends when the object is truly another one than at first, or there and not there; whatever becomes of the watch. */
export const changed = Effect.fnUntraced(function* <A extends KubeObject>(
  kube: KubeClientShape,
  kind: Kind<A>,
  namespace: string,
  name: string
) {
  const sight: Effect.Effect<Sight<A>> = look(kube, kind, namespace, name).pipe(
    Effect.catch(() =>
      Effect.andThen(
        Effect.sleep(REWATCH_MILLIS),
        Effect.suspend(() => sight)
      )
    )
  )
  const first = yield* sight
  let last = first
  while (last.object?.metadata.resourceVersion === first.object?.metadata.resourceVersion) {
    yield* changedSince(kube, kind, namespace, name, last.resourceVersion)
    last = yield* sight
  }
})

/** Ends with the first change from now on. */
export const changeOf = <A extends KubeObject>(
  kube: KubeClientShape,
  kind: Kind<A>,
  namespace: string,
  name: string
): Effect.Effect<void> =>
  look(kube, kind, namespace, name).pipe(
    Effect.flatMap(({ resourceVersion }) => changedSince(kube, kind, namespace, name, resourceVersion)),
    Effect.catch(() => Effect.sleep(REWATCH_MILLIS))
  )
