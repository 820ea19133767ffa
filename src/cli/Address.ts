/**
 * Owns listen addresses as controller-runtime's flags write them: `:8443`, `127.0.0.1:9440`, `[::1]:0`; `0` or an
 * empty text turns the listener off.
 */

import * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"

export interface ListenAddress {
  readonly host: string
  readonly port: number
}

export const parseAddress = (
  flag: string,
  text: string
): Effect.Effect<ListenAddress | undefined, CliError.UserError> => {
  if (text === "" || text === "0") return Effect.succeed(undefined)
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:]*)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535)
    return Effect.fail(
      new CliError.UserError({
        cause: text,
        userMessage: `--${flag} takes HOST:PORT or :PORT (0 turns it off), not ${JSON.stringify(text)}`
      })
    )
  const host = match[1] ?? match[2] ?? ""
  return Effect.succeed({ host: host === "" ? "0.0.0.0" : host, port })
}
