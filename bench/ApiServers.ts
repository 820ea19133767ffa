/**
 * Owns the two API servers that the api scenarios compare, each a process of its own with our CRDs: the simulated one behind
 * its HTTPS front, and a real kube-apiserver on etcd; and a client of both that costs as little as can be. Does not own
 * what is asked.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import type { IncomingMessage } from "node:http"
import { Agent, request } from "node:https"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Yaml from "yaml"
import { makeKubeClient } from "../src/kube/LiveKubeClient.ts"
import { applyCrds, start as startReal } from "../test/live/apiserver/ApiServer.ts"
import { BenchError, type Prepared, type Sample } from "./Scenario.ts"

const MAIN = fileURLToPath(new URL("../src/main.ts", import.meta.url))
const START_SECONDS = 60
/** Requests in flight, and connections kept for them. */
export const CONCURRENCY = 16
const COLLECTION = "/apis/infrastructure.cluster.x-k8s.io/v1beta1/namespaces/default/remotemachines"
/** A round that takes longer hangs. */
const ROUND_SECONDS = 300
const WATCH_RETRY = "100 millis"
const WATCH_TRIES = 100

export interface Server {
  /** Creates that many RemoteMachines, `CONCURRENCY` at a time. */
  readonly create: (count: number) => Effect.Effect<void, BenchError>
  /** One list of all of them; its bytes. */
  readonly list: Effect.Effect<number, BenchError>
  /** Opens that many watches; the effect inside ends when each has seen as many objects come. */
  readonly watch: (
    watchers: number,
    count: number
  ) => Effect.Effect<Effect.Effect<void, BenchError>, BenchError, Scope.Scope>
  readonly clear: Effect.Effect<void, BenchError>
}

interface Access {
  readonly url: string
  readonly ca: string
  readonly token: string
}

const failed = (scenario: string, message: string) => new BenchError({ scenario, message })

const machine = (name: string) =>
  JSON.stringify({
    apiVersion: "infrastructure.cluster.x-k8s.io/v1beta1",
    kind: "RemoteMachine",
    metadata: { name, labels: { "cluster.x-k8s.io/cluster-name": "bench" } },
    spec: { pool: "default", customCleanUpCommands: ["systemctl stop k0sworker", "k0s reset"] }
  })

const ADDED = Buffer.from('{"type":"ADDED"')

