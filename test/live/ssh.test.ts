/**
 * Holds LiveSshClient to its port against real OpenSSH: accounts and sudo, data both ways, a hundred hosts at once, and
 * every way a real host goes away.
 */
import { execFileSync } from "node:child_process"
import { createHash, randomBytes } from "node:crypto"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { CONNECT_TIMEOUT_SECONDS, make } from "../../src/ssh/LiveSshClient.ts"
import type { SshClientShape, SshExit, SshSession, SshTarget } from "../../src/ssh/SshClient.ts"
import type { SshError } from "../../src/ssh/SshError.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const none = new Uint8Array(0)

interface Result {
  readonly stdout: string
  readonly stderr: string
  readonly exit: SshExit
}

const text = (stream: Stream.Stream<Uint8Array, SshError>): Effect.Effect<string, SshError> =>
  Stream.mkString(Stream.decodeText(stream))

const runOn = (session: SshSession, command: string, stdin: Uint8Array = none): Effect.Effect<Result, SshError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const process = yield* session.exec(command, stdin)
      const [stdout, stderr, exit] = yield* Effect.all([text(process.stdout), text(process.stderr), process.exit], {
        concurrency: "unbounded"
      })
      return { stdout, stderr, exit }
    })
  )

const onlyHost = (hosts: ReadonlyArray<TestHosts.TestHost>): Effect.Effect<TestHosts.TestHost> => {
  const [host] = hosts
  return host === undefined ? Effect.die("no host") : Effect.succeed(host)
}

const oneLight = Effect.flatMap(TestHosts.light(1), onlyHost)

const connected = (
  host: TestHosts.TestHost,
  user?: TestHosts.TestUser
): Effect.Effect<SshSession, SshError, Scope.Scope> =>
  Effect.flatMap(make(), (client: SshClientShape) => client.connect(host.target(user)))

/** First chunk that a command prints; it goes on. */
const firstOutput = (session: SshSession, command: string) =>
  Effect.gen(function* () {
    const process = yield* session.exec(command, none)
    const first = yield* Deferred.make<string>()
    const rest = yield* Effect.forkChild(
      Stream.runForEach(process.stdout, (chunk) =>
        Effect.sync(() => Deferred.doneUnsafe(first, Effect.succeed(Buffer.from(chunk).toString())))
      )
    )
    return { process, rest, first: yield* Deferred.await(first) }
  })

const makeKey = (args: ReadonlyArray<string>): { readonly private: string; readonly public: string } => {
  const directory = mkdtempSync(join(tmpdir(), "machinist-key-"))
  const file = join(directory, "key")
  execFileSync("ssh-keygen", ["-q", "-f", file, ...args])
  const pair = { private: readFileSync(file, "utf8"), public: readFileSync(`${file}.pub`, "utf8") }
  rmSync(directory, { recursive: true })
  return pair
}

const skip = TestHosts.unavailable !== undefined

