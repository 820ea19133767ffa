/**
 * Owns the scenarios `sshd` and `sshd-long`: provisioning on real OpenSSH servers, against what SSH itself takes for the same
 * commands, with a bootstrap that is short (what we cost is felt) and one that is long (a host's own work is what takes time).
 * Needs root: the hosts are those of the live tests, and share this machine's cores, which the costs beside the times tell.
 */
import * as Effect from "effect/Effect"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import * as TestHosts from "../../test/live/hosts/TestHosts.ts"
import { bareRun } from "../BareSsh.ts"
import { bareScript, bootstrapCommands, cloudConfig } from "../Bootstrap.ts"
import { metered } from "../HostMeter.ts"
import { BenchError, type Scenario, timed } from "../Scenario.ts"
import { makeWorld } from "../World.ts"

const onSshd = (name: string, parameters: Scenario["parameters"]): Scenario => ({
  name,
  description: `The real provider brings N RemoteMachines from creation to Ready on N real sshd hosts, all at once, with a bootstrap of ${parameters["bootstrapSeconds"]} s.`,
  unit: "ms",
  better: "less",
  limit: "one bare ssh2 connection and exec a host, all at once, of the same commands, a shell each.",
  parameters,
  unavailable: Effect.succeed(TestHosts.unavailable),
  setup: Effect.fnUntraced(function* (parameters) {
    const hosts = yield* Effect.mapError(
      TestHosts.light(parameters.machines),
      ({ message }) => new BenchError({ scenario: name, message })
    )
    const commands = bootstrapCommands(parameters["steps"] ?? 1, parameters["bootstrapSeconds"] ?? 0)
    const script = bareScript(commands)
    const world = yield* makeWorld({
      scenario: name,
      hosts: hosts.map(({ address, port }) => ({ address, port })),
      ssh: yield* LiveSshClient.make(),
      privateKey: hosts[0]?.privateKey ?? "",
      bootstrapData: cloudConfig(commands),
      metered: (work) => metered(hosts, work)
    })
    const limit = metered(
      hosts,
      timed(
        Effect.forEach(hosts, (host) => bareRun(host.target(), script), { concurrency: "unbounded", discard: true })
      )
    )
    return { run: world.round, limit }
  })
})

export const sshd: Scenario = onSshd("sshd", { machines: 20, steps: 4, bootstrapSeconds: 2 })
export const sshdLong: Scenario = onSshd("sshd-long", { machines: 100, steps: 4, bootstrapSeconds: 30 })
