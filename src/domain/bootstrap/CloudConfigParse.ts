/**
 * Owns reading bootstrap data for a host run: ours, k0smotron's, and any cloud-config made of write_files, bootcmd and
 * runcmd. What cloud-init alone can do (users, packages, disks) is refused by name, never skipped.
 *
 * Two differences from cloud-init, on purpose: every command is a shell of its own and the first that fails ends the
 * run (the bootstrap page promises both); bootcmd runs after the files are written, since a host that answers SSH has
 * booted long ago.
 */
import { posix } from "node:path"
import * as Result from "effect/Result"
import { LineCounter, parseDocument } from "yaml"
import { CloudConfigError, type CloudConfigErrorReason } from "./CloudConfigError.ts"
import { CLOUD_CONFIG_HEADER, JINJA_MARKUP } from "./CloudConfigRender.ts"
import { isFrame } from "./Frame.ts"
import { decodeBase64, gunzip, isGzip } from "./Gzip.ts"
import { isMultipart, parseMultipart } from "./Multipart.ts"
import { type BootstrapFile, hasControlCharacters, type Payload, type Step, stepNameOf } from "./Payload.ts"
import { quote } from "./ShellWords.ts"

type Read<A> = Result.Result<A, CloudConfigError>
type Config = Readonly<Record<string, unknown>>

const error = (reason: CloudConfigErrorReason, message: string): Read<never> =>
  Result.fail(new CloudConfigError({ reason, message: `bootstrap data: ${message}` }))

const isRecord = (value: unknown): value is Config =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** Aliases a document may follow: more is an attempt to blow memory up. */
const MAX_ALIASES = 100

const parseYaml = (text: string, part: string): Read<Config> => {
  const lines = new LineCounter()
  const document = parseDocument(text, {
    // PyYAML's: `0644` is octal, `yes` is true, and what we read is what cloud-init reads.
    version: "1.1",
    lineCounter: lines,
    prettyErrors: false,
    logLevel: "silent"
  })
  const [first] = document.errors
  if (first !== undefined) {
    const { line } = lines.linePos(first.pos[0])
    return Result.fail(
      new CloudConfigError({
        reason: "BadYaml",
        // The parser's own message quotes the text; its code doesn't.
        message: `bootstrap data: ${part}line ${line} is not valid YAML (${first.code.toLowerCase().replaceAll("_", " ")})`,
        line
      })
    )
  }
  const value = Result.try({
    try: (): unknown => document.toJS({ maxAliasCount: MAX_ALIASES }),
    catch: () => new CloudConfigError({ reason: "BadYaml", message: "bootstrap data: bad or too many YAML aliases" })
  })
  return Result.flatMap(value, (config) => {
    if (config === null || config === undefined) return Result.succeed({})
    return isRecord(config) ? Result.succeed(config) : error("BadYaml", `${part}the YAML is not a mapping`)
  })
}

