/**
 * Owns what a request says besides its address: body, query options, who is told to own the fields. Each reader refuses
 * what it can't read in the words of a real server. Does not own addresses (Route.ts) nor what is answered.
 */
import type { IncomingMessage } from "node:http"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Yaml from "yaml"
import { isJsonObject, type Json, type JsonObject, jsonTypeOf } from "../apiserver/Json.ts"
import type { Request } from "../apiserver/Requests.ts"
import { ApiStatus, badRequest, type FieldError, forbiddenField, invalid, notSupported } from "../apiserver/Status.ts"

/** As upstream: of one request's body. */
const MAX_BODY_BYTES = 3 * 1024 * 1024
/** As upstream: of the name of a field manager. */
const MAX_MANAGER_LENGTH = 128

import { decodeProtobuf, PROTOBUF } from "./Protobuf.ts"

export interface ApiRequest {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly accept: string
  readonly contentType: string
  readonly userAgent: string
  /** Read once. */
  readonly body: Effect.Effect<Buffer, ApiStatus>
}

type Read<A> = Result.Result<A, ApiStatus>

const tooLarge = new ApiStatus({
  code: 413,
  reason: "RequestEntityTooLarge",
  message: `Request entity too large: limit is ${MAX_BODY_BYTES}`
})

const readBody = (message: IncomingMessage): Effect.Effect<Buffer, ApiStatus> =>
  Effect.callback((resume) => {
    const chunks: Array<Buffer> = []
    let bytes = 0
    message.on("data", (chunk: Buffer) => {
      bytes += chunk.byteLength
      // What is too much is still read, but kept no longer: the client may not look at the answer before it has sent all.
      if (bytes <= MAX_BODY_BYTES) chunks.push(chunk)
    })
    message.once("end", () =>
      resume(bytes > MAX_BODY_BYTES ? Effect.fail(tooLarge) : Effect.succeed(Buffer.concat(chunks)))
    )
    message.once("error", (error) => resume(Effect.fail(badRequest(`the body broke off: ${error.message}`))))
  })

/** Undefined: the target is no URL. */
export const fromNode = (message: IncomingMessage): ApiRequest | undefined => {
  const target = message.url ?? "/"
  if (!target.startsWith("/") || !URL.canParse(target, "https://localhost")) return undefined
  const mark = target.indexOf("?")
  return {
    method: message.method ?? "GET",
    // Not URL.pathname: that would resolve `..`, where a real server finds nothing.
    path: mark < 0 ? target : target.slice(0, mark),
    query: new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1)),
    accept: message.headers.accept ?? "",
    contentType: (message.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "",
    userAgent: message.headers["user-agent"] ?? "",
    body: readBody(message)
  }
}

export const parseJson = (text: string): Read<Json> =>
  Result.try({
    try: (): Json => JSON.parse(text),
    catch: (error) => badRequest(error instanceof Error ? error.message : "not JSON")
  })

/** YAML 1.1, as Kubernetes reads it; JSON is YAML, and read faster as what it is. */
export const parseYaml = (text: string): Read<Json> => {
  const json = parseJson(text)
  if (Result.isSuccess(json)) return json
  return Result.flatMap(
    Result.try({
      try: (): unknown => Yaml.parse(text, { version: "1.1" }),
      catch: (error) => badRequest(`error decoding YAML: ${error instanceof Error ? error.message : "not YAML"}`)
    }),
    // Through JSON: what YAML has beyond it (dates, maps with other keys) becomes what a JSON client would have sent.
    (value) => parseJson(JSON.stringify(value ?? null))
  )
}

const ACCEPTED = "accepted media types include"
export const unsupportedMedia = (types: ReadonlyArray<string>): ApiStatus =>
  new ApiStatus({
    code: 415,
    reason: "UnsupportedMediaType",
    message: `the body of the request was in an unknown format - ${ACCEPTED}: ${types.join(", ")}`
  })

const unrecognized = (kind: string, why: string): ApiStatus =>
  badRequest(`the object provided is unrecognized (must be of type ${kind}): ${why}`)

const OBJECT_TYPES = ["application/json", "application/yaml", PROTOBUF]

