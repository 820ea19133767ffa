/**
 * Owns metadata.managedFields: reading and writing its entries, and what a plain write (everything but an apply) does to
 * them: who writes a field owns it from then on. Does not own applying (Apply.ts).
 */
import {
  arrayAt,
  isJsonArray,
  isJsonObject,
  type Json,
  type JsonObject,
  type StoredObject,
  stringAt
} from "../../apiserver/Json.ts"
import type { FieldTracker } from "../../apiserver/Requests.ts"
import type { ResourceType } from "../../apiserver/ResourceType.ts"
import {
  difference,
  emptySet,
  equalSets,
  type FieldSet,
  fieldPaths,
  fromFieldsV1,
  isEmpty,
  makeSet,
  toFieldsV1,
  union,
  within,
  without
} from "./FieldSet.ts"
import type { SchemaNode } from "./Schema.ts"
import { compare } from "./Typed.ts"

/** As upstream: beyond this many, the oldest entries of plain writes are told as one. */
const MAX_UPDATE_ENTRIES = 10
const ANCIENT = "ancient-changes"
/** As upstream: who owned fields of an object that had no managedFields when it was first applied. */
export const BEFORE_FIRST_APPLY = "before-first-apply"

export interface Manager {
  readonly manager: string
  readonly operation: "Apply" | "Update"
  readonly apiVersion: string
  /** Through which the fields were written, if not the object itself. */
  readonly subresource: string | undefined
}

export interface Entry extends Manager {
  readonly time: string | undefined
  readonly fields: FieldSet
}

/** An applier is the same in all versions; who updates is another in each. */
export const sameManager = (a: Manager, b: Manager): boolean =>
  a.manager === b.manager &&
  a.operation === b.operation &&
  a.subresource === b.subresource &&
  (a.operation === "Apply" || a.apiVersion === b.apiVersion)

/** What nobody owns: the server's own fields, and what says which object it is. */
const NOBODYS = fieldPaths(
  ["apiVersion"],
  ["kind"],
  ...[
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
    "deletionGracePeriodSeconds"
  ].map((field) => ["metadata", field])
)
const STATUS = fieldPaths(["status"])
const METADATA_ITSELF = fieldPaths(["metadata"])

/** The part of a set that a request to the object, or to its status, can be about. */
export const ownable = (type: ResourceType, subresource: "status" | undefined, set: FieldSet): FieldSet => {
  const open = difference(makeSet(false, without(set, NOBODYS).children), METADATA_ITSELF)
  if (subresource === "status") return within(open, STATUS)
  return type.statusSubresource && !type.strategy.statusAtCreation ? without(open, STATUS) : open
}

const decodeEntry = (raw: Json): Entry | undefined => {
  if (!isJsonObject(raw)) return undefined
  const fields = fromFieldsV1(raw["fieldsV1"] ?? {})
  const operation = stringAt(raw, "operation")
  if (fields === undefined || (operation !== "Apply" && operation !== "Update")) return undefined
  return {
    manager: stringAt(raw, "manager") ?? "",
    operation,
    apiVersion: stringAt(raw, "apiVersion") ?? "",
    subresource: stringAt(raw, "subresource"),
    time: stringAt(raw, "time"),
    fields
  }
}

/** Undefined when any entry can't be read: then all of them count for nothing. */
const decodeAll = (raw: ReadonlyArray<Json>): ReadonlyArray<Entry> | undefined => {
  const entries = raw.map(decodeEntry)
  const readable = entries.filter((entry) => entry !== undefined)
  return readable.length === entries.length ? readable : undefined
}

export const entriesOf = (object: JsonObject): ReadonlyArray<Entry> =>
  decodeAll(arrayAt(object, "metadata", "managedFields")) ?? []

const encodeEntry = (entry: Entry): JsonObject => ({
  manager: entry.manager,
  operation: entry.operation,
  apiVersion: entry.apiVersion,
  ...(entry.time === undefined ? {} : { time: entry.time }),
  fieldsType: "FieldsV1",
  fieldsV1: toFieldsV1(entry.fields),
  ...(entry.subresource === undefined ? {} : { subresource: entry.subresource })
})

const order = (entry: Entry): ReadonlyArray<string> => [
  entry.operation,
  entry.time ?? "",
  entry.manager,
  entry.apiVersion,
  entry.subresource ?? ""
]

