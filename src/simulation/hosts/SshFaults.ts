/**
 * Owns what goes wrong between a client and its hosts: drawn faults a call (Effect's Random, so a seed replays them),
 * scripted ones for a test, and the cut that a simulated crash begins with. Wraps any SshClient. Does not own what
 * goes wrong inside a host (SimulatedHost).
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { refusal } from "../../ssh/HostKeys.ts"
import type { SshClientShape, SshProcess, SshSession, SshTarget } from "../../ssh/SshClient.ts"
import { targetName } from "../../ssh/SshClient.ts"
import { SshError, type SshPhase } from "../../ssh/SshError.ts"
import { hostKeyRefused } from "../../ssh/SshFailure.ts"
import type { CutSwitch } from "../Faults.ts"
import { type Millis, pass } from "./Time.ts"

/** Chances are from 0 to 1, and asked for each call anew. */
export interface SshFaultPlan {
  /** connect: refused. */
  readonly refuse: number
  /** connect: the server refuses a good key. Not for a product that rightly waits for a change then, unless healed. */
  readonly refuseKey: number
  /**
   * connect: somebody else answers at the host's address, with another host key. A client that knows the host's must
   * refuse; one that doesn't finds the connection refused, since nothing here could tell what an impostor does.
   */
  readonly impostor: number
  /** exec: the connection is lost before the command reached the host. */
  readonly loseRequest: number
  /** exec: the connection is lost after some lines came back; the command runs on. */
  readonly drop: number
  /** Of `drop`: at most so many lines come through. */
  readonly dropAfterLines: number
  /** exec: nothing ever comes back, and nothing says so; the command runs. */
  readonly halfOpen: number
  /** Time before a connect or an exec is answered. */
  readonly delay: Millis
}

export const noSshFaults: SshFaultPlan = {
  refuse: 0,
  refuseKey: 0,
  impostor: 0,
  loseRequest: 0,
  drop: 0,
  dropAfterLines: 8,
  halfOpen: 0,
  delay: 0
}

/** Every chance of a simulation, from its seed; `refuseKey` and `impostor` are left to those who ask for them. */
export const drawSshFaults: Effect.Effect<SshFaultPlan> = Effect.gen(function* () {
  const upTo = (most: number) => Effect.map(Random.next, (value) => value * most)
  return {
    refuse: yield* upTo(0.2),
    refuseKey: 0,
    impostor: 0,
    loseRequest: yield* upTo(0.1),
    drop: yield* upTo(0.3),
    dropAfterLines: yield* Random.nextIntBetween(0, 20),
    halfOpen: yield* upTo(0.05),
    delay: [0, yield* Random.nextIntBetween(1, 2000)] as const
  }
})

/** A switch that is thrown once: the client's process has crashed. One for all its ports (CutSwitch of Faults.ts). */
export const makeCut = (): CutSwitch & { readonly throwNow: () => void } => {
  let cut = false
  return {
    throwNow: () => {
      cut = true
    },
    isCut: () => cut
  }
}

const error = (target: SshTarget, phase: SshPhase, message: string): SshError =>
  new SshError({ phase, target: targetName(target), message })

const OTHERS_KEY = Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from("ssh-ed25519"), Buffer.from([0, 0, 0, 1, 7])])

const impostor = (target: SshTarget): SshError => {
  const refused = refusal(target.hostKeys, target, OTHERS_KEY)
  return refused === undefined
    ? error(target, "connect", "connection refused")
    : hostKeyRefused(targetName(target), refused)
}

const happens = (chance: number): Effect.Effect<boolean> =>
  chance === 0 ? Effect.succeed(false) : Effect.map(Random.next, (value) => value < chance)

const NEWLINE = 10

/** Lets `lines` whole lines through, then fails as a lost connection does. */
const cutAfter = (
  stream: Stream.Stream<Uint8Array, SshError>,
  lines: number,
  lost: SshError
): Stream.Stream<Uint8Array, SshError> => {
  if (lines === 0) return Stream.fail(lost)
  let left = lines
  return stream.pipe(
    Stream.mapEffect((chunk) =>
      Effect.suspend(() => {
        if (left === 0) return Effect.fail(lost)
        let end = 0
        while (left > 0 && end < chunk.length) {
          if (chunk[end] === NEWLINE) left -= 1
          end += 1
        }
        return Effect.succeed(chunk.subarray(0, end))
      })
    ),
    // Without waiting for a chunk after the last line that comes through.
    Stream.flatMap((chunk) =>
      left > 0 ? Stream.succeed(chunk) : Stream.concat(Stream.succeed(chunk), Stream.fail(lost))
    )
  )
}

