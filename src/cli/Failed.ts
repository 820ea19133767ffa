/**
 * Owns how a subcommand says what a person has to change: the sentence instead of a stack trace. Does not own the sentences.
 */
import * as CliError from "effect/cli/CliError"

/** `cause`: what was behind it, for whoever logs at debug level. */
export const failed = (userMessage: string, cause: unknown = userMessage) =>
  new CliError.UserError({ cause, userMessage })
