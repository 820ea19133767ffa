/**
 * Owns writing a bootstrap as `#cloud-config`: bytes that depend on nothing but the input, that PyYAML (YAML 1.1) reads
 * back exactly, and that stop at the first failing command under real cloud-init. Reading is CloudConfigParse.ts.
 *
 * cloud-init makes one `sh` script of `runcmd`: strings as they are, lists with each item quoted. It runs on past a
 * failed entry, and without /etc/environment. Hence: `set -e` first; before each command the environment is read again;
 * each command is a list, `/bin/sh -c TEXT`: a shell of its own.
 */
import { Document, Scalar } from "yaml"
import { multipart, type Part } from "./Multipart.ts"
import type { BootstrapFile, Payload, Step } from "./Payload.ts"

export const STOP_AT_FAILURE = "set -e"

/** Reads assignments, runs nothing: a value with blanks or `$(…)` is only a value. */
export const DEFINE_ENVIRONMENT = `machinist_environment() {
  [ -r /etc/environment ] || return 0
  while read -r line || [ -n "$line" ]; do
    line=\${line#export }
    case $line in [A-Za-z_]*=*) ;; *) continue ;; esac
    name=\${line%%=*} value=\${line#*=}
    case $name in *[!A-Za-z0-9_]*) continue ;; esac
    case $value in
      \\"*\\") value=\${value#?} value=\${value%?} ;;
      \\'*\\') value=\${value#?} value=\${value%?} ;;
    esac
    export "$name=$value"
  done </etc/environment
  return 0
}`
/** Harmless for readers that run every entry in a shell of its own, where the function is unknown. */
export const LOAD_ENVIRONMENT = "! command -v machinist_environment >/dev/null || machinist_environment"

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

const writeFile = (file: BootstrapFile): Record<string, unknown> => {
  const plain = utf8(file.content)
  const readable = plain !== undefined && !UNUSUAL.test(plain)
  return {
    path: text(file.path),
    permissions: quoted(file.mode),
    ...(file.owner === undefined ? {} : { owner: quoted(file.owner) }),
    ...(file.append === true ? { append: true } : {}),
    ...(readable
      ? { content: text(plain) }
      : { encoding: "b64", content: Buffer.from(file.content).toString("base64") })
  }
}

/** `0600` without quotes is a number in YAML 1.1. */
const quoted = (value: string): Scalar<string> => {
  const scalar = new Scalar(value)
  scalar.type = Scalar.QUOTE_DOUBLE
  return scalar
}

const runcmd = (steps: ReadonlyArray<Step>): ReadonlyArray<unknown> =>
  steps.flatMap((step) => [LOAD_ENVIRONMENT, ["/bin/sh", "-c", text(step.script)]])

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

const config = (files: ReadonlyArray<BootstrapFile>, commands: ReadonlyArray<unknown>): Record<string, unknown> => ({
  ...(files.length === 0 ? {} : { write_files: files.map(writeFile) }),
  runcmd: commands
})

const opening: ReadonlyArray<unknown> = [STOP_AT_FAILURE, text(DEFINE_ENVIRONMENT)]

/** How cloud-init joins our lists with those of the parts before; its default lets the last part replace the first. */
export const APPEND_LISTS = "list(append)+dict(no_replace,recurse_list)+str()"

/** k0smotron takes custom user data without its header line. */
const customPart = (userData: string): Part => {
  const start = userData.trimStart()
  const typed = start.startsWith("#") && /^#(#|!|cloud|include|part|upstart)/.test(start)
  return {
    type: typed && !start.startsWith(CLOUD_CONFIG_HEADER) ? "text/plain" : "text/cloud-config",
    headers: { "Merge-Type": APPEND_LISTS },
    body: typed ? userData : `${CLOUD_CONFIG_HEADER}\n${userData}`
  }
}

/**
 * The bootstrap data. With custom user data: a multipart of our config, theirs, and the last step (the sentinel), so
 * that their commands, too, must succeed before the bootstrap counts as done.
 */
export const renderCloudConfig = (payload: Payload, customUserData?: string): Uint8Array => {
  if (customUserData === undefined || customUserData.trim() === "") {
    return Buffer.from(withHeaders(yamlOf(config(payload.files, [...opening, ...runcmd(payload.steps)]))), "utf8")
  }
  const last = payload.steps.slice(-1)
  const parts: ReadonlyArray<Part> = [
    {
      type: "text/cloud-config",
      headers: { "Merge-Type": APPEND_LISTS },
      body: `${CLOUD_CONFIG_HEADER}\n${yamlOf(config(payload.files, [...opening, ...runcmd(payload.steps.slice(0, -1))]))}`
    },
    customPart(customUserData),
    {
      type: "text/cloud-config",
      headers: { "Merge-Type": APPEND_LISTS },
      body: `${CLOUD_CONFIG_HEADER}\n${yamlOf(config([], runcmd(last)))}`
    }
  ]
  return Buffer.from(multipart(parts), "utf8")
}
