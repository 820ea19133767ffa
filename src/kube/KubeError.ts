/**
 * Owns the one error of the Kubernetes port: what the API server (or the way to it) said, and whether waiting helps.
 * Does not own what an actor makes of it (conditions and Events are the actors').
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** `backoff`: try again later; `waitForChange`: nothing helps until an input changes (DESIGN, "Typed errors"). */
export type RetryClass = "backoff" | "waitForChange" | "budget"

export const KubeErrorReason = Schema.Literals([
  "NotFound", // 404
  "AlreadyExists", // 409 on create
  "Conflict", // 409: resourceVersion or uid precondition failed
  "Invalid", // 422: validation, CEL, immutable field
  "BadRequest", // 400, 405, 415
  "Unauthorized", // 401
  "Forbidden", // 403 (also creation in a terminating namespace)
  "Gone", // 410: resourceVersion too old; list again
  "TooManyRequests", // 429
  "Unavailable", // 5xx, refused, reset, timeout: the request may or may not have been carried out
  "Decode" // the object does not have the shape its kind promises
])
export type KubeErrorReason = typeof KubeErrorReason.Type

/** `message` is the server's, safe to show: it names the object and the cause, never a Secret's data. */
export class KubeError extends Schema.TaggedError<KubeError>()("KubeError", {
  reason: KubeErrorReason,
  /** get, list, watch, create, patch, delete, discover or configure. */
  verb: Schema.String,
  kind: Schema.String,
  namespace: Schema.optionalKey(Schema.String),
  name: Schema.optionalKey(Schema.String),
  message: Schema.String,
  /** Seconds, from `Retry-After`. */
  retryAfterSeconds: Schema.optionalKey(Schema.Number)
}) {
  get retry(): RetryClass {
    switch (this.reason) {
      case "Conflict":
      case "Gone":
      case "TooManyRequests":
      case "Unavailable":
      case "AlreadyExists":
        return "backoff"
      case "NotFound":
      case "Invalid":
      case "BadRequest":
      case "Unauthorized":
      case "Forbidden":
      case "Decode":
        return "waitForChange"
    }
  }
}

/** An object that is not there is an answer, not a failure: it reads as undefined. */
export const absent = <A, E, R>(
  effect: Effect.Effect<A, KubeError | E, R>
): Effect.Effect<A | undefined, KubeError | E, R> =>
  Effect.catchIf(
    effect,
    (error) => error instanceof KubeError && error.reason === "NotFound",
    () => Effect.succeed(undefined)
  )
