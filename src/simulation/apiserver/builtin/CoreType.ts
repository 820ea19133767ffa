/**
 * Owns the making of a built-in resource type from the little that differs between them.
 */
import { looseStrategy, type ResourceType, type Strategy } from "../ResourceType.ts"

export interface CoreTypeOptions {
  readonly group?: string
  readonly version?: string
  readonly kind: string
  readonly plural: string
  readonly namespaced: boolean
  readonly shortNames?: ReadonlyArray<string>
  readonly categories?: ReadonlyArray<string>
  readonly statusSubresource?: boolean
  readonly selectableFields?: ResourceType["selectableFields"]
  readonly strategy?: Partial<Strategy>
}

export const coreType = (options: CoreTypeOptions): ResourceType => ({
  group: options.group ?? "",
  kind: options.kind,
  plural: options.plural,
  singular: options.kind.toLowerCase(),
  listKind: `${options.kind}List`,
  shortNames: options.shortNames ?? [],
  categories: options.categories ?? [],
  namespaced: options.namespaced,
  versions: [{ name: options.version ?? "v1", served: true }],
  storageVersion: options.version ?? "v1",
  statusSubresource: options.statusSubresource ?? false,
  selectableFields: options.selectableFields ?? {},
  strategy: {
    ...looseStrategy,
    generation: false,
    metadataThroughStatus: true,
    unconditionalUpdate: true,
    ...options.strategy
  }
})
