/**
 * Owns what probes have found out about hosts that nobody uses (PoolProbes.ts): remembered in memory, shown as the
 * conditions Reachable and Clean, and how it changes whether a host may be chosen. Pure but for its memory; after a
 * restart nothing is known but what the conditions say, until the next probe.
 */
import type { PooledRemoteMachine } from "../api/PooledRemoteMachine.ts"
import { type ConditionInput, removeCondition, setCondition, setConditions } from "../domain/Conditions.ts"
import type { HostView } from "../domain/Pool.ts"
import { rfc3339 } from "../domain/Rfc3339.ts"
import type { JsonObject } from "../kube/KubeClient.ts"
import { CLEAN, contradictedSince, hostView, REACHABLE } from "./Objects.ts"

export type Verdict =
  /** A machine may have it: connected, logged in, root or sudo, and nobody's. */
  | { readonly _tag: "Usable" }
  /** No machine could use it; `reason` is that of the error. */
  | { readonly _tag: "Unreachable"; readonly reason: string; readonly message: string }
  /** Reached, but its own record names a tenant, or says that cleaning failed. */
  | { readonly _tag: "Unclean"; readonly reason: string; readonly message: string }

interface Known {
  readonly verdict: Verdict
  /** Unix milliseconds. */
  readonly at: number
  /** Of the object that was probed: an edit may have mended it. */
  readonly generation: number | undefined
}

export interface PoolVerdicts {
  readonly put: (host: PooledRemoteMachine, verdict: Verdict, now: number) => void
  readonly forget: (uid: string | undefined) => void
  /** Undefined when nothing is known of the host as it is now. */
  readonly of: (host: PooledRemoteMachine) => Verdict | undefined
  readonly view: (host: PooledRemoteMachine, now: number) => HostView
}

export const make = (): PoolVerdicts => {
  const known = new Map<string, Known>()
  const of = (host: PooledRemoteMachine): Verdict | undefined => {
    const one = known.get(host.metadata.uid ?? "")
    if (one === undefined || one.generation !== host.metadata.generation) return undefined
    return one.verdict._tag === "Usable" && contradictedSince(host, one.at) ? undefined : one.verdict
  }
  return {
    put: (host, verdict, now) => {
      known.set(host.metadata.uid ?? "", { verdict, at: now, generation: host.metadata.generation })
    },
    forget: (uid) => {
      known.delete(uid ?? "")
    },
    of,
    view: (host, now) => {
      const view = hostView(host, now)
      const verdict = of(host)
      return verdict === undefined
        ? view
        : {
            ...view,
            suspect: verdict._tag === "Unreachable",
            healthy: verdict._tag !== "Unreachable",
            unclean: verdict._tag === "Unclean",
            doubted: verdict._tag === "Unclean"
          }
    }
  }
}

/**
 * The conditions of a host that a claim or a release has just moved, for the same write. While it is used nobody looks
 * whether it is clean: what the last probe found must not stand there.
 */
export const conditionsWhen = (
  phase: "Reserved" | "Free",
  { status }: PooledRemoteMachine,
  now: number
): ReadonlyArray<JsonObject> => {
  const kept = phase === "Reserved" ? removeCondition(status?.conditions, CLEAN) : status?.conditions
  return setConditions(kept, [{ type: "Ready", status: "True", reason: phase }], rfc3339(now)).map((one) => ({
    ...one
  }))
}

const SET_ASIDE = {
  suspect: { phase: "Suspect", type: REACHABLE, reason: "ConnectFailed", found: "could not connect" },
  unclean: { phase: "Unclean", type: CLEAN, reason: "ForeignTenant", found: "found another's tenant on it" }
} as const

/** The status of a host that a machine (`namespace/name`) gives back for its own sake. `now`: RFC 3339. */
export const statusSetAside = (
  why: keyof typeof SET_ASIDE,
  machine: string,
  host: PooledRemoteMachine | undefined,
  now: string
): JsonObject => {
  const { phase, type, reason, found } = SET_ASIDE[why]
  const message = `RemoteMachine ${machine} ${found}; nobody is given this host for a while`
  // A new transition time each time: it is set aside from now on.
  const others = (host?.status?.conditions ?? []).filter((one) => one.type !== type)
  const conditions = setCondition(others, { type, status: "False", reason, message }, now)
  return { phase, conditions: conditions.map((one) => ({ ...one })) }
}

/** The conditions that show a verdict; of one that was not reached nothing new is known but that. */
export const conditionsOf = (verdict: Verdict | undefined): ReadonlyArray<ConditionInput> => {
  switch (verdict?._tag) {
    case undefined:
      return []
    case "Usable":
      return [
        { type: REACHABLE, status: "True", reason: "Probed" },
        { type: CLEAN, status: "True", reason: "NoTenant" }
      ]
    case "Unclean":
      return [
        { type: REACHABLE, status: "True", reason: "Probed" },
        { type: CLEAN, status: "False", reason: verdict.reason, message: verdict.message }
      ]
    case "Unreachable":
      return [{ type: REACHABLE, status: "False", reason: verdict.reason, message: verdict.message }]
  }
}
