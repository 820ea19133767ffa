/**
 * Holds: no more sessions than allowed are open, in all and through one jump host; whoever waits goes on as soon as one
 * ends; hosts that never answer, however many, keep nobody from theirs; and waiting is bounded.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { make } from "../../src/ssh/LiveSshClient.ts"
import { make as makeLimits, SESSION_WAIT_SECONDS } from "../../src/ssh/SessionLimits.ts"
import { silentServer } from "./SilentServer.ts"
import { serve } from "./TestSshServer.ts"

const opened = (session: Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const fiber = yield* Effect.forkChild(Scope.provide(session, scope), { startImmediately: true })
    return { fiber, close: Scope.close(scope, Exit.void) }
  })

describe("places", () => {
  it.effect("are given in the order of asking, as others leave", () =>
    Effect.gen(function* () {
      const limits = makeLimits(2, 2)
      const [a, b, c, d] = [
        yield* opened(limits.enter("a", [])),
        yield* opened(limits.enter("b", [])),
        yield* opened(limits.enter("c", [])),
        yield* opened(limits.enter("d", []))
      ]
      yield* Fiber.join(a.fiber)
      yield* Fiber.join(b.fiber)
      assert.isUndefined(c.fiber.pollUnsafe())
      yield* b.close
      yield* Fiber.join(c.fiber)
      assert.isUndefined(d.fiber.pollUnsafe())
      yield* a.close
      yield* Fiber.join(d.fiber)
    })
  )

  it.effect("those who wait for a full jump host hold none that others could have", () =>
    Effect.gen(function* () {
      const limits = makeLimits(2, 1)
      yield* Fiber.join((yield* opened(limits.enter("a", ["jump:22"]))).fiber)
      const waiting = yield* opened(limits.enter("b", ["jump:22"]))
      assert.isUndefined(waiting.fiber.pollUnsafe())
      yield* Fiber.join((yield* opened(limits.enter("c", ["other:22"]))).fiber)
    })
  )

  it.effect("chains through the same jump hosts in another order don't wait for each other", () =>
    Effect.gen(function* () {
      const limits = makeLimits(10, 1)
      const [x, y] = [yield* opened(limits.enter("1", ["x:22"])), yield* opened(limits.enter("2", ["y:22"]))]
      const first = yield* opened(limits.enter("a", ["x:22", "y:22"]))
      const second = yield* opened(limits.enter("b", ["y:22", "x:22"]))
      yield* x.close
      yield* y.close
      yield* Fiber.join(first.fiber)
      yield* first.close
      yield* Fiber.join(second.fiber)
    })
  )

  it.effect("waiting is bounded, tells which limit it was, and an interrupted one takes nothing", () =>
    Effect.gen(function* () {
      const limits = makeLimits(1, 1)
      const holder = yield* opened(limits.enter("a", ["jump:22"]))
      const interrupted = yield* opened(limits.enter("b", []))
      yield* Fiber.interrupt(interrupted.fiber)
      const late = yield* opened(limits.enter("c", ["jump:22"]))
      yield* TestClock.adjust(`${SESSION_WAIT_SECONDS} seconds`)
      const error = yield* Effect.flip(Fiber.join(late.fiber))
      assert(typeof error === "object" && error !== null && "phase" in error && "message" in error)
      assert.strictEqual(error.phase, "limit")
      assert.include(`${error.message}`, "through jump host jump:22")
      yield* holder.close
      yield* Fiber.join((yield* opened(limits.enter("d", ["jump:22"]))).fiber)
    })
  )
})

describe("sessions", () => {
  it.live("no more than allowed are connected, and none is lost for waiting", () =>
    Effect.gen(function* () {
      let open = 0
      let most = 0
      const { target } = yield* serve()
      const client = yield* make({ maxSessions: 3 })
      const use = Effect.gen(function* () {
        const { hostKey } = yield* client.connect(target)
        open += 1
        most = Math.max(most, open)
        yield* Effect.sleep("5 millis")
        open -= 1
        return hostKey
      })
      const keys = yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.scoped(use), {
        concurrency: "unbounded"
      })
      assert.strictEqual(keys.length, 20)
      assert.strictEqual(most, 3)
    })
  )

  it.effect("hosts that accept and never answer hold no session: the others go on after a second", () =>
    Effect.gen(function* () {
      const silent = yield* silentServer
      const { target } = yield* serve()
      const client = yield* make({ maxSessions: 2 })
      yield* Effect.forEach(
        [1, 2],
        () => Effect.forkScoped(Effect.scoped(client.connect({ ...target, port: silent.port }))),
        { discard: true }
      )
      yield* silent.arrived(2)
      const other = yield* Effect.forkChild(Effect.scoped(client.connect(target)), { startImmediately: true })
      assert.isUndefined(other.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(other)
    })
  )

  it.effect("a blackholed jump host delays nobody who does not go through it", () =>
    Effect.gen(function* () {
      const silent = yield* silentServer
      const { target } = yield* serve()
      const client = yield* make({ maxSessions: 1 })
      const jumpHosts = [{ ...target, port: silent.port }]
      yield* Effect.forkScoped(Effect.scoped(client.connect({ ...target, jumpHosts })))
      yield* silent.arrived(1)
      yield* Effect.scoped(client.connect(target))
    })
  )
})
