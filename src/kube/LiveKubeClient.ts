/**
 * Owns the KubeClient of a real API server: verbs to HTTP and back, paging, version discovery, watches.
 * Does not own sockets and credentials (Connection.ts, Credentials.ts), decoding (Decode.ts), nor resuming a watch
 * (Reflector.ts).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { apiVersionOf, type Kind, type KubeObject } from "../api/Kind.ts"
import * as Connection from "./Connection.ts"
import { type CredentialsSource, defaultSource } from "./Credentials.ts"
import { decodeEvent, decodeObject, lines } from "./Decode.ts"
import * as Discovery from "./Discovery.ts"
import {
  type Json,
  type JsonObject,
  KubeClient,
  type KubeClientShape,
  type ListOptions,
  type ObjectList,
  type UndecodableObject,
  type WatchEvent
} from "./KubeClient.ts"
import type { KubeError } from "./KubeError.ts"
import { arrayAt, fail, isUnservedError, recordAt, type Subject, stringAt, subjectOf } from "./Status.ts"

export type { CredentialsSource } from "./Credentials.ts"

/** Objects a page: what client-go asks for. */
const PAGE_LIMIT = 500
/**
 * A watch is closed by the server after this long, and up to twice that; in seconds. Sooner than its silence counts: of a
 * kind that nobody changes a server may not even send bookmarks, unless its etcd often tells it of progress.
 */
const WATCH_SECONDS = 60
/** One that neither said a word nor closed the watch by then is gone; in milliseconds. */
const WATCH_SILENCE_MS = 150_000
/** Who wrote a field, in managedFields. */
const FIELD_MANAGER = "machinist"

/** One API server, and what is known of the versions it serves. */
interface Server {
  readonly connection: Connection.Connection
  readonly discovery: Discovery.Discovery
}

/** An object or a collection; a namespaced collection without a namespace is that of all namespaces. */
interface Address {
  readonly namespace?: string | undefined
  readonly name?: string | undefined
  readonly subresource?: string | undefined
}

const pathOf = (kind: Kind<KubeObject>, version: string, { namespace, name, subresource }: Address): string => {
  const root = kind.group === "" ? `/api/${version}` : `/apis/${kind.group}/${version}`
  const within = namespace === undefined ? "" : `/namespaces/${encodeURIComponent(namespace)}`
  const object = name === undefined ? "" : `/${encodeURIComponent(name)}`
  return `${root}${within}/${kind.plural}${object}${subresource === undefined ? "" : `/${subresource}`}`
}

/** What a path segment of the API may not be: with an empty name a DELETE would mean the whole collection. */
const badSegment = (segment: string): boolean =>
  segment === "" || segment === "." || segment === ".." || /[/%]/.test(segment)

const checkAddress = (
  subject: Subject,
  kind: Kind<KubeObject>,
  { namespace, name }: Address,
  allNamespaces: boolean
): Effect.Effect<void, KubeError> => {
  const refuse = (message: string) => Effect.fail(fail(subject, "BadRequest", message))
  if (namespace !== undefined && !kind.namespaced) return refuse(`${kind.kind} has no namespace`)
  if (namespace === undefined && kind.namespaced && !allNamespaces) return refuse(`${kind.kind} needs a namespace`)
  const bad = [namespace, name].find((segment) => segment !== undefined && badSegment(segment))
  return bad === undefined ? Effect.void : refuse(`${JSON.stringify(bad)} is not a name`)
}

const selectors = (options: ListOptions | undefined): Record<string, string> => ({
  ...(options?.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
  ...(options?.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector })
})

const preconditions = (options?: {
  readonly uid?: string | undefined
  readonly resourceVersion?: string | undefined
}): Record<string, string> => ({
  ...(options?.uid === undefined ? {} : { uid: options.uid }),
  ...(options?.resourceVersion === undefined ? {} : { resourceVersion: options.resourceVersion })
})

const warnSkipped = (kind: Kind<KubeObject>, object: UndecodableObject) =>
  Effect.logWarning("object skipped: it does not have the shape its kind promises").pipe(
    Effect.annotateLogs({
      kind: kind.kind,
      namespace: object.namespace ?? "",
      name: object.name,
      complaint: object.message
    })
  )

/**
 * Runs `act` with the version of the kind that the server serves. When the server says that it serves none of that
 * (any more), nothing was carried out: the version is looked up anew, and `act` run once more if it is another one.
 */
const withVersion = <A, R>(
  server: Server,
  kind: Kind<KubeObject>,
  act: (version: string) => Effect.Effect<A, KubeError, R>
): Effect.Effect<A, KubeError, R> =>
  Effect.flatMap(server.discovery.version(kind), (version) =>
    act(version).pipe(
      Effect.catchIf(
        (error) => isUnservedError(error) && server.discovery.forget(kind),
        (error) =>
          Effect.flatMap(server.discovery.version(kind), (other) =>
            other === version ? Effect.fail(error) : act(other)
          )
      )
    )
  )

