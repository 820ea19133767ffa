/**
 * Owns durations on the command line, as Go programs take them: 500ms, 15s, 2m, 1h. Does not own what they are for.
 */
import * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"

const SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3_600 }

export const seconds = (flag: string, text: string): Effect.Effect<number, CliError.UserError> =>
  Effect.suspend(() => {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text)
    const unit = SECONDS[match?.[2] ?? "s"]
    return match === null || unit === undefined
      ? Effect.fail(
          new CliError.UserError({
            cause: text,
            userMessage: `--${flag} takes a duration like 15s or 2m, not ${JSON.stringify(text)}`
          })
        )
      : Effect.succeed(Number(match[1]) * unit)
  })
