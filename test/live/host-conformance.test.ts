/**
 * The promises of the host layer, held by the real driver behind a real sshd: on hosts with SysV scripts alone,
 * under a real OpenRC, and under a real systemd. The in-memory host and the driver without SSH pass the same suite.
 */
import * as Effect from "effect/Effect"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import { hostConformance, makeShellHost } from "../conformance/hosts.ts"
import * as TestHosts from "./hosts/TestHosts.ts"

const conformanceHost = (hosts: ReturnType<typeof TestHosts.light>) =>
  Effect.gen(function* () {
    const [host] = yield* hosts
    if (host === undefined) return yield* Effect.die("no host")
    const access = (user: TestHosts.TestUser, useSudo: boolean) => ({ target: host.target(user), useSudo })
    return yield* makeShellHost({
      ssh: yield* LiveSshClient.make(),
      access: access("root", false),
      sh: (script) => Effect.orDie(TestHosts.exec(host, script)),
      reboot: Effect.orDie(TestHosts.reboot(host)),
      accounts: {
        sudoer: access("machinist", true),
        refused: access("nosudo", true),
        plain: access("machinist", false)
      }
    })
  })

// Every place is tried where it is cheap (test/conformance/hosts.shell.test.ts); here a sample, for what SSH adds.
hostConformance("real sshd, SysV", conformanceHost(TestHosts.light(1)), {
  abilities: ["shell", "reboot", "accounts"],
  unavailable: TestHosts.unavailable,
  everyNthKill: 12
})
hostConformance("real sshd, OpenRC", conformanceHost(TestHosts.openrc(1)), {
  abilities: ["shell", "reboot", "accounts"],
  unavailable: TestHosts.openrcUnavailable,
  everyNthKill: 48
})
hostConformance("real sshd, systemd", conformanceHost(TestHosts.systemd(1)), {
  abilities: ["shell", "reboot", "accounts"],
  unavailable: TestHosts.systemdUnavailable,
  everyNthKill: 24
})
