/**
 * Owns finding the objects of one type by a label's value without looking at all of them. A label is indexed from the first
 * time on that someone asks for it. Does not own selectors: what is found here still has to match.
 */
import type { StoredObject } from "./Json.ts"

/** Labels that are indexed; for others all objects are looked at. */
const MAX_LABELS = 16

type Namespaces = ReadonlyMap<string, ReadonlyMap<string, StoredObject>>
/** By namespace and value, then by name. */
type Values = Map<string, Map<string, StoredObject>>

const keyOf = (namespace: string, value: string): string => `${namespace}/${value}`

export class LabelIndex {
  readonly #objects: () => Namespaces
  readonly #labels = new Map<string, Values>()

  constructor(objects: () => Namespaces) {
    this.#objects = objects
  }

  /** Undefined: this label is not indexed. */
  find(namespace: string, [label, value]: readonly [label: string, value: string]): Iterable<StoredObject> | undefined {
    const values = this.#labels.get(label) ?? this.#build(label)
    return values === undefined ? undefined : (values.get(keyOf(namespace, value))?.values() ?? [])
  }

  /** Undefined: it is not there, or was not. */
  changed(namespace: string, object: StoredObject | undefined, previous: StoredObject | undefined): void {
    for (const [label, values] of this.#labels) {
      const was = previous?.metadata.labels?.[label]
      const is = object?.metadata.labels?.[label]
      if (previous !== undefined && was !== undefined && (object === undefined || was !== is)) {
        const key = keyOf(namespace, was)
        const named = values.get(key)
        named?.delete(previous.metadata.name)
        if (named?.size === 0) values.delete(key)
      }
      if (object !== undefined && is !== undefined) add(values, keyOf(namespace, is), object)
    }
  }

  clear(): void {
    this.#labels.clear()
  }

  #build(label: string): Values | undefined {
    if (this.#labels.size >= MAX_LABELS) return undefined
    const values: Values = new Map()
    for (const [namespace, objects] of this.#objects())
      for (const object of objects.values()) {
        const value = object.metadata.labels?.[label]
        if (value !== undefined) add(values, keyOf(namespace, value), object)
      }
    this.#labels.set(label, values)
    return values
  }
}

const add = (values: Values, key: string, object: StoredObject): void => {
  const named = values.get(key)
  if (named === undefined) values.set(key, new Map([[object.metadata.name, object]]))
  else named.set(object.metadata.name, object)
}
