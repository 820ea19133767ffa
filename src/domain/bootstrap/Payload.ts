/**
 * Owns what a bootstrap is, apart from any format: files, then named steps. cloud-config and ignition are renderings
 * of it; a host run takes it as it is (hosts/Protocol's RunFile and RunStep have these shapes).
 */
import { quote } from "./ShellWords.ts"

export interface BootstrapFile {
  /** Absolute. */
  readonly path: string
  readonly content: Uint8Array
  /** Octal, four digits. */
  readonly mode: string
  /** `user:group` or `user`; absent: root:root. */
  readonly owner?: string
  readonly append?: boolean
}

export interface Step {
  /** One line; never made from a command's text, which may hold secrets. */
  readonly name: string
  /** Run as `sh FILE`, or `sh -c TEXT`, in a shell of its own. */
  readonly script: string
}

export interface Payload {
  readonly files: ReadonlyArray<BootstrapFile>
  readonly steps: ReadonlyArray<Step>
}

/** Control characters have no place in paths: they can't be carried, shown, or meant. */
export const hasControlCharacters = (text: string): boolean => /\p{Cc}/u.test(text)

/** How a command carries its name through formats that have no place for one: as its first line. */
const STEP_COMMENT = "# step: "
/** Characters. */
const MAX_STEP_NAME_LENGTH = 64

/** `name` must be one printable line. */
export const namedStep = (name: string, command: string): Step => ({
  name,
  script: `${STEP_COMMENT}${name}\n${command.endsWith("\n") ? command : `${command}\n`}`
})

/** The name in a command's first line, when it was given one. */
export const stepNameOf = (script: string): string | undefined => {
  if (!script.startsWith(STEP_COMMENT)) return undefined
  const [line = ""] = script.slice(STEP_COMMENT.length).split("\n", 1)
  const name = line
    .replace(/[^\x20-\x7e]/g, "")
    .trim()
    .slice(0, MAX_STEP_NAME_LENGTH)
  return name === "" ? undefined : name
}

export const SCRIPT_STEP_NAME = "all commands"

/** A line that is in none of the scripts, to end here-documents with. */
const delimiterFor = (scripts: ReadonlyArray<string>): string => {
  const lines = new Set(scripts.flatMap((script) => script.split("\n")))
  let delimiter = "END_OF_STEP"
  while (lines.has(delimiter)) delimiter += "_"
  return delimiter
}

/**
 * `commandsAsScript`: all steps as one. Each still runs in a shell of its own. The first that fails ends a bootstrap;
 * a cleaning goes on (`keepGoing`), and fails at its end if any step did.
 * The commands go through a file in a directory of mode 0700, not through `sh -c`: an argument list is public on the host.
 */
export const commandsAsScript = (
  steps: ReadonlyArray<Step>,
  after: "stopAtFailure" | "keepGoing" = "stopAtFailure"
): Step => {
  const delimiter = delimiterFor(steps.map((step) => step.script))
  const parts = steps.map((step) =>
    [
      `cat >"$steps/step" <<'${delimiter}'`,
      step.script.endsWith("\n") ? step.script.slice(0, -1) : step.script,
      delimiter,
      `sh "$steps/step" || { code=$?; echo ${quote(`step failed: ${step.name}`)} >&2; ${after === "keepGoing" ? "failed=$code" : 'exit "$code"'}; }`
    ].join("\n")
  )
  return namedStep(
    SCRIPT_STEP_NAME,
    ["set -eu", "failed=0", "steps=$(mktemp -d)", `trap 'rm -rf "$steps"' EXIT`, ...parts, 'exit "$failed"'].join("\n")
  )
}

/** The words of a `#!` line: an interpreter, and at most one argument; the system's shell when there is none. */
const interpreterOf = (text: string): ReadonlyArray<string> => {
  const line = /^#![ \t]*(\S+)[ \t]*([^\n]*)/.exec(text)
  if (line?.[1] === undefined) return ["sh"]
  const argument = (line[2] ?? "").trim()
  return argument === "" ? [line[1]] : [line[1], argument]
}

/**
 * A whole script with its own interpreter, as a step. Through a file that only root can read, started by its interpreter:
 * an argument list is public on the host, and its disk may be mounted noexec.
 */
export const scriptStep = (name: string, text: string): Step => {
  const delimiter = delimiterFor([text])
  return namedStep(
    name,
    [
      "set -eu",
      "directory=$(mktemp -d)",
      `trap 'rm -rf "$directory"' EXIT`,
      `cat >"$directory/script" <<'${delimiter}'`,
      text.endsWith("\n") ? text.slice(0, -1) : text,
      delimiter,
      'chmod 700 "$directory/script"',
      `${interpreterOf(text).map(quote).join(" ")} "$directory/script"`
    ].join("\n")
  )
}
