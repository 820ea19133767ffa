/**
 * Owns the live SshClient: connecting in a scope, over ssh2, within a bound on time and on how many connect at once.
 * Does not own the connection's life (LiveSshConnection.ts), a command's (LiveSshProcess.ts), nor what is run.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { type ExpectedHostKey, LiveSshConnection } from "./LiveSshConnection.ts"
import { exec } from "./LiveSshProcess.ts"
import { SshClient, type SshClientShape, type SshSession, type SshTarget } from "./SshClient.ts"
import type { SshError } from "./SshError.ts"
import { connectTimeout } from "./SshFailure.ts"
import { parsePrivateKey } from "./SshKey.ts"

/** From the first packet (or DNS query) to a logged-in session. */
export const CONNECT_TIMEOUT_SECONDS = 15
/** Handshakes that may compete for the one thread that does their arithmetic. */
export const MAX_CONCURRENT_CONNECTS = 64
/**
 * A host that has not answered after this long costs no arithmetic: it gives its place away and goes on waiting.
 * So hosts that swallow packets delay nobody, and at most 64 × 15 / 1 sockets wait at once.
 */
export const CONNECT_SLOT_SECONDS = 1

/** The fingerprint a host must show, or undefined to accept any. */
export type HostKeyPolicy = (target: SshTarget) => ExpectedHostKey

export const acceptAnyHostKey: HostKeyPolicy = () => undefined

export interface LiveSshClientOptions {
  readonly hostKeys?: HostKeyPolicy
}

const establish = (
  connection: LiveSshConnection,
  slots: Semaphore.Semaphore,
  hostKeys: HostKeyPolicy
): Effect.Effect<LiveSshConnection, SshError> =>
  Effect.gen(function* () {
    const key = yield* parsePrivateKey(connection.target)
    const start = Effect.sync(() => connection.start(key, hostKeys(connection.target)))
    const readyInSlot = yield* start.pipe(
      Effect.andThen(
        Effect.raceFirst(
          Effect.as(connection.ready, true),
          Effect.as(Effect.sleep(`${CONNECT_SLOT_SECONDS} seconds`), false)
        )
      ),
      slots.withPermits(1)
    )
    if (!readyInSlot) {
      yield* connection.ready.pipe(
        Effect.timeoutOrElse({
          duration: `${CONNECT_TIMEOUT_SECONDS - CONNECT_SLOT_SECONDS} seconds`,
          orElse: () => Effect.fail(connectTimeout(connection.name, CONNECT_TIMEOUT_SECONDS))
        })
      )
    }
    return connection
  })

export const make = (options: LiveSshClientOptions = {}): Effect.Effect<SshClientShape> =>
  Effect.map(Semaphore.make(MAX_CONCURRENT_CONNECTS), (slots) => {
    const hostKeys = options.hostKeys ?? acceptAnyHostKey
    const connect = Effect.fn("SshClient.connect")(function* (
      target: SshTarget
    ): Effect.fn.Return<SshSession, SshError, Scope.Scope> {
      const connection = yield* Effect.acquireRelease(
        Effect.suspend(() => {
          const opening = new LiveSshConnection(target)
          return establish(opening, slots, hostKeys).pipe(Effect.onError(() => opening.end))
        }),
        (opened) => opened.end,
        { interruptible: true }
      )
      return {
        hostKey: connection.hostKey,
        exec: (command, stdin) => exec(connection, command, stdin)
      }
    })
    return { connect }
  })

export const layer = (options: LiveSshClientOptions = {}): Layer.Layer<SshClient> =>
  Layer.effect(SshClient, make(options))
