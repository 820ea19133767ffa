/**
 * Owns values under a schema: which fields an object has, what a write added, changed and took away, and the merge of
 * an applied configuration into a live object. Follows sigs.k8s.io/structured-merge-diff. Does not own who owns fields.
 */
import { isJsonArray, isJsonObject, type Json, type JsonObject, jsonEqual, setKey } from "../../apiserver/Json.ts"
import {
  emptySet,
  type FieldSet,
  fieldElement,
  isEmpty,
  keyElement,
  leafSet,
  makeSet,
  valueElement
} from "./FieldSet.ts"
import { anyNode, type SchemaNode } from "./Schema.ts"

type MapNode = Extract<SchemaNode, { readonly kind: "map" }>
type ListNode = Extract<SchemaNode, { readonly kind: "list" }>

const openMap: MapNode = {
  kind: "map",
  atomic: false,
  isField: () => false,
  child: () => anyNode,
  strategic: () => ({ merge: false, retainKeys: false, mergeKey: undefined })
}

/** The value as a map that is merged by its keys, or undefined: it is one whole. */
const mapOf = (value: Json | undefined, node: SchemaNode): readonly [JsonObject, MapNode] | undefined => {
  if (!isJsonObject(value)) return undefined
  if (node.kind === "any") return [value, openMap]
  return node.kind === "map" && !node.atomic ? [value, node] : undefined
}

const listOf = (value: Json | undefined, node: SchemaNode): readonly [ReadonlyArray<Json>, ListNode] | undefined =>
  isJsonArray(value) && node.kind === "list" && node.mode !== "atomic" ? [value, node] : undefined

const childNode = (node: MapNode, key: string): SchemaNode => node.child(key) ?? anyNode

const keysOf = (value: JsonObject): ReadonlyArray<string> =>
  Object.keys(value).filter((key) => value[key] !== undefined)

/** How an item of a set or map list is named; undefined: it lacks a key. */
export const itemElement = (item: Json, node: ListNode): string | undefined => {
  if (node.mode === "set") return valueElement(item)
  if (!isJsonObject(item)) return undefined
  const keys: Array<readonly [string, Json]> = []
  for (const key of node.keys) {
    const value = item[key] ?? node.keyDefault(key)
    if (value === undefined) return undefined
    keys.push([key, value])
  }
  return keyElement(keys)
}

/** Items by their elements; of those that share one, the last. */
const itemsOf = (list: ReadonlyArray<Json>, node: ListNode): ReadonlyMap<string, Json> =>
  new Map(list.map((item, index) => [itemElement(item, node) ?? `i:${index}`, item] as const))

const isEmptyMap = (value: Json | undefined): boolean => isJsonObject(value) && keysOf(value).length === 0

/** All fields of a value, as one who applies it owns them. */
export const fieldsOf = (value: Json, node: SchemaNode): FieldSet => {
  const map = mapOf(value, node)
  if (map !== undefined) {
    const [entries, schema] = map
    const children = new Map<string, FieldSet>()
    for (const key of keysOf(entries)) {
      const item = entries[key] ?? null
      const below = fieldsOf(item, childNode(schema, key))
      const member = below.member || !schema.isField(key) || isEmptyMap(item)
      children.set(fieldElement(key), makeSet(member, below.children))
    }
    return makeSet(false, children)
  }
  const list = listOf(value, node)
  if (list === undefined) return leafSet
  const [items, schema] = list
  const children = new Map<string, FieldSet>()
  for (const [element, item] of itemsOf(items, schema)) {
    children.set(element, makeSet(true, fieldsOf(item, schema.item()).children))
  }
  return makeSet(false, children)
}

export interface Comparison {
  readonly added: FieldSet
  readonly removed: FieldSet
  readonly modified: FieldSet
}

const same: Comparison = { added: emptySet, removed: emptySet, modified: emptySet }

type Entries = ReadonlyMap<string, { readonly value: Json; readonly node: SchemaNode }>

const entriesOf = (value: Json | undefined, node: SchemaNode): Entries | undefined => {
  const map = mapOf(value, node)
  if (map !== undefined) {
    const [object, schema] = map
    return new Map(
      keysOf(object).map((key) => [fieldElement(key), { value: object[key] ?? null, node: childNode(schema, key) }])
    )
  }
  const list = listOf(value, node)
  if (list === undefined) return undefined
  const [items, schema] = list
  return new Map([...itemsOf(items, schema)].map(([element, item]) => [element, { value: item, node: schema.item() }]))
}

const noEntries: Entries = new Map()

/** What differs from `before` to `after`. Shared parts are equal at once. */
export const compare = (before: Json | undefined, after: Json | undefined, node: SchemaNode): Comparison => {
  if (before === after) return same
  const [old, next] = [entriesOf(before, node), entriesOf(after, node)]
  const bothSmall = (old?.size ?? 0) === 0 && (next?.size ?? 0) === 0
  const comparable = (old !== undefined || before === undefined) && (next !== undefined || after === undefined)
  if (bothSmall || !comparable) return compareWhole(before, after)
  const added = new Map<string, FieldSet>()
  const removed = new Map<string, FieldSet>()
  const modified = new Map<string, FieldSet>()
  for (const key of new Set([...(old ?? noEntries).keys(), ...(next ?? noEntries).keys()])) {
    const [was, is] = [old?.get(key), next?.get(key)]
    const below = compare(was?.value, is?.value, (was ?? is)?.node ?? anyNode)
    added.set(key, below.added)
    removed.set(key, below.removed)
    modified.set(key, below.modified)
  }
  return {
    added: makeSet(before === undefined, added),
    removed: makeSet(after === undefined, removed),
    modified: makeSet(false, modified)
  }
}

