/**
 * Owns the in-memory API server as a resource: store, controllers, clock ticks, clients with names, and what tests ask
 * of it (writes, snapshot, restore). Behaves as kube-apiserver with kube-controller-manager's garbage collector and
 * namespace controller; passes test/conformance/kube. Does not own CAPI's controllers, hosts, or faults (Faults.ts).
 *
 * Unlike a real one:
 * - never-stale: reads show every write at once (a fault lists the past, Faults.ts)
 * - early-watch-ends: a watch ends after five to ten minutes, not half an hour to an hour; clients meet it more often
 * - idle-bookmarks: a watch gets one a minute, come what may; a real one, of a kind that nobody changes, only when etcd
 *   tells of progress, which by default it does every ten minutes
 * - history-by-count: how far back a watch may begin is a number of events, not a time
 * - prompt-controllers: garbage and namespaces are taken away without delay, unless a pace is given
 * - empty-namespaces: no ServiceAccount, root certificates or Service come by themselves
 * - no-namespace-conditions: a namespace that is going does not say what it waits for
 * - established-at-once: a definition serves its kind with the next request
 * - unmanaged-fields: managedFields are kept only once there is an HTTPS front
 * - no-size-limit: of an object, but for the front's of a request
 * - no-cel-budget, no-cel-types: CEL rules are neither weighed nor checked against the schema
 * - javascript-patterns: are not RE2's
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { Kind, KubeObject } from "../api/Kind.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../kube/KubeClient.ts"
import { ApiStore } from "./apiserver/ApiStore.ts"
import { coreTypes } from "./apiserver/builtin/CoreTypes.ts"
import { definitionType, typeOfDefinition } from "./apiserver/builtin/Definitions.ts"
import { type ControllerPace, Controllers } from "./apiserver/Controllers.ts"
import { EventExpiry } from "./apiserver/EventExpiry.ts"
import { Decoders, makeInMemoryKubeClient, type ServerParts } from "./apiserver/InMemoryKubeClient.ts"
import { stringAt } from "./apiserver/Json.ts"
import { Reads } from "./apiserver/Reads.ts"
import type { Outcome } from "./apiserver/Requests.ts"
import { looseStrategy, type ResourceType } from "./apiserver/ResourceType.ts"
import { type ApiStatus, noSuchResource } from "./apiserver/Status.ts"
import type { Place, Snapshot } from "./apiserver/Storage.ts"
import { Watches } from "./apiserver/Watch.ts"
import type { WriteRecord } from "./apiserver/WriteLog.ts"

/** Events a resource type remembers for watches that resume. */
const HISTORY_EVENTS = 10_000
const WRITE_LOG_ENTRIES = 100_000
/** Virtual milliseconds between bookmarks, as upstream. */
const BOOKMARK_MILLIS = 60_000
/** A watch is closed by the server after this long, in virtual milliseconds; a real one takes half an hour to an hour. */
const MIN_WATCH_MILLIS = 300_000
const MAX_WATCH_MILLIS = 600_000
/** Who writes when no client is named. */
export const DEFAULT_CLIENT = "default"
const SYSTEM_CLIENT = "kube-apiserver"
const SYSTEM_NAMESPACES = ["default", "kube-node-lease", "kube-public", "kube-system"] as const

export interface SimulatedApiServerOptions {
  readonly historyEvents?: number
  readonly writeLogEntries?: number
  readonly bookmarkMillis?: number
  /** False: watches stay open until the client leaves or falls behind. */
  readonly closeWatches?: boolean
  /** False: no garbage collection, and namespaces never finish, as on a bare kube-apiserver. */
  readonly controllers?: false | ControllerPace
}

export interface RegisterOptions {
  /** Default: all versions of the kind. */
  readonly served?: ReadonlyArray<string>
  /** Default: true. */
  readonly statusSubresource?: boolean
}

