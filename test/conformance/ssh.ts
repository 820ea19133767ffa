/**
 * Owns what every SshClient promises about logging in, whoever implements it: host keys are decided on before the user's
 * key is offered, jump hosts are gone through in order, and each failure has its phase. Run by ssh.test.ts for hosts in
 * memory and for the live client.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { SshClientShape, SshLogin, SshTarget } from "../../src/ssh/SshClient.ts"

export interface SshHost {
  /** As a user that it knows; the host's key is not known yet. */
  readonly login: SshLogin
  readonly fingerprint: string
  /** The same key as a line of known_hosts. */
  readonly knownHosts: string
}

export interface SshWorld {
  readonly client: SshClientShape
  /** Three hosts, each with a key, and a user's key, of its own. */
  readonly hosts: readonly [SshHost, SshHost, SshHost]
  /** A private key that none of them knows. */
  readonly stranger: string
}

const nobody = `SHA256:${"A".repeat(43)}`

export const sshConformance = (name: string, world: Effect.Effect<SshWorld, never, Scope.Scope>): void => {
  const promise = (what: string, hold: (world: SshWorld) => Effect.Effect<void, unknown, Scope.Scope>) =>
    it.live(what, () => Effect.flatMap(world, hold))
  const fails = (client: SshClientShape, target: SshTarget) => Effect.flip(Effect.scoped(client.connect(target)))
  const phaseOf = (client: SshClientShape, target: SshTarget) =>
    Effect.map(fails(client, target), ({ phase, retry }) => [phase, retry])

  describe(name, () => {
    promise("shows the key of a host that nothing is known of, with its type", ({ client, hosts: [host] }) =>
      Effect.gen(function* () {
        const session = yield* client.connect(host.login)
        assert.deepStrictEqual([session.hostKey, session.hostKeyType], [host.fingerprint, "ssh-ed25519"])
        assert.isUndefined(session.jumpHostKeys)
      })
    )

    promise("accepts the pinned key alone, and tells both", ({ client, hosts: [host] }) =>
      Effect.gen(function* () {
        const pinned = (fingerprint: string) => ({ ...host.login, hostKeys: { pins: [{ fingerprint }] } })
        yield* client.connect(pinned(host.fingerprint))
        const error = yield* fails(client, pinned(nobody))
        assert.deepStrictEqual([error.phase, error.retry], ["hostKeyChanged", "waitForChange"])
        for (const text of [host.fingerprint, nobody, error.target]) assert.include(error.message, text)
      })
    )

    promise("follows known_hosts: known, another's, unknown, revoked, unreadable", ({ client, hosts: [host, other] }) =>
      Effect.gen(function* () {
        const knowing = (knownHosts: string) => ({ ...host.login, hostKeys: { pins: [], knownHosts } })
        yield* client.connect(knowing(host.knownHosts))
        const [place = ""] = host.knownHosts.split(" ")
        const key = (line: string) => line.split(" ").slice(1).join(" ")
        assert.deepStrictEqual(yield* phaseOf(client, knowing(`${place} ${key(other.knownHosts)}`)), [
          "hostKeyChanged",
          "waitForChange"
        ])
        for (const file of ["", `@revoked * ${key(host.knownHosts)}\n${host.knownHosts}`, "rubbish"])
          assert.deepStrictEqual(yield* phaseOf(client, knowing(file)), ["hostKey", "waitForChange"], file)
      })
    )

    promise(
      "a wrong host key comes before a wrong user's key, and that before nothing",
      ({ client, hosts: [host], stranger }) =>
        Effect.gen(function* () {
          const login = { ...host.login, privateKey: Redacted.make(stranger) }
          assert.deepStrictEqual(yield* phaseOf(client, login), ["authentication", "waitForChange"])
          const both = { ...login, hostKeys: { pins: [{ fingerprint: nobody }] } }
          assert.deepStrictEqual(yield* phaseOf(client, both), ["hostKeyChanged", "waitForChange"])
        })
    )

    promise("a key that is none is told before anybody is asked", ({ client, hosts: [host] }) =>
      Effect.gen(function* () {
        const login = { ...host.login, port: 1, privateKey: Redacted.make("no key") }
        assert.deepStrictEqual(yield* phaseOf(client, login), ["key", "waitForChange"])
      })
    )

    promise("goes through jump hosts, and shows their keys in order", ({ client, hosts: [first, second, host] }) =>
      Effect.gen(function* () {
        const session = yield* client.connect({ ...host.login, jumpHosts: [first.login, second.login] })
        assert.strictEqual(session.hostKey, host.fingerprint)
        assert.deepStrictEqual(
          session.jumpHostKeys?.map(({ fingerprint }) => fingerprint),
          [first.fingerprint, second.fingerprint]
        )
      })
    )

    promise("what fails at a jump host names it and the host", ({ client, hosts: [first, second, host], stranger }) =>
      Effect.gen(function* () {
        const at = `${second.login.user}@${second.login.address}:${second.login.port}`
        const through = (jump: SshLogin) => fails(client, { ...host.login, jumpHosts: [first.login, jump] })
        const changed = yield* through({ ...second.login, hostKeys: { pins: [{ fingerprint: nobody }] } })
        const refused = yield* through({ ...second.login, privateKey: Redacted.make(stranger) })
        assert.deepStrictEqual([changed.phase, refused.phase], ["hostKeyChanged", "authentication"])
        for (const error of [changed, refused]) {
          assert.strictEqual(error.jumpHost, at)
          assert.strictEqual(error.target, `${host.login.user}@${host.login.address}:${host.login.port}`)
          for (const text of [at, error.target]) assert.include(error.message, text)
        }
        const behind = yield* fails(client, {
          ...host.login,
          hostKeys: { pins: [{ fingerprint: nobody }] },
          jumpHosts: [first.login]
        })
        assert.deepStrictEqual([behind.phase, behind.jumpHost], ["hostKeyChanged", undefined])
      })
    )
  })
}
