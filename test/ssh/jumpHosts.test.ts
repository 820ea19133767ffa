/**
 * Holds LiveSshClient to its promises about jump hosts: a chain with a login, key and pin at each, one connection to a
 * jump host for all sessions through it, and errors that tell the jump host's failures from the host's.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { fingerprint } from "../../src/ssh/Fingerprint.ts"
import type { HostKeyTrust } from "../../src/ssh/HostKeys.ts"
import { CONNECT_TIMEOUT_SECONDS, JUMP_HOST_IDLE_SECONDS, make } from "../../src/ssh/LiveSshClient.ts"
import type { SshLogin, SshTarget } from "../../src/ssh/SshClient.ts"
import { makeKeyPair } from "./keyPair.ts"
import { type ServerOptions, serve, type TestSshServer } from "./TestSshServer.ts"

const none = new Uint8Array(0)
const nobody: HostKeyTrust = { pins: [{ fingerprint: `SHA256:${"A".repeat(43)}` }] }

interface Hop {
  readonly server: TestSshServer
  /** As whom to log in there: a key, a host key and a user that no other server knows. */
  readonly login: SshLogin
  readonly hostKey: string
}

const hop = (user: string, options: ServerOptions = {}) =>
  Effect.gen(function* () {
    const [host, key] = [makeKeyPair(), makeKeyPair()]
    const server = yield* serve({ hostKeys: [host.private], authorized: [key.public], ...options })
    const print = fingerprint(host.publicBytes)
    const login: SshLogin = {
      ...server.target,
      user,
      privateKey: Redacted.make(key.private),
      hostKeys: { pins: [{ fingerprint: print }] }
    }
    const made: Hop = { server, login, hostKey: print }
    return made
  })

const echo: ServerOptions = {
  onCommand: ({ channel, command }) => {
    channel.write(`ran ${command}`)
    channel.exit(0)
    channel.end()
  }
}

const through = (target: SshLogin, ...jumpHosts: ReadonlyArray<SshLogin>): SshTarget => ({ ...target, jumpHosts })

