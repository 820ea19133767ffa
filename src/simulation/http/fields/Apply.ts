/**
 * Owns server-side apply: an applied configuration merged into the live object, fields no longer applied taken away,
 * conflicts with other owners told or, by force, won. Does not own managedFields' form (ManagedFields.ts) nor storing.
 */
import * as Result from "effect/Result"
import { isJsonObject, type Json, type JsonObject, jsonEqual, stringAt } from "../../apiserver/Json.ts"
import type { ResourceType } from "../../apiserver/ResourceType.ts"
import { ApiStatus, badRequest } from "../../apiserver/Status.ts"
import { difference, emptySet, type FieldSet, intersection, isEmpty, pathsOf, union } from "./FieldSet.ts"
import { allowedByLastApplied, withLastApplied } from "./LastApplied.ts"
import {
  BEFORE_FIRST_APPLY,
  type Entry,
  encodeEntries,
  entriesOf,
  type Manager,
  ownable,
  sameManager,
  withManagedFields,
  withOwner
} from "./ManagedFields.ts"
import type { SchemaNode } from "./Schema.ts"
import { type Comparison, compare, fieldsOf, mergeTyped, removeFields, typeErrors } from "./Typed.ts"

export interface ApplyRequest {
  readonly type: ResourceType
  /** As it stands in `apiVersion`. */
  readonly apiVersion: string
  readonly name: string
  readonly subresource: "status" | undefined
  readonly node: SchemaNode
  readonly config: JsonObject
  readonly manager: string
  readonly force: boolean
  readonly time: string
}

type Applied = Result.Result<JsonObject, ApiStatus>

/** Of no reason upstream either: kubectl shows it as `Error from server:`. The first fault is told. */
const untyped = (request: ApplyRequest, error: string): ApiStatus => {
  const namespace = stringAt(request.config, "metadata", "namespace") ?? ""
  const apiVersion = request.apiVersion.includes("/") ? request.apiVersion : `/${request.apiVersion}`
  return new ApiStatus({
    code: 500,
    reason: "",
    message: `failed to create typed patch object (${namespace}/${request.name}; ${apiVersion}, Kind=${request.type.kind}): ${error}`
  })
}

const managerText = (entry: Entry): string => {
  const name = JSON.stringify(entry.manager)
  const named = entry.subresource === undefined ? name : `${name} with subresource ${JSON.stringify(entry.subresource)}`
  return entry.operation === "Apply" ? named : `${named} using ${entry.apiVersion}`
}

const conflictStatus = (conflicts: ReadonlyArray<readonly [Entry, FieldSet]>): ApiStatus => {
  const told = conflicts
    .map(([entry, fields]) => ({ who: managerText(entry), paths: pathsOf(fields) }))
    .sort((a, b) => (a.who < b.who ? -1 : a.who > b.who ? 1 : 0))
  const each = told.flatMap(({ who, paths }) => paths.map((path) => ({ who, path })))
  const [first] = each
  const message =
    each.length === 1 && first !== undefined
      ? `Apply failed with 1 conflict: conflict with ${first.who}: ${first.path}`
      : `Apply failed with ${each.length} conflicts: ${told
          .flatMap(({ who, paths }) => [`conflicts with ${who}:`, ...paths.map((path) => `- ${path}`)])
          .join("\n")}`
  return new ApiStatus({
    code: 409,
    reason: "Conflict",
    message,
    details: {
      causes: each.map(({ who, path }) => ({
        reason: "FieldManagerConflict",
        message: `conflict with ${who}`,
        field: path
      }))
    }
  })
}

/** An object that nobody owned fields of: they were all somebody's before. */
const ownersBefore = (live: JsonObject, request: ApplyRequest): ReadonlyArray<Entry> => {
  const known = entriesOf(live)
  if (known.length > 0) return known
  return [
    {
      manager: BEFORE_FIRST_APPLY,
      operation: "Update",
      apiVersion: request.apiVersion,
      subresource: undefined,
      time: request.time,
      fields: ownable(request.type, request.subresource, fieldsOf(live, request.node))
    }
  ]
}

