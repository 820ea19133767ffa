/**
 * Owns how a scenario is repeated: set up once, warm-ups that are thrown away, then each repetition beside its limit, in
 * alternating order so that drift of the machine (heat, caches, neighbours) falls on both. Does not own what is measured.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type MachineFacts, machineFacts } from "./MachineFacts.ts"
import { BenchError, type Parameters, type Prepared, type Sample, type Scenario } from "./Scenario.ts"
import { alsoMedians, distance, type Spread, spread } from "./Statistics.ts"

const SETUP_LIMIT = Duration.minutes(10)

export const DEFAULT_WARM_UPS = 1
/** One repetition of the slowest scenario takes a minute or two, as it is. */
export const DEFAULT_MINUTES = 10

export interface Options {
  /** At least 1. */
  readonly repetitions: number
  readonly warmUps?: number
  /** A repetition that takes longer hangs. */
  readonly timeout?: Duration.Duration
  readonly overrides: Readonly<Record<string, number>>
}

export interface Result extends Spread {
  readonly scenario: string
  readonly parameters: Parameters
  readonly repetitions: number
  readonly unit: string
  readonly better: "less" | "more"
  readonly also: Readonly<Record<string, number>>
  /** Null where the scenario has none. */
  readonly limit: (Spread & { readonly what: string; readonly also: Readonly<Record<string, number>> }) | null
  /** Distance from the limit by the medians: 1 is at it, 2 is twice as slow. */
  readonly ratio: number | null
  readonly machine: MachineFacts
}

const bounded =
  (scenario: Scenario, what: string, limit: Duration.Duration) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | BenchError, R> =>
    Effect.timeoutOrElse(effect, {
      duration: limit,
      orElse: () =>
        Effect.fail(
          new BenchError({ scenario: scenario.name, message: `${what} took longer than ${Duration.format(limit)}` })
        )
    })

const repeat = Effect.fnUntraced(function* (scenario: Scenario, prepared: Prepared, options: Options) {
  const guard = bounded(scenario, "a repetition", options.timeout ?? Duration.minutes(DEFAULT_MINUTES))
  const run = guard(prepared.run)
  const limit = prepared.limit === undefined ? undefined : guard(prepared.limit)
  const runs: Array<Sample> = []
  const limits: Array<Sample> = []
  const measureRun = Effect.map(run, (sample) => void runs.push(sample))
  const measureLimit = limit === undefined ? Effect.void : Effect.map(limit, (sample) => void limits.push(sample))
  for (let warmUp = 0; warmUp < (options.warmUps ?? DEFAULT_WARM_UPS); warmUp++) {
    yield* run
    if (limit !== undefined) yield* limit
  }
  for (let repetition = 0; repetition < options.repetitions; repetition++) {
    if (repetition % 2 === 0) yield* Effect.andThen(measureRun, measureLimit)
    else yield* Effect.andThen(measureLimit, measureRun)
  }
  return { runs, limits }
})

/** Sets up, repeats, undoes. `overrides` replace the scenario's parameters; an unknown one is refused. */
export const runScenario = Effect.fn("Bench.runScenario")(function* (scenario: Scenario, options: Options) {
  const unknown = Object.keys(options.overrides).filter((name) => !(name in scenario.parameters))
  if (unknown.length > 0) {
    const known = Object.keys(scenario.parameters).join(", ")
    return yield* new BenchError({
      scenario: scenario.name,
      message: `has no parameter ${unknown.join(", ")}; it has ${known}`
    })
  }
  const parameters: Parameters = { ...scenario.parameters, ...options.overrides }
  const { runs, limits } = yield* Effect.scoped(
    Effect.gen(function* () {
      const prepared = yield* bounded(scenario, "setting up", SETUP_LIMIT)(scenario.setup(parameters))
      return yield* repeat(scenario, prepared, options)
    })
  )
  const measured = spread(runs.map(({ value }) => value))
  const limit =
    limits.length === 0
      ? null
      : { what: scenario.limit, ...spread(limits.map(({ value }) => value)), also: alsoMedians(limits) }
  const result: Result = {
    scenario: scenario.name,
    parameters,
    repetitions: options.repetitions,
    ...measured,
    unit: scenario.unit,
    better: scenario.better,
    also: alsoMedians(runs),
    limit,
    ratio: limit === null ? null : distance(scenario.better, measured.median, limit.median),
    machine: yield* machineFacts
  }
  return result
})
