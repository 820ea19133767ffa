/**
 * Owns one exchange with a host: a request out, events back. A look leaves its shell waiting, where the client can, and what
 * comes next on that connection is said to it instead of to an exec of its own: that spares the host two shells and a
 * channel, and us two round trips. Does not own connections (Sessions.ts), nor what the events mean (LiveHostRuns.ts).
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { targetName } from "../ssh/SshClient.ts"
import type { SshError } from "../ssh/SshError.ts"
import { ACCEPT, type Exec, execOf } from "./driver/Exec.ts"
import { type Heard, listen } from "./Heard.ts"
import { HostError } from "./HostError.ts"
import { fromSsh } from "./HostFailure.ts"
import type { HostAccess } from "./HostRuns.ts"
import type { HostEvent, Request } from "./Protocol.ts"
import type { Connection, Sessions, Waiting } from "./Sessions.ts"

/** A shell that waits answers at once, or an exec of its own is tried. */
const ACCEPT_SECONDS = 10

const prepare = (access: HostAccess, request: Request): Effect.Effect<Exec, HostError> => {
  const exec = execOf(request, access.useSudo)
  if (Result.isSuccess(exec)) return Effect.succeed(exec.success)
  const host = targetName(access.target)
  return Effect.fail(
    new HostError({
      reason: "Unsupported",
      host,
      message: `The request can't be sent to ${host}: ${exec.failure.message}. Correct the bootstrap data or the spec.`
    })
  )
}

const execute = Effect.fnUntraced(function* ({ session }: Connection, access: HostAccess, exec: Exec) {
  return yield* listen(session, access, yield* session.exec(exec.command, exec.stdin))
})

/** Leaves the shell waiting once the look is over, and well. */
const look = Effect.fnUntraced(function* (
  connection: Connection,
  access: HostAccess,
  exec: Exec
): Effect.fn.Return<Stream.Stream<HostEvent, SshError | HostError>, SshError, Scope.Scope> {
  const { session } = connection
  if (session.begin === undefined) return Stream.fromPull(Effect.succeed(yield* execute(connection, access, exec)))
  yield* connection.waiting?.close ?? Effect.void
  const scope = yield* Scope.fork(connection.scope)
  let looked = false
  let waiting: Waiting | undefined
  yield* Effect.addFinalizer((exit) =>
    Effect.suspend(() => {
      if (!looked || waiting === undefined) return Scope.close(scope, exit)
      connection.waiting = waiting
      return Effect.void
    })
  )
  const dialog = yield* Scope.provide(session.begin(exec.command, exec.stdin), scope)
  const heard = yield* Scope.provide(listen(session, access, dialog), scope)
  const close = Effect.suspend(() => {
    connection.waiting = undefined
    return Scope.close(scope, Exit.void)
  })
  waiting = { useSudo: access.useSudo, dialog, heard, close }
  return Stream.fromPull(Effect.succeed(heard)).pipe(
    Stream.tap((event) =>
      Effect.sync(() => {
        looked = event._tag === "Tenancy"
      })
    )
  )
})

/** False: it is gone, or hangs. Nothing of the request was said to it then. */
const accepts = ({ dialog, heard }: Waiting): Effect.Effect<boolean> =>
  Effect.andThen(
    dialog.write(ACCEPT),
    Effect.repeat(heard, { until: (events) => events.some(({ _tag }) => _tag === "Accepted") })
  ).pipe(
    Effect.match({ onFailure: () => false, onSuccess: () => true }),
    Effect.timeoutOrElse({ duration: ACCEPT_SECONDS * 1000, orElse: () => Effect.succeed(false) })
  )

/** Says the request to the shell that waits, if one does. */
const continued = Effect.fnUntraced(function* (
  connection: Connection,
  access: HostAccess,
  exec: Exec
): Effect.fn.Return<Heard | undefined, never, Scope.Scope> {
  const { waiting } = connection
  if (waiting === undefined) return undefined
  connection.waiting = undefined
  yield* Effect.addFinalizer(() => waiting.close)
  if (waiting.useSudo !== access.useSudo || !(yield* accepts(waiting))) return undefined
  yield* waiting.dialog.end(exec.stdin)
  return waiting.heard
})

/** Every event of one exchange; fails when its output ends, so whoever reads stops at a result. */
export const events = (
  sessions: Sessions,
  access: HostAccess,
  request: Request
): Stream.Stream<HostEvent, HostError> => {
  const host = targetName(access.target)
  const lost = (error: SshError | HostError) =>
    error._tag === "SshError"
      ? Effect.andThen(sessions.invalidate(access.target), Effect.fail(fromSsh(host, error)))
      : Effect.fail(error)
  return Stream.unwrap(
    Effect.gen(function* () {
      const connection = yield* sessions.get(access.target)
      const exec = yield* prepare(access, request)
      if (request.verb === "inspect") return yield* look(connection, access, exec)
      const heard = (yield* continued(connection, access, exec)) ?? (yield* execute(connection, access, exec))
      return Stream.fromPull(Effect.succeed(heard))
    }).pipe(
      Effect.map(Stream.catch((error: SshError | HostError) => Stream.fromEffect(lost(error)))),
      Effect.catch(lost)
    )
  )
}
