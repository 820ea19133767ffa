/**
 * Owns the arithmetic of a MachineDeployment (CAPI v1.13, machinedeployment/mdutil and the rollout planner): which set is
 * current, how many replicas each may have now, rolling update and on delete, maxSurge and maxUnavailable, revisions.
 * Pure: sees objects, answers numbers. Does not own writing them, nor in-place updates, which it does not know.
 */
import type { Json, JsonObject } from "../../kube/KubeClient.ts"
import { objectAt, stringAt } from "../apiserver/Json.ts"
import { REVISION_ANNOTATION, REVISION_HISTORY_ANNOTATION } from "./Names.ts"
import { groupOf, type Raw } from "./Raw.ts"
import { replicasOf, statusCount } from "./View.ts"

export type Strategy =
  | { readonly type: "OnDelete" }
  | { readonly type: "RollingUpdate"; readonly maxSurge: Json; readonly maxUnavailable: Json }

/** `spec.rollout.strategy`, in v1beta1 `spec.strategy`, with the webhook's defaults. */
export const strategyOf = (deployment: Raw): Strategy => {
  const now = objectAt(deployment.spec, "rollout", "strategy")
  const strategy = Object.keys(now).length > 0 ? now : objectAt(deployment.spec, "strategy")
  if (stringAt(strategy, "type") === "OnDelete") return { type: "OnDelete" }
  const rolling = objectAt(strategy, "rollingUpdate")
  return { type: "RollingUpdate", maxSurge: rolling["maxSurge"] ?? 1, maxUnavailable: rolling["maxUnavailable"] ?? 0 }
}

const scaled = (value: Json, total: number, round: (value: number) => number): number => {
  if (typeof value === "number") return value
  const percent = typeof value === "string" ? /^(\d+)%$/.exec(value)?.[1] : undefined
  return percent === undefined ? 0 : round((total * Number(percent)) / 100)
}

export interface Fences {
  readonly maxSurge: number
  readonly maxUnavailable: number
}

/** Both zero would never move: then one may be unavailable. */
export const fences = (deployment: Raw): Fences => {
  const strategy = strategyOf(deployment)
  const total = replicasOf(deployment) ?? 1
  if (strategy.type === "OnDelete") return { maxSurge: 0, maxUnavailable: 0 }
  const maxSurge = scaled(strategy.maxSurge, total, Math.ceil)
  const unavailable = scaled(strategy.maxUnavailable, total, Math.floor)
  return { maxSurge, maxUnavailable: Math.min(total, maxSurge === 0 && unavailable === 0 ? 1 : unavailable) }
}

export const templateOf = (owner: Raw): JsonObject => objectAt(owner.spec, "template", "spec")

const named = (template: JsonObject, ...path: ReadonlyArray<string>): string => {
  const reference = objectAt(template, ...path)
  const group = stringAt(reference, "apiGroup") ?? groupOf(stringAt(reference, "apiVersion") ?? "")
  return Object.keys(reference).length === 0
    ? ""
    : `${group}/${stringAt(reference, "kind")}/${stringAt(reference, "name")}`
}

const shortName = (template: JsonObject, ...path: ReadonlyArray<string>): string =>
  `${stringAt(template, ...path, "kind")} ${stringAt(template, ...path, "name")}`

const kindOf = (template: JsonObject, ...path: ReadonlyArray<string>): string =>
  (stringAt(template, ...path, "kind") ?? "").replace(/Template$/, "")

const withV = (version: string | undefined): string =>
  version === undefined || version === "" || version.startsWith("v") ? (version ?? "") : `v${version}`

/** The fields a change of which means new Machines: version, failure domain, and which templates, never their version. */
export const rolloutFields = (template: JsonObject): JsonObject => ({
  version: withV(stringAt(template, "version")),
  failureDomain: stringAt(template, "failureDomain") ?? "",
  configRef: named(template, "bootstrap", "configRef"),
  dataSecretName: stringAt(template, "bootstrap", "dataSecretName") ?? "",
  infrastructureRef: named(template, "infrastructureRef")
})

/** What would have to change, in core's words; none: up to date. */
export const differences = (current: JsonObject, desired: JsonObject): ReadonlyArray<string> => {
  const now = rolloutFields(current)
  const wanted = rolloutFields(desired)
  const found: Array<string> = []
  if (now["version"] !== wanted["version"]) found.push(`Version ${now["version"]}, ${wanted["version"]} required`)
  if (now["configRef"] !== wanted["configRef"] || now["dataSecretName"] !== wanted["dataSecretName"])
    found.push(
      now["configRef"] === ""
        ? `spec.bootstrap.dataSecretName ${now["dataSecretName"]}, ${wanted["dataSecretName"]} required`
        : `${kindOf(current, "bootstrap", "configRef")} is not up-to-date`
    )
  if (now["infrastructureRef"] !== wanted["infrastructureRef"])
    found.push(`${kindOf(current, "infrastructureRef")} is not up-to-date`)
  if (now["failureDomain"] !== wanted["failureDomain"])
    found.push(`Failure domain ${now["failureDomain"]}, ${wanted["failureDomain"]} required`)
  return found
}