const clientOf = (scenario: string, { ca, token, url }: Access): Server => {
  const { hostname, port } = new URL(url)
  const options = { hostname, port, ca, servername: "", headers: { authorization: `Bearer ${token}` } }
  const agent = new Agent({ keepAlive: true, maxSockets: CONCURRENCY })
  const ask = (method: string, path: string, body?: string): Effect.Effect<number, BenchError> =>
    Effect.callback((resume) => {
      const asked = request(
        {
          ...options,
          agent,
          method,
          path,
          headers: {
            ...options.headers,
            ...(body === undefined
              ? {}
              : { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
          }
        },
        (response) => {
          let bytes = 0
          response.on("data", (data: Buffer) => {
            bytes += data.byteLength
          })
          response.on("end", () => {
            const { statusCode = 0 } = response
            resume(
              statusCode < 300
                ? Effect.succeed(bytes)
                : Effect.fail(failed(scenario, `${method} ${path} answered ${statusCode}`))
            )
          })
        }
      )
      asked.on("error", (error) => resume(Effect.fail(failed(scenario, `${method} ${path}: ${error.message}`))))
      asked.end(body)
      return Effect.sync(() => asked.destroy())
    })

  const opened = (count: number) =>
    Effect.callback<{ readonly response: IncomingMessage; readonly seen: Promise<void> }, BenchError>((resume) => {
      const asked = request(
        { ...options, agent: false, path: `${COLLECTION}?watch=true&resourceVersion=0` },
        (response) => {
          if (response.statusCode !== 200) {
            response.resume()
            return resume(Effect.fail(failed(scenario, `a watch was answered ${response.statusCode}`)))
          }
          let left = count
          let rest: Buffer = Buffer.alloc(0)
          const seen = new Promise<void>((resolve) => {
            response.on("data", (data: Buffer) => {
              const all = rest.byteLength === 0 ? data : Buffer.concat([rest, data])
              let from = 0
              for (let end = all.indexOf(10, from); end >= 0; end = all.indexOf(10, from)) {
                if (all.subarray(from, from + ADDED.byteLength).equals(ADDED)) left -= 1
                from = end + 1
              }
              rest = all.subarray(from)
              if (left <= 0) resolve()
            })
          })
          response.on("error", () => undefined)
          resume(Effect.succeed({ response, seen }))
        }
      )
      asked.on("error", (error) => resume(Effect.fail(failed(scenario, `a watch: ${error.message}`))))
      asked.end()
      return Effect.sync(() => asked.destroy())
      // A server that has just started asks to come back (429).
    }).pipe(Effect.retry(Schedule.max([Schedule.spaced(WATCH_RETRY), Schedule.recurs(WATCH_TRIES)])))

  let rounds = 0
  return {
    create: (count) => {
      const round = rounds++
      return Effect.forEach(
        Array.from({ length: count }),
        (_, index) => ask("POST", COLLECTION, machine(`m-${round}-${index}`)),
        { concurrency: CONCURRENCY, discard: true }
      )
    },
    // As a reflector lists: of what the server has in memory.
    list: ask("GET", `${COLLECTION}?resourceVersion=0`),
    watch: Effect.fnUntraced(function* (watchers, count) {
      const open = yield* Effect.acquireRelease(
        Effect.forEach(Array.from({ length: watchers }), () => opened(count), { concurrency: CONCURRENCY }),
        (all) => Effect.sync(() => all.forEach(({ response }) => void response.destroy()))
      )
      return Effect.promise(() => Promise.all(open.map(({ seen }) => seen))).pipe(
        Effect.asVoid,
        Effect.timeoutOrElse({
          duration: `${ROUND_SECONDS} seconds`,
          orElse: () => Effect.fail(failed(scenario, "not every watch saw every object"))
        })
      )
    }),
    clear: Effect.asVoid(ask("DELETE", COLLECTION))
  }
}

const simulated = Effect.fnUntraced(function* (scenario: string) {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-bench-"))),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )
  const path = join(directory, "kubeconfig")
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [MAIN, "simulate", "--no-core", "--json", "--kubeconfig", path], {
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (started) => Effect.sync(() => started.kill("SIGKILL"))
  )
  yield* Effect.callback<void, BenchError>((resume) => {
    child.stdout.once("data", () => resume(Effect.void))
    child.once("exit", (code) => resume(Effect.fail(failed(scenario, `machinist simulate ended with ${code}`))))
  }).pipe(
    Effect.timeoutOrElse({
      duration: `${START_SECONDS} seconds`,
      orElse: () => Effect.fail(failed(scenario, `machinist simulate was not up after ${START_SECONDS} s`))
    })
  )
  const config: unknown = Yaml.parse(readFileSync(path, "utf8"))
  const text = (...keys: ReadonlyArray<string | number>): string =>
    String(keys.reduce<unknown>((value, key) => Reflect.get(Object(value), key), config))
  return {
    url: text("clusters", 0, "cluster", "server"),
    ca: Buffer.from(text("clusters", 0, "cluster", "certificate-authority-data"), "base64").toString("utf8"),
    token: text("users", 0, "user", "token")
  }
})

const real = Effect.gen(function* () {
  const { caPem, kubeconfigPath, token, url } = yield* startReal
  yield* applyCrds(yield* makeKubeClient({ _tag: "Files", path: kubeconfigPath }))
  return { url, ca: caPem, token }
})

/** Both servers, and the same measurement on each: ours, and as its limit the real one's. */
export const bothServers = Effect.fnUntraced(function* (
  scenario: string,
  measure: (server: Server) => Effect.Effect<Sample, BenchError>
): Effect.fn.Return<Prepared, BenchError, Scope.Scope> {
  const ours = clientOf(scenario, yield* simulated(scenario))
  const theirs = yield* real.pipe(Effect.mapError(({ message }) => failed(scenario, message)))
  return { run: measure(ours), limit: measure(clientOf(scenario, theirs)) }
})
