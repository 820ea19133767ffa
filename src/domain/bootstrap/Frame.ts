/**
 * Owns what our rendered data puts around its steps where nobody watches them (cloud-init, Ignition): the environment is
 * read again before each, a file that was not written stops everything, and what failed can be found on the host. Not
 * the steps, nor how they travel. A host run needs none of it: its driver does the same (hosts/), and skips these lines.
 *
 * All of it is harmless for readers that run every line in a shell of its own, where the functions are unknown.
 */
import { quote } from "./ShellWords.ts"

/** Steps as they begin, and where it stopped and how; also on standard error, so in cloud-init-output.log or the journal. */
export const BOOTSTRAP_LOG = "/var/log/machinist-bootstrap.log"

export const STOP_AT_FAILURE = "set -e"

const OPENING = "# machinist: around the steps"

/** Reads assignments, runs nothing: a value with blanks or `$(…)` is only a value. */
const ENVIRONMENT = `machinist_environment() {
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

/** A log that can't be written (a full or read-only disk) fails nothing. */
const LOG = `machinist_log() {
  echo "machinist: $1" >&2
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1" 2>/dev/null >>${BOOTSTRAP_LOG} || true
}`

const STEP = `machinist_step() {
  machinist_at=$1
  machinist_log "$1"
  machinist_environment
}`

/** cloud-init goes on past files that it could not write. */
const FILES = `machinist_files() {
  for path in "$@"; do
    [ -e "$path" ] || { machinist_log "failed: the file $path was not written"; machinist_at=; exit 1; }
  done
}`

const END = `machinist_done() { machinist_log "all steps succeeded"; machinist_at=; }
machinist_at=
trap 'code=$?; [ -z "$machinist_at" ] || machinist_log "failed: $machinist_at, exit code $code"' EXIT`

/** Once, before everything else. */
export const OPEN_FRAME = [OPENING, ENVIRONMENT, LOG, STEP, FILES, END].join("\n")

const call = (name: string, words: ReadonlyArray<string>): string =>
  `! command -v ${name} >/dev/null || ${[name, ...words].join(" ")}`

/** `label`: one printable line, without secrets. */
export const stepFrame = (label: string): string => call("machinist_step", [quote(label)])

export const stepLabel = (index: number, count: number, name: string): string =>
  `step ${index + 1} of ${count}: ${name}`

export const filesFrame = (paths: ReadonlyArray<string>): string => call("machinist_files", paths.map(quote))

export const CLOSE_FRAME = call("machinist_done", [])

const CALL = /^! command -v (machinist_[a-z]+) >\/dev\/null \|\| \1(?: [^\n]*)?$/

/** Whether a command of bootstrap data is only this. */
export const isFrame = (command: string): boolean => {
  const text = command.trimEnd()
  return text === STOP_AT_FAILURE || text.startsWith(`${OPENING}\n`) || CALL.test(text)
}
