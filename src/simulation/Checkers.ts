/**
 * Owns the judgement of a run: what must never have happened, read from the witness, from every version of every
 * object, from the write log and from the logs. Pure, and apart from the system: nothing here asks the provider.
 * What has to be true in the end, once faults have stopped, is Settled.ts's.
 */
import * as Names from "../api/Names.ts"
import { type Claim, decodeClaim, decodeRun, type RunRecord } from "../domain/Claim.ts"
import { arrayAt, stringAt } from "./apiserver/Json.ts"
import type { WriteRecord } from "./apiserver/WriteLog.ts"
import type { Version } from "./History.ts"
import {
  dirtyHosts,
  doubleTenants,
  failedStepsRunTwice,
  foreignData,
  overlappingSteps,
  stepsRunTwice,
  type WitnessEntry
} from "./Witness.ts"

export interface Evidence {
  readonly witness: ReadonlyArray<WitnessEntry>
  readonly versions: ReadonlyArray<Version>
  readonly writes: ReadonlyArray<WriteRecord>
  readonly logs: ReadonlyArray<string>
  /** Texts that must be nowhere but in Secrets and on hosts. */
  readonly canaries: ReadonlyArray<string>
  /** Whose a sha256 of bootstrap data is, as `namespace/name`. */
  readonly dataOwner: (dataHash: string) => string | undefined
  /** Clients that are provider processes. */
  readonly isProvider: (client: string) => boolean
  /** How many lives of provider processes there were. */
  readonly lives: number
}

export interface Violation {
  readonly checker: string
  readonly at: number
  readonly what: string
}

export type Checker = (evidence: Evidence) => ReadonlyArray<Omit<Violation, "checker">>

export const annotationOf = (object: Version["object"] | undefined, name: string): string | undefined =>
  object?.metadata.annotations?.[name]

const claimIn = (object: Version["object"] | undefined): Claim | undefined => {
  const text = annotationOf(object, Names.CLAIM_ANNOTATION)
  return text === undefined ? undefined : decodeClaim(text)
}
const runIn = (object: Version["object"] | undefined): RunRecord | undefined => {
  const text = annotationOf(object, Names.RUN_ANNOTATION)
  return text === undefined ? undefined : decodeRun(text)
}
const holdsFinalizer = (object: Version["object"]): boolean =>
  object.metadata.finalizers?.includes(Names.REMOTE_MACHINE_FINALIZER) ?? false

/** The witness, walked in step with the objects' versions: which claim was on which host at a moment. */
const tenantsUpTo = (witness: ReadonlyArray<WitnessEntry>) => {
  let next = 0
  const holders = new Map<string, string>()
  return (at: number): ReadonlyMap<string, string> => {
    for (let entry = witness[next]; entry !== undefined && entry.at <= at; entry = witness[++next]) {
      if (entry._tag === "Tenant") holders.set(entry.host, entry.claim)
      else if (entry._tag === "Wiped" || entry._tag === "Reimaged") holders.delete(entry.host)
    }
    return holders
  }
}

const hostOf = (tenants: ReadonlyMap<string, string>, claim: string): string | undefined => {
  for (const [host, holder] of tenants) if (holder === claim) return host
  return undefined
}

// ---------------------------------------------------------------------------------------------------- hosts

/** No two tenants, no dirty tenancy, no step twice, no data of A on B's host: the witness's own words. */
const witnessed: Checker = ({ witness, dataOwner }) => [
  ...stepsRunTwice(witness),
  ...failedStepsRunTwice(witness),
  ...overlappingSteps(witness),
  ...doubleTenants(witness),
  ...dirtyHosts(witness),
  ...foreignData(witness, dataOwner)
]

// ---------------------------------------------------------------------------------------------------- claims

const sameEndpoint = (a: Version["object"], b: Version["object"]): boolean =>
  stringAt(a, "spec", "address") !== undefined && stringAt(a, "spec", "address") === stringAt(b, "spec", "address")

/**
 * Two machines that both may have touched one address at one time. Machines with addresses of their own share no object
 * that two leaders could race on: only the host's own record keeps those apart. So both may mean to run there; but that
 * record lets one through, and two that stay and both say they were provisioned there are one too many, whoever wrote it.
 */
