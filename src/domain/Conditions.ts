/**
 * Owns `metav1.Condition` values: setting one in a list, comparing lists, finding one. Which conditions exist and when
 * they are true is decided by Machine.ts, Bootstrap.ts and the status writers, not here. Pure; `now` is RFC 3339.
 */
import { shortened } from "./Shorten.ts"

export type ConditionStatus = "True" | "False" | "Unknown"

/** As it stands in `status.conditions`: every field but observedGeneration is required by the API server; no nulls. */
export interface Condition {
  readonly type: string
  readonly status: ConditionStatus
  /** CamelCase, 1 to 1024 characters. */
  readonly reason: string
  /** For people; may be empty, never absent. */
  readonly message: string
  readonly lastTransitionTime: string
  readonly observedGeneration?: number
}

/** What a caller decides; the transition time follows from it. */
export interface ConditionInput {
  readonly type: string
  readonly status: ConditionStatus
  readonly reason: string
  readonly message?: string
  readonly observedGeneration?: number
}

/** UTF-16 code units. The API server takes 32768; ours hold a step's last 2 KiB, and stay small in etcd. */
export const MAX_CONDITION_MESSAGE_LENGTH = 4096

/** `Ready` first, for it is the one people look for; the rest by type. Independent of the locale. */
const byType = (a: Condition, b: Condition): number => {
  if (a.type === b.type) return 0
  if (a.type === "Ready") return -1
  if (b.type === "Ready") return 1
  return a.type < b.type ? -1 : 1
}

/** Rebuilt field by field, so that nulls and unknown fields of a decoded object don't travel on. */
const normalise = (condition: Condition): Condition => ({
  type: condition.type,
  status: condition.status,
  reason: condition.reason,
  message: shortened(condition.message, MAX_CONDITION_MESSAGE_LENGTH),
  lastTransitionTime: condition.lastTransitionTime,
  ...(typeof condition.observedGeneration === "number" ? { observedGeneration: condition.observedGeneration } : {})
})

export const findCondition = (list: ReadonlyArray<Condition> | undefined, type: string): Condition | undefined =>
  list?.find((condition) => condition.type === type)

export const isTrue = (list: ReadonlyArray<Condition> | undefined, type: string): boolean =>
  findCondition(list, type)?.status === "True"

/**
 * The list with `input` in it. `lastTransitionTime` moves only when the status does. A duplicate type, which another
 * writer may have left, collapses into the first.
 */
export const setCondition = (
  list: ReadonlyArray<Condition> | undefined,
  input: ConditionInput,
  now: string
): ReadonlyArray<Condition> => {
  const before = findCondition(list, input.type)
  const condition: Condition = {
    type: input.type,
    status: input.status,
    reason: input.reason,
    message: shortened(input.message ?? "", MAX_CONDITION_MESSAGE_LENGTH),
    lastTransitionTime: before !== undefined && before.status === input.status ? before.lastTransitionTime : now,
    ...(input.observedGeneration === undefined ? {} : { observedGeneration: input.observedGeneration })
  }
  const others = (list ?? []).filter((other) => other.type !== input.type).map(normalise)
  return [...others, condition].sort(byType)
}

export const setConditions = (
  list: ReadonlyArray<Condition> | undefined,
  inputs: ReadonlyArray<ConditionInput>,
  now: string
): ReadonlyArray<Condition> =>
  inputs.reduce<ReadonlyArray<Condition>>(
    (conditions, input) => setCondition(conditions, input, now),
    (list ?? []).map(normalise).sort(byType)
  )

export const removeCondition = (list: ReadonlyArray<Condition> | undefined, type: string): ReadonlyArray<Condition> =>
  (list ?? [])
    .filter((condition) => condition.type !== type)
    .map(normalise)
    .sort(byType)

const sameCondition = (a: Condition, b: Condition): boolean =>
  a.type === b.type &&
  a.status === b.status &&
  a.reason === b.reason &&
  a.message === b.message &&
  a.lastTransitionTime === b.lastTransitionTime &&
  a.observedGeneration === b.observedGeneration

/** Whether writing `b` over `a` would change anything: order doesn't count, everything else does. */
export const sameConditions = (
  a: ReadonlyArray<Condition> | undefined,
  b: ReadonlyArray<Condition> | undefined
): boolean => {
  const left = [...(a ?? [])].sort(byType)
  const right = [...(b ?? [])].sort(byType)
  return (
    left.length === right.length &&
    left.every((condition, index) => {
      const other = right[index]
      return other !== undefined && sameCondition(condition, other)
    })
  )
}
