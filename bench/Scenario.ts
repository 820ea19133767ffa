/**
 * Owns what a benchmark scenario is: data (name, what it shows, parameters, unit) and two effects, the thing measured and the
 * limit it is measured against on the same machine in the same run. Does not own how it is repeated (Runner.ts) or shown
 * (Report.ts). A scenario is one file in scenarios/ that exports one value of this type.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

/** What can be set from the command line: numbers with their unit in the name (`bootstrapSeconds`). */
export type Parameters = Readonly<Record<string, number>> & {
  /** How many machines at once. */
  readonly machines: number
}

/** One repetition's result. */
export interface Sample {
  /** In the scenario's unit. */
  readonly value: number
  /** Other numbers worth keeping (writes, bytes), told beside the value and never compared. */
  readonly also?: Readonly<Record<string, number>>
}

export class BenchError extends Schema.TaggedError<BenchError>()("BenchError", {
  scenario: Schema.String,
  message: Schema.String
}) {}

/** One repetition each; both may be run many times, one after the other, never at once. */
export interface Prepared {
  readonly run: Effect.Effect<Sample, BenchError>
  readonly limit?: Effect.Effect<Sample, BenchError>
}

export interface Scenario {
  readonly name: string
  /** One sentence: what is measured, from when to when. */
  readonly description: string
  readonly unit: string
  /** Whether a good result is a small or a large number. */
  readonly better: "less" | "more"
  /** One sentence: what the limit does, or why there is none. */
  readonly limit: string
  readonly parameters: Parameters
  /** Why it can't run here (not root, a tool missing), said so that it can be mended. */
  readonly unavailable: Effect.Effect<string | undefined>
  /** Everything that should not be measured. Undone when the scope closes, also after a failure. */
  readonly setup: (parameters: Parameters) => Effect.Effect<Prepared, BenchError, Scope.Scope>
}

/** The time `effect` takes, in milliseconds, as a sample. */
export const timed = <E, R>(effect: Effect.Effect<unknown, E, R>): Effect.Effect<Sample, E, R> =>
  Effect.map(Effect.timed(effect), ([duration]) => ({ value: Duration.toMillis(duration) }))
