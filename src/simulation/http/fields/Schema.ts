/**
 * Owns what an OpenAPI schema says about merging: which objects are structs, maps or atoms, which lists are sets or maps
 * and by which keys, and where the strategic merge patch has its own rules. Read lazily: built-in schemas are recursive.
 * Does not own validation (apiserver/schema) nor the documents (openapi/).
 */
import {
  emptyObject,
  isJsonObject,
  type Json,
  type JsonObject,
  objectAt,
  stringAt,
  stringsAt
} from "../../apiserver/Json.ts"
import builtin from "../openapi/builtin.json" with { type: "json" }

/** The schemas of the built-in kinds and of what they consist of, by their OpenAPI names. */
export const builtinSchemas: Readonly<Record<string, JsonObject>> = builtin

export const OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

/** How a list may be merged by a strategic merge patch. */
export interface StrategicRule {
  readonly merge: boolean
  readonly retainKeys: boolean
  /** Absent: a list of scalars. */
  readonly mergeKey: string | undefined
}

export type SchemaNode =
  /** Nothing is known: maps are merged, lists are atoms. */
  | { readonly kind: "any" }
  | { readonly kind: "scalar" }
  | {
      readonly kind: "map"
      readonly atomic: boolean
      /** A declared field: part of a struct, not an entry somebody made. */
      readonly isField: (key: string) => boolean
      /** Undefined: nothing may be there. */
      readonly child: (key: string) => SchemaNode | undefined
      readonly strategic: (key: string) => StrategicRule
    }
  | {
      readonly kind: "list"
      readonly mode: "atomic" | "set" | "map"
      readonly keys: ReadonlyArray<string>
      readonly keyDefault: (key: string) => Json | undefined
      readonly item: () => SchemaNode
    }

export const anyNode: SchemaNode = { kind: "any" }
const scalarNode: SchemaNode = { kind: "scalar" }

const resolved = (raw: JsonObject): JsonObject => {
  const [part] = Array.isArray(raw["allOf"]) && raw["allOf"].length === 1 ? raw["allOf"] : []
  const reference = stringAt(raw, "$ref") ?? (isJsonObject(part) ? stringAt(part, "$ref") : undefined)
  if (reference === undefined) return raw
  return builtinSchemas[reference.slice(reference.lastIndexOf("/") + 1)] ?? emptyObject
}

const nodes = new WeakMap<JsonObject, SchemaNode>()

const mapNode = (raw: JsonObject, root: boolean): SchemaNode => {
  const properties = objectAt(raw, "properties")
  const additional = raw["additionalProperties"]
  const open = raw["x-kubernetes-preserve-unknown-fields"] === true || additional === true
  const embedded = raw["x-kubernetes-embedded-resource"] === true
  const propertyOf = (key: string): JsonObject | undefined => {
    const property = Object.hasOwn(properties, key) ? properties[key] : undefined
    return isJsonObject(property) ? property : undefined
  }
  const standard = (key: string): SchemaNode | undefined => {
    if (!root && !embedded) return undefined
    if (key === "apiVersion" || key === "kind") return scalarNode
    return key === "metadata" ? nodeOf(builtinSchemas[OBJECT_META] ?? emptyObject) : undefined
  }
  return {
    kind: "map",
    atomic: raw["x-kubernetes-map-type"] === "atomic",
    isField: (key) => propertyOf(key) !== undefined || standard(key) !== undefined,
    child: (key) => {
      const common = standard(key)
      if (common !== undefined) return common
      const property = propertyOf(key)
      if (property !== undefined) return nodeOf(property)
      if (isJsonObject(additional)) return nodeOf(additional)
      return open ? anyNode : undefined
    },
    strategic: (key) => {
      const property = propertyOf(key) ?? emptyObject
      const strategies = (stringAt(property, "x-kubernetes-patch-strategy") ?? "").split(",")
      return {
        merge: strategies.includes("merge"),
        retainKeys: strategies.includes("retainKeys"),
        mergeKey: stringAt(property, "x-kubernetes-patch-merge-key")
      }
    }
  }
}

const listNode = (raw: JsonObject): SchemaNode => {
  const items = raw["items"]
  const itemSchema = isJsonObject(items) ? items : undefined
  const type = stringAt(raw, "x-kubernetes-list-type")
  return {
    kind: "list",
    mode: type === "set" || type === "map" ? type : "atomic",
    keys: stringsAt(raw, "x-kubernetes-list-map-keys"),
    keyDefault: (key) =>
      itemSchema === undefined ? undefined : objectAt(resolved(itemSchema), "properties", key)["default"],
    item: () => (itemSchema === undefined ? anyNode : nodeOf(itemSchema))
  }
}

const makeNode = (raw: JsonObject, root: boolean): SchemaNode => {
  if (raw["x-kubernetes-int-or-string"] === true) return scalarNode
  const type = raw["type"]
  if (type === "array") return listNode(raw)
  const shaped = raw["properties"] !== undefined || raw["additionalProperties"] !== undefined
  if (shaped || root || raw["x-kubernetes-embedded-resource"] === true) return mapNode(raw, root)
  if (raw["x-kubernetes-preserve-unknown-fields"] === true || type === "object" || type === undefined) return anyNode
  return scalarNode
}

export const nodeOf = (raw: JsonObject): SchemaNode => {
  const schema = resolved(raw)
  const known = nodes.get(schema)
  if (known !== undefined) return known
  const fresh = makeNode(schema, false)
  nodes.set(schema, fresh)
  return fresh
}

const roots = new WeakMap<JsonObject, SchemaNode>()

/** The schema of a whole object of a custom kind: apiVersion, kind and metadata are there whatever it says. */
export const rootNode = (raw: JsonObject): SchemaNode => {
  const known = roots.get(raw)
  if (known !== undefined) return known
  const fresh = makeNode(raw, true)
  roots.set(raw, fresh)
  return fresh
}

/** A kind without any schema: only its metadata is known. */
export const looseSchema: JsonObject = { type: "object", "x-kubernetes-preserve-unknown-fields": true }
