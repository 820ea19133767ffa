/**
 * Owns what a resource type is to the store: how it is addressed, and the strategy by which its objects are made ready
 * and judged. The registry finds a type by group and plural or kind. Does not own any particular type (builtin/, schema/).
 */
import * as Result from "effect/Result"
import type { JsonObject, StoredObject } from "./Json.ts"
import { dnsSubdomain, type NameRule } from "./Names.ts"
import { type ApiStatus, type FieldError, type GroupResource, invalid } from "./Status.ts"

/** An object on its way in: the server's part of the metadata is already filled in. */
export interface Write {
  readonly version: string
  readonly object: StoredObject
  readonly old: StoredObject | undefined
  readonly subresource: "status" | undefined
}

/** How one type's objects are made ready and judged; the defaults (looseStrategy) leave them as they are. */
export interface Strategy {
  readonly nameRule: NameRule
  /** Custom resources count generations, most core kinds don't. */
  readonly generation: boolean
  /** kubelets register Nodes with their status; everywhere else a status given at creation is dropped. */
  readonly statusAtCreation: boolean
  /** Core kinds take labels and annotations through /status, custom resources don't. */
  readonly metadataThroughStatus: boolean
  /** A PUT without resourceVersion: core kinds allow it, custom resources don't. */
  readonly unconditionalUpdate: boolean
  /** Pruning, defaulting, conversion of write-only fields. */
  readonly prepare: (write: Write) => Result.Result<StoredObject, ApiStatus>
  readonly validate: (write: Write) => ReadonlyArray<FieldError>
  /** The object as it stands once deletion was asked. */
  readonly markDeleted: (object: StoredObject) => StoredObject
  /** False while something other than a finalizer keeps a deleted object (Namespace.spec.finalizers). */
  readonly releasable: (object: StoredObject) => boolean
}

export interface ServedVersion {
  readonly name: string
  readonly served: boolean
  /** The openAPIV3Schema, for discovery and printing; the strategy holds the compiled one. */
  readonly schema?: JsonObject
}

export interface ResourceType extends GroupResource {
  readonly singular: string
  readonly listKind: string
  readonly shortNames: ReadonlyArray<string>
  readonly categories: ReadonlyArray<string>
  readonly namespaced: boolean
  /** In order of preference. */
  readonly versions: ReadonlyArray<ServedVersion>
  readonly storageVersion: string
  readonly statusSubresource: boolean
  /** Fields beyond metadata.name and metadata.namespace that field selectors may name. */
  readonly selectableFields: Readonly<Record<string, (object: StoredObject) => string | undefined>>
  readonly strategy: Strategy
  /** Set for a type that came from a CustomResourceDefinition: its name. */
  readonly definedBy?: string
}

export const looseStrategy: Strategy = {
  nameRule: dnsSubdomain,
  generation: true,
  statusAtCreation: false,
  metadataThroughStatus: false,
  unconditionalUpdate: false,
  prepare: (write) => Result.succeed(write.object),
  validate: () => [],
  markDeleted: (object) => object,
  releasable: () => true
}

export const typeKey = (group: string, plural: string): string => `${plural}.${group}`

export const isServed = (type: ResourceType, version: string): boolean =>
  type.versions.some((candidate) => candidate.name === version && candidate.served)

/** The one way in for objects: made ready, then judged. Errors are the strategy's, plus those found before. */
export const admit = (
  type: ResourceType,
  write: Write,
  earlier: ReadonlyArray<FieldError>
): Result.Result<StoredObject, ApiStatus> =>
  Result.flatMap(type.strategy.prepare(write), (object) => {
    const errors = [...earlier, ...type.strategy.validate({ ...write, object })]
    return errors.length === 0 ? Result.succeed(object) : Result.fail(invalid(type, object.metadata.name, errors))
  })

export class Registry {
  readonly #byResource = new Map<string, ResourceType>()
  readonly #byKind = new Map<string, ResourceType>()

  register(type: ResourceType): void {
    this.unregister(type)
    this.#byResource.set(typeKey(type.group, type.plural), type)
    this.#byKind.set(typeKey(type.group, type.kind), type)
  }

  unregister(type: ResourceType): void {
    const before = this.#byResource.get(typeKey(type.group, type.plural))
    if (before === undefined) return
    this.#byResource.delete(typeKey(before.group, before.plural))
    this.#byKind.delete(typeKey(before.group, before.kind))
  }

  byResource(group: string, plural: string): ResourceType | undefined {
    return this.#byResource.get(typeKey(group, plural))
  }

  byKind(group: string, kind: string): ResourceType | undefined {
    return this.#byKind.get(typeKey(group, kind))
  }

  all(): ReadonlyArray<ResourceType> {
    return [...this.#byResource.values()]
  }
}
