/**
 * Owns the OpenAPI documents: what `kubectl explain` shows and `kubectl apply` asks before it sends fieldValidation. One
 * v3 document a group and version, and one v2 document of everything. Built when asked for; schemas come from the
 * definitions and from Kubernetes' own (builtin.json). Paths say only what clients look for.
 */
import { createHash } from "node:crypto"
import { apiVersionOf } from "../../../api/Kind.ts"
import { arrayAt, type Json, type JsonObject, objectAt, setKey } from "../../apiserver/Json.ts"
import type { ResourceType } from "../../apiserver/ResourceType.ts"
import { KUBERNETES_VERSION } from "../Discovery.ts"
import { builtinSchemas, looseSchema, OBJECT_META } from "../fields/Schema.ts"
import { builtinNameOf, definedSchemaOf } from "../Schemas.ts"
import { operationsOf } from "./Paths.ts"

const LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
const V3_PREFIX = "#/components/schemas/"
const V2_PREFIX = "#/definitions/"

const info: JsonObject = { title: "Machinist's simulated Kubernetes", version: KUBERNETES_VERSION.gitVersion }

/** `com.example.v1.Widget`. */
const customName = (type: ResourceType, version: string): string =>
  `${type.group.split(".").reverse().join(".")}.${version}.${type.kind}`

export const schemaNameOf = (type: ResourceType, version: string): string =>
  builtinNameOf(type, version) ??
  (type.group === "" ? `io.k8s.api.core.${version}.${type.kind}` : customName(type, version))

const kindOf = (type: ResourceType, version: string, kind: string): Json => [{ group: type.group, version, kind }]

const field = (description: string): JsonObject => ({ description, type: "string" })

const KIND_FIELDS = {
  apiVersion: field(
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
  ),
  kind: field(
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
  )
} as const

const reference = (name: string, description: string): JsonObject => ({
  description,
  allOf: [{ $ref: `${V3_PREFIX}${name}` }]
})

const objectSchema = (type: ResourceType, version: string): JsonObject => {
  const schema = definedSchemaOf(type, version) ?? looseSchema
  return {
    ...schema,
    properties: {
      ...KIND_FIELDS,
      metadata: reference(
        OBJECT_META,
        "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
      ),
      ...Object.fromEntries(
        Object.entries(objectAt(schema, "properties")).filter(
          ([key]) => !["apiVersion", "kind", "metadata"].includes(key)
        )
      )
    },
    "x-kubernetes-group-version-kind": kindOf(type, version, type.kind)
  }
}

const listSchema = (type: ResourceType, version: string): JsonObject => ({
  description: `${type.listKind} is a list of ${type.kind}`,
  type: "object",
  required: ["items"],
  properties: {
    ...KIND_FIELDS,
    items: {
      description: `List of ${type.plural}.`,
      type: "array",
      items: { $ref: `${V3_PREFIX}${schemaNameOf(type, version)}` }
    },
    metadata: reference(LIST_META, "Standard list metadata.")
  },
  "x-kubernetes-group-version-kind": kindOf(type, version, type.listKind)
})

const followReferences = (schema: JsonObject, into: Map<string, JsonObject>): void => {
  JSON.stringify(schema, (key, value: unknown) => {
    if (key !== "$ref" || typeof value !== "string") return value
    const name = value.slice(value.lastIndexOf("/") + 1)
    const found = builtinSchemas[name]
    if (found !== undefined && !into.has(name)) {
      into.set(name, found)
      followReferences(found, into)
    }
    return value
  })
}

/** A fragment for each type and version; definitions are replaced, never changed. */
const fragments = new WeakMap<ResourceType, Map<string, ReadonlyMap<string, JsonObject>>>()

