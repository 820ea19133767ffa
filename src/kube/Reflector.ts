/**
 * Owns keeping a copy of the objects of one kind current: list, watch, resume after a close, list again after 410, back
 * off while the server is away. Never fails and never dies: whatever happens is logged and tried again.
 * Does not own the copy itself (ReflectorStore.ts), nor what anyone makes of a change.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Kind, KubeObject } from "../api/Kind.ts"
import { KubeClient, type KubeClientShape, type ListOptions, type ObjectRef } from "./KubeClient.ts"
import { KubeError } from "./KubeError.ts"
import { type Change, type Indexer, NAMESPACE_INDEX, ReflectorStore } from "./ReflectorStore.ts"

export type { Change, Indexer } from "./ReflectorStore.ts"

/** Waits between failures: doubled from the first to the last of these (ms), halved at most by chance. */
const BACKOFF_FIRST_MS = 200
const BACKOFF_LAST_MS = 30_000
/** A server may ask for more patience than that, up to this (ms). */
const RETRY_AFTER_LAST_MS = 120_000
/** A watch that ends sooner than this, without an event, was as good as refused (ms). */
const SHORT_WATCH_MS = 1_000
/** Failed watches in a row after which the list is made again: the version may be ahead of a restored server. */
const WATCHES_BEFORE_RELIST = 5

export interface ReflectorOptions<A> extends ListOptions {
  /** By name: keys under which `byIndex` finds an object. Called for every change; must not throw. */
  readonly indexes?: Readonly<Record<string, Indexer<A>>>
}

export interface Reflector<A> {
  /** Of the copy; `undefined` also before the first list (wait for `synced`). */
  readonly get: (ref: ObjectRef) => Effect.Effect<A | undefined>
  /** All, or those of one namespace. */
  readonly list: (namespace?: string) => Effect.Effect<ReadonlyArray<A>>
  readonly byIndex: (index: string, key: string) => Effect.Effect<ReadonlyArray<A>>
  /**
   * Each run is a subscription of its own: everything there is as `Added`, then what changes, in order. Changes that a
   * slow subscriber has not taken yet are folded, object by object (by uid): none is lost, some are never seen apart.
   */
  readonly changes: Stream.Stream<Change<A>>
  /** Waits for the first list. */
  readonly synced: Effect.Effect<void>
  /** When the server last confirmed the copy (list, event, bookmark, orderly end of a watch); epoch ms. */
  readonly lastSync: Effect.Effect<number | undefined>
}

const relists = Metric.counter("machinist_kube_reflector_lists_total", {
  description: "Lists made to (re)build the copy of a kind",
  incremental: true
})
const objectCount = Metric.gauge("machinist_kube_reflector_objects", { description: "Objects in the copy of a kind" })

/** One reflector at work. Mutable, and touched by its own fiber only. */
class Loop<A extends KubeObject> {
  readonly store: ReflectorStore<A>
  readonly firstList = Deferred.makeUnsafe<void>()
  lastSync: number | undefined
  private readonly client: KubeClientShape
  private readonly kind: Kind<A>
  private readonly options: ListOptions
  /** The version to resume from is of no use: list. */
  private stale = true
  /** In a row. */
  private failures = 0

  constructor(client: KubeClientShape, kind: Kind<A>, { indexes, ...options }: ReflectorOptions<A>) {
    this.client = client
    this.kind = kind
    this.options = options
    this.store = new ReflectorStore(indexes ?? {})
  }

  readonly run: Effect.Effect<never> = Effect.forever(
    Effect.suspend(() => {
      const position = this.store.position
      return this.stale || position === undefined ? this.list : this.watch(position)
    }).pipe(
      // Defects too: a reflector that dies leaves everyone with a copy that looks alive.
      Effect.catchCause((cause) => this.recover(cause))
    )
  )

  private readonly confirm = Effect.map(Clock.currentTimeMillis, (now) => {
    this.lastSync = now
  })

