/**
 * Holds how a life treats its one activity: being replaced ends the activity and not the life; its own failure, defect
 * or interruption ends the life.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Actor from "../../src/runtime/Actor.ts"
import * as Mailbox from "../../src/runtime/Mailbox.ts"

type Work = "wait" | "fail" | "die" | "interrupt"
interface State {
  readonly work: Work | undefined
  readonly over: boolean
}

const definition: Actor.Definition<State, Work | "end" | "rest", Work, never> = {
  transition: (_, event) =>
    event === "end"
      ? [{ work: undefined, over: true }, []]
      : [{ work: event === "rest" ? undefined : event, over: false }, []],
  activity: (state) => state.work,
  isFinal: (state) => state.over
}

/** Lets the life do all that it can. */
const turns = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })

const run = Effect.fnUntraced(function* (first: Work | undefined, events: ReadonlyArray<Work | "end" | "rest">) {
  const mailbox = yield* Mailbox.make<Work | "end" | "rest">()
  const ended: Array<Work> = []
  const deeds: Record<Work, Effect.Effect<void, string>> = {
    wait: Effect.never,
    fail: Effect.fail("failed"),
    die: Effect.die("died"),
    interrupt: Effect.interrupt
  }
  const initial: State = { work: first, over: false }
  const life = yield* Actor.live(
    definition,
    {
      commit: () => Effect.void,
      perform: (work) => deeds[work].pipe(Effect.ensuring(Effect.sync(() => ended.push(work)))),
      notify: () => Effect.void
    },
    mailbox,
    { initial, previous: initial }
  ).pipe(Effect.exit, Effect.forkChild({ startImmediately: true }))
  for (const event of events) {
    yield* turns
    yield* mailbox.post(event)
  }
  return { exit: yield* Fiber.join(life), ended }
})

describe("an activity's end", () => {
  it.effect("by another activity, or by none: the life goes on", () =>
    Effect.gen(function* () {
      const { exit, ended } = yield* run("wait", ["rest", "wait", "end"])
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(ended, ["wait", "wait"])
    })
  )
  for (const work of ["fail", "die", "interrupt"] as const) {
    it.effect(`by itself (${work}): the life ends with it`, () =>
      Effect.gen(function* () {
        const { exit } = yield* run(work, [])
        assert.isTrue(Exit.isFailure(exit))
      })
    )
  }
})
