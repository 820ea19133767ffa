/**
 * Owns the live SshClient: connecting in a scope, over ssh2, directly or through jump hosts, within bounds on time, on how
 * many connect at once and on how many are connected. Does not own the connection's life (LiveSshConnection.ts), a
 * command's (LiveSshProcess.ts), nor what is run.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { HostKeyPin } from "./HostKeys.ts"
import { LiveSshConnection } from "./LiveSshConnection.ts"
import { begin, exec } from "./LiveSshProcess.ts"
import * as SessionLimits from "./SessionLimits.ts"
import {
  SshClient,
  type SshClientShape,
  type SshLogin,
  type SshSession,
  type SshTarget,
  targetName
} from "./SshClient.ts"
import type { SshError } from "./SshError.ts"
import { atJumpHost, connectTimeout, loginTimeout } from "./SshFailure.ts"
import { parsePrivateKey } from "./SshKey.ts"

/** From the first packet (or DNS query) until keys are agreed on. */
export const CONNECT_TIMEOUT_SECONDS = 15
/** From there to a logged-in session: PAM and name services take their time. */
export const LOGIN_TIMEOUT_SECONDS = 30
/** Between two keepalives on a silent connection. */
export const KEEPALIVE_SECONDS = 10
/** A connection to a jump host that nobody uses is kept this long. */
export const JUMP_HOST_IDLE_SECONDS = 5
/** Handshakes that may compete for the one thread that does their arithmetic. */
export const MAX_CONCURRENT_CONNECTS = 64
/**
 * A host that has not answered after this long costs no arithmetic: it gives its places away (this one, and that of a
 * session) and goes on waiting. So hosts that swallow packets delay nobody.
 */
export const CONNECT_SLOT_SECONDS = 1

export interface LiveSshClientOptions {
  readonly connectTimeoutSeconds?: number
  readonly loginTimeoutSeconds?: number
  readonly keepaliveSeconds?: number
  readonly maxSessions?: number
  readonly maxSessionsPerJumpHost?: number
  /** No host's key is checked: whoever answers at an address is believed, and gets what the host would get. */
  readonly insecureIgnoreHostKeys?: boolean
}

/** Gives up what a connection that is still waiting for its host holds; `again` takes it back once the host answered. */
interface Place {
  readonly leave: Effect.Effect<void>
  readonly again: Effect.Effect<void, SshError>
}

const NO_PLACE: Place = { leave: Effect.void, again: Effect.void }

const withSettings = (options: LiveSshClientOptions) => {
  const connectSeconds = options.connectTimeoutSeconds ?? CONNECT_TIMEOUT_SECONDS
  const loginSeconds = options.loginTimeoutSeconds ?? LOGIN_TIMEOUT_SECONDS
  const slots = Semaphore.makeUnsafe(MAX_CONCURRENT_CONNECTS)
  const settings = {
    keepaliveMillis: (options.keepaliveSeconds ?? KEEPALIVE_SECONDS) * 1000,
    insecureIgnoreHostKeys: options.insecureIgnoreHostKeys ?? false
  }

  const establish = (connection: LiveSshConnection, place: Place): Effect.Effect<LiveSshConnection, SshError> =>
    Effect.gen(function* () {
      const key = yield* parsePrivateKey(connection.login)
      const readyInSlot = yield* Effect.sync(() => connection.start(key)).pipe(
        Effect.andThen(
          Effect.raceFirst(
            Effect.as(connection.ready, true),
            Effect.as(Effect.sleep(`${CONNECT_SLOT_SECONDS} seconds`), false)
          )
        ),
        slots.withPermits(1)
      )
      if (readyInSlot) return connection
      yield* place.leave
      yield* connection.agreed.pipe(
        Effect.timeoutOrElse({
          duration: `${Math.max(0, connectSeconds - CONNECT_SLOT_SECONDS)} seconds`,
          orElse: () => Effect.fail(connectTimeout(connection.name, connectSeconds))
        })
      )
      yield* connection.ready.pipe(
        Effect.timeoutOrElse({
          duration: `${loginSeconds} seconds`,
          orElse: () => Effect.fail(loginTimeout(connection.name, loginSeconds))
        })
      )
      yield* place.again
      return connection
    })

  /** Closed with the scope. */
  return (login: SshLogin, via: LiveSshConnection | undefined, place: Place) =>
    Effect.acquireRelease(
      Effect.suspend(() => {
        const opening = new LiveSshConnection(login, settings, via)
        return establish(opening, place).pipe(Effect.onError(() => opening.end))
      }),
      (opened) => opened.end,
      { interruptible: true }
    )
}