const oneMachineAnAddress: Checker = ({ versions, writes, isProvider }) => {
  const fixed = (object: Version["object"]): boolean => stringAt(object, "spec", "pool") === undefined
  const writers = (keys: ReadonlyArray<string>): number =>
    new Set(
      writes
        .filter((one) => one.kind === "RemoteMachine" && isProvider(one.client))
        .filter((one) => keys.includes(`${one.namespace}/${one.name}`))
        .map((one) => one.client)
    ).size
  // One that leaves may still say so when its host is clean, and another's.
  const isProvisioned = (object: Version["object"]): boolean =>
    stringAt(object, "spec", "providerID") !== undefined && object.metadata.deletionTimestamp === undefined
  const onlyMeanTo = (one: Version["object"], two: Version["object"]): boolean =>
    fixed(one) && fixed(two) && !(isProvisioned(one) && isProvisioned(two))
  const live = new Map<string, Version["object"]>()
  return versions.flatMap(({ kind, key, type, object, at }) => {
    if (kind !== "RemoteMachine") return []
    if (type === "Deleted") {
      live.delete(key)
      return []
    }
    live.set(key, object)
    if (runIn(object)?.touched !== true) return []
    return [...live].flatMap(([other, its]) =>
      other !== key &&
      runIn(its)?.touched === true &&
      sameEndpoint(object, its) &&
      !(onlyMeanTo(object, its) && writers([key, other]) > 1)
        ? [{ at, what: `${key} and ${other} both run on ${stringAt(object, "spec", "address")}` }]
        : []
    )
  })
}

/** A host's claim changes hands only through nothing, and a quarantined one not even there without a person. */
const claimsChangeHandsCleanly: Checker = ({ versions, witness }) => {
  const tenants = tenantsUpTo(witness)
  return versions.flatMap(({ kind, key, type, object, previous, at }) => {
    if (kind !== "PooledRemoteMachine" || type === "Deleted") return []
    const before = claimIn(previous)
    const after = claimIn(object)
    if (before === undefined || before.id === after?.id) return []
    const found: Array<{ at: number; what: string }> = []
    if (after !== undefined) found.push({ at, what: `${key} went from claim ${before.id} straight to ${after.id}` })
    if (before.quarantined !== undefined && annotationOf(previous, Names.RELEASE_ANNOTATION) === undefined)
      found.push({ at, what: `${key} was quarantined and lost its claim without a person` })
    const host = hostOf(tenants(at), before.id)
    if (host !== undefined) found.push({ at, what: `${key} was freed while ${host} still had tenant ${before.id}` })
    return found
  })
}

const readyReason = (object: Version["object"]): string => {
  const ready = arrayAt(object, "status", "conditions").find((one) => stringAt(one, "type") === "Ready")
  return stringAt(ready, "reason") ?? ""
}
/** Of a machine that leaves and has nothing to complain of. */
const CLEAN_REASONS: ReadonlySet<string> = new Set(["Cleaning", "Releasing", "Deleting", "Provisioned"])
/** It is not well, or not let go in order. */
export const complains = (machine: Version["object"]): boolean => !CLEAN_REASONS.has(readyReason(machine))

/** The finalizer stays until the host is wiped, or somebody remembers that it is not. */
const finalizerLast: Checker = ({ versions, witness }) => {
  const tenants = tenantsUpTo(witness)
  const quarantined = new Set<string>()
  const last = new Map<string, Version["object"]>()
  return versions.flatMap(({ kind, key, type, object, at }) => {
    if (kind === "PooledRemoteMachine") {
      const claim = claimIn(object)
      // Whoever takes the host's object away is told by the host's own record what is the matter with it.
      const withdrawn = object.metadata.deletionTimestamp !== undefined
      if (claim !== undefined && (claim.quarantined !== undefined || withdrawn)) quarantined.add(claim.id)
      return []
    }
    if (kind !== "RemoteMachine") return []
    const before = last.get(key)
    if (type === "Deleted") last.delete(key)
    else last.set(key, object)
    // What is moved away is remembered elsewhere.
    if (annotationOf(object, Names.DELETE_FOR_MOVE_ANNOTATION) !== undefined) return []
    if (before === undefined || !holdsFinalizer(before) || (type !== "Deleted" && holdsFinalizer(object))) return []
    const claim = claimIn(before)
    if (claim === undefined || quarantined.has(claim.id)) return []
    // A host outside pools has no object to remember it by; the machine's last words do.
    if (claim.host === "" && complains(before)) return []
    const host = hostOf(tenants(at), claim.id)
    return host === undefined ? [] : [{ at, what: `${key} lost its finalizer while ${host} had its tenant` }]
  })
}

