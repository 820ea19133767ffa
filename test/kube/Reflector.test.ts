/**
 * The Reflector under virtual time, against a server that answers by hand: what subscribers hear, what the copy holds,
 * and that nothing the server does ends it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { KubeClient } from "../../src/kube/KubeClient.ts"
import * as Reflector from "../../src/kube/Reflector.ts"
import { makeScriptedKube, refused, type Thing, Things, thing } from "./ScriptedKube.ts"

const say = (change: Reflector.Change<Thing>) =>
  `${change._tag} ${change.object.metadata.name}@${change.object.metadata.resourceVersion}` +
  (change._tag === "Modified" ? ` after ${change.previous.metadata.resourceVersion}` : "")

/** A reflector at work, and what one subscriber hears, one change at a time. */
const begin = (options: Reflector.ReflectorOptions<Thing> = {}) =>
  Effect.gen(function* () {
    const kube = yield* makeScriptedKube
    const reflector = yield* Reflector.make(Things, options).pipe(Effect.provideService(KubeClient, kube.client))
    const heard = yield* Queue.unbounded<string>()
    yield* Effect.forkScoped(Stream.runForEach(reflector.changes, (change) => Queue.offer(heard, say(change))))
    const hear = (count: number) => Effect.forEach(Array.from({ length: count }), () => Queue.take(heard))
    const names = Effect.map(reflector.list(), (things) =>
      things.map(({ metadata }) => `${metadata.name}@${metadata.resourceVersion}`)
    )
    return { ...kube, reflector, hear, silent: Effect.map(Queue.size(heard), (size) => size === 0), names }
  })

/** Lets virtual time pass until the server is asked for something. */
const untilAsked = (waiting: Effect.Effect<number>) =>
  Effect.gen(function* () {
    const begun = yield* Clock.currentTimeMillis
    while ((yield* waiting) === 0) yield* TestClock.adjust("50 millis")
    return (yield* Clock.currentTimeMillis) - begun
  })

/** Waits until the reflector has dealt with all that was sent before: a mark is sent, and heard. */
const mark = (
  kube: { readonly hear: (count: number) => Effect.Effect<ReadonlyArray<string>> },
  watch: { readonly send: (event: { _tag: "Added"; object: Thing }) => Effect.Effect<void> },
  version: number
) =>
  Effect.gen(function* () {
    yield* watch.send({ _tag: "Added", object: thing(`mark-${version}`, version) })
    assert.deepStrictEqual(yield* kube.hear(1), [`Added mark-${version}@${version}`])
  })

