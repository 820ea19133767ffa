/**
 * Owns which connection an exec uses: one a host, kept a few seconds between two uses, and made anew when it was lost or
 * anything about it is another one. Does not own connecting (ssh/), nor what is executed (LiveHostRuns.ts).
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import { firstUse, isFirstUse } from "../ssh/HostKeys.ts"
import { SshClient, type SshDialog, type SshSession, type SshTarget } from "../ssh/SshClient.ts"
import type { SshError } from "../ssh/SshError.ts"
import type { Heard } from "./Heard.ts"

/** A shell that looked at the host and waits for what is to be run there. */
export interface Waiting {
  readonly useSudo: boolean
  readonly dialog: SshDialog
  readonly heard: Heard
  readonly close: Effect.Effect<void>
}

export interface Connection {
  readonly session: SshSession
  /** Closed with the connection. */
  readonly scope: Scope.Scope
  /** At most one. */
  waiting: Waiting | undefined
}

/** `invalidate`: this connection is lost; the next exec makes a new one. */
export interface Sessions {
  readonly get: (target: SshTarget) => Effect.Effect<Connection, SshError, Scope.Scope>
  readonly invalidate: (target: SshTarget) => Effect.Effect<void>
}

/**
 * Connections are keyed by address, port, user, keys and jump hosts, compared by value: a changed key is another
 * connection. But for one: that on which a host's key was seen first goes on when the pin is that key.
 */
export const makeSessions = Effect.fnUntraced(function* (idleSeconds: number) {
  const ssh = yield* SshClient
  const map = yield* RcMap.make({
    lookup: Effect.fnUntraced(function* (target: SshTarget) {
      const connection: Connection = {
        session: yield* ssh.connect(target),
        scope: yield* Effect.scope,
        waiting: undefined
      }
      return connection
    }),
    idleTimeToLive: idleSeconds * 1000
  })
  const invalidate = (target: SshTarget) =>
    Effect.forEach([target, ...beforePinned(target)], (one) => RcMap.invalidate(map, one), { discard: true })
  const get = (target: SshTarget) => Effect.tapError(RcMap.get(map, target), () => RcMap.invalidate(map, target))
  const sessions: Sessions = {
    get: Effect.fnUntraced(function* (target) {
      for (const before of beforePinned(target)) {
        if (!(yield* RcMap.has(map, before))) continue
        const connection = yield* Effect.option(get(before))
        if (Option.isSome(connection) && isPinned(target, connection.value.session)) return connection.value
      }
      return yield* get(target)
    }),
    invalidate
  }
  return sessions
})

/** As what the same host may be connected to already, from when its key, or its jump hosts' too, were not known. */
const beforePinned = (target: SshTarget): ReadonlyArray<SshTarget> => {
  const { jumpHosts } = target
  const host = { ...target, hostKeys: firstUse }
  if (isFirstUse(target.hostKeys)) return []
  return jumpHosts === undefined
    ? [host]
    : [host, { ...host, jumpHosts: jumpHosts.map((jump) => ({ ...jump, hostKeys: firstUse })) }]
}

/** Nothing but pins can be compared with what was shown then: knownHosts needs the connection to be made anew. */
const isPinned = (target: SshTarget, { hostKey, jumpHostKeys = [] }: SshSession): boolean => {
  const shown = [hostKey, ...jumpHostKeys.map(({ fingerprint }) => fingerprint)]
  const wanted = [target.hostKeys, ...(target.jumpHosts ?? []).map(({ hostKeys }) => hostKeys)]
  return wanted.every(
    ({ knownHosts, pins }, index) =>
      knownHosts === undefined && pins.some(({ fingerprint }) => fingerprint === shown[index])
  )
}
