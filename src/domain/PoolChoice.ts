/**
 * Owns which of a pool's hosts a machine gets: who may have it at all, and who is preferred; and what a machine that
 * gets none is told. Pure. The queue of those who wait, and when they are served, is Pool.ts's.
 *
 * Order: the failure domain that the fewest machines of the same group are in; healthy before unknown; then by name. A
 * lopsided spread stays for as long as the machines do, an unknown host that turns out to be dead costs one more try.
 */
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import type { Claim } from "./Claim.ts"
import * as index from "./PoolIndex.ts"
import type { Request, State } from "./PoolState.ts"
import type { HostView, MachineView } from "./PoolView.ts"

export type Choice =
  | { readonly _tag: "Host"; readonly claim: Claim }
  | { readonly _tag: "None"; readonly reason: string; readonly message: string }

export const machineOf = (state: State, uid: string): MachineView | undefined =>
  Option.getOrUndefined(HashMap.get(state.machines, uid))

const hostOf = (state: State, key: string): HostView | undefined => Option.getOrUndefined(HashMap.get(state.hosts, key))

export const choose = (state: State, request: Request): Choice => {
  const machine = machineOf(state, request.uid)
  const fresh = (host: string): Claim => ({ id: request.claimId, host, machine: request.key, uid: request.uid })
  if (request.pool === undefined) return ownAddress(state, request, machine, fresh)
  const intended = machine?.claim
  if (intended !== undefined && intended.host !== "") {
    const host = hostOf(state, `${request.namespace}/${intended.host}`)
    const isFree =
      host !== undefined && !isUncleanFor(host, machine) && unavailable(state, host, request.uid) === undefined
    // Already ours, or still free: the same claim is completed (crash-point table, rows "intent" and "claim").
    if (host?.claim?.id === intended.id || isFree) return { _tag: "Host", claim: { ...intended, uid: request.uid } }
  }
  const used = domainUse(state, machine)
  let best: HostView | undefined
  for (const host of freeFor(state, request, machine)) if (best === undefined || before(host, best, used)) best = host
  return best === undefined ? { _tag: "None", ...whyNone(state, request) } : { _tag: "Host", claim: fresh(best.name) }
}

const before = (a: HostView, b: HostView, used: (domain: string | undefined) => number): boolean => {
  if (a.failureDomain !== b.failureDomain) {
    const difference = used(a.failureDomain) - used(b.failureDomain)
    if (difference !== 0) return difference < 0
  }
  return a.healthy === b.healthy ? a.name < b.name : a.healthy
}

/** How many machines of the same group are in a domain, or about to be. Counted once, and only where domains differ. */
const domainUse = (state: State, machine: MachineView | undefined) => {
  let counts: Map<string | undefined, number> | undefined
  return (domain: string | undefined): number => {
    counts ??= countDomains(state, machine)
    return counts.get(domain) ?? 0
  }
}

const countDomains = (state: State, machine: MachineView | undefined): Map<string | undefined, number> => {
  const counts = new Map<string | undefined, number>()
  if (machine === undefined) return counts
  for (const uid of index.group(state.index, machine)) {
    if (uid === machine.uid) continue
    const other = machineOf(state, uid)
    const claim = Option.getOrUndefined(HashMap.get(state.grants, uid))?.claim ?? other?.claim
    if (other === undefined || claim === undefined || claim.host === "") continue
    const domain = hostOf(state, `${index.namespaceOf(other.key)}/${claim.host}`)?.failureDomain
    counts.set(domain, (counts.get(domain) ?? 0) + 1)
  }
  return counts
}

// ---------------------------------------------------------------------------------------------------- who may have it

const isUncleanFor = (host: HostView, machine: MachineView | undefined): boolean =>
  host.unclean && machine?.adopts !== true

/** Why this host can't be claimed by that machine now; undefined when it can. */
const unsuitable = (
  state: State,
  host: HostView,
  uid: string,
  machine: MachineView | undefined
): string | undefined => {
  const why = unavailable(state, host, uid)
  if (why !== undefined) return why
  if (isUncleanFor(host, machine)) return "not clean"
  if (machine?.failureDomain !== undefined && host.failureDomain !== machine.failureDomain)
    return `not in failure domain ${JSON.stringify(machine.failureDomain)}`
  if (machine?.selector !== undefined && !machine.selector.matches(host.labels))
    return `not selected by ${JSON.stringify(machine.selector.text)}`
  return undefined
}

type Asking = Pick<Request, "uid" | "namespace" | "pool">

/** In each failure domain the preferred one of the free hosts that the machine may have, and that `will` do. */
const freeFor = (
  state: State,
  { uid, namespace, pool }: Asking,
  machine: MachineView | undefined,
  will: (host: HostView) => boolean = () => true
): ReadonlyArray<HostView> =>
  index.bestFree(state.index, { namespace, pool: pool ?? "", failureDomain: machine?.failureDomain }, (key) => {
    const host = hostOf(state, key)
    return host !== undefined && will(host) && unsuitable(state, host, uid, machine) === undefined ? host : undefined
  })

/** A host of the pool that this machine could have instead of the one it has, and that is not likely to be as bad. */
export const hasAnother = (state: State, asking: Asking): boolean =>
  freeFor(state, asking, machineOf(state, asking.uid), (host) => !host.doubted).length > 0

