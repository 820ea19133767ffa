/**
 * Owns the one error of reading bootstrap data. Messages never quote the data, which holds secrets: they name places
 * (an entry, a line, a key).
 */
import * as Schema from "effect/Schema"

export const CloudConfigErrorReason = Schema.Literals([
  "NotCloudConfig",
  "BadYaml",
  /** Modules that nobody can run over SSH. */
  "Unsupported",
  "BadEncoding",
  "BadPath",
  "BadField",
  /** Wants jinja rendering. */
  "Jinja"
])
export type CloudConfigErrorReason = typeof CloudConfigErrorReason.Type

export class CloudConfigError extends Schema.TaggedError<CloudConfigError>()("CloudConfigError", {
  reason: CloudConfigErrorReason,
  message: Schema.String,
  /** BadYaml: from 1. */
  line: Schema.optionalKey(Schema.Number),
  /** Unsupported: the keys, sorted. */
  modules: Schema.optionalKey(Schema.Array(Schema.String))
}) {
  /** Bootstrap data never changes by itself. */
  readonly retry = "waitForChange" as const
}
