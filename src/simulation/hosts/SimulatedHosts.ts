/**
 * Owns a network of hosts in memory and the SshClient that reaches them: addresses, connect times, authentication,
 * sessions that are lost. Does not own a host's inside (SimulatedHost) nor drawn faults (SshFaults).
 *
 * Unlike a real one:
 * - literal-addresses: no names are resolved, and one address in two spellings is two hosts
 * - no-keepalives: a connection that is silent is never found dead
 * - unlimited-sessions: sshd's MaxStartups and MaxSessions, and the client's own limits, are none of it
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
import { pinOf, refusal } from "../../ssh/HostKeys.ts"
import type { SshLogin, SshProcess, SshSession, SshTarget } from "../../ssh/SshClient.ts"
import { SshClient, type SshClientShape, targetName } from "../../ssh/SshClient.ts"
import { SshError, type SshPhase } from "../../ssh/SshError.ts"
import { atJumpHost, hostKeyRefused } from "../../ssh/SshFailure.ts"
import { parsePrivateKey } from "../../ssh/SshKey.ts"
import { makeWitness, type Witness } from "../Witness.ts"
import { isAuthorized, isSimulatedKey } from "./Accounts.ts"
import {
  HOST_KEY_TYPE,
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

const failure = (target: SshLogin, phase: SshPhase, message: string): SshError =>
  // As the live client words it: who could not be reached, then why.
  new SshError({ phase, target: targetName(target), message: `cannot connect to ${targetName(target)}: ${message}` })

/** The public half; a real key is read as the live client reads it, and its troubles are told in the same words. */
const readKey = (login: SshLogin): Effect.Effect<string, SshError> => {
  const key = Redacted.value(login.privateKey)
  return isSimulatedKey(key)
    ? Effect.succeed(key.trim())
    : Effect.map(parsePrivateKey(login), (parsed) => parsed.getPublicSSH().toString("base64"))
}

/** As sshd and its clients go about it: the host's key first, then the user's. */
const authenticate = (host: SimulatedHost, target: SshLogin): Effect.Effect<void, SshError> => {
  const refused = refusal(target.hostKeys, target, host.publicKey())
  if (refused !== undefined) return Effect.fail(hostKeyRefused(targetName(target), refused))
  return Effect.flatMap(readKey(target), (half) =>
    isAuthorized(host.accounts.get(target.user), half)
      ? Effect.void
      : Effect.fail(failure(target, "authentication", `the host refused user ${target.user} with this key`))
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
  target: SshTarget,
  jumpHosts: ReadonlyArray<SimulatedHost>
): Effect.fn.Return<SshSession, SshError, Scope.Scope> {
  const channels = new Set<HostChannel>()
  let lost: SshError | undefined
  const connection: HostConnection = {
    user: target.user,
    lose: (message) =>
      Effect.sync(() => {
        const error = failure(target, "closed", message)
        lost = error
        for (const one of [host, ...jumpHosts]) one.connections.delete(connection)
        for (const channel of channels) {
          Deferred.doneUnsafe(channel.closed, Exit.void)
          Queue.failCauseUnsafe(channel.stdout, Cause.fail(error))
          Queue.failCauseUnsafe(channel.stderr, Cause.fail(error))
          Deferred.doneUnsafe(channel.exit, Exit.fail(error))
        }
      })
  }
  // Whichever of the hosts on the way loses it: it is lost.
  for (const one of [host, ...jumpHosts]) one.connections.add(connection)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const one of [host, ...jumpHosts]) one.connections.delete(connection)
      for (const channel of channels) Deferred.doneUnsafe(channel.closed, Exit.void)
    })
  )
  return {
    hostKey: host.hostKey(),
    hostKeyType: HOST_KEY_TYPE,
    ...(jumpHosts.length === 0 ? {} : { jumpHostKeys: jumpHosts.map((jump) => pinOf(jump.publicKey())) }),
    exec: (command, stdin) => openChannel(host, target, command, stdin, channels, () => lost)
  }
})

export const makeSimulatedHosts = Effect.fnUntraced(function* (
  witness: Witness = makeWitness()
): Effect.fn.Return<SimulatedHosts, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const hosts = new Map<string, SimulatedHost>()
  const keyOf = (address: string, port: number): string => `${address} ${port}`
  const logIn = Effect.fnUntraced(function* (login: SshLogin): Effect.fn.Return<SimulatedHost, SshError> {
    yield* readKey(login)
    const host = hosts.get(keyOf(login.address, login.port))
    if (host === undefined) return yield* failure(login, "connect", "no route to host")
    host.countConnect()
    yield* pass(host.connectDelay)
    switch (host.reachability()) {
      case "refusing":
        return yield* failure(login, "connect", "connection refused")
      case "blackholed":
        yield* Effect.sleep(CONNECT_TIMEOUT)
        return yield* failure(login, "timeout", `no answer within ${Duration.toSeconds(CONNECT_TIMEOUT)} s`)
      case "up":
      case "mute":
        yield* authenticate(host, login)
        return host
    }
  })
  const connect: SshClientShape["connect"] = Effect.fnUntraced(function* (target) {
    yield* readKey(target)
    const jumpHosts = yield* Effect.forEach(target.jumpHosts ?? [], (login) =>
      Effect.mapError(logIn(login), (error) => atJumpHost(targetName(target), error))
    )
    return yield* connectTo(yield* logIn(target), target, jumpHosts)
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