/** For people: which templates a set is made from. */
export const templateNames = (template: JsonObject): string =>
  [shortName(template, "bootstrap", "configRef"), shortName(template, "infrastructureRef")].join(", ")

const rolloutAfter = (deployment: Raw): number | undefined => {
  const text = stringAt(deployment.spec, "rollout", "after") ?? stringAt(deployment.spec, "rolloutAfter")
  const millis = text === undefined ? Number.NaN : Date.parse(text)
  return Number.isNaN(millis) ? undefined : millis
}

const createdAt = (set: Raw): number => Date.parse(set.metadata.creationTimestamp ?? "")

/** A rollout was asked for at a time that is over, and the set is older. */
export const isExpired = (deployment: Raw, set: Raw, nowMillis: number): boolean => {
  const after = rolloutAfter(deployment)
  return after !== undefined && after <= nowMillis && createdAt(set) < after
}

/** Milliseconds until `rollout.after`; undefined: none ahead. */
export const untilRollout = (deployment: Raw, nowMillis: number): number | undefined => {
  const after = rolloutAfter(deployment)
  return after === undefined || after <= nowMillis ? undefined : after - nowMillis
}

export interface Sets {
  readonly current: Raw | undefined
  /** Oldest first. */
  readonly old: ReadonlyArray<Raw>
}

const byAge = (a: Raw, b: Raw): number =>
  createdAt(a) - createdAt(b) || (a.metadata.name < b.metadata.name ? -1 : a.metadata.name > b.metadata.name ? 1 : 0)

/** Of several that match, the one with the most replicas: least churn. */
export const findSets = (deployment: Raw, sets: ReadonlyArray<Raw>, nowMillis: number): Sets => {
  const template = templateOf(deployment)
  const candidates = sets
    .filter((set) => differences(templateOf(set), template).length === 0 && !isExpired(deployment, set, nowMillis))
    .sort((a, b) => (replicasOf(b) ?? 0) - (replicasOf(a) ?? 0) || byAge(a, b))
  const current = candidates[0]
  return { current, old: sets.filter((set) => set !== current).sort(byAge) }
}

const revisionOf = (set: Raw): number => {
  const revision = Number(set.metadata.annotations?.[REVISION_ANNOTATION] ?? "0")
  return Number.isNaN(revision) ? 0 : revision
}

/** The current set's revision is the greatest, and never decreases; what it was before is remembered. */
export const revisionAnnotations = ({ current, old }: Sets): Readonly<Record<string, string>> => {
  const next = Math.max(0, ...old.map(revisionOf)) + 1
  const before = current === undefined ? 0 : revisionOf(current)
  const revision = Math.max(next, before)
  const history = current?.metadata.annotations?.[REVISION_HISTORY_ANNOTATION] ?? ""
  const moved = before !== 0 && before !== revision
  return {
    [REVISION_ANNOTATION]: String(revision),
    ...(moved ? { [REVISION_HISTORY_ANNOTATION]: history === "" ? String(before) : `${history},${before}` } : {})
  }
}

// ------------------------------------------------------------------------------------------------------- the plan

const specOf = (set: Raw): number => replicasOf(set) ?? 0
const actual = (set: Raw): number => statusCount(set, "replicas")
const available = (set: Raw): number => statusCount(set, "availableReplicas")
const sum = (sets: ReadonlyArray<Raw>, of: (set: Raw) => number): number =>
  sets.reduce((total, set) => total + of(set), 0)

/** Replicas that the current set should have. */
const currentReplicas = (
  desired: number,
  { current, old }: { readonly current: Raw; readonly old: ReadonlyArray<Raw> },
  maxSurge: number
): number => {
  const now = specOf(current)
  if (now >= desired) return desired
  const machines = sum([...old, current], (set) => Math.max(specOf(set), actual(set)))
  const room = desired + maxSurge - machines
  return room <= 0 ? now : now + Math.min(room, desired - now)
}

/** Names to replicas, of the sets that change. */
export type Plan = ReadonlyMap<string, number>

