/**
 * Owns that Events don't stay for ever: each is gone an hour after it was last written, as with kube-apiserver's default
 * `--event-ttl`. Does not own when it is looked, nor what an Event is.
 */
import type { ApiStore } from "./ApiStore.ts"
import { type Place, placeKey } from "./Storage.ts"

/** Milliseconds. */
export const EVENT_TTL_MILLIS = 3_600_000

interface Written {
  readonly place: Place
  readonly atMillis: number
}

export class EventExpiry {
  readonly #store: ApiStore
  /** By last write, the oldest first. Bounded by the Events there are. */
  readonly #written = new Map<string, Written>()

  constructor(store: ApiStore, nowMillis: () => number) {
    this.#store = store
    store.storage.onEvent((place, event) => {
      if (place.type.kind !== "Event" || place.type.group !== "") return
      const key = placeKey(place)
      this.#written.delete(key)
      if (event.type !== "Deleted") this.#written.set(key, { place, atMillis: nowMillis() })
    })
  }

  expire(nowMillis: number): void {
    this.#adopt(nowMillis)
    for (const { atMillis, place } of [...this.#written.values()]) {
      if (nowMillis - atMillis < EVENT_TTL_MILLIS) return
      const object = this.#store.storage.get(place)
      if (object !== undefined) this.#store.storage.remove(place, object)
    }
  }

  /** Those that were there without being written: restored ones. Their hour begins now. */
  #adopt(nowMillis: number): void {
    const type = this.#store.registry.byKind("", "Event")
    if (type === undefined || this.#store.storage.count(type) === this.#written.size) return
    const before = [...this.#written]
    this.#written.clear()
    const known = new Map(before)
    for (const { metadata } of this.#store.storage.list(type)) {
      const place: Place = { type, namespace: metadata.namespace ?? "", name: metadata.name }
      const key = placeKey(place)
      known.set(key, known.get(key) ?? { place, atMillis: nowMillis })
    }
    for (const [key, written] of known)
      if (this.#store.storage.get(written.place) !== undefined) this.#written.set(key, written)
  }
}
