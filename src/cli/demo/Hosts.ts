/**
 * Owns the choice of what a demo's hosts are made of, and saying why. Does not own the hosts.
 */
import * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Farm, memoryFarm } from "../../simulation/demo/Farm.ts"
import type { K0sWorld } from "../../simulation/hosts/K0s.ts"

export type MakeFarm = (k0s: K0sWorld) => Effect.Effect<Farm, never, Scope.Scope>

export const chooseFarm = (asked: string): Effect.Effect<MakeFarm, CliError.UserError> =>
  Effect.suspend(() => {
    switch (asked) {
      case "memory":
      case "":
        return Effect.succeed((k0s: K0sWorld) => memoryFarm(k0s))
      default:
        return Effect.fail(
          new CliError.UserError({
            cause: asked,
            userMessage: `--hosts takes sh or memory, not ${JSON.stringify(asked)}`
          })
        )
    }
  })
