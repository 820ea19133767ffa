/**
 * Holds LiveSshClient to its port against an ssh2 server in this process: each class of failure has its phase and a
 * message that names the target, outputs and stdin of any size arrive whole, and nothing stalls or hangs.
 */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer, Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { Connection } from "ssh2"
import { vi } from "vitest"
import { fingerprint } from "../../src/ssh/Fingerprint.ts"
import { firstUse } from "../../src/ssh/HostKeys.ts"
import { CONNECT_TIMEOUT_SECONDS, MAX_CONCURRENT_CONNECTS, make } from "../../src/ssh/LiveSshClient.ts"
import { UNREAD_LIMIT_BYTES } from "../../src/ssh/LiveSshProcess.ts"
import type { SshProcess, SshTarget } from "../../src/ssh/SshClient.ts"
import type { SshError } from "../../src/ssh/SshError.ts"
import { makeKeyPair } from "./keyPair.ts"
import { silentServer } from "./SilentServer.ts"
import { hostKeyPublic, serve, userKey } from "./TestSshServer.ts"

const none = new Uint8Array(0)
const MIB = 1024 * 1024

const connectFails = (target: SshTarget): Effect.Effect<SshError> =>
  Effect.gen(function* () {
    const client = yield* make()
    return yield* Effect.flip(client.connect(target))
  }).pipe(
    Effect.scoped,
    Effect.catch(() => Effect.die("connect succeeded"))
  )

const text = (stream: SshProcess["stdout"]): Effect.Effect<string, SshError> =>
  Stream.runFold(
    stream,
    () => Buffer.alloc(0),
    (all, chunk) => Buffer.concat([all, chunk])
  ).pipe(Effect.map((bytes) => bytes.toString("utf8")))

const size = (stream: SshProcess["stdout"]): Effect.Effect<number, SshError> =>
  Stream.runFold(
    stream,
    () => 0,
    (sum, chunk) => sum + chunk.length
  )

/** Writes `bytes` bytes and calls `then` when all of them went into the window. */
const flood = (writable: NodeJS.WritableStream, bytes: number, then: () => void): void => {
  const chunk = Buffer.alloc(64 * 1024, "x")
  let left = bytes
  const step = (): void => {
    if (left === 0) {
      then()
      return
    }
    const part = chunk.subarray(0, Math.min(chunk.length, left))
    left -= part.length
    writable.write(part, () => step())
  }
  step()
}

const keyFile = (args: ReadonlyArray<string>): { readonly private: string } => {
  const directory = mkdtempSync(join(tmpdir(), "machinist-key-"))
  const file = join(directory, "key")
  execFileSync("ssh-keygen", ["-q", "-f", file, ...args])
  const key = readFileSync(file, "utf8")
  rmSync(directory, { recursive: true })
  return { private: key }
}

const withKey = (target: SshTarget, key: string, passphrase?: string): SshTarget => ({
  ...target,
  privateKey: Redacted.make(key),
  ...(passphrase === undefined ? {} : { passphrase: Redacted.make(passphrase) })
})

