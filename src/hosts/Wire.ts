/**
 * Owns the stdin of one exec: a request wrapped around the driver's text. Pure. Events are WireEvent.ts's; what a host
 * does with a request is the driver's (driver/*.sh) or the simulation's.
 *
 * ```
 * #machinist-request 4 <blob bytes> <header bytes> <header lines>
 * #verb run
 * #claim c1
 * …
 * #file <offset> <length> <mode> <owner or -> <append or -> <path>
 * #step <name>
 * #|<a line of its script>
 * #.<its last line, when no newline ends it>
 * <driver text>
 * #machinist-blobs-follow
 * <blobs>
 * #machinist-end <blob bytes> <verb> <claim> <fence>   no newline; begins with the newline behind the blobs
 * ```
 * The header lies in front, where a shell can read a small one by itself: each process on a host is dear. That nothing was
 * cut off is told by the text, whose last line is the one that does something, and behind blobs by the end. Every line of
 * the header begins with `#`: it is data, and never read as anything else. The last field of a line is the rest of the
 * line, so paths and names may hold blanks; nothing but a script may hold a control character.
 */
import * as Result from "effect/Result"
import type { Request, RunFile, RunStep, Tenant } from "./Protocol.ts"
import { fields } from "./WireEvent.ts"

/** What is wrong with a request that can't be carried, or with bytes that are not one. */
export class WireError extends Error {
  readonly _tag = "WireError"
}

/** The line between driver text and blobs. */
export const BLOBS_MARKER = "#machinist-blobs-follow"

const REQUEST = "#machinist-request 4"
const FIRST_LINE = /^#machinist-request 4 (\d{1,10}) (\d{1,10}) (\d{1,10})$/
const END = "#machinist-end"
const NEWLINE = 10
/** A request that is larger than this is refused before it is sent; bootstrap data is a Secret of at most 1 MiB. */
export const MAX_REQUEST_BYTES = 32 * 1024 * 1024

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
type Out<A> = Result.Result<A, WireError>
const wrong = (message: string): Result.Result<never, WireError> => Result.fail(new WireError(message))

// ------------------------------------------------------------------------------------------------- checking

const CLAIM = /^[0-9a-z-]{1,64}$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what must not pass
const CONTROL = /[\u0000-\u001f\u007f]/
const WORD = /^[^\s]{1,512}$/
const MODE = /^[0-7]{3,4}$/
const OWNER = /^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/
const HASH = /^[0-9a-zA-Z]{1,128}$/

const whole = (name: string, value: number, least: number): string | undefined =>
  Number.isSafeInteger(value) && value >= least ? undefined : `${name} must be a whole number of at least ${least}`

const oneLine = (name: string, value: string): string | undefined => {
  if (value === "") return `${name} is empty`
  if (CONTROL.test(value)) return `${name} holds a newline or another control character`
  return value === value.trim() ? undefined : `${name} begins or ends with a blank`
}

const pathProblem = (name: string, path: string): string | undefined =>
  oneLine(name, path) ?? (path.startsWith("/") ? undefined : `${name} is not absolute`)

/** A path that is removed recursively must not be the root, nor climb out of what it seems to name. */
const removable = (name: string, path: string): string | undefined =>
  pathProblem(name, path) ??
  (path.split("/").some((part) => part === "..") || path.replace(/[/.]+/g, "") === ""
    ? `${name} names the root directory or holds ".."`
    : undefined)

const tenantProblem = (tenant: Tenant): string | undefined => {
  if (!CLAIM.test(tenant.claim)) return "the claim's id is not [0-9a-z-]{1,64}"
  if (!WORD.test(tenant.machine) || CONTROL.test(tenant.machine)) return "the machine's name is empty or holds a blank"
  if (!WORD.test(tenant.cluster) || CONTROL.test(tenant.cluster)) return "the cluster's uid is empty or holds a blank"
  return whole("fence", tenant.fence, 0)
}

const fileProblem = (file: RunFile, index: number): string | undefined => {
  const name = `path of file ${index}`
  return (
    pathProblem(name, file.path) ??
    (file.path.endsWith("/") ? `${name} names a directory` : undefined) ??
    (MODE.test(file.mode) ? undefined : `mode of file ${index} is not octal`) ??
    (file.owner === undefined || OWNER.test(file.owner)
      ? undefined
      : `owner of file ${index} is not user or user:group`)
  )
}

const first = (problems: Iterable<string | undefined>): string | undefined => {
  for (const problem of problems) if (problem !== undefined) return problem
  return undefined
}

