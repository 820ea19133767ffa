/**
 * Owns which hosts were rightly given up on, so that nobody but a person can say what becomes of them. A host's object
 * says so itself; but a person may take it away meanwhile (alone, or with its namespace), and one that is made anew knows
 * nothing: then only the host's own record does, or, where nobody could reach it any more, its machine's last words.
 */
import * as Names from "../../api/Names.ts"
import { type Claim, decodeClaim } from "../../domain/Claim.ts"
import { complains } from "../Checkers.ts"
import type { Version } from "../History.ts"
import type { SimulatedHost } from "../hosts/SimulatedHost.ts"
import type { World } from "../World.ts"

export interface Forgotten {
  /** Claims on host objects that were taken away while they had them. */
  readonly withdrawn: ReadonlySet<string>
  /** Claims that were ever on a host object; those of hosts outside pools never are. */
  readonly held: ReadonlySet<string>
  /** Claims of machines that went with a complaint. */
  readonly lamented: ReadonlySet<string>
}

const claimIn = (object: Version["object"]): Claim | undefined => {
  const { annotations = {} } = object.metadata
  const text = annotations[Names.CLAIM_ANNOTATION]
  // What is moved away is remembered elsewhere.
  return text === undefined || annotations[Names.DELETE_FOR_MOVE_ANNOTATION] !== undefined
    ? undefined
    : decodeClaim(text)
}

/** `worlds`: the management clusters before the last one, too. */
export const forgotten = (worlds: ReadonlyArray<World>): Forgotten => {
  const withdrawn = new Set<string>()
  const held = new Set<string>()
  const lamented = new Set<string>()
  for (const { history } of worlds)
    for (const { kind, object, type } of history.versions()) {
      const isHost = kind === "PooledRemoteMachine"
      const hasGone = kind === "RemoteMachine" && type === "Deleted" && complains(object)
      const claim = isHost || hasGone ? claimIn(object) : undefined
      if (claim === undefined) continue
      ;(isHost ? held : lamented).add(claim.id)
      if (isHost && object.metadata.deletionTimestamp !== undefined) withdrawn.add(claim.id)
    }
  return { withdrawn, held, lamented }
}

/** Whether an object that has `claim`, or none, may rightly know nothing of the tenant that was given up on. */
export const isForgotten = (
  host: SimulatedHost | undefined,
  claim: Claim | undefined,
  { held, lamented, withdrawn }: Forgotten
): boolean => {
  const tenancy = host?.tenancy()
  if (tenancy === undefined || tenancy.state === "free" || tenancy.claim === claim?.id) return false
  const isUnknown = withdrawn.has(tenancy.claim) || !held.has(tenancy.claim)
  return isUnknown && (tenancy.state === "quarantined" || lamented.has(tenancy.claim))
}
