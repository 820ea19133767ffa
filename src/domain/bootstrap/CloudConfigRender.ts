/**
 * Owns writing a bootstrap as `#cloud-config`: bytes that depend on nothing but the input, that PyYAML (YAML 1.1) reads
 * back exactly, and that stop at the first failing command under real cloud-init. Reading is CloudConfigParse.ts.
 *
 * cloud-init makes one `sh` script of `runcmd`: strings as they are, lists with each item quoted. It runs on past a
 * failed entry, and without /etc/environment. Hence: `set -e` first, and Frame.ts around the commands, each of which is
 * a list, `/bin/sh -c TEXT`: a shell of its own.
 */
import { Document, Scalar } from "yaml"
import { CLOSE_FRAME, filesFrame, OPEN_FRAME, STOP_AT_FAILURE, stepFrame, stepLabel } from "./Frame.ts"
import { compressed } from "./Gzip.ts"
import { multipart, type Part } from "./Multipart.ts"
import type { BootstrapFile, Payload, Step } from "./Payload.ts"

/** Printable in YAML 1.1 and no line break there, but for \n: all else is escaped, or base64. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: telling control characters is the point
const UNUSUAL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]/

const text = (value: string): Scalar<string> => {
  const scalar = new Scalar(value)
  if (UNUSUAL.test(value)) scalar.type = Scalar.QUOTE_DOUBLE
  else if (value.includes("\n")) scalar.type = Scalar.BLOCK_LITERAL
  return scalar
}

/** In double quotes JSON's escapes are YAML's, and JSON leaves some characters raw that PyYAML refuses or folds. */
const escapeRaw = (yaml: string): string =>
  yaml.replace(
    /[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`
  )

const utf8 = (content: Uint8Array): string | undefined => {
  const decoded = Buffer.from(content).toString("utf8")
  return Buffer.from(decoded, "utf8").equals(content) ? decoded : undefined
}

const encoded = (content: Uint8Array, compressFrom: number): Record<string, unknown> => {
  const small = compressed(content, compressFrom)
  if (small !== undefined) return { encoding: "gz+b64", content: Buffer.from(small).toString("base64") }
  const plain = utf8(content)
  return plain !== undefined && !UNUSUAL.test(plain)
    ? { content: text(plain) }
    : { encoding: "b64", content: Buffer.from(content).toString("base64") }
}

const writeFile = (file: BootstrapFile, compressFrom: number): Record<string, unknown> => {
  return {
    path: text(file.path),
    permissions: quoted(file.mode),
    ...(file.owner === undefined ? {} : { owner: quoted(file.owner) }),
    ...(file.append === true ? { append: true } : {}),
    ...encoded(file.content, compressFrom)
  }
}

/** `0600` without quotes is a number in YAML 1.1. */
const quoted = (value: string): Scalar<string> => {
  const scalar = new Scalar(value)
  scalar.type = Scalar.QUOTE_DOUBLE
  return scalar
}

/** `first`: how many steps of the whole come before these. */
const runcmd = (steps: ReadonlyArray<Step>, first: number, count: number): ReadonlyArray<unknown> =>
  steps.flatMap((step, index) => [
    stepFrame(stepLabel(first + index, count, step.name)),
    ["/bin/sh", "-c", text(step.script)]
  ])

const yamlOf = (value: Record<string, unknown>): string => {
  const document = new Document(value, { version: "1.1", aliasDuplicateObjects: false })
  return escapeRaw(document.toString({ lineWidth: 0, indent: 2, directives: false }))
}

/** Text that jinja would take for its own. */
export const JINJA_MARKUP = /\{\{|\{%|\{#/
export const JINJA_HEADER = "## template: jinja"
export const CLOUD_CONFIG_HEADER = "#cloud-config"

const withHeaders = (yaml: string): string =>
  `${JINJA_MARKUP.test(yaml) ? "" : `${JINJA_HEADER}\n`}${CLOUD_CONFIG_HEADER}\n${yaml}`

const opening = (files: ReadonlyArray<BootstrapFile>): ReadonlyArray<unknown> => [
  STOP_AT_FAILURE,
  text(OPEN_FRAME),
  ...(files.length === 0 ? [] : [filesFrame(files.map((file) => file.path))])
]

/** How cloud-init joins our lists with those of the parts before; its default lets the last part replace the first. */
export const APPEND_LISTS = "list(append)+dict(no_replace,recurse_list)+str()"

const ours = (yaml: string): Part => ({
  type: "text/cloud-config",
  headers: { "Merge-Type": APPEND_LISTS },
  body: `${CLOUD_CONFIG_HEADER}\n${yaml}`
})

/** What a log on the host calls the user's own commands, which have no names. */
const CUSTOM_LABEL = "custom user data"

/**
 * The bootstrap data. With custom user data: a multipart of our config, theirs, and the last step (the sentinel), so
 * that their commands, too, must succeed before the bootstrap counts as done. Contents of files of `compressFrom` bytes
 * or more are compressed where that is shorter.
 */
export const renderCloudConfig = (
  { files, steps }: Payload,
  custom: ReadonlyArray<Part> = [],
  compressFrom: number = Number.POSITIVE_INFINITY
): Uint8Array => {
  const write_files = files.map((file) => writeFile(file, compressFrom))
  const written = files.length === 0 ? {} : { write_files }
  const count = steps.length
  if (custom.length === 0) {
    const commands = [...opening(files), ...runcmd(steps, 0, count), CLOSE_FRAME]
    return Buffer.from(withHeaders(yamlOf({ ...written, runcmd: commands })), "utf8")
  }
  const before = [...opening(files), ...runcmd(steps.slice(0, -1), 0, count), stepFrame(CUSTOM_LABEL)]
  const after = [...runcmd(steps.slice(-1), Math.max(0, count - 1), count), CLOSE_FRAME]
  const parts = [ours(yamlOf({ ...written, runcmd: before })), ...custom, ours(yamlOf({ runcmd: after }))]
  return Buffer.from(multipart(parts), "utf8")
}
