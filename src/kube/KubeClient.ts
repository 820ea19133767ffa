/**
 * Owns the Kubernetes port: the only way to a management or workload cluster. Typed by the Schema of the kind.
 * The live implementation is LiveKubeClient.ts, the in-memory one simulation/; both pass test/conformance/kube.
 * Writes are JSON merge patches (RFC 7386) of fields that are ours; preconditions travel in the patch's metadata.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Kind, KubeObject } from "../api/Kind.ts"
import type { KubeError } from "./KubeError.ts"

/** `namespace` is absent exactly for cluster-scoped kinds. */
export interface ObjectRef {
  readonly namespace?: string
  readonly name: string
}

export interface ListOptions {
  /** Absent: all namespaces. */
  readonly namespace?: string
  /** As kubectl's `-l`: `a=b,c!=d,e,!f,g in (h,i)`. */
  readonly labelSelector?: string
  /** `metadata.name=…` and `metadata.namespace=…` on every kind; `type=…` on Secrets. */
  readonly fieldSelector?: string
}

/** An object the server has, but whose shape is not what its kind promises. It exists: never take it for absent. */
export interface UndecodableObject {
  readonly namespace?: string
  readonly name: string
  readonly uid?: string
  readonly resourceVersion?: string
  /** Where it does not fit; holds no data of the object. */
  readonly message: string
}

export interface ObjectList<A> {
  readonly items: ReadonlyArray<A>
  readonly resourceVersion: string
  /** Objects of the snapshot that are not in `items` because they do not decode; absent when there are none. */
  readonly undecodable?: ReadonlyArray<UndecodableObject>
}

export type WatchEvent<A> =
  | { readonly _tag: "Added"; readonly object: A }
  | { readonly _tag: "Modified"; readonly object: A }
  | { readonly _tag: "Deleted"; readonly object: A }
  /**
   * Nothing that decodes changed up to this resourceVersion: where to resume. `skipped` is there when an object that
   * does not decode was added, modified or deleted just now.
   */
  | {
      readonly _tag: "Bookmark"
      readonly resourceVersion: string
      readonly skipped?: UndecodableObject & { readonly type: "Added" | "Modified" | "Deleted" }
    }

/** JSON; `null` in a merge patch deletes the key. */
export type Json = string | number | boolean | null | ReadonlyArray<Json> | { readonly [key: string]: Json | undefined }
export type JsonObject = { readonly [key: string]: Json | undefined }

export interface PatchOptions {
  readonly subresource?: "status"
  /** Refused with `Conflict` unless the stored object has this resourceVersion. */
  readonly resourceVersion?: string | undefined
  /** Refused with `Conflict` unless the stored object has this uid (the name may have been taken by another). */
  readonly uid?: string | undefined
}

export interface DeleteOptions {
  readonly resourceVersion?: string | undefined
  readonly uid?: string | undefined
  readonly propagationPolicy?: "Background" | "Foreground" | "Orphan"
}

export interface KubeClientShape {
  /**
   * Fails with `NotFound` only when the server knows the kind and has no such object; a kind it does not serve (CRD not
   * installed, version dropped) is `Unavailable`, so that it is never taken for the absence of the object.
   */
  readonly get: <A extends KubeObject>(kind: Kind<A>, ref: ObjectRef) => Effect.Effect<A, KubeError>
  /**
   * Pages are fetched until done; the resourceVersion is that of the snapshot. One object that does not decode does not
   * fail the list: it is logged by name, and stands in `undecodable` instead of `items`.
   */
  readonly list: <A extends KubeObject>(kind: Kind<A>, options?: ListOptions) => Effect.Effect<ObjectList<A>, KubeError>
  /**
   * One watch, from just after `resourceVersion`. Ends when the server closes it; fails with `Gone` when the version is
   * too old, `Unavailable` when the connection breaks. Resuming and re-listing are the Reflector's.
   * An event whose object does not decode is logged by name and becomes a `Bookmark` with `skipped`.
   */
  readonly watch: <A extends KubeObject>(
    kind: Kind<A>,
    options: ListOptions & { readonly resourceVersion: string }
  ) => Stream.Stream<WatchEvent<A>, KubeError>
  /** `object` without apiVersion and kind: they come from the kind (and discovery). */
  readonly create: <A extends KubeObject>(
    kind: Kind<A>,
    object: JsonObject & { readonly metadata: JsonObject }
  ) => Effect.Effect<A, KubeError>
  readonly patch: <A extends KubeObject>(
    kind: Kind<A>,
    ref: ObjectRef,
    patch: JsonObject,
    options?: PatchOptions
  ) => Effect.Effect<A, KubeError>
  readonly delete: <A extends KubeObject>(
    kind: Kind<A>,
    ref: ObjectRef,
    options?: DeleteOptions
  ) => Effect.Effect<void, KubeError>
}

export class KubeClient extends Context.Service<KubeClient, KubeClientShape>()("machinist/kube/KubeClient") {}
