/**
 * Owns following a resource type: which events a watcher sees given its selectors, where it may start, bookmarks, and
 * the end of a watch. One watcher is a cursor in the EventLog, so nothing is queued for it. Does not own decoding.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { ApiStore } from "./ApiStore.ts"
import type { EventLog, Follower, StoreEvent } from "./EventLog.ts"
import { ownStored, type StoredObject } from "./Json.ts"
import { futureVersion, parseRevision, present, type Selection, selectionMatcher } from "./Reads.ts"
import type { ResourceType } from "./ResourceType.ts"
import { type Matcher, narrowing } from "./Selectors.ts"
import { type ApiStatus, badRequest, expired, type GroupResource } from "./Status.ts"

/** Events handed over in one pull, and log entries looked at for them. */
const MAX_EVENTS_A_PULL = 128

export type StoreWatchEvent =
  | { readonly type: "Added" | "Modified" | "Deleted"; readonly object: StoredObject }
  | { readonly type: "Bookmark"; readonly resourceVersion: string }

export interface WatchRequest extends Selection {
  readonly type: ResourceType
  readonly version: string
  /** "" or "0": everything there is as Added events first. */
  readonly resourceVersion: string
  readonly bookmarks: boolean
  /** The server closes the watch at its first tick at or after this time. */
  readonly closeAtMillis?: number | undefined
}

type Batch = Array<StoreWatchEvent>

class Watcher implements Follower {
  /** Of the only object it is told of. */
  readonly name: string | undefined
  readonly #request: WatchRequest
  readonly #log: EventLog
  readonly #matches: Matcher | undefined
  readonly #revision: () => number
  #initial: ReadonlyArray<StoredObject>
  #cursor: number
  #wake: (() => void) | undefined
  #bookmarkDue = false
  #closing = false

  constructor(request: WatchRequest, store: ApiStore, matches: Matcher | undefined, from: number | undefined) {
    this.#request = request
    this.#matches = matches
    this.name = narrowing(undefined, request.fieldSelector).name
    this.#log = store.storage.log(request.type)
    this.#revision = () => store.storage.revision
    const objects = from === undefined ? store.storage.list(request.type, request.namespace) : []
    this.#initial = matches === undefined ? objects : objects.filter(matches)
    this.#cursor = from === undefined ? this.#log.next : this.#log.sequenceAfter(from)
  }

