/**
 * Owns which host goes to which machine (DESIGN, "Claims"): the view of hosts and machines, the queue of those who
 * wait, and the choice. Pure; the writes that make a choice durable are the PoolAllocator actor's. Absence is never
 * evidence here: a host that carries a claim is held until that claim is taken from it.
 */
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import type { Claim } from "./Claim.ts"
import * as index from "./PoolIndex.ts"

/** A PooledRemoteMachine, as far as choosing goes. */
export interface HostView {
  /** `namespace/name`. */
  readonly key: string
  readonly namespace: string
  readonly name: string
  readonly pool: string
  readonly address: string
  readonly port: number
  readonly createdAt: string
  readonly claim: Claim | undefined
  /** Held without a claim of ours: an annotation that can't be read, or k0smotron's `status.reserved`. */
  readonly heldBy: string | undefined
  readonly deleting: boolean
  readonly maintenance: boolean
  /** A person asks to free an orphaned or quarantined host. */
  readonly releaseAsked: boolean
  /** Some machine could not connect lately; chosen by nobody for now. */
  readonly suspect: boolean
  /** Somebody connected lately. */
  readonly healthy: boolean
}

/** A RemoteMachine, as far as choosing goes. */
export interface MachineView {
  readonly uid: string
  /** `namespace/name`. */
  readonly key: string
  readonly claim: Claim | undefined
  readonly deleting: boolean
  /** `address:port` from its spec: its own, or its host's once populated. */
  readonly address: string | undefined
}

export interface Request {
  readonly uid: string
  readonly key: string
  readonly namespace: string
  /** Absent: the machine has an address of its own. */
  readonly pool: string | undefined
  /** A fresh id, in case a new claim is made. */
  readonly claimId: string
}

/** A choice whose writes are under way. */
export interface Grant {
  readonly request: Request
  readonly claim: Claim
  /** Id of the claim that the machine carried when this was chosen: only that one may be written over. */
  readonly replaces: string | undefined
}

export interface State {
  readonly hosts: HashMap.HashMap<string, HostView>
  readonly machines: HashMap.HashMap<string, MachineView>
  readonly index: index.PoolIndex
  /** In the order they asked, by uid. */
  readonly waiting: ReadonlyArray<Request>
  /** By the machine's uid. */
  readonly grants: HashMap.HashMap<string, Grant>
  /** What grants have taken: host key, or `@address:port` of a machine's own host -> uid. */
  readonly promised: HashMap.HashMap<string, string>
}

export const empty: State = {
  hosts: HashMap.empty(),
  machines: HashMap.empty(),
  index: index.empty,
  waiting: [],
  grants: HashMap.empty(),
  promised: HashMap.empty()
}

export type Event =
  | { readonly _tag: "HostSeen"; readonly host: HostView }
  | { readonly _tag: "HostGone"; readonly key: string }
  | { readonly _tag: "MachineSeen"; readonly machine: MachineView }
  | { readonly _tag: "MachineGone"; readonly uid: string }
  | { readonly _tag: "Asked"; readonly request: Request }
  /** The requester no longer waits; a grant under way goes on to its end, so that no write is left half known. */
  | { readonly _tag: "Withdrawn"; readonly uid: string }
  | { readonly _tag: "GrantEnded"; readonly uid: string; readonly granted: boolean }
  /** The machine leaves: its request and its grant (whose writes have stopped) are forgotten. */
  | { readonly _tag: "Cancelled"; readonly uid: string }

// ---------------------------------------------------------------------------------------------------- transition

export const transition = (state: State, event: Event): State => {
  switch (event._tag) {
    case "HostSeen": {
      const { host } = event
      const before = Option.getOrUndefined(HashMap.get(state.hosts, host.key))
      const next = {
        ...state,
        hosts: HashMap.set(state.hosts, host.key, host),
        index: index.host(state.index, before, host)
      }
      return assign(next, poolKey(host.namespace, host.pool))
    }
    case "HostGone": {
      const before = Option.getOrUndefined(HashMap.get(state.hosts, event.key))
      if (before === undefined) return state
      const next = {
        ...state,
        hosts: HashMap.remove(state.hosts, event.key),
        index: index.host(state.index, before, undefined)
      }
      // Its address may have kept another host of this address out.
      return assignAll(next)
    }
    case "MachineSeen": {
      const { machine } = event
      const before = Option.getOrUndefined(HashMap.get(state.machines, machine.uid))
      const next = {
        ...state,
        machines: HashMap.set(state.machines, machine.uid, machine),
        index: index.machine(state.index, before, machine)
      }
      return frees(before, machine) ? assignAll(next) : next
    }
    case "MachineGone": {
      const before = Option.getOrUndefined(HashMap.get(state.machines, event.uid))
      if (before === undefined) return state
      return assignAll({
        ...state,
        machines: HashMap.remove(state.machines, event.uid),
        index: index.machine(state.index, before, undefined),
        waiting: state.waiting.filter((one) => one.uid !== event.uid)
      })
    }
    case "Asked": {
      const known =
        state.waiting.some((one) => one.uid === event.request.uid) || HashMap.has(state.grants, event.request.uid)
      return known ? state : grant({ ...state, waiting: [...state.waiting, event.request] }, event.request)
    }
    case "Withdrawn":
      return { ...state, waiting: state.waiting.filter((one) => one.uid !== event.uid) }
    case "Cancelled": {
      const ended = Option.getOrUndefined(HashMap.get(state.grants, event.uid))
      const waiting = state.waiting.filter((one) => one.uid !== event.uid)
      if (ended === undefined) return waiting.length === state.waiting.length ? state : { ...state, waiting }
      const promised = HashMap.remove(state.promised, promiseOf(state, ended.request, ended.claim))
      return assignAll({ ...state, waiting, grants: HashMap.remove(state.grants, event.uid), promised })
    }
    case "GrantEnded": {
      const ended = Option.getOrUndefined(HashMap.get(state.grants, event.uid))
      if (ended === undefined) return state
      const grants = HashMap.remove(state.grants, event.uid)
      const { request, claim } = ended
      const promised = HashMap.remove(state.promised, promiseOf(state, request, claim))
      if (event.granted) return { ...state, grants, promised }
      // It lost a race: first in line again.
      const next = { ...state, grants, promised, waiting: [request, ...state.waiting] }
      return request.pool === undefined ? grant(next, request) : assign(next, poolKey(request.namespace, request.pool))
    }
  }
}

