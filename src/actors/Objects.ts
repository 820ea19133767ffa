/**
 * Owns how the actors read their objects: claim and run annotations, and the views that Pool.ts chooses by.
 * Pure; the shapes are api's, the meaning domain's.
 */
import * as Result from "effect/Result"
import type { KubeObject } from "../api/Kind.ts"
import * as Names from "../api/Names.ts"
import { type PooledRemoteMachine, PooledRemoteMachines } from "../api/PooledRemoteMachine.ts"
import { HOST_DEFAULTS, type RemoteMachine } from "../api/RemoteMachine.ts"
import { type Claim, decodeClaim, decodeRun, type RunRecord } from "../domain/Claim.ts"
import { type LabelSelector, parseLabelSelector } from "../domain/LabelSelector.ts"
import type { HostView, MachineView } from "../domain/Pool.ts"
import { endpoint } from "../domain/PoolIndex.ts"

/** A host that some machine could not connect to is chosen by nobody for this long, milliseconds. */
export const SUSPECT_MILLIS = 300_000
/** One on which some machine found another's tenant is given to nobody else for this long, milliseconds. */
export const UNCLEAN_MILLIS = 600_000
/** Condition of a PooledRemoteMachine: False since a machine's connect budget was spent on it, or a probe failed. */
export const REACHABLE = "Reachable"
/** Condition of a PooledRemoteMachine that nobody uses: what its own record says, as a probe or a machine found it. */
export const CLEAN = "Clean"

export const keyOf = (object: KubeObject): string => `${object.metadata.namespace ?? ""}/${object.metadata.name}`

export const annotation = (object: KubeObject, name: string): string | undefined => object.metadata.annotations?.[name]

export const hasFinalizer = (object: KubeObject, finalizer: string): boolean =>
  object.metadata.finalizers?.includes(finalizer) ?? false

/** For a merge patch, which replaces lists whole: our finalizer added to, or taken from, those that were read. */
export const withFinalizer = (object: KubeObject, finalizer: string): ReadonlyArray<string> =>
  hasFinalizer(object, finalizer)
    ? (object.metadata.finalizers ?? [])
    : [...(object.metadata.finalizers ?? []), finalizer]
export const withoutFinalizer = (object: KubeObject, finalizer: string): ReadonlyArray<string> =>
  (object.metadata.finalizers ?? []).filter((one) => one !== finalizer)

/** What an annotation says, read once for an object however often it is asked: an object that was read never changes. */
const readOnce = <A>(name: string, decode: (text: string) => A | undefined) => {
  const read = new WeakMap<KubeObject, { readonly value: A | undefined }>()
  return (object: KubeObject): A | undefined => {
    const text = annotation(object, name)
    if (text === undefined) return undefined
    const before = read.get(object)
    if (before !== undefined) return before.value
    const value = decode(text)
    read.set(object, { value })
    return value
  }
}

export const claimOf: (object: KubeObject) => Claim | undefined = readOnce(Names.CLAIM_ANNOTATION, decodeClaim)

export const runOf: (object: KubeObject) => RunRecord | undefined = readOnce(Names.RUN_ANNOTATION, decodeRun)

/** As the machine that had it, or would have it: where to connect, as whom, and how to clean is decided in one place. */
export const asMachine = ({ metadata, spec }: PooledRemoteMachine): RemoteMachine => ({
  kind: PooledRemoteMachines.kind,
  metadata,
  spec: spec.machine
})

/** `address:port` of a machine that has one. */
export const endpointOf = (machine: RemoteMachine): string | undefined =>
  machine.spec.address === undefined
    ? undefined
    : endpoint(machine.spec.address, machine.spec.port ?? HOST_DEFAULTS.port)

/**
 * The last finalizer was ours: the object is gone, though the answer to our write still shows it, and may come after the
 * watch has told that it is gone.
 */
export const isGone = ({ metadata }: Pick<KubeObject, "metadata">): boolean =>
  metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0

/** Where it is the same, nothing was written between. */
export const versionOf = ({ metadata }: KubeObject): string => `${metadata.uid}/${metadata.resourceVersion}`

/** A cache may lag behind an answer to our own write. resourceVersions of one object grow (KEP-5504). */
export const isOlder = (seen: KubeObject, known: KubeObject | undefined): boolean =>
  known !== undefined &&
  known.metadata.uid === seen.metadata.uid &&
  Number(seen.metadata.resourceVersion ?? 0) < Number(known.metadata.resourceVersion ?? 0)

/** Which hosts a person wants for it; none are selected by a text that is no selector, which its actor complains about. */
const selectorOf = (machine: RemoteMachine): LabelSelector | undefined => {
  const text = annotation(machine, Names.SELECTOR_ANNOTATION)
  if (text === undefined || text.trim() === "") return undefined
  return Result.getOrElse(parseLabelSelector(text), () => ({ text, exactly: undefined, matches: () => false }))
}