const dropped = (process: SshProcess, lines: number, lost: SshError): SshProcess => ({
  stdout: cutAfter(process.stdout, lines, lost),
  stderr: process.stderr,
  exit: Effect.fail(lost)
})

const silent: SshProcess = { stdout: Stream.never, stderr: Stream.never, exit: Effect.never }

/** Hangs, but for a fiber that was interrupted already: a finalizer must be able to give up. */
const dead = Effect.interruptible(Effect.never)

/** Once `cut` is thrown every call hangs for ever, and what is on its way never arrives: not even from finalizers. */
export const cuttable = (inner: SshClientShape, cut: CutSwitch): SshClientShape => {
  const guarded = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() =>
      cut.isCut() ? dead : Effect.flatMap(effect, (value) => (cut.isCut() ? dead : Effect.succeed(value)))
    )
  const bytes = (stream: Stream.Stream<Uint8Array, SshError>): Stream.Stream<Uint8Array, SshError> =>
    Stream.mapEffect(stream, (chunk) => guarded(Effect.succeed(chunk)))
  const session = (open: SshSession): SshSession => ({
    ...open,
    exec: (command, stdin) =>
      Effect.map(guarded(open.exec(command, stdin)), (process) => ({
        stdout: bytes(process.stdout),
        stderr: bytes(process.stderr),
        exit: guarded(process.exit)
      }))
  })
  return { connect: (target) => Effect.map(guarded(inner.connect(target)), session) }
}

/** While `open` waits, nothing gets through in either direction: a process that was stopped, and goes on later. */
export const held = (inner: SshClientShape, open: Effect.Effect<void>): SshClientShape => {
  const passing = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.andThen(
      open,
      Effect.tap(effect, () => open)
    )
  const bytes = (stream: Stream.Stream<Uint8Array, SshError>) => Stream.tap(stream, () => open)
  return {
    connect: (target) =>
      Effect.map(passing(inner.connect(target)), (session) => ({
        ...session,
        exec: (command, stdin) =>
          Effect.map(passing(session.exec(command, stdin)), (process) => ({
            stdout: bytes(process.stdout),
            stderr: bytes(process.stderr),
            exit: passing(process.exit)
          }))
      }))
  }
}

/** The drawn faults of `plan` (asked for at each call, so that a run can heal by changing it). */
export const faultySshClient = (inner: SshClientShape, plan: () => SshFaultPlan): SshClientShape => {
  const exec = Effect.fnUntraced(function* (
    target: SshTarget,
    session: SshSession,
    command: string,
    stdin: Uint8Array
  ): Effect.fn.Return<SshProcess, SshError, Scope.Scope> {
    const faults = plan()
    yield* pass(faults.delay)
    if (yield* happens(faults.loseRequest)) return yield* error(target, "closed", "lost before the command was sent")
    const process = yield* session.exec(command, stdin)
    if (yield* happens(faults.halfOpen)) return silent
    if (!(yield* happens(faults.drop))) return process
    const lines = yield* Random.nextIntBetween(0, faults.dropAfterLines + 1)
    return dropped(process, lines, error(target, "closed", "the connection was reset"))
  })
  return {
    connect: Effect.fnUntraced(function* (target) {
      const faults = plan()
      yield* pass(faults.delay)
      if (yield* happens(faults.refuse)) return yield* error(target, "connect", "connection refused")
      if (yield* happens(faults.refuseKey)) return yield* error(target, "authentication", "the host refused the key")
      if (yield* happens(faults.impostor)) return yield* impostor(target)
      const session = yield* inner.connect(target)
      return { ...session, exec: (command, stdin) => exec(target, session, command, stdin) }
    })
  }
}

/** Somebody else answers at these addresses, with a host key of their own; asked at each connect. */
export const impersonated = (inner: SshClientShape, addresses: () => ReadonlySet<string>): SshClientShape => ({
  connect: (target) =>
    Effect.suspend(() => (addresses().has(target.address) ? Effect.fail(impostor(target)) : inner.connect(target)))
})

/** For tests: of the execs that follow, each loses its connection after `lines()` lines; undefined: none. */
export const droppingSshClient = (inner: SshClientShape, lines: () => number | undefined): SshClientShape => ({
  connect: (target) =>
    Effect.map(inner.connect(target), ({ begin: _, ...session }) => ({
      ...session,
      exec: (command, stdin) =>
        Effect.map(session.exec(command, stdin), (process) => {
          const after = lines()
          return after === undefined
            ? process
            : dropped(process, after, error(target, "closed", "the connection was reset"))
        })
    }))
})
