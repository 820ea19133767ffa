/**
 * Owns what a request to the store says (who, when, what, under which preconditions) and the small judgements on it.
 * Does not own carrying it out (ApiStore.ts).
 */
import type * as Result from "effect/Result"
import type { Json, JsonObject, StoredMeta, StoredObject } from "./Json.ts"
import { FINALIZER_FOREGROUND, FINALIZER_ORPHAN } from "./Metadata.ts"
import type { ResourceType } from "./ResourceType.ts"
import { ApiStatus, conflict, internalError, OPTIMISTIC_LOCK, preconditionFailed } from "./Status.ts"

export type Outcome = Result.Result<StoredObject, ApiStatus>

/** Who asks, when, and for which type in which version. */
export interface Request {
  readonly client: string
  readonly nowMillis: number
  readonly type: ResourceType
  readonly version: string
  /** Everything is checked, nothing is stored. */
  readonly dryRun?: boolean
  /** Who is told to own what is written; absent: the client. */
  readonly fieldManager?: string
  /** Through which subresource, where it is not the status (scale). */
  readonly fieldSubresource?: string
}

export interface Target extends Request {
  /** "" for cluster-scoped types. */
  readonly namespace: string
  readonly name: string
}

export type Patch =
  | { readonly type: "merge"; readonly body: JsonObject }
  | { readonly type: "json"; readonly operations: ReadonlyArray<Json> }
  /** What the next object is, from the one there is; `applies`: with its managedFields as they should be. */
  | {
      readonly type: "computed"
      readonly compute: (current: JsonObject) => Result.Result<Json, ApiStatus>
      readonly applies?: boolean
      /** A strategic merge, which is done on a built-in kind's Go type: that has no place for another kind. */
      readonly strategic?: boolean
    }

/** A write about to be stored, as the keeper of managedFields sees it. */
export interface TrackedWrite {
  readonly request: Request
  readonly old: StoredObject | undefined
  readonly next: StoredObject
  /** managedFields as the client sent them. */
  readonly given: ReadonlyArray<Json> | undefined
  readonly subresource: "status" | undefined
  /** RFC 3339. */
  readonly time: string
}

/** Answers with `next`, its managedFields brought up to date. */
export type FieldTracker = (write: TrackedWrite) => StoredObject

export type PropagationPolicy = "Background" | "Foreground" | "Orphan"

export interface DeleteBody {
  readonly resourceVersion?: string | undefined
  readonly uid?: string | undefined
  readonly propagationPolicy?: PropagationPolicy | undefined
}

export const apiVersion = (request: Request): string =>
  request.type.group === "" ? request.version : `${request.type.group}/${request.version}`

/** Version 0 asks for nothing, as none does. */
export const staleVersion = (
  type: ResourceType,
  old: StoredObject,
  asked: string | undefined
): ApiStatus | undefined => {
  if (asked === undefined || asked === "0" || asked === old.metadata.resourceVersion) return undefined
  if (!/^\d+$/.test(asked)) return internalError(`strconv.ParseUint: parsing ${JSON.stringify(asked)}: invalid syntax`)
  return conflict(type, old.metadata.name, OPTIMISTIC_LOCK)
}

/** What can't be decoded is a bad request, but an invalid patch where a patch made it so. */
export const unreadablePatch = (status: ApiStatus): ApiStatus =>
  status.code === 400 && /cannot unmarshal|illegal base64/.test(status.message)
    ? new ApiStatus({
        code: 422,
        reason: "Invalid",
        message: ` "" is invalid: patch: Invalid value: ${status.message}`
      })
    : status

export const uidMismatch = (asked: string, found: string): string =>
  `the UID in the precondition (${asked}) does not match the UID in record (${found}). The object might have been deleted and then recreated`

/** Why a deletion meant for another object, or for another version of it, is refused. */
export const failedPrecondition = (
  type: ResourceType,
  old: StoredObject,
  options: DeleteBody
): ApiStatus | undefined => {
  const { uid, resourceVersion, name } = old.metadata
  if (options.uid !== undefined && options.uid !== uid) {
    return preconditionFailed(type, name, uidMismatch(options.uid, uid))
  }
  if (options.resourceVersion === undefined || options.resourceVersion === resourceVersion) return undefined
  return preconditionFailed(
    type,
    name,
    `the ResourceVersion in the precondition (${options.resourceVersion}) does not match the ResourceVersion in record (${resourceVersion}). The object might have been modified`
  )
}

export const NAMESPACE_MISMATCH =
  "the namespace of the provided object does not match the namespace sent on the request"

/** Upstream's rule: a policy given now wins over finalizers set before; without one, what is there stays. */
export const deletionFinalizers = (
  metadata: StoredMeta,
  policy: PropagationPolicy | undefined
): ReadonlyArray<string> => {
  const before = metadata.finalizers ?? []
  if (policy === undefined) return before
  const others = before.filter((finalizer) => finalizer !== FINALIZER_ORPHAN && finalizer !== FINALIZER_FOREGROUND)
  switch (policy) {
    case "Background":
      return others
    case "Foreground":
      return [...others, FINALIZER_FOREGROUND]
    case "Orphan":
      return [...others, FINALIZER_ORPHAN]
  }
}
