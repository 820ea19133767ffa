/**
 * Owns the look-ups that keep choosing a host cheap: pool -> hosts, pool -> free hosts in order, host -> intents,
 * address -> objects, claim id -> machine. Kept beside Pool's state, never a source of truth. Pure and persistent.
 */
import * as HashMap from "effect/HashMap"
import * as HashSet from "effect/HashSet"
import * as Option from "effect/Option"
import type { Claim } from "./Claim.ts"
import type { HostView, MachineView } from "./PoolView.ts"
import * as SortedKeys from "./SortedKeys.ts"

type Sets = HashMap.HashMap<string, HashSet.HashSet<string>>

export interface PoolIndex {
  /** `namespace/pool` -> host keys. */
  readonly pools: Sets
  /** `namespace/pool` -> failure domain -> ranks of hosts that nobody has, nor was promised: the preferred ones first. */
  readonly free: HashMap.HashMap<string, HashMap.HashMap<string, SortedKeys.SortedKeys>>
  /** Host key -> uids of machines whose claim names it. */
  readonly intents: Sets
  /** `address:port` -> host keys. */
  readonly hostAddresses: Sets
  /** `address:port` -> `uid\nkey\nclaim.host\nclaim.id` of machines with that address in their spec. */
  readonly machineAddresses: Sets
  /** `claim id\nmachine key` of machines that carry a claim. */
  readonly claims: HashSet.HashSet<string>
  /** `namespace/group` -> uids of machines. */
  readonly groups: Sets
}

export const empty: PoolIndex = {
  pools: HashMap.empty(),
  free: HashMap.empty(),
  intents: HashMap.empty(),
  hostAddresses: HashMap.empty(),
  machineAddresses: HashMap.empty(),
  claims: HashSet.empty(),
  groups: HashMap.empty()
}

const setOf = (sets: Sets, key: string): HashSet.HashSet<string> =>
  Option.getOrElse(HashMap.get(sets, key), () => HashSet.empty<string>())

const add = (sets: Sets, key: string, value: string): Sets =>
  HashMap.set(sets, key, HashSet.add(setOf(sets, key), value))

const remove = (sets: Sets, key: string, value: string): Sets => {
  const rest = HashSet.remove(setOf(sets, key), value)
  return HashSet.size(rest) === 0 ? HashMap.remove(sets, key) : HashMap.set(sets, key, rest)
}

/** The same for every way to write one IPv6 address (RFC 5952) or DNS name; a zone stays what it is. */
const canonical = (address: string): string => {
  if (!address.includes(":")) return address.toLowerCase().replace(/\.$/, "")
  const [ip = "", zone] = address.split("%", 2)
  const url = `http://[${ip}]`
  const text = URL.canParse(url) ? new URL(url).hostname.slice(1, -1) : ip.toLowerCase()
  return zone === undefined ? text : `${text}%${zone}`
}

export const endpoint = (address: string, port: number): string => `${canonical(address)}:${port}`

export const addressOf = (host: Pick<HostView, "address" | "port">): string => endpoint(host.address, host.port)

export const host = (index: PoolIndex, before: HostView | undefined, after: HostView | undefined): PoolIndex => {
  let { pools, hostAddresses } = index
  if (before !== undefined) {
    pools = remove(pools, `${before.namespace}/${before.pool}`, before.key)
    hostAddresses = remove(hostAddresses, addressOf(before), before.key)
  }
  if (after !== undefined) {
    pools = add(pools, `${after.namespace}/${after.pool}`, after.key)
    hostAddresses = add(hostAddresses, addressOf(after), after.key)
  }
  return { ...index, pools, hostAddresses }
}

const poolOf = ({ namespace, pool }: HostView): string => `${namespace}/${pool}`
const domainKey = (domain: string | undefined): string => (domain === undefined ? "-" : `=${domain}`)
/** Healthy before unknown, then by name. */
const rank = ({ healthy, name }: HostView): string => `${healthy ? 0 : 1}${name}`

const isVacant = (host: HostView): boolean =>
  host.claim === undefined && host.heldBy === undefined && !host.deleting && !host.maintenance && !host.suspect

/** Whether the host can be given away as far as it goes alone: `promised` before and after. Told after each change of it. */
export const vacancy = (
  index: PoolIndex,
  [before, wasPromised]: readonly [HostView | undefined, boolean],
  [after, isPromised]: readonly [HostView | undefined, boolean]
): PoolIndex => {
  const was = before !== undefined && !wasPromised && isVacant(before) ? before : undefined
  const is = after !== undefined && !isPromised && isVacant(after) ? after : undefined
  if (was === is) return index
  let { free } = index
  const change = (host: HostView, how: (keys: SortedKeys.SortedKeys, key: string) => SortedKeys.SortedKeys) => {
    const domains = Option.getOrElse(HashMap.get(free, poolOf(host)), () =>
      HashMap.empty<string, SortedKeys.SortedKeys>()
    )
    const domain = domainKey(host.failureDomain)
    const keys = how(
      Option.getOrElse(HashMap.get(domains, domain), () => SortedKeys.empty),
      rank(host)
    )
    const next = keys.length === 0 ? HashMap.remove(domains, domain) : HashMap.set(domains, domain, keys)
    free = HashMap.size(next) === 0 ? HashMap.remove(free, poolOf(host)) : HashMap.set(free, poolOf(host), next)
  }
  if (was !== undefined) change(was, SortedKeys.remove)
  if (is !== undefined) change(is, SortedKeys.add)
  return { ...index, free }
}

