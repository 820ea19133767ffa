/**
 * Owns how a request becomes one exec: the constant command, and the stdin that carries driver text and request; and
 * the way back, for hosts that are no shell. What the driver does is in the .sh files beside this one, read once at
 * module load; nothing of a request ever becomes part of a command or of shell text.
 */
import { readFileSync } from "node:fs"
import * as Result from "effect/Result"
import { type Request, STATE_DIR } from "../Protocol.ts"
import { decodeRequest, encodeRequest, type WireError } from "../Wire.ts"

/** What a request to look needs. */
const LOOKING = ["base", "tenancy", "inspect", "accept"] as const
/** What the detached driver needs, then what who is connected needs beside it: the first does not read the second. */
const DRIVING = [
  "base",
  "tenancy",
  "lock",
  "request",
  "journal",
  "process",
  "environment",
  "output",
  "watchdog",
  "step",
  "files",
  "run"
] as const
const FOLLOWING = ["attach", "follow", "main"] as const
/** And what only a cleaning needs, of each. */
const CLEANING = ["clean"] as const
const RECLAIMING = ["reclaim"] as const

/** Comments stay here: every exec would carry them. A driver line that begins with `#` is a comment, always. */
const withoutComments = (text: string): string =>
  text
    .split("\n")
    .filter((line) => !/^\s*(#|$)/.test(line))
    .join("\n")

const textOf = (names: ReadonlyArray<string>): string =>
  `${names.map((name) => withoutComments(readFileSync(new URL(`./${name}.sh`, import.meta.url), "utf8"))).join("\n")}\n`

/** Only definitions until the last lines: a text that is cut short defines some functions and does nothing. */
export const inspectText: string = `${textOf(LOOKING)}inspect\n`
/**
 * To the shell that looked: it says `Accepted`, and takes what another exec would have been given. Begins with the newline
 * that a request does not end with.
 */
export const ACCEPT: Uint8Array = new TextEncoder().encode("\naccept\n")
/** The same; tests replace the one line `failpoint() { :; }` in both. */
export const runText: string = textOf([...DRIVING, "drive", ...FOLLOWING])
/** For everything else: a run, too, but with more to read. */
export const driverText: string = textOf([...DRIVING, ...CLEANING, "drive", ...RECLAIMING, ...FOLLOWING])

/** As they are sent, with every request. */
const encoder = new TextEncoder()
const inspectBytes = encoder.encode(inspectText)
const runBytes = encoder.encode(runText)
const driverBytes = encoder.encode(driverText)

/** Reads its script from stdin: nothing is written on the host. */
const INSPECT = "sh -s"

const NOT_ROOT = "machinist Refused unsupported not root: uid"
const NO_STORE = `machinist DriverError the request can not be stored in ${STATE_DIR}: is the disk full or read-only?`

/**
 * Stores its stdin in a file that root alone can read, and runs that. One line, no `!`: the user's login shell, which
 * sees it first, may be a csh. The claim's tag is unset because an sshd that a step restarted hands it to us. Who we are
 * is read, not asked of `id`: every process of an exec is one of each machine. The same shell goes on with the text; but bash,
 * which would read all of the file for that, blobs too, is started anew.
 */
const STORE_AND_RUN = `sh -c '${[
  "umask 077",
  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  "export PATH",
  "unset MACHINIST_CLAIM MACHINIST_STEP MACHINIST_DRIVER ENV BASH_ENV",
  "u=-",
  `{ while read -r k r e x; do if [ "$k" = Uid: ]; then u=$e; break; fi; done </proc/self/status; } 2>/dev/null`,
  "case $u in -) u=$(id -u) ;; esac",
  `if [ "$u" -ne 0 ]; then printf "\\n${NOT_ROOT} %s\\n" "$u"; cat >/dev/null; exit 0; fi`,
  `d=${STATE_DIR}`,
  // Named for this process: its number, and its start, field 22. Its name, field 2, is sh.
  `{ read -r ${"x ".repeat(21)}s x </proc/$$/stat; } 2>/dev/null`,
  "f=$d/incoming.$$.$s",
  "while [ -e $f ]; do f=$f.x; done",
  // A text that was cut short within a definition ends this shell.
  'trap "rm -f $f" EXIT',
  '{ [ -d $d/lock ] || mkdir -p -m 700 $d $d/lock; } && cat >$f && { set -- $f; [ -z "$BASH_VERSION" ] || exec sh $f $f; . $f; }',
  "rm -f $f",
  `printf "\\n${NO_STORE}\\n"`,
  "cat >/dev/null",
  "exit 0"
].join("; ")}'`

const SUDO = "sudo -n "
/** The login shell becomes what it runs, instead of waiting for it. Every shell knows the word. */
const BECOME = "exec "

export interface Exec {
  readonly command: string
  readonly stdin: Uint8Array
}

export const execOf = (request: Request, useSudo: boolean): Result.Result<Exec, WireError> => {
  const [command, text] =
    request.verb === "inspect"
      ? [INSPECT, inspectBytes]
      : [STORE_AND_RUN, request.verb === "run" ? runBytes : driverBytes]
  return Result.map(encodeRequest(request, text), (stdin) => ({
    command: `${useSudo ? SUDO : BECOME}${command}`,
    stdin
  }))
}

/** Undefined: not a command of ours. */
export const readExec = (
  command: string,
  stdin: Uint8Array
): Result.Result<{ readonly sudo: boolean; readonly request: Request }, WireError> | undefined => {
  const sudo = command.startsWith(SUDO)
  const prefix = sudo ? SUDO : BECOME
  if (command !== prefix + INSPECT && command !== prefix + STORE_AND_RUN) return undefined
  return Result.map(decodeRequest(stdin), (request) => ({ sudo, request }))
}
