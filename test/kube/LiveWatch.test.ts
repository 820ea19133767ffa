/**
 * Watches of the live client against servers that misbehave on command: how lines are cut, ends of every kind, silence.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { MAX_LINE_BYTES } from "../../src/kube/Decode.ts"
import { type Asked, status } from "./FakeServer.ts"
import { clientOf, failure, line, Things, tags, thing } from "./Things.ts"

describe("watch", () => {
  const watchOf = (write: (asked: Asked) => void) =>
    Effect.map(
      clientOf((asked) => {
        write(asked)
        return undefined
      }),
      ({ client, asked }) => ({ events: client.watch(Things, { namespace: "ns", resourceVersion: "5" }), asked })
    )

  it.live("asks for bookmarks and an end, and decodes lines however they are cut", () =>
    Effect.gen(function* () {
      const bytes = Buffer.from(
        `${line("ADDED", thing("grün", "6"))}\n${line("MODIFIED", thing("b", "7"))}${line("DELETED", thing("c", "8"))}` +
          `${line("NOVEL", {})}${line("BOOKMARK", { metadata: { resourceVersion: "9" } })}`
      )
      const { events, asked } = yield* watchOf(({ raw }) => {
        raw.socket?.setNoDelay(true)
        const next = (at: number): void => {
          if (at >= bytes.length) raw.end()
          else raw.write(bytes.subarray(at, at + 7), () => setImmediate(next, at + 7))
        }
        next(0)
      })
      assert.deepStrictEqual(tags(yield* Stream.runCollect(events)), [
        "Added grün",
        "Modified b",
        "Deleted c",
        "Bookmark 9"
      ])
      assert.deepInclude(asked[0]?.query, { watch: "true", allowWatchBookmarks: "true", resourceVersion: "5" })
    }).pipe(Effect.scoped)
  )

  it.live("fails with Gone on 410, as an answer and as an event", () =>
    Effect.gen(function* () {
      const answered = yield* clientOf(() => status(410, "Expired"))
      const first = answered.client.watch(Things, { resourceVersion: "1" })
      assert.strictEqual((yield* failure(Stream.runDrain(first))).reason, "Gone")
      const { events } = yield* watchOf(({ raw }) => {
        raw.end(line("ERROR", { kind: "Status", code: 410, reason: "Expired", message: "too old" }))
      })
      const error = yield* failure(Stream.runDrain(events))
      assert.deepStrictEqual([error.reason, error.message], ["Gone", "too old"])
    }).pipe(Effect.scoped)
  )

  it.live("fails with Unavailable when the socket is reset in mid-line, after the events before", () =>
    Effect.gen(function* () {
      const { events } = yield* watchOf(({ raw }) => {
        raw.write(line("ADDED", thing("a", "6")))
        raw.write('{"type":"MODIFIED","obj', () => raw.socket?.resetAndDestroy())
      })
      const seen: Array<string> = []
      const error = yield* failure(Stream.runForEach(events, (event) => Effect.sync(() => seen.push(...tags([event])))))
      assert.strictEqual(error.reason, "Unavailable")
      assert.deepStrictEqual(seen, ["Added a"])
    }).pipe(Effect.scoped)
  )

  it.live("takes half an event before an orderly end for a broken connection", () =>
    Effect.gen(function* () {
      const { events } = yield* watchOf(({ raw }) => {
        raw.end('{"type":"MODIFIED","obj')
      })
      assert.strictEqual((yield* failure(Stream.runDrain(events))).reason, "Unavailable")
    }).pipe(Effect.scoped)
  )

  it.live("refuses a line beyond its bound, and lets go of the connection", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<void>()
      const { events } = yield* watchOf(({ raw }) => {
        raw.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
        const piece = Buffer.alloc(1024 * 1024, "x")
        const more = (): void => {
          raw.write(piece, (error) => {
            if (error === null || error === undefined) more()
          })
        }
        more()
      })
      const error = yield* failure(Stream.runDrain(events))
      assert.deepStrictEqual(
        [error.reason, error.message],
        ["Unavailable", `an event is longer than ${MAX_LINE_BYTES} bytes`]
      )
      yield* Deferred.await(closed)
    }).pipe(Effect.scoped)
  )

  it.live("goes on past an object that does not decode, and says so in a bookmark", () =>
    Effect.gen(function* () {
      const { events } = yield* watchOf(({ raw }) => {
        raw.end(line("DELETED", { ...thing("bad", "6"), size: "s3cret" }) + line("ADDED", thing("b", "7")))
      })
      const [skipped, added] = Array.from(yield* Stream.runCollect(events))
      assert.isTrue(skipped?._tag === "Bookmark" && skipped.resourceVersion === "6")
      assert.deepInclude(skipped?._tag === "Bookmark" ? skipped.skipped : undefined, { name: "bad", type: "Deleted" })
      assert.notInclude(JSON.stringify(skipped), "s3cret")
      assert.strictEqual(added?._tag, "Added")
    }).pipe(Effect.scoped)
  )

  it.live("closes its connection when the reader stops", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<void>()
      const { events } = yield* watchOf(({ raw }) => {
        raw.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
        raw.write(line("ADDED", thing("a", "6")))
      })
      yield* Stream.runHead(events)
      yield* Deferred.await(closed)
    }).pipe(Effect.scoped)
  )

  it.effect("a server with nothing to say, not even a bookmark, has ended it before its silence counts", () =>
    Effect.gen(function* () {
      const opened = yield* Deferred.make<Asked>()
      const first = yield* Deferred.make<void>()
      const { events } = yield* watchOf((asked) => {
        asked.raw.write(line("ADDED", thing("a", "6")))
        Deferred.doneUnsafe(opened, Effect.succeed(asked))
      })
      const watching = yield* Stream.runForEach(events, () => Deferred.succeed(first, undefined)).pipe(Effect.forkChild)
      const { query, raw } = yield* Deferred.await(opened)
      yield* Deferred.await(first)
      yield* TestClock.adjust(`${Number(query["timeoutSeconds"])} seconds`)
      raw.end()
      yield* Fiber.join(watching)
    }).pipe(Effect.scoped)
  )

  it.effect("fails with Unavailable when the server falls silent", () =>
    Effect.gen(function* () {
      const { events } = yield* watchOf(({ raw }) => {
        raw.write(line("ADDED", thing("a", "6")))
      })
      const first = yield* Deferred.make<void>()
      const watching = yield* Stream.runForEach(events, () => Deferred.succeed(first, undefined)).pipe(
        failure,
        Effect.forkChild
      )
      yield* Deferred.await(first)
      yield* TestClock.adjust("151 seconds")
      assert.strictEqual((yield* Fiber.join(watching)).reason, "Unavailable")
    }).pipe(Effect.scoped)
  )
})
