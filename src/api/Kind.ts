/**
 * Owns the descriptor of a Kubernetes kind: how it is addressed over HTTP and decoded.
 * Does not own any particular kind (those are in the files beside this one) nor any I/O.
 */
import type * as Schema from "effect/Schema"

/** What every Kubernetes object carries; times are RFC 3339 strings. */
export interface ObjectMeta {
  readonly name: string
  readonly namespace?: string
  readonly generateName?: string
  readonly uid?: string
  /** Opaque; only ever compared for equality, or sent back as a precondition. */
  readonly resourceVersion?: string
  readonly generation?: number
  readonly creationTimestamp?: string
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly finalizers?: ReadonlyArray<string>
  readonly ownerReferences?: ReadonlyArray<OwnerReference>
}

export interface OwnerReference {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  readonly uid: string
  readonly controller?: boolean
  readonly blockOwnerDeletion?: boolean
}

/** The least a decoded object has. */
export interface KubeObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata: ObjectMeta
}

/**
 * A kind as the clients see it. `versions` is in order of preference: with more than one, the client asks the
 * server's discovery which it serves (CONTRACT section 1: CAPI's own objects are v1beta2 when served, else v1beta1).
 * `schema` decodes every one of `versions`.
 */
export interface Kind<A extends KubeObject> {
  /** Empty for the core group. */
  readonly group: string
  readonly versions: readonly [string, ...ReadonlyArray<string>]
  readonly kind: string
  readonly plural: string
  readonly namespaced: boolean
  readonly schema: Schema.Decoder<A>
}

/** `group/version`, or `version` for the core group, as it stands in `apiVersion`. */
export const apiVersionOf = (group: string, version: string): string => (group === "" ? version : `${group}/${version}`)
