/**
 * Owns how many SSH sessions may be open at once: in all, and through one jump host. Who comes too much waits in line,
 * for a bounded time. Does not own what a session is (LiveSshClient.ts).
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SshError } from "./SshError.ts"
import { limitReached } from "./SshFailure.ts"

/** In all: a session through a long bootstrap costs about 100 KiB here, and a descriptor. */
export const MAX_SESSIONS = 1000
/** Through one jump host: each is a channel of one connection there, and a socket of its sshd. */
export const MAX_SESSIONS_PER_JUMP_HOST = 100
/** Waiting for a session to end takes at most so long: bootstraps are minutes, and callers try again. */
export const SESSION_WAIT_SECONDS = 600

export interface SessionLimits {
  /** Holds one session's places for the scope: `jumpHosts` as `address:port`, no name twice. */
  readonly enter: (target: string, jumpHosts: ReadonlyArray<string>) => Effect.Effect<void, SshError, Scope.Scope>
}

interface Gate {
  readonly places: Semaphore.Semaphore
  /** Inside or waiting; a gate that nobody uses is forgotten. */
  users: number
}

const pass = (gate: Semaphore.Semaphore, target: string, what: string, limit: number) =>
  Effect.acquireRelease(Semaphore.take(gate, 1), () => Semaphore.release(gate, 1), { interruptible: true }).pipe(
    Effect.timeoutOrElse({
      duration: `${SESSION_WAIT_SECONDS} seconds`,
      orElse: () => Effect.fail(limitReached(target, what, limit, SESSION_WAIT_SECONDS))
    })
  )

export const make = (maxSessions: number, maxPerJumpHost: number): SessionLimits => {
  const all = Semaphore.makeUnsafe(maxSessions)
  const gates = new Map<string, Gate>()
  const gateOf = (name: string): Effect.Effect<Gate, never, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const gate = gates.get(name) ?? { places: Semaphore.makeUnsafe(maxPerJumpHost), users: 0 }
        gates.set(name, gate)
        gate.users += 1
        return gate
      }),
      (gate) =>
        Effect.sync(() => {
          gate.users -= 1
          if (gate.users === 0) gates.delete(name)
        })
    )
  return {
    // A full jump host must hold up nobody else, so the place that all share is taken last; in one order, so that two
    // chains through the same jump hosts never wait for each other.
    enter: Effect.fnUntraced(function* (target, jumpHosts) {
      for (const name of [...jumpHosts].sort()) {
        const { places } = yield* gateOf(name)
        yield* pass(places, target, `through jump host ${name}`, maxPerJumpHost)
      }
      yield* pass(all, target, "in all", maxSessions)
    })
  }
}