const looksLike = (text: string): string => {
  if (text.startsWith("#!")) return "; it looks like a shell script"
  if (text.startsWith("{")) return "; it looks like JSON, maybe ignition without its format key"
  if (/^#(cloud-config-|cloud-boothook|include|part-handler)/.test(text))
    return "; this kind of user data is not supported"
  return text === "" ? "; it is empty" : ""
}

const readPart = (raw: string, part: string): Read<Config> => {
  const text = raw.replace(/^\ufeff/, "").trimStart()
  const jinja = /^##\s*template:\s*jinja[ \t]*(\r?\n|$)/i.exec(text)
  const body = jinja === null ? text : text.slice(jinja[0].length)
  if (!new RegExp(`^${CLOUD_CONFIG_HEADER}(?:\\s|$)`).test(body)) {
    return error("NotCloudConfig", `${part}the first line must be ${CLOUD_CONFIG_HEADER}${looksLike(body)}`)
  }
  if (jinja !== null && JINJA_MARKUP.test(body)) {
    return error(
      "Jinja",
      `${part}it wants jinja rendering, which is not supported over SSH: remove "## template: jinja" or the markup`
    )
  }
  return parseYaml(jinja === null ? body : `\n${body}`, part)
}

/** cloud-init's two ways of joining parts that we know: append lists (our Merge-Type), or its default, replace. */
const mergeConfigs = (before: Config, next: Config, append: boolean): Config => {
  const merged: Record<string, unknown> = { ...before }
  for (const [key, value] of Object.entries(next)) {
    const old = merged[key]
    if (!append || old === undefined) merged[key] = value
    else if (Array.isArray(old) && Array.isArray(value)) merged[key] = [...old, ...value]
  }
  return merged
}

const readMultipart = (text: string): Read<Config> => {
  const parts = parseMultipart(text)
  if (Result.isFailure(parts)) return error("BadEncoding", `it is ${parts.failure}`)
  let config: Config = {}
  for (const [index, part] of parts.success.entries()) {
    if (!["text/cloud-config", "text/plain", "text/jinja2"].includes(part.type)) {
      return error("Unsupported", `part ${index + 1} is not cloud-config`)
    }
    const read = readPart(part.body, `part ${index + 1}, `)
    if (Result.isFailure(read)) return read
    const merge = part.headers["merge-type"] ?? part.headers["x-merge-type"] ?? ""
    config = mergeConfigs(config, read.success, merge.includes("list(append)"))
  }
  return Result.succeed(config)
}

const decodeText = (data: Uint8Array): Read<string> => {
  const plain = isGzip(data) ? gunzip(data) : Result.succeed(data)
  if (Result.isFailure(plain)) return error("BadEncoding", "it starts like gzip and is not, or is too big")
  const text = Buffer.from(plain.success).toString("utf8")
  return Buffer.from(text, "utf8").equals(plain.success)
    ? Result.succeed(text)
    : error("BadEncoding", "it is not UTF-8")
}

/** Change nothing on a host, or only how cloud-init itself talks. */
const HARMLESS = new Set([
  "output",
  "final_message",
  "preserve_hostname",
  "merge_how",
  "merge_type",
  "debug",
  "no_ssh_fingerprints"
])
const HONOURED = new Set(["write_files", "bootcmd", "runcmd"])
/** Switches that ask for nothing when they are off. */
const SWITCHES = new Set([
  "package_update",
  "package_upgrade",
  "package_reboot_if_required",
  "manage_etc_hosts",
  "manage_resolv_conf"
])
/** Keys named in a message. */
const MAX_NAMED_MODULES = 20

const asksForNothing = (key: string, value: unknown): boolean =>
  value === null ||
  (Array.isArray(value) && value.length === 0) ||
  (isRecord(value) && Object.keys(value).length === 0) ||
  (value === false && SWITCHES.has(key))

const unsupported = (config: Config): ReadonlyArray<string> =>
  Object.entries(config)
    .filter(([key, value]) => !HARMLESS.has(key) && !HONOURED.has(key) && !asksForNothing(key, value))
    // A key is a module's name; anything else may be a secret in the wrong place.
    .map(([key]) => (/^[a-z0-9_-]{1,40}$/i.test(key) ? key : "(a key that names no module)"))
    .sort()
    .slice(0, MAX_NAMED_MODULES)

const list = (config: Config, key: string): Read<ReadonlyArray<unknown>> => {
  const value = config[key]
  if (value === undefined || value === null) return Result.succeed([])
  return Array.isArray(value) ? Result.succeed(value) : error("BadField", `${key} is not a list`)
}

/** As Python writes it: cloud-init quotes `str(item)`. */
const argument = (value: unknown): string => {
  if (typeof value === "boolean") return value ? "True" : "False"
  return value === null ? "None" : String(value)
}

const isShell = (word: unknown): boolean => word === "/bin/sh" || word === "sh"

/** What our own rendering puts around commands: it is not counted, and a host run has no use for it. */
const isFrameEntry = (entry: unknown): boolean => typeof entry === "string" && isFrame(entry)

/** `undefined`: nothing to run (a comment). */
const scriptOf = (entry: unknown, where: string): Read<string | undefined> => {
  if (entry === null) return Result.succeed(undefined)
  if (typeof entry === "string") return Result.succeed(entry)
  if (!Array.isArray(entry) || entry.some((item) => typeof item === "object" && item !== null)) {
    return error("BadField", `${where} is neither a command line nor a list of arguments`)
  }
  const [shell, flag, text] = entry
  if (entry.length === 3 && isShell(shell) && flag === "-c" && typeof text === "string") return Result.succeed(text)
  return Result.succeed(entry.length === 0 ? undefined : entry.map((item) => quote(argument(item))).join(" "))
}

/** `# step: NAME` may also stand in the text of another shell: `bash -c TEXT`. */
const nameOf = (entry: unknown, script: string): string | undefined => {
  const last: unknown = Array.isArray(entry) ? entry.at(-1) : undefined
  return stepNameOf(script) ?? (typeof last === "string" ? stepNameOf(last) : undefined)
}

const steps = (config: Config, key: "bootcmd" | "runcmd"): Read<ReadonlyArray<Step>> =>
  Result.gen(function* () {
    const entries = yield* list(config, key)
    const found: Array<Step> = []
    for (const [index, entry] of entries.filter((each) => !isFrameEntry(each)).entries()) {
      const name = `${key} ${index + 1}`
      const script = yield* scriptOf(entry, name)
      if (script === undefined) continue
      if (script.includes("\0")) return yield* error("BadField", `${name} holds a NUL character`)
      found.push({ name: nameOf(entry, script) ?? name, script })
    }
    return found
  })

const contentOf = (file: Config, where: string): Read<Uint8Array> => {
  const raw = file["content"] ?? ""
  if (typeof raw !== "string" && !(raw instanceof Uint8Array)) {
    return error("BadField", `${where}.content is not text: quote it`)
  }
  const bytes = typeof raw === "string" ? Buffer.from(raw, "utf8") : raw
  const encoding = file["encoding"] ?? ""
  const kind = typeof encoding === "string" ? encoding.toLowerCase().trim() : "?"
  const unzip = (zipped: Uint8Array): Read<Uint8Array> => {
    const plain = gunzip(zipped)
    return Result.isSuccess(plain)
      ? Result.succeed(plain.success)
      : error("BadEncoding", `${where}.content is not gzip`)
  }
  const fromBase64 = (): Read<Uint8Array> => {
    const plain = decodeBase64(Buffer.from(bytes).toString("latin1"))
    return Result.isSuccess(plain)
      ? Result.succeed(plain.success)
      : error("BadEncoding", `${where}.content is not base64`)
  }
  switch (kind) {
    case "":
    case "text/plain":
      return Result.succeed(bytes)
    case "b64":
    case "base64":
      return fromBase64()
    case "gz":
    case "gzip":
      return unzip(bytes)
    case "gz+b64":
    case "gz+base64":
    case "gzip+b64":
    case "gzip+base64":
      return Result.flatMap(fromBase64(), unzip)
    default:
      return error("BadEncoding", `${where}.encoding is unknown: b64, gzip and gz+b64 are possible`)
  }
}

const DEFAULT_MODE = "0644"

const modeOf = (value: unknown, where: string): Read<string> => {
  if (value === undefined || value === null) return Result.succeed(DEFAULT_MODE)
  const octal =
    typeof value === "number" && Number.isInteger(value) && value >= 0
      ? value.toString(8)
      : typeof value === "string"
        ? value.trim().replace(/^0o/i, "")
        : ""
  return /^[0-7]{1,5}$/.test(octal) && Number.parseInt(octal, 8) <= 0o7777
    ? Result.succeed(octal.replace(/^0+/, "").padStart(4, "0"))
    : error("BadField", `${where}.permissions is not octal, like "0644"`)
}

const ownerOf = (value: unknown, where: string): Read<string | undefined> => {
  if (value === undefined || value === null || value === "" || value === "root:root" || value === "root") {
    return Result.succeed(undefined)
  }
  return typeof value === "string" && /^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/.test(value)
    ? Result.succeed(value)
    : error("BadField", `${where}.owner is not user or user:group`)
}

const isOn = (value: unknown): boolean =>
  value === true ||
  value === 1 ||
  (typeof value === "string" && ["true", "1", "on", "yes"].includes(value.toLowerCase().trim()))

const pathOf = (value: unknown, where: string): Read<string> => {
  if (typeof value !== "string" || !value.startsWith("/") || hasControlCharacters(value)) {
    return error("BadPath", `${where}.path must be an absolute path`)
  }
  return value.endsWith("/")
    ? error("BadPath", `${where}.path names a directory`)
    : Result.succeed(posix.normalize(value))
}

const oneFile = (entry: unknown, where: string): Read<BootstrapFile> =>
  Result.gen(function* () {
    if (!isRecord(entry)) return yield* error("BadField", `${where} is not a mapping`)
    if (entry["source"] !== undefined)
      return yield* error("Unsupported", `${where}.source can't be fetched: give content`)
    const owner = yield* ownerOf(entry["owner"], where)
    return {
      path: yield* pathOf(entry["path"], where),
      content: yield* contentOf(entry, where),
      mode: yield* modeOf(entry["permissions"], where),
      ...(owner === undefined ? {} : { owner }),
      ...(isOn(entry["append"]) ? { append: true } : {})
    }
  })

/** cloud-init writes `defer: true` files last, and so do we. */
const files = (config: Config): Read<ReadonlyArray<BootstrapFile>> =>
  Result.gen(function* () {
    const entries = (yield* list(config, "write_files")).map((entry, index) => ({
      entry,
      where: `write_files[${index}]`
    }))
    const deferred = (entry: unknown): boolean => isRecord(entry) && isOn(entry["defer"])
    const ordered = [...entries.filter((e) => !deferred(e.entry)), ...entries.filter((e) => deferred(e.entry))]
    const found: Array<BootstrapFile> = []
    for (const { entry, where } of ordered) found.push(yield* oneFile(entry, where))
    return found
  })

export const parseCloudConfig = (data: Uint8Array): Read<Payload> =>
  Result.gen(function* () {
    const text = yield* decodeText(data)
    const config = yield* isMultipart(text) ? readMultipart(text) : readPart(text, "")
    const modules = unsupported(config)
    if (modules.length > 0) {
      return yield* Result.fail(
        new CloudConfigError({
          reason: "Unsupported",
          message: `bootstrap data: ${modules.join(", ")} can't be done over SSH: use commands and files instead`,
          modules
        })
      )
    }
    return {
      files: yield* files(config),
      steps: [...(yield* steps(config, "bootcmd")), ...(yield* steps(config, "runcmd"))]
    }
  })