describe("connecting", () => {
  it.live("a refused connection is phase connect, names the target, and says what would help", () =>
    Effect.gen(function* () {
      const { target } = yield* Effect.scoped(serve())
      const error = yield* connectFails(target)
      assert.strictEqual(error.phase, "connect")
      assert.strictEqual(error.retry, "backoff")
      assert.strictEqual(error.target, `root@127.0.0.1:${target.port}`)
      assert.include(error.message, `root@127.0.0.1:${target.port}`)
      assert.include(error.message, "refused")
      assert.include(error.message, "start sshd")
    })
  )

  it.live("a name that does not resolve is phase connect", () =>
    Effect.gen(function* () {
      const { target } = yield* serve()
      const error = yield* connectFails({ ...target, address: "no-such-host.invalid" })
      assert.strictEqual(error.phase, "connect")
      assert.match(error.message, /does not resolve|could not be looked up/)
    })
  )

  it.live("a port out of range is told, not thrown", () =>
    Effect.gen(function* () {
      const { target } = yield* serve()
      const error = yield* connectFails({ ...target, port: 70_000 })
      assert.strictEqual(error.phase, "connect")
      assert.include(error.message, "port")
    })
  )

  it.live("a wrong key is phase authentication, and waits for a change", () =>
    Effect.gen(function* () {
      const { target } = yield* serve()
      const other = makeKeyPair()
      const error = yield* connectFails(withKey(target, other.private))
      assert.strictEqual(error.phase, "authentication")
      assert.strictEqual(error.retry, "waitForChange")
      assert.include(error.message, "authorized_keys")
      assert.include(error.message, "SHA256:")
      assert.notInclude(error.message, other.private.split("\n")[1] ?? "?")
    })
  )

  it.live("no common algorithm is phase handshake", () =>
    Effect.gen(function* () {
      const { target } = yield* serve({ algorithms: { kex: ["diffie-hellman-group14-sha1"] } })
      const error = yield* connectFails(target)
      assert.strictEqual(error.phase, "handshake")
      assert.strictEqual(error.retry, "waitForChange")
    })
  )

  it.live("something that is not sshd, or a full MaxStartups, is phase connect", () =>
    Effect.gen(function* () {
      const listener = createServer((socket) => socket.end())
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          listener.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => listener.close())
      )
      const address = listener.address()
      assert(typeof address === "object" && address !== null)
      const { target } = yield* serve()
      const error = yield* connectFails({ ...target, port: address.port })
      assert.strictEqual(error.phase, "connect")
      assert.include(error.message, "MaxStartups")
    })
  )

  it.live("the session tells the host key's fingerprint as ssh-keygen -l prints it", () =>
    Effect.gen(function* () {
      const { target } = yield* serve()
      const client = yield* make()
      const session = yield* client.connect(target)
      assert.strictEqual(session.hostKey, fingerprint(hostKeyPublic))
      assert.match(session.hostKey, /^SHA256:[A-Za-z0-9+/]{43}$/)
    })
  )

  it.live("IPv6 addresses and DNS names work", () =>
    Effect.gen(function* () {
      const six = yield* serve({ host: "::1" })
      const four = yield* serve()
      const client = yield* make()
      yield* client.connect(six.target)
      yield* client.connect({ ...four.target, address: "localhost" })
      const refused = yield* Effect.flip(client.connect({ ...six.target, port: 1 }))
      assert.strictEqual(refused.target, "root@[::1]:1")
    })
  )

  it.live("small packets are not held back for the host's acknowledgements", () =>
    Effect.gen(function* () {
      const noDelay = yield* Effect.acquireRelease(
        Effect.sync(() => vi.spyOn(Socket.prototype, "setNoDelay")),
        (spy) => Effect.sync(() => spy.mockRestore())
      )
      const { target } = yield* serve()
      noDelay.mockClear()
      const client = yield* make()
      yield* client.connect(target)
      // Once by the client; the server of these tests does so too, for its side.
      assert.strictEqual(noDelay.mock.calls.filter(([on]) => on === true).length, 2)
    })
  )

  it.live("closing the scope closes the connection on the host's side", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<void>()
      const { target } = yield* serve({
        onConnection: (connection) => connection.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
      })
      const client = yield* make()
      yield* Effect.scoped(client.connect(target))
      yield* Deferred.await(closed)
    })
  )

  it.live("an interrupted connect leaves no socket", () =>
    Effect.gen(function* () {
      const accepted = yield* Deferred.make<void>()
      const closed = yield* Deferred.make<void>()
      const silent = createServer((socket) => {
        socket.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
        socket.on("error", () => {})
        socket.resume()
        Deferred.doneUnsafe(accepted, Effect.void)
      })
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => {
          silent.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => silent.close())
      )
      const address = silent.address()
      assert(typeof address === "object" && address !== null)
      const { target } = yield* serve()
      const client = yield* make()
      const fiber = yield* Effect.forkChild(Effect.scoped(client.connect({ ...target, port: address.port })))
      yield* Deferred.await(accepted)
      yield* Fiber.interrupt(fiber)
      yield* Deferred.await(closed)
    })
  )
})

