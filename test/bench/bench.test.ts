/** Holds what a benchmark result promises: how it was repeated, what its numbers mean, and that every scenario is well formed. */
import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as TestClock from "effect/testing/TestClock"
import { bareScript } from "../../bench/Bootstrap.ts"
import { toJsonLine, toTable } from "../../bench/Report.ts"
import { runScenario } from "../../bench/Runner.ts"
import { BenchError, type Scenario, timed } from "../../bench/Scenario.ts"
import { distance, median, spread } from "../../bench/Statistics.ts"
import { blackhole } from "../../bench/scenarios/blackhole.ts"
import { scenarios } from "../../bench/scenarios/index.ts"
import { memory } from "../../bench/scenarios/memory.ts"
import { reclaim } from "../../bench/scenarios/reclaim.ts"
import { selftest } from "../../bench/scenarios/selftest.ts"

/** Gives the values in turn (the warm-up takes the first) and writes down what it did. */
const scripted = (
  log: Ref.Ref<ReadonlyArray<string>>,
  values: { readonly run: ReadonlyArray<number>; readonly limit?: ReadonlyArray<number> },
  better: "less" | "more" = "less"
): Scenario => {
  const take = (name: string, list: ReadonlyArray<number>) => {
    const left = [...list]
    return Effect.gen(function* () {
      yield* Ref.update(log, (lines) => [...lines, name])
      const value = left.shift()
      if (value === undefined) return yield* new BenchError({ scenario: "scripted", message: `${name} ran too often` })
      return { value, also: { double: value * 2 } }
    })
  }
  return {
    name: "scripted",
    description: "Values from a list.",
    unit: "ms",
    better,
    limit: "other values.",
    parameters: { machines: 2, bootstrapSeconds: 3 },
    unavailable: Effect.succeed(undefined),
    setup: () =>
      Effect.acquireRelease(
        Effect.as(
          Ref.update(log, (lines) => [...lines, "setup"]),
          {
            run: take("run", values.run),
            ...(values.limit === undefined ? {} : { limit: take("limit", values.limit) })
          }
        ),
        () => Ref.update(log, (lines) => [...lines, "undo"])
      )
  }
}

const noLog = Ref.make<ReadonlyArray<string>>([])

describe("statistics", () => {
  it("median of odd and even series, unsorted", () => {
    assert.strictEqual(median([3, 1, 2]), 2)
    assert.strictEqual(median([4, 1, 3, 2]), 2.5)
    assert.strictEqual(median([7]), 7)
    assert.deepStrictEqual(spread([3, 10, 2]), { median: 3, min: 2, max: 10 })
  })
  it("distance is above 1 when worse, whichever way the unit counts", () => {
    assert.strictEqual(distance("less", 200, 100), 2)
    assert.strictEqual(distance("more", 50, 100), 2)
  })
})

describe("runScenario", () => {
  it.effect("sets up once, throws the warm-up away, alternates, undoes", () =>
    Effect.gen(function* () {
      const log = yield* noLog
      const scenario = scripted(log, { run: [1000, 10, 30, 20], limit: [1000, 5, 5, 50] })
      const result = yield* runScenario(scenario, { repetitions: 3, overrides: {} })
      assert.deepStrictEqual(yield* Ref.get(log), [
        "setup",
        "run",
        "limit",
        "run",
        "limit",
        "limit",
        "run",
        "run",
        "limit",
        "undo"
      ])
      assert.deepInclude(result, { median: 20, min: 10, max: 30, ratio: 4, repetitions: 3, also: { double: 40 } })
      assert.deepInclude(result.limit, { median: 5, min: 5, max: 50 })
    })
  )
  it.effect("a scenario whose repetition takes minutes need not be warmed up, and may take longer", () =>
    Effect.gen(function* () {
      const log = yield* noLog
      const slow = scripted(log, { run: [7] })
      const scenario: Scenario = {
        ...slow,
        setup: (parameters) =>
          Effect.map(slow.setup(parameters), ({ run }) => ({ run: Effect.andThen(Effect.sleep("20 minutes"), run) }))
      }
      const options = { repetitions: 1, warmUps: 0, timeout: Duration.minutes(30), overrides: {} }
      const fiber = yield* Effect.forkChild(runScenario(scenario, options))
      yield* TestClock.adjust("20 minutes")
      assert.strictEqual((yield* Fiber.join(fiber)).median, 7)
      assert.deepStrictEqual(yield* Ref.get(log), ["setup", "run", "undo"])
    })
  )
  it.effect("has no ratio without a limit", () =>
    Effect.gen(function* () {
      const result = yield* runScenario(scripted(yield* noLog, { run: [0, 7] }), { repetitions: 1, overrides: {} })
      assert.isNull(result.limit)
      assert.isNull(result.ratio)
    })
  )
  it.effect("overrides replace parameters; an unknown one is refused before anything is set up", () =>
    Effect.gen(function* () {
      const log = yield* noLog
      const scenario = scripted(log, { run: [0, 7] })
      const error = yield* Effect.flip(runScenario(scenario, { repetitions: 1, overrides: { machine: 9 } }))
      assert.include(error.message, "machines, bootstrapSeconds")
      assert.deepStrictEqual(yield* Ref.get(log), [])
      const result = yield* runScenario(scenario, { repetitions: 1, overrides: { machines: 9 } })
      assert.deepStrictEqual(result.parameters, { machines: 9, bootstrapSeconds: 3 })
    })
  )
  it.effect("a failing repetition fails the run, and what was set up is undone", () =>
    Effect.gen(function* () {
      const log = yield* noLog
      const error = yield* Effect.flip(runScenario(scripted(log, { run: [1] }), { repetitions: 2, overrides: {} }))
      assert.strictEqual(error.message, "run ran too often")
      assert.strictEqual((yield* Ref.get(log)).at(-1), "undo")
    })
  )
  it.effect("a repetition that hangs ends, and says so", () =>
    Effect.gen(function* () {
      const hanging: Scenario = { ...selftest, setup: () => Effect.succeed({ run: Effect.never }) }
      const fiber = yield* Effect.forkChild(Effect.flip(runScenario(hanging, { repetitions: 1, overrides: {} })))
      yield* TestClock.adjust("11 minutes")
      const error = yield* Fiber.join(fiber)
      assert.include(error.message, "took longer than 10m")
    })
  )
  it.effect("timed measures by the clock", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(timed(Effect.sleep("250 millis")))
      yield* TestClock.adjust("250 millis")
      assert.deepStrictEqual(yield* Fiber.join(fiber), { value: 250 })
    })
  )
})

