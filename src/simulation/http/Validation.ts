/**
 * Owns fieldValidation: fields that the schema doesn't know are refused, warned of, or passed over, and dropped in any
 * case. Does not own the schema's own rules (apiserver/schema), which come after. Duplicate fields are not told.
 */
import * as Result from "effect/Result"
import { isJsonArray, isJsonObject, type Json, type JsonObject, setKey, stringAt } from "../apiserver/Json.ts"
import type { ResourceType } from "../apiserver/ResourceType.ts"
import { ApiStatus, badRequest, invalid, invalidValue } from "../apiserver/Status.ts"
import type { SchemaNode } from "./fields/Schema.ts"
import type { FieldValidation } from "./Request.ts"

/** As upstream: of all warnings of one answer. */
const MAX_WARNINGS = 64

/** `spec.plain[0].b`, for each field no schema knows. */
export const unknownFields = (value: Json, node: SchemaNode, path = ""): ReadonlyArray<string> => {
  if (isJsonArray(value)) {
    if (node.kind !== "list") return []
    const item = node.item()
    return value.flatMap((each, index) => unknownFields(each, item, `${path}[${index}]`))
  }
  if (!isJsonObject(value) || node.kind !== "map") return []
  return Object.keys(value).flatMap((key) => {
    const child = node.child(key)
    const here = path === "" ? key : `${path}.${key}`
    return child === undefined ? [here] : unknownFields(value[key] ?? null, child, here)
  })
}

/** Without what the schema doesn't know; the very same value where it knows everything. */
export const pruned = (value: Json, node: SchemaNode): Json => {
  if (isJsonArray(value)) {
    if (node.kind !== "list") return value
    const item = node.item()
    const next = value.map((each) => pruned(each, item))
    return next.every((each, index) => each === value[index]) ? value : next
  }
  if (!isJsonObject(value) || node.kind !== "map") return value
  const next: Record<string, Json> = {}
  let changed = false
  for (const key of Object.keys(value)) {
    const before = value[key]
    const child = node.child(key)
    if (before === undefined || child === undefined) {
      changed = true
      continue
    }
    const after = pruned(before, child)
    if (after !== before) changed = true
    setKey(next, key, after)
  }
  return changed ? next : value
}

const told = (fields: ReadonlyArray<string>): ReadonlyArray<string> =>
  fields.map((field) => `unknown field ${JSON.stringify(field)}`)

/** Metadata first, as the server reads it first. */
const ordered = (fields: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...fields.filter((field) => field.startsWith("metadata.")),
  ...fields.filter((field) => !field.startsWith("metadata."))
]

export interface Validated {
  readonly value: Json
  readonly warnings: ReadonlyArray<string>
}

type Refuse = (decodingError: string) => ApiStatus

/** `prune`: also drop the unknown here, because nobody will later (built-in types). */
export const validateFields = (
  value: Json,
  node: SchemaNode,
  options: { readonly validation: FieldValidation; readonly prune: boolean; readonly refuse: Refuse }
): Result.Result<Validated, ApiStatus> => {
  const unknown = options.validation === "Ignore" ? [] : told(ordered(unknownFields(value, node)))
  if (options.validation === "Strict" && unknown.length > 0) {
    return Result.fail(options.refuse(`strict decoding error: ${unknown.join(", ")}`))
  }
  return Result.succeed({
    value: options.prune ? pruned(value, node) : value,
    warnings: unknown.slice(0, MAX_WARNINGS)
  })
}

export const refuseObject =
  (type: ResourceType, version: string): Refuse =>
  (error) =>
    badRequest(`${type.kind} in version ${JSON.stringify(version)} cannot be handled as a ${type.kind}: ${error}`)

/** Upstream repeats the whole patched object here; the patch says enough, and may hold fewer secrets. */
export const refusePatch =
  (patch: Json): Refuse =>
  (error) => {
    const { detail, value } = invalidValue("patch", JSON.stringify(patch), error)
    const body = `Invalid value: ${JSON.stringify(value)}: ${detail}`
    return new ApiStatus({
      code: 422,
      reason: "Invalid",
      message: ` "" is invalid: patch: ${body}`,
      details: { causes: [{ reason: "FieldValueInvalid", message: body, field: "patch" }] }
    })
  }

/** An object of the wrong kind, or of none. Core kinds may leave theirs out. */
export const kindProblem = (type: ResourceType, version: string, object: JsonObject): ApiStatus | undefined => {
  const builtin = type.definedBy === undefined
  for (const [field, shown] of [
    ["kind", "Kind"],
    ["apiVersion", "apiVersion"]
  ] as const) {
    const value = object[field]
    if (value !== undefined && value !== "") continue
    if (builtin) continue
    const text = JSON.stringify(object)
    return badRequest(
      `the object provided is unrecognized (must be of type ${type.kind}): Object '${shown}' is missing in '${text}' (${text})`
    )
  }
  const kind = object["kind"] ?? type.kind
  if (kind === type.kind) return undefined
  if (!builtin) {
    const name = stringAt(object, "metadata", "name") ?? ""
    return invalid({ ...type, kind: String(kind) }, name, [invalidValue("kind", kind, `must be ${type.kind}`)])
  }
  return badRequest(
    `${String(kind)} in version ${JSON.stringify(version)} cannot be handled as a ${type.kind}: the kind must be ${type.kind}`
  )
}