/** Immutable once set, and never of another host than the one that was provisioned. */
const providerIDsStay: Checker = ({ versions }) =>
  versions.flatMap(({ kind, key, type, object, previous, at }) => {
    if (kind !== "RemoteMachine" || type !== "Modified") return []
    const before = previous === undefined ? undefined : stringAt(previous, "spec", "providerID")
    const after = stringAt(object, "spec", "providerID")
    const address = `remote-machine://${stringAt(object, "spec", "address") ?? ""}:`
    if (before !== undefined && before !== after) return [{ at, what: `${key}: providerID ${before} became ${after}` }]
    return after === undefined || after.startsWith(address) ? [] : [{ at, what: `${key}: providerID ${after}` }]
  })

/** Ready is said only of machines whose whole bootstrap ran on the host that they claim. */
const readyMeansProvisioned: Checker = ({ versions, witness }) =>
  versions.flatMap(({ kind, key, object, previous, at }) => {
    if (kind !== "RemoteMachine") return []
    const after = stringAt(object, "spec", "providerID")
    if (after === undefined || (previous !== undefined && stringAt(previous, "spec", "providerID") === after)) return []
    const claim = claimIn(object)?.id
    const ended = witness.some(
      (one) => one._tag === "StepEnded" && one.verb === "run" && one.claim === claim && one.code === 0 && one.at <= at
    )
    return ended ? [] : [{ at, what: `${key} has a providerID, and no step of claim ${claim} ever succeeded` }]
  })

// ---------------------------------------------------------------------------------------------------- secrets

const secretsStaySecret: Checker = ({ versions, logs, canaries }) => {
  const leaks = (text: string): boolean => canaries.some((canary) => text.includes(canary))
  return [
    ...versions.flatMap(({ kind, key, object, at }) =>
      kind !== "Secret" && leaks(JSON.stringify(object)) ? [{ at, what: `${kind} ${key} has a secret in it` }] : []
    ),
    ...logs.filter(leaks).map((line) => ({ at: 0, what: `a log line has a secret in it: ${line.slice(0, 80)}` }))
  ]
}

// ---------------------------------------------------------------------------------------------------- bounds

/** Most writes to one object that a provider makes in one of its lives; a loop makes many more. */
export const WRITES_AN_OBJECT_AND_LIFE = 120

const writesAreBounded: Checker = ({ writes, isProvider, lives }) => {
  const counts = new Map<string, number>()
  let at = 0
  for (const write of writes) {
    // A lease is written for as long as there is a leader.
    if (!isProvider(write.client) || write.kind === "Event" || write.kind === "Lease") continue
    at = write.timeMillis
    const key = `${write.kind} ${write.namespace}/${write.name} ${write.uid ?? ""}`
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  return [...counts].flatMap(([key, count]) =>
    count > WRITES_AN_OBJECT_AND_LIFE * Math.max(1, lives) ? [{ at, what: `${count} writes of ${key}` }] : []
  )
}

export const checkers: Readonly<Record<string, Checker>> = {
  witnessed,
  oneMachineAnAddress,
  claimsChangeHandsCleanly,
  finalizerLast,
  providerIDsStay,
  readyMeansProvisioned,
  secretsStaySecret,
  writesAreBounded
}

export const judge = (evidence: Evidence): ReadonlyArray<Violation> =>
  Object.entries(checkers).flatMap(([checker, check]) => check(evidence).map((one) => ({ checker, ...one })))
