/**
 * Holds IPv6 against real OpenSSH on `::1`, as light hosts have it beside their own address: log in, the known_hosts line
 * that ssh-keyscan writes, a jump host that is one; and with the real command line and a real API server a machine and a
 * pool's host with such an address, from claim to clean. Skipped, saying so, where the kernel has no IPv6.
 */
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { createServer } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { HOST_KEY_ANNOTATION } from "../../src/api/Names.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import { make } from "../../src/ssh/LiveSshClient.ts"
import type { SshTarget } from "../../src/ssh/SshClient.ts"
import { available } from "./apiserver/ApiServer.ts"
import { deleteMachine } from "./e2e/Capi.ts"
import * as Controller from "./e2e/Controller.ts"
import { addHost, addMachine, disksOf, KEY, Live, makeNamespace, until, untilReady } from "./e2e/World.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const LOOPBACK = "::1"
const INTERFACES = "/proc/net/if_inet6"
const noIPv6 =
  existsSync(INTERFACES) && /^0{31}1 /m.test(readFileSync(INTERFACES, "utf8"))
    ? undefined
    : "this kernel has no IPv6 loopback address"
const skip = TestHosts.unavailable ?? noIPv6
if (skip !== undefined) console.error(`ipv6.test.ts is skipped: ${skip}`)

const freePort = Effect.callback<number>((resume) => {
  const server = createServer()
  server.listen({ host: LOOPBACK, port: 0, ipv6Only: true }, () => {
    const bound = server.address()
    server.close(() => resume(Effect.succeed(typeof bound === "object" && bound !== null ? bound.port : 0)))
  })
})

/** A host that listens on `::1`, too; its port there. */
const onLoopback = Effect.fnUntraced(function* (host: TestHosts.TestHost) {
  const port = yield* freePort
  const listen = `ListenAddress [${LOOPBACK}]:${port}\n`
  yield* TestHosts.execOk(host, "cat >>/etc/ssh/machinist_sshd_config", listen)
  yield* TestHosts.reboot(host)
  return port
})

const hosts = (count: number) =>
  Effect.flatMap(TestHosts.light(count), (all) =>
    Effect.forEach(all, (host) => Effect.map(onLoopback(host), (port) => ({ host, port })))
  )

describe.skipIf(skip !== undefined)("IPv6", () => {
  it.live("log in, known_hosts, a jump host, and who is not there", () =>
    Effect.gen(function* () {
      const [one, two] = yield* hosts(2)
      assert(one !== undefined && two !== undefined)
      const client = yield* make()
      const target = ({ host, port }: typeof one, more: Partial<SshTarget> = {}): SshTarget => ({
        ...host.target(),
        address: LOOPBACK,
        port,
        ...more
      })
      const nameOf = (to: SshTarget) =>
        Effect.scoped(
          Effect.gen(function* () {
            const session = yield* client.connect(to)
            const process = yield* session.exec("hostname; echo $SSH_CONNECTION", new Uint8Array(0))
            return yield* Stream.mkString(Stream.decodeText(process.stdout))
          })
        )
      const own = yield* nameOf(target(one))
      assert.match(own, new RegExp(`^${one.host.name}\\n::1 \\d+ ::1 ${one.port}\\n$`))
      const knownHosts = (at: typeof one) =>
        execFileSync("ssh-keyscan", ["-t", "ed25519", "-H", "-p", `${at.port}`, LOOPBACK], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"]
        })
      assert.include(yield* nameOf(target(one, { hostKeys: { pins: [], knownHosts: knownHosts(one) } })), one.host.name)
      const stranger = yield* Effect.flip(nameOf(target(one, { hostKeys: { pins: [], knownHosts: knownHosts(two) } })))
      assert.strictEqual(stranger.phase, "hostKey")
      assert.include(stranger.message, `root@[::1]:${one.port}`)
      assert.include(yield* nameOf(target(two, { jumpHosts: [target(one)] })), two.host.name)
      yield* TestHosts.powerOff(two.host)
      const gone = yield* Effect.flip(nameOf(target(two)))
      assert.deepStrictEqual([gone.phase, gone.target], ["connect", `root@[::1]:${two.port}`])
    })
  )
})

describe.skipIf(skip !== undefined || !available)("machinist controller, over IPv6", () => {
  it.layer(Live.layer, { timeout: "10 minutes", excludeTestServices: true })((it) => {
    it.effect("a machine and a pool's host with such an address, from claim to clean", () =>
      Effect.gen(function* () {
        const { kube, server } = yield* Live
        const all = yield* hosts(2)
        const [fixed, pooled] = all
        if (fixed === undefined || pooled === undefined) return yield* Effect.die("no host")
        const disks = disksOf(all.map(({ host }) => host))
        const view = yield* makeNamespace(fixed.host.privateKey)
        const { namespace } = view
        const controller = yield* Controller.begin(server.kubeconfigPath, namespace)
        yield* addHost(view, "h6", pooled.host, "six", { address: LOOPBACK, port: pooled.port })
        const own = { address: LOOPBACK, port: fixed.port, sshKeyRef: { name: KEY }, user: "machinist", useSudo: true }
        yield* addMachine(view, "m6", own)
        yield* addMachine(view, "p6", { pool: "six" })
        yield* untilReady(view, ["m6", "p6"])
        for (const [name, { host, port }] of [
          ["m6", fixed],
          ["p6", pooled]
        ] as const) {
          const machine = yield* kube.get(RemoteMachines, { namespace, name })
          assert.strictEqual(machine.spec.providerID, `remote-machine://[::1]:${port}`)
          assert.deepStrictEqual(machine.status?.addresses, [{ type: "ExternalIP", address: LOOPBACK }])
          assert.strictEqual(machine.status?.host, `[::1]:${port}`)
          assert.include(machine.metadata.annotations?.[HOST_KEY_ANNOTATION] ?? "", host.hostKey)
          assert.include(yield* TestHosts.execOk(host, "cat /etc/demo/app.conf"), name)
        }
        yield* Effect.forEach(["m6", "p6"], (name) => deleteMachine(kube, namespace, name), { discard: true })
        yield* until("the host is free", () => view.hosts.get("h6")?.status?.reserved !== true)
        assert.deepStrictEqual(yield* disks.residue, [])
        assert.strictEqual(yield* controller.stop, 0)
      }).pipe(Effect.scoped)
    )
  })
})
