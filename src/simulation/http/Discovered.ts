/** Owns what discovery shows of a resource. Not where it is read from (Discovery.ts, Reviews.ts). */

/** A resource that discovery shows; those without a type answer POST alone. */
export interface Discovered {
  readonly plural: string
  readonly singular: string
  readonly kind: string
  readonly namespaced: boolean
  readonly verbs: ReadonlyArray<string>
  readonly shortNames: ReadonlyArray<string>
  readonly categories: ReadonlyArray<string>
  readonly subresources: ReadonlyArray<{
    readonly name: string
    readonly group: string
    readonly version: string
    readonly kind: string
  }>
}
