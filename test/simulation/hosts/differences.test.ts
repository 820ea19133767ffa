/**
 * Holds what hosts in memory do otherwise than real ones behind sshd to what their headers say, so that nobody is surprised:
 * where one of these fails, the difference is gone, and its line in the header with it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { SENTINEL, STATE_DIR } from "../../../src/hosts/Protocol.ts"
import { makeSimulatedHosts } from "../../../src/simulation/hosts/SimulatedHosts.ts"
import { runOf, tenant } from "../../conformance/hosts/World.ts"
import { seconds, speak, targetOf } from "./speak.ts"

const ADDRESS = "10.0.0.1"

const world = Effect.gen(function* () {
  const hosts = yield* makeSimulatedHosts()
  const host = yield* hosts.add({ address: ADDRESS })
  return { hosts, host, client: hosts.client, target: targetOf(ADDRESS) }
})

describe("a host in memory, unlike a real one", () => {
  it.effect("runs the driver, and no command of anybody else (unlike: driver-only)", () =>
    Effect.gen(function* () {
      const { client, target } = yield* world
      const session = yield* client.connect(target)
      const said = Effect.fnUntraced(function* (command: string) {
        const running = yield* session.exec(command, new Uint8Array())
        return [(yield* running.exit).code, (yield* Stream.mkString(Stream.decodeText(running.stdout))).trim()]
      })
      assert.deepStrictEqual(yield* said("uname -a"), [127, ""])
      assert.deepStrictEqual(yield* said("echo word"), [0, "word"])
    }).pipe(Effect.scoped)
  )

  it.effect("says that a step succeeded which it does not understand, and does nothing (unlike: steps-by-name)", () =>
    Effect.gen(function* () {
      const { client, host, target } = yield* world
      const steps = [
        { name: "strange", script: `awk 'BEGIN { print "x" }' >/etc/made; exit 3\n` },
        { name: "known", script: `touch ${SENTINEL}\n` }
      ]
      const call = yield* Effect.forkChild(speak(client, target, runOf(steps)))
      yield* seconds(30)
      const ended = (yield* Fiber.join(call)).filter((event) => event._tag === "StepEnded")
      assert.deepStrictEqual(
        ended.map((event) => ("code" in event ? event.code : undefined)),
        [0, 0]
      )
      assert.isFalse(host.disk.exists("/etc/made"))
    }).pipe(Effect.scoped)
  )

  it.effect("has room for anything until it is said to be full, and then for nothing (unlike: disk-by-decree)", () =>
    Effect.gen(function* () {
      const { host } = yield* world
      yield* host.disk.write("/var/big", new Uint8Array(64 * 1024 * 1024))
      host.disk.setFull("/")
      assert.isTrue(Exit.isFailure(yield* Effect.exit(host.disk.write("/var/small", "x"))))
    }).pipe(Effect.scoped)
  )

  it.effect("launches one driver for two callers at once, and has one file of what it runs (unlike: one-launch)", () =>
    Effect.gen(function* () {
      const { client, host, target } = yield* world
      const request = runOf([{ name: "known", script: `touch ${SENTINEL}\n` }])
      const calls = yield* Effect.forEach([1, 2], () => Effect.forkChild(speak(client, target, request)))
      const drivers = new Set<number>()
      const requests = new Set<string>()
      yield* host.disk
        .until(() => {
          for (const { pid, role } of host.kernel.processes()) if (role === "runner") drivers.add(pid)
          for (const path of host.disk.list(STATE_DIR)) if (path.endsWith("/request")) requests.add(path)
          return drivers.size > 1
        })
        .pipe(Effect.forkChild)
      yield* seconds(30)
      yield* Effect.forEach(calls, Fiber.join)
      assert.strictEqual(drivers.size, 1)
      assert.deepStrictEqual([...requests], [`${STATE_DIR}/runs/${tenant().claim}/request`])
    }).pipe(Effect.scoped)
  )

  it.effect("is found by its address as it was written, and by no name (unlike: literal-addresses)", () =>
    Effect.gen(function* () {
      const { client, hosts } = yield* world
      yield* hosts.add({ address: "::1" })
      yield* Effect.scoped(client.connect(targetOf("::1")))
      for (const address of ["0:0:0:0:0:0:0:1", "localhost"])
        assert.strictEqual((yield* Effect.flip(Effect.scoped(client.connect(targetOf(address))))).phase, "connect")
    }).pipe(Effect.scoped)
  )

  it.effect("that falls silent is waited for without end: nobody's keepalive finds out (unlike: no-keepalives)", () =>
    Effect.gen(function* () {
      const { client, host, target } = yield* world
      host.setReachability("mute")
      const call = yield* Effect.forkChild(speak(client, target, { verb: "inspect", tenant: tenant() }))
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(call.pollUnsafe())
      yield* Fiber.interrupt(call)
    }).pipe(Effect.scoped)
  )

  it.effect("takes any number of connections and channels at once (unlike: unlimited-sessions)", () =>
    Effect.gen(function* () {
      const { client, host, target } = yield* world
      // sshd: MaxStartups 10 at a time, MaxSessions 10 a connection.
      const sessions = yield* Effect.forEach(Array.from({ length: 100 }), () => client.connect(target))
      assert.strictEqual(host.connections.size, 100)
      const [first] = sessions
      assert.isDefined(first)
      const exits = yield* Effect.forEach(Array.from({ length: 50 }), () =>
        Effect.flatMap(first.exec("echo word", new Uint8Array()), ({ exit }) => exit)
      )
      assert.isTrue(exits.every(({ code }) => code === 0))
    }).pipe(Effect.scoped)
  )
})