describe("silent hosts", () => {
  const VISITS = 20

  it.effect("a host that accepts and never answers fails with phase timeout at the connect timeout", () =>
    Effect.gen(function* () {
      const silent = yield* silentServer
      const { target } = yield* serve()
      const client = yield* make()
      const fiber = yield* Effect.forkChild(
        Effect.scoped(Effect.flip(client.connect({ ...target, port: silent.port }))),
        { startImmediately: true }
      )
      yield* TestClock.adjust(`${CONNECT_TIMEOUT_SECONDS - 1} seconds`)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.phase, "timeout")
      assert.strictEqual(error.retry, "backoff")
      assert.include(error.message, `${CONNECT_TIMEOUT_SECONDS} s`)
    })
  )

  it.effect("no more than the stated number handshake at once; silent ones give their places away after a second", () =>
    Effect.gen(function* () {
      const silent = yield* silentServer
      const { target } = yield* serve()
      const client = yield* make()
      yield* Effect.forEach(
        Array.from({ length: MAX_CONCURRENT_CONNECTS + 5 }),
        () => Effect.forkScoped(Effect.scoped(client.connect({ ...target, port: silent.port }))),
        { discard: true }
      )
      yield* silent.arrived(MAX_CONCURRENT_CONNECTS)
      const other = yield* Effect.forkChild(Effect.scoped(client.connect(target)), { startImmediately: true })
      // Whoever else may connect has every chance to: these come and are counted one after another.
      for (let visits = 1; visits <= VISITS; visits++) {
        yield* silent.visit
        yield* silent.arrived(MAX_CONCURRENT_CONNECTS + visits)
      }
      assert.strictEqual(silent.count(), MAX_CONCURRENT_CONNECTS + VISITS)
      assert.isUndefined(other.pollUnsafe())
      yield* TestClock.adjust("1 second")
      const session = yield* Fiber.join(other)
      assert.strictEqual(session.hostKey, fingerprint(hostKeyPublic))
      yield* silent.arrived(MAX_CONCURRENT_CONNECTS + VISITS + 5)
    })
  )
})

