/**
 * Owns the translation of what an API server answers (HTTP code, `Status` object) into a KubeError, and the small
 * readers of untyped JSON that the live client shares. Does not own any I/O.
 */
import type { ObjectRef } from "./KubeClient.ts"
import { KubeError, type KubeErrorReason } from "./KubeError.ts"

/** Characters of a server's message that are kept: enough for any validation error, too little to carry an object. */
const MAX_MESSAGE_CHARACTERS = 2048

/** What was being asked, for the error that may come of it. */
export interface Subject {
  readonly verb: "get" | "list" | "watch" | "create" | "patch" | "delete" | "discover" | "configure"
  readonly kind: string
  readonly namespace?: string | undefined
  readonly name?: string | undefined
}

export type JsonRecord = { readonly [key: string]: unknown }

export const isRecord = (u: unknown): u is JsonRecord => typeof u === "object" && u !== null && !Array.isArray(u)

export const recordAt = (u: unknown, key: string): JsonRecord | undefined => {
  const value = isRecord(u) ? u[key] : undefined
  return isRecord(value) ? value : undefined
}

export const stringAt = (u: unknown, key: string): string | undefined => {
  const value = isRecord(u) ? u[key] : undefined
  return typeof value === "string" ? value : undefined
}

export const arrayAt = (u: unknown, key: string): ReadonlyArray<unknown> => {
  const value = isRecord(u) ? u[key] : undefined
  return Array.isArray(value) ? value : []
}

/** Parsed JSON, or undefined: what a proxy answers in place of the API server is often HTML. */
export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const subjectOf = (verb: Subject["verb"], kind: string, ref?: Partial<ObjectRef>): Subject => ({
  verb,
  kind,
  namespace: ref?.namespace,
  name: ref?.name
})

export const fail = (
  subject: Subject,
  reason: KubeErrorReason,
  message: string,
  retryAfterSeconds?: number
): KubeError =>
  new KubeError({
    reason,
    verb: subject.verb,
    kind: subject.kind,
    message:
      message.length <= MAX_MESSAGE_CHARACTERS ? message : `${message.slice(0, MAX_MESSAGE_CHARACTERS)}… (shortened)`,
    ...(subject.namespace === undefined ? {} : { namespace: subject.namespace }),
    ...(subject.name === undefined ? {} : { name: subject.name }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
  })

/**
 * By `Status.reason` where it says more than the code, else by code. The code wins for the rest: aggregated servers and
 * webhooks invent reasons.
 */
const reasonOf = (subject: Subject, code: number, status: unknown): KubeErrorReason => {
  const named = stringAt(status, "reason")
  switch (code) {
    case 401:
      return "Unauthorized"
    case 403:
      return "Forbidden"
    case 404:
      return "NotFound"
    case 409:
      return named === "AlreadyExists" || (named === undefined && subject.verb === "create")
        ? "AlreadyExists"
        : "Conflict"
    case 410:
      return "Gone"
    case 422:
      return refusedUid(status) ? "Conflict" : "Invalid"
    case 429:
      return "TooManyRequests"
    case 408:
      return "Unavailable"
    default:
      if (named === "Expired" || named === "Gone") return "Gone"
      return code >= 400 && code < 500 ? "BadRequest" : "Unavailable"
  }
}

/**
 * A uid precondition in a merge patch comes back as "metadata.uid: field is immutable" (422) rather than as a conflict:
 * the patch is applied first, and the result validated against the stored object.
 */
const refusedUid = (status: unknown): boolean =>
  arrayAt(recordAt(status, "details"), "causes").some((cause) => stringAt(cause, "field") === "metadata.uid")

/**
 * A patch whose result does not decode is answered with the whole patched object in the message (422, `patch: Invalid
 * value: …`): of a Secret, with its data. What is wrong stands behind the object, at the very end, or nowhere.
 */
const withoutObject = (message: string): string => {
  const at = message.indexOf("patch: Invalid value:")
  return at === -1 ? message : `${message.slice(0, at)}patch: Invalid value (the object is left out here)`
}

/** From a `Status` object: the body of a refused request, or the object of a watch's ERROR event. */
export const fromStatus = (subject: Subject, code: number, status: unknown, retryAfter?: string): KubeError => {
  const details = recordAt(status, "details")
  const inBody = details?.["retryAfterSeconds"]
  const seconds = retryAfter !== undefined && /^\d+$/.test(retryAfter) ? Number(retryAfter) : inBody
  return fail(
    subject,
    reasonOf(subject, code, status),
    withoutObject(stringAt(status, "message") ?? `the server answered ${code}`),
    typeof seconds === "number" && seconds > 0 ? seconds : undefined
  )
}

/** client-go's words for a 404 that is about the path, kept by servers that answer it as a Status. */
const UNSERVED_MESSAGE = "the server could not find the requested resource"

/** Whether a 404 is about the path (the kind is not served) and not about the object. */
export const isUnserved = (code: number, body: unknown): boolean =>
  code === 404 && (stringAt(body, "kind") !== "Status" || stringAt(body, "message") === UNSERVED_MESSAGE)

const UNSERVED_PREFIX = "the server does not serve "

/** Whether the server answered that it has no such kind (in this version): nothing was carried out. */
export const isUnservedError = (error: KubeError): boolean =>
  error.reason === "Unavailable" && error.message.startsWith(UNSERVED_PREFIX)

/** From any refused response. The body is repeated only when it is a `Status`: anything else may be a proxy's page. */
export const fromResponse = (subject: Subject, code: number, text: string, retryAfter?: string): KubeError => {
  const body = parseJson(text)
  if (isUnserved(code, body)) {
    return fail(subject, "Unavailable", `${UNSERVED_PREFIX}${subject.kind} (is its CRD installed?)`)
  }
  if (stringAt(body, "kind") === "Status") return fromStatus(subject, code, body, retryAfter)
  return fromStatus(subject, code, undefined, retryAfter)
}