/** Why this host can be claimed by nobody, or not by that machine, whatever it asks for; undefined when it can. */
export const unavailable = (state: State, host: HostView, uid: string): string | undefined => {
  if (host.claim?.quarantined !== undefined) return "quarantined"
  if (host.claim !== undefined || host.heldBy !== undefined) return "reserved"
  if (host.deleting) return "being deleted"
  if (host.maintenance) return "in maintenance"
  if (host.suspect) return "unreachable"
  if (index.intendedByOther(state.index, host.key, uid)) return "reserved"
  if (promisedToOther(state, host.key, uid)) return "reserved"
  if (index.addressTaken(state.index, state.hosts, host)) return "refused: its address belongs to another object"
  return undefined
}

const promisedToOther = (state: State, what: string, uid: string): boolean => {
  const holder = Option.getOrUndefined(HashMap.get(state.promised, what))
  return holder !== undefined && holder !== uid
}

/** What a grant takes from everybody else while its writes are under way. */
export const promiseOf = (state: State, request: Request, claim: Claim): string =>
  claim.host !== "" ? `${request.namespace}/${claim.host}` : `@${machineOf(state, request.uid)?.address ?? request.uid}`

const ownAddress = (
  state: State,
  request: Request,
  machine: MachineView | undefined,
  fresh: (host: string) => Claim
): Choice => {
  const holder =
    index.addressHolder(state.index, state.hosts, machine) ??
    (promisedToOther(state, `@${machine?.address ?? request.uid}`, request.uid) ? "another RemoteMachine" : undefined)
  return holder === undefined
    ? { _tag: "Host", claim: machine?.claim ?? fresh("") }
    : {
        _tag: "None",
        reason: "AddressInUse",
        message: addressInUse(machine?.address ?? "", request.key, holder)
      }
}

const addressInUse = (address: string, machine: string, holder: string): string =>
  `The address ${address} of ${machine} already belongs to ${holder}. ` +
  "One host serves one machine: change spec.address, or delete the other object."

/**
 * What a machine with an address of its own, which claimed it while an old list hid the other one, is to be told once the
 * host says that claim `tenant` is there; undefined when no machine here has the address by that claim.
 */
export const tenantHere = (state: State, uid: string, tenant: string): string | undefined => {
  const machine = machineOf(state, uid)
  if (machine?.address === undefined || machine.claim?.host !== "") return undefined
  const other = index.machineAt(state.index, machine.address, tenant)
  return other === undefined ? undefined : addressInUse(machine.address, machine.key, `RemoteMachine ${other}`)
}

// ---------------------------------------------------------------------------------------------------- what is told

const whyNone = (state: State, request: Request): { readonly reason: string; readonly message: string } => {
  const counts = new Map<string, number>()
  const machine = machineOf(state, request.uid)
  let total = 0
  for (const key of index.members(state.index, request.namespace, request.pool ?? "")) {
    const host = hostOf(state, key)
    if (host === undefined) continue
    total += 1
    const why = unsuitable(state, host, request.uid, machine) ?? "free"
    counts.set(why, (counts.get(why) ?? 0) + 1)
  }
  if (total === 0)
    return {
      reason: "PoolEmpty",
      message:
        `No PooledRemoteMachine in namespace ${request.namespace} has pool ${JSON.stringify(request.pool)}. ` +
        "Create one, or correct spec.pool."
    }
  const parts = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([why, count]) => `${count} ${why}`)
  return {
    reason: "NoFreeHost",
    message: `None of the ${total} hosts of pool ${JSON.stringify(request.pool)} is free: ${parts.join(", ")}. Add a PooledRemoteMachine or free one.`
  }
}

/**
 * What those are told who wait, by uid. Machines that ask for the same are told the same: the pool is looked through once
 * for all of them.
 */
export const whyWaiting = (
  state: State
): ReadonlyMap<string, { readonly reason: string; readonly message: string }> => {
  const told = new Map<string, { readonly reason: string; readonly message: string }>()
  const known = new Map<string, Choice>()
  for (const request of state.waiting) {
    const kind = kindOf(state, request)
    const choice = (kind === undefined ? undefined : known.get(kind)) ?? choose(state, request)
    if (kind !== undefined) known.set(kind, choice)
    if (choice._tag === "None") told.set(request.uid, choice)
  }
  return told
}

/** Two requests of one kind that carry no claim get a host, or none, together: asking for one answers for the other. */
export const kindOf = (state: State, request: Request): string | undefined => {
  const machine = machineOf(state, request.uid)
  if (request.pool === undefined || (machine?.claim !== undefined && machine.claim.host !== "")) return undefined
  return JSON.stringify([
    request.namespace,
    request.pool,
    machine?.selector?.text ?? "",
    machine?.failureDomain ?? null,
    machine?.adopts === true
  ])
}

/** A claim on a host that no machine carries: held, until its machine appears or a person frees it. */
export const isOrphan = (state: State, host: HostView): boolean =>
  host.claim !== undefined && host.claim.quarantined === undefined && !index.carried(state.index, host.claim)

/** Machines with a claim on it, whether that is written on the host or not. */
export const claimants = (state: State, hostKey: string): ReadonlyArray<MachineView> =>
  [...index.intending(state.index, hostKey)].flatMap((uid) => machineOf(state, uid) ?? [])