export interface SimulatedApiServerShape {
  /** The client of identity `default`. */
  readonly kubeClient: KubeClientShape
  /** A client whose writes are attributed to `name`. */
  readonly client: (name: string) => KubeClientShape
  /** The untyped server: what an HTTPS front needs. */
  readonly store: ApiStore
  readonly reads: Reads
  readonly watches: Watches
  /** Serves a kind without any schema, and keeps whatever its objects hold. */
  readonly registerKind: <A extends KubeObject>(kind: Kind<A>, options?: RegisterOptions) => Effect.Effect<void>
  /** Any manifest: a CustomResourceDefinition registers its type. Objects of namespaced kinds default to `default`. */
  readonly apply: (manifest: JsonObject) => Effect.Effect<void, ApiStatus>
  /** Oldest first; bounded. */
  readonly writes: () => ReadonlyArray<WriteRecord>
  readonly snapshot: () => Snapshot
  /** Everything as it was then: what an etcd restore does. All watches end, and resuming them is Gone. */
  readonly restore: (snapshot: Snapshot) => Effect.Effect<void>
  /** Forgets the events of the past: every watch that resumes is Gone. */
  readonly compact: Effect.Effect<void>
  /** Ends every open watch, as a restart of the server does. */
  readonly closeWatches: Effect.Effect<void>
  /** Until the server's own controllers have nothing left to do. */
  readonly settled: Effect.Effect<void>
}

const rfc3339 = (millis: number): string => `${DateTime.formatIso(DateTime.makeUnsafe(millis)).slice(0, 19)}Z`

const looseType = (kind: Kind<KubeObject>, options: RegisterOptions): ResourceType => {
  const served = options.served ?? kind.versions
  return {
    group: kind.group,
    kind: kind.kind,
    plural: kind.plural,
    singular: kind.kind.toLowerCase(),
    listKind: `${kind.kind}List`,
    shortNames: [],
    categories: [],
    namespaced: kind.namespaced,
    versions: served.map((name) => ({ name, served: true })),
    storageVersion: served[0] ?? kind.versions[0],
    statusSubresource: options.statusSubresource ?? true,
    selectableFields: {},
    strategy: looseStrategy
  }
}

/** Definitions become types as they are written, in the same step: what is established can be used at once. */
const followDefinitions = (store: ApiStore, watches: Watches): void =>
  store.storage.onEvent((place, event) => {
    if (place.type.kind !== definitionType.kind || place.type.group !== definitionType.group) return
    const type = typeOfDefinition(event.object)
    if (event.type !== "Deleted") {
      store.registry.register(type)
      return
    }
    store.registry.unregister(type)
    store.storage.drop(type)
    watches.closeKind(type)
  })

const createSystemNamespaces = (store: ApiStore, nowMillis: number): void => {
  const type = store.registry.byKind("", "Namespace")
  if (type === undefined) return
  for (const name of SYSTEM_NAMESPACES) {
    store.create({
      client: SYSTEM_CLIENT,
      nowMillis,
      type,
      version: "v1",
      namespace: "",
      object: { metadata: { name } }
    })
  }
  store.writeLog.clear()
}

const applyManifest = (store: ApiStore, manifest: JsonObject, nowMillis: number): Outcome => {
  const [group, version] = splitApiVersion(stringAt(manifest, "apiVersion") ?? "")
  const type = store.registry.byKind(group, stringAt(manifest, "kind") ?? "")
  if (type === undefined) return Result.fail(noSuchResource())
  const namespace = type.namespaced ? (stringAt(manifest, "metadata", "namespace") ?? "default") : ""
  const name = stringAt(manifest, "metadata", "name") ?? ""
  const target = { client: DEFAULT_CLIENT, nowMillis, type, version, namespace, name }
  return store.storage.get(target) === undefined
    ? store.create({ ...target, object: manifest })
    : store.patch({ ...target, patch: { type: "merge", body: manifest } })
}

const splitApiVersion = (apiVersion: string): readonly [string, string] => {
  const slash = apiVersion.indexOf("/")
  return slash < 0 ? ["", apiVersion] : [apiVersion.slice(0, slash), apiVersion.slice(slash + 1)]
}

