/**
 * Owns which schema a resource type has: its definition's, a built-in one, or none (kinds registered loosely). Does not
 * own what a schema means (fields/Schema.ts).
 */
import { isJsonObject, type JsonObject, stringAt } from "../apiserver/Json.ts"
import type { ResourceType } from "../apiserver/ResourceType.ts"
import { builtinSchemas, looseSchema, nodeOf, rootNode, type SchemaNode } from "./fields/Schema.ts"

/** By `group/version/kind`. */
const builtinNames: ReadonlyMap<string, string> = new Map(
  Object.entries(builtinSchemas).flatMap(([name, schema]) => {
    const kinds = schema["x-kubernetes-group-version-kind"]
    return (Array.isArray(kinds) ? kinds : [])
      .filter(isJsonObject)
      .map(
        (each) => [`${stringAt(each, "group")}/${stringAt(each, "version")}/${stringAt(each, "kind")}`, name] as const
      )
  })
)

/** The OpenAPI name of a built-in type's schema. */
export const builtinNameOf = (type: ResourceType, version: string): string | undefined =>
  type.definedBy === undefined ? builtinNames.get(`${type.group}/${version}/${type.kind}`) : undefined

export const builtinSchemaOf = (type: ResourceType, version: string): JsonObject | undefined => {
  const name = builtinNameOf(type, version)
  return name === undefined ? undefined : builtinSchemas[name]
}

/** What a definition says of its objects; undefined for kinds without one. */
export const definedSchemaOf = (type: ResourceType, version: string): JsonObject | undefined =>
  type.versions.find((each) => each.name === version)?.schema

export const nodeFor = (type: ResourceType, version: string): SchemaNode => {
  const builtin = builtinSchemaOf(type, version)
  if (builtin !== undefined) return nodeOf(builtin)
  return rootNode(definedSchemaOf(type, version) ?? looseSchema)
}