describe("private keys", () => {
  const keyError = (key: string, passphrase?: string, phase: SshError["phase"] = "key") =>
    Effect.gen(function* () {
      const { target } = yield* serve()
      const error = yield* connectFails(withKey(target, key, passphrase))
      assert.strictEqual(error.phase, phase)
      assert.strictEqual(error.retry, "waitForChange")
      for (const line of key.split("\n").filter((part) => part.length > 20 && !part.startsWith("-----"))) {
        assert.notInclude(error.message, line)
      }
      return error.message
    })

  it.live("what does not parse is phase key, before any connection", () =>
    Effect.gen(function* () {
      assert.include(yield* keyError("hunter2 is not a key"), "not a private key")
      assert.include(yield* keyError(""), "empty")
      assert.include(yield* keyError(userKey.public), "public key")
      yield* keyError(userKey.private.split("\n").slice(0, 3).join("\n"))
      yield* keyError(userKey.private.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA"))
      const broken = { address: "127.0.0.1", port: 1, user: "root", privateKey: Redacted.make("x"), hostKeys: firstUse }
      assert.strictEqual((yield* connectFails(broken)).phase, "key")
    })
  )

  it.live("an encrypted key wants its passphrase, refuses a wrong one, and works with the right one", () =>
    Effect.gen(function* () {
      const encrypted = keyFile(["-t", "ed25519", "-N", "correct horse", "-a", "4"])
      assert.include(yield* keyError(encrypted.private, undefined, "passphrase"), "no passphrase was given")
      const wrong = yield* keyError(encrypted.private, "wrong", "passphrase")
      assert.include(wrong, "passphrase does not decrypt it")
      assert.notInclude(wrong, "wrong ")
      const { target } = yield* serve()
      const error = yield* connectFails(withKey(target, encrypted.private, "correct horse"))
      // It decrypts; this server only knows another key.
      assert.strictEqual(error.phase, "authentication")
    })
  )

  it.live("CRLF line ends, surrounding blanks and missing final newlines are forgiven", () =>
    Effect.gen(function* () {
      const { target } = yield* serve()
      const client = yield* make()
      yield* client.connect(withKey(target, `\n${userKey.private.trim().replaceAll("\n", "\r\n")}`))
      // An empty passphrase, as an empty key of a Secret gives it, is none.
      yield* client.connect(withKey(target, userKey.private, ""))
    })
  )
})

describe("exec", () => {
  const session = (onCommand: Parameters<typeof serve>[0]) =>
    Effect.gen(function* () {
      const server = yield* serve(onCommand)
      const client = yield* make()
      return { server, ssh: yield* client.connect(server.target) }
    })

  it.live("gives the command, both outputs apart, and the exit code", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({
        onCommand: ({ channel, command }) => {
          channel.write(`out of ${command}`)
          channel.stderr.write("err")
          channel.exit(7)
          channel.end()
        }
      })
      const command = yield* ssh.exec("cat 'x y'", none)
      const [out, err, exit] = yield* Effect.all([text(command.stdout), text(command.stderr), command.exit], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual([out, err], ["out of cat 'x y'", "err"])
      assert.deepStrictEqual(exit, { code: 7 })
    })
  )

  it.live("tells the signal that ended the command", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({
        onCommand: ({ channel }) => {
          channel.exit("KILL")
          channel.end()
        }
      })
      const command = yield* ssh.exec("x", none)
      assert.deepStrictEqual(yield* command.exit, { signal: "SIGKILL" })
    })
  )

  it.live("5 MiB of stdin arrive whole and in order, then end", () =>
    Effect.gen(function* () {
      const stdin = new Uint8Array(5 * MIB)
      for (let i = 0; i < stdin.length; i += 4) new DataView(stdin.buffer).setUint32(i, i)
      const received: Array<Buffer> = []
      const { ssh } = yield* session({
        onCommand: ({ channel }) => {
          channel.on("data", (chunk: Buffer) => received.push(chunk))
          channel.on("end", () => {
            channel.exit(0)
            channel.end()
          })
        }
      })
      const command = yield* ssh.exec("x", stdin)
      assert.deepStrictEqual(yield* command.exit, { code: 0 })
      assert.isTrue(Buffer.concat(received).equals(stdin))
    })
  )

  it.live("a command that ends without reading its stdin still tells its exit", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({
        onCommand: ({ channel }) => {
          channel.exit(3)
          channel.close()
        }
      })
      const command = yield* ssh.exec("x", new Uint8Array(8 * MIB))
      assert.deepStrictEqual(yield* command.exit, { code: 3 })
    })
  )

  it.live("64 MiB of stdout arrive whole", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({
        onCommand: ({ channel }) =>
          flood(channel, 64 * MIB, () => {
            channel.exit(0)
            channel.end()
          })
      })
      const command = yield* ssh.exec("x", none)
      assert.strictEqual(yield* size(command.stdout), 64 * MIB)
      assert.deepStrictEqual(yield* command.exit, { code: 0 })
    })
  )

  it.live("a slow reader holds the host back, and loses nothing", () =>
    Effect.gen(function* () {
      let written = 0
      const { ssh } = yield* session({
        onCommand: ({ channel }) => {
          const step = (): void => {
            if (written === 16 * MIB) {
              channel.exit(0)
              channel.end()
              return
            }
            written += 64 * 1024
            channel.write(Buffer.alloc(64 * 1024, "x"), () => step())
          }
          step()
        }
      })
      const command = yield* ssh.exec("x", none)
      let read = 0
      let most = 0
      yield* Stream.runForEach(command.stdout, (chunk) =>
        Effect.gen(function* () {
          read += chunk.length
          most = Math.max(most, written - read)
          // Gives the server every chance to run ahead.
          for (let i = 0; i < 20; i++)
            yield* Effect.callback<void>((resume) => {
              setImmediate(() => resume(Effect.void))
            })
        })
      )
      assert.strictEqual(read, 16 * MIB)
      // One SSH window on its way, one in the server's channel, one in ours.
      assert.isBelow(most, 8 * MIB)
    })
  )

  it.live("an output nobody reads stalls neither the exit nor the other output, and a late reader is told", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({
        onCommand: ({ channel }) =>
          flood(channel.stderr, 8 * MIB, () =>
            flood(channel, 8 * MIB, () => {
              channel.exit(0)
              channel.end()
            })
          )
      })
      const command = yield* ssh.exec("x", none)
      assert.strictEqual(yield* size(command.stdout), 8 * MIB)
      assert.deepStrictEqual(yield* command.exit, { code: 0 })
      const late = yield* Effect.flip(size(command.stderr))
      assert.strictEqual(late.phase, "channel")
      assert.include(late.message, `${UNREAD_LIMIT_BYTES}`)
      const unread = yield* ssh.exec("x", none)
      assert.deepStrictEqual(yield* unread.exit, { code: 0 })
    })
  )

  it.live("an output may be read after the exit while it is small, and only once", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({
        onCommand: ({ channel }) => {
          channel.write("small")
          channel.exit(0)
          channel.end()
        }
      })
      const command = yield* ssh.exec("x", none)
      yield* command.exit
      assert.strictEqual(yield* text(command.stdout), "small")
      assert.include((yield* Effect.flip(text(command.stdout))).message, "stdout")
    })
  )

  it.live("a reader that stops early does not stall the command", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({
        onCommand: ({ channel }) =>
          flood(channel, 16 * MIB, () => {
            channel.exit(0)
            channel.end()
          })
      })
      const command = yield* ssh.exec("x", none)
      yield* Stream.runDrain(Stream.take(command.stdout, 1))
      assert.deepStrictEqual(yield* command.exit, { code: 0 })
    })
  )

  it.live("many commands at once on one connection keep their outputs apart", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({
        onCommand: ({ channel, command }) => {
          channel.write(command.repeat(1000))
          channel.exit(0)
          channel.end()
        }
      })
      const outputs = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, i) => `<${i}>`),
        (name) =>
          Effect.scoped(
            Effect.gen(function* () {
              const command = yield* ssh.exec(name, none)
              return (yield* text(command.stdout)) === name.repeat(1000)
            })
          ),
        { concurrency: "unbounded" }
      )
      assert.isTrue(outputs.every((same) => same))
    })
  )

  it.live("a host that opens no channel is phase channel, and the session lives on", () =>
    Effect.gen(function* () {
      const { ssh } = yield* session({ noChannels: true })
      const first = yield* Effect.flip(ssh.exec("x", none))
      assert.strictEqual(first.phase, "channel")
      assert.strictEqual(first.retry, "backoff")
      assert.strictEqual((yield* Effect.flip(ssh.exec("x", none))).phase, "channel")
    })
  )

  it.effect("a host that neither opens nor refuses a channel fails with phase timeout; the session lives on", () =>
    Effect.gen(function* () {
      const wanted = yield* Deferred.make<void>()
      let silent = true
      const { ssh } = yield* session({
        onChannelWanted: (open) => {
          if (silent) Deferred.doneUnsafe(wanted, Effect.void)
          else open()
        },
        onCommand: ({ channel }) => {
          channel.exit(0)
          channel.end()
        }
      })
      const opening = yield* Effect.forkChild(Effect.flip(ssh.exec("x", none)))
      yield* Deferred.await(wanted)
      yield* TestClock.adjust("14 seconds")
      assert.isUndefined(opening.pollUnsafe())
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(opening)).phase, "timeout")
      silent = false
      assert.deepStrictEqual(yield* (yield* ssh.exec("x", none)).exit, { code: 0 })
    })
  )

  it.live("a channel that opens after its exec was interrupted is closed at once", () =>
    Effect.gen(function* () {
      const wanted = yield* Deferred.make<() => void>()
      const closed = yield* Deferred.make<void>()
      const { ssh } = yield* session({
        onChannelWanted: (open) => Deferred.doneUnsafe(wanted, Effect.succeed(open)),
        onCommand: ({ channel }) => channel.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
      })
      const opening = yield* Effect.forkChild(Effect.scoped(ssh.exec("x", none)))
      const open = yield* Deferred.await(wanted)
      yield* Fiber.interrupt(opening)
      open()
      yield* Deferred.await(closed)
    })
  )

  it.live("closing the scope closes the channel, not the connection", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<void>()
      const { ssh } = yield* session({
        onCommand: ({ channel, command }) => {
          if (command === "hang") channel.on("close", () => Deferred.doneUnsafe(closed, Effect.void))
          else {
            channel.exit(0)
            channel.end()
          }
        }
      })
      const scope = yield* Scope.make()
      const hanging = yield* Scope.provide(ssh.exec("hang", none), scope)
      const waiting = yield* Effect.forkChild(Effect.flip(hanging.exit))
      yield* Scope.close(scope, Exit.void)
      yield* Deferred.await(closed)
      assert.strictEqual((yield* Fiber.join(waiting)).phase, "closed")
      assert.deepStrictEqual(yield* (yield* ssh.exec("next", none)).exit, { code: 0 })
    })
  )
})

