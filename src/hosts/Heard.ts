/**
 * Owns what is heard of one exec: its output as events, a host that falls silent, and what the exec came to when its output
 * ends without a result. Does not own which connection it is on (Sessions.ts), nor what an event means (LiveHostRuns.ts).
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type SshProcess, type SshSession, targetName } from "../ssh/SshClient.ts"
import { SshError } from "../ssh/SshError.ts"
import type { HostError } from "./HostError.ts"
import { fromOtherShell, fromSilence } from "./HostFailure.ts"
import type { HostAccess } from "./HostRuns.ts"
import { LineCutter } from "./Lines.ts"
import { exitText, whatRunsInstead } from "./LoginShell.ts"
import type { HostEvent } from "./Protocol.ts"
import { decodeEvent } from "./WireEvent.ts"

/** The driver says something every 15 s: a host that is silent for longer is lost, whatever TCP believes. */
export const STALL_SECONDS = 60
/** Of an exec's own stderr (sudo, the login shell), the last bytes are kept. */
const STDERR_BYTES = 4 * 1024
/** After stdout's end, exit status and stderr come at once, or the connection is lost. */
const END_SECONDS = 10

/** The next events, as they come; never just its end: that is an error, which tells what the exec came to. */
export type Heard = Pull.Pull<NonEmptyReadonlyArray<HostEvent>, SshError | HostError>

const stalled = (host: string, seconds: number): SshError =>
  new SshError({
    phase: "timeout",
    target: host,
    message: `${host} said nothing for ${seconds} s, not even a heartbeat; check that it is up and reachable`
  })

/** The last bytes of stderr, once it has ended. */
const lastWords = Effect.fnUntraced(function* (process: SshProcess) {
  const decoder = new TextDecoder()
  let said = ""
  const reader = yield* Effect.forkScoped(
    Stream.runForEach(process.stderr, (bytes) =>
      Effect.sync(() => {
        said = (said + decoder.decode(bytes, { stream: true })).slice(-STDERR_BYTES)
      })
    )
  )
  return Effect.map(Fiber.await(reader), () => said)
})

/** What the exec came to when its output is over without a result. */
const silence = (
  process: SshProcess,
  stderr: Effect.Effect<string>,
  host: string,
  useSudo: boolean
): Effect.Effect<HostError, SshError> =>
  Effect.gen(function* () {
    const exit = yield* process.exit
    return fromSilence(host, useSudo, exitText(exit), yield* stderr)
  }).pipe(
    Effect.timeoutOrElse({
      duration: END_SECONDS * 1000,
      orElse: () => Effect.fail(stalled(host, END_SECONDS))
    })
  )

/** Nothing at all was heard of the driver: it may be that nothing of ours is run on that account. */
const unheard = (session: SshSession, host: string, error: HostError): Effect.Effect<HostError> =>
  error.reason === "DriverFailed"
    ? Effect.map(whatRunsInstead(session), (instead) => (instead === undefined ? error : fromOtherShell(host, instead)))
    : Effect.succeed(error)

/** For as long as the scope is. */
export const listen = Effect.fnUntraced(function* (
  session: SshSession,
  access: HostAccess,
  process: SshProcess
): Effect.fn.Return<Heard, never, Scope.Scope> {
  const host = targetName(access.target)
  const stderr = yield* lastWords(process)
  const cutter = new LineCutter()
  let heard = false
  const end = silence(process, stderr, host, access.useSudo).pipe(
    Effect.flatMap((error) => (heard ? Effect.succeed(error) : unheard(session, host, error))),
    Effect.flatMap(Effect.fail)
  )
  return yield* process.stdout.pipe(
    Stream.timeoutOrElse({
      duration: STALL_SECONDS * 1000,
      orElse: () => Stream.fail(stalled(host, STALL_SECONDS))
    }),
    Stream.map((bytes) =>
      cutter
        .push(bytes)
        .map(decodeEvent)
        .filter((event) => event !== undefined)
    ),
    Stream.tap((told) =>
      Effect.sync(() => {
        heard ||= told.length > 0
      })
    ),
    Stream.flattenIterable,
    Stream.concat(Stream.fromEffect(end)),
    Stream.toPull
  )
})
