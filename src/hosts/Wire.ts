/**
 * Owns the bytes of a request as it is piped into one exec, and where in the exec's stdin it begins. Pure. Events are
 * WireEvent.ts's; what a host does with a request is the driver's (driver/*.sh) or the simulation's.
 *
 * Request:
 * ```
 * machinist-request 1 <header bytes> <blob bytes>      padded to 10 digits each; the header includes this line
 * verb run
 * claim c1
 * …
 * file <offset> <length> <mode> <owner or -> <append or -> <path>
 * step <offset> <length> <name>
 *                                                      empty line
 * <blobs>
 * ```
 * The last field of a line is the rest of the line, so paths and names may hold blanks; nothing may hold a control
 * character. The driver parses this with the shell's `read`: keep it that simple.
 */
import * as Result from "effect/Result"
import type { Request, RunFile, RunStep, Tenant } from "./Protocol.ts"
import { fields } from "./WireEvent.ts"

/** What is wrong with a request that can't be carried, or with bytes that are not one. */
export class WireError extends Error {
  readonly _tag = "WireError"
}

/** The line between driver text and request in the stdin of every exec. */
export const REQUEST_MARKER = "#machinist-request-follows"

const HEADER = "machinist-request 1"
const COUNT_DIGITS = 10
/** `machinist-request 1 <10 digits> <10 digits>\n` */
const FIRST_LINE_BYTES = HEADER.length + 2 * (1 + COUNT_DIGITS) + 1
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
    ...request.steps.map((step, index) => oneLine(`name of step ${index}`, step.name))
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
  for (const step of request.steps) lines.push(`step ${blobs.add(encoder.encode(step.script))} ${step.name}`)
  return lines
}

const padded = (count: number): string => String(count).padStart(COUNT_DIGITS, "0")

/** Fails when a value can't be carried: a newline in a path or name, a mode that is not octal, … */
export const encodeRequest = (request: Request): Out<Uint8Array> => {
  const problem = problemOf(request)
  if (problem !== undefined) return wrong(problem)
  const blobs = new Blobs()
  const header = encoder.encode(`${headerLines(request, blobs).join("\n")}\n\n`)
  const start = encoder.encode(`${HEADER} ${padded(header.length + FIRST_LINE_BYTES)} ${padded(blobs.size)}\n`)
  const bytes = concat([start, header, ...blobs.parts])
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
    const [key, rest] = fields(line, 1) ?? []
    if (key === undefined || rest === undefined) return undefined
    if (key === "file") {
      const file = parseFile(rest, blob)
      if (file === undefined) return undefined
      parsed.files.push(file)
    } else if (key === "step") {
      const [offset, length, name] = fields(rest, 2) ?? []
      if (!(offset && length && name)) return undefined
      parsed.steps.push({ name, script: decoder.decode(blob(offset, length)) })
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
export const decodeRequest = (bytes: Uint8Array): Out<Request> => {
  const start = decoder.decode(bytes.subarray(0, FIRST_LINE_BYTES))
  const counts = /^machinist-request 1 (\d{10}) (\d{10})\n$/.exec(start)
  if (counts === null) return wrong("not a request")
  const headerBytes = Number(counts[1])
  if (bytes.length !== headerBytes + Number(counts[2])) return wrong("the request was cut short")
  const header = decoder.decode(bytes.subarray(FIRST_LINE_BYTES, headerBytes))
  if (!header.endsWith("\n\n")) return wrong("the request's header does not end")
  const parsed = parseHeader(header.slice(0, -2).split("\n"), bytes.subarray(headerBytes))
  const request = parsed === undefined ? undefined : requestFrom(parsed)
  if (request === undefined) return wrong("the request's header is malformed")
  const problem = problemOf(request)
  return problem === undefined ? Result.succeed(request) : wrong(problem)
}

/** The request in the stdin of an exec: what follows the first REQUEST_MARKER line. */
export const requestOf = (stdin: Uint8Array): Out<Request> => {
  const marker = encoder.encode(`\n${REQUEST_MARKER}\n`)
  for (let at = stdin.indexOf(10); at >= 0; at = stdin.indexOf(10, at + 1))
    if (marker.every((byte, i) => stdin[at + i] === byte)) return decodeRequest(stdin.subarray(at + marker.length))
  return wrong("no request in the stdin")
}

export { decodeEvent, encodeEvent } from "./WireEvent.ts"
