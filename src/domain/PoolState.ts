/**
 * Owns the allocator's state: hosts, machines, who waits, and what was promised and is not durable yet. Does not own how it
 * changes (Pool.ts).
 */
import * as HashMap from "effect/HashMap"
import type { Claim } from "./Claim.ts"
import * as index from "./PoolIndex.ts"
import type { HostView, MachineView } from "./PoolView.ts"

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
  /** The oldest machine first; of two of one age, by name: who asks first means nothing after a restart. */
  readonly waiting: ReadonlyArray<Request>
  /** By the machine's uid. */
  readonly grants: HashMap.HashMap<string, Grant>
  /** Those that the last event made. */
  readonly granted: ReadonlyArray<Grant>
  /** What grants have taken: host key, or `@address:port` of a machine's own host -> uid. */
  readonly promised: HashMap.HashMap<string, string>
}

export const empty: State = {
  hosts: HashMap.empty(),
  machines: HashMap.empty(),
  index: index.empty,
  waiting: [],
  grants: HashMap.empty(),
  granted: [],
  promised: HashMap.empty()
}