const byOrder = (a: Entry, b: Entry): number => {
  const [left, right] = [order(a), order(b)]
  for (const [index, text] of left.entries()) {
    const other = right[index] ?? ""
    if (text !== other) return text < other ? -1 : 1
  }
  return 0
}

/** The oldest plain writes of one version become one entry, until there are few enough. */
const capped = (sorted: ReadonlyArray<Entry>): ReadonlyArray<Entry> => {
  const updates = sorted.filter((entry) => entry.operation === "Update")
  const surplus = updates.slice(0, Math.max(0, updates.length - MAX_UPDATE_ENTRIES))
  const [first] = surplus
  if (first === undefined) return sorted
  const old = updates
    .slice(0, surplus.length + 1)
    .filter((entry) => entry.apiVersion === first.apiVersion && entry.subresource === first.subresource)
  if (old.length < 2) return sorted
  const ancient: Entry = {
    ...first,
    manager: ANCIENT,
    time: old.at(-1)?.time,
    fields: old.reduce((all, entry) => union(all, entry.fields), emptySet)
  }
  return [...sorted.filter((entry) => !old.includes(entry)), ancient].sort(byOrder)
}

export const encodeEntries = (entries: ReadonlyArray<Entry>): ReadonlyArray<Json> =>
  capped([...entries].filter((entry) => !isEmpty(entry.fields)).sort(byOrder)).map(encodeEntry)

/** `before` with `fields` for one manager; its time moves only with its fields. */
export const withOwner = (
  before: ReadonlyArray<Entry>,
  owner: Manager,
  fields: FieldSet,
  time: string
): ReadonlyArray<Entry> => {
  const known = before.find((entry) => sameManager(entry, owner))
  const others = before.filter((entry) => entry !== known)
  const unchanged = known !== undefined && known.apiVersion === owner.apiVersion && equalSets(known.fields, fields)
  return [...others, unchanged ? known : { ...owner, fields, time }]
}

export const withManagedFields = <A extends JsonObject>(object: A, entries: ReadonlyArray<Json>): A => {
  const { managedFields: _before, ...metadata } = isJsonObject(object["metadata"]) ? object["metadata"] : {}
  return { ...object, metadata: entries.length === 0 ? metadata : { ...metadata, managedFields: entries } }
}

/** A client takes all ownership back by sending exactly one empty entry. */
const isReset = (given: ReadonlyArray<Json> | undefined): boolean => {
  const [only, ...others] = given ?? []
  return isJsonObject(only) && others.length === 0 && Object.keys(only).length === 0
}

/** What a plain write does: what it set or changed is its manager's alone, what it took away is nobody's. */
export const trackWrites =
  (nodeFor: (type: ResourceType, version: string) => SchemaNode): FieldTracker =>
  ({ request, old, next, given, subresource, time }) => {
    if (isReset(given)) return withStoredFields(next, [])
    const base = isJsonArray(given) && given.length > 0 ? decodeAll(given) : undefined
    const before = base ?? (old === undefined ? [] : entriesOf(old))
    const changes = compare(old, next, nodeFor(request.type, request.version))
    const touched = ownable(request.type, subresource, union(changes.added, changes.modified))
    const removed = ownable(request.type, subresource, changes.removed)
    const owner: Manager = {
      manager: request.fieldManager ?? request.client,
      operation: "Update",
      apiVersion: next.apiVersion,
      subresource: request.fieldSubresource ?? subresource
    }
    if (isEmpty(touched) && isEmpty(removed)) {
      // Nothing was written but, perhaps, the entries themselves.
      return withStoredFields(next, base === undefined ? (old?.metadata.managedFields ?? []) : encodeEntries(base))
    }
    const others = before.map((entry) =>
      sameManager(entry, owner)
        ? entry
        : { ...entry, fields: difference(difference(entry.fields, changes.modified), changes.removed) }
    )
    const mine = before.find((entry) => sameManager(entry, owner))?.fields ?? emptySet
    return withStoredFields(
      next,
      encodeEntries(withOwner(others, owner, union(difference(mine, removed), touched), time))
    )
  }

const withStoredFields = (object: StoredObject, entries: ReadonlyArray<Json>): StoredObject => {
  const { managedFields: _before, ...metadata } = object.metadata
  return { ...object, metadata: entries.length === 0 ? metadata : { ...metadata, managedFields: entries } }
}
