/**
 * Owns flag `--providers` of `machinist controller`: which of our two providers a process is, and the Lease that it leads by.
 */
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { HALVES, type Half } from "../provider/Options.ts"

export const providersFlag = Flag.String("providers").pipe(
  Flag.withDescription("Which of our providers run in this process, joined by commas"),
  Flag.withDefault(HALVES.join(","))
)

export const chosenHalves = (text: string): Effect.Effect<ReadonlyArray<Half>, CliError.UserError> => {
  const names = text.split(",").map((name) => name.trim())
  const halves = HALVES.filter((half) => names.includes(half))
  return halves.length > 0 && names.every((name) => HALVES.some((half) => half === name))
    ? Effect.succeed(halves)
    : Effect.fail(
        new CliError.UserError({
          cause: text,
          userMessage: `--providers takes ${HALVES.join(", ")}, or both joined by a comma, not ${JSON.stringify(text)}`
        })
      )
}

/** One leader for both halves; a half alone has its own, so that both can stand in one namespace. */
export const leaseName = (halves: ReadonlyArray<Half>): string =>
  `machinist-${halves.length === 1 ? halves[0] : "controller"}-leader-election`
