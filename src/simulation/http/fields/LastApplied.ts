/**
 * Owns the peace between kubectl's two ways of applying: the annotation that client-side apply keeps is kept true by
 * server-side apply, and what it says was applied before is no conflict. For the manager `kubectl` alone, as upstream.
 */
import { isJsonArray, isJsonObject, type Json, type JsonObject, objectAt, stringAt } from "../../apiserver/Json.ts"
import { difference, emptySet, type FieldSet, union } from "./FieldSet.ts"
import type { SchemaNode } from "./Schema.ts"
import { compare, fieldsOf } from "./Typed.ts"

interface Applying {
  readonly manager: string
  readonly config: JsonObject
  readonly node: SchemaNode
}

const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
/** As upstream: one that grows larger is dropped rather than refused. */
const MAX_LAST_APPLIED_BYTES = 256 * 1024
/** The one manager that also applies from the client's side, and reads the annotation there. */
const KUBECTL = "kubectl"

const sorted = (value: Json): Json => {
  if (isJsonArray(value)) return value.map(sorted)
  if (!isJsonObject(value)) return value
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key] ?? null)])
  )
}

/** Whoever goes back to applying from the client's side finds what was applied last from the server's. */
export const withLastApplied = (object: JsonObject, request: Applying): JsonObject => {
  const annotations = objectAt(object, "metadata", "annotations")
  if (request.manager !== KUBECTL || annotations[LAST_APPLIED] === undefined) return object
  const text = `${JSON.stringify(sorted(request.config))}\n`
  const { [LAST_APPLIED]: _before, ...others } = annotations
  const kept = Buffer.byteLength(text) > MAX_LAST_APPLIED_BYTES ? others : { ...annotations, [LAST_APPLIED]: text }
  return { ...object, metadata: { ...objectAt(object, "metadata"), annotations: kept } }
}

const parsed = (text: string): Json | undefined => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Fields that client-side apply set, and that are still as it set them: server-side apply may take them over. */
export const allowedByLastApplied = (live: JsonObject, request: Applying): FieldSet => {
  const text = request.manager === KUBECTL ? stringAt(live, "metadata", "annotations", LAST_APPLIED) : undefined
  const last = text === undefined ? undefined : parsed(text)
  if (!isJsonObject(last)) return emptySet
  const { added, modified, removed } = compare(last, live, request.node)
  return difference(fieldsOf(last, request.node), union(union(added, modified), removed))
}
