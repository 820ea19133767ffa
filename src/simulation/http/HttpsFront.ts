/**
 * Owns the HTTPS front of the simulated API server: TLS on loopback, bearer token, one fiber a request, and an end that
 * leaves no watch hanging. With it, kubectl and every other Kubernetes client can talk to the simulation; from then on
 * managedFields are kept for every write, also of clients in memory.
 *
 * Unlike a real one (and besides what the store does otherwise, SimulatedApiServer.ts):
 * - no-rbac: no RBAC, users, client certificates, impersonation, audit; whoever has the token may do everything (Access.ts)
 * - json-answers: never protobuf or CBOR; protobuf bodies are read for the built-in kinds (Protobuf.ts)
 * - empty-openapi-v2: for clients that read it as protobuf only
 * - no-rate-limits: nor priority and fairness
 * - http1: no HTTP/2
 * - no-webhooks: nor admission policies, APIServices, aggregation
 * - no-conversion: between versions of a kind but the apiVersion itself
 * - no-past-lists: resourceVersionMatch=Exact answers 410 unless it is the present
 * - duplicate-fields: of a body are not told
 * - few-subresources: no connect, proxy, exec, log, eviction, binding, token, finalize
 * - few-kinds: apiserver/builtin's and the definitions' posted to it; no workloads or RBAC; Events are core/v1 alone
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import { createServer, type Server } from "node:https"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ApiStatus, internalError } from "../apiserver/Status.ts"
import type { SimulatedApiServerShape } from "../SimulatedApiServer.ts"
import { type Authenticate, type Bearer, bearerOf, oneToken } from "./Access.ts"
import type { Api } from "./Api.ts"
import { dispatch, isPublic } from "./Dispatch.ts"
import { trackWrites } from "./fields/ManagedFields.ts"
import { kubeconfigOf } from "./Kubeconfig.ts"
import { type Reply, refusal, yamlText } from "./Reply.ts"
import { type ApiRequest, fromNode } from "./Request.ts"
import { nodeFor } from "./Schemas.ts"
import { LOOPBACK, makeIdentity, type ServerIdentity } from "./ServerIdentity.ts"
import { subresourcesOf } from "./Subresources.ts"

/** Sockets at once; a watch has one of its own. */
const MAX_CONNECTIONS = 8192
/** Longer than clients keep idle sockets (Go: 90 s), so that it is they who close them. In milliseconds. */
const IDLE_SOCKET_MILLIS = 120_000
/** For sockets to be read empty at the end, in milliseconds. */
const CLOSE_GRACE_MILLIS = 1000

export interface HttpsFrontOptions {
  readonly server: SimulatedApiServerShape
  /** Default: one the system chooses. */
  readonly port?: number | undefined
  /** Default: made anew. */
  readonly identity?: Omit<ServerIdentity, "madeMillis"> | undefined
  /** Where it listens: an address of this machine. Default: loopback. */
  readonly address?: string | undefined
  /** Default: whoever has the identity's token may do everything. */
  readonly authenticate?: Authenticate | undefined
}

export interface HttpsFront {
  readonly url: string
  readonly port: number
  readonly token: string
  readonly caPem: string
  /** YAML; holds the token. */
  readonly kubeconfig: string
}

export class FrontError extends Data.TaggedError("FrontError")<{
  readonly message: string
  /** True: the address is none of this machine's. */
  readonly isElsewhere?: boolean
}> {}

const unauthorized = new ApiStatus({ code: 401, reason: "Unauthorized", message: "Unauthorized" })

/** Who asks for what needs no token. */
const nobody: Bearer = { refusal: () => undefined, answered: () => Effect.void }

/** A body is text; a watch is written as it comes, no faster than it is read. */
const send = (response: ServerResponse, reply: Reply, yaml: boolean, pretty: boolean): Effect.Effect<void> => {
  const end = (code: number, contentType: string, body: string, warnings: ReadonlyArray<string> = []) =>
    Effect.sync(() => {
      response.setHeader("content-type", contentType)
      response.setHeader("cache-control", "no-cache, private")
      if (reply._tag === "Json" && reply.retryAfterSeconds !== undefined) {
        response.setHeader("retry-after", reply.retryAfterSeconds)
      }
      if (warnings.length > 0) {
        response.setHeader(
          "warning",
          warnings.map((warning) => `299 - ${JSON.stringify(warning)}`)
        )
      }
      response.writeHead(code, { "content-length": Buffer.byteLength(body) })
      response.end(body)
    })
  switch (reply._tag) {
    case "Text":
      return end(reply.code, "text/plain; charset=utf-8", reply.text)
    case "Raw":
      return end(reply.code, reply.contentType ?? "application/json", reply.text)
    case "Json": {
      const contentType = reply.contentType ?? (yaml ? "application/yaml" : "application/json")
      const text = yaml ? yamlText(reply.body) : JSON.stringify(reply.body, null, pretty ? 2 : undefined)
      return end(reply.code, contentType, text, reply.warnings)
    }
    case "Watch":
      return Effect.andThen(
        Effect.sync(() => {
          response.setHeader("content-type", reply.contentType)
          response.setHeader("cache-control", "no-cache, private")
          response.writeHead(200)
          // The client learns that it watches before anything happens.
          response.flushHeaders()
        }),
        Stream.runForEachArray(reply.lines, (lines) => write(response, lines.join("")))
      ).pipe(Effect.ensuring(Effect.sync(() => response.end())))
  }
}

