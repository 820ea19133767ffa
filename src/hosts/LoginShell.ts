/**
 * Owns finding out whether an account's login shell runs what it is told: nologin, false, git-shell or an sshd's
 * ForceCommand let a user in and run something else. Asked only when an exec came to nothing: it costs another one.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { SshProcess, SshSession } from "../ssh/SshClient.ts"
import type { SshError } from "../ssh/SshError.ts"

const ANSWER = "machinist-shell"
/** For one echo; past it the connection is not worth another look. */
const ASK_SECONDS = 10
/** Of what is said instead. */
const SAID_BYTES = 2 * 1024

/** What runs in place of our commands: how it ended, and what it said. */
export interface Instead {
  readonly exit: string
  readonly said: string
}

export const exitText = ({ code, signal }: { readonly code?: number; readonly signal?: string }): string =>
  code === undefined ? `signal ${signal ?? "unknown"}` : `exit ${code}`

const textOf = (output: SshProcess["stdout"]): Effect.Effect<string, SshError> =>
  Stream.runFold(
    output,
    () => "",
    (said: string, bytes) => (said.length > SAID_BYTES ? said : said + Buffer.from(bytes).toString())
  )

/** Undefined: commands are run, or it could not be found out. */
export const whatRunsInstead = (session: SshSession): Effect.Effect<Instead | undefined> =>
  Effect.gen(function* () {
    const process = yield* session.exec(`echo ${ANSWER}`, new Uint8Array(0))
    const outputs = [textOf(process.stdout), textOf(process.stderr)]
    const [stdout = "", stderr = ""] = yield* Effect.all(outputs, { concurrency: "unbounded" })
    const end = yield* process.exit
    const isAnswer = (line: string) => line.trim() === ANSWER
    // What was killed is no answer: the host may be going down.
    if (end.code === undefined || stdout.split("\n").some(isAnswer)) return undefined
    return { exit: exitText(end), said: `${stdout}\n${stderr}` }
  }).pipe(
    Effect.scoped,
    Effect.timeoutOrElse({ duration: `${ASK_SECONDS} seconds`, orElse: () => Effect.succeed(undefined) }),
    Effect.orElseSucceed(() => undefined)
  )
