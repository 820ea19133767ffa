/**
 * Owns `machinist` as a process of a test: the real command line, what it says, SIGKILL. It ends with the test that began it.
 * Does not own what is asked of it.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"

export const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url))

export interface StartOptions {
  readonly environment?: Readonly<Record<string, string>>
  /** Of live suites, on Linux: the kernel ends it when a killed test runner can't. */
  readonly boundToRunner?: boolean
}

const begin = (args: ReadonlyArray<string>, { boundToRunner, environment }: StartOptions): ChildProcess => {
  const options = {
    stdio: ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment }
  }
  return boundToRunner === true
    ? spawn("setpriv", ["--pdeathsig", "KILL", process.execPath, MAIN, ...args], options)
    : spawn(process.execPath, [MAIN, ...args], options)
}

/** The exit code; undefined: a signal ended it. */
export const ended = (child: ChildProcess): Effect.Effect<number | undefined> =>
  Effect.promise(
    () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode ?? undefined)
        else child.once("exit", (code) => resolve(code ?? undefined))
      })
  )

export const signalled = (child: ChildProcess, signal: NodeJS.Signals): Effect.Effect<number | undefined> =>
  Effect.suspend(() => {
    child.kill(signal)
    return ended(child)
  })

/** Runs until it ends by itself, or the scope does. */
export const start = (
  args: ReadonlyArray<string>,
  options: StartOptions = {}
): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => begin(args, options)),
    (child) => Effect.asVoid(signalled(child, "SIGKILL"))
  )

export interface Ended {
  /** Null: a signal ended it. */
  readonly code: number | null
  readonly lines: ReadonlyArray<string>
  readonly errors: string
}

/** To its end. `meanwhile` sees every line as it comes, and may signal. */
export const run = (
  args: ReadonlyArray<string>,
  options: StartOptions & { readonly meanwhile?: (line: string, signal: (name: NodeJS.Signals) => void) => void } = {}
): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const child = begin(args, options)
    const lines: Array<string> = []
    let rest = ""
    let errors = ""
    child.stderr?.on("data", (data: Buffer) => {
      errors += data.toString()
    })
    child.stdout?.on("data", (data: Buffer) => {
      const parts = (rest + data.toString()).split("\n")
      rest = parts.pop() ?? ""
      for (const line of parts) {
        lines.push(line)
        options.meanwhile?.(line, (name) => void child.kill(name))
      }
    })
    child.once("close", (code) => resume(Effect.succeed({ code, lines, errors })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** The first line that it says, or how it failed. */
export const firstLine = (child: ChildProcess): Effect.Effect<string> =>
  Effect.promise(async () => {
    let text = ""
    child.stderr?.on("data", (data: Buffer) => {
      text += data.toString("utf8")
    })
    for await (const data of child.stdout ?? []) {
      text += String(data)
      if (text.includes("\n")) break
    }
    return text.split("\n", 1)[0] ?? ""
  })

/** Gone with the scope. */
export const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-cli-"))),
  (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
)

/** A client of what a kubeconfig file leads to. */
export const using = <A, E>(kubeconfig: string, use: (client: KubeClientShape) => Effect.Effect<A, E>) =>
  Effect.scoped(Effect.flatMap(makeKubeClient({ _tag: "Files", path: kubeconfig }), use))