  /** While waiting at the head of the log: an event that is none of ours moves us on without waking anyone. */
  onEvent(event: StoreEvent, sequence: number): void {
    if (this.#wake === undefined) return
    // While it waits, whatever lies between is of other objects.
    if (this.name !== undefined) this.#cursor = sequence
    if (this.#cursor !== sequence) return
    if (this.#translate(event) === undefined) this.#cursor = sequence + 1
    else this.#wakeUp()
  }

  tick(nowMillis: number): void {
    if (this.#request.bookmarks) this.#bookmarkDue = true
    const { closeAtMillis } = this.#request
    if (closeAtMillis !== undefined && nowMillis >= closeAtMillis) this.#closing = true
    if (this.#bookmarkDue || this.#closing) this.#wakeAtHead()
  }

  close(): void {
    this.#closing = true
    this.#wakeAtHead()
  }

  /** A watcher of one name has not been told how far the log has come while it waited. */
  #wakeAtHead(): void {
    if (this.name !== undefined && this.#wake !== undefined) this.#cursor = this.#log.next
    this.#wakeUp()
  }

  follows({ group, plural }: GroupResource): boolean {
    return this.#request.type.group === group && this.#request.type.plural === plural
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  readonly #wait = Effect.callback<void>((resume) => {
    // What came since it looked would never wake it.
    if (this.#cursor < this.#log.next) {
      resume(Effect.void)
      return
    }
    this.#wake = () => resume(Effect.void)
    return Effect.sync(() => {
      this.#wake = undefined
    })
  })

  readonly pull: Effect.Effect<readonly [StoreWatchEvent, ...Array<StoreWatchEvent>], ApiStatus | Cause.Done> =
    Effect.suspend(() => {
      if (this.#cursor < this.#log.first) return Effect.fail(tooOld(this.#cursor, this.#log.first))
      const batch = this.#collect()
      const [first, ...rest] = batch
      if (first !== undefined) return Effect.succeed([first, ...rest] as const)
      if (this.#closing) return Cause.done()
      return Effect.andThen(this.#wait, this.pull)
    })

  #collect(): Batch {
    const batch: Batch = []
    if (this.#initial.length > 0) {
      for (const object of this.#initial) batch.push({ type: "Added", object: this.#present(object) })
      this.#initial = []
      return batch
    }
    const end = Math.min(this.#log.next, this.#cursor + MAX_EVENTS_A_PULL)
    while (this.#cursor < end) {
      const event = this.#log.at(this.#cursor)
      this.#cursor++
      const seen = event === undefined ? undefined : this.#translate(event)
      if (seen !== undefined) batch.push(seen)
    }
    if (this.#cursor < this.#log.next) return batch.length > 0 ? batch : this.#collect()
    if (this.#bookmarkDue) {
      this.#bookmarkDue = false
      batch.push({ type: "Bookmark", resourceVersion: String(this.#revision()) })
    }
    return batch
  }

  /** To a watcher with a selector, an object that comes to match is Added, and one that no longer does is Deleted. */
  #translate(event: StoreEvent): StoreWatchEvent | undefined {
    const { namespace } = this.#request
    if (namespace !== undefined && event.object.metadata.namespace !== namespace) return undefined
    const matches = this.#matches
    if (matches === undefined) return { type: event.type, object: this.#present(event.object) }
    const before = event.previous !== undefined && matches(event.previous)
    const after = event.type !== "Deleted" && matches(event.object)
    if (after) return { type: before ? "Modified" : "Added", object: this.#present(event.object) }
    return before ? { type: "Deleted", object: this.#present(lastSeen(event)) } : undefined
  }

  #present(object: StoredObject): StoredObject {
    return present(this.#request.type, object, this.#request.version)
  }
}

/** What left the selector: as it was while it matched, at the revision of the change. */
const lastSeen = (event: StoreEvent): StoredObject =>
  event.previous === undefined || event.type === "Deleted"
    ? event.object
    : ownStored({
        ...event.previous,
        metadata: { ...event.previous.metadata, resourceVersion: String(event.revision) }
      })

const tooOld = (asked: number, oldest: number): ApiStatus => expired(`too old resource version: ${asked} (${oldest})`)

export class Watches {
  readonly #store: ApiStore
  readonly #open = new Set<Watcher>()

  constructor(store: ApiStore) {
    this.#store = store
  }

  get open(): number {
    return this.#open.size
  }

  /** Sends bookmarks and closes watches whose time is over. */
  tick(nowMillis: number): void {
    for (const watcher of this.#open) watcher.tick(nowMillis)
  }

  /** The server closes every watch, as it does when it restarts: clients resume from where they were. */
  closeAll(): void {
    for (const watcher of this.#open) watcher.close()
  }

  /** A kind is no longer served: its watches end, and can't be resumed. */
  closeKind(type: GroupResource): void {
    for (const watcher of this.#open) if (watcher.follows(type)) watcher.close()
  }

  watch(request: WatchRequest): Stream.Stream<StoreWatchEvent, ApiStatus> {
    return Stream.unwrap(
      Effect.map(
        Effect.acquireRelease(
          Effect.suspend(() => Effect.fromResult(this.#openWatcher(request))),
          (watcher) =>
            Effect.sync(() => {
              this.#open.delete(watcher)
              this.#store.storage.log(request.type).unfollow(watcher, watcher.name)
            })
        ),
        (watcher) => Stream.fromPull(Effect.succeed(watcher.pull))
      )
    )
  }

  #openWatcher(request: WatchRequest): Result.Result<Watcher, ApiStatus> {
    const { storage } = this.#store
    const log = storage.log(request.type)
    const asked = request.resourceVersion === "" ? 0 : parseRevision(request.resourceVersion)
    if (asked === undefined) return Result.fail(badRequest(`invalid resource version ${request.resourceVersion}`))
    if (asked > storage.revision) return Result.fail(futureVersion(asked, storage.revision))
    if (asked !== 0 && asked < log.floor) return Result.fail(tooOld(asked, log.floor))
    return Result.map(selectionMatcher(request.type, request), (matches) => {
      const watcher = new Watcher(request, this.#store, matches, asked === 0 ? undefined : asked)
      this.#open.add(watcher)
      log.follow(watcher, watcher.name)
      return watcher
    })
  }
}
