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
