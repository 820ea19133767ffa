/** Owns how results are shown: one JSON line each for machines, one table for people. Pure. */
import type { Result } from "./Runner.ts"
import type { Scenario } from "./Scenario.ts"

export type Outcome =
  | { readonly _tag: "Measured"; readonly result: Result }
  | { readonly _tag: "Skipped"; readonly scenario: string; readonly why: string }

export const toJsonLine = (outcome: Outcome): string => {
  switch (outcome._tag) {
    case "Measured":
      return JSON.stringify(outcome.result)
    case "Skipped":
      return JSON.stringify({ scenario: outcome.scenario, skipped: outcome.why })
  }
}

/** Three significant digits: more would be noise. */
const figure = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3))

const row = (outcome: Outcome): ReadonlyArray<string> => {
  if (outcome._tag === "Skipped") return [outcome.scenario, "skipped", "", "", "", ""]
  const { result } = outcome
  return [
    result.scenario,
    String(result.parameters.machines),
    `${figure(result.median)} ${result.unit}`,
    `${figure(result.min)} … ${figure(result.max)}`,
    result.limit === null ? "none" : `${figure(result.limit.median)} ${result.unit}`,
    result.ratio === null ? "" : `${figure(result.ratio)}×`
  ]
}

const HEAD = ["scenario", "machines", "median", "min … max", "limit", "of the limit"]

const notes = (outcome: Outcome): ReadonlyArray<string> => {
  if (outcome._tag === "Skipped") return [`${outcome.scenario}: skipped: ${outcome.why}`]
  const { also, limit, scenario } = outcome.result
  const told = Object.entries(also).map(([name, value]) => `${name} ${figure(value)}`)
  return [
    ...(limit === null ? [] : [`${scenario}: the limit: ${limit.what}`]),
    ...(told.length === 0 ? [] : [`${scenario}: also (medians): ${told.join(", ")}`])
  ]
}

export const toTable = (outcomes: ReadonlyArray<Outcome>): string => {
  const rows = [HEAD, ...outcomes.map(row)]
  const widths = HEAD.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)))
  const line = (cells: ReadonlyArray<string>): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd()
  const machine = outcomes.flatMap((outcome) => (outcome._tag === "Measured" ? [outcome.result.machine] : []))[0]
  const facts =
    machine === undefined
      ? []
      : [
          `${machine.cpu}, ${machine.cores} cores, ${Math.round(machine.memoryBytes / 2 ** 30)} GiB, ${machine.kernel}, ` +
            `Node ${machine.node}, commit ${machine.commit.slice(0, 12)}${machine.commit.endsWith("-dirty") ? " (dirty)" : ""}, ${machine.date}`
        ]
  return [...rows.map(line), "", ...outcomes.flatMap(notes), ...facts].join("\n")
}

export const toListing = (scenarios: ReadonlyArray<Scenario>): string =>
  scenarios
    .map(({ name, description, limit, parameters }) => {
      const defaults = Object.entries(parameters).map(([key, value]) => `${key}=${value}`)
      return `${name} (${defaults.join(", ")})\n  ${description}\n  Limit: ${limit}`
    })
    .join("\n")
