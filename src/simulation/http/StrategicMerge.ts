/**
 * Owns the strategic merge patch, which only built-in kinds take: lists merged by their keys as the schema says, and the
 * directives `$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`. Does not own schemas.
 */
import { isJsonArray, isJsonObject, type Json, type JsonObject, jsonEqual, setKey } from "../apiserver/Json.ts"
import { anyNode, type SchemaNode, type StrategicRule } from "./fields/Schema.ts"

const PATCH = "$patch"
const RETAIN_KEYS = "$retainKeys"
const ORDER = "$setElementOrder/"
const DELETE_ITEMS = "$deleteFromPrimitiveList/"

const isDirective = (key: string): boolean =>
  key === PATCH || key === RETAIN_KEYS || key.startsWith(ORDER) || key.startsWith(DELETE_ITEMS)

const noRule: StrategicRule = { merge: false, retainKeys: false, mergeKey: undefined }

const ruleOf = (node: SchemaNode, key: string): StrategicRule => (node.kind === "map" ? node.strategic(key) : noRule)
const childOf = (node: SchemaNode, key: string): SchemaNode =>
  node.kind === "map" ? (node.child(key) ?? anyNode) : anyNode
const itemOf = (node: SchemaNode): SchemaNode => (node.kind === "list" ? node.item() : anyNode)

/** A patch where there was nothing: without directives and nulls. */
const plain = (patch: Json): Json => {
  if (isJsonArray(patch)) return patch.filter((item) => !isJsonObject(item) || item[PATCH] === undefined).map(plain)
  if (!isJsonObject(patch)) return patch
  const next: Record<string, Json> = {}
  for (const [key, value] of Object.entries(patch)) {
    if (!isDirective(key) && value !== null && value !== undefined) setKey(next, key, plain(value))
  }
  return next
}

export const strategicMerge = (original: JsonObject, patch: JsonObject, node: SchemaNode): JsonObject => {
  if (patch[PATCH] === "delete") return {}
  if (patch[PATCH] === "replace") {
    const replaced = plain(patch)
    return isJsonObject(replaced) ? replaced : {}
  }
  const next: Record<string, Json> = {}
  const retained = patch[RETAIN_KEYS]
  for (const [key, value] of Object.entries(original)) {
    if (value !== undefined && (!isJsonArray(retained) || retained.includes(key))) setKey(next, key, value)
  }
  for (const [key, value] of Object.entries(patch)) {
    if (value === undefined || isDirective(key)) continue
    if (value === null) delete next[key]
    else setKey(next, key, mergeValue(next[key], value, childOf(node, key), ruleOf(node, key)))
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith(DELETE_ITEMS)) deleteItems(next, key.slice(DELETE_ITEMS.length), value)
    if (key.startsWith(ORDER)) reorder(next, key.slice(ORDER.length), value, ruleOf(node, key.slice(ORDER.length)))
  }
  return next
}

const mergeValue = (original: Json | undefined, patch: Json, node: SchemaNode, rule: StrategicRule): Json => {
  if (isJsonObject(patch)) {
    return isJsonObject(original) ? strategicMerge(original, patch, node) : plain(patch)
  }
  if (!isJsonArray(patch)) return patch
  if (!rule.merge || !isJsonArray(original)) return plain(patch)
  const { mergeKey } = rule
  if (mergeKey !== undefined) return mergeItems(original, patch, mergeKey, itemOf(node))
  return [...original, ...patch.filter((item) => !original.some((known) => jsonEqual(known, item)))]
}

const keyOf = (item: Json, mergeKey: string): Json | undefined => (isJsonObject(item) ? item[mergeKey] : undefined)

const mergeItems = (
  original: ReadonlyArray<Json>,
  patch: ReadonlyArray<Json>,
  mergeKey: string,
  node: SchemaNode
): ReadonlyArray<Json> => {
  if (patch.some((item) => isJsonObject(item) && item[PATCH] === "replace")) {
    return patch.filter((item) => !isJsonObject(item) || item[PATCH] !== "replace").map(plain)
  }
  let merged = [...original]
  for (const item of patch) {
    const key = keyOf(item, mergeKey)
    const found = merged.findIndex((known) => jsonEqual(keyOf(known, mergeKey), key))
    if (isJsonObject(item) && item[PATCH] === "delete") {
      merged = merged.filter((known) => !jsonEqual(keyOf(known, mergeKey), key))
      continue
    }
    const before = merged[found]
    if (isJsonObject(before) && isJsonObject(item)) merged = merged.with(found, strategicMerge(before, item, node))
    else merged.push(plain(item))
  }
  return merged
}

const deleteItems = (target: Record<string, Json>, key: string, gone: Json | undefined): void => {
  const list = target[key]
  if (!isJsonArray(list) || !isJsonArray(gone)) return
  setKey(
    target,
    key,
    list.filter((item) => !gone.some((each) => jsonEqual(each, item)))
  )
}

/** As the patch orders them; items it doesn't know keep their place behind what they stood behind. */
const reorder = (target: Record<string, Json>, key: string, order: Json | undefined, rule: StrategicRule): void => {
  const list = target[key]
  if (!isJsonArray(list) || !isJsonArray(order)) return
  const identity = (item: Json): string =>
    JSON.stringify(rule.mergeKey === undefined ? item : (keyOf(item, rule.mergeKey) ?? null))
  const wanted = new Map(order.map((item, index) => [identity(item), index] as const))
  const ordered = list
    .filter((item) => wanted.has(identity(item)))
    .sort((a, b) => (wanted.get(identity(a)) ?? 0) - (wanted.get(identity(b)) ?? 0))
  const result: Array<Json> = []
  let next = 0
  for (const item of list) {
    if (!wanted.has(identity(item))) result.push(item)
    else {
      const placed = ordered[next++]
      if (placed !== undefined) result.push(placed)
    }
  }
  setKey(target, key, result)
}
