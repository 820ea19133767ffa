/**
 * Owns the controllers a real cluster runs beside the API server, as far as objects' lives depend on them: the garbage
 * collector's queue, the emptying of terminating namespaces, and of deleted CustomResourceDefinitions. One queue, one
 * step at a time, keyed so that no object waits in it twice. Does not own CAPI's controllers (SimulatedCore).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Random from "effect/Random"
import type { ApiStore } from "./ApiStore.ts"
import { CRD_CLEANUP_FINALIZER, definedType } from "./builtin/Definitions.ts"
import type { StoreEvent } from "./EventLog.ts"
import { awaitDependents, collect, isAwaitingDependents, isOrphaning, orphanDependents } from "./GarbageCollector.ts"
import type { StoredObject } from "./Json.ts"
import type { ResourceType } from "./ResourceType.ts"
import { type Place, placeKey } from "./Storage.ts"

export const NAMESPACE_CONTROLLER = "namespace-controller"
export const DEFINITION_CONTROLLER = "crd-controller"

/** Virtual milliseconds between the steps of the controllers; both 0: each runs as soon as its fiber does. */
export interface ControllerPace {
  readonly minDelayMillis: number
  readonly maxDelayMillis: number
}

type Task =
  | { readonly _tag: "Collect" | "Await" | "Orphan"; readonly place: Place }
  | { readonly _tag: "Namespace" | "Definition"; readonly name: string }

const taskKey = (task: Task): string => {
  switch (task._tag) {
    case "Collect":
    case "Await":
    case "Orphan":
      return `${task._tag}:${placeKey(task.place)}`
    case "Namespace":
    case "Definition":
      return `${task._tag}:${task.name}`
  }
}

export class Controllers {
  readonly #store: ApiStore
  /** Bounded by the number of objects: one entry a task and object. */
  readonly #queue = new Map<string, Task>()
  readonly #work = Latch.makeUnsafe(false)
  readonly #idle = Latch.makeUnsafe(true)

  constructor(store: ApiStore) {
    this.#store = store
    store.storage.onEvent((place, event) => this.#onEvent(place, event))
  }

  /** Until nothing is left to do. What waits for a finalizer of others is not work. */
  get idle(): Effect.Effect<void> {
    return this.#idle.await
  }

  readonly run = (pace: ControllerPace): Effect.Effect<never> =>
    Effect.forever(
      Effect.andThen(
        this.#work.await,
        Effect.suspend(() => {
          const delay =
            pace.maxDelayMillis === 0
              ? Effect.yieldNow
              : Effect.flatMap(
                  Random.nextIntBetween(pace.minDelayMillis, pace.maxDelayMillis, { halfOpen: true }),
                  (millis) => Effect.sleep(millis)
                )
          return Effect.andThen(delay, this.#step)
        })
      )
    )

  readonly #step = Effect.map(Clock.currentTimeMillis, (nowMillis) => {
    const [next] = this.#queue
    if (next !== undefined) {
      const [key, task] = next
      this.#queue.delete(key)
      this.#perform(task, nowMillis)
    }
    if (this.#queue.size === 0) {
      this.#work.closeUnsafe()
      this.#idle.openUnsafe()
    }
  })

