/**
 * Owns the in-memory driver's durable records: the tenancy record and a run's journal, how they lie on the disk and
 * what a journal means. The layout is this host's own business (nobody but its driver reads it); the meaning is the
 * shell driver's.
 */
import * as Schema from "effect/Schema"
import type { HostEvent, TenancyRecord } from "../../hosts/Protocol.ts"
import { STATE_DIR, TENANCY_FILE } from "../../hosts/Protocol.ts"
import type { Disk } from "./Disk.ts"

export const RUNS = `${STATE_DIR}/runs`
export const runDir = (claim: string): string => `${RUNS}/${claim}`
export const journalPath = (claim: string, verb: "run" | "clean"): string => `${runDir(claim)}/${verb}.journal`
/** Paths the run made, for the cleaning. */
export const writtenPath = (claim: string): string => `${runDir(claim)}/written`
/** What is not worth keeping over a boot. */
export const VOLATILE = "/run/machinist"
/** Which process drives the run, in which boot; on /run, so a reboot takes it along. */
export const driverPath = (claim: string, verb: "run" | "clean"): string => `${VOLATILE}/${claim}.${verb}`
/** Why a driver gave up without being able to write a record. */
export const faultPath = (claim: string, verb: "run" | "clean"): string => `${VOLATILE}/${claim}.${verb}.fault`

const Tenancy = Schema.fromJsonString(
  Schema.Struct({
    claim: Schema.String,
    machine: Schema.String,
    cluster: Schema.String,
    fence: Schema.Number,
    bootId: Schema.String,
    state: Schema.Literals(["running", "failed", "ready", "cleaning", "quarantined", "free"])
  })
)
export const encodeTenancy = Schema.encodeSync(Tenancy)
const decodeTenancy = Schema.decodeUnknownSync(Tenancy)

/** By content, as journals below: every look at a host begins with it. */
const tenancies = new WeakMap<Uint8Array, TenancyRecord>()

export const readTenancy = (disk: Disk): TenancyRecord | undefined => {
  const content = disk.read(TENANCY_FILE)
  if (content === undefined) return undefined
  const known = tenancies.get(content)
  if (known !== undefined) return known
  const tenancy = decodeTenancy(new TextDecoder().decode(content))
  tenancies.set(content, tenancy)
  return tenancy
}

const JournalRecord = Schema.Union([
  Schema.Struct({ t: Schema.Literal("begin"), attempt: Schema.Number, dataHash: Schema.String }),
  /** Files are written and a stale sentinel is removed. */
  Schema.Struct({ t: Schema.Literal("prepared") }),
  Schema.Struct({ t: Schema.Literal("start"), step: Schema.Number }),
  /** `sentinel`: it was there when the step had ended; /run may be empty the next moment. */
  Schema.Struct({ t: Schema.Literal("end"), step: Schema.Number, code: Schema.Number, sentinel: Schema.Boolean }),
  Schema.Struct({ t: Schema.Literal("interrupted"), step: Schema.Number }),
  Schema.Struct({ t: Schema.Literal("succeeded") }),
  Schema.Struct({
    t: Schema.Literal("failed"),
    step: Schema.Number,
    code: Schema.Number,
    stderr: Schema.Array(Schema.String)
  }),
  Schema.Struct({ t: Schema.Literal("no-sentinel") }),
  Schema.Struct({ t: Schema.Literal("dirty"), leftovers: Schema.Array(Schema.String) })
])
export type JournalRecord = typeof JournalRecord.Type
const Line = Schema.fromJsonString(JournalRecord)
const decodeLine = Schema.decodeUnknownSync(Line)
const encodeLine = Schema.encodeSync(Line)
export const journalLine = (record: JournalRecord): string => `${encodeLine(record)}\n`

export type StepFate =
  | { readonly how: "started" }
  | { readonly how: "interrupted" }
  | { readonly how: "ended"; readonly code: number; readonly attempt: number }

/** How the latest attempt ended. */
export type Verdict = Extract<JournalRecord, { readonly t: "succeeded" | "failed" | "no-sentinel" | "dirty" }>

export interface Journal {
  readonly records: ReadonlyArray<JournalRecord>
  readonly attempt: number
  readonly dataHash: string
  readonly prepared: boolean
  readonly fates: ReadonlyMap<number, StepFate>
  readonly sentinelSeen: boolean
  /** In a row, in this attempt. */
  readonly interruptions: number
  /** Index of the verdict that stands: an earlier one was overtaken by a new attempt. */
  readonly verdict: { readonly at: number; readonly record: Verdict } | undefined
}

/** By content, which the disk replaces and never changes: followers ask after every change of anything. */
const decoded = new WeakMap<Uint8Array, Journal>()

export const readJournal = (disk: Disk, path: string): Journal | undefined => {
  const content = disk.read(path)
  if (content === undefined) return undefined
  const known = decoded.get(content)
  if (known !== undefined) return known
  const journal = decodeJournal(new TextDecoder().decode(content))
  decoded.set(content, journal)
  return journal
}

const decodeJournal = (text: string): Journal => {
  const records = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => decodeLine(line))
  const fates = new Map<number, StepFate>()
  let attempt = 0
  let dataHash = ""
  let prepared = false
  let sentinelSeen = false
  let interruptions = 0
  let verdict: Journal["verdict"]
  for (const [at, record] of records.entries()) {
    switch (record.t) {
      case "begin":
        attempt = record.attempt
        dataHash = record.dataHash
        verdict = undefined
        interruptions = 0
        break
      case "prepared":
        prepared = true
        break
      case "start":
        fates.set(record.step, { how: "started" })
        break
      case "end":
        fates.set(record.step, { how: "ended", code: record.code, attempt })
        sentinelSeen ||= record.sentinel
        interruptions = 0
        break
      case "interrupted":
        fates.set(record.step, { how: "interrupted" })
        interruptions += 1
        break
      case "succeeded":
      case "failed":
      case "no-sentinel":
      case "dirty":
        verdict = { at, record }
        break
    }
  }
  return { records, attempt, dataHash, prepared, fates, sentinelSeen, interruptions, verdict }
}

/** What a follower prints for a record; verdicts only when they stand. */
export const eventsOf = (record: JournalRecord): ReadonlyArray<HostEvent> => {
  switch (record.t) {
    case "begin":
    case "prepared":
      return []
    case "start":
      return [{ _tag: "StepStarted", step: record.step }]
    case "end":
      return [{ _tag: "StepEnded", step: record.step, code: record.code }]
    case "interrupted":
      return [{ _tag: "StepInterrupted", step: record.step }]
    case "succeeded":
      return [{ _tag: "RunSucceeded" }]
    case "failed":
      return [
        ...record.stderr.map((text): HostEvent => ({ _tag: "Stderr", text })),
        { _tag: "RunFailed", step: record.step, code: record.code }
      ]
    case "no-sentinel":
      return [{ _tag: "NoSentinel" }]
    case "dirty":
      return [...record.leftovers.map((what): HostEvent => ({ _tag: "Leftover", what })), { _tag: "Dirty" }]
  }
}

export const isVerdict = (record: JournalRecord): record is Verdict =>
  record.t === "succeeded" || record.t === "failed" || record.t === "no-sentinel" || record.t === "dirty"
