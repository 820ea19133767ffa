/**
 * Owns bytes to objects: the line splitter of a watch (bounded), the decoding of one object by its kind's Schema, and
 * of one watch event. Does not own requests, nor the log of what does not decode (LiveKubeClient.ts).
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Kind, KubeObject } from "../api/Kind.ts"
import type { UndecodableObject, WatchEvent } from "./KubeClient.ts"
import type { KubeError } from "./KubeError.ts"
import { fail, fromStatus, isRecord, parseJson, recordAt, type Subject, stringAt } from "./Status.ts"

/** Of one event of a watch: etcd takes objects of 1.5 MiB, JSON escapes may multiply that. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024

/** Characters of a Schema's complaint that are kept: an object may be wrong in hundreds of places. */
const MAX_COMPLAINT_CHARACTERS = 512

const NEWLINE = 0x0a

/** The beginning of a line whose end has not arrived. */
interface Unfinished {
  readonly pieces: ReadonlyArray<Uint8Array>
  readonly bytes: number
}

const nothing: Unfinished = { pieces: [], bytes: 0 }

/** Bytes, not text, are split: a chunk may end inside a character. */
const split =
  (subject: Subject, maxBytes: number) =>
  (
    unfinished: Unfinished,
    chunk: Uint8Array
  ): readonly [Unfinished, ReadonlyArray<Result.Result<string, KubeError>>] => {
    const found: Array<Result.Result<string, KubeError>> = []
    let { pieces, bytes } = unfinished
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const text = Buffer.concat([...pieces, chunk.subarray(start, end)]).toString("utf8")
      if (text.trim() !== "") found.push(Result.succeed(text))
      pieces = []
      bytes = 0
      start = end + 1
    }
    const rest = chunk.subarray(start)
    if (rest.byteLength === 0) return [{ pieces, bytes }, found]
    bytes += rest.byteLength
    if (bytes <= maxBytes) return [{ pieces: [...pieces, rest], bytes }, found]
    found.push(Result.fail(fail(subject, "Unavailable", `an event is longer than ${maxBytes} bytes`)))
    return [nothing, found]
  }

/** Line-delimited JSON, as a watch sends it. A line without its end is a broken connection, not an event. */
export const lines = (
  subject: Subject,
  bytes: Stream.Stream<Uint8Array, KubeError>,
  maxBytes: number = MAX_LINE_BYTES
): Stream.Stream<string, KubeError> =>
  bytes.pipe(
    Stream.mapAccum(() => nothing, split(subject, maxBytes), {
      onHalt: (unfinished) =>
        unfinished.bytes === 0
          ? []
          : [Result.fail(fail(subject, "Unavailable", `cut off after ${unfinished.bytes} bytes of an event`))]
    }),
    Stream.mapEffect(Effect.fromResult)
  )

/** Items of a list of built-in objects carry neither apiVersion nor kind; a kind's Schema may ask for them. */
const withType = (kind: Kind<KubeObject>, apiVersion: string, raw: unknown): unknown =>
  isRecord(raw) && raw["apiVersion"] === undefined ? { apiVersion, kind: kind.kind, ...raw } : raw

/** The Schema's complaint: paths and expectations only, for input is never reported (it may be a Secret's). */
const complaint = (cause: Cause.Cause<unknown>): string => {
  const text = Cause.pretty(cause).split("\n    at ")[0] ?? ""
  return text.length <= MAX_COMPLAINT_CHARACTERS ? text : `${text.slice(0, MAX_COMPLAINT_CHARACTERS)}…`
}

const undecodable = (raw: unknown, message: string): UndecodableObject => {
  const metadata = recordAt(raw, "metadata")
  const [namespace, uid] = [stringAt(metadata, "namespace"), stringAt(metadata, "uid")]
  const resourceVersion = stringAt(metadata, "resourceVersion")
  return {
    name: stringAt(metadata, "name") ?? "",
    message,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion })
  }
}

/** One object, or what is known of it when it does not have the shape its kind promises. */
export const decodeObject = <A extends KubeObject>(
  kind: Kind<A>,
  apiVersion: string,
  raw: unknown
): Result.Result<A, UndecodableObject> => {
  const exit = Schema.decodeUnknownExit(kind.schema)(withType(kind, apiVersion, raw))
  return Exit.isSuccess(exit)
    ? Result.succeed(exit.value)
    : Result.fail(undecodable(raw, complaint(exit.cause).replace(/^SchemaError: /, "")))
}

const EVENT_TAGS = { ADDED: "Added", MODIFIED: "Modified", DELETED: "Deleted" } as const

/** One line of a watch. Undefined: an event type this client does not know. */
export const decodeEvent = <A extends KubeObject>(
  kind: Kind<A>,
  apiVersion: string,
  subject: Subject,
  line: string
): Result.Result<WatchEvent<A> | undefined, KubeError> => {
  const event = parseJson(line)
  const type = stringAt(event, "type")
  if (type === undefined) return Result.fail(fail(subject, "Unavailable", "an event of the watch is not JSON"))
  const object = recordAt(event, "object")
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED": {
      const decoded = decodeObject(kind, apiVersion, object)
      if (Result.isSuccess(decoded)) {
        return Result.succeed({ _tag: EVENT_TAGS[type], object: decoded.success })
      }
      const skipped = { ...decoded.failure, type: EVENT_TAGS[type] }
      return skipped.resourceVersion === undefined
        ? Result.fail(fail(subject, "Decode", "an event of the watch holds no object"))
        : Result.succeed({ _tag: "Bookmark", resourceVersion: skipped.resourceVersion, skipped })
    }
    case "BOOKMARK": {
      const resourceVersion = stringAt(recordAt(object, "metadata"), "resourceVersion")
      return Result.succeed(resourceVersion === undefined ? undefined : { _tag: "Bookmark", resourceVersion })
    }
    case "ERROR": {
      const code = object?.["code"]
      return Result.fail(fromStatus(subject, typeof code === "number" ? code : 500, object))
    }
    default:
      return Result.succeed(undefined)
  }
}
