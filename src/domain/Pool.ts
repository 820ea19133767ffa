/**
 * Owns who is served when hosts are given to machines (DESIGN, "Claims"): the queue of those who wait,
 * the oldest machine first. Pure. Which host it is, is PoolChoice.ts's; the writes that make a choice durable are the
 * PoolAllocator actor's. Absence is never evidence here: a host that carries a claim is held until that claim is taken
 * from it.
 */
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import { choose, kindOf, machineOf, promiseOf } from "./PoolChoice.ts"
import * as index from "./PoolIndex.ts"
import type { Grant, Request, State } from "./PoolState.ts"
import type { HostView, MachineView } from "./PoolView.ts"

export {
  type Choice,
  choose,
  claimants,
  hasAnother,
  isOrphan,
  tenantHere,
  unavailable,
  whyWaiting
} from "./PoolChoice.ts"
export { empty, type Grant, type Request, type State } from "./PoolState.ts"
export type { HostView, MachineView } from "./PoolView.ts"

export type Event =
  | { readonly _tag: "HostSeen"; readonly host: HostView }
  | { readonly _tag: "HostGone"; readonly key: string }
  | { readonly _tag: "MachineSeen"; readonly machine: MachineView }
  | { readonly _tag: "MachineGone"; readonly uid: string }
  | { readonly _tag: "Asked"; readonly request: Request }
  /** A process begins to give hosts away: all who are known to wait, at once, so that nobody is first by chance. */
  | { readonly _tag: "Opened"; readonly requests: ReadonlyArray<Request> }
  /** The requester no longer waits; a grant under way goes on to its end, so that no write is left half known. */
  | { readonly _tag: "Withdrawn"; readonly uid: string }
  | { readonly _tag: "GrantEnded"; readonly uid: string; readonly granted: boolean }
  /** The machine leaves: its request and its grant (whose writes have stopped) are forgotten. */
  | { readonly _tag: "Cancelled"; readonly uid: string }

// ---------------------------------------------------------------------------------------------------- transition

export const transition = (state: State, event: Event): State =>
  decide(state.granted.length === 0 ? state : { ...state, granted: [] }, event)

const decide = (state: State, event: Event): State => {
  switch (event._tag) {
    case "HostSeen": {
      const { host } = event
      const before = Option.getOrUndefined(HashMap.get(state.hosts, host.key))
      const next = withHost(state, host.key, host)
      // Its former address may have kept another host, of any pool, out.
      const moved = before !== undefined && index.addressOf(before) !== index.addressOf(host)
      return assign(next, moved ? undefined : poolKey(host.namespace, host.pool))
    }
    case "HostGone": {
      if (!HashMap.has(state.hosts, event.key)) return state
      // Its address may have kept another host of this address out.
      return assign(withHost(state, event.key, undefined))
    }
    case "MachineSeen": {
      const { machine } = event
      const before = Option.getOrUndefined(HashMap.get(state.machines, machine.uid))
      const next = {
        ...state,
        machines: HashMap.set(state.machines, machine.uid, machine),
        index: index.machine(state.index, before, machine)
      }
      return frees(before, machine) ? assign(next) : asksAnew(before, machine) ? assignOne(next, machine.uid) : next
    }
    case "MachineGone": {
      const before = Option.getOrUndefined(HashMap.get(state.machines, event.uid))
      if (before === undefined) return state
      return assign({
        ...state,
        machines: HashMap.remove(state.machines, event.uid),
        index: index.machine(state.index, before, undefined),
        waiting: state.waiting.filter((one) => one.uid !== event.uid)
      })
    }
    case "Asked": {
      const known =
        state.waiting.some((one) => one.uid === event.request.uid) || HashMap.has(state.grants, event.request.uid)
      return known ? state : grant(enqueue(state, event.request), event.request)
    }
    case "Opened":
      return assign(event.requests.reduce(enqueue, state))
    case "Withdrawn":
      return { ...state, waiting: state.waiting.filter((one) => one.uid !== event.uid) }
    case "Cancelled": {
      const ended = Option.getOrUndefined(HashMap.get(state.grants, event.uid))
      const waiting = state.waiting.filter((one) => one.uid !== event.uid)
      if (ended === undefined) return waiting.length === state.waiting.length ? state : { ...state, waiting }
      return assign({ ...unpromised(state, ended), waiting, grants: HashMap.remove(state.grants, event.uid) })
    }
    case "GrantEnded": {
      const ended = Option.getOrUndefined(HashMap.get(state.grants, event.uid))
      if (ended === undefined) return state
      const { request } = ended
      const without = { ...unpromised(state, ended), grants: HashMap.remove(state.grants, event.uid) }
      if (event.granted) return without
      // It lost a race: it waits in its old place.
      const next = enqueue(without, request)
      return request.pool === undefined ? grant(next, request) : assign(next, poolKey(request.namespace, request.pool))
    }
  }
}

