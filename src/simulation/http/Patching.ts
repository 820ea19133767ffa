/**
 * Owns PATCH: the four patch types and which kinds take which, field validation of what comes out, and apply's creation
 * of what isn't there. Does not own the patches' own rules (apiserver/Patch.ts, StrategicMerge.ts, fields/Apply.ts).
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { apiVersionOf } from "../../api/Kind.ts"
import { isJsonArray, isJsonObject, type Json, type JsonObject, stringAt } from "../apiserver/Json.ts"
import { jsonPatch, mergePatch } from "../apiserver/Patch.ts"
import { ApiStatus, badRequest, notFound } from "../apiserver/Status.ts"
import { type Call, type Handled, objectReply } from "./Api.ts"
import { applyConfig } from "./fields/Apply.ts"
import { type ApiRequest, parseJson, parseYaml, unsupportedMedia, type WriteOptions, writeOptions } from "./Request.ts"
import { builtinSchemaOf, nodeFor } from "./Schemas.ts"
import { strategicMerge } from "./StrategicMerge.ts"
import { refusePatch, validateFields } from "./Validation.ts"
import { targetOf } from "./Writing.ts"

const JSON_PATCH = "application/json-patch+json"
const MERGE_PATCH = "application/merge-patch+json"
const STRATEGIC_PATCH = "application/strategic-merge-patch+json"
const APPLY_PATCH = "application/apply-patch+yaml"

const acceptedBy = (call: Call): ReadonlyArray<string> =>
  builtinSchemaOf(call.type, call.version) === undefined
    ? [JSON_PATCH, MERGE_PATCH, APPLY_PATCH]
    : [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH]

export const decodePatch = (request: ApiRequest, text: string): Result.Result<Json, ApiStatus> => {
  const parsed = request.contentType === APPLY_PATCH ? parseYaml(text) : parseJson(text)
  return Result.flatMap(
    Result.mapError(parsed, (error) => badRequest(`error decoding patch: ${error.message}`)),
    (patch) => {
      const wanted = request.contentType === JSON_PATCH ? isJsonArray(patch) : isJsonObject(patch)
      if (wanted) return Result.succeed(patch)
      const found = isJsonArray(patch) ? "array" : isJsonObject(patch) ? "object" : typeof patch
      const type = request.contentType === JSON_PATCH ? "[]handlers.jsonPatchOp" : "map[string]interface {}"
      return Result.fail(
        badRequest(`error decoding patch: json: cannot unmarshal ${found} into Go value of type ${type}`)
      )
    }
  )
}

/** What upstream makes of every JSON patch that doesn't fit. */
const unfitting = new ApiStatus({
  code: 422,
  reason: "Invalid",
  message: "the server rejected our request due to an error in our request",
  details: {}
})

/** The patch carried out on the current object, before anyone judges the result. */
export const patchedBy = (
  contentType: string,
  patch: Json,
  node: ReturnType<typeof nodeFor>
): ((current: JsonObject) => Result.Result<Json, ApiStatus>) => {
  if (isJsonArray(patch)) return (current) => Result.mapError(jsonPatch(current, patch), () => unfitting)
  if (!isJsonObject(patch)) return () => Result.fail(unfitting)
  return contentType === STRATEGIC_PATCH
    ? (current) => Result.succeed(strategicMerge(current, patch, node))
    : (current) => Result.succeed(mergePatch(current, patch))
}

const patchObject = (
  call: Call,
  name: string,
  subresource: "status" | undefined,
  patch: Json,
  options: WriteOptions
): Handled =>
  Effect.gen(function* () {
    const { type, version, request } = call
    const node = nodeFor(type, version)
    const compute = patchedBy(request.contentType, patch, node)
    let warnings: ReadonlyArray<string> = []
    const nowMillis = yield* Clock.currentTimeMillis
    const outcome = call.api.server.store.patch({
      ...targetOf(call, options, name, nowMillis),
      subresource,
      patch: {
        type: "computed",
        strategic: request.contentType === STRATEGIC_PATCH,
        compute: (current) =>
          Result.flatMap(compute(current), (next) =>
            Result.map(
              validateFields(next, node, {
                validation: options.fieldValidation,
                prune: builtinSchemaOf(type, version) !== undefined,
                refuse: refusePatch(patch)
              }),
              (validated) => {
                warnings = validated.warnings
                return validated.value
              }
            )
          )
      }
    })
    const object = yield* Effect.fromResult(outcome)
    return yield* objectReply(call, object, 200, warnings)
  })

/** What must be right about an applied configuration before it is looked into. */
const configProblem = (call: Call, name: string, config: JsonObject): ApiStatus | undefined => {
  const { type, version } = call
  const [apiVersion, kind] = [stringAt(config, "apiVersion") ?? "", stringAt(config, "kind") ?? ""]
  if (kind !== type.kind || apiVersion !== apiVersionOf(type.group, version)) {
    const slash = apiVersion.indexOf("/")
    const group = slash < 0 ? "" : apiVersion.slice(0, slash)
    return badRequest(`invalid object type: ${group}/${apiVersion.slice(slash + 1)}, Kind=${kind}`)
  }
  const given = stringAt(config, "metadata", "name") ?? ""
  return given === "" || given === name
    ? undefined
    : badRequest(`the name of the object (${given}) does not match the name on the URL (${name})`)
}

const apply = (
  call: Call,
  name: string,
  subresource: "status" | undefined,
  config: JsonObject,
  options: WriteOptions
): Handled =>
  Effect.gen(function* () {
    const { type, version, namespace } = call
    const problem = configProblem(call, name, config)
    if (problem !== undefined) return yield* Effect.fail(problem)
    const { store } = call.api.server
    const nowMillis = yield* Clock.currentTimeMillis
    const target = targetOf(call, options, name, nowMillis)
    const metadata = isJsonObject(config["metadata"]) ? config["metadata"] : {}
    const request = {
      type,
      apiVersion: apiVersionOf(type.group, version),
      name,
      subresource,
      node: nodeFor(type, version),
      config: { ...config, metadata: { ...metadata, name } },
      manager: options.fieldManager,
      force: options.force,
      time: DateTime.formatIso(DateTime.makeUnsafe(nowMillis)).replace(/\.\d+Z$/, "Z")
    }
    if (store.storage.get({ type, namespace, name }) === undefined) {
      if (subresource !== undefined) return yield* Effect.fail(notFound(type, name))
      const object = yield* Effect.fromResult(applyConfig(undefined, request))
      const created = yield* Effect.fromResult(store.create({ ...target, object, applied: true }))
      return yield* objectReply(call, created, 201)
    }
    const patch = {
      type: "computed" as const,
      applies: true,
      compute: (current: JsonObject) => applyConfig(current, request)
    }
    const object = yield* Effect.fromResult(store.patch({ ...target, subresource, patch }))
    return yield* objectReply(call, object, 200)
  })

export const patch = (call: Call, name: string, subresource: "status" | undefined): Handled =>
  Effect.gen(function* () {
    const { request } = call
    const accepted = acceptedBy(call)
    if (!accepted.includes(request.contentType)) return yield* Effect.fail(unsupportedMedia(accepted))
    const applies = request.contentType === APPLY_PATCH
    const options = yield* Effect.fromResult(writeOptions(request, "PatchOptions", applies))
    const body = yield* Effect.fromResult(decodePatch(request, (yield* request.body).toString("utf8")))
    return applies && isJsonObject(body)
      ? yield* apply(call, name, subresource, body, options)
      : yield* patchObject(call, name, subresource, body, options)
  })
