/**
 * Owns `machinist controller` as a child process of a test: the real command line, its log, its metrics, SIGKILL. It dies
 * with the test that started it.
 */
import { createServer } from "node:net"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as CommandLine from "../../support/CommandLine.ts"

/** What the controller logs when every watch has synced and every object has its actor. */
const RUNS = '"provider runs"'
/** Lines of its log that are kept for the message of a test that failed. */
const KEPT_LINES = 400

export interface Controller {
  /** Ends when it runs; fails when it ended before. */
  readonly running: Effect.Effect<void, Error>
  readonly isRunning: () => boolean
  readonly hasEnded: () => boolean
  readonly log: () => ReadonlyArray<string>
  /** SIGKILL; ends when the process has. */
  readonly kill: Effect.Effect<void>
  /** SIGTERM; the exit code. */
  readonly stop: Effect.Effect<number | undefined>
  /** The Prometheus text of /metrics. */
  readonly metrics: Effect.Effect<string, Error>
}

/**
 * Compiles the program into a directory until the scope closes: with it in NODE_COMPILE_CACHE a controller begins in half
 * the time. One that is killed leaves nothing there itself.
 */
export const compiled: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function* () {
  const directory = yield* CommandLine.directory
  yield* CommandLine.run(["controller", "--help"], { environment: { NODE_COMPILE_CACHE: directory } })
  return directory
})

const freePort = Effect.callback<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    const port = address === null || typeof address === "string" ? 0 : address.port
    server.close(() => resume(Effect.succeed(port)))
  })
})

export interface ControllerOptions {
  /** Flags as `--name=value`, besides those of every test or instead of them. */
  readonly flags?: ReadonlyArray<string>
  readonly environment?: Readonly<Record<string, string>>
}

export const start = (
  kubeconfig: string,
  namespace: string,
  options: ControllerOptions = {}
): Effect.Effect<Controller, never, Scope.Scope> =>
  Effect.gen(function* () {
    const port = yield* freePort
    const given = options.flags ?? []
    const nameOf = (flag: string): string => flag.replace(/=.*/, "")
    const always = [
      `--kubeconfig=${kubeconfig}`,
      `--namespace=${namespace}`,
      "--json",
      "--verbosity=4",
      "--health-addr=0",
      `--diagnostics-address=127.0.0.1:${port}`,
      "--insecure-diagnostics",
      // Connections and writes are counted.
      "--pool-probe-interval=0"
    ]
    const flags = [...always.filter((flag) => !given.some((one) => nameOf(one) === nameOf(flag))), ...given]
    const lines: Array<string> = []
    let runs = false
    const { environment = {} } = options
    const child = yield* CommandLine.start(["controller", ...flags], { boundToRunner: true, environment })
    for (const stream of [child.stdout, child.stderr]) {
      let rest = ""
      stream?.setEncoding("utf8").on("data", (text: string) => {
        const parts = (rest + text).split("\n")
        rest = parts.pop() ?? ""
        for (const line of parts) {
          if (line.includes(RUNS)) runs = true
          lines.push(line)
          if (lines.length > KEPT_LINES) lines.shift()
        }
      })
    }
    const over = () => child.exitCode !== null || child.signalCode !== null
    return {
      isRunning: () => runs && !over(),
      hasEnded: over,
      running: Effect.suspend(() =>
        over() && !runs ? Effect.die(new Error(`the controller ended:\n${lines.slice(-20).join("\n")}`)) : Effect.void
      ).pipe(
        Effect.andThen(Effect.suspend(() => (runs ? Effect.void : Effect.fail(new Error("does not run yet"))))),
        Effect.retry(Schedule.max([Schedule.spaced("20 millis"), Schedule.recurs(3_000)]))
      ),
      log: () => lines,
      kill: Effect.asVoid(CommandLine.signalled(child, "SIGKILL")),
      stop: CommandLine.signalled(child, "SIGTERM"),
      metrics: Effect.tryPromise({
        try: async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text(),
        catch: (cause) => new Error("no metrics", { cause })
      })
    }
  })

/** When it runs. */
export const begin = (kubeconfig: string, namespace: string, options: ControllerOptions = {}) =>
  Effect.tap(start(kubeconfig, namespace, options), ({ running }) => running)
