/**
 * What tests of seeded runs share: a virtual clock and a logger of its own for each seed, and how many there are.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { TestClock } from "effect/testing"
import { storyOfAll } from "../../src/simulation/Story.ts"
import { runSeed, type SeedOptions, type SeedReport } from "../../src/simulation/seeded/Run.ts"

const numberFrom = (name: string): number | undefined => {
  const text = process.env[name]
  return text === undefined || text === "" ? undefined : Number(text)
}

export const SEEDS = numberFrom("MACHINIST_SEEDS") ?? 500
export const seedOnly = numberFrom("SEED")

/** The clock waits for what it woke for so long (real time) before it goes on without: no busy machine may change a run. */
const BUSY = "10 minutes"

export const seed = (number: number, options: Omit<SeedOptions, "logs"> = {}) =>
  Effect.suspend(() => {
    const logs: Array<string> = []
    const logger = Logger.make<unknown, void>(({ message, logLevel, cause }) => {
      logs.push(`${logLevel} ${JSON.stringify(message)} ${String(cause)}`)
    })
    return runSeed(number, { ...options, logs }).pipe(
      Effect.provideService(References.MinimumLogLevel, "All"),
      Effect.provide(Layer.merge(TestClock.layer({ warningDelay: BUSY }), Logger.layer([logger])))
    )
  })

export const told = (report: SeedReport): string =>
  [
    `seed ${report.seed}: settled after ${report.settledRounds} rounds`,
    ...storyOfAll(report.worlds, report.done),
    ...report.violations.map(({ checker, at, what }) => `VIOLATION ${checker} at ${at}: ${what}`)
  ].join("\n")

/** Lines of the story that are told of a violation where nobody asked for all of it. */
const SHORT = 15

/** What happened last before it, in virtual milliseconds; 0: nobody knows when it was, so the end. */
export const leadingUpTo = (story: ReadonlyArray<string>, at: number): ReadonlyArray<string> =>
  story.filter((line) => at === 0 || Math.round(Number.parseFloat(line) * 1_000) <= at).slice(-SHORT)

/** Of the first violation: the others follow from it. */
export const shortStory = ({ done, violations: [first], worlds }: SeedReport): ReadonlyArray<string> =>
  first === undefined ? [] : leadingUpTo(storyOfAll(worlds, done), first.at)
