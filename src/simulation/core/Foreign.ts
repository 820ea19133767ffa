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

type Changed = (group: string, kind: string, object: Raw) => Effect.Effect<void>

interface Trackers {
  readonly known: (group: string, kind: string) => Tracker | undefined
  /** The one there is, or another when the CRD says another plural or version by now. */
  readonly follow: (reference: Reference, kind: Kind<Raw>, version: string | undefined) => Effect.Effect<Tracked>
  readonly forget: (group: string, kind: string) => Effect.Effect<void>
}

const idOf = (plural: string, version: string | undefined): string => `${plural}/${version ?? ""}`

const makeTrackers = Effect.fnUntraced(function* (kube: KubeClientShape, changed: Changed) {
  const scope = yield* Effect.scope
  const trackers = new Map<string, Tracker>()
  // One at a time: two callers must not begin two copies.
  const lock = yield* Semaphore.make(1)
  const made: Trackers = {
    known: (group, kind) => trackers.get(kindKey(group, kind)),
    follow: ({ group, kind: name }, kind, version) =>
      Effect.gen(function* () {
        const key = kindKey(group, name)
        const id = idOf(kind.plural, version)
        const known = trackers.get(key)
        if (known?.id === id) return known.tracked
        if (known !== undefined) yield* Scope.close(known.scope, Exit.void)
        const own = yield* Scope.fork(scope)
        const tracked = yield* track({ kube, kind, changed: (object) => changed(group, name, object) }).pipe(
          Scope.provide(own)
        )
        trackers.set(key, { tracked, id, version, scope: own })
        return tracked
      }).pipe(lock.withPermits(1)),
    forget: (group, kind) =>
      Effect.suspend(() => {
        const known = trackers.get(kindKey(group, kind))
        trackers.delete(kindKey(group, kind))
        return known === undefined ? Effect.void : Scope.close(known.scope, Exit.void)
      })
  }
  return made
})

const defined = (crd: Raw): readonly [group: string, kind: string] => [
  stringAt(crd.spec, "group") ?? "",
  stringAt(crd.spec, "names", "kind") ?? ""
]

/** `changed` hears of every object of every kind that is followed. */
export const make = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  changed: Changed
): Effect.fn.Return<Foreign, never, Scope.Scope> {
  const crds = yield* Reflector.make(crdKind, {
    indexes: { [KIND_INDEX]: (crd) => [kindKey(...defined(crd))] }
  }).pipe(Effect.provideService(KubeClient, kube))
  const trackers = yield* makeTrackers(kube, changed)

  const describe = Effect.fnUntraced(function* ({ group, kind, version }: Reference) {
    const [crd] = yield* crds.byIndex(KIND_INDEX, kindKey(group, kind))
    if (crd !== undefined) return described(crd)
    // References to one kind may name several versions: the first one asked for is kept to.
    const known = trackers.known(group, kind)
    const kept = known === undefined ? version : known.version
    return { plural: `${kind.toLowerCase()}s`, version: kept, contract: "either" as const }
  })

  const of: Foreign["of"] = Effect.fnUntraced(function* (reference: Reference) {
    const { group, kind: name, namespace } = reference
    const { plural, version } = yield* describe(reference)
    const known = trackers.known(group, name)
    if (known?.id === idOf(plural, version)) {
      yield* known.tracked.synced
      return known.tracked
    }
    const versions = version === undefined ? (["v1beta2", "v1beta1"] as const) : ([version] as const)
    const kind = rawKind({ group, kind: name, plural, versions })
    // Asked once directly: a kind that is not served is an error of this reconcile, not a copy that never comes.
    yield* kube.get(kind, { namespace, name: reference.name }).pipe(
      Effect.catchIf(
        (error) => error.reason === "NotFound",
        () => Effect.void
      )
    )
    const tracked = yield* trackers.follow(reference, kind, version)
    yield* tracked.synced
    return tracked
  })

  // A kind whose CRD goes must not be followed into the void, and one that comes back is found anew.
  yield* crds.changes.pipe(
    Stream.runForEach((change) =>
      change._tag === "Deleted" ? trackers.forget(...defined(change.object)) : Effect.void
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
