/**
 * Owns which Machines of a set go first when it shrinks (CAPI v1.13, machineset_deletion_order.go): those already going,
 * those a person marked, unhealthy ones, then by the set's order: Random (the default), Newest or Oldest. Equal ones go by
 * name, in core as here, so even Random is the same each time. Pure.
 */
import { stringAt } from "../apiserver/Json.ts"
import { DELETE_MACHINE_ANNOTATION } from "./Names.ts"
import { isDeleting, type Raw } from "./Raw.ts"
import { matches, selectorOf } from "./Selector.ts"
import { condition, nodeNameOf } from "./View.ts"

const MUST = 100
const FIRST = 80
const BETTER = 50
const COULD = 20
/** Milliseconds over which age saturates. */
const TEN_DAYS_MILLIS = 864_000_000

type Order = "Random" | "Newest" | "Oldest"

/** `spec.deletion.order`, in v1beta1 `spec.deletePolicy`. */
const orderOf = (set: Raw): Order => {
  const order = stringAt(set.spec, "deletion", "order") ?? stringAt(set.spec, "deletePolicy")
  return order === "Newest" || order === "Oldest" ? order : "Random"
}

const isHealthy = (machine: Raw): boolean =>
  nodeNameOf(machine) !== undefined &&
  condition(machine, "NodeHealthy")?.status !== "False" &&
  condition(machine, "HealthCheckSucceeded")?.status !== "False"

const priority = (order: Order, machine: Raw, nowMillis: number): number => {
  if (isDeleting(machine)) return MUST
  if (machine.metadata.annotations?.[DELETE_MACHINE_ANNOTATION] !== undefined) return FIRST
  if (!isHealthy(machine)) return BETTER
  if (order === "Random") return COULD
  const age = Math.max(0, nowMillis - Date.parse(machine.metadata.creationTimestamp ?? ""))
  const oldness = BETTER * (1 - Math.exp(-age / TEN_DAYS_MILLIS))
  return order === "Oldest" ? oldness : BETTER - oldness
}

/** The first `count` to go, those already going included. */
export const toDelete = (
  set: Raw,
  machines: ReadonlyArray<Raw>,
  count: number,
  nowMillis: number
): ReadonlyArray<Raw> => {
  const order = orderOf(set)
  return machines
    .map((machine) => ({ machine, priority: priority(order, machine, nowMillis) }))
    .sort((a, b) => b.priority - a.priority || (a.machine.metadata.name < b.machine.metadata.name ? -1 : 1))
    .slice(0, count)
    .map(({ machine }) => machine)
}

/** Carries every label that the set's selector asks for. */
export const isBetween = (set: Raw, machine: Raw): boolean => matches(selectorOf(set), machine)
