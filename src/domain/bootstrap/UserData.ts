/**
 * Owns taking user data apart as cloud-init does: gzip, MIME multipart, archive, jinja; then each part by its type, or by
 * its first line: cloud-configs, which become one, and scripts. What is in a cloud-config is CloudConfigParse.ts's.
 */
import * as Result from "effect/Result"
import { LineCounter, parseDocument, type Tags } from "yaml"
import { type BootstrapDataError, type BootstrapDataErrorReason, dataError } from "./BootstrapDataError.ts"
import { type Config, isRecord, mergeConfigs, mergersOf } from "./CloudConfigMerge.ts"
import { CLOUD_CONFIG_HEADER, JINJA_MARKUP } from "./CloudConfigRender.ts"
import { gunzip, isGzip } from "./Gzip.ts"
import type { InstanceData } from "./HostFacts.ts"
import { renderJinja } from "./Jinja.ts"
import { fileNameOf, isMultipart, type Part, parseMultipart } from "./Multipart.ts"

type Read<A> = Result.Result<A, BootstrapDataError>

export interface Script {
  /** Of the part, from 1. */
  readonly part: number
  /** cloud-init runs scripts in the order of their file names. */
  readonly fileName: string
  readonly text: string
  /** `boothook`: before everything else; `once`: those of the directories of once, boot and instance; `user`: last. */
  readonly when: "boothook" | "once" | "user"
}

export interface UserData {
  readonly config: Config
  readonly scripts: ReadonlyArray<Script>
  /** Parts that nobody can honour over SSH, as people name them. */
  readonly unsupported: ReadonlyArray<string>
}

const error = (reason: BootstrapDataErrorReason, message: string, line?: number): Read<never> =>
  Result.fail(dataError(reason, message, line))

/** Aliases a document may follow: more is an attempt to blow memory up. */
const MAX_ALIASES = 100

/** Plain scalars that PyYAML takes for more than text; YAML 1.1 itself has more, like `y`, `09` and `12e4`. */
const NOT_TEXT: Readonly<Record<string, string>> = {
  "tag:yaml.org,2002:bool": "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
  "tag:yaml.org,2002:int":
    "[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
  "tag:yaml.org,2002:float":
    "[-+]?[0-9][0-9_]*\\.[0-9_]*(?:[eE][-+][0-9]+)?|\\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\\.[0-9_]*|[-+]?\\.(?:inf|Inf|INF)|\\.(?:nan|NaN|NAN)"
}

/** A token like `123e456` must stay one. */
const asPyYaml = (tags: Tags): Tags =>
  tags.map((tag) => {
    if (typeof tag === "string" || tag.collection !== undefined || tag.test === undefined) return tag
    const pattern = NOT_TEXT[tag.tag]
    return pattern === undefined ? tag : { ...tag, test: new RegExp(`(?=^(?:${pattern})$)${tag.test.source}`) }
  })

const parseYaml = (text: string, where: string): Read<unknown> => {
  const lines = new LineCounter()
  const document = parseDocument(text, {
    // PyYAML's: `0644` is octal, `yes` is true, and what we read is what cloud-init reads.
    version: "1.1",
    customTags: asPyYaml,
    lineCounter: lines,
    prettyErrors: false,
    logLevel: "silent"
  })
  const [first] = document.errors
  if (first !== undefined) {
    const { line } = lines.linePos(first.pos[0])
    // The parser's own message quotes the text; its code doesn't.
    const what = first.code.toLowerCase().replaceAll("_", " ")
    return error("BadYaml", `${where}line ${line} is not valid YAML (${what})`, line)
  }
  return Result.try({
    try: (): unknown => document.toJS({ maxAliasCount: MAX_ALIASES }),
    catch: () => dataError("BadYaml", "bad or too many YAML aliases")
  })
}

const parseConfig = (text: string, where: string): Read<Config> =>
  Result.flatMap(parseYaml(text, where), (config) => {
    if (config === null || config === undefined) return Result.succeed({})
    return isRecord(config) ? Result.succeed(config) : error("BadYaml", `${where}the YAML is not a mapping`)
  })

/** What cloud-init calls the kinds of user data, by their first line; longest first. */
const FIRST_LINES: ReadonlyArray<readonly [string, string]> = [
  ["#cloud-config-archive", "text/cloud-config-archive"],
  ["#cloud-config-jsonp", "text/cloud-config-jsonp"],
  ["#cloud-boothook", "text/cloud-boothook"],
  ["#include-once", "text/x-include-once-url"],
  ["#part-handler", "text/part-handler"],
  ["#include", "text/x-include-url"],
  ["#!", "text/x-shellscript"]
]

const JINJA_LINE = /^##\s*template:\s*jinja[ \t]*(\r?\n|$)/i

const kindOf = (text: string): string | undefined => {
  if (JINJA_LINE.test(text)) return "text/jinja2"
  const start = text.slice(0, 64).toLowerCase()
  const found = FIRST_LINES.find(([line]) => start.startsWith(line))
  if (found !== undefined) return found[1]
  return new RegExp(`^${CLOUD_CONFIG_HEADER}(?:\\s|$)`).test(text) ? "text/cloud-config" : undefined
}

/** Types whose content says what it is; scripts, because not all that is called so is one. */
const SNIFFED = new Set(["text/plain", "text/x-not-multipart", "application/octet-stream", "text/x-shellscript"])

const looksLike = (text: string): string => {
  if (text.startsWith("{")) return "; it looks like JSON: ignition is recognised by format: ignition in the Secret"
  return text === "" ? "; it is empty" : ""
}

class Reader {
  private config: Config = {}
  private readonly scripts: Array<Script> = []
  private readonly unsupported: Array<string> = []
  private parts = 0
  private readonly instance: InstanceData | undefined