const parseObject = (contentType: string, kind: string, body: Buffer): Read<JsonObject> => {
  if (contentType === PROTOBUF) {
    return Result.flatMap(decodeProtobuf(body), (object) =>
      object === undefined
        ? Result.fail(unsupportedMedia(["application/json", "application/yaml"]))
        : Result.succeed(object)
    )
  }
  const text = body.toString("utf8")
  const parsed = contentType === "application/yaml" ? parseYaml(text) : parseJson(text)
  const why = "couldn't get version/kind; json parse error:"
  if (Result.isFailure(parsed)) return Result.fail(unrecognized(kind, `${why} ${parsed.failure.message}`))
  const object = parsed.success
  return isJsonObject(object)
    ? Result.succeed(object)
    : Result.fail(unrecognized(kind, `${why} ${jsonTypeOf(object)} is no object`))
}

/** An object sent whole. */
export const objectBody = (request: ApiRequest, kind: string): Effect.Effect<JsonObject, ApiStatus> => {
  const { contentType } = request
  return contentType !== "" && !OBJECT_TYPES.includes(contentType)
    ? Effect.fail(unsupportedMedia(OBJECT_TYPES))
    : Effect.flatMap(request.body, (body) => Effect.fromResult(parseObject(contentType, kind, body)))
}

/** DeleteOptions and the like: absent is empty. */
export const optionalBody = (request: ApiRequest): Effect.Effect<JsonObject, ApiStatus> =>
  Effect.flatMap(request.body, (body) =>
    body.length === 0 ? Effect.succeed({}) : Effect.fromResult(parseObject(request.contentType, "DeleteOptions", body))
  )

/** A flag that is there without a value is set. */
export const flag = (query: URLSearchParams, name: string): boolean => {
  const value = query.get(name)
  return value !== null && !["false", "0"].includes(value.toLowerCase())
}

export const integer = (query: URLSearchParams, name: string): Read<number | undefined> => {
  const text = query.get(name)
  if (text === null || text === "") return Result.succeed(undefined)
  return /^-?\d{1,15}$/.test(text)
    ? Result.succeed(Number(text))
    : Result.fail(badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`))
}

export type FieldValidation = "Strict" | "Warn" | "Ignore"

/** What every write may say in its query. */
export interface WriteOptions extends Pick<Request, "dryRun" | "fieldManager"> {
  readonly dryRun: boolean
  readonly fieldManager: string
  /** Whether the client named the manager: an apply must. */
  readonly namedManager: boolean
  readonly force: boolean
  readonly fieldValidation: FieldValidation
}

const metaKind = (kind: string) => ({ group: "meta.k8s.io", plural: "", kind })

export const refuseOptions = (kind: string, errors: ReadonlyArray<FieldError>): ApiStatus =>
  invalid(metaKind(kind), "", errors)

/** As upstream: what stands before the slash, without what can't be printed. */
const managerOfAgent = (userAgent: string): string =>
  (userAgent.split("/", 1)[0] ?? "").replaceAll(/[^\x20-\x7e]/g, "").slice(0, MAX_MANAGER_LENGTH) || "unknown"

const fieldValidationOf = (text: string | null): FieldValidation | undefined =>
  text === null || text === "" ? "Warn" : text === "Strict" || text === "Warn" || text === "Ignore" ? text : undefined

/** `kind`: CreateOptions, UpdateOptions or PatchOptions. */
export const writeOptions = (request: ApiRequest, kind: string, isApply: boolean): Read<WriteOptions> => {
  const { query } = request
  const dryRun = query.getAll("dryRun").filter((value) => value !== "")
  const manager = query.get("fieldManager") ?? ""
  const fieldValidation = fieldValidationOf(query.get("fieldValidation"))
  const errors: Array<FieldError> = []
  for (const value of dryRun) if (value !== "All") errors.push(notSupported("dryRun", value, ["All"]))
  if (manager.length > MAX_MANAGER_LENGTH) {
    errors.push({
      type: "Too long",
      field: "fieldManager",
      detail: `may not be more than ${MAX_MANAGER_LENGTH} bytes`
    })
  }
  if (isApply && manager === "") {
    errors.push({ type: "Required value", field: "fieldManager", detail: "is required for apply patch" })
  }
  if (!isApply && query.has("force")) {
    errors.push(forbiddenField("force", "may not be specified for non-apply patch"))
  }
  if (fieldValidation === undefined) {
    errors.push(notSupported("fieldValidation", query.get("fieldValidation") ?? "", ["", "Ignore", "Strict", "Warn"]))
  }
  if (errors.length > 0) return Result.fail(refuseOptions(kind, errors))
  return Result.succeed({
    dryRun: dryRun.length > 0,
    fieldManager: manager === "" ? managerOfAgent(request.userAgent) : manager,
    namedManager: manager !== "",
    force: flag(query, "force"),
    fieldValidation: fieldValidation ?? "Warn"
  })
}
