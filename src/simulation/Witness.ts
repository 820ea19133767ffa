/**
 * Owns what really happened on the simulated hosts: every step begun, ended or cut off, every tenant, every wipe, told
 * by the host stand-ins themselves, and the queries that checkers ask of it. Product code never reads it, so it cannot
 * be argued with. Does not own the hosts, nor the judgement of a run (checkers do that).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Entries kept; the oldest go first. A seeded run of a hundred machines writes a few thousand. */
const WITNESS_LIMIT = 200_000

export interface StepIdentity {
  readonly verb: "run" | "clean"
  readonly claim: string
  /** `namespace/name` of the RemoteMachine. */
  readonly machine: string
  readonly attempt: number
  readonly step: number
  readonly name: string
  /** sha256 of the bootstrap data; absent when cleaning. */
  readonly dataHash?: string
}

export type WitnessFact =
  /** `pid` tells two executions apart; `alongside`: other claims that had processes at that moment. */
  | ({ readonly _tag: "StepBegan"; readonly pid: number; readonly alongside: ReadonlyArray<string> } & StepIdentity)
  | ({ readonly _tag: "StepEnded"; readonly pid: number; readonly code: number } & StepIdentity)
  /** The step's process was killed, or its host lost power. */
  | ({ readonly _tag: "StepInterrupted"; readonly pid: number } & StepIdentity)
  /** It had ended, but the driver died before it could record the code: to the driver it counts as interrupted. */
  | ({ readonly _tag: "StepUnrecorded"; readonly pid: number } & StepIdentity)
  /** A claim took the host: `residue` is what an earlier tenant left, as the host itself sees it. */
  | {
      readonly _tag: "Tenant"
      readonly claim: string
      readonly machine: string
      readonly cluster: string
      readonly fence: number
      readonly residue: ReadonlyArray<string>
      readonly alongside: ReadonlyArray<string>
    }
  /** A claim's tombstone was written: `residue` is what is there nevertheless. */
  | { readonly _tag: "Wiped"; readonly claim: string; readonly residue: ReadonlyArray<string> }
  | { readonly _tag: "Booted"; readonly bootId: string }
  /** The disk was replaced by a fresh one: nothing said before counts for this host. */
  | { readonly _tag: "Reimaged" }
  /** Not judged; for reading a trace (service start, faults). */
  | { readonly _tag: "Note"; readonly text: string }

export type WitnessEntry = WitnessFact & {
  readonly host: string
  /** Milliseconds of the simulation's clock. */
  readonly at: number
}

export interface Witness {
  readonly tell: (host: string, fact: WitnessFact) => Effect.Effect<void>
  /** For callers outside a fiber (a process's end is observed synchronously). */
  readonly tellUnsafe: (host: string, at: number, fact: WitnessFact) => void
  readonly entries: () => ReadonlyArray<WitnessEntry>
  /** Entries that no longer fit; a checker must refuse to judge when it isn't 0. */
  readonly lost: () => number
}

export const makeWitness = (): Witness => {
  let entries: Array<WitnessEntry> = []
  let lost = 0
  const tellUnsafe = (host: string, at: number, fact: WitnessFact): void => {
    entries.push({ ...fact, host, at })
    if (entries.length > WITNESS_LIMIT) {
      const cut = WITNESS_LIMIT / 10
      entries = entries.slice(cut)
      lost += cut
    }
  }
  return {
    tellUnsafe,
    tell: (host, fact) => Effect.map(Clock.currentTimeMillis, (at) => tellUnsafe(host, at, fact)),
    entries: () => entries,
    lost: () => lost
  }
}

/** One finding: what a query objects to, with the entry that shows it. */
export interface Finding {
  readonly host: string
  readonly at: number
  readonly what: string
}

type Began = Extract<WitnessEntry, { readonly _tag: "StepBegan" }>

const keyOf = (entry: StepIdentity & { readonly host: string }): string =>
  `${entry.host} ${entry.claim} ${entry.verb} ${entry.dataHash ?? ""} ${entry.step}`
const stepText = (entry: StepIdentity): string =>
  `step ${entry.step} (${entry.name}) of ${entry.machine}, claim ${entry.claim}, attempt ${entry.attempt}`

/** What is known of a bootstrap step before it begins once more. */
type Last =
  | { readonly how: "running" | "interrupted" }
  | { readonly how: "ended"; readonly code: number; attempt: number }

/** Walks the steps of runs (cleaning repeats its steps by design) and asks `judge` about every repetition. */
const repetitions = (
  entries: ReadonlyArray<WitnessEntry>,
  judge: (began: Began, last: Last) => string | undefined
): ReadonlyArray<Finding> => {
  const last = new Map<string, Last>()
  const findings: Array<Finding> = []
  const forget = (prefix: string): void => {
    for (const key of last.keys()) if (key.startsWith(prefix)) last.delete(key)
  }
  for (const entry of entries) {
    if (entry._tag === "Wiped" || entry._tag === "Reimaged") forget(`${entry.host} `)
    else if (
      entry._tag === "StepBegan" ||
      entry._tag === "StepEnded" ||
      entry._tag === "StepInterrupted" ||
      entry._tag === "StepUnrecorded"
    ) {
      if (entry.verb !== "run") continue
      const key = keyOf(entry)
      if (entry._tag === "StepBegan") {
        const before = last.get(key)
        const what = before === undefined ? undefined : judge(entry, before)
        if (what !== undefined) findings.push({ host: entry.host, at: entry.at, what })
        last.set(key, { how: "running" })
      } else if (entry._tag === "StepEnded") {
        last.set(key, { how: "ended", code: entry.code, attempt: entry.attempt })
      } else last.set(key, { how: "interrupted" })
    }
  }
  return findings
}