  private readonly list: Effect.Effect<void, KubeError> = Effect.gen({ self: this }, function* () {
    const snapshot = yield* this.client.list(this.kind, this.options)
    this.store.replace(snapshot)
    this.stale = false
    yield* this.confirm
    yield* Deferred.succeed(this.firstList, undefined)
    const attributes = { kind: this.kind.kind }
    yield* Metric.update(Metric.withAttributes(relists, attributes), 1)
    yield* Metric.update(Metric.withAttributes(objectCount, attributes), this.store.size)
  })

  private watch(resourceVersion: string): Effect.Effect<void, KubeError> {
    return Effect.gen({ self: this }, function* () {
      const begun = yield* Clock.currentTimeMillis
      let events = 0
      yield* this.client.watch(this.kind, { ...this.options, resourceVersion }).pipe(
        Stream.runForEach((event) => {
          events++
          this.failures = 0
          this.store.apply(event)
          return this.confirm
        })
      )
      yield* this.confirm
      yield* Metric.update(Metric.withAttributes(objectCount, { kind: this.kind.kind }), this.store.size)
      if (events > 0) return
      const lasted = (yield* Clock.currentTimeMillis) - begun
      if (lasted >= SHORT_WATCH_MS) this.failures = 0
      else yield* this.backOff(undefined, "the watch ended at once")
    })
  }

  private recover(cause: Cause.Cause<KubeError>): Effect.Effect<void> {
    const error = Cause.squash(cause)
    if (!(error instanceof KubeError)) {
      this.stale = true
      return this.backOff(undefined, Cause.pretty(cause))
    }
    switch (error.reason) {
      case "Gone":
        this.stale = true
        // Ordinary, once: a quiet kind's version ages while others are written.
        if (this.failures === 0) {
          this.failures = 1
          return Effect.logDebug("version too old, listing again").pipe(Effect.annotateLogs({ kind: this.kind.kind }))
        }
        break
      case "Decode":
      case "BadRequest":
      case "Invalid":
        this.stale = true
        break
      default:
        if (this.failures + 1 >= WATCHES_BEFORE_RELIST) this.stale = true
    }
    const patience = Math.min((error.retryAfterSeconds ?? 0) * 1000, RETRY_AFTER_LAST_MS)
    return this.backOff(patience, `${error.verb}: ${error.reason}: ${error.message}`)
  }

  private backOff(atLeastMs: number | undefined, why: string): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      this.failures++
      const full = Math.min(BACKOFF_LAST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.failures - 1, 20))
      const delay = Math.max(atLeastMs ?? 0, Math.round(full * (0.5 + 0.5 * (yield* Random.next))))
      const log = this.failures === 1 ? Effect.logDebug : Effect.logWarning
      yield* log("reflector waits before it goes on").pipe(
        Effect.annotateLogs({ kind: this.kind.kind, failures: this.failures, delayMs: delay, why })
      )
      yield* Effect.sleep(delay)
    })
  }
}

/** Runs until the scope closes. Returns at once: wait for `synced` before trusting an absence. */
export const make = <A extends KubeObject>(
  kind: Kind<A>,
  options: ReflectorOptions<A> = {}
): Effect.Effect<Reflector<A>, never, KubeClient | Scope.Scope> =>
  Effect.gen(function* () {
    const loop = new Loop(yield* KubeClient, kind, options)
    const { store } = loop
    yield* Effect.forkScoped(loop.run)
    const subscription = Effect.acquireRelease(
      Effect.sync(() => store.subscribe()),
      (pending) => Effect.sync(() => store.unsubscribe(pending))
    )
    return {
      get: (ref) => Effect.sync(() => store.get(ref)),
      list: (namespace) =>
        Effect.sync(() => (namespace === undefined ? store.list() : store.byIndex(NAMESPACE_INDEX, namespace))),
      byIndex: (index, key) => Effect.sync(() => store.byIndex(index, key)),
      changes: Stream.unwrap(Effect.map(subscription, (pending) => Stream.fromIterableEffectRepeat(pending.take))),
      synced: Deferred.await(loop.firstList),
      lastSync: Effect.sync(() => loop.lastSync)
    }
  })