/** How far old sets may shrink without more being unavailable than allowed; unavailable replicas go first. */
const shrinkOld = (deployment: Raw, current: Raw, old: ReadonlyArray<Raw>, plan: Map<string, number>): void => {
  const desired = replicasOf(deployment) ?? 0
  const minAvailable = Math.max(desired - fences(deployment).maxUnavailable, 0)
  const all = [...old, current]
  const intent = (set: Raw): number => Math.min(specOf(set), plan.get(set.metadata.name) ?? Number.POSITIVE_INFINITY)
  const pending = sum(all, (set) => Math.max(actual(set) - intent(set), 0))
  const newUnavailable = Math.max(specOf(current) - available(current), 0)
  let left = Math.max(sum(all, specOf) - pending - minAvailable - newUnavailable, 0)
  let totalAvailable = sum(all, available)
  for (const onlyUnavailable of [true, false]) {
    for (const set of old) {
      const replicas = plan.get(set.metadata.name) ?? specOf(set)
      if (left <= 0 || replicas <= 0) continue
      let down = Math.min(onlyUnavailable ? Math.max(replicas - available(set), 0) : replicas, left)
      if (down === 0) continue
      if (available(set) > 0) {
        let deleted = Math.max(actual(set) - (replicas - down), 0)
        const allowed = Math.max(totalAvailable - minAvailable, 0)
        if (deleted > allowed) {
          const revisited = Math.min(actual(set) - allowed, replicas)
          down = Math.max(replicas - revisited, 0)
          deleted = Math.max(actual(set) - revisited, 0)
        }
        totalAvailable -= Math.min(available(set), deleted)
      }
      if (down > 0) {
        plan.set(set.metadata.name, replicas - down)
        left -= down
      }
    }
  }
}

/** A rollout stuck on old Machines that never became available goes on by giving up one of them. */
const breakDeadlock = (current: Raw, old: ReadonlyArray<Raw>, plan: Map<string, number>): void => {
  if (sum(old, actual) === 0 || sum(old, actual) === sum(old, available)) return
  if ([...old, current].some((set) => specOf(set) !== actual(set) || plan.has(set.metadata.name))) return
  if (available(current) !== actual(current)) return
  const stuck = old.find((set) => available(set) !== actual(set) && specOf(set) > 0)
  if (stuck !== undefined) plan.set(stuck.metadata.name, specOf(stuck) - 1)
}

/** Someone else deletes; the numbers only follow. */
const followDeletions = (deployment: Raw, current: Raw, old: ReadonlyArray<Raw>, plan: Map<string, number>): void => {
  const now = plan.get(current.metadata.name) ?? specOf(current)
  let surplus = Math.max(sum(old, specOf) + now - (replicasOf(deployment) ?? 0), 0)
  for (const set of old) {
    const gone = Math.max(specOf(set) - actual(set), 0)
    if (gone === 0) continue
    plan.set(set.metadata.name, specOf(set) - gone)
    surplus -= gone
  }
  for (const set of old) {
    const replicas = plan.get(set.metadata.name) ?? specOf(set)
    const down = Math.min(replicas, Math.max(surplus, 0))
    if (down === 0) continue
    plan.set(set.metadata.name, replicas - down)
    surplus -= down
  }
}

export const plan = (deployment: Raw, current: Raw, old: ReadonlyArray<Raw>): Plan => {
  const changes = new Map<string, number>()
  const wanted = currentReplicas(replicasOf(deployment) ?? 0, { current, old }, fences(deployment).maxSurge)
  if (wanted !== specOf(current)) changes.set(current.metadata.name, wanted)
  if (strategyOf(deployment).type === "OnDelete") followDeletions(deployment, current, old, changes)
  else {
    if (sum(old, specOf) > 0) shrinkOld(deployment, current, old, changes)
    breakDeadlock(current, old, changes)
  }
  return changes
}

/**
 * While `spec.paused` no rollout goes on, but scaling does: the only set with replicas takes it all. Several share it by
 * size, as near as whole numbers allow, the greatest taking what is left.
 */
export const scaleOnly = (deployment: Raw, { current, old }: Sets): Plan => {
  const desired = replicasOf(deployment) ?? 0
  const sets = [...old, ...(current === undefined ? [] : [current])]
  const active = sets.filter((set) => specOf(set) > 0)
  const one = active.length === 0 ? (current ?? old.at(-1)) : active.length === 1 ? active[0] : undefined
  if (one !== undefined) return specOf(one) === desired ? new Map() : new Map([[one.metadata.name, desired]])
  const { maxSurge } = fences(deployment)
  const total = sum(active, specOf)
  const allowed = desired === 0 ? 0 : desired + maxSurge
  if (allowed === total || total === 0) return new Map()
  const bySize = [...active].sort((a, b) => specOf(b) - specOf(a) || byAge(a, b))
  const shares = new Map(bySize.map((set) => [set.metadata.name, Math.floor((specOf(set) * allowed) / total)]))
  const rest = allowed - [...shares.values()].reduce((a, b) => a + b, 0)
  const [greatest] = bySize
  if (greatest !== undefined) shares.set(greatest.metadata.name, (shares.get(greatest.metadata.name) ?? 0) + rest)
  return shares
}

/** Everything is new and available: old sets may go. */
export const isComplete = (deployment: Raw, sets: ReadonlyArray<Raw>, upToDate: number): boolean => {
  const desired = replicasOf(deployment) ?? 0
  return upToDate === desired && sum(sets, actual) === desired && sum(sets, available) === desired
}
