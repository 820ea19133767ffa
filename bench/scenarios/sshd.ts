/**
 * Owns the scenario `sshd`: provisioning on real OpenSSH servers, against what SSH itself takes for the same commands. Needs
 * root: the hosts are those of the live tests.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import ssh2 from "ssh2"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import type { SshTarget } from "../../src/ssh/SshClient.ts"
import * as TestHosts from "../../test/live/hosts/TestHosts.ts"
import { bootstrapCommands, cloudConfig } from "../Bootstrap.ts"
import { metered } from "../HostMeter.ts"
import { BenchError, type Scenario, timed } from "../Scenario.ts"
import { makeWorld } from "../World.ts"

const failed = (message: string): BenchError => new BenchError({ scenario: "sshd", message })

/** One connection and one exec of the script, by ssh2 alone; ends when the script has. */
const bare = (target: SshTarget, script: string): Effect.Effect<void, BenchError> =>
  Effect.callback((resume) => {
    const client = new ssh2.Client()
    const fail = (error: Error) => resume(Effect.fail(failed(`bare ssh2 to ${target.address}: ${error.message}`)))
    client.on("error", fail)
    client.on("ready", () => {
      client.exec("sh -s", (error, channel) => {
        if (error !== undefined) return fail(error)
        channel.on("exit", (code: number | null) => {
          client.end()
          resume(code === 0 ? Effect.void : Effect.fail(failed(`bare ssh2: the script ended with ${code}`)))
        })
        channel.resume()
        channel.stderr.resume()
        channel.end(script)
      })
    })
    client.connect({
      host: target.address,
      port: target.port,
      username: target.user,
      privateKey: Redacted.value(target.privateKey)
    })
    client.setNoDelay(true)
    return Effect.sync(() => client.destroy())
  })

export const sshd: Scenario = {
  name: "sshd",
  description: "The real provider brings N RemoteMachines from creation to Ready on N real sshd hosts, all at once.",
  unit: "ms",
  better: "less",
  limit: "one bare ssh2 connection and exec a host, all at once, of the same commands.",
  parameters: { machines: 20, steps: 4, bootstrapSeconds: 2 },
  unavailable: Effect.succeed(TestHosts.unavailable),
  setup: Effect.fnUntraced(function* (parameters) {
    const hosts = yield* Effect.mapError(TestHosts.light(parameters.machines), ({ message }) => failed(message))
    const commands = bootstrapCommands(parameters["steps"] ?? 1, parameters["bootstrapSeconds"] ?? 0)
    const script = ["set -e", ...commands, ""].join("\n")
    const world = yield* makeWorld({
      scenario: "sshd",
      hosts: hosts.map(({ address, port }) => ({ address, port })),
      ssh: yield* LiveSshClient.make(),
      privateKey: hosts[0]?.privateKey ?? "",
      bootstrapData: cloudConfig(commands),
      metered: (work) => metered(hosts, work)
    })
    const limit = metered(
      hosts,
      timed(Effect.forEach(hosts, (host) => bare(host.target(), script), { concurrency: "unbounded", discard: true }))
    )
    return { run: world.round, limit }
  })
}