describe.skipIf(skip)("one host", () => {
  it.live("root logs in, is shown the host's key, and gets outputs and exit code", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      const session = yield* connected(host)
      assert.strictEqual(session.hostKey, host.hostKey)
      const result = yield* runOn(session, "id -u; hostname; echo oops >&2; exit 7")
      assert.deepStrictEqual(result, { stdout: `0\n${host.name}\n`, stderr: "oops\n", exit: { code: 7 } })
      const killed = yield* runOn(session, "kill -KILL $$")
      assert.deepStrictEqual(killed.exit, { signal: "SIGKILL" })
    })
  )

  it.live("machinist becomes root by sudo -n; who may not is told so by sudo", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      const machinist = yield* connected(host, "machinist")
      assert.notStrictEqual((yield* runOn(machinist, "id -u")).stdout, "0\n")
      assert.deepStrictEqual(yield* runOn(machinist, "sudo -n sh -c 'id -u; cat'", Buffer.from("stdin")), {
        stdout: "0\nstdin",
        stderr: "",
        exit: { code: 0 }
      })
      const nosudo = yield* runOn(yield* connected(host, "nosudo"), "sudo -n id")
      assert.strictEqual(nosudo.exit.code, 1)
      assert.include(nosudo.stderr, "a password is required")
      const ttysudo = yield* runOn(yield* connected(host, "ttysudo"), "sudo -n id")
      assert.strictEqual(ttysudo.exit.code, 1)
      assert.match(ttysudo.stderr, /tty/)
    })
  )

  it.live("a key the host does not know is phase authentication; RSA, ECDSA and encrypted keys work", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      const client = yield* make()
      const withKey = (key: string, passphrase?: string): SshTarget => ({
        ...host.target("machinist"),
        privateKey: Redacted.make(key),
        ...(passphrase === undefined ? {} : { passphrase: Redacted.make(passphrase) })
      })
      const keys = [
        { key: makeKey(["-t", "rsa", "-b", "2048", "-N", ""]), passphrase: undefined },
        { key: makeKey(["-t", "ecdsa", "-m", "PEM", "-N", ""]), passphrase: undefined },
        { key: makeKey(["-t", "ed25519", "-N", "open sesame", "-a", "4"]), passphrase: "open sesame" }
      ]
      for (const { key, passphrase } of keys) {
        const refused = yield* Effect.flip(client.connect(withKey(key.private, passphrase)))
        assert.strictEqual(refused.phase, "authentication")
        assert.include(refused.message, "machinist")
      }
      yield* TestHosts.writeFile(host, "/etc/ssh/machinist_keys/machinist", keys.map(({ key }) => key.public).join(""))
      for (const { key, passphrase } of keys) {
        const session = yield* client.connect(withKey(key.private, passphrase))
        assert.strictEqual((yield* runOn(session, "echo in")).stdout, "in\n")
      }
      const noSuchUser = yield* Effect.flip(client.connect({ ...host.target(), user: "nobody-here" }))
      assert.strictEqual(noSuchUser.phase, "authentication")
    })
  )

  it.live("20 MiB go in and come back at the same time, unchanged", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      const session = yield* connected(host)
      const stdin = randomBytes(20 * 1024 * 1024)
      const process = yield* session.exec("cat", stdin)
      const hash = createHash("sha256")
      yield* Stream.runForEach(process.stdout, (chunk) => Effect.sync(() => hash.update(chunk)))
      assert.deepStrictEqual(yield* process.exit, { code: 0 })
      assert.strictEqual(hash.digest("hex"), createHash("sha256").update(stdin).digest("hex"))
    })
  )

  it.live("output that nobody reads does not keep a command from ending", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      const session = yield* connected(host)
      const process = yield* session.exec("head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 5", none)
      assert.deepStrictEqual(yield* process.exit, { code: 5 })
    })
  )

  it.live("the end of the scope ends the session on the host", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      yield* Effect.scoped(Effect.flatMap(connected(host), (session) => runOn(session, "true")))
      const waitForEnd = "until ! pgrep -f '[s]shd: root@' >/dev/null; do sleep 0.02; done"
      assert.strictEqual((yield* TestHosts.exec(host, `timeout 20 sh -c ${JSON.stringify(waitForEnd)}`)).code, 0)
    })
  )
})

describe.skipIf(skip)("hosts that go away", () => {
  it.live(
    "a killed session child: what came is delivered, then stdout and exit are closed; the next connect works",
    () =>
      Effect.gen(function* () {
        const host = yield* oneLight
        const session = yield* connected(host)
        const { first, process, rest } = yield* firstOutput(session, "echo before; exec sleep 1000")
        assert.strictEqual(first, "before\n")
        yield* TestHosts.dropConnections(host)
        assert.strictEqual((yield* Effect.flip(Fiber.join(rest))).phase, "closed")
        const exit = yield* Effect.flip(process.exit)
        assert.strictEqual(exit.phase, "closed")
        assert.strictEqual(exit.retry, "backoff")
        assert.strictEqual((yield* Effect.flip(session.exec("true", none))).phase, "closed")
        assert.strictEqual((yield* runOn(yield* connected(host), "echo again")).stdout, "again\n")
      })
  )

  it.live("closing the channel leaves a detached process running, and its lines are all written", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      yield* Effect.scoped(
        Effect.gen(function* () {
          const session = yield* connected(host)
          yield* TestHosts.execOk(host, "mkfifo /tmp/go")
          const script = "setsid sh -c 'read x </tmp/go; echo done >/tmp/result' </dev/null >/dev/null 2>&1 & echo away"
          const { first } = yield* firstOutput(session, script)
          assert.strictEqual(first, "away\n")
        })
      )
      yield* TestHosts.execOk(host, "echo >/tmp/go; timeout 20 sh -c 'until [ -s /tmp/result ]; do sleep 0.02; done'")
      assert.strictEqual(yield* TestHosts.readFile(host, "/tmp/result"), "done\n")
    })
  )

  it.live("a host that is off refuses; a host that was rebooted is another boot of the same disk", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      const client = yield* make()
      const before = yield* client.connect(host.target())
      const bootId = (yield* runOn(before, "cat /proc/sys/kernel/random/boot_id; echo kept >/etc/kept; echo x >/run/x"))
        .stdout
      const running = yield* before.exec("sleep 1000", none)
      yield* TestHosts.powerOff(host)
      assert.strictEqual((yield* Effect.flip(running.exit)).phase, "closed")
      const refused = yield* Effect.flip(client.connect(host.target()))
      assert.strictEqual(refused.phase, "connect")
      yield* TestHosts.powerOn(host)
      const after = yield* client.connect(host.target())
      assert.strictEqual(after.hostKey, before.hostKey)
      const now = yield* runOn(after, "cat /proc/sys/kernel/random/boot_id /etc/kept; ls /run/x; pgrep sleep")
      assert.notInclude(now.stdout, bootId.trim())
      assert.match(now.stdout, /^[0-9a-f-]{36}\nkept\n$/)
    })
  )

  it.live("a frozen host accepts and never answers: phase timeout, and only at the timeout", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      yield* TestHosts.freeze(host)
      const error = yield* Effect.gen(function* () {
        const client = yield* make()
        const fiber = yield* Effect.forkChild(Effect.scoped(Effect.flip(client.connect(host.target()))), {
          startImmediately: true
        })
        yield* TestClock.adjust(`${CONNECT_TIMEOUT_SECONDS - 1} seconds`)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 second")
        return yield* Fiber.join(fiber)
      }).pipe(Effect.provide(TestClock.layer()))
      assert.strictEqual(error.phase, "timeout")
      yield* TestHosts.thaw(host)
      assert.strictEqual((yield* runOn(yield* connected(host), "echo thawed")).stdout, "thawed\n")
    })
  )
})

