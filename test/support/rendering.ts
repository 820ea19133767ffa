/** Owns running `machinist render` inside a test: what it prints, what it says beside, and its error. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as TestConsole from "effect/testing/TestConsole"
import { render } from "../../src/cli/render.ts"

export interface Ran {
  readonly out: string
  readonly told: ReadonlyArray<string>
  /** Undefined: it succeeded. */
  readonly error: string | undefined
}

const userMessage = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof CliError.UserError ? (error.userMessage ?? "") : String(error)
}

export const ran = Effect.fnUntraced(function* (...args: ReadonlyArray<string>) {
  const [before, toldBefore] = [(yield* TestConsole.logLines).length, (yield* TestConsole.errorLines).length]
  const exit = yield* Effect.exit(Command.runWith(render, { version: "0.0.0" })(args))
  const result: Ran = {
    out: (yield* TestConsole.logLines).slice(before).join("\n"),
    told: (yield* TestConsole.errorLines).slice(toldBefore).map(String),
    error: Exit.isSuccess(exit) ? undefined : userMessage(exit.cause)
  }
  return result
})

export const test = (name: string, body: Effect.Effect<unknown, unknown, NodeServices.NodeServices | Scope.Scope>) =>
  it.effect(name, () => Effect.asVoid(Effect.scoped(body)).pipe(Effect.provide(NodeServices.layer)))