const restoreSnapshot = (store: ApiStore, snapshot: Snapshot): void => {
  for (const type of store.registry.all()) if (type.definedBy !== undefined) store.registry.unregister(type)
  for (const { object } of snapshot.objects) {
    if (object.kind === definitionType.kind) store.registry.register(typeOfDefinition(object))
  }
  const placed = snapshot.objects.flatMap(({ group, plural, object }) => {
    const type = store.registry.byResource(group, plural)
    if (type === undefined) return []
    const place: Place = { type, namespace: object.metadata.namespace ?? "", name: object.metadata.name }
    return [[place, object] as const]
  })
  store.storage.restore(store.registry.all(), placed, snapshot.revision)
}

export const make = (
  options: SimulatedApiServerOptions = {}
): Effect.Effect<SimulatedApiServerShape, never, Scope.Scope> =>
  Effect.gen(function* () {
    const store = new ApiStore({
      seed: yield* Random.nextIntBetween(0, 0xffff_ffff),
      historyEvents: options.historyEvents ?? HISTORY_EVENTS,
      writeLogEntries: options.writeLogEntries ?? WRITE_LOG_ENTRIES,
      formatTime: rfc3339
    })
    for (const type of coreTypes) store.registry.register(type)
    const watches = new Watches(store)
    followDefinitions(store, watches)
    const reads = new Reads(store)
    const controllers = options.controllers === false ? undefined : new Controllers(store)
    createSystemNamespaces(store, yield* Clock.currentTimeMillis)

    if (controllers !== undefined) {
      yield* Effect.forkScoped(controllers.run(options.controllers || { minDelayMillis: 0, maxDelayMillis: 0 }))
    }
    const clock = yield* Clock.Clock
    const events = new EventExpiry(store, () => clock.currentTimeMillisUnsafe())
    const tick = Effect.map(Clock.currentTimeMillis, (nowMillis) => {
      events.expire(nowMillis)
      watches.tick(nowMillis)
    })
    const bookmarkMillis = options.bookmarkMillis ?? BOOKMARK_MILLIS
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(bookmarkMillis), tick)))

    const closes = options.closeWatches !== false
    const parts: ServerParts = {
      store,
      reads,
      watches,
      watchMillis: () => (closes ? MIN_WATCH_MILLIS + store.uids.below(MAX_WATCH_MILLIS - MIN_WATCH_MILLIS) : undefined)
    }
    const decoders = new Decoders()
    const client = (name: string) => makeInMemoryKubeClient(parts, decoders, name)
    return {
      kubeClient: client(DEFAULT_CLIENT),
      client,
      store,
      reads,
      watches,
      registerKind: (kind, registerOptions = {}) =>
        Effect.sync(() => store.registry.register(looseType(kind, registerOptions))),
      apply: (manifest) =>
        Effect.flatMap(Clock.currentTimeMillis, (nowMillis) =>
          Effect.asVoid(Effect.suspend(() => Effect.fromResult(applyManifest(store, manifest, nowMillis))))
        ),
      writes: () => store.writeLog.records(),
      snapshot: () => store.storage.snapshot(store.registry.all()),
      restore: (snapshot) =>
        Effect.sync(() => {
          restoreSnapshot(store, snapshot)
          watches.closeAll()
        }),
      compact: Effect.sync(() => store.storage.compact()),
      closeWatches: Effect.sync(() => watches.closeAll()),
      settled: controllers?.idle ?? Effect.void
    } satisfies SimulatedApiServerShape
  })

export class SimulatedApiServer extends Context.Service<SimulatedApiServer, SimulatedApiServerShape>()(
  "machinist/simulation/SimulatedApiServer"
) {
  static readonly layer = (options: SimulatedApiServerOptions = {}) => Layer.effect(SimulatedApiServer, make(options))

  /** The server, and its `default` client as the KubeClient. */
  static readonly layerWithClient = (options: SimulatedApiServerOptions = {}) =>
    Layer.provideMerge(
      Layer.effect(
        KubeClient,
        Effect.map(SimulatedApiServer, (server) => server.kubeClient)
      ),
      SimulatedApiServer.layer(options)
    )
}
