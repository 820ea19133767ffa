/**
 * Owns what becomes of a patch that changes, or takes away, an object's kind or apiVersion: as kube-apiserver 1.34 answers,
 * which decodes a patched custom resource by its schema and a built-in kind by its Go type. Does not own patching.
 */
import * as Result from "effect/Result"
import type { Json, JsonObject } from "./Json.ts"
import { isJsonObject } from "./Json.ts"
import { apiVersion, type Patch, type Target } from "./Requests.ts"
import { ApiStatus, badRequest, type FieldError, internalError, invalid, invalidValue } from "./Status.ts"

const INVALID = 422
/** Where a real server's message says which of its registries did not know the kind. */
const SCHEME = "pkg/runtime/scheme.go:110"

/** The object could not be read at all: nobody knows yet which it is. */
const unreadable = (object: JsonObject, why: string): ApiStatus => {
  const message = `Invalid value: ${JSON.stringify(JSON.stringify(object))}: ${why}`
  return new ApiStatus({
    code: INVALID,
    reason: "Invalid",
    message: ` "" is invalid: patch: ${message}`,
    details: { causes: [{ reason: "FieldValueInvalid", message, field: "patch" }] }
  })
}

const groupOf = (version: string): string => (version.includes("/") ? version.slice(0, version.indexOf("/")) : "")

/** Told with group and kind as the patch would have them. */
const changed = (target: Target, kind: string, version: string): ApiStatus | undefined => {
  const { name, type } = target
  const errors: Array<FieldError> = []
  if (version !== apiVersion(target)) errors.push(invalidValue("apiVersion", version, `must be ${apiVersion(target)}`))
  if (kind !== type.kind) errors.push(invalidValue("kind", kind, `must be ${type.kind}`))
  return errors.length === 0 ? undefined : invalid({ ...type, kind, group: groupOf(version) }, name, errors)
}

const ofCustomResource = (target: Target, next: JsonObject): ApiStatus | undefined => {
  const { apiVersion: version, kind } = next
  if (typeof kind !== "string" || kind === "")
    return unreadable(next, `Object 'Kind' is missing in '${JSON.stringify(next)}'`)
  if (typeof version !== "string" || version === "")
    return internalError("Internal error occurred: Object 'apiVersion' is missing in 'object has no apiVersion field'")
  return changed(target, kind, version)
}

/** What is absent is as the URL says. */
const ofBuiltIn = (target: Target, next: JsonObject): ApiStatus | undefined => {
  const { apiVersion: version = apiVersion(target), kind = target.type.kind } = next
  return version === apiVersion(target) && kind === target.type.kind
    ? undefined
    : unreadable(
        next,
        `no kind ${JSON.stringify(kind)} is registered for version ${JSON.stringify(version)} in scheme "${SCHEME}"`
      )
}

/** The patched object with the type that it has to have, or why it can't be. */
export const withType = (target: Target, patch: Patch, next: Json): Result.Result<JsonObject, ApiStatus> => {
  if (!isJsonObject(next)) return Result.fail(badRequest("the patched object is not an object"))
  const isGiven = patch.type === "computed" && patch.strategic === true
  const problem = isGiven
    ? undefined
    : (target.type.definedBy === undefined ? ofBuiltIn : ofCustomResource)(target, next)
  return problem === undefined
    ? Result.succeed({ ...next, apiVersion: apiVersion(target), kind: target.type.kind })
    : Result.fail(problem)
}
