/**
 * Owns reading the store: get, and list with selectors and pages that all show one moment. Presents objects in the
 * version asked for. Does not own following changes (Watch.ts).
 */
import * as Result from "effect/Result"
import type { ApiStore } from "./ApiStore.ts"
import type { StoredObject } from "./Json.ts"
import { ownStored } from "./Json.ts"
import type { Target } from "./Requests.ts"
import type { ResourceType } from "./ResourceType.ts"
import { both, fieldMatcher, labelMatcher, type Matcher, narrowing } from "./Selectors.ts"
import { ApiStatus, badRequest, expired, notFound } from "./Status.ts"

/** Lists in the middle of being paged through; an older one answers 410, as after a compaction. */
const MAX_OPEN_PAGED_LISTS = 64
/** Seconds a client is told to wait for a resourceVersion of the future. */
const FUTURE_VERSION_RETRY_SECONDS = 1

export interface Selection {
  /** Absent: all namespaces. */
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
}

export interface ListRequest extends Selection {
  readonly type: ResourceType
  readonly version: string
  readonly resourceVersion?: string | undefined
  /** Objects a page; absent: all. */
  readonly limit?: number | undefined
  readonly continue?: string | undefined
}

export interface Listed {
  readonly items: ReadonlyArray<StoredObject>
  readonly resourceVersion: string
  readonly continue?: string
  readonly remainingItemCount?: number
}

export const selectionMatcher = (
  type: ResourceType,
  selection: Selection
): Result.Result<Matcher | undefined, ApiStatus> =>
  Result.map(
    Result.all([labelMatcher(selection.labelSelector), fieldMatcher(type, selection.fieldSelector)]),
    ([labels, fields]) => both(labels, fields)
  )

const presentations = new WeakMap<StoredObject, Map<string, StoredObject>>()

/** Objects are stored once; another version differs in its apiVersion alone. */
export const present = (type: ResourceType, object: StoredObject, version: string): StoredObject => {
  const apiVersion = type.group === "" ? version : `${type.group}/${version}`
  if (object.apiVersion === apiVersion) return object
  const known = presentations.get(object) ?? new Map<string, StoredObject>()
  presentations.set(object, known)
  const found = known.get(apiVersion) ?? ownStored({ ...object, apiVersion })
  known.set(apiVersion, found)
  return found
}

export const parseRevision = (text: string): number | undefined => (/^\d+$/.test(text) ? Number(text) : undefined)

export const futureVersion = (asked: number, current: number): ApiStatus =>
  new ApiStatus({
    code: 504,
    reason: "Timeout",
    message: `Timeout: Too large resource version: ${asked}, current: ${current}`,
    details: { retryAfterSeconds: FUTURE_VERSION_RETRY_SECONDS }
  })

interface PagedList {
  readonly items: ReadonlyArray<StoredObject>
  readonly resourceVersion: string
}

export class Reads {
  readonly #store: ApiStore
  readonly #paged = new Map<string, PagedList>()
  #nextList = 1

  constructor(store: ApiStore) {
    this.#store = store
  }

  get(target: Pick<Target, "type" | "version" | "namespace" | "name">): Result.Result<StoredObject, ApiStatus> {
    const object = this.#store.storage.get(target)
    return object === undefined
      ? Result.fail(notFound(target.type, target.name))
      : Result.succeed(present(target.type, object, target.version))
  }

  list(request: ListRequest): Result.Result<Listed, ApiStatus> {
    const { storage } = this.#store
    if (request.continue !== undefined && request.continue !== "") return this.#nextPage(request, request.continue)
    const asked = request.resourceVersion === undefined ? 0 : parseRevision(request.resourceVersion || "0")
    if (asked === undefined) return Result.fail(badRequest(`invalid resource version ${request.resourceVersion}`))
    if (asked > storage.revision) return Result.fail(futureVersion(asked, storage.revision))
    return Result.map(selectionMatcher(request.type, request), (matches) => {
      const where = matches === undefined ? undefined : narrowing(request.labelSelector, request.fieldSelector)
      const items = storage.list(request.type, request.namespace, matches, where)
      return this.#page(request, { items, resourceVersion: String(storage.revision) }, 0)
    })
  }

  #nextPage(request: ListRequest, token: string): Result.Result<Listed, ApiStatus> {
    const [id = "", offset = ""] = token.split("-")
    const list = this.#paged.get(id)
    if (list === undefined || !/^\d+$/.test(offset)) {
      return Result.fail(
        expired(
          "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter."
        )
      )
    }
    return Result.succeed(this.#page(request, list, Number(offset), id))
  }

  #page(request: ListRequest, list: PagedList, offset: number, id?: string): Listed {
    const limit = request.limit ?? 0
    const end = limit > 0 ? offset + limit : list.items.length
    const items = list.items.slice(offset, end).map((object) => present(request.type, object, request.version))
    if (end >= list.items.length) {
      if (id !== undefined) this.#paged.delete(id)
      return { items, resourceVersion: list.resourceVersion }
    }
    const name = id ?? this.#remember(list)
    return {
      items,
      resourceVersion: list.resourceVersion,
      continue: `${name}-${end}`,
      remainingItemCount: list.items.length - end
    }
  }

  #remember(list: PagedList): string {
    const id = String(this.#nextList++)
    this.#paged.set(id, list)
    const oldest = this.#paged.keys().next().value
    if (this.#paged.size > MAX_OPEN_PAGED_LISTS && oldest !== undefined) this.#paged.delete(oldest)
    return id
  }
}