  constructor(instance: InstanceData | undefined) {
    this.instance = instance
  }

  result(): UserData {
    return { config: this.config, scripts: this.scripts, unsupported: this.unsupported }
  }

  /** `where`: how messages begin, when there are several parts. */
  read(part: Part, several: boolean): Read<void> {
    this.parts++
    const number = this.parts
    const where = several ? `part ${number}, ` : ""
    const text = part.body.replace(/^\ufeff/, "").trimStart()
    const type = SNIFFED.has(part.type) ? (kindOf(text) ?? part.type) : part.type
    if (type !== "text/jinja2") return this.take({ ...part, type, body: text }, number, where, several)
    const jinja = JINJA_LINE.exec(text)
    const template = jinja === null ? text : text.slice(jinja[0].length)
    return Result.flatMap(this.render(template, jinja !== null), (rendered) => {
      const body = rendered.trimStart()
      // A line, so that the lines of errors are those of the data.
      const shifted = jinja === null ? rendered : `\n${rendered}`
      const inner = kindOf(body) ?? "text/plain"
      return this.take(
        { ...part, type: inner, body: inner === "text/cloud-config" ? shifted : body },
        number,
        where,
        several
      )
    })
  }

  private render(template: string, hasHeader: boolean): Read<string> {
    if (!JINJA_MARKUP.test(template)) return Result.succeed(template)
    if (this.instance === undefined)
      return error("FactsNeeded", "it is a jinja template, and nothing is known of the host it is for")
    return renderJinja(template, this.instance, hasHeader ? 2 : 1)
  }

  private take(part: Part, number: number, where: string, several: boolean): Read<void> {
    switch (part.type) {
      case "text/cloud-config":
        return Result.map(parseConfig(part.body, where), (config) => {
          const header = part.headers["merge-type"] || part.headers["x-merge-type"] || undefined
          this.config = mergeConfigs(this.config, config, mergersOf(config, header))
        })
      case "text/cloud-config-archive":
        return this.archive(part.body, where)
      case "text/x-shellscript":
      case "text/x-shellscript-per-once":
      case "text/x-shellscript-per-boot":
      case "text/x-shellscript-per-instance":
      case "text/cloud-boothook":
        return this.script(part, number, where)
      default:
        if (!several || SNIFFED.has(part.type))
          return several && part.body === ""
            ? Result.succeed(undefined)
            : error("NotCloudConfig", `${where}the first line must be ${CLOUD_CONFIG_HEADER}${looksLike(part.body)}`)
        this.unsupported.push(`part ${number} (${/^[\w./+-]{1,60}$/.test(part.type) ? part.type : "of no known type"})`)
        return Result.succeed(undefined)
    }
  }

  private script(part: Part, number: number, where: string): Read<void> {
    const boothook = part.type === "text/cloud-boothook"
    const lines = part.body.replaceAll("\r\n", "\n")
    const text = boothook ? lines.replace(/^#cloud-boothook[^\n]*\n?/i, "").trimStart() : lines
    if (text.includes("\0")) return error("BadField", `${where}the script holds a NUL character`)
    this.scripts.push({
      part: number,
      fileName: fileNameOf(part) ?? `part-${String(number).padStart(3, "0")}`,
      text,
      when: boothook ? "boothook" : part.type === "text/x-shellscript" ? "user" : "once"
    })
    return Result.succeed(undefined)
  }

  private archive(text: string, where: string): Read<void> {
    return Result.gen(this, function* () {
      const entries = yield* parseYaml(text.replace(/^#cloud-config-archive[^\n]*/i, ""), where)
      if (entries === null || entries === undefined) return
      if (!Array.isArray(entries)) return yield* error("BadYaml", `${where}the archive is not a list`)
      for (const entry of entries) {
        const content = isRecord(entry) ? (entry["content"] ?? "") : entry
        if (typeof content !== "string") return yield* error("BadField", `${where}an entry of the archive is not text`)
        const declared = isRecord(entry) && typeof entry["type"] === "string" ? entry["type"].toLowerCase() : undefined
        const headers: Record<string, string> = {}
        if (isRecord(entry) && typeof entry["filename"] === "string")
          headers["content-disposition"] = `attachment; filename="${entry["filename"]}"`
        const type = declared ?? kindOf(content.trimStart()) ?? "text/cloud-config"
        // An archive in an archive would have no end.
        if (type === "text/cloud-config-archive")
          return yield* error("BadField", `${where}the archive holds another archive`)
        yield* this.read({ type, headers, body: content }, true)
      }
    })
  }
}

const decodeText = (data: Uint8Array): Read<string> => {
  const plain = isGzip(data) ? gunzip(data) : Result.succeed(data)
  if (Result.isFailure(plain)) return error("BadEncoding", "it starts like gzip and is not, or is too big")
  const text = Buffer.from(plain.success).toString("utf8")
  return Buffer.from(text, "utf8").equals(plain.success)
    ? Result.succeed(text)
    : error("BadEncoding", "it is not UTF-8")
}

/** `instance`: what jinja templates may ask for; without it they fail with `FactsNeeded`. */
export const readUserData = (data: Uint8Array, instance: InstanceData | undefined): Read<UserData> =>
  Result.gen(function* () {
    const text = yield* decodeText(data)
    const reader = new Reader(instance)
    if (!isMultipart(text)) {
      yield* reader.read({ type: "text/plain", headers: {}, body: text }, false)
      return reader.result()
    }
    const parts = parseMultipart(text)
    if (Result.isFailure(parts)) return yield* error("BadEncoding", `as a MIME message it is ${parts.failure}`)
    for (const part of parts.success) yield* reader.read(part, true)
    return reader.result()
  })
