/** Holds: a look leaves its shell to what comes next on that connection, and nothing depends on its still being there. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { ACCEPT } from "../../src/hosts/driver/Exec.ts"
import { type HostAccess, HostRuns, type RunProgress, type RunRequest } from "../../src/hosts/HostRuns.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { firstUse } from "../../src/ssh/HostKeys.ts"
import { SshClient, type SshProcess } from "../../src/ssh/SshClient.ts"

const access: HostAccess = {
  target: { address: "192.0.2.7", port: 22, user: "admin", privateKey: Redacted.make("key"), hostKeys: firstUse },
  useSudo: false
}
const tenant = { claim: "c1", machine: "default/m", cluster: "u", fence: 1 }
const request: RunRequest = {
  verb: "run",
  tenant,
  dataHash: "ab",
  attempt: 1,
  files: [],
  steps: [{ name: "one", script: "true" }],
  sentinel: false,
  stepTimeoutSeconds: 60
}

const encoder = new TextEncoder()
const LOOKED = "machinist Facts b-1 systemd 0 node-1\nmachinist Tenancy none\n"
const SUCCEEDED = "machinist Attached fresh\nmachinist RunSucceeded\n"

/** A host on which a waiting shell answers so when it is asked to accept; what happened, in order. */
const host = (answer: "accepts" | "is gone" | "hangs") => {
  const log: Array<string> = []
  const process = (stdout: Stream.Stream<Uint8Array>): SshProcess => ({
    stdout,
    stderr: Stream.empty,
    exit: Effect.succeed({ code: 0 })
  })
  const client = SshClient.of({
    connect: () =>
      Effect.succeed({
        hostKey: "SHA256:abc",
        exec: (command) =>
          Effect.sync(() => {
            log.push(command.startsWith("exec sh -c ") || command.startsWith("sudo -n sh -c ") ? "exec" : command)
            return process(Stream.succeed(encoder.encode(SUCCEEDED)))
          }),
        begin: (command, stdin) =>
          Effect.gen(function* () {
            const said = yield* Queue.make<Uint8Array>()
            const say = (text: string) => Queue.offer(said, encoder.encode(text))
            log.push(`begin ${command}`)
            assert.include(Buffer.from(stdin).toString(), "\naccept() {\n")
            yield* Effect.addFinalizer(() => Effect.sync(() => log.push("closed")))
            yield* say(LOOKED)
            return {
              ...process(
                Stream.concat(
                  Stream.takeUntil(Stream.fromQueue(said), ({ length }) => length === 0),
                  Stream.empty
                )
              ),
              write: (bytes: Uint8Array) =>
                Effect.suspend(() => {
                  assert.deepStrictEqual(bytes, ACCEPT)
                  log.push("asked")
                  return answer === "accepts"
                    ? say("machinist Accepted\n")
                    : answer === "is gone"
                      ? say("")
                      : Effect.void
                }),
              end: (bytes: Uint8Array) =>
                Effect.suspend(() => {
                  log.push(Buffer.from(bytes).toString().includes("\n#verb run\n") ? "request" : "?")
                  return say(SUCCEEDED)
                })
            }
          })
      })
  })
  return { log, layer: Layer.provide(LiveHostRuns.layer, Layer.succeed(SshClient, client)) }
}

const look = Effect.flatMap(HostRuns, (runs) => runs.inspect(access, tenant))
const run = (from: HostAccess = access) =>
  Effect.flatMap(HostRuns, (runs) => Stream.runCollect(runs.run(from, request)))
const attached: Array<RunProgress> = [{ _tag: "Attached", how: "fresh" }]

describe("a run that follows a look", () => {
  it.effect("is said to the shell that looked, which is closed when it is over", () => {
    const { layer, log } = host("accepts")
    return Effect.gen(function* () {
      assert.strictEqual((yield* look).bootId, "b-1")
      assert.deepStrictEqual(yield* run(), attached)
      assert.deepStrictEqual(log, ["begin exec sh -s", "asked", "request", "closed"])
      // It was taken.
      yield* run()
      assert.deepStrictEqual(log.slice(4), ["exec"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("has an exec of its own where that shell is gone", () => {
    const { layer, log } = host("is gone")
    return Effect.gen(function* () {
      yield* look
      assert.deepStrictEqual(yield* run(), attached)
      assert.deepStrictEqual(log, ["begin exec sh -s", "asked", "exec", "closed"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("has one where that shell hangs, too", () => {
    const { layer, log } = host("hangs")
    return Effect.gen(function* () {
      yield* look
      const running = yield* Effect.forkChild(run())
      yield* Effect.repeat(Effect.yieldNow, { until: () => log.includes("asked") })
      yield* TestClock.adjust("11 seconds")
      assert.deepStrictEqual(yield* Fiber.join(running), attached)
      assert.deepStrictEqual(log, ["begin exec sh -s", "asked", "exec", "closed"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("is not said to one that has other rights", () => {
    const { layer, log } = host("accepts")
    return Effect.gen(function* () {
      yield* look
      yield* run({ ...access, useSudo: true })
      assert.deepStrictEqual(log, ["begin exec sh -s", "exec", "closed"])
    }).pipe(Effect.provide(layer))
  })
})

describe("a look that nothing follows", () => {
  it.effect("leaves one shell at most, until the connection is closed", () => {
    const { layer, log } = host("accepts")
    return Effect.gen(function* () {
      yield* look
      yield* look
      assert.deepStrictEqual(log, ["begin exec sh -s", "closed", "begin exec sh -s"])
      yield* TestClock.adjust((LiveHostRuns.SESSION_IDLE_SECONDS + 1) * 1000)
      assert.deepStrictEqual(log.slice(3), ["closed"])
    }).pipe(Effect.provide(layer))
  })
})