const write = (response: ServerResponse, text: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (response.write(text) || response.destroyed) return Effect.void
    return Effect.callback<void>((resume) => {
      const done = () => resume(Effect.void)
      response.once("drain", done)
      response.once("close", done)
      return Effect.sync(() => {
        response.off("drain", done)
        response.off("close", done)
      })
    })
  })

/** What clients may read of a defect; the log has the rest. */
const defect = refusal(internalError("the simulated API server failed to answer; its log says more"))

const handler = (api: Api, authenticate: Authenticate) => {
  const bearer = (message: IncomingMessage, request: ApiRequest): Effect.Effect<Bearer | undefined> => {
    const { authorization } = message.headers
    if (authorization === undefined) return Effect.succeed(isPublic(request.path) ? nobody : undefined)
    const token = bearerOf(authorization)
    return token === undefined ? Effect.succeed(undefined) : authenticate(token)
  }
  const handled = (message: IncomingMessage, request: ApiRequest): Effect.Effect<Reply, ApiStatus> =>
    Effect.flatMap(bearer(message, request), (who) => {
      if (who === undefined) return Effect.fail(unauthorized)
      const refused = who.refusal(request)
      if (refused !== undefined) return Effect.fail(refused)
      return Effect.tap(dispatch(api, request), (reply) => who.answered(request, reply))
    })
  const answer = (message: IncomingMessage): Effect.Effect<readonly [Reply, boolean, boolean]> => {
    const request = fromNode(message)
    if (request === undefined) return Effect.succeed([{ _tag: "Text", code: 400, text: "bad request\n" }, false, false])
    const yaml = /^\s*application\/yaml\b/i.test(request.accept)
    return handled(message, request).pipe(
      Effect.catch((status) => Effect.succeed(refusal(status))),
      Effect.catchDefect((cause) =>
        Effect.as(Effect.logError("a request failed", request.method, request.path, cause), defect)
      ),
      Effect.map((reply) => [reply, yaml, /[?&]pretty=(?:1|true)\b/.test(message.url ?? "")] as const)
    )
  }
  return (message: IncomingMessage, response: ServerResponse): Effect.Effect<void> =>
    Effect.flatMap(answer(message), ([reply, yaml, pretty]) => send(response, reply, yaml, pretty))
}

const listen = (server: Server, address: string, port: number): Effect.Effect<number, FrontError> =>
  Effect.callback((resume) => {
    const failed = (error: NodeJS.ErrnoException) =>
      resume(
        Effect.fail(
          new FrontError({
            message: `can't listen on ${address}:${port}: ${error.message} (choose another --port)`,
            isElsewhere: error.code === "EADDRNOTAVAIL" || error.code === "ENOTFOUND"
          })
        )
      )
    server.once("error", failed)
    server.listen(port, address, () => {
      server.off("error", failed)
      const bound = server.address()
      resume(Effect.succeed(bound === null || typeof bound === "string" ? port : bound.port))
    })
  })

/** No new connections; what is open ends when it is done, or after the grace. */
const close = (server: Server): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    server.closeIdleConnections()
  }).pipe(Effect.timeoutOption(CLOSE_GRACE_MILLIS), Effect.andThen(Effect.sync(() => server.closeAllConnections())))

/** Serves until the scope ends. */
export const make = (
  options: HttpsFrontOptions
): Effect.Effect<HttpsFront, FrontError, Scope.Scope | SecureRandom.SecureRandom> =>
  Effect.gen(function* () {
    const identity = options.identity ?? (yield* makeIdentity)
    const { store } = options.server
    store.fieldTracker = trackWrites(nodeFor)
    const https = createServer({ key: identity.keyPem, cert: identity.certPem, keepAliveTimeout: IDLE_SOCKET_MILLIS })
    https.maxConnections = MAX_CONNECTIONS
    const port = yield* Effect.acquireRelease(listen(https, options.address ?? LOOPBACK, options.port ?? 0), () =>
      close(https)
    )
    // After the listener, so that it ends before it: the watches' fibers go first, and with them their sockets.
    const run = yield* FiberSet.makeRuntime()
    const host = options.address ?? LOOPBACK
    const address = `${host.includes(":") ? `[${host}]` : host}:${port}`
    const api: Api = { address, server: options.server, subresources: subresourcesOf(store) }
    const handle = handler(api, options.authenticate ?? oneToken(identity.token))
    https.on("request", (message, response) => {
      const fiber = run(handle(message, response))
      response.once("close", () => fiber.interruptUnsafe())
    })
    // A client that speaks no TLS, or breaks off: its own affair.
    https.on("tlsClientError", () => {})
    const url = `https://${address}`
    return { url, port, token: identity.token, caPem: identity.caPem, kubeconfig: kubeconfigOf(url, identity) }
  })