const compareWhole = (before: Json | undefined, after: Json | undefined): Comparison => {
  if (before === undefined) return { ...same, added: leafSet }
  if (after === undefined) return { ...same, removed: leafSet }
  return jsonEqual(before, after) ? same : { ...same, modified: leafSet }
}

/** `applied` into `live`: maps by key, lists by item, everything else as a whole. */
export const mergeTyped = (live: Json | undefined, applied: Json, node: SchemaNode): Json => {
  const [before, next] = [mapOf(live, node), mapOf(applied, node)]
  if (before !== undefined && next !== undefined) {
    const merged: Record<string, Json> = {}
    for (const key of keysOf(before[0])) setKey(merged, key, before[0][key] ?? null)
    for (const key of keysOf(next[0])) {
      const old = Object.hasOwn(before[0], key) ? before[0][key] : undefined
      setKey(merged, key, mergeTyped(old, next[0][key] ?? null, childNode(next[1], key)))
    }
    return merged
  }
  const [oldList, nextList] = [listOf(live, node), listOf(applied, node)]
  return oldList === undefined || nextList === undefined ? applied : mergeLists(oldList[0], nextList[0], nextList[1])
}

/**
 * The order is that of what is applied; an item only the live list has comes before the next one that both have, as it
 * did. (structured-merge-diff's order, item by item.)
 */
const mergeLists = (live: ReadonlyArray<Json>, applied: ReadonlyArray<Json>, node: ListNode): ReadonlyArray<Json> => {
  const [old, next] = [itemsOf(live, node), itemsOf(applied, node)]
  const order = [...old.keys()]
  const shared = [...next.keys()].filter((element) => old.has(element))
  const merged: Array<Json> = []
  let position = 0
  /** Up to the next item that both have, past those that come later in what is applied. */
  const passOthers = () => {
    for (; position < order.length && order[position] !== shared[0]; position++) {
      const element = order[position] ?? ""
      if (!next.has(element)) merged.push(old.get(element) ?? null)
    }
  }
  for (const [element, item] of next) {
    passOthers()
    merged.push(mergeTyped(old.get(element), item, node.item()))
    if (element !== shared[0]) continue
    shared.shift()
    position++
  }
  passOthers()
  return merged
}

/** Without what `gone` names. A container that loses its last part goes too, unless somebody still `owned` it. */
export const removeFields = (value: Json, gone: FieldSet, owned: FieldSet, node: SchemaNode): Json | undefined => {
  if (isEmpty(gone)) return value
  if (gone.member && isEmpty(owned)) return undefined
  const map = mapOf(value, node)
  if (map !== undefined) {
    const kept: Record<string, Json> = {}
    for (const key of keysOf(map[0])) {
      const element = fieldElement(key)
      const left = removeFields(map[0][key] ?? null, at(gone, element), at(owned, element), childNode(map[1], key))
      if (left !== undefined) setKey(kept, key, left)
    }
    return Object.keys(kept).length === 0 && keysOf(map[0]).length > 0 && isEmpty(owned) ? undefined : kept
  }
  const list = listOf(value, node)
  if (list === undefined) return value
  const [items, schema] = list
  const kept = items.flatMap((item) => {
    const element = itemElement(item, schema) ?? ""
    const owners = at(owned, element)
    const left = removeFields(item, at(gone, element), owners, schema.item())
    if (left === undefined) return []
    // What an item is found by stays as long as the item does.
    const found = isJsonObject(item)
      ? schema.keys.flatMap((key) => (item[key] === undefined ? [] : [[key, item[key]] as const]))
      : []
    return [isJsonObject(left) ? { ...Object.fromEntries(found), ...left } : left]
  })
  return kept.length === 0 && items.length > 0 && isEmpty(owned) ? undefined : kept
}

const at = (set: FieldSet, element: string): FieldSet => set.children.get(element) ?? emptySet

/** What keeps a configuration from being applied: `.spec.foo: field not declared in schema`. */
export const typeErrors = (value: Json, node: SchemaNode, path = ""): ReadonlyArray<string> => {
  if (isJsonObject(value) && node.kind === "map") {
    return keysOf(value).flatMap((key) => {
      const child = node.child(key)
      const here = `${path}.${key}`
      return child === undefined
        ? [`${here}: field not declared in schema`]
        : typeErrors(value[key] ?? null, child, here)
    })
  }
  if (!isJsonArray(value) || node.kind !== "list") return []
  const seen = new Set<string>()
  return value.flatMap((item, index) => {
    if (node.mode === "atomic") return typeErrors(item, node.item(), `${path}[${index}]`)
    const element = itemElement(item, node)
    if (element === undefined) {
      const missing = node.keys.find((key) => !isJsonObject(item) || item[key] === undefined) ?? ""
      return [
        `${path}: element ${index}: associative list with keys has an element that omits key field ${JSON.stringify(missing)} (and doesn't have default value)`
      ]
    }
    if (seen.has(element)) return [`${path}: duplicate entries for key ${element.slice(2)}`]
    seen.add(element)
    return typeErrors(item, node.item(), `${path}[${index}]`)
  })
}
