/**
 * Owns the command `npm run bench`: flags, which scenarios run, where results go. Results go to stdout, progress to stderr.
 * Measuring is Runner.ts's.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Console from "effect/Console"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import packageJson from "../package.json" with { type: "json" }
import { type Outcome, toJsonLine, toListing, toTable } from "./Report.ts"
import { DEFAULT_MINUTES, DEFAULT_WARM_UPS, runScenario } from "./Runner.ts"
import { BenchError, type Scenario } from "./Scenario.ts"
import { scenarios } from "./scenarios/index.ts"

/** Bounds what a slip of the finger can ask for. */
const MAX_REPETITIONS = 1000
const MAX_MACHINES = 1_000_000
const DEFAULT_REPETITIONS = 5
const MAX_MINUTES = 24 * 60

const between = (minimum: number, maximum: number) =>
  Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum, maximum })))

const flags = {
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("One JSON object a line and result, instead of a table"),
    Flag.withDefault(false)
  ),
  list: Flag.Boolean("list").pipe(
    Flag.withDescription("Say which scenarios there are, and stop"),
    Flag.withDefault(false)
  ),
  scenario: Flag.String("scenario").pipe(Flag.withDescription("Run only this scenario"), Flag.optional),
  repetitions: Flag.Int("repetitions").pipe(
    Flag.withSchema(between(1, MAX_REPETITIONS)),
    Flag.withDescription("Measured repetitions, after the warm-ups"),
    Flag.withDefault(DEFAULT_REPETITIONS)
  ),
  warmUps: Flag.Int("warm-ups").pipe(
    Flag.withSchema(between(0, MAX_REPETITIONS)),
    Flag.withDescription("Repetitions that are thrown away first; none where one takes minutes"),
    Flag.withDefault(DEFAULT_WARM_UPS)
  ),
  minutes: Flag.Int("minutes").pipe(
    Flag.withSchema(between(1, MAX_MINUTES)),
    Flag.withDescription("Minutes until a repetition is said to hang"),
    Flag.withDefault(DEFAULT_MINUTES)
  ),
  machines: Flag.Int("machines").pipe(
    Flag.withSchema(between(1, MAX_MACHINES)),
    Flag.withDescription("How many machines at once; each scenario has its own default"),
    Flag.optional
  ),
  set: Flag.KeyValuePair("set").pipe(
    Flag.withDescription("Another parameter of a scenario, as name=number (see --list)"),
    Flag.withDefault({})
  )
}

const chosen = (name: Option.Option<string>): Effect.Effect<ReadonlyArray<Scenario>, BenchError> => {
  if (Option.isNone(name)) return Effect.succeed(scenarios)
  const found = scenarios.filter((scenario) => scenario.name === name.value)
  if (found.length > 0) return Effect.succeed(found)
  const known = scenarios.map((scenario) => scenario.name).join(", ")
  return Effect.fail(new BenchError({ scenario: name.value, message: `there is no such scenario; there are ${known}` }))
}

const numbers = (set: Readonly<Record<string, string>>): Effect.Effect<Readonly<Record<string, number>>, BenchError> =>
  Effect.gen(function* () {
    const parsed: Record<string, number> = {}
    for (const [name, text] of Object.entries(set)) {
      const value = Number(text)
      if (text.trim() === "" || !Number.isFinite(value)) {
        return yield* new BenchError({ scenario: "--set", message: `${name}=${text}: not a number` })
      }
      parsed[name] = value
    }
    return parsed
  })

const command = Command.make("bench", flags, (input) =>
  Effect.gen(function* () {
    if (input.list) return yield* Console.log(toListing(scenarios))
    const overrides = {
      ...(yield* numbers(input.set)),
      ...(Option.isSome(input.machines) ? { machines: input.machines.value } : {})
    }
    const { minutes, repetitions, warmUps } = input
    const options = { repetitions, warmUps, timeout: Duration.minutes(minutes), overrides }
    const outcomes: Array<Outcome> = []
    for (const scenario of yield* chosen(input.scenario)) {
      const why = yield* scenario.unavailable
      if (why !== undefined && Option.isSome(input.scenario)) {
        return yield* new BenchError({ scenario: scenario.name, message: why })
      }
      yield* Console.error(why === undefined ? `${scenario.name}: ${repetitions} × …` : `${scenario.name}: skipped`)
      const outcome: Outcome =
        why === undefined
          ? { _tag: "Measured", result: yield* runScenario(scenario, options) }
          : { _tag: "Skipped", scenario: scenario.name, why }
      outcomes.push(outcome)
      if (input.json) yield* Console.log(toJsonLine(outcome))
    }
    if (!input.json) yield* Console.log(toTable(outcomes))
  })
).pipe(Command.withDescription("Measures Machinist, each scenario beside its limit, on this machine"))

const program = Command.run(command, { version: packageJson.version }).pipe(
  Effect.catchTag("BenchError", (error) =>
    Effect.andThen(
      Console.error(`bench: ${error.scenario}: ${error.message}`),
      Effect.sync(() => {
        process.exitCode = 1
      })
    )
  ),
  Effect.provide(NodeServices.layer)
)

NodeRuntime.runMain(program)
