/** Types of tally.mjs, for the tests. */
export interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}
export const nothing: Counts
export const plus: (a: Counts, b: Counts) => Counts
export const summary: (counts: Counts) => string
export const tally: (report: string | undefined, exitCode: number) => Counts
export const failures: (report: string | undefined, base?: string) => ReadonlyArray<string>
