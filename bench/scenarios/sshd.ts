/**
 * Owns the scenarios `sshd` and `sshd-long`: provisioning on real OpenSSH servers, against what SSH itself takes for the same
 * commands, with a bootstrap that is short (what we cost is felt) and one that is long (a host's own work is what takes time).
 * Needs root: the hosts are those of the live tests, and share this machine's cores, which the costs beside the times tell.
 */
import * as Effect from "effect/Effect"
import { SESSION_IDLE_SECONDS } from "../../src/hosts/LiveHostRuns.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import type { SshClientShape } from "../../src/ssh/SshClient.ts"
import * as TestHosts from "../../test/live/hosts/TestHosts.ts"
import { bareRun } from "../BareSsh.ts"
import { bareScript, bootstrapCommands, cloudConfig } from "../Bootstrap.ts"
import { metered } from "../HostMeter.ts"
import { BenchError, type Sample, type Scenario, timed } from "../Scenario.ts"
import { makeWorld } from "../World.ts"

/** Connections of the round before are kept for so long. A round that found them would not connect, and the bare run does. */
const UNTIL_GONE = `${SESSION_IDLE_SECONDS + 1} seconds` as const

/** An SSH client that is counted, and how many connections were asked for since the last question, each host. */
const counted = (client: SshClientShape, hosts: number) => {
  let connections = 0
  const ssh: SshClientShape = {
    connect: (target) =>
      Effect.suspend(() => {
        connections += 1
        return client.connect(target)
      })
  }
  const since = <R>(work: Effect.Effect<Sample, BenchError, R>) =>
    Effect.suspend(() => {
      connections = 0
      return Effect.map(work, (sample) => ({
        ...sample,
        also: { ...sample.also, connectionsPerMachine: connections / hosts }
      }))
    })
  return { ssh, since }
}

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
    const { ssh, since } = counted(yield* LiveSshClient.make(), parameters.machines)
    const world = yield* makeWorld({
      scenario: name,
      hosts: hosts.map(({ address, port }) => ({ address, port })),
      ssh,
      privateKey: hosts[0]?.privateKey ?? "",
      bootstrapData: cloudConfig(commands),
      metered: (work) => Effect.andThen(Effect.sleep(UNTIL_GONE), metered(hosts, since(work)))
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
