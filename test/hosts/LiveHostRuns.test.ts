/**
 * Holds: whatever a host or its connection does, a caller gets progress and one end, or one HostError that says who,
 * where and what would change it. The SSH side is a script of bytes; the driver itself is tested in driver.test.ts.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { STALL_SECONDS } from "../../src/hosts/Heard.ts"
import { HostError } from "../../src/hosts/HostError.ts"
import { type HostAccess, HostRuns, type RunRequest } from "../../src/hosts/HostRuns.ts"
import { MAX_LINE_BYTES } from "../../src/hosts/Lines.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { firstUse } from "../../src/ssh/HostKeys.ts"
import { SshClient, type SshExit, type SshTarget } from "../../src/ssh/SshClient.ts"
import { SshError } from "../../src/ssh/SshError.ts"

const target: SshTarget = {
  address: "192.0.2.7",
  port: 2222,
  user: "ops",
  privateKey: Redacted.make("key-1"),
  hostKeys: firstUse
}
const access: HostAccess = { target, useSudo: false }
const host = "ops@192.0.2.7:2222"
const tenant = { claim: "c1", machine: "default/m1", cluster: "u1", fence: 3 }
const request: RunRequest = {
  verb: "run",
  tenant,
  dataHash: "abc",
  attempt: 1,
  files: [{ path: "/etc/k0s.token", content: new TextEncoder().encode("t0p-secret"), mode: "0600" }],
  steps: [
    { name: "download k0s", script: "echo t0p-secret" },
    { name: "install k0s", script: "true" }
  ],
  sentinel: true,
  stepTimeoutSeconds: 600
}

const ssh = (phase: SshError["phase"]): SshError => new SshError({ phase, target: host, message: `${phase} happened` })

interface Script {
  readonly stdout?: string
  readonly stderr?: string
  readonly exit?: SshExit
  /** After its output: the connection is lost, or nothing ever comes again. */
  readonly after?: "lost" | "silence"
  readonly connect?: SshError
}

interface Seen {
  connects: number
  readonly commands: Array<string>
}

/** One script an exec, in order; the last one again. */
const scripted = (...scripts: ReadonlyArray<Script>) => {
  const seen: Seen = { connects: 0, commands: [] }
  const next = (): Script => scripts[Math.min(seen.commands.length, scripts.length - 1)] ?? {}
  const after = (script: Script) =>
    script.after === "lost" ? Stream.fail(ssh("closed")) : script.after === "silence" ? Stream.never : Stream.empty
  const bytes = (text: string | undefined) =>
    text === undefined ? Stream.empty : Stream.succeed(new TextEncoder().encode(text))
  const client = SshClient.of({
    connect: () =>
      Effect.suspend(() => {
        seen.connects++
        const { connect } = next()
        if (connect !== undefined) return Effect.fail(connect)
        return Effect.succeed({
          hostKey: "SHA256:abc",
          exec: (command: string) =>
            Effect.sync(() => {
              const script = next()
              seen.commands.push(command)
              return {
                stdout: Stream.concat(bytes(script.stdout), after(script)),
                stderr: bytes(script.stderr),
                exit: Effect.succeed(script.exit ?? { code: 0 })
              }
            })
        })
      })
  })
  return { seen, layer: Layer.provide(LiveHostRuns.layer, Layer.succeed(SshClient, client)) }
}

const runAll = (from: HostAccess = access) =>
  Effect.flatMap(HostRuns, (runs) => Effect.result(Stream.runCollect(runs.run(from, request))))
const failure = (script: Script, from: HostAccess = access) =>
  runAll(from).pipe(
    Effect.map((result) => (Result.isFailure(result) ? result.failure : assert.fail("no error"))),
    Effect.provide(scripted(script).layer)
  )

const FACTS = "machinist Facts b-1 systemd 0 node-1\nmachinist System 6.1.0-9 x86_64 debian 12 -\n"
const NONE = `${FACTS}machinist Tenancy none\n`

