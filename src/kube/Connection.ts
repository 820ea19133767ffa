/**
 * Owns the sockets to one API server and the requests on them: bounded pools (watches have their own, so that they
 * cannot starve requests), credentials renewed in time and once more on a 401, timeouts, request metrics.
 * Does not own what is asked (LiveKubeClient.ts) nor where credentials come from (Credentials.ts).
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Undici from "@effect/platform-node/Undici"
import type { KubeConfig } from "@kubernetes/client-node/dist/config.js"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as HttpClient from "effect/http/HttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import type { HttpMethod } from "effect/http/HttpMethod"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import pkg from "../../package.json" with { type: "json" }
import { type Credentials, type CredentialsSource, load, resolve } from "./Credentials.ts"
import type { JsonObject } from "./KubeClient.ts"
import type { KubeError } from "./KubeError.ts"
import { fail, fromResponse, parseJson, type Subject } from "./Status.ts"

/** Requests on the wire at once, and sockets for them; the others wait their turn. */
const MAX_IN_FLIGHT_REQUESTS = 64
/** Sockets for watches. A watch that finds none free times out as `Unavailable`. */
const MAX_WATCHES = 256
/** For a whole request, or the head of a watch's response; in milliseconds. */
const REQUEST_TIMEOUT_MS = 30_000
const CONNECT_TIMEOUT_MS = 10_000
/** Idle sockets are closed well before a server (Go: 90 s) or a load balancer (60 s) does it under a request. */
const IDLE_SOCKET_MS = 30_000
/** How long resolved credentials are used before token files and plugins are asked again, in milliseconds. */
const CREDENTIALS_TTL_MS = 30_000
/** Of one response body: a page of 500 objects of 256 KiB. */
const MAX_RESPONSE_BYTES = 128 * 1024 * 1024

const requestsTotal = Metric.counter("machinist_kube_requests_total", {
  description: "Requests to Kubernetes API servers, by verb, kind and HTTP code (0: no answer)",
  incremental: true
})

export interface RequestOptions {
  readonly method: HttpMethod
  /** From the server's base, beginning with a slash, segments already encoded. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: JsonObject
  readonly contentType?: string
}

export interface Connection {
  readonly namespace: string | undefined
  /** Parsed JSON of a 2xx answer; everything else is a KubeError. */
  readonly request: (subject: Subject, options: RequestOptions) => Effect.Effect<unknown, KubeError>
  /** Body of a 2xx answer as it arrives; the request ends with the scope. */
  readonly stream: (
    subject: Subject,
    options: RequestOptions
  ) => Effect.Effect<Stream.Stream<Uint8Array, KubeError>, KubeError, Scope.Scope>
}

/** One set of credentials and the sockets opened with it. */
interface Session {
  readonly credentials: Credentials
  readonly requests: HttpClient.HttpClient
  readonly watches: HttpClient.HttpClient
  readonly close: Effect.Effect<void>
}

interface State {
  readonly config: KubeConfig
  readonly session: Session
  readonly resolvedAt: number
}

const transportMessage = (error: HttpClientError): string => {
  // Only the cause's own words: the error itself holds the request, with its Authorization header.
  const cause = error.reason.cause
  if (!(cause instanceof Error)) return error.reason._tag
  const code = "code" in cause && typeof cause.code === "string" ? `${cause.code}: ` : ""
  return cause.message.startsWith(code) ? cause.message : `${code}${cause.message}`
}

const makeDispatcher = (credentials: Credentials, connections: number): Effect.Effect<Undici.Dispatcher, KubeError> => {
  const base = {
    connections,
    pipelining: 1,
    keepAliveTimeout: IDLE_SOCKET_MS,
    // One socket a watch: over HTTP/2 a slow watch and all requests share one TCP window.
    allowH2: false
  }
  const { dispatcher: options } = credentials
  return Effect.suspend((): Effect.Effect<Undici.Dispatcher, KubeError> => {
    const connect = { timeout: CONNECT_TIMEOUT_MS, allowH2: false }
    switch (options.type) {
      case "none":
        return Effect.succeed(new Undici.Agent({ ...base, connect }))
      case "agent":
        return Effect.succeed(new Undici.Agent({ ...base, connect: { ...definedTls(options.connect), ...connect } }))
      case "proxy":
        return Effect.succeed(
          new Undici.ProxyAgent({
            ...base,
            uri: options.uri,
            requestTls: { ...definedTls(options.requestTls), ...connect }
          })
        )
      case "socks":
        return Effect.fail(
          fail({ verb: "configure", kind: "Kubeconfig" }, "BadRequest", "proxy-url: SOCKS proxies are not supported")
        )
    }
  })
}