const schemasOf = (type: ResourceType, version: string): ReadonlyMap<string, JsonObject> => {
  const versions = fragments.get(type) ?? new Map<string, ReadonlyMap<string, JsonObject>>()
  fragments.set(type, versions)
  const known = versions.get(version)
  if (known !== undefined) return known
  const name = schemaNameOf(type, version)
  const fresh = new Map<string, JsonObject>([
    [name, builtinSchemas[name] ?? objectSchema(type, version)],
    [`${name}List`, listSchema(type, version)]
  ])
  for (const schema of [...fresh.values()]) followReferences(schema, fresh)
  versions.set(version, fresh)
  return fresh
}

const sortedObject = (entries: Iterable<readonly [string, JsonObject]>): JsonObject =>
  Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))

/** `api/v1`, `apis/example.com/v1`. */
const documentName = (group: string, version: string): string =>
  group === "" ? `api/${version}` : `apis/${group}/${version}`

const servedIn = (types: ReadonlyArray<ResourceType>, name: string) =>
  types.flatMap((type) =>
    type.versions
      .filter((version) => version.served && documentName(type.group, version.name) === name)
      .map((version) => ({ type, version: version.name }))
  )

/** Undefined: nothing is served there. */
export const v3Document = (types: ReadonlyArray<ResourceType>, name: string): JsonObject | undefined => {
  const served = servedIn(types, name)
  if (served.length === 0) return undefined
  return {
    openapi: "3.0.0",
    info,
    paths: sortedObject(
      served.flatMap(({ type, version }) => operationsOf(type, version, schemaNameOf(type, version)))
    ),
    components: { schemas: sortedObject(served.flatMap(({ type, version }) => [...schemasOf(type, version)])) }
  }
}

const digests = new WeakMap<ResourceType, string>()

const digestOf = (type: ResourceType): string => {
  const known = digests.get(type)
  if (known !== undefined) return known
  const fresh = createHash("sha256").update(JSON.stringify(type)).digest("hex")
  digests.set(type, fresh)
  return fresh
}

/** The hash changes with the document: clients keep what they have read under it. */
export const v3Index = (types: ReadonlyArray<ResourceType>): JsonObject => {
  const hashes = new Map<string, string>()
  for (const type of types) {
    for (const version of type.versions) {
      if (!version.served) continue
      const name = documentName(type.group, version.name)
      hashes.set(
        name,
        createHash("sha256")
          .update(`${hashes.get(name) ?? ""}${digestOf(type)}`)
          .digest("hex")
      )
    }
  }
  return {
    paths: sortedObject(
      [...hashes].map(([name, hash]) => [name, { serverRelativeURL: `/openapi/v3/${name}?hash=${hash.toUpperCase()}` }])
    )
  }
}

/** What the third version of OpenAPI can say and the second can't is left out. */
const asV2 = (value: Json): Json => {
  if (Array.isArray(value)) return value.map(asV2)
  if (typeof value !== "object" || value === null) return value
  const next: Record<string, Json> = {}
  const [only, ...others] = arrayAt(value, "allOf")
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined || key === "oneOf" || key === "anyOf" || key === "not" || key === "nullable") continue
    if (key === "allOf" && (others.length > 0 || only === undefined)) continue
    if (key === "allOf") Object.assign(next, asV2(only ?? null))
    else if (key === "$ref" && typeof item === "string") setKey(next, key, item.replace(V3_PREFIX, V2_PREFIX))
    else setKey(next, key, asV2(item))
  }
  return next
}

export const v2Document = (types: ReadonlyArray<ResourceType>): JsonObject => {
  const served = types.flatMap((type) =>
    type.versions.filter((version) => version.served).map((version) => ({ type, version: version.name }))
  )
  return {
    swagger: "2.0",
    info,
    paths: sortedObject(
      served.map(({ type, version }) => [`/apis/${apiVersionOf(type.group, version)}/${type.plural}`, {}])
    ),
    definitions: asV2(sortedObject(served.flatMap(({ type, version }) => [...schemasOf(type, version)])))
  }
}