/**
 * Steps that had succeeded, and ran once more under the same claim. A success is repeated legitimately in one case
 * only: the driver or the host died in the instant before it could be recorded (StepUnrecorded, told by the host's
 * own process table): that counts as interrupted.
 */
export const stepsRunTwice = (entries: ReadonlyArray<WitnessEntry>): ReadonlyArray<Finding> =>
  repetitions(entries, (began, last) =>
    last.how === "ended" && last.code === 0 ? `${stepText(began)} had succeeded and ran again` : undefined
  )

/** Failed steps that ran again without the caller having asked for a new attempt. */
export const failedStepsRunTwice = (entries: ReadonlyArray<WitnessEntry>): ReadonlyArray<Finding> =>
  repetitions(entries, (began, last) =>
    last.how === "ended" && last.code !== 0 && began.attempt <= last.attempt
      ? `${stepText(began)} had failed with ${last.code} and ran again in the same attempt`
      : undefined
  )

/** Two processes of one step at one time: an interrupted step that was rerun before the old process was dead. */
export const overlappingSteps = (entries: ReadonlyArray<WitnessEntry>): ReadonlyArray<Finding> =>
  repetitions(entries, (began, last) =>
    last.how === "running" ? `${stepText(began)} began while its earlier process was alive` : undefined
  )

/** Steps that ran again after their process was killed: allowed, and counted apart. */
export const interruptedReruns = (entries: ReadonlyArray<WitnessEntry>): ReadonlyArray<Finding> =>
  repetitions(entries, (began, last) =>
    last.how === "interrupted" ? `${stepText(began)} was cut off and ran again` : undefined
  )

/** Two claims on one host at one time, or one after the other with no wipe between them. */
export const doubleTenants = (entries: ReadonlyArray<WitnessEntry>): ReadonlyArray<Finding> => {
  const holder = new Map<string, string>()
  const findings: Array<Finding> = []
  for (const entry of entries) {
    const { host, at } = entry
    switch (entry._tag) {
      case "Tenant": {
        const before = holder.get(host)
        if (before !== undefined && before !== entry.claim) {
          findings.push({ host, at, what: `claim ${entry.claim} took the host from ${before}, which was not cleaned` })
        }
        if (entry.alongside.length > 0) {
          findings.push({ host, at, what: `claim ${entry.claim} took the host beside processes of ${entry.alongside}` })
        }
        holder.set(host, entry.claim)
        break
      }
      case "StepBegan":
        if (entry.alongside.length > 0) {
          findings.push({ host, at, what: `${stepText(entry)} began beside processes of ${entry.alongside}` })
        }
        break
      case "Wiped":
      case "Reimaged":
        // Whoever's claim the wiping was for, what it left is in its residue (dirtyHosts).
        holder.delete(host)
        break
      case "StepEnded":
      case "StepInterrupted":
      case "StepUnrecorded":
      case "Booted":
      case "Note":
        break
    }
  }
  return findings
}

/** A tenancy begun on, or a cleaning called done with, something of a tenant still there. */
export const dirtyHosts = (entries: ReadonlyArray<WitnessEntry>): ReadonlyArray<Finding> =>
  entries.flatMap((entry) =>
    (entry._tag === "Tenant" || entry._tag === "Wiped") && entry.residue.length > 0
      ? [
          {
            host: entry.host,
            at: entry.at,
            what: `${entry._tag === "Tenant" ? "tenancy began" : "cleaning ended"} for claim ${entry.claim} with ${entry.residue.join(", ")}`
          }
        ]
      : []
  )

/**
 * Bootstrap data of one machine run for another. `owner` says whose a data hash is, where the caller knows; else the
 * machine it was first seen with counts.
 */
export const foreignData = (
  entries: ReadonlyArray<WitnessEntry>,
  owner: (dataHash: string) => string | undefined = () => undefined
): ReadonlyArray<Finding> => {
  const first = new Map<string, string>()
  const findings: Array<Finding> = []
  for (const entry of entries) {
    if (entry._tag !== "StepBegan" || entry.dataHash === undefined) continue
    const rightful = owner(entry.dataHash) ?? first.get(entry.dataHash)
    if (rightful === undefined) first.set(entry.dataHash, entry.machine)
    else if (rightful !== entry.machine) {
      findings.push({ host: entry.host, at: entry.at, what: `${stepText(entry)} ran the data of ${rightful}` })
    }
  }
  return findings
}

/** Who holds which host by the end (Tenant without Wiped): host name to claim. */
export const holders = (entries: ReadonlyArray<WitnessEntry>): ReadonlyMap<string, string> => {
  const holder = new Map<string, string>()
  for (const entry of entries) {
    if (entry._tag === "Tenant") holder.set(entry.host, entry.claim)
    else if (entry._tag === "Reimaged" || entry._tag === "Wiped") holder.delete(entry.host)
  }
  return holder
}
