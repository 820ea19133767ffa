/**
 * Owns what a schema does to an object on its way in: pruning of unknown fields, defaults, and the fate of nulls. Each
 * returns the very same value where nothing changes. Does not own judging (Validate.ts, Cel.ts).
 */
import { isJsonArray, isJsonObject, type Json, type JsonObject, ownJson, setKey } from "../Json.ts"
import type { Structural } from "./Structural.ts"

const mapArray = (value: ReadonlyArray<Json>, each: (item: Json) => Json): ReadonlyArray<Json> => {
  let changed = false
  const next = value.map((item) => {
    const after = each(item)
    if (after !== item) changed = true
    return after
  })
  return changed ? next : value
}

/** `undefined` from `each` drops the key. */
const mapObject = (value: JsonObject, each: (key: string, item: Json) => Json | undefined): JsonObject => {
  let changed = false
  const next: Record<string, Json> = {}
  for (const key of Object.keys(value)) {
    const item = value[key]
    if (item === undefined) continue
    const after = each(key, item)
    if (after !== item) changed = true
    if (after !== undefined) setKey(next, key, after)
  }
  return changed ? next : value
}

/** What the API server keeps of an embedded object whatever the schema says. */
const embeddedFields: ReadonlySet<string> = new Set(["apiVersion", "kind", "metadata"])

export const prune = (value: Json, schema: Structural, root = false): Json => {
  if (isJsonArray(value)) {
    const { items } = schema
    return items === undefined ? value : mapArray(value, (item) => prune(item, items))
  }
  if (!isJsonObject(value)) return value
  return mapObject(value, (key, item) => {
    if ((root || schema.embedded) && embeddedFields.has(key)) return item
    const property = schema.properties.get(key) ?? schema.additional
    if (property !== undefined) return prune(item, property)
    return schema.preserveUnknown ? item : undefined
  })
}

const isStrayNull = (value: Json | undefined, schema: Structural): boolean => value === null && !schema.nullable

export const applyDefaults = (value: Json, schema: Structural): Json => {
  if (isJsonArray(value)) {
    const { items } = schema
    return items === undefined ? value : mapArray(value, (item) => applyDefaults(item, items))
  }
  if (!isJsonObject(value)) return value
  let next: Record<string, Json> | undefined
  for (const [key, property] of schema.properties) {
    const given = Object.hasOwn(value, key) ? value[key] : undefined
    if (property.default === undefined || (given !== undefined && !isStrayNull(given, property))) continue
    next ??= definedOf(value)
    setKey(next, key, property.default)
  }
  return mapObject(next ?? value, (key, item) => {
    const property = schema.properties.get(key)
    if (property !== undefined) return applyDefaults(item, property)
    const { additional } = schema
    if (additional === undefined) return item
    const given = isStrayNull(item, additional) && additional.default !== undefined ? additional.default : item
    return applyDefaults(given, additional)
  })
}

const definedOf = (value: JsonObject): Record<string, Json> => {
  const copy: Record<string, Json> = {}
  for (const key of Object.keys(value)) {
    const item = value[key]
    if (item !== undefined) setKey(copy, key, item)
  }
  return copy
}

/** A null where none may be, and no default took its place, is as good as absent. */
export const dropStrayNulls = (value: Json, schema: Structural): Json => {
  if (isJsonArray(value)) {
    const { items } = schema
    return items === undefined ? value : mapArray(value, (item) => dropStrayNulls(item, items))
  }
  if (!isJsonObject(value)) return value
  return mapObject(value, (key, item) => {
    const property = schema.properties.get(key) ?? schema.additional
    if (property === undefined) return item
    return isStrayNull(item, property) ? undefined : dropStrayNulls(item, property)
  })
}

/** All three, in the server's order. */
export const shape = (value: JsonObject, schema: Structural): JsonObject => {
  const shaped = dropStrayNulls(applyDefaults(prune(value, schema, true), schema), schema)
  const own = shaped === value ? value : ownJson(shaped)
  return isJsonObject(own) ? own : value
}
