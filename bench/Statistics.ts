/** Owns the few numbers a series of samples is told by. Pure. */
import type { Sample } from "./Scenario.ts"

export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Of an even number of values, the mean of the two in the middle. The series is never empty. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  const lower = sorted[Math.ceil(sorted.length / 2) - 1] ?? Number.NaN
  return (lower + upper) / 2
}

export const spread = (values: ReadonlyArray<number>): Spread => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values)
})

/** The median of every number that each sample tells beside its value. */
export const alsoMedians = (samples: ReadonlyArray<Sample>): Readonly<Record<string, number>> => {
  const names = Object.keys(samples[0]?.also ?? {})
  return Object.fromEntries(
    names.map((name) => [name, median(samples.flatMap(({ also }) => (also?.[name] === undefined ? [] : [also[name]])))])
  )
}

/** How far from the limit: 1 is at it, 2 is twice as slow, whichever way the unit counts. */
export const distance = (better: "less" | "more", value: number, limit: number): number =>
  better === "less" ? value / limit : limit / value
