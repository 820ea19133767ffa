/**
 * Owns the choice of what a demo's hosts are made of, and saying why. Does not own the hosts.
 */
import * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Farm, memoryFarm } from "../../simulation/demo/Farm.ts"
import type { K0sWorld } from "../../simulation/hosts/K0s.ts"
import { shellFarm } from "../../simulation/shellhosts/ShellFarm.ts"

export type MakeFarm = (k0s: K0sWorld) => Effect.Effect<Farm, CliError.UserError, Scope.Scope>

const failed = (userMessage: string) => new CliError.UserError({ cause: userMessage, userMessage })

const refused = (message: string, instead: string) =>
  failed(`hosts with a real /bin/sh can't be had here: ${message.split("\n")[0]}. ${instead}`)

const shells =
  (instead: string, state: string | undefined): MakeFarm =>
  (k0s) =>
    shellFarm(k0s, state).pipe(Effect.mapError(({ message }) => refused(message, instead)))

/** Real shells where this machine allows them, unless something else was asked for. `state`: a directory to keep them. */
export const chooseFarm = (asked: string, state: string | undefined): Effect.Effect<MakeFarm, CliError.UserError> => {
  const isKept = state !== undefined
  switch (asked) {
    case "memory":
      return isKept
        ? Effect.fail(failed("hosts in memory do not outlive the process: --state needs --hosts sh"))
        : Effect.succeed((k0s) => memoryFarm(k0s))
    case "sh":
      return Effect.succeed(shells(isKept ? "Leave out --state." : "Use --hosts memory.", state))
    case "":
      return Effect.succeed(
        isKept
          ? shells("Leave out --state.", state)
          : (k0s) =>
              shellFarm(k0s).pipe(
                Effect.catch(({ message }) =>
                  memoryFarm(k0s, `no namespaces for real ones here: ${message.split("\n")[0]}`)
                )
              )
      )
    default:
      return Effect.fail(
        failed(
          `--hosts takes sh or memory, not ${JSON.stringify(asked)}: a list of your own hosts is not supported yet. Run machinist simulate and machinist controller for those.`
        )
      )
  }
}