  #enqueue(task: Task): void {
    this.#queue.set(taskKey(task), task)
    this.#idle.closeUnsafe()
    this.#work.openUnsafe()
  }

  #onEvent(place: Place, event: StoreEvent): void {
    const { object, previous } = event
    if (event.type === "Deleted") this.#onDeleted(place, object)
    else {
      const owners = object.metadata.ownerReferences
      if (owners !== undefined && owners !== previous?.metadata.ownerReferences)
        this.#enqueue({ _tag: "Collect", place })
      if (isAwaitingDependents(object)) this.#enqueue({ _tag: "Await", place })
      else if (isOrphaning(object)) this.#enqueue({ _tag: "Orphan", place })
    }
    // A dependent that no longer blocks, or is gone, may let a foreground deletion go on.
    if (previous?.metadata.ownerReferences !== object.metadata.ownerReferences || event.type === "Deleted") {
      this.#wakeOwners(previous ?? object)
    }
    this.#onHome(place, object)
  }

  #onDeleted(place: Place, object: StoredObject): void {
    for (const dependent of this.#store.storage.dependents(object.metadata.uid)) {
      this.#enqueue({ _tag: "Collect", place: dependent })
    }
    if (place.type.definedBy !== undefined) this.#enqueue({ _tag: "Definition", name: place.type.definedBy })
    if (place.type.namespaced) this.#enqueueIfTerminating(place.namespace)
  }

  #wakeOwners(dependent: StoredObject): void {
    for (const reference of dependent.metadata.ownerReferences ?? []) {
      const owner = this.#store.storage.byUid(reference.uid)
      if (owner !== undefined && isAwaitingDependents(owner.object))
        this.#enqueue({ _tag: "Await", place: owner.place })
    }
  }

  #onHome(place: Place, object: StoredObject): void {
    if (object.metadata.deletionTimestamp === undefined) return
    if (place.type.kind === "Namespace" && place.type.group === "") {
      this.#enqueue({ _tag: "Namespace", name: place.name })
    }
    if (place.type.kind === "CustomResourceDefinition") this.#enqueue({ _tag: "Definition", name: place.name })
  }

  #enqueueIfTerminating(namespace: string): void {
    const home = this.#namespace(namespace)
    if (home?.object.metadata.deletionTimestamp !== undefined) this.#enqueue({ _tag: "Namespace", name: namespace })
  }

  #namespace(name: string): { readonly type: ResourceType; readonly object: StoredObject } | undefined {
    const type = this.#store.registry.byKind("", "Namespace")
    const object = type === undefined ? undefined : this.#store.storage.get({ type, namespace: "", name })
    return type === undefined || object === undefined ? undefined : { type, object }
  }

  #perform(task: Task, nowMillis: number): void {
    switch (task._tag) {
      case "Collect":
        collect(this.#store, this.#current(task.place), nowMillis)
        break
      case "Await":
        for (const place of awaitDependents(this.#store, this.#current(task.place), nowMillis)) {
          this.#enqueueCollect(place)
        }
        break
      case "Orphan":
        orphanDependents(this.#store, this.#current(task.place), nowMillis)
        break
      case "Namespace":
        this.#emptyNamespace(task.name, nowMillis)
        break
      case "Definition":
        this.#emptyDefinition(task.name, nowMillis)
        break
    }
  }

  /** One already being deleted is waited for, or its queue would never be empty. */
  #enqueueCollect(place: Place): void {
    if (this.#store.storage.get(place)?.metadata.deletionTimestamp === undefined) {
      this.#enqueue({ _tag: "Collect", place })
    }
  }

  /** A place remembered from before its type was registered anew. */
  #current(place: Place): Place {
    return { ...place, type: this.#store.registry.byResource(place.type.group, place.type.plural) ?? place.type }
  }

  #emptyNamespace(name: string, nowMillis: number): void {
    const home = this.#namespace(name)
    if (home === undefined || home.object.metadata.deletionTimestamp === undefined) return
    let left = 0
    // In no order one could rely on, as upstream: whoever needs an order must not assume one.
    for (const type of this.#store.uids.shuffle(this.#store.registry.all().filter((each) => each.namespaced))) {
      left += this.#deleteAll(type, name, NAMESPACE_CONTROLLER, nowMillis)
    }
    if (left > 0) return
    this.#store.finalizeNamespace({
      client: NAMESPACE_CONTROLLER,
      nowMillis,
      type: home.type,
      version: home.type.storageVersion,
      namespace: "",
      name
    })
  }

  #emptyDefinition(name: string, nowMillis: number): void {
    const definitions = this.#store.registry.byKind("apiextensions.k8s.io", "CustomResourceDefinition")
    if (definitions === undefined) return
    const place: Place = { type: definitions, namespace: "", name }
    const definition = this.#store.storage.get(place)
    if (definition?.metadata.deletionTimestamp === undefined) return
    const type = definedType(this.#store.registry, definition)
    if (type !== undefined && this.#deleteAll(type, undefined, DEFINITION_CONTROLLER, nowMillis) > 0) return
    const finalizers = (definition.metadata.finalizers ?? []).filter((each) => each !== CRD_CLEANUP_FINALIZER)
    this.#store.patch({
      client: DEFINITION_CONTROLLER,
      nowMillis,
      version: definitions.storageVersion,
      ...place,
      patch: { type: "merge", body: { metadata: { uid: definition.metadata.uid, finalizers } } }
    })
  }

  /** Asks the deletion of everything not yet being deleted; returns how many objects are left. */
  #deleteAll(type: ResourceType, namespace: string | undefined, client: string, nowMillis: number): number {
    const { storage } = this.#store
    for (const object of storage.list(type, namespace)) {
      if (object.metadata.deletionTimestamp !== undefined) continue
      this.#store.delete({
        client,
        nowMillis,
        type,
        version: type.storageVersion,
        namespace: object.metadata.namespace ?? "",
        name: object.metadata.name,
        options: { uid: object.metadata.uid, propagationPolicy: "Background" }
      })
    }
    return storage.count(type, namespace)
  }
}
