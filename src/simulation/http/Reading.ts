/**
 * Owns get and list: options as a real server judges them, pages, and the forms a list takes. Does not own watching.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { apiVersionOf } from "../../api/Kind.ts"
import type { JsonObject } from "../apiserver/Json.ts"
import { type Listed, present, type Selection } from "../apiserver/Reads.ts"
import { ApiStatus, badRequest, expired, type FieldError, forbiddenField, notSupported } from "../apiserver/Status.ts"
import { type Call, type Handled, includedIn, jsonText, objectReply, wantsPretty } from "./Api.ts"
import { json, type Reply } from "./Reply.ts"
import { flag, integer, refuseOptions } from "./Request.ts"
import { columnsFor } from "./table/Columns.ts"
import { partialList, table } from "./table/Table.ts"

export const selectionOf = (call: Call): Selection => ({
  namespace: call.route.namespace,
  labelSelector: call.request.query.get("labelSelector") ?? undefined,
  fieldSelector: call.request.query.get("fieldSelector") ?? undefined
})

const MATCHES = ["Exact", "NotOlderThan", ""]

const listMatchErrors = (match: string, version: string, continued: boolean): ReadonlyArray<FieldError> => {
  const field = "resourceVersionMatch"
  if (match === "") return []
  if (version === "")
    return [forbiddenField(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")]
  if (continued) return [forbiddenField(field, "resourceVersionMatch is forbidden when continue is provided")]
  if (!MATCHES.includes(match)) return [notSupported(field, match, MATCHES)]
  return match === "Exact" && version === "0"
    ? [forbiddenField(field, `resourceVersionMatch "Exact" is forbidden for resourceVersion "0"`)]
    : []
}

const watchMatchErrors = (match: string, initial: string | null): ReadonlyArray<FieldError> => {
  const field = "resourceVersionMatch"
  if (initial === null) {
    if (match === "") return []
    const forbidden = forbiddenField(
      field,
      "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
    )
    return match === "NotOlderThan" ? [forbidden] : [forbidden, notSupported(field, match, ["NotOlderThan"])]
  }
  if (match === "")
    return [forbiddenField(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")]
  return match === "NotOlderThan" ? [] : [notSupported(field, match, ["NotOlderThan"])]
}

/** What is wrong with the options of a list or a watch. */
export const listOptionsProblem = (query: URLSearchParams): ApiStatus | undefined => {
  const match = query.get("resourceVersionMatch") ?? ""
  const version = query.get("resourceVersion") ?? ""
  const initial = query.get("sendInitialEvents")
  const continued = (query.get("continue") ?? "") !== ""
  const errors = flag(query, "watch")
    ? watchMatchErrors(match, initial)
    : initial !== null
      ? [forbiddenField("sendInitialEvents", "sendInitialEvents is forbidden for list")]
      : listMatchErrors(match, version, continued)
  if (errors.length > 0) return refuseOptions("ListOptions", errors)
  if (continued && !/^\d+-\d+$/.test(query.get("continue") ?? "")) {
    return badRequest("invalid continue token: continue key is not valid")
  }
  return continued && version !== "" && version !== "0"
    ? badRequest("specifying resource version is not allowed when using continue")
    : undefined
}

export const versionProblem = (version: string): ApiStatus | undefined =>
  version === "" || /^\d+$/.test(version)
    ? undefined
    : badRequest(
        `invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(version)}: strconv.ParseUint: parsing ${JSON.stringify(version)}: invalid syntax`
      )

/** Only the present can be listed exactly: the past is as good as compacted. */
const exactProblem = (call: Call): ApiStatus | undefined => {
  const { query } = call.request
  if (query.get("resourceVersionMatch") !== "Exact") return undefined
  const asked = Number(query.get("resourceVersion") ?? "0")
  return asked < call.api.server.store.storage.revision
    ? expired("The resourceVersion for the provided list is too old.")
    : undefined
}

const listMetadata = (call: Call, listed: Listed): JsonObject => {
  const selective = ["labelSelector", "fieldSelector"].some((name) => (call.request.query.get(name) ?? "") !== "")
  return {
    ...(listed.continue === undefined ? {} : { continue: listed.continue }),
    // As upstream: with a selector nobody has counted what is left.
    ...(listed.remainingItemCount === undefined || selective ? {} : { remainingItemCount: listed.remainingItemCount }),
    resourceVersion: listed.resourceVersion
  }
}

/** Put together from the objects' own texts. */
const listText = (call: Call, listed: Listed, metadata: JsonObject): string =>
  `{"kind":${JSON.stringify(call.type.listKind)},"apiVersion":${JSON.stringify(apiVersionOf(call.type.group, call.version))},"metadata":${JSON.stringify(metadata)},"items":[${listed.items.map(jsonText).join(",")}]}`

const listReply = (call: Call, listed: Listed, nowMillis: number): Reply => {
  const { rendering, request, type, version } = call
  const metadata = listMetadata(call, listed)
  if (rendering.as === "partial") return json(partialList(listed.items, metadata))
  if (rendering.as === "table") {
    const columns = columnsFor(type, version, call.api.subresources)
    return json(table(columns, listed.items, metadata, { include: includedIn(request), headers: true, nowMillis }))
  }
  if (rendering.format === "json" && !wantsPretty(request)) {
    return { _tag: "Raw", code: 200, text: listText(call, listed, metadata) }
  }
  return json({ kind: type.listKind, apiVersion: apiVersionOf(type.group, version), metadata, items: listed.items })
}

export const get = (call: Call, name: string): Handled =>
  Effect.flatMap(
    Effect.fromResult(
      call.api.server.reads.get({ type: call.type, version: call.version, namespace: call.namespace, name })
    ),
    (object) => objectReply(call, object, 200)
  )

export const list = (call: Call): Handled =>
  Effect.gen(function* () {
    const { query } = call.request
    const resourceVersion = query.get("resourceVersion") ?? ""
    const problem = listOptionsProblem(query) ?? versionProblem(resourceVersion) ?? exactProblem(call)
    if (problem !== undefined) return yield* Effect.fail(problem)
    const limit = yield* Effect.fromResult(integer(query, "limit"))
    const nowMillis = yield* Clock.currentTimeMillis
    const listed = call.api.server.reads.list({
      ...selectionOf(call),
      type: call.type,
      version: call.version,
      resourceVersion: resourceVersion === "" ? undefined : resourceVersion,
      limit,
      continue: query.get("continue") ?? undefined
    })
    if (Result.isFailure(listed)) return yield* Effect.fail(tooLargeVersion(listed.failure))
    return listReply(call, listed.success, nowMillis)
  })

/** What clients tell a resourceVersion of the future by. */
export const tooLargeVersion = (status: ApiStatus): ApiStatus =>
  status.reason === "Timeout"
    ? new ApiStatus({
        code: status.code,
        reason: status.reason,
        message: status.message,
        details: {
          ...status.details,
          causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }]
        }
      })
    : status

/** An object of this version, for answers made of several. */
export const shownItems = (call: Call, items: Listed["items"]) =>
  items.map((object) => present(call.type, object, call.version))
