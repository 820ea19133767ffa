/** Owns what one reconcile of a Machine has seen (MachineController.ts looks, conditions and deletion read it). */
import type { Contract, Reference } from "./Foreign.ts"
import type { Raw } from "./Raw.ts"
import type { Tracked } from "./Tracked.ts"

export interface External {
  readonly reference: Reference | undefined
  readonly object: Raw | undefined
  readonly contract: Contract
  readonly tracked: Tracked | undefined
}

/** What one reconcile has seen; the status is computed from it. */
export interface Scene {
  readonly cluster: Raw
  readonly machine: Raw
  readonly bootstrap: External
  readonly infrastructure: External
  /** Undefined: none with this Machine's providerID. */
  readonly node: Raw | undefined
  /** False: the workload cluster can't be asked. */
  readonly connected: boolean
  readonly ambiguous: boolean
  /** Differences between the set's template and the deployment's; undefined: the Machine is in no deployment. */
  readonly outdated: ReadonlyArray<string> | undefined
}