/** In another shape: `sshd -t` would refuse what can't be; a reboot takes it in. */
const reconfigured = (host: TestHosts.TestHost, lines: string) =>
  Effect.andThen(
    TestHosts.execOk(host, "cat >>/etc/ssh/machinist_sshd_config && sshd -t -f /etc/ssh/machinist_sshd_config", lines),
    TestHosts.reboot(host)
  )

describe.skipIf(skip)("host keys", () => {
  it.live("known_hosts as ssh-keyscan makes it, hashed, for a host with three keys; another host's is refused", () =>
    Effect.gen(function* () {
      const hosts = yield* TestHosts.light(2, { port: 2222 })
      const [host, other] = hosts
      assert(host !== undefined && other !== undefined)
      const client = yield* make()
      for (const type of ["rsa", "ecdsa"])
        yield* TestHosts.execOk(host, `ssh-keygen -q -t ${type} -N '' -f /etc/ssh/more_${type}`)
      yield* reconfigured(host, "HostKey /etc/ssh/more_rsa\nHostKey /etc/ssh/more_ecdsa\n")
      const scan = (of: TestHosts.TestHost, types: string): string =>
        execFileSync("ssh-keyscan", ["-H", "-t", types, "-p", `${of.port}`, of.address], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"]
        })
      const knowing = (knownHosts: string) => client.connect({ ...host.target(), hostKeys: { pins: [], knownHosts } })
      for (const [type, name] of [
        ["ed25519", "ssh-ed25519"],
        ["rsa", "ssh-rsa"],
        ["ecdsa", "ecdsa-sha2-nistp256"]
      ] as const)
        assert.strictEqual((yield* knowing(scan(host, type))).hostKeyType, name)
      assert.strictEqual((yield* Effect.flip(knowing(scan(other, "ed25519")))).phase, "hostKey")
      const posing = scan(other, "ed25519").replace(/^\S+/, `[${host.address}]:${host.port}`)
      assert.strictEqual((yield* Effect.flip(knowing(posing))).phase, "hostKeyChanged")
    })
  )

  it.live("a host that has only algorithms of another age is told which to turn on", () =>
    Effect.gen(function* () {
      const host = yield* oneLight
      yield* reconfigured(host, "KexAlgorithms diffie-hellman-group14-sha1\n")
      const error = yield* Effect.flip(connected(host))
      assert.deepStrictEqual([error.phase, error.retry], ["handshake", "waitForChange"])
      assert.include(error.message, "KexAlgorithms")
    })
  )
})

