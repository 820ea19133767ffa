/**
 * Owns the recent history of one resource type: a ring of events, and the cursors that follow it. A watcher holds no
 * queue: it is a position in the ring, so a slow one costs nothing and, once the ring has passed it by, is Gone.
 * Does not own streams (Watch.ts).
 */
import type { StoredObject } from "./Json.ts"

export interface StoreEvent {
  readonly type: "Added" | "Modified" | "Deleted"
  /** After the write; for Deleted the last state, with the resourceVersion of the deletion. */
  readonly object: StoredObject
  readonly previous: StoredObject | undefined
  readonly revision: number
}

/** Told of each event while its watcher waits; returns whether that woke it. */
export interface Follower {
  readonly onEvent: (event: StoreEvent, sequence: number) => void
}

export class EventLog {
  readonly #capacity: number
  readonly #ring: Array<StoreEvent> = []
  readonly #followers = new Set<Follower>()
  /** By the name of the one object that they follow: nobody else's events cost them anything. */
  readonly #byName = new Map<string, Set<Follower>>()
  #next = 0
  #first = 0
  /** Every event of a higher revision is still in the ring. */
  #floor = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get next(): number {
    return this.#next
  }

  get first(): number {
    return this.#first
  }

  /** The oldest resourceVersion a watch may start from. */
  get floor(): number {
    return this.#floor
  }

  append(event: StoreEvent): void {
    if (this.#next - this.#first === this.#capacity) {
      this.#floor = this.#ring[this.#first % this.#capacity]?.revision ?? this.#floor
      this.#first++
    }
    const sequence = this.#next++
    this.#ring[sequence % this.#capacity] = event
    for (const follower of this.#followers) follower.onEvent(event, sequence)
    for (const follower of this.#byName.get(event.object.metadata.name) ?? []) follower.onEvent(event, sequence)
  }

  /** Forgets everything up to and including `revision`, as etcd's compaction does. */
  compact(revision: number): void {
    this.#first = Math.max(this.#first, this.sequenceAfter(revision))
    this.#floor = Math.max(this.#floor, revision)
  }

  at(sequence: number): StoreEvent | undefined {
    return sequence < this.#first || sequence >= this.#next ? undefined : this.#ring[sequence % this.#capacity]
  }

  /** Where the first event after `revision` is (or will be). Revisions grow along the ring. */
  sequenceAfter(revision: number): number {
    let low = this.#first
    let high = this.#next
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.at(middle)?.revision ?? 0) > revision) high = middle
      else low = middle + 1
    }
    return low
  }

  /** `name`: only events of the object of that name are told. */
  follow(follower: Follower, name?: string): void {
    if (name === undefined) this.#followers.add(follower)
    else this.#byName.set(name, (this.#byName.get(name) ?? new Set()).add(follower))
  }

  unfollow(follower: Follower, name?: string): void {
    if (name === undefined) this.#followers.delete(follower)
    else {
      const named = this.#byName.get(name)
      named?.delete(follower)
      if (named?.size === 0) this.#byName.delete(name)
    }
  }
}