/** What keeps `request` from being carried; undefined when nothing does. Never quotes a value: it may be a secret. */
const problemOf = (request: Request): string | undefined => {
  const tenant = tenantProblem(request.tenant)
  if (tenant !== undefined || request.verb === "inspect" || request.verb === "quarantine") return tenant
  const common = first([
    whole("attempt", request.attempt, 1),
    whole("stepTimeoutSeconds", request.stepTimeoutSeconds, 1),
    request.workingDir === undefined ? undefined : pathProblem("workingDir", request.workingDir),
    ...request.steps.map((step, index) => oneLine(`name of step ${index}`, step.name)),
    ...request.steps.map(({ script }, index) => (script.includes("\0") ? `step ${index} holds a NUL` : undefined))
  ])
  if (common !== undefined) return common
  if (request.verb === "run")
    return HASH.test(request.dataHash) ? first(request.files.map(fileProblem)) : "dataHash is not a hash"
  return first([
    ...request.remove.map((path, index) => removable(`path ${index} to remove`, path)),
    ...request.verify.paths.map((path, index) => pathProblem(`path ${index} to verify`, path))
  ])
}

// ------------------------------------------------------------------------------------------------- requests

class Blobs {
  readonly parts: Array<Uint8Array> = []
  size = 0
  add(bytes: Uint8Array): string {
    const at = `${this.size} ${bytes.length}`
    this.parts.push(bytes)
    this.size += bytes.length
    return at
  }
}

const scriptLines = (script: string): ReadonlyArray<string> => {
  const lines = script.split("\n")
  const last = lines.pop() ?? ""
  return [...lines.map((line) => `|${line}`), ...(last === "" ? [] : [`.${last}`])]
}

const headerLines = (request: Request, blobs: Blobs): ReadonlyArray<string> => {
  const { tenant } = request
  const lines = [
    `verb ${request.verb}`,
    `claim ${tenant.claim}`,
    `machine ${tenant.machine}`,
    `cluster ${tenant.cluster}`,
    `fence ${tenant.fence}`
  ]
  if (request.verb === "inspect" || request.verb === "quarantine") return lines
  lines.push(`attempt ${request.attempt}`, `timeout ${request.stepTimeoutSeconds}`)
  if (request.workingDir !== undefined) lines.push(`workdir ${request.workingDir}`)
  if (request.verb === "run") {
    lines.push(`hash ${request.dataHash}`, `sentinel ${request.sentinel ? "yes" : "no"}`)
  }
  for (const { name, script } of request.steps) lines.push(`step ${name}`, ...scriptLines(script))
  if (request.verb === "run") {
    for (const file of request.files)
      lines.push(
        `file ${blobs.add(file.content)} ${file.mode} ${file.owner ?? "-"} ${file.append === true ? "append" : "-"} ${file.path}`
      )
  } else {
    lines.push(`k0s ${request.verify.k0s ? "yes" : "no"}`)
    if (request.adopt === true) lines.push("adopt yes")
    for (const path of request.remove) lines.push(`remove ${path}`)
    for (const path of request.verify.paths) lines.push(`verify ${path}`)
  }
  return lines
}

const endOf = (size: number, verb?: string, claim?: string, fence?: number | string): string =>
  `\n${END} ${size} ${verb} ${claim} ${fence}`

/** `driverText` ends with a newline. Fails when a value can't be carried: a newline in a path, a mode not octal, … */
export const encodeRequest = (request: Request, driverText: string | Uint8Array): Out<Uint8Array> => {
  const problem = problemOf(request)
  if (problem !== undefined) return wrong(problem)
  const blobs = new Blobs()
  const lines = headerLines(request, blobs)
  const { claim, fence } = request.tenant
  const header = encoder.encode(lines.map((line) => `#${line}\n`).join(""))
  const bytes = concat([
    encoder.encode(`${REQUEST} ${blobs.size} ${header.length} ${lines.length}\n`),
    header,
    typeof driverText === "string" ? encoder.encode(driverText) : driverText,
    encoder.encode(`${BLOBS_MARKER}\n`),
    ...blobs.parts,
    encoder.encode(endOf(blobs.size, request.verb, claim, fence))
  ])
  return bytes.length > MAX_REQUEST_BYTES
    ? wrong(`the request has ${bytes.length} bytes, more than ${MAX_REQUEST_BYTES}`)
    : Result.succeed(bytes)
}

export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

