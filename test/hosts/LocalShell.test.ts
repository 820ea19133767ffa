/** Holds that a local host tells what its processes said, whenever it is read: the suites on it would fail now and then. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { makeLocalHost, unavailable } from "./LocalShell.ts"

describe.skipIf(unavailable !== undefined)("a local host", () => {
  it.live("what a process said is there for who reads it after its end", () =>
    Effect.gen(function* () {
      const host = yield* makeLocalHost()
      const session = yield* host.ssh.connect(host.target)
      const { exit, stderr, stdout } = yield* session.exec("echo said; echo told >&2", new Uint8Array(0))
      assert.deepStrictEqual(yield* exit, { code: 0 })
      // Node's own turn, in which it would drop what nobody listens to.
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(stdout)), "said\n")
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(stderr)), "told\n")
    })
  )
})
