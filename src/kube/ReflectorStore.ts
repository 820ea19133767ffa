/**
 * Owns the copy of a server's objects that a Reflector keeps: what a list or an event changes in it, its indexes, and
 * what its subscribers have yet to hear. All of it is synchronous, so no reader ever sees half a change.
 * Does not own when to list or watch (Reflector.ts).
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { KubeObject } from "../api/Kind.ts"
import type { ObjectList, ObjectRef, UndecodableObject, WatchEvent } from "./KubeClient.ts"

export type Change<A> =
  | { readonly _tag: "Added"; readonly object: A }
  | { readonly _tag: "Modified"; readonly object: A; readonly previous: A }
  /** `object` is the last state known. */
  | { readonly _tag: "Deleted"; readonly object: A }

/** Keys under which an object can be found. */
export type Indexer<A> = (object: A) => ReadonlyArray<string>

/** The index every store has. */
export const NAMESPACE_INDEX = "namespace"

const keyOf = ({ namespace, name }: ObjectRef): string => `${namespace ?? ""}/${name}`

/** resourceVersions are compared as numbers where both are numbers (KEP-5504), else only for equality. */
const isNumber = (version: string | undefined): version is string => version !== undefined && /^\d+$/.test(version)

const isNewer = (a: string | undefined, b: string | undefined): boolean =>
  isNumber(a) && isNumber(b) ? BigInt(a) > BigInt(b) : a !== b

const sameObject = (a: KubeObject, b: KubeObject): boolean =>
  a.metadata.uid === undefined || b.metadata.uid === undefined || a.metadata.uid === b.metadata.uid

/**
 * What one subscriber has yet to hear: at most one change an object (by uid), the later folded into the earlier. A slow
 * subscriber therefore holds up nobody, holds no more than there are objects, and still learns every final state.
 */
export class Pending<A extends KubeObject> {
  private readonly changes = new Map<string, Change<A>>()
  private readonly latch = Latch.makeUnsafe(false)

  offer(change: Change<A>): void {
    const key = `${keyOf(change.object.metadata)}/${change.object.metadata.uid ?? ""}`
    const earlier = this.changes.get(key)
    const folded = earlier === undefined ? change : fold(earlier, change)
    // A deletion goes to the end: what was heard of after the object's last change still comes before it.
    if (folded === undefined || folded._tag === "Deleted") this.changes.delete(key)
    if (folded !== undefined) this.changes.set(key, folded)
    if (this.changes.size > 0) this.latch.openUnsafe()
  }

  /** Waits for changes, and takes all there are. */
  readonly take: Effect.Effect<ReadonlyArray<Change<A>>> = Effect.suspend(() =>
    Effect.andThen(
      this.latch.await,
      Effect.sync(() => {
        const taken = [...this.changes.values()]
        this.changes.clear()
        this.latch.closeUnsafe()
        return taken
      })
    )
  )
}

/** Undefined: an object that came and went unheard of. */
const fold = <A>(earlier: Change<A>, later: Change<A>): Change<A> | undefined => {
  switch (earlier._tag) {
    case "Added":
      return later._tag === "Deleted" ? undefined : { _tag: "Added", object: later.object }
    case "Modified":
      return later._tag === "Deleted" ? later : { _tag: "Modified", object: later.object, previous: earlier.previous }
    case "Deleted":
      // The same uid again: it had left the selector, and is back.
      return later._tag === "Deleted" ? later : { _tag: "Modified", object: later.object, previous: earlier.object }
  }
}

const sameValues = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === b.length && a.every((value, at) => value === b[at])

const unindex = (index: Map<string, Set<string>> | undefined, value: string, key: string): void => {
  const keys = index?.get(value)
  keys?.delete(key)
  if (keys?.size === 0) index?.delete(value)
}

export class ReflectorStore<A extends KubeObject> {
  private readonly objects = new Map<string, A>()
  private readonly indexes = new Map<string, Map<string, Set<string>>>()
  private readonly indexers: ReadonlyMap<string, Indexer<A>>
  private readonly subscribers = new Set<Pending<A>>()
  /** Where to resume a watch. Undefined before the first list. */
  private at: string | undefined

  constructor(indexers: Readonly<Record<string, Indexer<A>>>) {
    this.indexers = new Map([
      ...Object.entries(indexers),
      [NAMESPACE_INDEX, (object: A) => [object.metadata.namespace ?? ""]]
    ])
    for (const name of this.indexers.keys()) this.indexes.set(name, new Map())
  }

  get position(): string | undefined {
    return this.at
  }

  get size(): number {
    return this.objects.size
  }

  get(ref: ObjectRef): A | undefined {
    return this.objects.get(keyOf(ref))
  }

  list(): ReadonlyArray<A> {
    return [...this.objects.values()]
  }

