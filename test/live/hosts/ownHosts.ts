/**
 * Owns a process that makes one host of each kind, says so, and waits to be killed: TestHosts.test.ts looks at what it leaves.
 */
import * as Effect from "effect/Effect"
import * as TestHosts from "./TestHosts.ts"

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const light = yield* TestHosts.light(1)
      const systemd = TestHosts.systemdUnavailable === undefined ? yield* TestHosts.systemd(1) : []
      for (const host of [...light, ...systemd]) console.log(host.machine.directory)
      console.log("up")
      return yield* Effect.never
    })
  )
)
