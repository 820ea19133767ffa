/**
 * Owns an event of Protocol as one line of text, both ways. Pure; requests are Wire.ts's. The driver writes the same
 * lines with `printf` (driver/base.sh, driver/follow.sh).
 */
import type { HostEvent, Refusal, SystemFacts, TenancyRecord } from "./Protocol.ts"

const PREFIX = "machinist"

/** `n` words, then the rest of the line; undefined when it has fewer. */
export const fields = (line: string, n: number): ReadonlyArray<string> | undefined => {
  const words: Array<string> = []
  let rest = line
  for (let i = 0; i < n; i++) {
    const blank = rest.indexOf(" ")
    if (blank < 0) return undefined
    words.push(rest.slice(0, blank))
    rest = rest.slice(blank + 1)
  }
  return [...words, rest]
}

const recordText = (record: TenancyRecord): string =>
  [record.claim, record.fence, record.state, record.bootId, record.cluster, record.machine].join(" ")

const refusalText = (refusal: Refusal): string => {
  switch (refusal.why) {
    case "foreign":
    case "quarantined":
      return `${refusal.why} ${recordText(refusal.record)}`
    case "fence":
      return `fence ${refusal.fence}`
    case "unsupported":
      return `unsupported ${refusal.detail}`
    case "released":
    case "data":
    case "journal-lost":
      return refusal.why
  }
}

/** In the order of the line. */
const SYSTEM_FACTS = ["kernelRelease", "machine", "distro", "distroVersion", "distroRelease"] as const
const UNKNOWN = "-"

const eventFields = (event: HostEvent): ReadonlyArray<string | number> => {
  switch (event._tag) {
    case "Facts":
      return [event.bootId, event.serviceManager, event.uid, event.hostname]
    case "System":
      return SYSTEM_FACTS.map((name) => event[name] ?? UNKNOWN)
    case "Tenancy":
      return [event.record === undefined ? "none" : recordText(event.record)]
    case "Refused":
      return [refusalText(event.refusal)]
    case "Attached":
      return [event.how]
    case "StepStarted":
    case "StepInterrupted":
      return [event.step]
    case "StepEnded":
    case "RunFailed":
      return [event.step, event.code]
    case "Stderr":
      return [event.text]
    case "Leftover":
      return [event.what]
    case "DriverError":
      return [event.detail]
    case "Accepted":
    case "RunSucceeded":
    case "NoSentinel":
    case "Cleaned":
    case "Dirty":
      return []
  }
}

/** One line, without the newline. Text fields are taken as they are: callers keep them to one printable line. */
export const encodeEvent = (event: HostEvent): string => [PREFIX, event._tag, ...eventFields(event)].join(" ")

const STATES: ReadonlyArray<TenancyRecord["state"]> = ["running", "failed", "ready", "cleaning", "quarantined", "free"]
const MANAGERS = ["systemd", "openrc", "sysv", "none"] as const
const HOWS = ["fresh", "attached", "resumed", "ended"] as const

const count = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined

const parseRecord = (text: string): TenancyRecord | undefined => {
  const [claim, fenceText, stateText, bootId, cluster, machine, ...more] = text.split(" ")
  const fence = count(fenceText)
  const state = STATES.find((one) => one === stateText)
  if (!(claim && bootId && cluster && machine) || fence === undefined || !state || more.length > 0) return undefined
  return { claim, fence, state, bootId, cluster, machine }
}

const parseRefusal = (rest: string): Refusal | undefined => {
  const [why, detail = ""] = fields(rest, 1) ?? [rest]
  switch (why) {
    case "released":
    case "data":
    case "journal-lost":
      return { why }
    case "unsupported":
      return { why, detail }
    case "fence": {
      const fence = count(detail)
      return fence === undefined ? undefined : { why, fence }
    }
    case "foreign":
    case "quarantined": {
      const record = parseRecord(detail)
      return record === undefined ? undefined : { why, record }
    }
    default:
      return undefined
  }
}

const parseFacts = (rest: string): HostEvent | undefined => {
  const [bootId, managerText, uidText, hostname] = fields(rest, 3) ?? []
  const serviceManager = MANAGERS.find((one) => one === managerText)
  const uid = count(uidText)
  if (!bootId || serviceManager === undefined || uid === undefined || !hostname) return undefined
  return { _tag: "Facts", bootId, serviceManager, uid, hostname }
}

const parseSystem = (rest: string): HostEvent | undefined => {
  const words = rest.split(" ")
  if (words.length !== SYSTEM_FACTS.length || words.some((word) => !/^[\w.+~-]{1,200}$/.test(word))) return undefined
  const facts: { -readonly [K in keyof SystemFacts]: SystemFacts[K] } = {}
  for (const [index, name] of SYSTEM_FACTS.entries()) {
    const word = words[index]
    if (word !== undefined && word !== UNKNOWN) facts[name] = word
  }
  return { _tag: "System", ...facts }
}

const parseSteps = (tag: string, rest: string): HostEvent | undefined => {
  const [stepText, codeText, ...more] = rest.split(" ")
  const step = count(stepText)
  const code = count(codeText)
  if (step === undefined || more.length > 0) return undefined
  if (tag === "StepStarted" || tag === "StepInterrupted")
    return codeText === undefined ? { _tag: tag, step } : undefined
  return (tag === "StepEnded" || tag === "RunFailed") && code !== undefined ? { _tag: tag, step, code } : undefined
}

/** Undefined: noise (a banner, a heartbeat, a line of another version). */
export const decodeEvent = (line: string): HostEvent | undefined => {
  const [prefix, ...after] = line.replace(/\r$/, "").split(" ")
  const [tag, ...words] = after
  if (prefix !== PREFIX || tag === undefined) return undefined
  const rest = words.join(" ")
  switch (tag) {
    case "Facts":
      return parseFacts(rest)
    case "System":
      return parseSystem(rest)
    case "Tenancy": {
      const record = rest === "none" ? undefined : parseRecord(rest)
      return rest === "none" || record !== undefined ? { _tag: tag, record } : undefined
    }
    case "Refused": {
      const refusal = parseRefusal(rest)
      return refusal === undefined ? undefined : { _tag: tag, refusal }
    }
    case "Attached": {
      const how = HOWS.find((one) => one === rest)
      return how === undefined ? undefined : { _tag: tag, how }
    }
    case "StepStarted":
    case "StepInterrupted":
    case "StepEnded":
    case "RunFailed":
      return parseSteps(tag, rest)
    case "Stderr":
      return { _tag: tag, text: rest }
    case "Leftover":
      return { _tag: tag, what: rest }
    case "DriverError":
      return { _tag: tag, detail: rest }
    case "Accepted":
    case "RunSucceeded":
    case "NoSentinel":
    case "Cleaned":
    case "Dirty":
      return rest === "" ? { _tag: tag } : undefined
    default:
      return undefined
  }
}
