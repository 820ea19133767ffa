/**
 * Owns `npm run simulate:seeds`: many seeded runs of the real provider, spread over processes, counted. Each violation is
 * told with what replays it, and what happened last before it. The runs themselves are src/simulation/seeded's.
 *
 *   npm run simulate:seeds -- [--seeds N] [--from N] [--workers N] [--json]
 *
 * Exit code 1 when a seed had a violation or got stuck. `--json`: the last line is
 * `{"seeds":…,"violations":…,"stuck":…,"seconds":…}`.
 */
import { fork } from "node:child_process"
import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import { seed, shortStory } from "../test/simulation/seeds.ts"

/** Violations told of one seed; the first says what went wrong, the others follow from it. */
const TOLD = 3
/** Of these checkers: everything was safe, and something did not come to its end. */
const STUCK = new Set(["settled", "quiet", "ended"])

const usage = "usage: npm run simulate:seeds -- [--seeds N] [--from N] [--workers N] [--json]"

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "500" },
    from: { type: "string", default: "1" },
    workers: { type: "string", default: String(availableParallelism()) },
    json: { type: "boolean", default: false },
    stride: { type: "string" }
  }
})

const numberOf = (name: "seeds" | "from" | "workers"): number => {
  const number = Number(values[name])
  if (Number.isInteger(number) && number > 0) return number
  console.error(`--${name} takes a whole number from 1, not ${values[name]}\n${usage}`)
  process.exit(2)
}

interface Told {
  readonly seed: number
  readonly violations: ReadonlyArray<{ readonly checker: string; readonly text: string }>
  /** Up to the first of them. */
  readonly story: ReadonlyArray<string>
}

const runOne = (number: number): Effect.Effect<Told> =>
  seed(number).pipe(
    Effect.map((report) => ({
      seed: number,
      violations: report.violations.map(({ at, checker, what }) => ({
        checker,
        text: `${checker} at ${(at / 1000).toFixed(1)} s: ${what}`
      })),
      story: shortStory(report)
    })),
    // A defect of the simulation is as bad as a violation, and must not end the sweep.
    Effect.catchCause((cause) =>
      Effect.succeed({ seed: number, violations: [{ checker: "defect", text: String(cause) }], story: [] })
    )
  )

/** A worker: every `stride`-th seed. */
const work = async (from: number, last: number, stride: number): Promise<void> => {
  // Injected faults are errors by the thousand; what replays a seed has their traces.
  Error.stackTraceLimit = 0
  for (let number = from; number <= last; number += stride) process.send?.(await Effect.runPromise(runOne(number)))
  process.disconnect()
}

const sweep = async (seeds: number, from: number, workers: number) => {
  const started = performance.now()
  const last = from + seeds - 1
  const counts = { seeds: 0, violations: 0, stuck: 0 }
  const take = (told: Told): void => {
    counts.seeds += 1
    counts.violations += told.violations.filter(({ checker }) => !STUCK.has(checker)).length
    if (told.violations.some(({ checker }) => STUCK.has(checker))) counts.stuck += 1
    if (told.violations.length === 0) return
    console.error(`SEED=${told.seed} npm test -- test/simulation/seeds.test.ts   # replays it, with its story`)
    for (const { text } of told.violations.slice(0, TOLD)) console.error(`  ${text}`)
    for (const line of told.story) console.error(`    ${line}`)
  }
  const one = (index: number) =>
    new Promise<void>((resolve, reject) => {
      const args = ["--from", `${from + index}`, "--seeds", `${last}`, "--stride", `${workers}`]
      const child = fork(fileURLToPath(import.meta.url), args)
      child.on("message", take)
      child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))))
    })
  await Promise.all(Array.from({ length: workers }, (_, index) => one(index)))
  return { ...counts, seconds: Math.round((performance.now() - started) / 1000) }
}

if (values.stride !== undefined) {
  await work(numberOf("from"), Number(values.seeds), Number(values.stride))
} else {
  const seeds = numberOf("seeds")
  const report = await sweep(seeds, numberOf("from"), Math.min(seeds, numberOf("workers")))
  const { seconds, stuck, violations } = report
  if (values.json) console.log(JSON.stringify(report))
  else console.log(`${report.seeds} seeds, ${violations} violations, ${stuck} stuck, ${seconds} s`)
  if (violations > 0 || stuck > 0 || report.seeds < seeds) process.exitCode = 1
}
