/**
 * Owns the record of every version that every object had in a simulated API server: what checkers read instead of
 * asking the provider. Filled by the store itself. Judges nothing.
 */
import type { ApiStore } from "./apiserver/ApiStore.ts"
import type { StoreEvent } from "./apiserver/EventLog.ts"

/** Versions kept; a checker must refuse to judge when `lost` is not 0. */
const HISTORY_LIMIT = 100_000

export interface Version {
  /** Milliseconds of the simulation's clock. */
  readonly at: number
  readonly type: StoreEvent["type"]
  readonly kind: string
  /** `namespace/name`. */
  readonly key: string
  readonly object: StoreEvent["object"]
  readonly previous: StoreEvent["object"] | undefined
}

export interface History {
  readonly versions: () => ReadonlyArray<Version>
  readonly lost: () => number
}

export const record = (store: ApiStore, now: () => number): History => {
  const versions: Array<Version> = []
  let lost = 0
  store.storage.onEvent((place, event) => {
    if (versions.length >= HISTORY_LIMIT) {
      lost += 1
      return
    }
    versions.push({
      at: now(),
      type: event.type,
      kind: place.type.kind,
      key: `${place.namespace}/${place.name}`,
      object: event.object,
      previous: event.previous
    })
  })
  return { versions: () => versions, lost: () => lost }
}
