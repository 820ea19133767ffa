/**
 * Owns a network of hosts in memory and the SshClient that reaches them: addresses, connect times, authentication,
 * sessions that are lost. Does not own a host's inside (SimulatedHost) nor drawn faults (SshFaults).
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { SshProcess, SshSession, SshTarget } from "../../ssh/SshClient.ts"
import { SshClient, type SshClientShape, targetName } from "../../ssh/SshClient.ts"
import { SshError, type SshPhase } from "../../ssh/SshError.ts"
import { makeWitness, type Witness } from "../Witness.ts"
import { checkKey } from "./Accounts.ts"
import {
  type HostChannel,
  type HostConnection,
  type HostOptions,
  makeSimulatedHost,
  type SimulatedHost
} from "./SimulatedHost.ts"
import { pass } from "./Time.ts"

/** A host that doesn't answer is given up after this, as by the live client. */
export const CONNECT_TIMEOUT = Duration.seconds(15)
/** Lines a channel holds for a reader that is behind. */
const CHANNEL_CAPACITY = 1024

export interface SimulatedHosts {
  readonly client: SshClientShape
  readonly layer: Layer.Layer<SshClient>
  readonly witness: Witness
  readonly add: (options: HostOptions) => Effect.Effect<SimulatedHost>
  readonly host: (address: string, port?: number) => SimulatedHost | undefined
  readonly hosts: () => ReadonlyArray<SimulatedHost>
  /** Defects of any process of any host: a bug of the simulation. */
  readonly defects: () => ReadonlyArray<unknown>
}

const failure = (target: SshTarget, phase: SshPhase, message: string): SshError =>
  // As the live client words it: who could not be reached, then why.
  new SshError({ phase, target: targetName(target), message: `cannot connect to ${targetName(target)}: ${message}` })

const authenticate = (host: SimulatedHost, target: SshTarget): Effect.Effect<void, SshError> => {
  const passphrase = target.passphrase === undefined ? undefined : Redacted.value(target.passphrase)
  const check = checkKey(host.accounts.get(target.user), Redacted.value(target.privateKey), passphrase)
  if (check === "accepted") return Effect.void
  return Effect.fail(
    check === "refused"
      ? failure(target, "authentication", `the host refused user ${target.user} with this key`)
      : failure(target, "key", `the private key can't be used: ${check.invalid}`)
  )
}

const openChannel = Effect.fnUntraced(function* (
  host: SimulatedHost,
  target: SshTarget,
  command: string,
  stdin: Uint8Array,
  channels: Set<HostChannel>,
  lost: () => SshError | undefined
): Effect.fn.Return<SshProcess, SshError, Scope.Scope> {
  const error = lost()
  if (error !== undefined) return yield* error
  const channel: HostChannel = {
    stdout: yield* Queue.bounded<Uint8Array, SshError | Cause.Done>(CHANNEL_CAPACITY),
    stderr: yield* Queue.bounded<Uint8Array, SshError | Cause.Done>(CHANNEL_CAPACITY),
    exit: Deferred.makeUnsafe(),
    closed: Deferred.makeUnsafe()
  }
  channels.add(channel)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      channels.delete(channel)
      Deferred.doneUnsafe(channel.closed, Exit.void)
    })
  )
  if (host.reachability() !== "mute") yield* host.exec(target.user, command, stdin, channel)
  return {
    stdout: Stream.fromQueue(channel.stdout),
    stderr: Stream.fromQueue(channel.stderr),
    exit: Deferred.await(channel.exit)
  }
})

const connectTo = Effect.fnUntraced(function* (
  host: SimulatedHost,
  target: SshTarget
): Effect.fn.Return<SshSession, SshError, Scope.Scope> {
  yield* authenticate(host, target)
  const channels = new Set<HostChannel>()
  let lost: SshError | undefined
  const connection: HostConnection = {
    user: target.user,
    lose: (message) =>
      Effect.sync(() => {
        const error = failure(target, "closed", message)
        lost = error
        host.connections.delete(connection)
        for (const channel of channels) {
          Deferred.doneUnsafe(channel.closed, Exit.void)
          Queue.failCauseUnsafe(channel.stdout, Cause.fail(error))
          Queue.failCauseUnsafe(channel.stderr, Cause.fail(error))
          Deferred.doneUnsafe(channel.exit, Exit.fail(error))
        }
      })
  }
  host.connections.add(connection)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      host.connections.delete(connection)
      for (const channel of channels) Deferred.doneUnsafe(channel.closed, Exit.void)
    })
  )
  return {
    hostKey: host.hostKey(),
    exec: (command, stdin) => openChannel(host, target, command, stdin, channels, () => lost)
  }
})

export const makeSimulatedHosts = Effect.fnUntraced(function* (
  witness: Witness = makeWitness()
): Effect.fn.Return<SimulatedHosts, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const hosts = new Map<string, SimulatedHost>()
  const keyOf = (address: string, port: number): string => `${address} ${port}`
  const connect: SshClientShape["connect"] = Effect.fnUntraced(function* (target) {
    const host = hosts.get(keyOf(target.address, target.port))
    if (host === undefined) return yield* failure(target, "connect", "no route to host")
    host.countConnect()
    yield* pass(host.connectDelay)
    switch (host.reachability()) {
      case "refusing":
        return yield* failure(target, "connect", "connection refused")
      case "blackholed":
        yield* Effect.sleep(CONNECT_TIMEOUT)
        return yield* failure(target, "timeout", `no answer within ${Duration.toSeconds(CONNECT_TIMEOUT)} s`)
      case "up":
      case "mute":
        return yield* connectTo(host, target)
    }
  })
  const client: SshClientShape = { connect }
  return {
    client,
    layer: Layer.succeed(SshClient, client),
    witness,
    add: Effect.fnUntraced(function* (options) {
      const host = yield* makeSimulatedHost(options, hosts.size, witness).pipe(
        Effect.provideService(Scope.Scope, scope)
      )
      hosts.set(keyOf(host.address, host.port), host)
      return host
    }),
    host: (address, port = 22) => hosts.get(keyOf(address, port)),
    hosts: () => [...hosts.values()],
    defects: () => [...hosts.values()].flatMap((host) => host.kernel.defects())
  }
})
