/**
 * Owns the metadata of an object: reading it from a request, what may stand in it, and what an update may change.
 * The same for every resource type. Does not own names' rules (Names.ts) nor when a deletion is finished (Writes.ts).
 */
import * as Result from "effect/Result"
import {
  isJsonArray,
  isJsonObject,
  type Json,
  type JsonObject,
  jsonEqual,
  jsonTypeOf,
  type StoredMeta,
  type StoredOwnerReference
} from "./Json.ts"
import { labelValue, qualifiedName } from "./Names.ts"
import {
  type ApiStatus,
  badRequest,
  type FieldError,
  forbiddenField,
  immutableField,
  invalidValue,
  required,
  tooLong
} from "./Status.ts"

export const FINALIZER_ORPHAN = "orphan"
export const FINALIZER_FOREGROUND = "foregroundDeletion"

/** As upstream: all annotations of an object together, keys and values. */
const MAX_ANNOTATIONS_BYTES = 256 * 1024

/** Metadata as it came in a request: each field of the right type, nothing else known of it. */
export interface IncomingMeta {
  readonly name?: string
  readonly generateName?: string
  readonly namespace?: string
  readonly uid?: string
  readonly resourceVersion?: string
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly finalizers?: ReadonlyArray<string>
  readonly ownerReferences?: ReadonlyArray<StoredOwnerReference>
  readonly managedFields?: ReadonlyArray<Json>
}

/** Go's decoder knows no integers. */
const goTypeOf = (value: Json | undefined): string => (typeof value === "number" ? "number" : jsonTypeOf(value))

type Parsed<A> = Result.Result<A | undefined, ApiStatus>

const wrongType = (value: Json | undefined, field: string, type: string): ApiStatus =>
  badRequest(
    `json: cannot unmarshal ${goTypeOf(value)} into Go struct field ObjectMeta.metadata.${field} of type ${type}`
  )

const text = (metadata: JsonObject, field: string): Parsed<string> => {
  const value = metadata[field]
  if (value === undefined || value === null || value === "") return Result.succeed(undefined)
  return typeof value === "string" ? Result.succeed(value) : Result.fail(wrongType(value, field, "string"))
}

const textMap = (metadata: JsonObject, field: string): Parsed<Readonly<Record<string, string>>> => {
  const value = metadata[field]
  if (value === undefined || value === null) return Result.succeed(undefined)
  if (!isJsonObject(value)) return Result.fail(wrongType(value, field, "map[string]string"))
  const entries: Array<readonly [string, string]> = []
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue
    if (item !== null && typeof item !== "string") return Result.fail(wrongType(item, field, "string"))
    entries.push([key, item ?? ""])
  }
  return Result.succeed(entries.length === 0 ? undefined : Object.fromEntries(entries))
}

const texts = (metadata: JsonObject, field: string): Parsed<ReadonlyArray<string>> => {
  const value = metadata[field]
  if (value === undefined || value === null) return Result.succeed(undefined)
  if (!isJsonArray(value) || !value.every((item) => typeof item === "string")) {
    return Result.fail(wrongType(value, field, "[]string"))
  }
  return Result.succeed(value.length === 0 ? undefined : value)
}

const ownerReference = (raw: Json): StoredOwnerReference | undefined => {
  if (!isJsonObject(raw)) return undefined
  const { apiVersion = "", kind = "", name = "", uid = "", controller, blockOwnerDeletion } = raw
  if (typeof apiVersion !== "string" || typeof kind !== "string") return undefined
  if (typeof name !== "string" || typeof uid !== "string") return undefined
  const flag = (value: Json | undefined) => value === undefined || value === null || typeof value === "boolean"
  if (!flag(controller) || !flag(blockOwnerDeletion)) return undefined
  return {
    apiVersion,
    kind,
    name,
    uid,
    ...(typeof controller === "boolean" ? { controller } : {}),
    ...(typeof blockOwnerDeletion === "boolean" ? { blockOwnerDeletion } : {})
  }
}

