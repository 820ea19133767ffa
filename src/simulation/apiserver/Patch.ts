/**
 * Owns the two patch formats of the store: JSON merge patch (RFC 7386) and JSON patch (RFC 6902).
 * Both return the very same value where nothing changes, which is how a no-op write is told cheaply.
 */
import * as Result from "effect/Result"
import { isJsonArray, isJsonObject, type Json, type JsonObject, jsonEqual, ownJson, setKey } from "./Json.ts"
import { type ApiStatus, badRequest } from "./Status.ts"

/** As kube-apiserver: no more operations than this in one JSON patch. */
const MAX_JSON_PATCH_OPERATIONS = 10_000

export const mergePatch = (target: Json | undefined, patch: Json): Json => {
  if (!isJsonObject(patch)) {
    return target !== undefined && jsonEqual(target, patch) ? target : ownJson(patch)
  }
  const base: JsonObject | undefined = isJsonObject(target) ? target : undefined
  const next: Record<string, Json> = {}
  let changed = base === undefined
  for (const key of Object.keys(base ?? {})) {
    const value = base?.[key]
    if (value !== undefined) setKey(next, key, value)
  }
  for (const key of Object.keys(patch)) {
    const value = patch[key]
    if (value === undefined) continue
    const before = Object.hasOwn(next, key) ? next[key] : undefined
    if (value === null) {
      if (before !== undefined) {
        delete next[key]
        changed = true
      }
      continue
    }
    const after = mergePatch(before, value)
    if (after !== before) {
      setKey(next, key, after)
      changed = true
    }
  }
  return !changed && base !== undefined ? base : ownJson(next)
}

type Operation =
  | { readonly op: "add" | "replace" | "test"; readonly path: ReadonlyArray<string>; readonly value: Json }
  | { readonly op: "remove"; readonly path: ReadonlyArray<string> }
  | { readonly op: "move" | "copy"; readonly path: ReadonlyArray<string>; readonly from: ReadonlyArray<string> }

type Patched = Result.Result<Json, ApiStatus>

const pointer = (text: Json | undefined): ReadonlyArray<string> | undefined => {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) return undefined
  return text === ""
    ? []
    : text
        .slice(1)
        .split("/")
        .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
}

const parseOperation = (raw: Json): Operation | undefined => {
  if (!isJsonObject(raw)) return undefined
  const path = pointer(raw["path"])
  if (path === undefined) return undefined
  switch (raw["op"]) {
    case "add":
    case "replace":
    case "test":
      return { op: raw["op"], path, value: ownJson(raw["value"] ?? null) }
    case "remove":
      return { op: "remove", path }
    case "move":
    case "copy": {
      const from = pointer(raw["from"])
      return from === undefined ? undefined : { op: raw["op"], path, from }
    }
    default:
      return undefined
  }
}

const lookup = (document: Json, path: ReadonlyArray<string>): Json | undefined => {
  let here: Json | undefined = document
  for (const part of path) {
    if (isJsonArray(here)) here = /^(0|[1-9]\d*)$/.test(part) ? here[Number(part)] : undefined
    else if (isJsonObject(here)) here = Object.hasOwn(here, part) ? here[part] : undefined
    else return undefined
  }
  return here
}

const missing = (path: ReadonlyArray<string>): ApiStatus =>
  badRequest(`the server rejected our request due to an error in our request: no value at "/${path.join("/")}"`)

const editArray = (here: ReadonlyArray<Json>, part: string, edit: "add" | "replace" | "remove", value: Json) => {
  const index = part === "-" && edit === "add" ? here.length : /^(0|[1-9]\d*)$/.test(part) ? Number(part) : -1
  if (index < 0 || index > here.length || (edit !== "add" && index === here.length)) return undefined
  return edit === "add"
    ? here.toSpliced(index, 0, value)
    : edit === "replace"
      ? here.with(index, value)
      : here.toSpliced(index, 1)
}

const editAt = (
  document: Json,
  path: ReadonlyArray<string>,
  edit: "add" | "replace" | "remove",
  value: Json
): Json | undefined => {
  const [part, ...rest] = path
  if (part === undefined) return edit === "remove" ? undefined : value
  if (rest.length > 0) {
    const child = lookup(document, [part])
    const next = child === undefined ? undefined : editAt(child, rest, edit, value)
    return next === undefined ? undefined : editAt(document, [part], "replace", next)
  }
  if (isJsonArray(document)) return editArray(document, part, edit, value)
  if (!isJsonObject(document)) return undefined
  if (edit !== "add" && document[part] === undefined) return undefined
  const { [part]: _before, ...others } = document
  return edit === "remove" ? others : { ...document, [part]: value }
}

const applyOperation = (document: Json, operation: Operation): Patched => {
  const edited = (next: Json | undefined): Patched =>
    next === undefined ? Result.fail(missing(operation.path)) : Result.succeed(next)
  switch (operation.op) {
    case "test":
      return jsonEqual(lookup(document, operation.path), operation.value)
        ? Result.succeed(document)
        : Result.fail(badRequest(`the server rejected our request: testing path /${operation.path.join("/")} failed`))
    case "add":
    case "replace":
      return edited(editAt(document, operation.path, operation.op, operation.value))
    case "remove":
      return edited(editAt(document, operation.path, "remove", null))
    case "move":
    case "copy": {
      const value = lookup(document, operation.from)
      if (value === undefined) return Result.fail(missing(operation.from))
      const without = operation.op === "move" ? editAt(document, operation.from, "remove", null) : document
      return edited(without === undefined ? undefined : editAt(without, operation.path, "add", value))
    }
  }
}

/** All operations or none. */
export const jsonPatch = (document: JsonObject, operations: ReadonlyArray<Json>): Patched => {
  if (operations.length > MAX_JSON_PATCH_OPERATIONS) {
    return Result.fail(badRequest(`The allowed maximum operations in a JSON patch is ${MAX_JSON_PATCH_OPERATIONS}`))
  }
  let next: Patched = Result.succeed(document)
  for (const raw of operations) {
    const operation = parseOperation(raw)
    if (operation === undefined) return Result.fail(badRequest("error decoding patch: invalid operation"))
    next = Result.flatMap(next, (current) => applyOperation(current, operation))
  }
  return Result.map(next, (after) => (jsonEqual(document, after) ? document : ownJson(after)))
}
