/**
 * Holds hosts in memory and the live SSH client to the same promises (ssh.ts). Real OpenSSH is test/live/ssh.test.ts's.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { root } from "../../src/simulation/hosts/Accounts.ts"
import { makeSimulatedHosts } from "../../src/simulation/hosts/SimulatedHosts.ts"
import { fingerprint } from "../../src/ssh/Fingerprint.ts"
import { firstUse } from "../../src/ssh/HostKeys.ts"
import { knownName } from "../../src/ssh/KnownHosts.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import { makeKeyPair } from "../ssh/keyPair.ts"
import { serve } from "../ssh/TestSshServer.ts"
import { type SshHost, sshConformance } from "./ssh.ts"

const stranger = makeKeyPair().private

const three = <E, R>(make: (user: string, index: number) => Effect.Effect<SshHost, E, R>) =>
  Effect.all([make("alice", 1), make("bob", 2), make("carol", 3)])

sshConformance(
  "hosts in memory",
  Effect.gen(function* () {
    const network = yield* makeSimulatedHosts()
    const hosts = yield* three(
      Effect.fnUntraced(function* (user, index) {
        const key = makeKeyPair()
        const host = yield* network.add({
          address: `192.0.2.${index}`,
          port: 2200 + index,
          accounts: { [user]: root(key.public) }
        })
        const { address, port } = host
        const made: SshHost = {
          login: { address, port, user, privateKey: Redacted.make(key.private), hostKeys: firstUse },
          fingerprint: host.hostKey(),
          knownHosts: host.knownHostsLine()
        }
        return made
      })
    )
    return { client: network.client, hosts, stranger }
  })
)

sshConformance(
  "the live client",
  Effect.gen(function* () {
    const hosts = yield* three(
      Effect.fnUntraced(function* (user) {
        const [host, key] = [makeKeyPair(), makeKeyPair()]
        const { target } = yield* serve({ hostKeys: [host.private], authorized: [key.public] })
        const made: SshHost = {
          login: { ...target, user, privateKey: Redacted.make(key.private) },
          fingerprint: fingerprint(host.publicBytes),
          knownHosts: `${knownName(target)} ${host.public}`
        }
        return made
      })
    )
    return { client: yield* LiveSshClient.make(), hosts, stranger }
  })
)
