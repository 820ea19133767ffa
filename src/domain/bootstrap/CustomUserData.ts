/**
 * Owns taking a user's own user data into ours: which parts of the multipart it becomes, and refusing what cloud-init
 * would drop with a warning, or what would replace our part. Messages never quote the data. Not the multipart itself
 * (CloudConfigRender.ts), nor reading it back (CloudConfigParse.ts).
 */
import * as Result from "effect/Result"
import { parseDocument } from "yaml"
import { APPEND_LISTS, CLOUD_CONFIG_HEADER } from "./CloudConfigRender.ts"
import { gunzip, isGzip } from "./Gzip.ts"
import { isMultipart, type Part, parseMultipart } from "./Multipart.ts"

type Taken<A> = Result.Result<A, string>

/** What cloud-init knows by its first line, apart from cloud-config. */
const TYPED =
  /^#(#|!|cloud-boothook|cloud-config-archive|cloud-config-jsonp|include|include-once|part-handler|upstart-job)/
const JINJA = /^##\s*template:\s*jinja[ \t]*(\r?\n|$)/i
/** Keys by which a part says how it is joined with those before it: only appending leaves our commands there. */
const MERGE_KEYS = ["merge_how", "merge_type"]
const LISTS = ["runcmd", "bootcmd", "write_files"]

const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const MERGES = "says how it is merged (merge_how, merge_type), which could replace the bootstrap: remove that"

/** cloud-init leaves a part that it can't read or join out, and goes on. */
const checkedConfig = (body: string): string | undefined => {
  const document = parseDocument(body, { version: "1.1", prettyErrors: false, logLevel: "silent" })
  if (document.errors.length > 0) return "is not valid YAML"
  const value: unknown = document.toJS({ maxAliasCount: -1 })
  if (!isMapping(value)) return "is not a YAML mapping"
  if (MERGE_KEYS.some((key) => key in value)) return MERGES
  const bad = LISTS.find((key) => value[key] !== undefined && value[key] !== null && !Array.isArray(value[key]))
  return bad === undefined ? undefined : `has a ${bad} that is not a list`
}

const configPart = (body: string): Taken<Part> => {
  const why = JINJA.test(body.trimStart())
    ? // What it is, only the host knows; these keys have no business there either way.
      /^merge_(how|type)\s*:/m.test(body)
      ? MERGES
      : undefined
    : checkedConfig(body)
  return why === undefined
    ? Result.succeed({ type: "text/cloud-config", headers: { "Merge-Type": APPEND_LISTS }, body })
    : Result.fail(why)
}

/** k0smotron takes custom user data without its header line. */
const single = (text: string): Taken<Part> => {
  const start = text.trimStart()
  if (JINJA.test(start)) return Result.map(configPart(text), (part) => ({ ...part, type: "text/jinja2" }))
  if (new RegExp(`^${CLOUD_CONFIG_HEADER}(\\s|$)`).test(start)) return configPart(text)
  if (TYPED.test(start)) return Result.succeed({ type: "text/plain", headers: {}, body: text })
  return configPart(`${CLOUD_CONFIG_HEADER}\n${text}`)
}

const several = (text: string): Taken<ReadonlyArray<Part>> => {
  const parts = parseMultipart(text)
  if (Result.isFailure(parts)) return Result.fail(`is a multipart that can't be read (${parts.failure})`)
  return Result.all(
    parts.success.map((part): Taken<Part> => {
      const merge = part.headers["merge-type"] ?? part.headers["x-merge-type"]
      if (merge !== undefined && !merge.includes("list(append)")) return Result.fail(MERGES)
      if (part.type === "text/cloud-config") return configPart(part.body)
      if (part.type === "text/plain") return single(part.body)
      return Result.succeed({ type: part.type, headers: {}, body: part.body })
    })
  )
}

const plainText = (data: Uint8Array): Taken<string> => {
  const bytes = isGzip(data) ? gunzip(data) : Result.succeed(data)
  if (Result.isFailure(bytes)) return Result.fail("starts like gzip and is not, or is too big")
  const text = Buffer.from(bytes.success).toString("utf8")
  return Buffer.from(text, "utf8").equals(bytes.success) ? Result.succeed(text) : Result.fail("is not UTF-8")
}

/** Empty: nothing to add. A failure says what is wrong, as the rest of a sentence about the data. */
export const customParts = (data: Uint8Array | undefined): Taken<ReadonlyArray<Part>> =>
  Result.flatMap(plainText(data ?? new Uint8Array()), (text) => {
    if (text.trim() === "") return Result.succeed([])
    return isMultipart(text) ? several(text) : Result.map(single(text), (part) => [part])
  })