describe("jump hosts", () => {
  it.live("a chain: each hop has its own user, key and pin, and looks the next one up; a command runs at the end", () =>
    Effect.gen(function* () {
      const [first, second, last] = [yield* hop("alice"), yield* hop("bob"), yield* hop("carol", echo)]
      const client = yield* make()
      const target = through({ ...last.login, address: "localhost" }, first.login, second.login)
      const session = yield* client.connect(target)
      assert.strictEqual(session.hostKey, last.hostKey)
      assert.deepStrictEqual(
        session.jumpHostKeys?.map((pin) => pin.fingerprint),
        [first.hostKey, second.hostKey]
      )
      const process = yield* session.exec("hello", none)
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(process.stdout)), "ran hello")
      assert.deepStrictEqual(yield* process.exit, { code: 0 })
      const logins = [first, second, last].map(({ server }) => server.logins)
      assert.deepStrictEqual(logins, [["alice"], ["bob"], ["carol"]])
      assert.deepStrictEqual(first.server.forwards, [`127.0.0.1:${second.server.port}`])
      assert.deepStrictEqual(second.server.forwards, [`localhost:${last.server.port}`])
    })
  )

  it.live("all sessions through a jump host share one connection to it", () =>
    Effect.gen(function* () {
      const jump = yield* hop("jump")
      const hosts = yield* Effect.forEach([1, 2, 3, 4, 5], () => hop("root", echo))
      const client = yield* make()
      yield* Effect.forEach(hosts, (host) => client.connect(through(host.login, jump.login)), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(jump.server.logins, ["jump"])
      assert.strictEqual(jump.server.forwards.length, 5)
    })
  )

  it.live("a jump host's key that changed is refused before anything is offered to anybody", () =>
    Effect.gen(function* () {
      const [jump, host] = [yield* hop("jump"), yield* hop("root")]
      const client = yield* make()
      const error = yield* Effect.flip(client.connect(through(host.login, { ...jump.login, hostKeys: nobody })))
      assert.strictEqual(error.phase, "hostKeyChanged")
      assert.strictEqual(error.target, `root@127.0.0.1:${host.server.port}`)
      assert.strictEqual(error.jumpHost, `jump@127.0.0.1:${jump.server.port}`)
      assert.include(error.message, jump.hostKey)
      assert.include(error.message, error.target)
      assert.deepStrictEqual([jump.server.logins, host.server.logins], [[], []])
    })
  )

  it.live("the host's own key is checked behind a jump host, too", () =>
    Effect.gen(function* () {
      const [jump, host] = [yield* hop("jump"), yield* hop("root")]
      const client = yield* make()
      const error = yield* Effect.flip(client.connect(through({ ...host.login, hostKeys: nobody }, jump.login)))
      assert.strictEqual(error.phase, "hostKeyChanged")
      assert.isUndefined(error.jumpHost)
      assert.deepStrictEqual(host.server.logins, [])
    })
  )

  it.live("failures of the second jump host name it, those of the host don't", () =>
    Effect.gen(function* () {
      const [first, second, host] = [yield* hop("alice"), yield* hop("bob"), yield* hop("root")]
      const client = yield* make()
      const stranger = { ...second.login, privateKey: Redacted.make(makeKeyPair().private) }
      const refused = yield* Effect.flip(client.connect(through(host.login, first.login, stranger)))
      assert.deepStrictEqual(
        [refused.phase, refused.jumpHost],
        ["authentication", `bob@127.0.0.1:${second.server.port}`]
      )
      assert.include(refused.message, `root@127.0.0.1:${host.server.port} is behind a jump host`)
      const broken = { ...second.login, privateKey: Redacted.make("rubbish") }
      const key = yield* Effect.flip(client.connect(through(host.login, first.login, broken)))
      assert.deepStrictEqual([key.phase, key.jumpHost], ["key", `bob@127.0.0.1:${second.server.port}`])
      const nowhere = yield* Effect.flip(client.connect(through({ ...host.login, port: 1 }, first.login)))
      assert.deepStrictEqual([nowhere.phase, nowhere.retry, nowhere.jumpHost], ["connect", "backoff", undefined])
      assert.include(nowhere.message, `alice@127.0.0.1:${first.server.port}`)
    })
  )

  it.live("a jump host that forbids forwarding is told as such, and waits for a change", () =>
    Effect.gen(function* () {
      const [jump, host] = [yield* hop("jump", { forwarding: "forbid" }), yield* hop("root")]
      const client = yield* make()
      const error = yield* Effect.flip(client.connect(through(host.login, jump.login)))
      // ssh2's server can only answer CONNECT_FAILED; OpenSSH's answer is tried in test/live/ssh.test.ts.
      assert.include(["connect", "forwarding"], error.phase)
      assert.include(error.message, `jump@127.0.0.1:${jump.server.port}`)
    })
  )

  it.effect("a way that ends nowhere fails with phase timeout at the connect timeout", () =>
    Effect.gen(function* () {
      const [jump, host] = [yield* hop("jump", { forwarding: "swallow" }), yield* hop("root")]
      const client = yield* make()
      const fiber = yield* Effect.forkScoped(Effect.flip(client.connect(through(host.login, jump.login))), {
        startImmediately: true
      })
      const asked = Effect.gen(function* () {
        while (jump.server.forwards.length === 0) yield* Effect.sleep("5 millis")
      })
      yield* TestClock.withLive(asked)
      yield* TestClock.adjust(`${CONNECT_TIMEOUT_SECONDS} seconds`)
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.phase, "timeout")
      assert.include(error.message, `root@127.0.0.1:${host.server.port}`)
    })
  )

  it.live("when a jump host's connection is lost, so are the sessions through it, and the next one connects anew", () =>
    Effect.gen(function* () {
      const running = yield* Deferred.make<void>()
      const jump = yield* hop("jump")
      const host = yield* hop("root", { onCommand: () => Deferred.doneUnsafe(running, Effect.void) })
      const client = yield* make()
      const target = through(host.login, jump.login)
      const session = yield* client.connect(target)
      const process = yield* session.exec("sleep", none)
      yield* Deferred.await(running)
      for (const connection of jump.server.connections) connection.end()
      const error = yield* Effect.flip(process.exit)
      assert.strictEqual(error.phase, "closed")
      yield* client.connect(target)
      assert.deepStrictEqual(jump.server.logins, ["jump", "jump"])
    })
  )

  it.live("an idle connection to a jump host is closed", () =>
    Effect.gen(function* () {
      const jump = yield* hop("jump")
      const host = yield* hop("root")
      yield* Effect.gen(function* () {
        const client = yield* make()
        yield* Effect.scoped(client.connect(through(host.login, jump.login)))
        assert.strictEqual(jump.server.connections.size, 1)
        yield* TestClock.adjust(`${JUMP_HOST_IDLE_SECONDS} seconds`)
      }).pipe(Effect.provide(TestClock.layer()))
      while (jump.server.connections.size > 0) yield* Effect.sleep("5 millis")
    })
  )
})
