/**
 * Owns the paths of an OpenAPI v3 document: for each resource the operations on its objects and their query parameters,
 * which is how clients learn that dryRun, fieldValidation and apply are understood. Does not own schemas (Documents.ts).
 */

import { apiVersionOf } from "../../../api/Kind.ts"
import type { Json, JsonObject } from "../../apiserver/Json.ts"
import type { ResourceType } from "../../apiserver/ResourceType.ts"

const parameter = (name: string, description: string, type = "string"): JsonObject => ({
  name,
  in: "query",
  description,
  schema: { type, uniqueItems: true }
})

const pathParameter = (name: string, description: string): JsonObject => ({
  name,
  in: "path",
  description,
  required: true,
  schema: { type: "string", uniqueItems: true }
})

const WRITE = [
  parameter("dryRun", "All: everything is checked, nothing is stored."),
  parameter("fieldManager", "Who owns what is written, at most 128 characters; required for apply patches."),
  parameter("fieldValidation", "Strict, Warn or Ignore: what becomes of fields that the schema does not know.")
]
const FORCE = parameter("force", "Takes over fields that others own. Only for apply patches.", "boolean")
const READ = [
  parameter("fieldSelector", "Restricts the objects by their fields."),
  parameter("labelSelector", "Restricts the objects by their labels."),
  parameter("limit", "Objects a page.", "integer"),
  parameter("continue", "Asks for the next page."),
  parameter("resourceVersion", "Of which moment."),
  parameter("resourceVersionMatch", "How resourceVersion is meant."),
  parameter("sendInitialEvents", "Begin a watch with what there is.", "boolean"),
  parameter("allowWatchBookmarks", "Tell a watch how far it has come.", "boolean"),
  parameter("timeoutSeconds", "How long a watch lasts.", "integer"),
  parameter("watch", "Follow the changes.", "boolean")
]
const DELETE = [
  parameter("dryRun", "All: everything is checked, nothing is deleted."),
  parameter("gracePeriodSeconds", "Not looked at: objects here end at once.", "integer"),
  parameter("propagationPolicy", "Background, Foreground or Orphan.")
]

const PATCH_TYPES = ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"]

const body = (types: ReadonlyArray<string>, schema: Json): JsonObject => ({
  content: Object.fromEntries(types.map((type) => [type, { schema }])),
  required: true
})

const operations = (type: ResourceType, version: string, schemaName: string) => {
  const object: JsonObject = { $ref: `#/components/schemas/${schemaName}` }
  const list: JsonObject = { $ref: `#/components/schemas/${schemaName}List` }
  const operation = (
    action: string,
    parameters: ReadonlyArray<JsonObject>,
    answer: JsonObject,
    more: JsonObject = {}
  ) => ({
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": { group: type.group, version, kind: type.kind },
    parameters,
    ...more,
    responses: { "200": { description: "OK", content: { "application/json": { schema: answer } } } }
  })
  const json = { requestBody: body(["application/json"], object) }
  const patchTypes =
    type.definedBy === undefined ? [...PATCH_TYPES, "application/strategic-merge-patch+json"] : PATCH_TYPES
  const patch = { requestBody: body(patchTypes, { type: "object" }) }
  return {
    collection: {
      get: operation("list", READ, list),
      post: operation("post", WRITE, object, json),
      delete: operation("deletecollection", [...DELETE, ...READ], object)
    },
    all: { get: operation("list", READ, list) },
    item: {
      get: operation("get", [], object),
      put: operation("put", WRITE, object, json),
      patch: operation("patch", [...WRITE, FORCE], object, patch),
      delete: operation("delete", DELETE, object)
    },
    part: {
      get: operation("get", [], object),
      put: operation("put", WRITE, object, json),
      patch: operation("patch", [...WRITE, FORCE], object, patch)
    }
  }
}

export const operationsOf = (
  type: ResourceType,
  version: string,
  schemaName: string
): ReadonlyArray<readonly [string, JsonObject]> => {
  const root = `/${type.group === "" ? "api" : "apis"}/${apiVersionOf(type.group, version)}`
  const namespace = pathParameter("namespace", "object name and auth scope, such as for teams and projects")
  const scope = type.namespaced ? [namespace] : []
  const named = [...scope, pathParameter("name", `name of the ${type.kind}`)]
  const base = type.namespaced ? `${root}/namespaces/{namespace}/${type.plural}` : `${root}/${type.plural}`
  const { collection, all, item, part } = operations(type, version, schemaName)
  return [
    ...(type.namespaced ? [[`${root}/${type.plural}`, all] as const] : []),
    [base, { ...collection, parameters: scope }],
    [`${base}/{name}`, { ...item, parameters: named }],
    ...(type.statusSubresource ? [[`${base}/{name}/status`, { ...part, parameters: named }] as const] : [])
  ]
}
