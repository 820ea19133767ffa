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

  follow(follower: Follower): void {
    this.#followers.add(follower)
  }

  unfollow(follower: Follower): void {
    this.#followers.delete(follower)
  }

  get followers(): number {
    return this.#followers.size
  }
}