const poolKey = (namespace: string, pool: string): string => `${namespace}/${pool}`

/** An intent or an address is gone: hosts may have become free for others. */
const frees = (before: MachineView | undefined, after: MachineView): boolean =>
  before !== undefined && (before.claim?.id !== after.claim?.id || before.address !== after.address)

const assignAll = (state: State): State => state.waiting.reduce((next, request) => grant(next, request), state)

/** Gives free hosts of one pool to those who wait for it, in order, until there is none. */
const assign = (state: State, pool: string): State => {
  let next = state
  for (const request of state.waiting) {
    if (request.pool === undefined || poolKey(request.namespace, request.pool) !== pool) continue
    const after = grant(next, request)
    if (after === next) return next
    next = after
  }
  return next
}

const grant = (state: State, request: Request): State => {
  const choice = choose(state, request)
  if (choice._tag === "None") return state
  return {
    ...state,
    waiting: state.waiting.filter((one) => one.uid !== request.uid),
    grants: HashMap.set(state.grants, request.uid, {
      request,
      claim: choice.claim,
      replaces: Option.getOrUndefined(HashMap.get(state.machines, request.uid))?.claim?.id
    }),
    promised: HashMap.set(state.promised, promiseOf(state, request, choice.claim), request.uid)
  }
}

// ---------------------------------------------------------------------------------------------------- choice

export type Choice =
  | { readonly _tag: "Host"; readonly claim: Claim }
  | { readonly _tag: "None"; readonly reason: string; readonly message: string }

/** Healthy before unknown, never one that is held, suspect, in maintenance, refused or leaving; then by name. */
export const choose = (state: State, request: Request): Choice => {
  const machine = Option.getOrUndefined(HashMap.get(state.machines, request.uid))
  const fresh = (host: string): Claim => ({ id: request.claimId, host, machine: request.key, uid: request.uid })
  if (request.pool === undefined) return ownAddress(state, request, machine, fresh)
  const intended = machine?.claim
  if (intended !== undefined && intended.host !== "") {
    const host = Option.getOrUndefined(HashMap.get(state.hosts, `${request.namespace}/${intended.host}`))
    // Already ours, or still free: the same claim is completed (crash-point table, rows "intent" and "claim").
    if (host?.claim?.id === intended.id || (host !== undefined && unavailable(state, host, request.uid) === undefined))
      return { _tag: "Host", claim: { ...intended, uid: request.uid } }
  }
  const members = index.members(state.index, request.namespace, request.pool)
  let best: HostView | undefined
  for (const key of members) {
    const host = Option.getOrUndefined(HashMap.get(state.hosts, key))
    if (host === undefined || unavailable(state, host, request.uid) !== undefined) continue
    if (best === undefined || before(host, best)) best = host
  }
  return best === undefined ? { _tag: "None", ...whyNone(state, request) } : { _tag: "Host", claim: fresh(best.name) }
}

const before = (a: HostView, b: HostView): boolean => (a.healthy === b.healthy ? a.name < b.name : a.healthy)

/** Why this host can't be claimed by that machine now; undefined when it can. */
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
const promiseOf = (state: State, request: Request, claim: Claim): string => {
  if (claim.host !== "") return `${request.namespace}/${claim.host}`
  const machine = Option.getOrUndefined(HashMap.get(state.machines, request.uid))
  return `@${machine?.address ?? request.uid}`
}

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
        message:
          `The address ${machine?.address ?? ""} of ${request.key} already belongs to ${holder}. ` +
          "One host serves one machine: change spec.address, or delete the other object."
      }
}

const whyNone = (state: State, request: Request): { readonly reason: string; readonly message: string } => {
  const counts = new Map<string, number>()
  let total = 0
  for (const key of index.members(state.index, request.namespace, request.pool ?? "")) {
    const host = Option.getOrUndefined(HashMap.get(state.hosts, key))
    if (host === undefined) continue
    total += 1
    const why = unavailable(state, host, request.uid) ?? "free"
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

/** What a waiting machine is told; undefined when it does not wait here. */
export const whyWaiting = (
  state: State,
  uid: string
): { readonly reason: string; readonly message: string } | undefined => {
  const request = state.waiting.find((one) => one.uid === uid)
  if (request === undefined) return undefined
  const choice = choose(state, request)
  return choice._tag === "None" ? choice : undefined
}

/** A claim on a host that no machine carries: held, until its machine appears or a person frees it. */
export const isOrphan = (state: State, host: HostView): boolean =>
  host.claim !== undefined && host.claim.quarantined === undefined && !index.carried(state.index, host.claim)
