/**
 * Owns the making of a built-in resource type from the little that differs between them.
 */
import { FINALIZER_FOREGROUND, FINALIZER_ORPHAN } from "../Metadata.ts"
import { looseStrategy, type ResourceType, type Strategy, type Write } from "../ResourceType.ts"
import { type FieldError, invalidValue } from "../Status.ts"

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

const STANDARD_FINALIZERS: ReadonlySet<string> = new Set(["kubernetes", FINALIZER_ORPHAN, FINALIZER_FOREGROUND])

/** The core group wants finalizers with a domain; elsewhere any qualified name will do. */
const finalizerErrors = (write: Write): ReadonlyArray<FieldError> =>
  (write.object.metadata.finalizers ?? []).flatMap((finalizer, index) =>
    finalizer.includes("/") || STANDARD_FINALIZERS.has(finalizer)
      ? []
      : [
          invalidValue(
            `metadata.finalizers[${index}]`,
            finalizer,
            "name is neither a standard finalizer name nor is it fully qualified"
          )
        ]
  )

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
    ...options.strategy,
    validate: (write) => [
      ...((options.group ?? "") === "" ? finalizerErrors(write) : []),
      ...(options.strategy?.validate?.(write) ?? [])
    ]
  }
})
