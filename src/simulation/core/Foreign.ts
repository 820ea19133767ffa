/**
 * Owns following references to kinds that CAPI doesn't know: which plural and version a kind has (its CRD and the
 * contract labels on it), and one copy a kind, begun when the first object of it is asked for. Does not own what is read
 * from such an object (View.ts).
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Kind } from "../../api/Kind.ts"
import { CONTRACT_V1BETA1_LABEL, CONTRACT_V1BETA2_LABEL } from "../../api/Names.ts"
import { KubeClient, type KubeClientShape } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import * as Reflector from "../../kube/Reflector.ts"
import { arrayAt, stringAt } from "../apiserver/Json.ts"
import { type Raw, rawKind } from "./Raw.ts"
import { type Tracked, track } from "./Tracked.ts"

/** Which status fields count. `either`: the kind has no CRD (registered loosely) or an unlabelled one. */
export type Contract = "v1beta1" | "v1beta2" | "either"

export interface Reference {
  readonly group: string
  readonly kind: string
  readonly name: string
  readonly namespace: string
  /** As the reference had it, if it had one; a hint only. */
  readonly version: string | undefined
}

export interface Found {
  /** Undefined: there is none of that name. */
  readonly object: Raw | undefined
  readonly contract: Contract
  readonly tracked: Tracked
}

export interface Foreign {
  readonly get: (reference: Reference) => Effect.Effect<Found, KubeError>
  /** The kind behind a reference, whether or not an object is there. */
  readonly of: (reference: Reference) => Effect.Effect<Tracked, KubeError>
}

const crdKind: Kind<Raw> = rawKind({
  group: "apiextensions.k8s.io",
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  versions: ["v1"],
  namespaced: false
})

const KIND_INDEX = "kind"
const kindKey = (group: string, kind: string): string => `${group}/${kind}`

/** `v1beta1_v1beta2`: the last in Kubernetes' order is the newest. */
const newest = (label: string | undefined): string | undefined =>
  label === undefined ? undefined : [...label.split("_")].sort(compareVersions).at(-1)

const versionParts = (version: string): readonly [major: number, stability: number, minor: number] => {
  const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version)
  if (match === null) return [0, 0, 0]
  const [, major, stage, minor] = match
  return [Number(major), stage === undefined ? 3 : stage === "beta" ? 2 : 1, Number(minor ?? 0)]
}

const compareVersions = (a: string, b: string): number => {
  const [x, y] = [versionParts(a), versionParts(b)]
  return x[1] - y[1] || x[0] - y[0] || x[2] - y[2]
}

const described = (crd: Raw): { readonly plural: string; readonly version: string; readonly contract: Contract } => {
  const labels = crd.metadata.labels ?? {}
  const versions = arrayAt(crd.spec, "versions").flatMap((version) => stringAt(version, "name") ?? [])
  const current = newest(labels[CONTRACT_V1BETA2_LABEL])
  const old = newest(labels[CONTRACT_V1BETA1_LABEL])
  return {
    plural: stringAt(crd.spec, "names", "plural") ?? "",
    version: current ?? old ?? [...versions].sort(compareVersions).at(-1) ?? "v1",
    contract: current !== undefined ? "v1beta2" : old !== undefined ? "v1beta1" : "either"
  }
}

interface Tracker {
  readonly tracked: Tracked
  /** Plural and version: what a changed CRD may change. */
  readonly id: string
  readonly version: string | undefined
  readonly scope: Scope.Closeable
}

/** `changed` hears of every object of every kind that is followed. */
export const make = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  changed: (group: string, kind: string, object: Raw) => Effect.Effect<void>
): Effect.fn.Return<Foreign, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const crds = yield* Reflector.make(crdKind, {
    indexes: {
      [KIND_INDEX]: (crd) => [kindKey(stringAt(crd.spec, "group") ?? "", stringAt(crd.spec, "names", "kind") ?? "")]
    }
  }).pipe(Effect.provideService(KubeClient, kube))
  const trackers = new Map<string, Tracker>()
  const lock = yield* Semaphore.make(1)

  const describe = Effect.fnUntraced(function* (reference: Reference) {
    const [crd] = yield* crds.byIndex(KIND_INDEX, kindKey(reference.group, reference.kind))
    if (crd !== undefined) return described(crd)
    // References to one kind may name several versions: the first one asked for is kept to.
    const known = trackers.get(kindKey(reference.group, reference.kind))
    const version = known === undefined ? reference.version : known.version
    return { plural: `${reference.kind.toLowerCase()}s`, version, contract: "either" as const }
  })

  /** One at a time: two callers must not begin two copies. */
  const tracker = (reference: Reference, plural: string, version: string | undefined): Effect.Effect<Tracked> =>
    Effect.gen(function* () {
      const { group, kind } = reference
      const key = kindKey(group, kind)
      const id = `${plural}/${version ?? ""}`
      const known = trackers.get(key)
      if (known?.id === id) return known.tracked
      if (known !== undefined) yield* Scope.close(known.scope, Exit.void)
      const own = yield* Scope.fork(scope)
      const versions = version === undefined ? (["v1beta2", "v1beta1"] as const) : ([version] as const)
      const tracked = yield* track({
        kube,
        kind: rawKind({ group, kind, plural, versions }),
        changed: (object) => changed(group, kind, object)
      }).pipe(Scope.provide(own))
      trackers.set(key, { tracked, id, version, scope: own })
      return tracked
    }).pipe(lock.withPermits(1))

  const of: Foreign["of"] = Effect.fnUntraced(function* (reference: Reference) {
    const { plural, version } = yield* describe(reference)
    const known = trackers.get(kindKey(reference.group, reference.kind))
    if (known?.id === `${plural}/${version ?? ""}`) {
      yield* known.tracked.synced
      return known.tracked
    }
    // Asked once directly: a kind that is not served is an error of this reconcile, not a copy that never comes.
    const versions = version === undefined ? (["v1beta2", "v1beta1"] as const) : ([version] as const)
    const probe = rawKind({ group: reference.group, kind: reference.kind, plural, versions })
    yield* kube.get(probe, { namespace: reference.namespace, name: reference.name }).pipe(
      Effect.catchIf(
        (error) => error.reason === "NotFound",
        () => Effect.void
      )
    )
    const tracked = yield* tracker(reference, plural, version)
    yield* tracked.synced
    return tracked
  })

  // A kind whose CRD goes must not be followed into the void, and one that comes back is found anew.
  yield* crds.changes.pipe(
    Stream.runForEach((change) =>
      Effect.suspend(() => {
        if (change._tag !== "Deleted") return Effect.void
        const spec = change.object.spec
        const key = kindKey(stringAt(spec, "group") ?? "", stringAt(spec, "names", "kind") ?? "")
        const known = trackers.get(key)
        trackers.delete(key)
        return known === undefined ? Effect.void : Scope.close(known.scope, Exit.void)
      })
    ),
    Effect.forkScoped
  )
  yield* crds.synced
  return {
    of,
    get: Effect.fnUntraced(function* (reference) {
      const tracked = yield* of(reference)
      const { contract } = yield* describe(reference)
      const object = yield* tracked.get({ namespace: reference.namespace, name: reference.name })
      return { object, contract, tracked }
    })
  }
})
