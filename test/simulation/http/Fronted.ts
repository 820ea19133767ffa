/**
 * Owns a simulated API server with its HTTPS front for tests, a kubeconfig file of it, and plain requests to it. Does not
 * own what is asked.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { Agent, request as httpsRequest } from "node:https"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as HttpsFront from "../../../src/simulation/http/HttpsFront.ts"
import * as SimulatedApiServer from "../../../src/simulation/SimulatedApiServer.ts"

export interface Answer {
  readonly code: number
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly text: string
  /** Parsed, where it is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly body: any
}

export interface Ask {
  readonly method?: string
  readonly body?: unknown
  readonly contentType?: string
  readonly accept?: string
  /** Null: none is sent. */
  readonly token?: string | null
  readonly userAgent?: string
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const asker = (front: HttpsFront.HttpsFront) => {
  const agent = new Agent({ ca: front.caPem, keepAlive: false })
  return (path: string, ask: Ask = {}): Effect.Effect<Answer, Error> =>
    Effect.callback((resume) => {
      const body = typeof ask.body === "string" || ask.body === undefined ? ask.body : JSON.stringify(ask.body)
      const request = httpsRequest(
        {
          agent,
          host: "127.0.0.1",
          port: front.port,
          // As it is: a URL would resolve its dots.
          path,
          method: ask.method ?? (body === undefined ? "GET" : "POST"),
          headers: {
            ...(ask.token === null ? {} : { authorization: `Bearer ${ask.token ?? front.token}` }),
            ...(body === undefined
              ? {}
              : {
                  "content-type": ask.contentType ?? "application/json",
                  "content-length": Buffer.byteLength(body)
                }),
            ...(ask.accept === undefined ? {} : { accept: ask.accept }),
            ...(ask.userAgent === undefined ? {} : { "user-agent": ask.userAgent })
          }
        },
        (response) => {
          const chunks: Array<Buffer> = []
          response.on("data", (chunk: Buffer) => chunks.push(chunk))
          response.on("end", () => {
            const text = Buffer.concat(chunks).toString("utf8")
            resume(
              Effect.succeed({
                code: response.statusCode ?? 0,
                headers: response.headers,
                text,
                body: parsed(text)
              })
            )
          })
          response.on("error", (error) => resume(Effect.fail(error)))
        }
      )
      request.on("error", (error) => resume(Effect.fail(error)))
      request.end(body)
      return Effect.sync(() => request.destroy())
    })
}

export const fronted = Effect.fnUntraced(function* (options: SimulatedApiServer.SimulatedApiServerOptions = {}) {
  const server = yield* SimulatedApiServer.make(options)
  const front = yield* HttpsFront.make({ server }).pipe(Effect.provide(SecureRandom.layerWebCrypto))
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-front-"))),
    (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
  )
  const kubeconfigPath = join(directory, "kubeconfig")
  writeFileSync(kubeconfigPath, front.kubeconfig, { mode: 0o600 })
  return { server, front, directory, kubeconfigPath, ask: asker(front) }
})

export type Fronted = Effect.Success<ReturnType<typeof fronted>>
