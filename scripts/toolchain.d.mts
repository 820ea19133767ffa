/** Types of toolchain.mjs, for the tests. */
export interface LockedPackage {
  readonly version?: string
  readonly optional?: boolean
  readonly os?: string | ReadonlyArray<string>
  readonly cpu?: string | ReadonlyArray<string>
}
export interface Lock {
  readonly packages: { readonly [path: string]: LockedPackage }
}
export const root: string
export const firstMissing: (
  lock: Lock,
  installed: Lock,
  platform: { readonly os: string; readonly cpu: string }
) => string | undefined
export interface Outcome {
  readonly code: number
  readonly timedOut: boolean
  readonly interrupted: boolean
}
export const run: (
  command: string,
  args: ReadonlyArray<string>,
  options: { readonly env: NodeJS.ProcessEnv; readonly limitMillis?: number; readonly stdio?: "inherit" | "ignore" }
) => Promise<Outcome>