describe("an exec's end", () => {
  it.effect("progress is told, noise is not, and success ends the stream though the channel stays open", () =>
    Effect.gen(function* () {
      const { layer } = scripted({
        stdout: `Welcome!\n${"x".repeat(MAX_LINE_BYTES + 9)}\nmachinist Attached fresh\r\nmachinist alive\nmachinist StepStarted 0\nmachinist StepEnded 0 0\nmachinist RunSucceeded\n`,
        after: "silence"
      })
      const result = yield* Effect.provide(runAll(), layer)
      assert.deepStrictEqual(Result.getOrThrow(result), [
        { _tag: "Attached", how: "fresh" },
        { _tag: "StepStarted", step: 0 },
        { _tag: "StepEnded", step: 0, code: 0 }
      ])
    })
  )

  it.effect("a failed step is named, with its code and its printable last words", () =>
    Effect.gen(function* () {
      const error = yield* failure({
        stdout:
          "machinist StepStarted 1\nmachinist Stderr a\u001b[31mb\nmachinist Stderr second\nmachinist RunFailed 1 7\n"
      })
      assert.strictEqual(error.reason, "StepFailed")
      assert.strictEqual(error.retry, "budget")
      assert.deepStrictEqual([error.step, error.stepName, error.exitCode], [1, "install k0s", 7])
      assert.strictEqual(error.stderr, "a [31mb\nsecond")
      assert.include(error.message, "Step 2 of 2 (install k0s) failed with exit code 7")
      assert.include(error.message, host)
      assert.notInclude(error.message, "second")
    })
  )

  it.effect("no sentinel, a driver's error, leftovers", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* failure({ stdout: "machinist NoSentinel\n" })).reason, "NoSentinel")
      const driver = yield* failure({ stdout: "machinist DriverError no space left\n" })
      assert.deepStrictEqual([driver.reason, driver.retry], ["DriverFailed", "backoff"])
      const dirty = yield* failure({
        stdout: "machinist Leftover /var/lib/k0s\nmachinist Leftover x\nmachinist Dirty\n"
      })
      assert.strictEqual(dirty.reason, "NotClean")
      assert.deepStrictEqual(dirty.leftovers, ["/var/lib/k0s", "x"])
      assert.include(dirty.message, "/var/lib/k0s")
    })
  )

  const refusals: ReadonlyArray<readonly [string, HostError["reason"], string]> = [
    ["foreign c9 4 ready b-1 u9 other/m9", "ForeignTenant", "other/m9"],
    ["quarantined c9 4 quarantined b-1 u9 other/m9", "Quarantined", "by hand"],
    ["fence 8", "StaleFence", "8"],
    ["released", "Released", host],
    ["data", "DataChanged", host],
    ["journal-lost", "JournalLost", host],
    ["unsupported not root: uid 1000", "Unsupported", "useSudo: true"],
    ["unsupported the host lacks awk", "Unsupported", "lacks awk"]
  ]
  for (const [said, reason, hint] of refusals)
    it.effect(`refused ${said}`, () =>
      Effect.gen(function* () {
        const error = yield* failure({ stdout: `machinist Refused ${said}\n` })
        assert.deepStrictEqual([error.reason, error.retry, error.host], [reason, "waitForChange", host])
        assert.include(error.message, hint)
      })
    )

  const silences: ReadonlyArray<readonly [string, boolean, Script, HostError["reason"]]> = [
    ["sudo wants a password", true, { stderr: "sudo: a password is required\n", exit: { code: 1 } }, "SudoRefused"],
    ["PAM opens no session", false, { stderr: "", exit: { code: 254 } }, "SessionRefused"],
    ["/etc/nologin", false, { stderr: "Down until noon\n", exit: { code: 254 } }, "SessionRefused"],
    ["sudo is missing", true, { stderr: "sh: 1: sudo: not found\n", exit: { code: 127 } }, "SudoRefused"],
    ["no shell", false, { stderr: "sh: not found\n", exit: { code: 127 } }, "Unsupported"],
    ["a shell that is none", false, { stdout: "Not available.\n", exit: { code: 1 } }, "ShellRefused"],
    ["a forced command", true, { stderr: "backups only", exit: { code: 0 } }, "ShellRefused"],
    ["killed", false, { stdout: "machinist StepStarted 0\n", exit: { signal: "KILL" } }, "DriverFailed"]
  ]
  for (const [title, useSudo, script, reason] of silences)
    it.effect(`no result: ${title}`, () =>
      Effect.gen(function* () {
        const error = yield* failure(script, { target, useSudo })
        assert.strictEqual(error.reason, reason)
        assert.include(error.message, host)
      })
    )

  it.effect("nothing at all of an account that does run commands is the driver's failure", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted({ exit: { code: 2 } }, { stdout: "Welcome!\nmachinist-shell\n" })
      const result = yield* Effect.provide(runAll(), layer)
      assert.strictEqual(Result.isFailure(result) ? result.failure.reason : "", "DriverFailed")
      assert.strictEqual(seen.commands.at(-1), "echo machinist-shell")
    })
  )

  it.effect(
    "an account that runs nothing is told in its own words, one line, bounded; nobody asks after an event",
    () =>
      Effect.gen(function* () {
        const words = `\u001b[31mAsk\nthe desk ${"x".repeat(9_000)}`
        const { message, retry } = yield* failure({ stdout: words, exit: { code: 1 } })
        assert.strictEqual(retry, "waitForChange")
        for (const control of ["\u001b", "\n"]) assert.notInclude(message, control)
        assert.isBelow(message.length, 1_000)
        const { layer, seen } = scripted(
          { stdout: "machinist StepStarted 0\n", exit: { code: 1 } },
          { exit: { code: 1 } }
        )
        const result = yield* Effect.provide(runAll(), layer)
        assert.strictEqual(Result.isFailure(result) ? result.failure.reason : "", "DriverFailed")
        assert.strictEqual(seen.commands.length, 1)
      })
  )

  it.effect("what a step wrote to stderr never gets into a message", () =>
    Effect.gen(function* () {
      const error = yield* failure({ stdout: "machinist Stderr t0p-secret\nmachinist RunFailed 0 1\n" })
      assert.include(error.stderr, "t0p-secret")
      assert.notInclude(error.message, "t0p-secret")
    })
  )
})

