/**
 * Owns running a command of this machine to its end. Does not own what keeps running (Host.ts).
 */
import { spawn } from "node:child_process"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** `message` says what was asked of which host, and what came of it. */
export class TestHostError extends Schema.TaggedError<TestHostError>()("TestHostError", {
  message: Schema.String
}) {}

export interface CommandResult {
  /** 128 + signal number when a signal ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Bytes of output kept of one command. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024

/** Ends with the command; an interruption kills it. Fails only when it cannot be started. */
export const run = (
  command: string,
  args: ReadonlyArray<string>,
  stdin: string | Uint8Array = ""
): Effect.Effect<CommandResult, TestHostError> =>
  Effect.callback((resume) => {
    const child = spawn(command, [...args], { stdio: "pipe" })
    const collect = (stream: NodeJS.ReadableStream): (() => string) => {
      const chunks: Array<Buffer> = []
      let size = 0
      stream.on("data", (chunk: Buffer) => {
        if (size < MAX_OUTPUT_BYTES) chunks.push(chunk)
        size += chunk.length
      })
      return () => Buffer.concat(chunks).toString("utf8")
    }
    const stdout = collect(child.stdout)
    const stderr = collect(child.stderr)
    child.stdin.on("error", () => {}) // a command that reads nothing
    child.on("error", (error) =>
      resume(Effect.fail(new TestHostError({ message: `cannot start ${command}: ${error.message}` })))
    )
    child.on("close", (code, signal) =>
      resume(Effect.succeed({ code: code ?? (signal === "SIGKILL" ? 137 : 128), stdout: stdout(), stderr: stderr() }))
    )
    child.stdin.end(stdin)
    return Effect.sync(() => {
      child.kill("SIGKILL")
    })
  })

/** Like `run`, and fails unless the exit code is 0. */
export const runOk = (command: string, args: ReadonlyArray<string>): Effect.Effect<string, TestHostError> =>
  Effect.flatMap(run(command, args), ({ code, stderr, stdout }) =>
    code === 0
      ? Effect.succeed(stdout)
      : Effect.fail(new TestHostError({ message: `${command} ${args.join(" ")} ended with ${code}: ${stderr.trim()}` }))
  )