/** In each failure domain (or in that one) the preferred host that suits. */
export const bestFree = <A>(
  index: PoolIndex,
  where: { readonly namespace: string; readonly pool: string; readonly failureDomain: string | undefined },
  suits: (hostKey: string) => A | undefined
): ReadonlyArray<A> => {
  const domains = Option.getOrUndefined(HashMap.get(index.free, `${where.namespace}/${where.pool}`))
  if (domains === undefined) return []
  const one = where.failureDomain === undefined ? undefined : HashMap.get(domains, domainKey(where.failureDomain))
  const lists = one === undefined ? [...HashMap.values(domains)] : Option.toArray(one)
  return lists.flatMap((keys) => SortedKeys.first(keys, (key) => suits(`${where.namespace}/${key.slice(1)}`)) ?? [])
}

export const namespaceOf = (key: string): string => key.slice(0, key.indexOf("/"))
const holder = (machine: MachineView): string =>
  `${machine.uid}\n${machine.key}\n${machine.claim?.host ?? ""}\n${machine.claim?.id ?? ""}`
const groupKey = (machine: MachineView): string => `${namespaceOf(machine.key)}/${machine.group}`
const carrier = (claim: Claim): string => `${claim.id}\n${claim.machine}`

export const machine = (
  index: PoolIndex,
  before: MachineView | undefined,
  after: MachineView | undefined
): PoolIndex => {
  let { intents, machineAddresses, claims, groups } = index
  if (before !== undefined) groups = remove(groups, groupKey(before), before.uid)
  if (after !== undefined) groups = add(groups, groupKey(after), after.uid)
  if (before?.claim !== undefined) {
    intents = remove(intents, `${namespaceOf(before.key)}/${before.claim.host}`, before.uid)
    claims = HashSet.remove(claims, carrier({ ...before.claim, machine: before.key }))
  }
  if (before?.address !== undefined) machineAddresses = remove(machineAddresses, before.address, holder(before))
  if (after?.claim !== undefined) {
    intents = add(intents, `${namespaceOf(after.key)}/${after.claim.host}`, after.uid)
    claims = HashSet.add(claims, carrier({ ...after.claim, machine: after.key }))
  }
  if (after?.address !== undefined) machineAddresses = add(machineAddresses, after.address, holder(after))
  return { ...index, intents, machineAddresses, claims, groups }
}

export const members = (index: PoolIndex, namespace: string, pool: string): Iterable<string> =>
  setOf(index.pools, `${namespace}/${pool}`)

export const hostsAt = (index: PoolIndex, address: string): Iterable<string> => setOf(index.hostAddresses, address)

export const group = (index: PoolIndex, machine: MachineView): Iterable<string> =>
  setOf(index.groups, groupKey(machine))

export const intending = (index: PoolIndex, hostKey: string): Iterable<string> => setOf(index.intents, hostKey)

/** Some other machine's claim names this host: a crash may have cut it short, and it will be completed. */
export const intendedByOther = (index: PoolIndex, hostKey: string, uid: string): boolean => {
  for (const one of setOf(index.intents, hostKey)) if (one !== uid) return true
  return false
}

export const carried = (index: PoolIndex, claim: Claim): boolean => HashSet.has(index.claims, carrier(claim))

/**
 * The host's address belongs to someone else: an older host object, or a machine that has it in its spec and did not
 * get it from this host. Two objects for one machine of metal would be two tenants.
 */
export const addressTaken = (index: PoolIndex, hosts: HashMap.HashMap<string, HostView>, host: HostView): boolean => {
  for (const key of setOf(index.hostAddresses, addressOf(host))) {
    const other = Option.getOrUndefined(HashMap.get(hosts, key))
    if (other !== undefined && other.key !== host.key && older(other, host)) return true
  }
  for (const text of setOf(index.machineAddresses, addressOf(host))) {
    const [, key = "", claimed = ""] = text.split("\n")
    if (`${namespaceOf(key)}/${claimed}` !== host.key) return true
  }
  return false
}

/** A claimed host keeps its address against an unclaimed one; else age, then name, decide. */
const older = (a: HostView, b: HostView): boolean => {
  if ((a.claim !== undefined) !== (b.claim !== undefined)) return a.claim !== undefined
  return a.createdAt === b.createdAt ? a.key < b.key : a.createdAt < b.createdAt
}

/** Key of the machine that carries this claim and has this address in its spec. */
export const machineAt = (index: PoolIndex, address: string, claimId: string): string | undefined => {
  for (const text of setOf(index.machineAddresses, address)) {
    const [, key, , claim] = text.split("\n")
    if (claim === claimId) return key
  }
  return undefined
}

/** Who already has the address that a machine brings along: a claimed host, or a machine that claimed it first. */
export const addressHolder = (
  index: PoolIndex,
  hosts: HashMap.HashMap<string, HostView>,
  machine: MachineView | undefined
): string | undefined => {
  if (machine?.address === undefined || machine.claim !== undefined) return undefined
  for (const key of setOf(index.hostAddresses, machine.address)) {
    const host = Option.getOrUndefined(HashMap.get(hosts, key))
    if (host?.claim !== undefined || host?.heldBy !== undefined) return `PooledRemoteMachine ${key}`
  }
  for (const text of setOf(index.machineAddresses, machine.address)) {
    const [uid = "", key = "", , claim = ""] = text.split("\n")
    if (uid !== machine.uid && claim !== "") return `RemoteMachine ${key}`
  }
  return undefined
}