const decodeOne = <A extends KubeObject>(subject: Subject, kind: Kind<A>, version: string, body: unknown) => {
  const decoded = decodeObject(kind, apiVersionOf(kind.group, version), body)
  return Result.isSuccess(decoded)
    ? Effect.succeed(decoded.success)
    : Effect.fail(fail(subject, "Decode", decoded.failure.message))
}

/** One request about one object whose answer is that object. */
const objectRequest = <A extends KubeObject>(
  server: Server,
  subject: Subject,
  kind: Kind<A>,
  address: Address,
  options: (version: string) => Omit<Connection.RequestOptions, "path">
): Effect.Effect<A, KubeError> =>
  Effect.andThen(
    checkAddress(subject, kind, address, false),
    withVersion(server, kind, (version) =>
      server.connection
        .request(subject, { ...options(version), path: pathOf(kind, version, address) })
        .pipe(Effect.flatMap((body) => decodeOne(subject, kind, version, body)))
    )
  )

/**
 * All pages of one snapshot. A continue token that expires midway (410) makes what was read worthless: everything is
 * asked for again, once, in one piece, which cannot expire.
 */
const listPages = <A extends KubeObject>(
  server: Server,
  subject: Subject,
  kind: Kind<A>,
  version: string,
  options: ListOptions | undefined
): Effect.Effect<ObjectList<A>, KubeError> => {
  const apiVersion = apiVersionOf(kind.group, version)
  const path = pathOf(kind, version, { namespace: options?.namespace })
  const read = (limit: number | undefined) =>
    Effect.gen(function* () {
      const items: Array<A> = []
      const undecodable: Array<UndecodableObject> = []
      let resourceVersion: string | undefined
      let next = ""
      do {
        const query = {
          ...selectors(options),
          ...(limit === undefined ? {} : { limit: String(limit) }),
          ...(next === "" ? {} : { continue: next })
        }
        const page = yield* server.connection.request(subject, { method: "GET", path, query })
        for (const raw of arrayAt(page, "items")) {
          const decoded = decodeObject(kind, apiVersion, raw)
          if (Result.isSuccess(decoded)) items.push(decoded.success)
          else undecodable.push(decoded.failure)
        }
        const metadata = recordAt(page, "metadata")
        resourceVersion ??= stringAt(metadata, "resourceVersion")
        next = stringAt(metadata, "continue") ?? ""
      } while (next !== "")
      if (resourceVersion === undefined) {
        return yield* Effect.fail(fail(subject, "Decode", "the list has no resourceVersion"))
      }
      yield* Effect.forEach(undecodable, (object) => warnSkipped(kind, object), { discard: true })
      return { items, resourceVersion, ...(undecodable.length === 0 ? {} : { undecodable }) }
    })
  return Effect.catchIf(
    read(PAGE_LIMIT),
    (error) => error.reason === "Gone",
    () => read(undefined)
  )
}

const list =
  (server: Server): KubeClientShape["list"] =>
  (kind, options) => {
    const subject = subjectOf("list", kind.kind, options?.namespace === undefined ? {} : options)
    return Effect.andThen(
      checkAddress(subject, kind, { namespace: options?.namespace }, true),
      withVersion(server, kind, (version) => listPages(server, subject, kind, version, options))
    ).pipe(Effect.withSpan("KubeClient.list", { attributes: { kind: kind.kind } }))
  }

const watch =
  (server: Server): KubeClientShape["watch"] =>
  <A extends KubeObject>(kind: Kind<A>, options: ListOptions & { readonly resourceVersion: string }) => {
    const subject = subjectOf("watch", kind.kind, options.namespace === undefined ? {} : options)
    const open = (version: string) =>
      Effect.gen(function* () {
        const seconds = yield* Random.nextIntBetween(WATCH_SECONDS, 2 * WATCH_SECONDS)
        const bytes = yield* server.connection.stream(subject, {
          method: "GET",
          path: pathOf(kind, version, { namespace: options.namespace }),
          query: {
            ...selectors(options),
            watch: "true",
            allowWatchBookmarks: "true",
            resourceVersion: options.resourceVersion,
            timeoutSeconds: String(seconds)
          }
        })
        const silent = fail(subject, "Unavailable", `nothing came for ${WATCH_SILENCE_MS / 1000} s`)
        const watched = bytes.pipe(
          Stream.timeoutOrElse({ duration: WATCH_SILENCE_MS, orElse: () => Stream.fail(silent) })
        )
        const apiVersion = apiVersionOf(kind.group, version)
        return lines(subject, watched).pipe(
          Stream.mapEffect((line) => Effect.fromResult(decodeEvent(kind, apiVersion, subject, line))),
          Stream.filter((event): event is WatchEvent<A> => event !== undefined),
          Stream.tap((event) =>
            event._tag === "Bookmark" && event.skipped !== undefined ? warnSkipped(kind, event.skipped) : Effect.void
          )
        )
      })
    return Stream.unwrap(
      Effect.andThen(
        checkAddress(subject, kind, { namespace: options.namespace }, true),
        withVersion(server, kind, open)
      )
    )
  }