describe("reports", () => {
  it.effect("a JSON line says everything a comparison needs", () =>
    Effect.gen(function* () {
      const scenario = scripted(yield* noLog, { run: [1, 8], limit: [1, 4] })
      const result = yield* runScenario(scenario, { repetitions: 1, overrides: {} })
      const line = toJsonLine({ _tag: "Measured", result })
      assert.notInclude(line, "\n")
      const parsed: unknown = JSON.parse(line)
      assert.deepInclude(parsed, {
        scenario: "scripted",
        median: 8,
        min: 8,
        max: 8,
        unit: "ms",
        ratio: 2,
        repetitions: 1
      })
      assert.hasAllKeys(result.machine, ["cpu", "cores", "memoryBytes", "kernel", "node", "commit", "date"])
      assert.include(toTable([{ _tag: "Measured", result }]), "2.00×")
    })
  )
  it("a skipped scenario is told, not left out", () => {
    const outcome = { _tag: "Skipped", scenario: "sshd", why: "needs root" } as const
    assert.deepStrictEqual(JSON.parse(toJsonLine(outcome)), { scenario: "sshd", skipped: "needs root" })
    assert.include(toTable([outcome]), "sshd: skipped: needs root")
  })
})

describe("the scenarios", () => {
  it("have names of their own, a number of machines, and say what they measure against what", () => {
    assert.strictEqual(new Set(scenarios.map(({ name }) => name)).size, scenarios.length)
    for (const { name, description, limit, parameters } of scenarios) {
      assert.match(name, /^[a-z][a-z0-9-]*$/)
      assert.isAbove(parameters.machines, 0, name)
      for (const sentence of [description, limit]) assert.match(sentence, /\.$/, name)
    }
  })
  it.live("`memory` brings machines to Ready twice on the same hosts, and counts the writes", () =>
    Effect.gen(function* () {
      const result = yield* runScenario(memory, { repetitions: 1, overrides: { machines: 3 } })
      assert.isAbove(result.median, 0)
      assert.isAbove(result.also["writesPerMachine"] ?? 0, 0)
    })
  )
  it.live("`blackhole`: the other machines are Ready, and neither wait nor are forgotten", () =>
    Effect.gen(function* () {
      const result = yield* runScenario(blackhole, { repetitions: 1, overrides: { machines: 4 } })
      assert.isAbove(result.median, 0)
      assert.isNotNull(result.limit)
    })
  )
  it.live("`reclaim`: every freed host is claimed again, and both rounds end", () =>
    Effect.gen(function* () {
      const result = yield* runScenario(reclaim, { repetitions: 1, overrides: { machines: 3 } })
      assert.isAbove(result.median, 0)
      assert.isNotNull(result.limit)
    })
  )
  it.live("the self-test runs for real", () =>
    Effect.gen(function* () {
      const result = yield* runScenario(selftest, { repetitions: 1, overrides: { machines: 3, waitMillis: 1 } })
      assert.isAbove(result.median, 0)
      assert.isNotNull(result.limit)
    })
  )
})

describe("the bare run of commands", () => {
  it("runs each in a shell of its own, until one fails", () => {
    const commands = ["cd /; x=1", "echo \"$x'$(pwd)'\"", "exit 3", "echo never"]
    const { status, stdout } = spawnSync("sh", ["-s"], { input: bareScript(commands), cwd: "/tmp" })
    assert.deepStrictEqual([status, stdout.toString()], [3, "'/tmp'\n"])
  })
})