  byIndex(index: string, key: string): ReadonlyArray<A> {
    const found: Array<A> = []
    for (const objectKey of this.indexes.get(index)?.get(key) ?? []) {
      const object = this.objects.get(objectKey)
      if (object !== undefined) found.push(object)
    }
    return found
  }

  /** A new subscriber hears of everything there is as `Added`, then of what changes. */
  subscribe(): Pending<A> {
    const pending = new Pending<A>()
    for (const object of this.objects.values()) pending.offer({ _tag: "Added", object })
    this.subscribers.add(pending)
    return pending
  }

  unsubscribe(pending: Pending<A>): void {
    this.subscribers.delete(pending)
  }

  /**
   * Makes the store what the snapshot says: first what vanished, then the rest in the server's order. The snapshot is
   * believed even where it is older (a restored backup). An object in `undecodable` exists: its last state is kept.
   */
  replace(snapshot: ObjectList<A>): void {
    const kept = new Map<string, string | undefined>()
    for (const object of snapshot.items) kept.set(keyOf(object.metadata), object.metadata.uid)
    for (const object of snapshot.undecodable ?? []) kept.set(keyOf(object), object.uid)
    for (const [key, object] of [...this.objects]) {
      const uid = kept.get(key)
      const replaced = uid !== undefined && object.metadata.uid !== undefined && uid !== object.metadata.uid
      if (!kept.has(key) || replaced) this.delete(key, object)
    }
    for (const object of snapshot.items) {
      const current = this.get(object.metadata)
      if (current === undefined) this.put(object, { _tag: "Added", object })
      else if (current.metadata.resourceVersion !== object.metadata.resourceVersion) {
        this.put(object, { _tag: "Modified", object, previous: current })
      }
    }
    this.at = snapshot.resourceVersion
  }

  /** One event of a watch. The tag is not believed where the store knows better; duplicates and older states are dropped. */
  apply(event: WatchEvent<A>): void {
    switch (event._tag) {
      case "Added":
      case "Modified":
        this.upsert(event.object)
        break
      case "Deleted":
        this.remove(event.object)
        break
      case "Bookmark":
        if (event.skipped?.type === "Deleted") this.removeSkipped(event.skipped)
    }
    this.advance(event._tag === "Bookmark" ? event.resourceVersion : event.object.metadata.resourceVersion)
  }

  private upsert(object: A): void {
    const current = this.get(object.metadata)
    const version = object.metadata.resourceVersion
    if (current === undefined) {
      // Not newer than what was seen already: a replay of something that is gone by now.
      const replay = isNumber(version) && isNumber(this.at) && !isNewer(version, this.at)
      if (!replay) this.put(object, { _tag: "Added", object })
    } else if (isNewer(version, current.metadata.resourceVersion)) {
      if (sameObject(current, object)) {
        this.put(object, { _tag: "Modified", object, previous: current })
      } else {
        this.delete(keyOf(current.metadata), current)
        this.put(object, { _tag: "Added", object })
      }
    }
  }

  /** The deleted object does not decode, but the state before did: that is what subscribers are told of. */
  private removeSkipped(skipped: UndecodableObject): void {
    const current = this.get(skipped)
    if (current === undefined) return
    if (skipped.uid === undefined || skipped.uid === current.metadata.uid) this.delete(keyOf(skipped), current)
  }

  private remove(object: A): void {
    const current = this.get(object.metadata)
    if (current === undefined) return
    const newer = isNewer(object.metadata.resourceVersion, current.metadata.resourceVersion)
    if (sameObject(current, object)) this.delete(keyOf(current.metadata), object)
    // Of another uid, later than ours: both are gone. Earlier than ours: it is about the predecessor.
    else if (newer) this.delete(keyOf(current.metadata), current)
  }

  private advance(version: string | undefined): void {
    if (version !== undefined && isNewer(version, this.at)) this.at = version
  }

  private put(object: A, change: Change<A>): void {
    const key = keyOf(object.metadata)
    const current = this.objects.get(key)
    // Before anything is changed: an indexer is the caller's code.
    const moves = [...this.indexers].map(([name, indexer]) => {
      const was = current === undefined ? [] : indexer(current)
      const is = indexer(object)
      return { index: this.indexes.get(name), was, is, same: sameValues(was, is) }
    })
    this.objects.set(key, object)
    for (const { index, was, is, same } of moves) {
      if (same) continue
      for (const value of was) unindex(index, value, key)
      for (const value of is) {
        const keys = index?.get(value)
        if (keys === undefined) index?.set(value, new Set([key]))
        else keys.add(key)
      }
    }
    this.publish(change)
  }

  private delete(key: string, object: A): void {
    const current = this.objects.get(key)
    if (current !== undefined)
      for (const [name, indexer] of this.indexers)
        for (const value of indexer(current)) unindex(this.indexes.get(name), value, key)
    this.objects.delete(key)
    this.publish({ _tag: "Deleted", object })
  }

  private publish(change: Change<A>): void {
    for (const subscriber of this.subscribers) subscriber.offer(change)
  }
}
