/**
 * Owns the objects: by type, namespace and name, by uid, by owner; the one revision counter; and the commit of a change
 * with its event. Knows no rule of the API beyond "an equal object is not written". Everything here is synchronous,
 * which is what makes each request of the simulated server atomic.
 */
import { EventLog, type StoreEvent } from "./EventLog.ts"
import { jsonEqual, ownStored, type StoredObject } from "./Json.ts"
import { LabelIndex } from "./LabelIndex.ts"
import { type ResourceType, typeKey } from "./ResourceType.ts"
import type { Narrowing } from "./Selectors.ts"

/** Where an object lives. Namespace "" is cluster scope. */
export interface Place {
  readonly type: ResourceType
  readonly namespace: string
  readonly name: string
}

export const placeKey = (place: Place): string =>
  `${typeKey(place.type.group, place.type.plural)}/${place.namespace}/${place.name}`

/** As placeKey, but names the object itself: a successor of the same name is another. */
const dependentKey = (place: Place, uid: string): string => `${placeKey(place)}/${uid}`

class Shelf {
  readonly log: EventLog
  readonly namespaces = new Map<string, Map<string, StoredObject>>()
  readonly labels = new LabelIndex(() => this.namespaces)

  constructor(historyEvents: number) {
    this.log = new EventLog(historyEvents)
  }

  /** Of one namespace: everything that can match, as far as names and labels tell at once. */
  within(namespace: string, { label, name }: Narrowing): Iterable<StoredObject> {
    const objects = this.namespaces.get(namespace)
    if (objects === undefined) return []
    if (name !== undefined) {
      const object = objects.get(name)
      return object === undefined ? [] : [object]
    }
    return (label === undefined ? undefined : this.labels.find(namespace, label)) ?? objects.values()
  }
}

export interface Snapshot {
  readonly revision: number
  readonly objects: ReadonlyArray<{ readonly group: string; readonly plural: string; readonly object: StoredObject }>
}

export class Storage {
  readonly #historyEvents: number
  readonly #shelves = new Map<string, Shelf>()
  readonly #byUid = new Map<string, Place>()
  readonly #dependents = new Map<string, Map<string, Place>>()
  readonly #listeners: Array<(place: Place, event: StoreEvent) => void> = []
  #revision = 1

  constructor(historyEvents: number) {
    this.#historyEvents = historyEvents
  }

  get revision(): number {
    return this.#revision
  }

  #shelf(type: ResourceType): Shelf {
    const key = typeKey(type.group, type.plural)
    const found = this.#shelves.get(key)
    if (found !== undefined) return found
    const shelf = new Shelf(this.#historyEvents)
    this.#shelves.set(key, shelf)
    return shelf
  }

  log(type: ResourceType): EventLog {
    return this.#shelf(type).log
  }

  onEvent(listener: (place: Place, event: StoreEvent) => void): void {
    this.#listeners.push(listener)
  }

  get(place: Place): StoredObject | undefined {
    return this.#shelf(place.type).namespaces.get(place.namespace)?.get(place.name)
  }

  byUid(uid: string): { readonly place: Place; readonly object: StoredObject } | undefined {
    const place = this.#byUid.get(uid)
    const object = place === undefined ? undefined : this.get(place)
    return place === undefined || object?.metadata.uid !== uid ? undefined : { place, object }
  }

