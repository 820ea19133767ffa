/**
 * Owns the refusals of the API server: code, reason and message as a real one words them (people and tests read them),
 * and field errors. Does not own when something is refused.
 */
import * as Data from "effect/Data"
import type { Json } from "./Json.ts"

export type StatusReason =
  /** What upstream gives no reason for: people see only the message. */
  | ""
  | "BadRequest"
  | "Unauthorized"
  | "Forbidden"
  | "NotFound"
  | "AlreadyExists"
  | "Conflict"
  | "Expired"
  | "Invalid"
  | "MethodNotAllowed"
  | "NotAcceptable"
  | "UnsupportedMediaType"
  | "RequestEntityTooLarge"
  | "TooManyRequests"
  | "Timeout"
  | "InternalError"

export interface StatusCause {
  readonly reason: string
  readonly message: string
  readonly field?: string
}

/** What metav1.Status carries. `details.kind` is the resource's plural (or the kind, for Invalid), as upstream. */
export class ApiStatus extends Data.TaggedError("ApiStatus")<{
  readonly code: number
  readonly reason: StatusReason
  readonly message: string
  readonly details?: {
    readonly group?: string
    readonly kind?: string
    readonly name?: string
    readonly uid?: string
    readonly causes?: ReadonlyArray<StatusCause>
    readonly retryAfterSeconds?: number
  }
}> {}

export interface GroupResource {
  readonly group: string
  readonly plural: string
  readonly kind: string
}

/** `machines.cluster.x-k8s.io`, or `secrets` in the core group. */
export const qualified = (name: string, group: string): string => (group === "" ? name : `${name}.${group}`)

const about = (type: GroupResource, name: string) => ({ group: type.group, kind: type.plural, name })
const quote = (text: string): string => JSON.stringify(text)

export const notFound = (type: GroupResource, name: string): ApiStatus =>
  new ApiStatus({
    code: 404,
    reason: "NotFound",
    message: `${qualified(type.plural, type.group)} ${quote(name)} not found`,
    details: about(type, name)
  })

export const noSuchResource = (): ApiStatus =>
  new ApiStatus({ code: 404, reason: "NotFound", message: "the server could not find the requested resource" })

export const alreadyExists = (type: GroupResource, name: string): ApiStatus =>
  new ApiStatus({
    code: 409,
    reason: "AlreadyExists",
    message: `${qualified(type.plural, type.group)} ${quote(name)} already exists`,
    details: about(type, name)
  })

export const conflict = (type: GroupResource, name: string, cause: string): ApiStatus =>
  new ApiStatus({
    code: 409,
    reason: "Conflict",
    message: `Operation cannot be fulfilled on ${qualified(type.plural, type.group)} ${quote(name)}: ${cause}`,
    details: about(type, name)
  })

/** A precondition of a deletion is told by the kind, not the resource. */
export const preconditionFailed = (type: GroupResource, name: string, cause: string): ApiStatus =>
  new ApiStatus({
    code: 409,
    reason: "Conflict",
    message: `Operation cannot be fulfilled on ${qualified(type.kind, type.group)} ${quote(name)}: ${cause}`,
    details: { ...about(type, name), kind: type.kind }
  })

export const OPTIMISTIC_LOCK =
  "the object has been modified; please apply your changes to the latest version and try again"

export const forbidden = (
  type: GroupResource,
  name: string,
  why: string,
  causes?: ReadonlyArray<StatusCause>
): ApiStatus =>
  new ApiStatus({
    code: 403,
    reason: "Forbidden",
    message: `${qualified(type.plural, type.group)} ${quote(name)} is forbidden: ${why}`,
    details: { ...about(type, name), ...(causes === undefined ? {} : { causes }) }
  })

export const badRequest = (message: string): ApiStatus => new ApiStatus({ code: 400, reason: "BadRequest", message })

/** Upstream lets some faults of a client through as 500. */
export const internalError = (message: string): ApiStatus =>
  new ApiStatus({ code: 500, reason: "InternalError", message })

export const methodNotAllowed = (message: string): ApiStatus =>
  new ApiStatus({ code: 405, reason: "MethodNotAllowed", message })

export const expired = (message: string): ApiStatus => new ApiStatus({ code: 410, reason: "Expired", message })

export const invalid = (type: GroupResource, name: string, errors: ReadonlyArray<FieldError>): ApiStatus => {
  const texts = [...new Set(errors.map(fieldErrorText))]
  const [first] = texts
  const list = texts.length === 1 && first !== undefined ? first : `[${texts.join(", ")}]`
  return new ApiStatus({
    code: 422,
    reason: "Invalid",
    message: `${qualified(type.kind, type.group)} ${quote(name)} is invalid: ${list}`,
    details: {
      group: type.group,
      kind: type.kind,
      name,
      causes: errors.map((error) => ({
        reason: CAUSE_OF[error.type],
        message: fieldErrorBody(error),
        field: error.field
      }))
    }
  })
}

export type FieldErrorType =
  | "Required value"
  | "Invalid value"
  | "Duplicate value"
  | "Unsupported value"
  | "Forbidden"
  | "Too long"
  | "Too many"

const CAUSE_OF: Readonly<Record<FieldErrorType, string>> = {
  "Required value": "FieldValueRequired",
  "Invalid value": "FieldValueInvalid",
  "Duplicate value": "FieldValueDuplicate",
  "Unsupported value": "FieldValueNotSupported",
  Forbidden: "FieldValueForbidden",
  "Too long": "FieldValueTooLong",
  "Too many": "FieldValueTooMany"
}

export interface FieldError {
  readonly type: FieldErrorType
  readonly field: string
  readonly value?: Json
  readonly detail: string
  /** The value is not of its type: an Invalid value after which nothing more can be said of it. */
  readonly wrongType?: true
}

const withoutValue: ReadonlySet<FieldErrorType> = new Set(["Required value", "Forbidden", "Too long"])

const fieldErrorBody = (error: FieldError): string => {
  const detail = error.detail === "" ? "" : `: ${error.detail}`
  return withoutValue.has(error.type)
    ? `${error.type}${detail}`
    : `${error.type}: ${JSON.stringify(error.value ?? null)}${detail}`
}

/** `spec.port: Invalid value: 0: must be greater than 0`. */
export const fieldErrorText = (error: FieldError): string => `${error.field}: ${fieldErrorBody(error)}`

export const required = (field: string, detail = ""): FieldError => ({ type: "Required value", field, detail })
export const invalidValue = (field: string, value: Json, detail: string): FieldError => ({
  type: "Invalid value",
  field,
  value,
  detail
})
export const immutableField = (field: string, value: Json): FieldError =>
  invalidValue(field, value, "field is immutable")
export const forbiddenField = (field: string, detail: string): FieldError => ({ type: "Forbidden", field, detail })
export const duplicate = (field: string, value: Json): FieldError => ({
  type: "Duplicate value",
  field,
  value,
  detail: ""
})
export const tooLong = (field: string, maxBytes: number): FieldError => ({
  type: "Too long",
  field,
  detail: `may not be more than ${maxBytes} bytes`
})
export const notSupported = (field: string, value: Json, supported: ReadonlyArray<string>): FieldError => ({
  type: "Unsupported value",
  field,
  value,
  detail: `supported values: ${supported.map(quote).join(", ")}`
})