type Chain = ReadonlyArray<SshLogin>
type Connection = Effect.Effect<LiveSshConnection, SshError, Scope.Scope>

/**
 * Connections to jump hosts, shared by all sessions through them: a jump host sees one login, not hundreds at once (its
 * sshd's MaxStartups). Keyed by the whole chain, by value: another key, user or pin is another connection.
 */
const makeJumpHosts = Effect.fnUntraced(function* (open: ReturnType<typeof withSettings>) {
  const connect = (chain: Chain): Connection =>
    Effect.gen(function* () {
      const last = chain[chain.length - 1]
      if (last === undefined) return yield* Effect.die("a chain of no jump hosts")
      return yield* open(last, yield* through(chain.slice(0, -1), last), NO_PLACE)
    })
  const map = yield* RcMap.make({ lookup: connect, idleTimeToLive: JUMP_HOST_IDLE_SECONDS * 1000 })
  const shared = (chain: Chain): Connection =>
    Effect.gen(function* () {
      const get = Effect.tapError(RcMap.get(map, chain), () => RcMap.invalidate(map, chain))
      const first = yield* get
      if (first.lost === undefined) return first
      // It was lost while nobody used it, or while others still do: those are told by themselves.
      yield* RcMap.invalidate(map, chain)
      return yield* get
    })
  const through = (
    chain: Chain,
    login: SshLogin
  ): Effect.Effect<LiveSshConnection | undefined, SshError, Scope.Scope> =>
    chain.length === 0
      ? Effect.succeed(undefined)
      : Effect.mapError(shared(chain), (error) => atJumpHost(targetName(login), error))
  return through
})

const hostKeysOf = (connection: LiveSshConnection | undefined): ReadonlyArray<HostKeyPin> =>
  connection === undefined ? [] : [...hostKeysOf(connection.via), connection.hostKey]

/** A session's places: taken before the host is asked, given away while it does not answer. */
const takePlace = Effect.fnUntraced(function* (enter: Effect.Effect<void, SshError, Scope.Scope>) {
  const scope = yield* Effect.scope
  const early = yield* Scope.fork(scope)
  yield* Scope.provide(enter, early)
  const place: Place = { leave: Scope.close(early, Exit.void), again: Scope.provide(enter, scope) }
  return place
})

export const make = (options: LiveSshClientOptions = {}): Effect.Effect<SshClientShape, never, Scope.Scope> =>
  Effect.gen(function* () {
    const open = withSettings(options)
    const through = yield* makeJumpHosts(open)
    const limits = SessionLimits.make(
      options.maxSessions ?? SessionLimits.MAX_SESSIONS,
      options.maxSessionsPerJumpHost ?? SessionLimits.MAX_SESSIONS_PER_JUMP_HOST
    )
    const connect = Effect.fn("SshClient.connect")(function* (
      target: SshTarget
    ): Effect.fn.Return<SshSession, SshError, Scope.Scope> {
      const chain = target.jumpHosts ?? []
      // Read first: a key that can't be used is told without a word to anybody.
      yield* parsePrivateKey(target)
      const via = yield* through(chain, target)
      const gates = [...new Set(chain.map(({ address, port }) => `${address}:${port}`))]
      const place = yield* takePlace(limits.enter(targetName(target), gates))
      const connection = yield* open(target, via, place)
      const { fingerprint, type } = connection.hostKey
      return {
        hostKey: fingerprint,
        ...(type === undefined ? {} : { hostKeyType: type }),
        ...(via === undefined ? {} : { jumpHostKeys: hostKeysOf(via) }),
        exec: (command, stdin) => exec(connection, command, stdin),
        begin: (command, stdin) => begin(connection, command, stdin)
      }
    })
    return { connect }
  })

export const layer = (options: LiveSshClientOptions = {}): Layer.Layer<SshClient> =>
  Layer.effect(SshClient, make(options))