const ownerReferences = (metadata: JsonObject): Parsed<ReadonlyArray<StoredOwnerReference>> => {
  const value = metadata["ownerReferences"]
  if (value === undefined || value === null) return Result.succeed(undefined)
  const type = "[]v1.OwnerReference"
  if (!isJsonArray(value)) return Result.fail(wrongType(value, "ownerReferences", type))
  const references: Array<StoredOwnerReference> = []
  for (const raw of value) {
    const reference = ownerReference(raw)
    if (reference === undefined) return Result.fail(wrongType(raw, "ownerReferences", type))
    // Upstream drops repetitions, with a warning.
    if (!references.some((known) => jsonEqual(known, reference))) references.push(reference)
  }
  return Result.succeed(references.length === 0 ? undefined : references)
}

/** Unknown fields of metadata are dropped, empty ones too: `labels: {}` and no labels are the same. */
export const parseMeta = (raw: Json | undefined): Result.Result<IncomingMeta, ApiStatus> => {
  if (raw === undefined || raw === null) return Result.succeed({})
  if (!isJsonObject(raw)) return Result.fail(wrongType(raw, "metadata", "v1.ObjectMeta"))
  const managedFields = raw["managedFields"]
  const fields = Result.all({
    name: text(raw, "name"),
    generateName: text(raw, "generateName"),
    namespace: text(raw, "namespace"),
    uid: text(raw, "uid"),
    resourceVersion: text(raw, "resourceVersion"),
    deletionTimestamp: text(raw, "deletionTimestamp"),
    labels: textMap(raw, "labels"),
    annotations: textMap(raw, "annotations"),
    finalizers: texts(raw, "finalizers"),
    ownerReferences: ownerReferences(raw)
  })
  return Result.map(fields, (found) => ({
    ...(found.name === undefined ? {} : { name: found.name }),
    ...(found.generateName === undefined ? {} : { generateName: found.generateName }),
    ...(found.namespace === undefined ? {} : { namespace: found.namespace }),
    ...(found.uid === undefined ? {} : { uid: found.uid }),
    ...(found.resourceVersion === undefined ? {} : { resourceVersion: found.resourceVersion }),
    ...(found.deletionTimestamp === undefined ? {} : { deletionTimestamp: found.deletionTimestamp }),
    ...writableOf(found),
    ...(isJsonArray(managedFields) && managedFields.length > 0 ? { managedFields } : {})
  }))
}

interface Writable {
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly annotations?: Readonly<Record<string, string>> | undefined
  readonly finalizers?: ReadonlyArray<string> | undefined
  readonly ownerReferences?: ReadonlyArray<StoredOwnerReference> | undefined
}

/** What a client may set at any time, in the order the fields are shown. */
export const writableOf = (meta: Writable) => ({
  ...(meta.labels === undefined ? {} : { labels: meta.labels }),
  ...(meta.annotations === undefined ? {} : { annotations: meta.annotations }),
  ...(meta.finalizers === undefined ? {} : { finalizers: meta.finalizers }),
  ...(meta.ownerReferences === undefined ? {} : { ownerReferences: meta.ownerReferences })
})

export const withFinalizers = (meta: StoredMeta, finalizers: ReadonlyArray<string>): StoredMeta => {
  const { finalizers: _before, ...rest } = meta
  return finalizers.length === 0 ? rest : { ...rest, finalizers }
}

/** The next metadata of `old` after an update asked for `next`; what the server owns stays as it is. */
export const updatedMeta = (old: StoredMeta, next: IncomingMeta): StoredMeta => {
  const { labels: _l, annotations: _a, finalizers: _f, ownerReferences: _o, managedFields, ...kept } = old
  const fields = next.managedFields ?? managedFields
  const updated = {
    ...kept,
    ...writableOf({
      labels: keepSame(old.labels, next.labels),
      annotations: keepSame(old.annotations, next.annotations),
      finalizers: keepSame(old.finalizers, next.finalizers),
      ownerReferences: keepSame(old.ownerReferences, next.ownerReferences)
    }),
    ...(fields === undefined ? {} : { managedFields: fields })
  }
  return jsonEqual(old, updated) ? old : updated
}

const keepSame = <A extends Json>(old: A | undefined, next: A | undefined): A | undefined =>
  jsonEqual(old, next) ? old : next

const utf8 = new TextEncoder()
const bytes = (value: string): number => utf8.encode(value).length