const create =
  (server: Server): KubeClientShape["create"] =>
  (kind, object) => {
    const namespace = stringAt(object.metadata, "namespace")
    const subject: Subject = { verb: "create", kind: kind.kind, namespace, name: stringAt(object.metadata, "name") }
    return objectRequest(server, subject, kind, { namespace }, (version) => ({
      method: "POST",
      query: { fieldManager: FIELD_MANAGER },
      body: { ...object, apiVersion: apiVersionOf(kind.group, version), kind: kind.kind }
    })).pipe(Effect.withSpan("KubeClient.create", { attributes: { ...subject } }))
  }

const isJsonObject = (json: Json | undefined): json is JsonObject =>
  typeof json === "object" && json !== null && !Array.isArray(json)

const get =
  (server: Server): KubeClientShape["get"] =>
  (kind, ref) => {
    const subject = subjectOf("get", kind.kind, ref)
    return objectRequest(server, subject, kind, ref, () => ({ method: "GET" })).pipe(
      Effect.withSpan("KubeClient.get", { attributes: { ...subject } })
    )
  }

const patch =
  (server: Server): KubeClientShape["patch"] =>
  (kind, ref, changes, options) => {
    const subject = subjectOf("patch", kind.kind, ref)
    const given = changes["metadata"]
    const metadata: JsonObject = { ...(isJsonObject(given) ? given : {}), ...preconditions(options) }
    return objectRequest(server, subject, kind, { ...ref, subresource: options?.subresource }, () => ({
      method: "PATCH",
      query: { fieldManager: FIELD_MANAGER },
      contentType: "application/merge-patch+json",
      body: Object.keys(metadata).length === 0 ? changes : { ...changes, metadata }
    })).pipe(Effect.withSpan("KubeClient.patch", { attributes: { ...subject } }))
  }

const remove =
  (server: Server): KubeClientShape["delete"] =>
  (kind, ref, options) => {
    const subject = subjectOf("delete", kind.kind, ref)
    const conditions = preconditions(options)
    const body: JsonObject = {
      apiVersion: "v1",
      kind: "DeleteOptions",
      ...(Object.keys(conditions).length === 0 ? {} : { preconditions: conditions }),
      ...(options?.propagationPolicy === undefined ? {} : { propagationPolicy: options.propagationPolicy })
    }
    return Effect.andThen(
      checkAddress(subject, kind, ref, false),
      // The answer is the object or a Status, as the server likes: not read.
      withVersion(server, kind, (version) =>
        server.connection.request(subject, { method: "DELETE", path: pathOf(kind, version, ref), body })
      )
    ).pipe(Effect.asVoid, Effect.withSpan("KubeClient.delete", { attributes: { ...subject } }))
  }

/**
 * A client of the cluster that `source` names, for as long as the scope is open. Fails with verb `configure` when the
 * source can't be read; that the server is there is found out by the first request.
 */
export const makeKubeClient = (source: CredentialsSource): Effect.Effect<KubeClientShape, KubeError, Scope.Scope> =>
  Effect.map(Connection.make(source), (connection) => {
    const server: Server = {
      connection,
      discovery: Discovery.make((subject, path) => connection.request(subject, { method: "GET", path }))
    }
    return {
      get: get(server),
      list: list(server),
      watch: watch(server),
      create: create(server),
      patch: patch(server),
      delete: remove(server)
    }
  })

export const layer = (source: CredentialsSource): Layer.Layer<KubeClient, KubeError> =>
  Layer.effect(KubeClient, makeKubeClient(source))

/** `path` absent: the files of KUBECONFIG, else ~/.kube/config. `context` absent: the current one. */
export const layerFromFile = (path?: string, context?: string): Layer.Layer<KubeClient, KubeError> =>
  layer({ _tag: "Files", path, context })

/** A kubeconfig as it stands in a Secret; exec plugins and references to files are refused. */
export const layerFromString = (kubeconfig: string): Layer.Layer<KubeClient, KubeError> =>
  layer({ _tag: "Text", kubeconfig })

/** The service account of the pod we run in. */
export const layerInCluster: Layer.Layer<KubeClient, KubeError> = layer({ _tag: "InCluster" })

/** What a controller wants: `--kubeconfig`, else KUBECONFIG, else in-cluster, else ~/.kube/config. */
export const layerDefault = (path?: string, context?: string): Layer.Layer<KubeClient, KubeError> =>
  Layer.unwrap(Effect.sync(() => layer(defaultSource(path, context))))