describe("Reflector", () => {
  it.effect("tells of the list, then of every event, and resumes where the watch ended", () =>
    Effect.gen(function* () {
      const kube = yield* begin({ namespace: "ns", labelSelector: "x" })
      const list = yield* kube.nextList
      assert.deepStrictEqual(list.options, { namespace: "ns", labelSelector: "x" })
      yield* list.answer([thing("a", 3), thing("b", 4)], 10)
      yield* kube.reflector.synced
      assert.deepStrictEqual(yield* kube.hear(2), ["Added a@3", "Added b@4"])
      const watch = yield* kube.nextWatch
      assert.strictEqual(watch.resourceVersion, "10")
      yield* watch.send(
        { _tag: "Modified", object: thing("a", 11) },
        { _tag: "Deleted", object: thing("b", 12) },
        { _tag: "Added", object: thing("c", 13) },
        { _tag: "Bookmark", resourceVersion: "20" }
      )
      assert.deepStrictEqual(yield* kube.hear(3), ["Modified a@11 after 3", "Deleted b@12", "Added c@13"])
      yield* watch.end
      const resumed = yield* kube.nextWatch
      assert.strictEqual(resumed.resourceVersion, "20")
      assert.deepStrictEqual(yield* kube.names, ["a@11", "c@13"])
    })
  )

  it.effect("lists again after 410, and tells only of what differs: vanished, replaced, changed, new", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      const first = [thing("gone", 1), thing("same", 2), thing("changed", 3), thing("replaced", 4)]
      yield* (yield* kube.nextList).answer(first, 10)
      yield* kube.hear(4)
      yield* (yield* kube.nextWatch).fail(refused("Gone"))
      const second = [thing("same", 2), thing("changed", 30), thing("replaced", 31, "uid-other"), thing("new", 32)]
      yield* (yield* kube.nextList).answer(second, 40)
      assert.deepStrictEqual(yield* kube.hear(5), [
        "Deleted gone@1",
        "Deleted replaced@4",
        "Modified changed@30 after 3",
        "Added replaced@31",
        "Added new@32"
      ])
      assert.strictEqual((yield* kube.nextWatch).resourceVersion, "40")
      assert.isTrue(yield* kube.silent)
    })
  )

  it.effect("drops duplicates and older states, and never goes back", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).answer([thing("a", 9)], 10)
      yield* kube.hear(1)
      const watch = yield* kube.nextWatch
      yield* watch.send(
        { _tag: "Added", object: thing("a", 9) },
        { _tag: "Modified", object: thing("a", 8) },
        // Gone by the time of the list: a replay.
        { _tag: "Added", object: thing("b", 7) },
        { _tag: "Deleted", object: thing("b", 7) },
        // About a predecessor of the same name.
        { _tag: "Deleted", object: thing("a", 5, "uid-before") }
      )
      yield* mark(kube, watch, 11)
      yield* watch.send({ _tag: "Bookmark", resourceVersion: "4" })
      yield* watch.end
      assert.strictEqual((yield* kube.nextWatch).resourceVersion, "11")
      assert.deepStrictEqual(yield* kube.names, ["a@9", "mark-11@11"])
    })
  )

  it.effect("tells of a recreated object as deleted and added, also when the deletion was missed", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).answer([thing("a", 9)], 10)
      yield* kube.hear(1)
      yield* (yield* kube.nextWatch).send({ _tag: "Modified", object: thing("a", 12, "uid-2") })
      assert.deepStrictEqual(yield* kube.hear(2), ["Deleted a@9", "Added a@12"])
    })
  )

  it.effect("works with versions that are no numbers", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).answer([thing("a", "x1")], 1)
      yield* kube.hear(1)
      const watch = yield* kube.nextWatch
      yield* watch.send(
        { _tag: "Modified", object: thing("a", "x1") },
        { _tag: "Modified", object: thing("a", "x0") },
        { _tag: "Added", object: thing("b", "x2") }
      )
      assert.deepStrictEqual(yield* kube.hear(2), ["Modified a@x0 after x1", "Added b@x2"])
      yield* watch.end
      assert.strictEqual((yield* kube.nextWatch).resourceVersion, "x2")
    })
  )

  it.effect("never takes an object that does not decode for one that is gone, until it is", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).answer([thing("a", 3), thing("b", 4)], 10)
      yield* kube.hear(2)
      const bad = (uid: string) => ({ name: "a", namespace: "ns", uid, message: "" })
      const watch = yield* kube.nextWatch
      yield* watch.send({ _tag: "Bookmark", resourceVersion: "11", skipped: { ...bad("uid-a"), type: "Modified" } })
      yield* watch.fail(refused("Gone"))
      yield* (yield* kube.nextList).answer([thing("b", 4)], 20, { undecodable: [bad("uid-a")] })
      const again = yield* kube.nextWatch
      assert.deepStrictEqual(yield* kube.names, ["a@3", "b@4"])
      assert.isTrue(yield* kube.silent)
      yield* again.send({ _tag: "Bookmark", resourceVersion: "21", skipped: { ...bad("uid-x"), type: "Deleted" } })
      yield* mark(kube, again, 22)
      yield* again.send({ _tag: "Bookmark", resourceVersion: "23", skipped: { ...bad("uid-a"), type: "Deleted" } })
      assert.deepStrictEqual(yield* kube.hear(1), ["Deleted a@3"])
    })
  )

  it.effect("waits longer and longer while the server is away, resumes, and after five failures lists", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).answer([], 10)
      const delays: Array<number> = []
      for (let failures = 1; failures <= 4; failures++) {
        const watch = yield* kube.nextWatch
        assert.strictEqual(watch.resourceVersion, "10")
        yield* watch.fail(refused("Unavailable"))
        delays.push(yield* untilAsked(kube.waiting))
      }
      // Between half and all of 200, 400, 800, 1600 ms; asked in steps of 50.
      for (const [index, delay] of delays.entries()) {
        assert.isAtLeast(delay, 100 * 2 ** index)
        assert.isAtMost(delay, 200 * 2 ** index + 50)
      }
      yield* (yield* kube.nextWatch).fail(refused("Unavailable"))
      yield* untilAsked(kube.waiting)
      yield* (yield* kube.nextList).answer([thing("a", 1)], 5)
      assert.deepStrictEqual(yield* kube.hear(1), ["Added a@1"])
      const watch = yield* kube.nextWatch
      assert.strictEqual(watch.resourceVersion, "5")
      // An event is proof of health: the next failure waits as little as a first one.
      yield* mark(kube, watch, 6)
      yield* watch.fail(refused("Unavailable"))
      assert.isAtMost(yield* untilAsked(kube.waiting), 250)
    })
  )

  it.effect("has as much patience as the server asks for, within bounds", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).fail(refused("TooManyRequests", 20))
      assert.isAtLeast(yield* untilAsked(kube.waiting), 20_000)
      yield* (yield* kube.nextList).fail(refused("TooManyRequests", 9_999))
      assert.isAtMost(yield* untilAsked(kube.waiting), 120_050)
    })
  )

  it.effect("does not spin on watches that end at once, nor on versions that are always too old", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).answer([], 10)
      yield* (yield* kube.nextWatch).end
      assert.isAtLeast(yield* untilAsked(kube.waiting), 100)
      yield* (yield* kube.nextWatch).fail(refused("Gone"))
      assert.isAtLeast(yield* untilAsked(kube.waiting), 100)
      yield* (yield* kube.nextList).answer([], 11)
      yield* (yield* kube.nextWatch).fail(refused("Gone"))
      assert.isAtLeast(yield* untilAsked(kube.waiting), 200)
    })
  )

  it.effect("survives defects and refusals of every reason", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).die(new Error("bug"))
      for (const reason of ["Forbidden", "Unauthorized", "Decode", "NotFound"] as const) {
        yield* untilAsked(kube.waiting)
        yield* (yield* kube.nextList).fail(refused(reason))
      }
      yield* untilAsked(kube.waiting)
      yield* (yield* kube.nextList).answer([thing("a", 1)], 10)
      yield* kube.reflector.synced
      yield* (yield* kube.nextWatch).fail(refused("Decode"))
      yield* untilAsked(kube.waiting)
      // A watch that can't be decoded can't be resumed either.
      yield* (yield* kube.nextList).answer([thing("a", 1)], 10)
      assert.deepStrictEqual(yield* kube.hear(1), ["Added a@1"])
    })
  )

  it.effect("gives late subscribers everything there is, and slow ones every final state", () =>
    Effect.gen(function* () {
      const kube = yield* begin()
      yield* (yield* kube.nextList).answer([thing("a", 1), thing("b", 2), thing("c", 3)], 10)
      yield* kube.hear(3)
      // Takes one change and then nothing, until told to.
      const late = yield* Queue.bounded<string>(1)
      const gate = yield* Queue.bounded<void>(1)
      yield* Effect.forkScoped(
        Stream.runForEach(kube.reflector.changes, (change) =>
          Effect.andThen(Queue.offer(late, say(change)), Queue.take(gate))
        )
      )
      const next = Effect.tap(Queue.take(late), () => Queue.offer(gate, undefined))
      assert.deepStrictEqual([yield* next, yield* next], ["Added a@1", "Added b@2"])
      assert.strictEqual(yield* Queue.take(late), "Added c@3")
      const watch = yield* kube.nextWatch
      yield* watch.send(
        { _tag: "Modified", object: thing("a", 11) },
        { _tag: "Modified", object: thing("a", 12) },
        { _tag: "Modified", object: thing("b", 13) },
        { _tag: "Added", object: thing("fleeting", 14) },
        { _tag: "Deleted", object: thing("fleeting", 15) },
        { _tag: "Deleted", object: thing("b", 16) },
        { _tag: "Added", object: thing("b", 17, "uid-b2") },
        { _tag: "Deleted", object: thing("c", 18) },
        { _tag: "Added", object: thing("c", 19) }
      )
      while (!(yield* kube.hear(1)).some((heard) => heard.includes("c@19")));
      yield* Queue.offer(gate, undefined)
      assert.deepStrictEqual(
        [yield* next, yield* next, yield* next, yield* next],
        ["Modified a@12 after 1", "Deleted b@16", "Added b@17", "Modified c@19 after 18"]
      )
    })
  )

  it.effect("finds objects by name, namespace and index, as they are now", () =>
    Effect.gen(function* () {
      const kube = yield* begin({ indexes: { version: ({ metadata }) => [metadata.resourceVersion, "any"] } })
      const { reflector } = kube
      yield* (yield* kube.nextList).answer([thing("a", 1), thing("a", 2, "uid-2", "other")], 10)
      yield* kube.hear(2)
      const watch = yield* kube.nextWatch
      const uids = (things: ReadonlyArray<Thing>) => things.map(({ metadata }) => metadata.uid)
      assert.deepStrictEqual(uids(yield* reflector.list("other")), ["uid-2"])
      assert.deepStrictEqual(uids(yield* reflector.byIndex("version", "1")), ["uid-a"])
      yield* watch.send(
        { _tag: "Modified", object: thing("a", 11) },
        { _tag: "Deleted", object: thing("a", 12, "uid-2", "other") }
      )
      yield* kube.hear(2)
      assert.deepStrictEqual(uids(yield* reflector.byIndex("version", "1")), [])
      assert.deepStrictEqual(uids(yield* reflector.byIndex("version", "11")), ["uid-a"])
      assert.deepStrictEqual(uids(yield* reflector.byIndex("version", "any")), ["uid-a"])
      assert.deepStrictEqual(uids(yield* reflector.list("other")), [])
      assert.deepStrictEqual(uids(yield* reflector.list("ns")), ["uid-a"])
      assert.strictEqual((yield* reflector.get({ namespace: "ns", name: "a" }))?.metadata.resourceVersion, "11")
      assert.isUndefined(yield* reflector.get({ namespace: "other", name: "a" }))
    })
  )

  it.effect("knows when it last heard from the server, and stops with its scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const kube = yield* begin().pipe(Scope.provide(scope))
      assert.isUndefined(yield* kube.reflector.lastSync)
      yield* TestClock.adjust("1 minute")
      yield* (yield* kube.nextList).answer([], 10)
      yield* kube.reflector.synced
      const watch = yield* kube.nextWatch
      assert.strictEqual(yield* kube.reflector.lastSync, 60_000)
      yield* TestClock.adjust("1 minute")
      yield* mark(kube, watch, 11)
      assert.strictEqual(yield* kube.reflector.lastSync, 120_000)
      yield* Scope.close(scope, Exit.void)
      yield* watch.fail(refused("Unavailable"))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* kube.waiting, 0)
    })
  )
})