/** What may stand in metadata, whoever wrote it. The object's own name is checked by its type's rule. */
export const validateMeta = (meta: StoredMeta | IncomingMeta): ReadonlyArray<FieldError> => {
  const errors: Array<FieldError> = []
  for (const [key, value] of Object.entries(meta.labels ?? {})) {
    const badKey = qualifiedName(key)
    if (badKey !== undefined) errors.push(invalidValue("metadata.labels", key, badKey))
    const badValue = labelValue(value)
    if (badValue !== undefined) errors.push(invalidValue("metadata.labels", value, badValue))
  }
  let total = 0
  for (const [key, value] of Object.entries(meta.annotations ?? {})) {
    const badKey = qualifiedName(key.toLowerCase())
    if (badKey !== undefined) errors.push(invalidValue("metadata.annotations", key, badKey))
    total += bytes(key) + bytes(value)
  }
  if (total > MAX_ANNOTATIONS_BYTES) errors.push(tooLong("metadata.annotations", MAX_ANNOTATIONS_BYTES))
  const finalizers = meta.finalizers ?? []
  for (const finalizer of finalizers) {
    const bad = qualifiedName(finalizer)
    if (bad !== undefined) errors.push(invalidValue("metadata.finalizers", finalizer, bad))
  }
  if (finalizers.includes(FINALIZER_ORPHAN) && finalizers.includes(FINALIZER_FOREGROUND)) {
    errors.push(
      invalidValue("metadata.finalizers", finalizers, "finalizer orphan and foregroundDeletion cannot be both set")
    )
  }
  return [...errors, ...validateOwners(meta.ownerReferences ?? [])]
}

const validateOwners = (references: ReadonlyArray<StoredOwnerReference>): ReadonlyArray<FieldError> => {
  const errors: Array<FieldError> = []
  let controller: StoredOwnerReference | undefined
  const field = "metadata.ownerReferences"
  for (const reference of references) {
    if (reference.apiVersion === "") errors.push(invalidValue(`${field}.apiVersion`, "", "version must not be empty"))
    if (reference.kind === "") errors.push(invalidValue(`${field}.kind`, "", "must not be empty"))
    if (reference.name === "") errors.push(invalidValue(`${field}.name`, "", "must not be empty"))
    if (reference.uid === "") errors.push(invalidValue(`${field}.uid`, "", "must not be empty"))
    if (reference.apiVersion === "v1" && reference.kind === "Event") {
      errors.push(invalidValue(field, reference, "/v1, Kind=Event is disallowed from being an owner"))
    }
    if (reference.controller !== true) continue
    if (controller !== undefined) {
      errors.push(
        invalidValue(
          field,
          references,
          `Only one reference can have Controller set to true. Found "true" in references for ${controller.kind}/${controller.name} and ${reference.kind}/${reference.name}`
        )
      )
    }
    controller = reference
  }
  return errors
}

/** What an update may not do to the metadata of `old`; `asked` is the request's, `next` what would be stored. */
export const validateMetaUpdate = (
  old: StoredMeta,
  asked: IncomingMeta,
  next: StoredMeta
): ReadonlyArray<FieldError> => {
  const errors: Array<FieldError> = []
  if (asked.uid !== undefined && asked.uid !== old.uid) errors.push(immutableField("metadata.uid", asked.uid))
  if (old.deletionTimestamp === undefined && asked.deletionTimestamp !== undefined) {
    errors.push(immutableField("metadata.deletionTimestamp", asked.deletionTimestamp))
  }
  if (old.deletionTimestamp !== undefined) {
    const added = (next.finalizers ?? []).filter((finalizer) => !(old.finalizers ?? []).includes(finalizer))
    if (added.length > 0) {
      const list = added.map((finalizer) => JSON.stringify(finalizer)).join(", ")
      errors.push(
        forbiddenField(
          "metadata.finalizers",
          `no new finalizers can be added if the object is being deleted, found new finalizers []string{${list}}`
        )
      )
    }
  }
  return errors
}

export const nameErrors = (
  meta: IncomingMeta,
  rule: (name: string) => string | undefined
): ReadonlyArray<FieldError> => {
  if (meta.name === undefined) return [required("metadata.name", "name or generateName is required")]
  const errors: Array<FieldError> = []
  // What ends in a dash will not, once the suffix is there.
  const badBase = meta.generateName === undefined ? undefined : rule(meta.generateName.replace(/-$/, "a"))
  if (badBase !== undefined) errors.push(invalidValue("metadata.generateName", meta.generateName ?? "", badBase))
  const bad = rule(meta.name)
  if (bad !== undefined) errors.push(invalidValue("metadata.name", meta.name, bad))
  return errors
}