interface Parsed {
  readonly single: Map<string, string>
  readonly files: Array<RunFile>
  readonly steps: Array<RunStep>
  readonly remove: Array<string>
  readonly verify: Array<string>
}

const parseFile = (rest: string, blob: (offset: string, length: string) => Uint8Array): RunFile | undefined => {
  const [offset, length, mode, owner, append, path] = fields(rest, 5) ?? []
  if (!(offset && length && mode && owner && append && path)) return undefined
  return {
    path,
    content: blob(offset, length),
    mode,
    ...(owner === "-" ? {} : { owner }),
    ...(append === "append" ? { append: true } : {})
  }
}

const parseHeader = (lines: ReadonlyArray<string>, blobs: Uint8Array): Parsed | undefined => {
  const parsed: Parsed = { single: new Map(), files: [], steps: [], remove: [], verify: [] }
  const blob = (offset: string, length: string) => blobs.slice(Number(offset), Number(offset) + Number(length))
  for (const line of lines) {
    if (line.startsWith("|") || line.startsWith(".")) {
      const step = parsed.steps.at(-1)
      if (step === undefined) return undefined
      parsed.steps[parsed.steps.length - 1] = {
        ...step,
        script: `${step.script}${line.slice(1)}${line.startsWith("|") ? "\n" : ""}`
      }
      continue
    }
    const [key, rest] = fields(line, 1) ?? []
    if (key === undefined || rest === undefined) return undefined
    if (key === "file") {
      const file = parseFile(rest, blob)
      if (file === undefined) return undefined
      parsed.files.push(file)
    } else if (key === "step") {
      parsed.steps.push({ name: rest, script: "" })
    } else if (key === "remove") parsed.remove.push(rest)
    else if (key === "verify") parsed.verify.push(rest)
    else parsed.single.set(key, rest)
  }
  return parsed
}

const requestFrom = (parsed: Parsed): Request | undefined => {
  const text = (key: string): string => parsed.single.get(key) ?? ""
  const verb = text("verb")
  const tenant: Tenant = {
    claim: text("claim"),
    machine: text("machine"),
    cluster: text("cluster"),
    fence: Number(text("fence"))
  }
  const workingDir = parsed.single.get("workdir")
  const steps = {
    attempt: Number(text("attempt")),
    stepTimeoutSeconds: Number(text("timeout")),
    steps: parsed.steps,
    ...(workingDir === undefined ? {} : { workingDir })
  }
  if (verb === "inspect" || verb === "quarantine") return { verb, tenant }
  if (verb === "run")
    return { verb, tenant, ...steps, dataHash: text("hash"), files: parsed.files, sentinel: text("sentinel") === "yes" }
  if (verb === "clean")
    return {
      verb,
      tenant,
      ...steps,
      remove: parsed.remove,
      verify: { k0s: text("k0s") === "yes", paths: parsed.verify },
      ...(text("adopt") === "yes" ? { adopt: true } : {})
    }
  return undefined
}

/** For hosts that are not a shell. Fails on a request that was cut short, as the driver does. */
export const decodeRequest = (stdin: Uint8Array): Out<Request> => {
  const headerAt = stdin.indexOf(NEWLINE) + 1
  const [, blobBytes, headerBytes, count] =
    FIRST_LINE.exec(decoder.decode(stdin.subarray(0, Math.max(headerAt - 1, 0)))) ?? []
  if (blobBytes === undefined) return wrong("not a request")
  const textAt = headerAt + Number(headerBytes)
  const lines = decoder.decode(stdin.subarray(headerAt, textAt)).split("\n")
  const single = new Map(lines.map((line) => [fields(line, 1)?.[0], fields(line, 1)?.[1]]))
  const size = Number(blobBytes)
  const end = encoder.encode(endOf(size, single.get("#verb"), single.get("#claim"), single.get("#fence")))
  const blobsAt = stdin.length - end.length - size
  if (lines.pop() !== "" || lines.length !== Number(count)) return wrong("the request's header is malformed")
  if (blobsAt < textAt || !Buffer.from(end).equals(stdin.subarray(blobsAt + size)))
    return wrong("the request was cut short")
  const parsed = parseHeader(
    lines.map((line) => line.slice(1)),
    stdin.subarray(blobsAt, blobsAt + size)
  )
  const request = parsed === undefined ? undefined : requestFrom(parsed)
  if (request === undefined) return wrong("the request's header is malformed")
  const problem = problemOf(request)
  return problem === undefined ? Result.succeed(request) : wrong(problem)
}

export { decodeEvent, encodeEvent } from "./WireEvent.ts"
