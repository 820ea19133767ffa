/**
 * Owns what core looks at before a MachineSet gets one Machine more (CAPI v1.13, its preflight checks): the control plane
 * stands still, and Machines are of a version that it can have.
 *
 * Unlike CAPI:
 * - fewer-preflight-checks: none of managed topologies and kubeadm's
 */
import * as Effect from "effect/Effect"
import type { KubeError } from "../../kube/KubeError.ts"
import { stringAt } from "../apiserver/Json.ts"
import type { Core } from "./Core.ts"
import { namespaceOf, type Raw } from "./Raw.ts"
import * as View from "./View.ts"

const SKIP_ANNOTATION = "machineset.cluster.x-k8s.io/skip-preflight-checks"
/** A kubelet may be this many minor versions older than its control plane. */
const MINOR_SKEW = 3

interface Version {
  readonly numbers: readonly [major: number, minor: number, patch: number]
  readonly pre: ReadonlyArray<string>
  readonly build: ReadonlyArray<string>
}

/** As tolerant as CAPI: a leading v, and missing numbers, are fine. */
const parse = (text: string): Version | undefined => {
  const match = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?$/.exec(text.trim())
  if (match === null) return undefined
  const [, major, minor, patch, pre, build] = match
  return {
    numbers: [Number(major), Number(minor ?? 0), Number(patch ?? 0)],
    pre: pre?.split(".") ?? [],
    build: build?.split(".") ?? []
  }
}

const isNumber = (identifier: string): boolean => /^\d+$/.test(identifier)

/** Of two identifiers: numbers come before words; `words` says which of two words is the later. */
const compareIdentifiers = (a: string, b: string, words: (a: string, b: string) => number): number => {
  if (isNumber(a) && isNumber(b)) return Number(a) - Number(b)
  if (isNumber(a) || isNumber(b)) return isNumber(a) ? -1 : 1
  return a === b ? 0 : words(a, b)
}

const compareLists = (
  a: ReadonlyArray<string>,
  b: ReadonlyArray<string>,
  words: (a: string, b: string) => number
): number => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = compareIdentifiers(a[i] ?? "", b[i] ?? "", words)
    if (order !== 0) return order
  }
  return a.length - b.length
}

/** Above 0: `wanted` is the later one, or another build of the same: of two builds that are words none is later. */
const compare = (wanted: Version, current: Version): number => {
  for (const [i, number] of wanted.numbers.entries()) {
    const order = number - (current.numbers[i] ?? 0)
    if (order !== 0) return order
  }
  // A release comes after its own pre-releases.
  if (wanted.pre.length === 0 || current.pre.length === 0) {
    if (wanted.pre.length !== current.pre.length) return current.pre.length - wanted.pre.length
  } else {
    const order = compareLists(wanted.pre, current.pre, (a, b) => (a < b ? -1 : 1))
    if (order !== 0) return order
  }
  return compareLists(wanted.build, current.build, () => 1)
}

const failed = (check: string): string => `("${check}" preflight check failed)`

const stable = (controlPlane: Raw, wanted: Version): string | undefined => {
  const name = `${controlPlane.kind ?? ""} ${namespaceOf(controlPlane)}/${controlPlane.metadata.name}`
  const status = View.nonEmpty(stringAt(controlPlane.status, "version"))
  if (status === undefined) return `${name} is provisioning ${failed("ControlPlaneIsStable")}`
  const current = parse(status)
  return current !== undefined && compare(wanted, current) > 0
    ? `${name} is upgrading ${failed("ControlPlaneIsStable")}`
    : undefined
}

const skew = (machines: Version, controlPlane: Version): string | undefined => {
  const [minor, highest] = [machines.numbers[1], controlPlane.numbers[1]]
  if (minor > highest)
    return `MachineSet version is higher than ControlPlane version ${failed("KubernetesVersionSkew")}`
  // Upstream counts in unsigned numbers: below minor version 3 the lowest one wraps round, and nothing is new enough.
  return highest >= MINOR_SKEW && minor >= highest - MINOR_SKEW
    ? undefined
    : `MachineSet version is more than ${MINOR_SKEW} minor versions older than the ControlPlane version ${failed("KubernetesVersionSkew")}`
}

const skipped = (set: Raw): ReadonlySet<string> =>
  new Set((set.metadata.annotations?.[SKIP_ANNOTATION] ?? "").split(",").map((one) => one.trim()))

/** What is against another Machine now, for conditions; empty: nothing. */
export const preflight = Effect.fnUntraced(function* (
  core: Core,
  cluster: Raw,
  set: Raw
): Effect.fn.Return<ReadonlyArray<string>, KubeError> {
  const skip = skipped(set)
  const reference = View.referenceAt(cluster, "controlPlaneRef")
  if (reference === undefined || skip.has("All")) return []
  const { object: controlPlane } = yield* core.foreign.get(reference)
  if (controlPlane === undefined) return [`${reference.kind} ${reference.namespace}/${reference.name} does not exist`]
  const version = parse(View.nonEmpty(stringAt(controlPlane.spec, "version")) ?? "")
  if (version === undefined) return []
  const machines = parse(stringAt(set.spec, "template", "spec", "version") ?? "")
  const found = [
    skip.has("ControlPlaneIsStable") ? undefined : stable(controlPlane, version),
    machines === undefined || skip.has("KubernetesVersionSkew") ? undefined : skew(machines, version)
  ]
  return found.flatMap((message) => message ?? [])
})