const withoutOwners = (object: JsonObject): JsonObject => withManagedFields(object, [])

/** Only status or all but status, as the request's address says: the rest of what is applied is not looked at. */
const relevant = (request: ApplyRequest): JsonObject => {
  const { type, config, subresource } = request
  const { status, ...rest } = config
  if (subresource === "status") {
    const { apiVersion, kind, metadata } = rest
    return { apiVersion, kind, metadata, ...(status === undefined ? {} : { status }) }
  }
  return type.statusSubresource && !type.strategy.statusAtCreation ? rest : config
}

const takeAway = (merged: JsonObject, lastApplied: FieldSet, owned: FieldSet, node: SchemaNode): JsonObject => {
  const gone = difference(lastApplied, owned)
  const left = removeFields(merged, gone, owned, node)
  return isJsonObject(left) ? left : merged
}

interface Outcome {
  readonly object: JsonObject
  readonly entries: ReadonlyArray<Entry>
}

const settle = (
  request: ApplyRequest,
  before: ReadonlyArray<Entry>,
  owner: Manager,
  applied: FieldSet,
  object: JsonObject,
  changes: Comparison,
  allowed: FieldSet
): Result.Result<Outcome, ApiStatus> => {
  const touched = union(changes.added, changes.modified)
  const others = before.filter((entry) => !sameManager(entry, owner))
  const conflicts = others.flatMap((entry) => {
    const fields = difference(intersection(entry.fields, touched), allowed)
    return isEmpty(fields) ? [] : [[entry, fields] as const]
  })
  if (conflicts.length > 0 && !request.force) return Result.fail(conflictStatus(conflicts))
  const left = others.map((entry) => ({
    ...entry,
    fields: difference(difference(entry.fields, touched), changes.removed)
  }))
  const mine = before.filter((entry) => sameManager(entry, owner))
  return Result.succeed({ object, entries: withOwner([...left, ...mine], owner, applied, request.time) })
}

/** The whole object as it should be stored, with its managedFields; the live one itself when nothing changes. */
export const applyConfig = (live: JsonObject | undefined, request: ApplyRequest): Applied => {
  if (isJsonObject(request.config["metadata"]) && (request.config["metadata"]["managedFields"] ?? null) !== null) {
    return Result.fail(badRequest("metadata.managedFields must be nil"))
  }
  const config = relevant(request)
  const [error] = typeErrors(config, request.node)
  if (error !== undefined) return Result.fail(untyped(request, error))
  const owner: Manager = {
    manager: request.manager,
    operation: "Apply",
    apiVersion: request.apiVersion,
    subresource: request.subresource
  }
  const applied = ownable(request.type, request.subresource, fieldsOf(config, request.node))
  if (live === undefined) {
    const entries: ReadonlyArray<Json> = encodeEntries([{ ...owner, time: request.time, fields: applied }])
    return Result.succeed(withManagedFields(config, entries))
  }
  const before = ownersBefore(live, request)
  const bare = withoutOwners(live)
  const lastApplied = before.find((entry) => sameManager(entry, owner))?.fields ?? emptySet
  const others = before.filter((entry) => !sameManager(entry, owner))
  const owned = others.reduce((all, entry) => union(all, entry.fields), applied)
  const merged = mergeTyped(bare, config, request.node)
  const object = takeAway(isJsonObject(merged) ? merged : bare, lastApplied, owned, request.node)
  const changes = compare(bare, object, request.node)
  return Result.map(
    settle(request, before, owner, applied, object, changes, allowedByLastApplied(bare, request)),
    (outcome) => {
      const next = withManagedFields(withLastApplied(outcome.object, request), encodeEntries(outcome.entries))
      return jsonEqual(next, live) ? live : next
    }
  )
}
