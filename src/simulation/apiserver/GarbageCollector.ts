/**
 * Owns what becomes of dependents: the garbage collector of kube-controller-manager, in its three ways (background,
 * foreground, orphan). Each function is one step on one object, safe to repeat; Controllers.ts decides when.
 * Does not own how a deletion itself works (ApiStore).
 */
import type { ApiStore } from "./ApiStore.ts"
import type { StoredObject, StoredOwnerReference } from "./Json.ts"
import { FINALIZER_FOREGROUND, FINALIZER_ORPHAN } from "./Metadata.ts"
import type { PropagationPolicy, Request, Target } from "./Requests.ts"
import { isServed } from "./ResourceType.ts"
import type { Place } from "./Storage.ts"

export const GARBAGE_COLLECTOR = "garbage-collector"

type OwnerState = "solid" | "absent" | "awaitingDependents"

const request = (place: Place, nowMillis: number): Target & Request => ({
  client: GARBAGE_COLLECTOR,
  nowMillis,
  type: place.type,
  version: place.type.storageVersion,
  namespace: place.namespace,
  name: place.name
})

export const isAwaitingDependents = (object: StoredObject): boolean =>
  object.metadata.deletionTimestamp !== undefined && (object.metadata.finalizers ?? []).includes(FINALIZER_FOREGROUND)

export const isOrphaning = (object: StoredObject): boolean =>
  object.metadata.deletionTimestamp !== undefined && (object.metadata.finalizers ?? []).includes(FINALIZER_ORPHAN)

/** An owner is looked for by its full coordinates: a uid under another name or namespace is no owner. */
const ownerState = (store: ApiStore, dependent: Place, reference: StoredOwnerReference): OwnerState => {
  const slash = reference.apiVersion.indexOf("/")
  const group = slash < 0 ? "" : reference.apiVersion.slice(0, slash)
  const type = store.registry.byKind(group, reference.kind)
  // A kind nobody serves can't be looked up; upstream keeps retrying and deletes nothing.
  if (type === undefined || !isServed(type, reference.apiVersion.slice(slash + 1))) return "solid"
  // Nor can a namespaced owner of a cluster-scoped object, which says no namespace (upstream since v1.20).
  if (type.namespaced && dependent.namespace === "") return "solid"
  const namespace = type.namespaced ? dependent.namespace : ""
  const owner = store.storage.get({ type, namespace, name: reference.name })
  if (owner === undefined || owner.metadata.uid !== reference.uid) return "absent"
  return isAwaitingDependents(owner) ? "awaitingDependents" : "solid"
}

/** Takes away the references to owners of these uids, unless the object changed meanwhile. */
const disown = (store: ApiStore, place: Place, object: StoredObject, uids: ReadonlySet<string>, now: number): void => {
  const kept = (object.metadata.ownerReferences ?? []).filter((reference) => !uids.has(reference.uid))
  store.patch({
    ...request(place, now),
    patch: {
      type: "merge",
      body: { metadata: { uid: object.metadata.uid, ownerReferences: kept.length === 0 ? null : kept } }
    }
  })
}

/** One dependent: deleted once it has owners, but none that is solid. */
export const collect = (store: ApiStore, place: Place, nowMillis: number): void => {
  const object = store.storage.get(place)
  const owners = object?.metadata.ownerReferences
  if (object === undefined || owners === undefined) return
  // One being deleted is waited for, not deleted again; but its own dependents may hold up a foreground deletion.
  if (object.metadata.deletionTimestamp !== undefined) return
  const states = owners.map((owner) => ({ owner, state: ownerState(store, place, owner) }))
  const lost = states.filter(({ state }) => state !== "solid")
  if (lost.length === 0) return
  if (lost.length < states.length) {
    disown(store, place, object, new Set(lost.map(({ owner }) => owner.uid)), nowMillis)
    return
  }
  const waited = states.some(({ state }) => state === "awaitingDependents")
  const hasDependents = store.storage.dependents(object.metadata.uid).length > 0
  store.delete({
    ...request(place, nowMillis),
    options: {
      uid: object.metadata.uid,
      resourceVersion: object.metadata.resourceVersion,
      propagationPolicy: waited && hasDependents ? "Foreground" : inheritedPolicy(object)
    }
  })
}

const inheritedPolicy = (object: StoredObject): PropagationPolicy => {
  const finalizers = object.metadata.finalizers ?? []
  if (finalizers.includes(FINALIZER_ORPHAN)) return "Orphan"
  return finalizers.includes(FINALIZER_FOREGROUND) ? "Foreground" : "Background"
}

/** An owner in foreground deletion: lets go once no dependent blocks it; returns the dependents still to be deleted. */
export const awaitDependents = (store: ApiStore, place: Place, nowMillis: number): ReadonlyArray<Place> => {
  const owner = store.storage.get(place)
  if (owner === undefined || !isAwaitingDependents(owner)) return []
  const blocking = store.storage.dependents(owner.metadata.uid).filter((dependent) => blocks(store, dependent, owner))
  if (blocking.length > 0) return blocking
  removeFinalizer(store, place, owner, FINALIZER_FOREGROUND, nowMillis)
  return []
}

const blocks = (store: ApiStore, dependent: Place, owner: StoredObject): boolean =>
  (store.storage.get(dependent)?.metadata.ownerReferences ?? []).some(
    (reference) => reference.uid === owner.metadata.uid && reference.blockOwnerDeletion === true
  )

/** An owner that orphans: its dependents forget it, then it goes. */
export const orphanDependents = (store: ApiStore, place: Place, nowMillis: number): void => {
  const owner = store.storage.get(place)
  if (owner === undefined || !isOrphaning(owner)) return
  const uids = new Set([owner.metadata.uid])
  for (const dependent of store.storage.dependents(owner.metadata.uid)) {
    const object = store.storage.get(dependent)
    if (object !== undefined) disown(store, dependent, object, uids, nowMillis)
  }
  removeFinalizer(store, place, owner, FINALIZER_ORPHAN, nowMillis)
}

const removeFinalizer = (
  store: ApiStore,
  place: Place,
  object: StoredObject,
  gone: string,
  nowMillis: number
): void => {
  const finalizers = (object.metadata.finalizers ?? []).filter((finalizer) => finalizer !== gone)
  store.patch({
    ...request(place, nowMillis),
    patch: { type: "merge", body: { metadata: { uid: object.metadata.uid, finalizers } } }
  })
}
