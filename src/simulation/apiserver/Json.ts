/**
 * Owns what a stored object is (frozen JSON with checked metadata) and the handling of JSON that needs no Kubernetes:
 * owned copies, equality, reading untyped parts. Does not own any rule of the API server.
 */
import type { Json, JsonObject } from "../../kube/KubeClient.ts"

export type { Json, JsonObject } from "../../kube/KubeClient.ts"

export type StoredOwnerReference = {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  readonly uid: string
  readonly controller?: boolean
  readonly blockOwnerDeletion?: boolean
}

export type StoredMeta = {
  readonly name: string
  readonly generateName?: string
  readonly namespace?: string
  readonly uid: string
  readonly resourceVersion: string
  readonly generation?: number
  readonly creationTimestamp: string
  readonly deletionTimestamp?: string
  readonly deletionGracePeriodSeconds?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly finalizers?: ReadonlyArray<string>
  readonly ownerReferences?: ReadonlyArray<StoredOwnerReference>
  readonly managedFields?: ReadonlyArray<Json>
}

/** Frozen all the way down and shared freely: versions of an object share what did not change. */
export type StoredObject = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: StoredMeta
  readonly [key: string]: Json | undefined
}

export const isJsonArray = (value: Json | undefined): value is ReadonlyArray<Json> => Array.isArray(value)

export const isJsonObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

export const emptyObject: JsonObject = Object.freeze({})

/**
 * A frozen copy the store may keep; keys whose value is undefined vanish, as they do on the wire. Already owned (deep
 * frozen) parts are returned as they are: `owned` remembers them, so re-storing a big unchanged part costs nothing.
 */
const owned = new WeakSet<object>()

export const ownJson = (value: Json): Json => {
  if (typeof value !== "object" || value === null) {
    // JSON has no NaN or infinity: what JSON.stringify would have sent.
    return typeof value === "number" && !Number.isFinite(value) ? null : value
  }
  if (owned.has(value)) return value
  return isJsonArray(value) ? ownArray(value) : isJsonObject(value) ? ownObject(value) : null
}

const ownArray = (value: ReadonlyArray<Json>): ReadonlyArray<Json> => {
  const copy = value.map(ownJson)
  owned.add(copy)
  return Object.freeze(copy)
}

export const ownObject = (value: JsonObject): JsonObject => {
  if (owned.has(value)) return value
  const copy: Record<string, Json> = {}
  for (const key of Object.keys(value)) {
    const part = value[key]
    if (part !== undefined) setKey(copy, key, ownJson(part))
  }
  owned.add(copy)
  return Object.freeze(copy)
}

/** Plain assignment of the key `__proto__` would set the prototype instead. */
export const setKey = (target: Record<string, Json>, key: string, value: Json): void => {
  if (key === "__proto__") {
    Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true })
  } else {
    target[key] = value
  }
}

/** Freezes a StoredObject assembled from owned parts. */
export const ownStored = (object: StoredObject): StoredObject => {
  if (owned.has(object)) return object
  const copy: StoredObject = { ...object, metadata: ownMeta(object.metadata) }
  for (const key of Object.keys(copy)) {
    const part = copy[key]
    if (key !== "metadata" && typeof part === "object" && part !== null && !owned.has(part)) {
      return ownStored({ ...copy, [key]: ownJson(part) })
    }
  }
  owned.add(copy)
  return Object.freeze(copy)
}

const ownMeta = (metadata: StoredMeta): StoredMeta => {
  if (owned.has(metadata)) return metadata
  const copy = { ...metadata }
  for (const part of [copy.labels, copy.annotations, copy.finalizers, copy.managedFields]) {
    if (part !== undefined) Object.freeze(part)
  }
  copy.ownerReferences?.forEach(Object.freeze)
  owned.add(copy)
  return Object.freeze(copy)
}

/** Structural equality; shared parts are equal at once. An undefined key equals an absent one. */
export const jsonEqual = (a: Json | undefined, b: Json | undefined): boolean => {
  if (a === b) return true
  if (isJsonArray(a)) {
    return isJsonArray(b) && a.length === b.length && a.every((item, index) => jsonEqual(item, b[index]))
  }
  if (isJsonObject(a) && isJsonObject(b)) {
    for (const key of Object.keys(a)) if (!jsonEqual(a[key], b[key])) return false
    for (const key of Object.keys(b)) if (b[key] !== undefined && a[key] === undefined) return false
    return true
  }
  return false
}

/** The value at a path of keys, or undefined where the path breaks off. */
export const jsonAt = (value: Json | undefined, path: ReadonlyArray<string>): Json | undefined => {
  let here = value
  for (const key of path) {
    if (!isJsonObject(here)) return undefined
    here = Object.hasOwn(here, key) ? here[key] : undefined
  }
  return here
}

export const stringAt = (value: Json | undefined, ...path: ReadonlyArray<string>): string | undefined => {
  const found = jsonAt(value, path)
  return typeof found === "string" ? found : undefined
}

export const objectAt = (value: Json | undefined, ...path: ReadonlyArray<string>): JsonObject => {
  const found = jsonAt(value, path)
  return isJsonObject(found) ? found : emptyObject
}

export const arrayAt = (value: Json | undefined, ...path: ReadonlyArray<string>): ReadonlyArray<Json> => {
  const found = jsonAt(value, path)
  return isJsonArray(found) ? found : []
}

export const stringsAt = (value: Json | undefined, ...path: ReadonlyArray<string>): ReadonlyArray<string> =>
  arrayAt(value, ...path).filter((item) => typeof item === "string")

/** Go's name of a JSON value's type, as decode errors and CEL messages have it. */
export const jsonTypeOf = (value: Json | undefined): string => {
  if (value === null || value === undefined) return "null"
  if (isJsonArray(value)) return "array"
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number"
  return typeof value
}