describe.skipIf(skip)("jump hosts", () => {
  it.live("two OpenSSH servers on the way, each as another user; commands, data and the end as without", () =>
    Effect.gen(function* () {
      const [first, second, host] = yield* TestHosts.light(3)
      assert(first !== undefined && second !== undefined && host !== undefined)
      const client = yield* make()
      const jumpHosts = [first.target("machinist"), second.target("nosudo")]
      const session = yield* client.connect({ ...host.target(), jumpHosts })
      assert.strictEqual(session.hostKey, host.hostKey)
      assert.deepStrictEqual(
        session.jumpHostKeys?.map(({ fingerprint }) => fingerprint),
        [first.hostKey, second.hostKey]
      )
      const stdin = randomBytes(2 * 1024 * 1024)
      const { exit, stdout } = yield* runOn(session, "hostname; sha256sum; exit 3", stdin)
      assert.strictEqual(stdout, `${host.name}\n${createHash("sha256").update(stdin).digest("hex")}  -\n`)
      assert.deepStrictEqual(exit, { code: 3 })
      yield* TestHosts.dropConnections(first)
      assert.strictEqual((yield* Effect.flip(runOn(session, "true"))).phase, "closed")
      const again = yield* client.connect({ ...host.target(), jumpHosts })
      assert.strictEqual((yield* runOn(again, "hostname")).stdout, `${host.name}\n`)
    })
  )

  it.live("one that forwards nothing, one that does not get there, and one that is another than known", () =>
    Effect.gen(function* () {
      const [jump, host] = yield* TestHosts.light(2)
      assert(jump !== undefined && host !== undefined)
      const client = yield* make()
      const through = (login: SshTarget, target = host.target()) =>
        Effect.flip(Effect.scoped(client.connect({ ...target, jumpHosts: [login] })))
      const nowhere = yield* through(jump.target(), { ...host.target(), port: 1 })
      assert.deepStrictEqual([nowhere.phase, nowhere.jumpHost], ["connect", undefined])
      assert.include(nowhere.message, `root@${jump.address}:22`)
      const unknown = yield* through(jump.target(), { ...host.target(), address: "no-such-host.invalid" })
      assert.strictEqual(unknown.phase, "connect")
      const posing = yield* through({ ...jump.target(), hostKeys: { pins: [{ fingerprint: host.hostKey }] } })
      assert.deepStrictEqual([posing.phase, posing.jumpHost], ["hostKeyChanged", `root@${jump.address}:22`])
      yield* reconfigured(jump, "AllowTcpForwarding no\n")
      const forbidden = yield* through(jump.target())
      assert.deepStrictEqual([forbidden.phase, forbidden.retry], ["forwarding", "waitForChange"])
      assert.include(forbidden.message, "AllowTcpForwarding")
    })
  )
})

describe.skipIf(skip)("many hosts", () => {
  it.live("a hundred hosts at once, each answers for itself, and one that is frozen delays none", () =>
    Effect.gen(function* () {
      const hosts = yield* TestHosts.light(101)
      const [frozen, ...others] = hosts
      assert(frozen !== undefined)
      yield* TestHosts.freeze(frozen)
      const client = yield* make()
      const hung = yield* Effect.forkChild(Effect.scoped(Effect.exit(client.connect(frozen.target()))))
      const names = yield* Effect.forEach(
        others,
        (host) =>
          Effect.scoped(
            Effect.gen(function* () {
              const session = yield* client.connect(host.target("machinist"))
              assert.strictEqual(session.hostKey, host.hostKey)
              return (yield* runOn(session, "sudo -n hostname")).stdout.trim()
            })
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        names,
        others.map((host) => host.name)
      )
      assert.isUndefined(hung.pollUnsafe())
      yield* Fiber.interrupt(hung)
    })
  )
})

describe.skipIf(TestHosts.systemdUnavailable !== undefined)("a host with systemd", () => {
  const oneSystemd = Effect.flatMap(TestHosts.systemd(1), onlyHost)

  it.live("systemd-run gives a unit that outlives the session, for root and for sudo", () =>
    Effect.gen(function* () {
      const host = yield* oneSystemd
      for (const [user, prefix] of [
        ["root", ""],
        ["machinist", "sudo -n "]
      ] as const) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const session = yield* connected(host, user)
            const unit = `probe-${user}`
            const started = yield* runOn(session, `${prefix}systemd-run --quiet --unit=${unit} sleep 1000`)
            assert.deepStrictEqual(started, { stdout: "", stderr: "", exit: { code: 0 } })
          })
        )
        yield* TestHosts.dropConnections(host)
        const session = yield* connected(host)
        assert.strictEqual((yield* runOn(session, `systemctl is-active probe-${user}`)).stdout, "active\n")
      }
    })
  )

  it.live("a reboot gives a new boot id, an empty /run and the same disk; units that ran are gone", () =>
    Effect.gen(function* () {
      const host = yield* oneSystemd
      const session = yield* connected(host)
      yield* runOn(session, "systemd-run --quiet --unit=probe sleep 1000; echo kept >/etc/kept; echo x >/run/x")
      const bootId = yield* TestHosts.bootId(host)
      yield* TestHosts.reboot(host)
      assert.notStrictEqual(yield* TestHosts.bootId(host), bootId)
      const now = yield* runOn(yield* connected(host), "cat /etc/kept; ls /run/x; systemctl is-active probe")
      assert.strictEqual(now.stdout, "kept\ninactive\n")
    })
  )
})