/** The few TLS settings a kubeconfig can give (client-node types them as all of Node's). */
const definedTls = (tls: {
  readonly ca?: unknown
  readonly cert?: unknown
  readonly key?: unknown
  readonly rejectUnauthorized?: boolean | undefined
  readonly servername?: string | undefined
}) => {
  const pem = (value: unknown) => (typeof value === "string" || Buffer.isBuffer(value) ? value : undefined)
  const [ca, cert, key] = [pem(tls.ca), pem(tls.cert), pem(tls.key)]
  return {
    keepAlive: true,
    keepAliveInitialDelay: IDLE_SOCKET_MS,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(tls.rejectUnauthorized === undefined ? {} : { rejectUnauthorized: tls.rejectUnauthorized }),
    ...(tls.servername === undefined ? {} : { servername: tls.servername })
  }
}

const httpClient = (credentials: Credentials, connections: number) =>
  Effect.gen(function* () {
    const dispatcher = yield* Effect.acquireRelease(makeDispatcher(credentials, connections), (dispatcher) =>
      Effect.promise(() => dispatcher.destroy())
    )
    const client = yield* Effect.provideService(NodeHttpClient.makeUndici, NodeHttpClient.Dispatcher, dispatcher)
    return { dispatcher, client }
  })

/** Opens the pools of one set of credentials in a scope of their own; `close` lets what is in flight finish. */
const openSession = (parent: Scope.Scope, credentials: Credentials): Effect.Effect<Session, KubeError> =>
  Effect.uninterruptible(
    Effect.gen(function* () {
      const scope = yield* Scope.fork(parent)
      const [requests, watches] = yield* Effect.all([
        httpClient(credentials, MAX_IN_FLIGHT_REQUESTS),
        httpClient(credentials, MAX_WATCHES)
      ]).pipe(Scope.provide(scope))
      const drain = Effect.promise(() => Promise.all([requests.dispatcher.close(), watches.dispatcher.close()]))
      return {
        credentials,
        requests: requests.client,
        watches: watches.client,
        close: drain.pipe(Effect.ensuring(Scope.close(scope, Exit.void)), Effect.forkIn(parent), Effect.asVoid)
      }
    })
  )

/** `resolveNow`: the session to use, renewed when old, or at once when a 401 says so. */
const makeSessions = (source: CredentialsSource) =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const gate = yield* Semaphore.make(1)
    const config = yield* load(source)
    const credentials = yield* resolve(config)
    let state: State = {
      config,
      session: yield* openSession(scope, credentials),
      resolvedAt: yield* Clock.currentTimeMillis
    }

    const renew = (config: KubeConfig) =>
      Effect.gen(function* () {
        const credentials = yield* resolve(config)
        const now = yield* Clock.currentTimeMillis
        const old = state.session
        if (credentials.fingerprint === old.credentials.fingerprint) {
          state = { config, session: { ...old, credentials }, resolvedAt: now }
        } else {
          state = { config, session: yield* openSession(scope, credentials), resolvedAt: now }
          yield* old.close
        }
        return state.session
      })

    const current: Effect.Effect<Session, KubeError> = Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      if (now - state.resolvedAt < CREDENTIALS_TTL_MS) return state.session
      return yield* Semaphore.withPermit(
        gate,
        Effect.suspend(() =>
          now - state.resolvedAt < CREDENTIALS_TTL_MS ? Effect.succeed(state.session) : renew(state.config)
        )
      )
    })

    /** After a 401: the source is read again, once for all the requests that the old credentials failed. */
    const afterRefusal = (refused: Session): Effect.Effect<Session, KubeError> =>
      Semaphore.withPermit(
        gate,
        Effect.suspend(() =>
          state.session === refused ? Effect.flatMap(load(source), renew) : Effect.succeed(state.session)
        )
      )

    return { current, afterRefusal, namespace: credentials.namespace }
  })