/** What its machines are spread over the failure domains together with: its deployment, or the control plane. */
const groupOf = ({ metadata: { labels = {} } }: RemoteMachine): string =>
  [
    labels[Names.CLUSTER_NAME_LABEL],
    labels[Names.CONTROL_PLANE_LABEL] === undefined
      ? (labels[Names.DEPLOYMENT_NAME_LABEL] ?? labels[Names.SET_NAME_LABEL])
      : Names.CONTROL_PLANE_LABEL
  ].join("/")

/** `failureDomain`: what the owner Machine asks for. */
export const machineView = (machine: RemoteMachine, failureDomain: string | undefined): MachineView => ({
  uid: machine.metadata.uid ?? "",
  key: keyOf(machine),
  claim: claimOf(machine),
  deleting: machine.metadata.deletionTimestamp !== undefined,
  address: endpointOf(machine),
  createdAt: machine.metadata.creationTimestamp ?? "",
  selector: selectorOf(machine),
  failureDomain,
  group: groupOf(machine),
  adopts: annotation(machine, Names.ADOPT_FOREIGN_ANNOTATION) !== undefined
})

/** Milliseconds since when the condition is False; NaN when it isn't. */
const falseSince = ({ status }: PooledRemoteMachine, type: string): number => {
  const condition = status?.conditions?.find((one) => one.type === type)
  return condition?.status === "False" ? Date.parse(condition.lastTransitionTime) : Number.NaN
}

const setAside = (host: PooledRemoteMachine, now: number, type: string, millis: number): number => {
  const since = falseSince(host, type)
  return Number.isNaN(since) ? 0 : Math.max(0, since + millis - now)
}
const suspectFor = (host: PooledRemoteMachine, now: number): number => setAside(host, now, REACHABLE, SUSPECT_MILLIS)
const uncleanFor = (host: PooledRemoteMachine, now: number): number => setAside(host, now, CLEAN, UNCLEAN_MILLIS)

/** Milliseconds until what a machine found there counts for less; 0 when there is nothing. */
export const setAsideFor = (host: PooledRemoteMachine, now: number): number => {
  const left = [suspectFor(host, now), uncleanFor(host, now)].filter((millis) => millis > 0)
  return left.length === 0 ? 0 : Math.min(...left)
}

/** Some machine found so after this moment: it knows better than a probe before it. */
export const contradictedSince = (host: PooledRemoteMachine, millis: number): boolean =>
  falseSince(host, REACHABLE) > millis || falseSince(host, CLEAN) > millis

const doubted = (host: PooledRemoteMachine): boolean => !Number.isNaN(falseSince(host, CLEAN))

export const hostView = (host: PooledRemoteMachine, now: number): HostView => ({
  key: keyOf(host),
  namespace: host.metadata.namespace ?? "",
  name: host.metadata.name,
  pool: host.spec.pool,
  address: host.spec.machine.address,
  port: host.spec.machine.port ?? HOST_DEFAULTS.port,
  createdAt: host.metadata.creationTimestamp ?? "",
  labels: host.metadata.labels ?? {},
  failureDomain: host.metadata.labels?.[Names.ZONE_LABEL],
  claim: claimOf(host),
  heldBy: heldBy(host),
  deleting: host.metadata.deletionTimestamp !== undefined,
  maintenance: annotation(host, Names.MAINTENANCE_ANNOTATION) !== undefined,
  releaseAsked: annotation(host, Names.RELEASE_ANNOTATION) !== undefined,
  suspect: suspectFor(host, now) > 0,
  healthy:
    !doubted(host) &&
    (host.status?.conditions?.some((one) => one.type === REACHABLE && one.status === "True") ?? false),
  unclean: uncleanFor(host, now) > 0,
  doubted: doubted(host)
})

/** A claim that can't be read, or k0smotron's reservation without a claim of ours, holds the host all the same. */
const heldBy = (host: PooledRemoteMachine): string | undefined => {
  const text = annotation(host, Names.CLAIM_ANNOTATION)
  if (text !== undefined && decodeClaim(text) === undefined) return "a claim that can't be read"
  if (text !== undefined || host.status?.reserved !== true || host.status.machineRef === undefined) return undefined
  return `${host.status.machineRef.namespace ?? ""}/${host.status.machineRef.name ?? ""}`
}

/** The host's labels or annotations that a machine takes over: never kubectl's, Cluster API's, or ours (DESIGN). */
export const inherited = (
  values: Readonly<Record<string, string>> | undefined
): { readonly [key: string]: string } | undefined => {
  const kept = Object.entries(values ?? {}).filter(([key]) => {
    const prefix = key.includes("/") ? key.slice(0, key.indexOf("/")) : ""
    return !(
      prefix === "kubectl.kubernetes.io" ||
      prefix.endsWith("cluster.x-k8s.io") ||
      prefix.endsWith("machinist.dev")
    )
  })
  return kept.length === 0 ? undefined : Object.fromEntries(kept)
}