  /** Objects that name `uid` among their owners. */
  dependents(uid: string): ReadonlyArray<Place> {
    return [...(this.#dependents.get(uid)?.values() ?? [])]
  }

  /** In etcd's order: by namespace, then name. Few of many that match are cheap: only those are put in order. */
  list(
    type: ResourceType,
    namespace?: string,
    matches?: (object: StoredObject) => boolean,
    where: Narrowing = {}
  ): ReadonlyArray<StoredObject> {
    const shelf = this.#shelf(type)
    const found: Array<StoredObject> = []
    for (const space of namespace === undefined ? [...shelf.namespaces.keys()].sort() : [namespace]) {
      const all = [...shelf.within(space, where)]
      const some = matches === undefined ? all : all.filter(matches)
      found.push(...some.sort(byName))
    }
    return found
  }

  count(type: ResourceType, namespace?: string): number {
    const namespaces = this.#shelf(type).namespaces
    if (namespace !== undefined) return namespaces.get(namespace)?.size ?? 0
    let total = 0
    for (const objects of namespaces.values()) total += objects.size
    return total
  }

  /** Stores `next`; a change that changes nothing keeps its resourceVersion and makes no event. */
  put(place: Place, next: StoredObject): StoredObject {
    const previous = this.get(place)
    if (previous !== undefined && jsonEqual(previous, next)) return previous
    const revision = ++this.#revision
    const object = ownStored({ ...next, metadata: { ...next.metadata, resourceVersion: String(revision) } })
    this.#place(place, object, previous)
    this.#emit(place, { type: previous === undefined ? "Added" : "Modified", object, previous, revision })
    return object
  }

  /** Removes the object; `last` is its state as the deletion left it. */
  remove(place: Place, last: StoredObject): StoredObject {
    const previous = this.get(place)
    const revision = ++this.#revision
    const object = ownStored({ ...last, metadata: { ...last.metadata, resourceVersion: String(revision) } })
    const objects = this.#shelf(place.type).namespaces.get(place.namespace)
    objects?.delete(place.name)
    if (objects?.size === 0) this.#shelf(place.type).namespaces.delete(place.namespace)
    this.#index(place, undefined, previous)
    this.#emit(place, { type: "Deleted", object, previous: previous ?? object, revision })
    return object
  }

  compact(): void {
    for (const shelf of this.#shelves.values()) shelf.log.compact(this.#revision)
  }

  /** Forgets a type whose objects are all gone (its CustomResourceDefinition was deleted). */
  drop(type: ResourceType): void {
    this.#shelf(type).log.compact(this.#revision)
  }

  snapshot(types: ReadonlyArray<ResourceType>): Snapshot {
    return {
      revision: this.#revision,
      objects: types.flatMap((type) =>
        this.list(type).map((object) => ({ group: type.group, plural: type.plural, object }))
      )
    }
  }

  /** All objects of before are gone and those given are there, as after an etcd restore: every watch must list again. */
  restore(
    types: ReadonlyArray<ResourceType>,
    objects: ReadonlyArray<readonly [Place, StoredObject]>,
    revision: number
  ) {
    this.#revision = Math.max(this.#revision, revision) + 1
    this.#byUid.clear()
    this.#dependents.clear()
    for (const type of types) {
      this.#shelf(type).namespaces.clear()
      this.#shelf(type).labels.clear()
    }
    for (const [place, object] of objects) this.#place(place, ownStored(object), undefined)
    // Twice: events of before the restore are forgotten, and no revision of before is a place to start from.
    this.#revision++
    this.compact()
  }

  #place(place: Place, object: StoredObject, previous: StoredObject | undefined): void {
    const namespaces = this.#shelf(place.type).namespaces
    let objects = namespaces.get(place.namespace)
    if (objects === undefined) {
      objects = new Map()
      namespaces.set(place.namespace, objects)
    }
    objects.set(place.name, object)
    this.#index(place, object, previous)
  }

  #index(place: Place, object: StoredObject | undefined, previous: StoredObject | undefined): void {
    this.#shelf(place.type).labels.changed(place.namespace, object, previous)
    if (previous !== undefined && previous.metadata.uid !== object?.metadata.uid) {
      this.#byUid.delete(previous.metadata.uid)
    }
    if (object !== undefined) this.#byUid.set(object.metadata.uid, place)
    const before = previous?.metadata.ownerReferences
    const after = object?.metadata.ownerReferences
    if (before === after && object !== undefined) return
    if (previous !== undefined) {
      for (const owner of before ?? []) {
        const dependents = this.#dependents.get(owner.uid)
        dependents?.delete(dependentKey(place, previous.metadata.uid))
        if (dependents?.size === 0) this.#dependents.delete(owner.uid)
      }
    }
    if (object === undefined) return
    for (const owner of after ?? []) {
      const dependents = this.#dependents.get(owner.uid) ?? new Map<string, Place>()
      dependents.set(dependentKey(place, object.metadata.uid), place)
      this.#dependents.set(owner.uid, dependents)
    }
  }

  #emit(place: Place, event: StoreEvent): void {
    // Before any watch hears of it: who keeps the objects is one of them, and what is not kept yet must not be acted on.
    for (const listener of this.#listeners) listener(place, event)
    this.#shelf(place.type).log.append(event)
  }
}

const byName = (one: StoredObject, other: StoredObject): number =>
  one.metadata.name < other.metadata.name ? -1 : one.metadata.name > other.metadata.name ? 1 : 0
