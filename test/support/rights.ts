/**
 * Owns a KubeClient with the rights of a ClusterRole and no others, as the API server's RBAC would have it, and what it
 * refused. Does not own the rules (src/api/install/Rbac.ts).
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { isAllowed, type PolicyRule, type Verb } from "../../src/api/install/Rbac.ts"
import type { Kind, KubeObject } from "../../src/api/Kind.ts"
import type { KubeClientShape, PatchOptions } from "../../src/kube/KubeClient.ts"
import { KubeError } from "../../src/kube/KubeError.ts"

export interface Restricted {
  readonly kube: KubeClientShape
  /** `verb resource.group` of each request that was refused. */
  readonly refused: () => ReadonlyArray<string>
}

export const restricted = (kube: KubeClientShape, rules: ReadonlyArray<PolicyRule>): Restricted => {
  const refused: Array<string> = []
  const refusal = (verb: Verb, kind: Kind<KubeObject>, options: PatchOptions = {}): KubeError | undefined => {
    const resource = options.subresource === undefined ? kind.plural : `${kind.plural}/${options.subresource}`
    if (isAllowed(rules, { group: kind.group, resource, verb })) return undefined
    refused.push(`${verb} ${resource}.${kind.group}`)
    return new KubeError({
      reason: "Forbidden",
      verb,
      kind: kind.kind,
      message: "no rule of the ClusterRole allows it"
    })
  }
  const guarded = <A, E>(error: () => KubeError | undefined, request: Effect.Effect<A, E>) =>
    Effect.suspend((): Effect.Effect<A, E | KubeError> => {
      const found = error()
      return found === undefined ? request : Effect.fail(found)
    })
  return {
    refused: () => refused,
    kube: {
      get: (kind, ref) => guarded(() => refusal("get", kind), kube.get(kind, ref)),
      list: (kind, options) => guarded(() => refusal("list", kind), kube.list(kind, options)),
      watch: (kind, options) =>
        Stream.unwrap(
          Effect.as(
            guarded(() => refusal("watch", kind), Effect.void),
            kube.watch(kind, options)
          )
        ),
      create: (kind, object) => guarded(() => refusal("create", kind), kube.create(kind, object)),
      patch: (kind, ref, patch, options) =>
        guarded(() => refusal("patch", kind, options), kube.patch(kind, ref, patch, options)),
      delete: (kind, ref, options) => guarded(() => refusal("delete", kind), kube.delete(kind, ref, options))
    }
  }
}
