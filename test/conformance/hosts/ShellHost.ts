/**
 * Owns a ConformanceHost made of any SshClient to a host with a real shell, and of a root shell beside it (nsenter) for
 * what the test itself does there. Failpoints are put into the driver text on its way. Does not own the host.
 */
import * as Effect from "effect/Effect"
import type { HostAccess } from "../../../src/hosts/HostRuns.ts"
import { STATE_DIR } from "../../../src/hosts/Protocol.ts"
import type { SshClientShape } from "../../../src/ssh/SshClient.ts"
import { pauseProgram, printfEscaped } from "./PauseProgram.ts"
import type { ConformanceHost } from "./World.ts"

export interface ShellParts {
  readonly ssh: SshClientShape
  readonly access: HostAccess
  /** Runs a script as root in the host. */
  readonly sh: (script: string) => Effect.Effect<{ readonly code: number; readonly stdout: string }>
  readonly reboot?: Effect.Effect<void>
  readonly accounts?: NonNullable<ConformanceHost["accounts"]>
  /** STATE_DIR is a small file system of its own, that may be filled to the brim. */
  readonly smallStateDir?: boolean
}

const DIR = "/srv/conformance"
const FAILPOINT = "failpoint() { :; }"

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

/** Counts its calls in a file; at the `n`-th the caller dies, or everything on the host. */
const lethal = (n: number, how: "process" | "power"): string =>
  [
    "failpoint() {",
    `fp_n=$({ echo x >>${DIR}/failpoints; wc -l <${DIR}/failpoints; } 2>/dev/null)`,
    `[ "$fp_n" -ne ${n} ] || ${how === "power" ? "kill -9 -1; kill -9 $$" : "kill -9 $$"}`,
    "}"
  ].join("\n")

/** A follower looks for a dead driver once a tick: sooner in tests. */
const TICK = /TICK_SECONDS=5\nTICKS_A_HEARTBEAT=3\nLAUNCH_TICKS=2\n/
const TEST_TICK = "TICK_SECONDS=0.2\nTICKS_A_HEARTBEAT=15\nLAUNCH_TICKS=25\n"

const replaced = (stdin: Uint8Array, failpoint: string): Uint8Array => {
  // Latin-1 keeps every byte of the request that follows the text. Only the first occurrence, which is the driver's.
  const text = Buffer.from(stdin).toString("latin1")
  return new Uint8Array(Buffer.from(text.replace(FAILPOINT, () => failpoint).replace(TICK, TEST_TICK), "latin1"))
}

export const makeShellHost = Effect.fnUntraced(function* (parts: ShellParts): Effect.fn.Return<ConformanceHost> {
  const { sh } = parts
  let failpoint = FAILPOINT
  const run = (script: string) => Effect.asVoid(sh(script))
  const output = (script: string) => Effect.map(sh(script), ({ stdout }) => stdout)
  const writeFile = (path: string, text: string) =>
    run(`mkdir -p "$(dirname ${quoted(path)})"; printf %s ${quoted(text)} >${quoted(path)}`)
  yield* run(`mkdir -p ${DIR}`)
  yield* run(`printf '${printfEscaped(pauseProgram())}' >${DIR}/program; chmod 755 ${DIR}/program`)
  const ssh: SshClientShape = {
    connect: (target) =>
      Effect.map(parts.ssh.connect(target), (session) => {
        const { begin } = session
        return {
          ...session,
          exec: (command, stdin) => session.exec(command, replaced(stdin, failpoint)),
          ...(begin === undefined
            ? {}
            : {
                begin: (command, stdin) =>
                  Effect.map(begin(command, replaced(stdin, failpoint)), (dialog) => ({
                    ...dialog,
                    write: (bytes) => dialog.write(replaced(bytes, failpoint)),
                    end: (bytes) => dialog.end(replaced(bytes, failpoint))
                  }))
              })
        }
      })
  }
  return {
    ssh,
    access: parts.access,
    dir: DIR,
    program: `${DIR}/program`,
    readFile: (path) =>
      Effect.map(sh(`cat ${quoted(path)} 2>/dev/null`), ({ code, stdout }) => (code === 0 ? stdout : undefined)),
    writeFile,
    remove: (path) => run(`rm -rf ${quoted(path)}`),
    stateBytes: Effect.map(
      output(`du -sk ${STATE_DIR} 2>/dev/null | { read -r size rest; echo "$size"; }`),
      (kilobytes) => Number(kilobytes.trim()) * 1024
    ),
    stateListing: output(`ls -lR ${STATE_DIR} 2>&1`),
    running: (comm) =>
      Effect.map(output(`cat /proc/[0-9]*/comm 2>/dev/null | grep -cx ${quoted(comm)}`), (text) => Number(text.trim())),
    startUntagged: (path) => run(`setsid ${quoted(path)} 1000 </dev/null >/dev/null 2>&1 &`),
    loseRecord: run(`rm -f ${STATE_DIR}/tenancy`),
    loseJournal: (claim) => run(`rm -f ${STATE_DIR}/runs/${claim}/journal`),
    killDriver: run(
      `for f in ${STATE_DIR}/runs/*/driver ${STATE_DIR}/runs/*/clean/*/driver; do [ ! -e "$f" ] || { read -r boot pid start <"$f"; kill -9 "$pid"; }; done`
    ),
    failAt: (n, how = "process") =>
      Effect.andThen(
        // A driver that is armed already must not reach its number a second time.
        n === undefined ? Effect.void : run(`: >${DIR}/failpoints`),
        Effect.sync(() => {
          failpoint = lethal(n ?? 0, how)
        })
      ),
    failpointsPassed: Effect.map(output(`[ ! -e ${DIR}/failpoints ] || wc -l <${DIR}/failpoints`), (text) =>
      Number(text.trim())
    ),
    ...(parts.reboot === undefined ? {} : { reboot: parts.reboot }),
    ...(parts.accounts === undefined ? {} : { accounts: parts.accounts }),
    ...(parts.smallStateDir === true
      ? {
          fillDisk: (full: boolean) =>
            run(full ? `cat /dev/zero >${STATE_DIR}/.filler 2>/dev/null` : `rm -f ${STATE_DIR}/.filler`)
        }
      : {})
  }
})
