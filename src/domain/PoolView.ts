/**
 * Owns what is known of hosts and machines as far as choosing between them goes. Does not own the choice (PoolChoice.ts).
 */
import type { Claim } from "./Claim.ts"
import type { LabelSelector } from "./LabelSelector.ts"

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
  readonly labels: Readonly<Record<string, string>>
  /** Its label `topology.kubernetes.io/zone`. */
  readonly failureDomain: string | undefined
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
  /** Its own record names a tenant that no object knows of, or says quarantined; for now only whoever adopts gets it. */
  readonly unclean: boolean
  /** It was found unclean once, and nobody has used it or found it clean since. */
  readonly doubted: boolean
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
  /** RFC 3339. */
  readonly createdAt: string
  /** Only hosts with such labels. */
  readonly selector: LabelSelector | undefined
  /** Of the owner Machine: only hosts in it. */
  readonly failureDomain: string | undefined
  /** Machines of one group (a MachineDeployment, a control plane) are spread over the failure domains. */
  readonly group: string
  /** A person allowed it to take over what it finds on a host. */
  readonly adopts: boolean
}
