/**
 * Owns a watch as HTTP has it: one JSON line an event, objects or Tables, bookmarks, an ERROR line when it can't go on,
 * and its end. Does not own which events there are (apiserver/Watch.ts).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { apiVersionOf } from "../../api/Kind.ts"
import type { JsonObject, StoredObject } from "../apiserver/Json.ts"
import { futureVersion, present, selectionMatcher } from "../apiserver/Reads.ts"
import type { ApiStatus } from "../apiserver/Status.ts"
import type { StoreWatchEvent } from "../apiserver/Watch.ts"
import { type Call, type Handled, includedIn, jsonText } from "./Api.ts"
import { listOptionsProblem, selectionOf, tooLargeVersion, versionProblem } from "./Reading.ts"
import { statusJson } from "./Reply.ts"
import { flag, integer } from "./Request.ts"
import { columnsFor } from "./table/Columns.ts"
import { partial, table } from "./table/Table.ts"

/** As upstream: how long a watch lasts for which nothing is asked; in seconds. */
const MIN_WATCH_SECONDS = 1800
const MAX_WATCH_SECONDS = 3600
/** Set on the bookmark that ends what was there when the watch began. */
const INITIAL_EVENTS_END = "k8s.io/initial-events-end"

const EVENT_TYPES = { Added: "ADDED", Modified: "MODIFIED", Deleted: "DELETED" } as const

const line = (type: string, object: string): string => `{"type":"${type}","object":${object}}\n`

const errorLine = (status: ApiStatus): string => line("ERROR", JSON.stringify(statusJson(status)))

type Shown = (object: StoredObject, nowMillis: number) => string

/** Objects in the form the client asked for. The columns of a Table are told once. */
const shownBy = (call: Call): Shown => {
  const { rendering, type, version, request } = call
  if (rendering.as === "object") return jsonText
  if (rendering.as === "partial") return (object) => JSON.stringify(partial(object))
  const columns = columnsFor(type, version, call.api.subresources)
  let headers = true
  return (object, nowMillis) => {
    const metadata = { resourceVersion: object.metadata.resourceVersion }
    const text = JSON.stringify(
      table(columns, [object], metadata, { include: includedIn(request), headers, nowMillis })
    )
    headers = false
    return text
  }
}

const bookmarkOf = (call: Call, resourceVersion: string, annotations?: JsonObject): string => {
  const { rendering, type, version } = call
  const metadata = { resourceVersion, creationTimestamp: null, ...(annotations === undefined ? {} : { annotations }) }
  switch (rendering.as) {
    case "table":
      return JSON.stringify({ kind: "Table", apiVersion: "meta.k8s.io/v1", metadata, columnDefinitions: [], rows: [] })
    case "partial":
      return JSON.stringify({ kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata })
    case "object":
      return JSON.stringify({ kind: type.kind, apiVersion: apiVersionOf(type.group, version), metadata })
  }
}

const eventLine = (call: Call, shown: Shown, event: StoreWatchEvent, nowMillis: number): string =>
  event.type === "Bookmark"
    ? line("BOOKMARK", bookmarkOf(call, event.resourceVersion))
    : line(EVENT_TYPES[event.type], shown(event.object, nowMillis))

interface Start {
  readonly lines: ReadonlyArray<string>
  readonly resourceVersion: string
}

/** What there is, then a bookmark that says that this was it: a list and a watch in one. */
const initialEvents = (call: Call, shown: Shown, nowMillis: number): Result.Result<Start, ApiStatus> =>
  Result.map(
    call.api.server.reads.list({ ...selectionOf(call), type: call.type, version: call.version }),
    ({ items, resourceVersion }) => ({
      resourceVersion,
      lines: [
        ...items.map((object) => line("ADDED", shown(present(call.type, object, call.version), nowMillis))),
        line("BOOKMARK", bookmarkOf(call, resourceVersion, { [INITIAL_EVENTS_END]: "true" }))
      ]
    })
  )

/** Refusals that a client gets as an answer, before anything is streamed. */
const problemOf = (call: Call, resourceVersion: string): ApiStatus | undefined => {
  const problem = listOptionsProblem(call.request.query) ?? versionProblem(resourceVersion)
  if (problem !== undefined) return problem
  const matcher = selectionMatcher(call.type, selectionOf(call))
  if (Result.isFailure(matcher)) return matcher.failure
  const { revision } = call.api.server.store.storage
  const asked = Number(resourceVersion)
  return asked > revision ? tooLargeVersion(futureVersion(asked, revision)) : undefined
}

/** `name`: the watch of one object. */
export const watch = (call: Call, name?: string): Handled =>
  Effect.gen(function* () {
    const { query } = call.request
    const resourceVersion = query.get("resourceVersion") ?? ""
    const problem = problemOf(call, resourceVersion)
    if (problem !== undefined) return yield* Effect.fail(problem)
    const asked = yield* Effect.fromResult(integer(query, "timeoutSeconds"))
    const seconds =
      asked === undefined || asked <= 0 ? yield* Random.nextIntBetween(MIN_WATCH_SECONDS, MAX_WATCH_SECONDS) : asked
    const shown = shownBy(call)
    const nowMillis = yield* Clock.currentTimeMillis
    const start: Start = flag(query, "sendInitialEvents")
      ? yield* Effect.fromResult(initialEvents(call, shown, nowMillis))
      : { lines: [], resourceVersion }
    const selection = selectionOf(call)
    const events = call.api.server.watches.watch({
      ...selection,
      ...(name === undefined ? {} : { fieldSelector: `metadata.name=${name}` }),
      type: call.type,
      version: call.version,
      resourceVersion: start.resourceVersion,
      bookmarks: flag(query, "allowWatchBookmarks")
    })
    const lines = events.pipe(
      Stream.mapArrayEffect((batch) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const [first, ...rest] = batch
          return [
            eventLine(call, shown, first, now),
            ...rest.map((event) => eventLine(call, shown, event, now))
          ] as const
        })
      ),
      Stream.catchTag("ApiStatus", (status) => Stream.succeed(errorLine(status))),
      Stream.interruptWhen(Effect.sleep(`${seconds} seconds`))
    )
    const contentType = call.rendering.as === "object" ? "application/json" : "application/json;stream=watch"
    return { _tag: "Watch", lines: Stream.concat(Stream.fromArray(start.lines), lines), contentType } as const
  })
