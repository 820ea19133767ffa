/**
 * Holds LiveSshClient to its promise about host keys: who answers with another key sees neither user name nor key, there
 * is no falling back, and a host with several keys shows the one it is known by.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import ssh2, { type Algorithms } from "ssh2"
import { fingerprint } from "../../src/ssh/Fingerprint.ts"
import { make } from "../../src/ssh/LiveSshClient.ts"
import { makeKeyPair } from "./keyPair.ts"
import { hostKeyPublic, serve } from "./TestSshServer.ts"

const rsa = ssh2.utils.generateKeyPairSync("rsa", { bits: 2048 })
const ed25519 = makeKeyPair()
const printOf = (line: string): string => fingerprint(Buffer.from(line.split(" ")[1] ?? "", "base64"))
const nobody = `SHA256:${"A".repeat(43)}`

describe("host keys", () => {
  it.live("another key than the pinned one: hostKeyChanged with both fingerprints, and nothing is offered", () =>
    Effect.gen(function* () {
      const { target, logins } = yield* serve()
      const client = yield* make()
      const error = yield* Effect.flip(client.connect({ ...target, hostKeys: { pins: [{ fingerprint: nobody }] } }))
      assert.strictEqual(error.phase, "hostKeyChanged")
      assert.strictEqual(error.retry, "waitForChange")
      assert.include(error.message, nobody)
      assert.include(error.message, fingerprint(hostKeyPublic))
      assert.deepStrictEqual(logins, [])
      const pinned = { pins: [{ fingerprint: nobody }, { fingerprint: fingerprint(hostKeyPublic) }] }
      yield* client.connect({ ...target, hostKeys: pinned })
      assert.deepStrictEqual(logins, ["root"])
    })
  )

  it.live("a host that known_hosts does not have, or revokes: hostKey, and nothing is offered", () =>
    Effect.gen(function* () {
      const { target, logins, port } = yield* serve({ hostKeys: [ed25519.private] })
      const client = yield* make()
      const withFile = (knownHosts: string) => client.connect({ ...target, hostKeys: { pins: [], knownHosts } })
      const line = `[127.0.0.1]:${port} ${ed25519.public}\n`
      for (const file of [`elsewhere ${ed25519.public}`, `@revoked * ${ed25519.public}\n${line}`, "rubbish"]) {
        const error = yield* Effect.flip(withFile(file))
        assert.strictEqual(error.phase, "hostKey")
        assert.strictEqual(error.retry, "waitForChange")
      }
      assert.deepStrictEqual(logins, [])
      assert.strictEqual((yield* withFile(line)).hostKey, fingerprint(ed25519.publicBytes))
    })
  )

  it.live("a host with several keys shows the one that it is known by", () =>
    Effect.gen(function* () {
      const { target, port } = yield* serve({ hostKeys: [ed25519.private, rsa.private] })
      const client = yield* make()
      const first = yield* client.connect(target)
      assert.deepStrictEqual([first.hostKeyType, first.hostKey], ["ssh-ed25519", fingerprint(ed25519.publicBytes)])
      const knownHosts = `[127.0.0.1]:${port} ${rsa.public}`
      for (const hostKeys of [
        { pins: [], knownHosts },
        { pins: [{ type: "ssh-rsa", fingerprint: printOf(rsa.public) }] }
      ]) {
        const session = yield* client.connect({ ...target, hostKeys })
        assert.deepStrictEqual([session.hostKeyType, session.hostKey], ["ssh-rsa", printOf(rsa.public)])
      }
    })
  )

  it.live("only a client that was told to be insecure believes whoever answers", () =>
    Effect.gen(function* () {
      const { target } = yield* serve()
      const insecure = yield* make({ insecureIgnoreHostKeys: true })
      const session = yield* insecure.connect({ ...target, hostKeys: { pins: [{ fingerprint: nobody }] } })
      assert.strictEqual(session.hostKey, fingerprint(hostKeyPublic))
    })
  )

  it.live("a host that has only algorithms of another age is told what to turn on", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [Algorithms, string]> = [
        [{ kex: ["diffie-hellman-group14-sha1"] }, "KexAlgorithms"],
        [{ cipher: ["aes128-cbc"] }, "Ciphers"],
        [{ hmac: ["hmac-sha1"], cipher: ["aes128-ctr"] }, "MACs"],
        [{ serverHostKey: ["ssh-rsa"] }, "HostKeyAlgorithms"]
      ]
      const client = yield* make()
      for (const [algorithms, what] of cases) {
        const { target } = yield* serve({ hostKeys: [rsa.private], algorithms })
        const error = yield* Effect.flip(client.connect(target))
        assert.strictEqual(error.phase, "handshake")
        assert.include(error.message, what)
        assert.include(error.message, "no matching")
      }
    })
  )
})