const buildRequest = (session: Session, options: RequestOptions): HttpClientRequest.HttpClientRequest => {
  const search = options.query === undefined ? "" : new URLSearchParams(options.query).toString()
  const url = `${session.credentials.server}${options.path}${search === "" ? "" : `?${search}`}`
  const request = HttpClientRequest.make(options.method)(url, {
    headers: { ...session.credentials.headers, accept: "application/json", "user-agent": `machinist/${pkg.version}` }
  })
  return options.body === undefined
    ? request
    : HttpClientRequest.bodyText(request, JSON.stringify(options.body), options.contentType ?? "application/json")
}

const readText = (subject: Subject, response: HttpClientResponse): Effect.Effect<string, KubeError> => {
  const chunks: Array<Uint8Array> = []
  let bytes = 0
  return Stream.runForEachArray(response.stream, (arrived) => {
    for (const chunk of arrived) {
      bytes += chunk.byteLength
      chunks.push(chunk)
    }
    return bytes <= MAX_RESPONSE_BYTES
      ? Effect.void
      : Effect.fail(fail(subject, "Unavailable", `the answer is larger than ${MAX_RESPONSE_BYTES} bytes`))
  }).pipe(
    Effect.catchTag("HttpClientError", (error) => Effect.fail(fail(subject, "Unavailable", transportMessage(error)))),
    Effect.map(() => Buffer.concat(chunks).toString("utf8"))
  )
}

const count = (subject: Subject, code: number) =>
  Metric.update(Metric.withAttributes(requestsTotal, { verb: subject.verb, kind: subject.kind, code: String(code) }), 1)

const execute = (client: HttpClient.HttpClient, subject: Subject, request: HttpClientRequest.HttpClientRequest) =>
  HttpClient.withScope(client)
    .execute(request)
    .pipe(
      Effect.catch((error) => Effect.fail(fail(subject, "Unavailable", transportMessage(error)))),
      Effect.tap((response) => count(subject, response.status)),
      Effect.tapError(() => count(subject, 0)),
      // A span for each HTTP exchange would repeat the verb's own, and tell the API server our trace ids.
      Effect.provideService(Tracer.DisablePropagation, true)
    )

const timedOut = (subject: Subject) => () =>
  Effect.fail(fail(subject, "Unavailable", `no answer in ${REQUEST_TIMEOUT_MS / 1000} s`))

const refused = (subject: Subject, response: HttpClientResponse): Effect.Effect<never, KubeError> =>
  Effect.flatMap(readText(subject, response), (text) =>
    Effect.fail(fromResponse(subject, response.status, text, response.headers["retry-after"]))
  )

export const make = (source: CredentialsSource): Effect.Effect<Connection, KubeError, Scope.Scope> =>
  Effect.gen(function* () {
    const sessions = yield* makeSessions(source)
    const slots = yield* Semaphore.make(MAX_IN_FLIGHT_REQUESTS)

    /** Runs `exchange` with the current credentials, and once more with renewed ones if the server refuses them. */
    const authenticated = <A, R>(exchange: (session: Session) => Effect.Effect<A, KubeError, R>) =>
      Effect.flatMap(sessions.current, (session) =>
        exchange(session).pipe(
          Effect.catchIf(
            (error) => error.reason === "Unauthorized",
            () => Effect.flatMap(sessions.afterRefusal(session), exchange)
          )
        )
      )

    const request: Connection["request"] = (subject, options) =>
      authenticated((session) =>
        Effect.gen(function* () {
          const response = yield* execute(session.requests, subject, buildRequest(session, options))
          if (response.status < 200 || response.status > 299) return yield* refused(subject, response)
          const body = parseJson(yield* readText(subject, response))
          if (body !== undefined) return body
          return yield* Effect.fail(fail(subject, "Unavailable", `the server answered ${response.status}, but no JSON`))
        }).pipe(
          Effect.scoped,
          Effect.timeoutOrElse({ duration: REQUEST_TIMEOUT_MS, orElse: timedOut(subject) }),
          (exchange) => Semaphore.withPermit(slots, exchange)
        )
      )

    const stream: Connection["stream"] = (subject, options) =>
      authenticated((session) =>
        Effect.gen(function* () {
          const response = yield* execute(session.watches, subject, buildRequest(session, options))
          if (response.status < 200 || response.status > 299) return yield* refused(subject, response)
          return Stream.mapError(response.stream, (error) => fail(subject, "Unavailable", transportMessage(error)))
        }).pipe(Effect.timeoutOrElse({ duration: REQUEST_TIMEOUT_MS, orElse: timedOut(subject) }))
      )

    return { namespace: sessions.namespace, request, stream }
  })