describe("the connection", () => {
  const phases: ReadonlyArray<readonly [SshError["phase"], HostError["reason"]]> = [
    ["connect", "ConnectFailed"],
    ["timeout", "ConnectFailed"],
    ["channel", "ConnectFailed"],
    ["closed", "ConnectFailed"],
    ["limit", "SessionLimit"],
    ["handshake", "NoCommonAlgorithm"],
    ["authentication", "AuthenticationFailed"],
    ["key", "InvalidKey"],
    ["passphrase", "InvalidPassphrase"],
    ["hostKey", "HostKeyRejected"],
    ["hostKeyChanged", "HostKeyChanged"],
    ["forwarding", "JumpHostRefused"]
  ]
  for (const [phase, reason] of phases)
    it.effect(`fails by ${phase}: ${reason}`, () =>
      Effect.gen(function* () {
        const error = yield* failure({ connect: ssh(phase) })
        assert.strictEqual(error.reason, reason)
        assert.strictEqual(error.retry, ssh(phase).retry)
        assert.include(error.message, `${phase} happened`)
      })
    )

  it.effect("inspect and run share one; it is closed when idle", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted({ stdout: NONE }, { stdout: "machinist RunSucceeded\n" })
      yield* Effect.gen(function* () {
        const runs = yield* HostRuns
        const report = yield* runs.inspect(access, tenant)
        assert.deepStrictEqual(report, {
          bootId: "b-1",
          hostname: "node-1",
          serviceManager: "systemd",
          system: { kernelRelease: "6.1.0-9", machine: "x86_64", distro: "debian", distroVersion: "12" },
          hostKey: { fingerprint: "SHA256:abc" },
          tenancy: undefined
        })
        yield* runAll()
        assert.strictEqual(seen.connects, 1)
        // The key that was seen first is pinned, and the connection on which it was goes on; with another pin it can't.
        const pinned = (fingerprint: string) => ({
          target: { ...target, hostKeys: { pins: [{ fingerprint }] } },
          useSudo: false
        })
        yield* runAll(pinned("SHA256:abc"))
        assert.strictEqual(seen.connects, 1)
        yield* runAll(pinned("SHA256:xyz"))
        assert.strictEqual(seen.connects, 2)
        yield* runAll({
          target: { ...target, hostKeys: { ...pinned("SHA256:abc").target.hostKeys, knownHosts: "" } },
          useSudo: false
        })
        assert.strictEqual(seen.connects, 3)
        yield* runAll({ target: { ...target, privateKey: Redacted.make("key-2") }, useSudo: false })
        assert.strictEqual(seen.connects, 4)
        yield* TestClock.adjust((LiveHostRuns.SESSION_IDLE_SECONDS + 1) * 1000)
        yield* runAll()
        assert.strictEqual(seen.connects, 5)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("lost in the middle: what came before is told, and the next call connects anew", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted(
        { stdout: "machinist Attached fresh\n", after: "lost" },
        { stdout: "machinist Attached ended\nmachinist RunSucceeded\n" }
      )
      yield* Effect.gen(function* () {
        const runs = yield* HostRuns
        const told: Array<string> = []
        const first = yield* Effect.result(
          Stream.runForEach(runs.run(access, request), (one) => Effect.sync(() => told.push(one._tag)))
        )
        assert.deepStrictEqual(told, ["Attached"])
        assert.strictEqual(Result.isFailure(first) ? first.failure.reason : undefined, "ConnectFailed")
        assert.isTrue(Result.isSuccess(yield* runAll()))
        assert.strictEqual(seen.connects, 2)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("silent for a minute, without even a heartbeat: lost", () =>
    Effect.gen(function* () {
      const { layer } = scripted({ stdout: "machinist Attached fresh\n", after: "silence" })
      const fiber = yield* Effect.forkChild(Effect.provide(runAll(), layer))
      // The first one may come before the fiber waits.
      yield* TestClock.adjust((STALL_SECONDS + 1) * 1000)
      yield* TestClock.adjust((STALL_SECONDS + 1) * 1000)
      const result = yield* Fiber.join(fiber)
      assert.strictEqual(Result.isFailure(result) ? result.failure.reason : undefined, "ConnectFailed")
      if (Result.isFailure(result)) assert.include(result.failure.message, `${STALL_SECONDS} s`)
    })
  )

  it.effect("a failed connect is not remembered", () =>
    Effect.gen(function* () {
      let refuse = true
      const client = SshClient.of({
        connect: () =>
          Effect.suspend(() =>
            refuse
              ? Effect.fail(ssh("connect"))
              : Effect.succeed({
                  hostKey: "SHA256:abc",
                  exec: () =>
                    Effect.succeed({
                      stdout: Stream.succeed(new TextEncoder().encode(NONE)),
                      stderr: Stream.empty,
                      exit: Effect.succeed({ code: 0 })
                    })
                })
          )
      })
      yield* Effect.gen(function* () {
        const runs = yield* HostRuns
        assert.isTrue(Result.isFailure(yield* Effect.result(runs.inspect(access, tenant))))
        refuse = false
        assert.strictEqual((yield* runs.inspect(access, tenant)).hostname, "node-1")
      }).pipe(Effect.provide(Layer.provide(LiveHostRuns.layer, Layer.succeed(SshClient, client))))
    })
  )
})

describe("requests", () => {
  it.effect("inspect answers with the record of whoever has the host", () =>
    Effect.gen(function* () {
      const { layer } = scripted({ stdout: `\n${FACTS}machinist Tenancy c9 4 ready b-1 u9 other/m9\n` })
      const report = yield* Effect.provide(
        Effect.flatMap(HostRuns, (runs) => runs.inspect(access, tenant)),
        layer
      )
      assert.deepStrictEqual(report.tenancy, {
        claim: "c9",
        fence: 4,
        state: "ready",
        bootId: "b-1",
        cluster: "u9",
        machine: "other/m9"
      })
    })
  )

  it.effect("quarantine ends with the record it left", () =>
    Effect.gen(function* () {
      const { layer } = scripted({ stdout: "machinist Tenancy c1 3 quarantined b-1 u1 default/m1\n" })
      yield* Effect.provide(
        Effect.flatMap(HostRuns, (runs) => runs.quarantine(access, tenant)),
        layer
      )
    })
  )

  it.effect("one that can't be carried is refused before anything is sent", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted({ stdout: "machinist RunSucceeded\n" })
      const error = yield* Effect.flatMap(HostRuns, (runs) =>
        Effect.flip(Stream.runDrain(runs.run(access, { ...request, workingDir: "/a\nb" })))
      ).pipe(Effect.provide(layer))
      assert.instanceOf(error, HostError)
      assert.deepStrictEqual([error.reason, error.retry], ["Unsupported", "waitForChange"])
      assert.include(error.message, "workingDir")
      assert.deepStrictEqual(seen.commands, [])
    })
  )

  it.effect("with useSudo the whole of it runs under sudo -n", () =>
    Effect.gen(function* () {
      const { layer, seen } = scripted({ stdout: "machinist RunSucceeded\n" })
      yield* Effect.provide(runAll({ target, useSudo: true }), layer)
      assert.match(seen.commands[0] ?? "", /^sudo -n sh -c '/)
    })
  )
})
