/**
 * Owns the one error of reading bootstrap data, of whichever format. Messages never quote the data, which holds secrets:
 * they name places (an entry, a line, a key).
 */
import * as Schema from "effect/Schema"

export const BootstrapDataErrorReason = Schema.Literals([
  /** The Secret's `format` is none that we know. */
  "UnknownFormat",
  /** Neither cloud-config nor another kind of user data that can be run. */
  "NotCloudConfig",
  "BadYaml",
  "BadJson",
  /** Asks for what nobody can do over SSH. */
  "Unsupported",
  "BadEncoding",
  "BadPath",
  "BadField",
  /** A jinja template that can't be rendered. */
  "Jinja",
  /** A jinja template, and nothing is known of the host yet. */
  "FactsNeeded"
])
export type BootstrapDataErrorReason = typeof BootstrapDataErrorReason.Type

export class BootstrapDataError extends Schema.TaggedError<BootstrapDataError>()("BootstrapDataError", {
  reason: BootstrapDataErrorReason,
  message: Schema.String,
  /** BadYaml, Jinja: from 1. */
  line: Schema.optionalKey(Schema.Number),
  /** Unsupported: everything that is, sorted. */
  unsupported: Schema.optionalKey(Schema.Array(Schema.String))
}) {
  /** Bootstrap data never changes by itself. */
  readonly retry = "waitForChange" as const
}

/** `message` begins after "bootstrap data: ". */
export const dataError = (reason: BootstrapDataErrorReason, message: string, line?: number): BootstrapDataError =>
  new BootstrapDataError({
    reason,
    message: `bootstrap data: ${message}`,
    ...(line === undefined ? {} : { line })
  })
