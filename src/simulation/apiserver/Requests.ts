/**
 * Owns what a request to the store says (who, when, what, under which preconditions) and the small judgements on it.
 * Does not own carrying it out (ApiStore.ts).
 */
import type * as Result from "effect/Result"
import type { Json, JsonObject, StoredMeta, StoredObject } from "./Json.ts"
import { FINALIZER_FOREGROUND, FINALIZER_ORPHAN } from "./Metadata.ts"
import type { ResourceType } from "./ResourceType.ts"
import { ApiStatus, conflict, internalError, OPTIMISTIC_LOCK } from "./Status.ts"

export type Outcome = Result.Result<StoredObject, ApiStatus>

/** Who asks, when, and for which type in which version. */
export interface Request {
  readonly client: string
  readonly nowMillis: number
  readonly type: ResourceType
  readonly version: string
  /** Everything is checked, nothing is stored. */
  readonly dryRun?: boolean
}

export interface Target extends Request {
  /** "" for cluster-scoped types. */
  readonly namespace: string
  readonly name: string
}

export type Patch =
  | { readonly type: "merge"; readonly body: JsonObject }
  | { readonly type: "json"; readonly operations: ReadonlyArray<Json> }

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
