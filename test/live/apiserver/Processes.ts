/**
 * Owns the processes that live tests start beside them: free ports, output kept for the message of a test that failed, an
 * end with the test that started them, and waiting until one answers. Does not own what is started.
 */
import { type ChildProcess, execFile, type SpawnOptions, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"

/** The first start on a busy machine takes about 10 s: looked at every 100 ms for a minute of waiting at least. */
export const READY = Schedule.max([Schedule.spaced("100 millis"), Schedule.recurs(600)])
/** Between SIGTERM and SIGKILL. */
const STOP_GRACE_MS = 5_000
/** Of a process's output, for the error that says why it did not start. */
const LOG_TAIL_CHARACTERS = 4_000

/** Ports that are free now; taken together so that they differ. */
export const freePorts = (count: number): Effect.Effect<ReadonlyArray<number>, Error> =>
  Effect.tryPromise({
    try: async () => {
      const servers = await Promise.all(
        Array.from(
          { length: count },
          () =>
            new Promise<{ readonly port: number; readonly close: () => Promise<void> }>((resolve, reject) => {
              const server = createServer()
              server.once("error", reject)
              server.listen(0, "127.0.0.1", () => {
                const address = server.address()
                if (address === null || typeof address === "string") return reject(new Error("no port"))
                resolve({ port: address.port, close: () => new Promise((done) => server.close(() => done())) })
              })
            })
        )
      )
      await Promise.all(servers.map((server) => server.close()))
      return servers.map((server) => server.port)
    },
    catch: (cause) => new Error("no free ports", { cause })
  })

export interface Running {
  readonly pid: number
  readonly output: () => string
  readonly exited: () => boolean
  readonly stop: (first: NodeJS.Signals) => Promise<void>
}

/** `setpriv --pdeathsig` has the kernel end the child when a killed test runner can't. */
const hasSetpriv = spawnSync("setpriv", ["--version"]).status === 0

export const startProcess = (
  command: string,
  args: ReadonlyArray<string>,
  environment: Readonly<Record<string, string>> = {}
): Running => {
  const options: SpawnOptions = { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...environment } }
  const child: ChildProcess = hasSetpriv
    ? spawn("setpriv", ["--pdeathsig", "KILL", command, ...args], options)
    : spawn(command, args, options)
  let tail = ""
  let exited = false
  const keep = (data: Buffer) => {
    tail = (tail + data.toString("utf8")).slice(-LOG_TAIL_CHARACTERS)
  }
  child.stdout?.on("data", keep)
  child.stderr?.on("data", keep)
  const gone = new Promise<void>((resolve) => {
    const done = () => {
      exited = true
      resolve()
    }
    child.once("exit", done)
    child.once("error", (error) => {
      tail += error.message
      done()
    })
  })
  return {
    pid: child.pid ?? -1,
    output: () => tail,
    exited: () => exited,
    stop: async (first) => {
      if (exited) return
      child.kill(first)
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS)
      await gone
      clearTimeout(timer)
    }
  }
}

const readyz = (url: string, token: string, path: string): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    // curl and not fetch: the certificate is self-signed, and this must not depend on the client under test.
    const child = execFile(
      "curl",
      ["-sk", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", "@-", `${url}${path}`],
      { encoding: "utf8" },
      (error, stdout) =>
        resume(error === null && stdout === "200" ? Effect.void : Effect.fail(new Error(`${path} answered ${stdout}`)))
    )
    child.stdin?.end(`Authorization: Bearer ${token}\n`)
    return Effect.sync(() => child.kill())
  })

export const waitReady = (process: Running, url: string, token: string, path: string): Effect.Effect<void, Error> =>
  Effect.suspend(() =>
    process.exited() ? Effect.die(new Error(`ended at once:\n${process.output()}`)) : readyz(url, token, path)
  ).pipe(
    Effect.retry(READY),
    Effect.mapError((cause) => new Error(`${url}${path} did not become ready:\n${process.output()}`, { cause }))
  )

/** What a build script prints on stdout; its progress is the message when it fails. */
export const scriptOutput = (script: string): Effect.Effect<string, Error> =>
  Effect.callback((resume) => {
    const child = execFile(script, { encoding: "utf8", maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) =>
      resume(
        error === null
          ? Effect.succeed(stdout.trim())
          : Effect.fail(new Error(`${script}: ${stderr.slice(-LOG_TAIL_CHARACTERS)}`))
      )
    )
    return Effect.sync(() => child.kill())
  })

/** A directory of our own, removed at the end. */
export const temporaryDirectory: Effect.Effect<string, never, Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-apiserver-"))),
  (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
)

export const scopedProcess = (make: () => Running): Effect.Effect<{ current: Running }, never, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => ({ current: make() })),
    (held) => Effect.promise(() => held.current.stop("SIGTERM"))
  )