describe("a connection that is lost", () => {
  const ways: ReadonlyArray<readonly [string, (connection: Connection) => void]> = [
    ["says goodbye", (connection) => connection.end()],
    [
      "drops the socket",
      // The types hide the socket; a reset in mid-stream is what this test is about.
      (connection) => Reflect.get(connection, "_sock").destroy()
    ],
    ["resets the socket", (connection) => Reflect.get(connection, "_sock").resetAndDestroy()]
  ]
  for (const [how, die] of ways) {
    it.live(`server ${how} mid-stream: what came is delivered, then both outputs and the exit fail as closed`, () =>
      Effect.gen(function* () {
        const { target } = yield* serve({
          onCommand: ({ channel, connection, command }) => {
            if (command === "die") return die(connection)
            channel.write("before")
          }
        })
        const client = yield* make()
        const ssh = yield* client.connect(target)
        const command = yield* ssh.exec("x", none)
        const seen: Array<string> = []
        const first = yield* Deferred.make<void>()
        const reader = yield* Effect.forkChild(
          Effect.flip(
            Stream.runForEach(command.stdout, (chunk) =>
              Effect.sync(() => {
                seen.push(Buffer.from(chunk).toString())
                Deferred.doneUnsafe(first, Effect.void)
              })
            )
          )
        )
        const errors = yield* Effect.forkChild(Effect.flip(text(command.stderr)))
        const exit = yield* Effect.forkChild(Effect.flip(command.exit))
        yield* Deferred.await(first)
        const killer = yield* Effect.exit(Effect.flatMap(ssh.exec("die", none), (dying) => Effect.flip(dying.exit)))
        assert.strictEqual((yield* Fiber.join(reader)).phase, "closed")
        assert.strictEqual((yield* Fiber.join(errors)).phase, "closed")
        const ended = yield* Fiber.join(exit)
        assert.strictEqual(ended.phase, "closed")
        assert.strictEqual(ended.retry, "backoff")
        assert.include(ended.message, "root@127.0.0.1")
        assert.deepStrictEqual(seen, ["before"])
        // The killing command itself fails as closed too, wherever the drop met it.
        if (Exit.isSuccess(killer)) assert.strictEqual(killer.value.phase, "closed")
        assert.strictEqual((yield* Effect.flip(ssh.exec("after", none))).phase, "closed")
      })
    )
  }

  it.live("an output that the host had ended before is whole, even if read after the connection was lost", () =>
    Effect.gen(function* () {
      const { target } = yield* serve({
        onCommand: ({ channel, connection, command }) => {
          if (command === "hang") return
          channel.write("whole")
          channel.exit(0)
          channel.end()
          channel.on("close", () => connection.end())
        }
      })
      const client = yield* make()
      const ssh = yield* client.connect(target)
      const hanging = yield* ssh.exec("hang", none)
      const command = yield* ssh.exec("x", none)
      assert.deepStrictEqual(yield* command.exit, { code: 0 })
      assert.strictEqual((yield* Effect.flip(hanging.exit)).phase, "closed")
      assert.strictEqual(yield* text(command.stdout), "whole")
      assert.strictEqual((yield* Effect.flip(text(hanging.stdout))).phase, "closed")
    })
  )

  it.live("a host that closes its side while bytes for it are stuck is lost at once", () =>
    Effect.gen(function* () {
      // Each command may be sent 2 MiB unasked: together more than the sockets' buffers hold.
      const commands = 16
      const accepts: Array<() => void> = []
      const full = yield* Deferred.make<Connection>()
      const { target } = yield* serve({
        onExecWanted: (accept, connection) => {
          accepts.push(accept)
          if (accepts.length === commands) Deferred.doneUnsafe(full, Effect.succeed(connection))
        }
      })
      const client = yield* make()
      const ssh = yield* client.connect(target)
      const fibers = yield* Effect.forEach(Array.from({ length: commands }), () =>
        Effect.forkChild(Effect.flatMap(ssh.exec("x", new Uint8Array(4 * MIB)), (command) => Effect.flip(command.exit)))
      )
      const connection = yield* Deferred.await(full)
      for (const accept of accepts) accept()
      const socket: Socket = Reflect.get(connection, "_sock")
      socket.pause()
      socket.end()
      for (const fiber of fibers) assert.strictEqual((yield* Fiber.join(fiber)).phase, "closed")
      socket.destroy()
    })
  )

  it.live("a host that stops answering is given up by the keepalives, as phase timeout", () =>
    Effect.gen(function* () {
      // ssh2's keepalives are the only intervals here.
      yield* Effect.acquireRelease(
        Effect.sync(() => vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] })),
        () => Effect.sync(() => vi.useRealTimers())
      )
      const { target, connections } = yield* serve()
      const client = yield* make()
      const ssh = yield* client.connect(target)
      const command = yield* ssh.exec("x", none)
      const exit = yield* Effect.forkChild(Effect.flip(command.exit), { startImmediately: true })
      for (const connection of connections) Reflect.get(connection, "_sock").pause()
      vi.advanceTimersByTime(30_000)
      assert.isUndefined(exit.pollUnsafe())
      vi.advanceTimersByTime(10_000)
      const error = yield* Fiber.join(exit)
      assert.strictEqual(error.phase, "timeout")
      assert.strictEqual(error.retry, "backoff")
      assert.include(error.message, "keepalives")
    })
  )

  it.live("the scope closes although the connection is gone already", () =>
    Effect.gen(function* () {
      const { target } = yield* serve({ onCommand: ({ connection }) => connection.end() })
      const client = yield* make()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const ssh = yield* client.connect(target)
          const command = yield* ssh.exec("x", none)
          yield* Effect.flip(command.exit)
        })
      )
    })
  )
})