/** Hosts that may be refused, or no longer, because the event gave an address to somebody else or took it away. */
export const rivals = (before: State, after: State, event: Event): ReadonlyArray<string> => {
  const held = (state: State): readonly [address: string | undefined, firmly: boolean] => {
    switch (event._tag) {
      case "MachineSeen":
        return [machineOf(state, event.machine.uid)?.address, false]
      case "MachineGone":
        return [machineOf(state, event.uid)?.address, false]
      case "HostSeen":
      case "HostGone": {
        const key = event._tag === "HostSeen" ? event.host.key : event.key
        const host = Option.getOrUndefined(HashMap.get(state.hosts, key))
        return [host === undefined ? undefined : index.addressOf(host), host?.claim !== undefined]
      }
      default:
        return [undefined, false]
    }
  }
  const [was, wasFirm] = held(before)
  const [is, isFirm] = held(after)
  if (was === is && wasFirm === isFirm) return []
  return [...new Set([was, is])].flatMap((address) =>
    address === undefined ? [] : [...index.hostsAt(after.index, address)]
  )
}

const poolKey = (namespace: string, pool: string): string => `${namespace}/${pool}`

/** An intent or an address is gone: hosts may have become free for others. */
const frees = (before: MachineView | undefined, after: MachineView): boolean =>
  before !== undefined && (before.claim?.id !== after.claim?.id || before.address !== after.address)

/** It asks for something else than before. */
const asksAnew = (before: MachineView | undefined, after: MachineView): boolean =>
  before?.selector?.text !== after.selector?.text ||
  before?.failureDomain !== after.failureDomain ||
  before?.adopts !== after.adopts

const enqueue = (state: State, request: Request): State => {
  let at = state.waiting.length
  for (
    let last = state.waiting[at - 1];
    last !== undefined && isBefore(state, request, last);
    last = state.waiting[at - 1]
  )
    at -= 1
  return { ...state, waiting: [...state.waiting.slice(0, at), request, ...state.waiting.slice(at)] }
}

/** Gives free hosts (of one pool; else of all) to those who wait, in order. */
const assign = (state: State, pool?: string): State => {
  let next = state
  const without = new Set<string>()
  for (const request of state.waiting) {
    if (pool !== undefined && (request.pool === undefined || poolKey(request.namespace, request.pool) !== pool))
      continue
    const kind = kindOf(next, request)
    // A thousand machines that wait for the same must not search the pool a thousand times.
    if (kind !== undefined && without.has(kind)) continue
    const after = grant(next, request)
    if (after === next && kind !== undefined) without.add(kind)
    next = after
  }
  return next
}

const isBefore = (state: State, a: Request, b: Request): boolean => {
  const [ageOfA, ageOfB] = [a, b].map(({ uid }) => machineOf(state, uid)?.createdAt ?? "")
  return ageOfA === ageOfB ? a.key < b.key : (ageOfA ?? "") < (ageOfB ?? "")
}

const assignOne = (state: State, uid: string): State => {
  const request = state.waiting.find((one) => one.uid === uid)
  return request === undefined ? state : grant(state, request)
}

const grant = (state: State, request: Request): State => {
  const choice = choose(state, request)
  if (choice._tag === "None") return state
  const made: Grant = { request, claim: choice.claim, replaces: machineOf(state, request.uid)?.claim?.id }
  return {
    ...promise(state, promiseOf(state, request, choice.claim), request.uid),
    waiting: state.waiting.filter((one) => one.uid !== request.uid),
    grants: HashMap.set(state.grants, request.uid, made),
    granted: [...state.granted, made]
  }
}

// ------------------------------------------------------------------------------------ hosts and who was promised them

const withHost = (state: State, key: string, host: HostView | undefined): State => {
  const before = Option.getOrUndefined(HashMap.get(state.hosts, key))
  const isPromised = HashMap.has(state.promised, key)
  return {
    ...state,
    hosts: host === undefined ? HashMap.remove(state.hosts, key) : HashMap.set(state.hosts, key, host),
    index: index.vacancy(index.host(state.index, before, host), [before, isPromised], [host, isPromised])
  }
}

/** `uid` undefined: it is nobody's any more. */
const promise = (state: State, what: string, uid: string | undefined): State => {
  const host = Option.getOrUndefined(HashMap.get(state.hosts, what))
  const wasPromised = HashMap.has(state.promised, what)
  return {
    ...state,
    promised: uid === undefined ? HashMap.remove(state.promised, what) : HashMap.set(state.promised, what, uid),
    index: index.vacancy(state.index, [host, wasPromised], [host, uid !== undefined])
  }
}

const unpromised = (state: State, { request, claim }: Grant): State =>
  promise(state, promiseOf(state, request, claim), undefined)
