/**
 * Owns HostRuns over an SshClient: one exchange a call (Exchange.ts), on a connection of Sessions.ts; its events folded into
 * progress and one end. Decides nothing: what failed is a HostError (HostFailure.ts), what is run is
 * the driver's business (driver/).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { type SshClient, targetName } from "../ssh/SshClient.ts"
import { events } from "./Exchange.ts"
import { HostError } from "./HostError.ts"
import { fromRefusal, fromSsh, scrub } from "./HostFailure.ts"
import {
  type CleanRequest,
  type HostAccess,
  type HostReport,
  HostRuns,
  type RunProgress,
  type RunRequest
} from "./HostRuns.ts"
import { type HostEvent, type Request, SENTINEL, type SystemFacts, type Tenant } from "./Protocol.ts"
import { makeSessions, type Sessions } from "./Sessions.ts"

/** A connection that nobody uses is kept this long. */
export const SESSION_IDLE_SECONDS = 5
/** Lines of a failed step's stderr, and leftovers, that are kept. */
const MAX_DETAILS = 200

// ------------------------------------------------------------------------------------------------- run and clean

type Told = RunProgress | { readonly _tag: "Done" }
const done: Told = { _tag: "Done" }

/** One follower's reading of the events: details come before the event that they belong to. */
class Reading {
  private readonly stderr: Array<string> = []
  private readonly leftovers: Array<string> = []
  private readonly access: HostAccess
  private readonly request: RunRequest | CleanRequest
  private readonly host: string

  constructor(access: HostAccess, request: RunRequest | CleanRequest) {
    this.access = access
    this.request = request
    this.host = targetName(access.target)
  }

  /** Undefined: nothing to tell yet. */
  take(event: HostEvent): Result.Result<Told | undefined, HostError> {
    switch (event._tag) {
      case "Attached":
      case "StepStarted":
      case "StepEnded":
      case "StepInterrupted":
        return Result.succeed(event)
      case "Stderr":
        keep(this.stderr, scrub(event.text, 1024))
        return Result.succeed(undefined)
      case "Leftover":
        keep(this.leftovers, scrub(event.what))
        return Result.succeed(undefined)
      case "RunSucceeded":
      case "Cleaned":
        return Result.succeed(done)
      case "RunFailed":
        return Result.fail(this.stepFailed(event.step, event.code))
      case "NoSentinel":
        return Result.fail(this.error("NoSentinel", noSentinelText(this.host)))
      case "Dirty":
        return Result.fail(this.notClean())
      case "Refused":
        return Result.fail(fromRefusal(this.host, event.refusal, this.access.useSudo))
      case "DriverError":
        return Result.fail(this.error("DriverFailed", `${this.host}: ${scrub(event.detail)}`))
      case "Accepted":
      case "Facts":
      case "System":
      case "Tenancy":
        return Result.fail(
          this.error("ProtocolViolation", `${this.host} answered ${event._tag} to ${this.request.verb}.`)
        )
    }
  }

  private error(reason: HostError["reason"], message: string): HostError {
    return new HostError({ reason, host: this.host, message })
  }

  private stepFailed(step: number, exitCode: number): HostError {
    const stepName = this.request.steps[step]?.name ?? `step ${step}`
    return new HostError({
      reason: "StepFailed",
      host: this.host,
      message: `Step ${step + 1} of ${this.request.steps.length} (${stepName}) ${stepExitText(exitCode, this.request.stepTimeoutSeconds)} on ${this.host}.`,
      step,
      stepName,
      exitCode,
      stderr: this.stderr.join("\n")
    })
  }

  private notClean(): HostError {
    return new HostError({
      reason: "NotClean",
      host: this.host,
      message: `${this.host} is not clean; left is: ${scrub(this.leftovers.join(", "), 600)}. Remove it on the host, or correct customCleanUpCommands.`,
      leftovers: this.leftovers
    })
  }
}

const keep = (list: Array<string>, one: string): void => {
  list.push(one)
  if (list.length > MAX_DETAILS) list.shift()
}

const noSentinelText = (host: string): string =>
  `Every step succeeded on ${host}, but ${SENTINEL} is missing: the bootstrap data must end by creating it.`

/** 124 is the driver's time limit; 137 a SIGKILL (also the kernel's, out of memory), or a step that never got to its end. */
const stepExitText = (code: number, timeoutSeconds: number): string =>
  code === 124
    ? `did not end within ${timeoutSeconds} s (or exited with 124)`
    : code === 137
      ? "was killed (exit code 137): out of memory, by someone, or by power loss again and again,"
      : `failed with exit code ${code}`

const follow = (
  sessions: Sessions,
  access: HostAccess,
  request: RunRequest | CleanRequest
): Stream.Stream<RunProgress, HostError> =>
  Stream.suspend(() => {
    const reading = new Reading(access, request)
    return events(sessions, access, request).pipe(
      Stream.mapEffect((event) => Effect.fromResult(reading.take(event))),
      Stream.takeUntil((told) => told?._tag === "Done"),
      Stream.filter((told) => told !== undefined),
      Stream.filter((told): told is RunProgress => told._tag !== "Done")
    )
  })

// ------------------------------------------------------------------------------------------------- inspect, quarantine

type Facts = Extract<HostEvent, { readonly _tag: "Facts" }>
type Tenancy = Extract<HostEvent, { readonly _tag: "Tenancy" }>

interface Answer {
  readonly facts: Facts | undefined
  readonly system: SystemFacts
  readonly tenancy: Tenancy
}

/** Reads until the Tenancy, which is the last thing both requests are answered with. */
const ask = (sessions: Sessions, access: HostAccess, request: Request): Effect.Effect<Answer, HostError> =>
  Effect.gen(function* () {
    const host = targetName(access.target)
    let facts: Facts | undefined
    let system: SystemFacts = {}
    const last = yield* events(sessions, access, request).pipe(
      Stream.mapEffect((event): Effect.Effect<Tenancy | undefined, HostError> => {
        switch (event._tag) {
          case "Facts":
            facts = event
            return Effect.succeed(undefined)
          case "System": {
            const { _tag, ...told } = event
            system = told
            return Effect.succeed(undefined)
          }
          case "Tenancy":
            return Effect.succeed(event)
          case "Refused":
            return Effect.fail(fromRefusal(host, event.refusal, access.useSudo))
          case "DriverError":
            return Effect.fail(
              new HostError({ reason: "DriverFailed", host, message: `${host}: ${scrub(event.detail)}` })
            )
          default:
            return Effect.fail(unexpected(host, event._tag, request.verb))
        }
      }),
      Stream.filter((tenancy) => tenancy !== undefined),
      Stream.runHead
    )
    if (Option.isNone(last)) return yield* unexpected(host, "nothing", request.verb)
    return { facts, system, tenancy: last.value }
  })

const unexpected = (host: string, what: string, verb: string): HostError =>
  new HostError({ reason: "ProtocolViolation", host, message: `${host} answered ${what} to ${verb}.` })

const inspect = (sessions: Sessions, access: HostAccess, tenant: Tenant): Effect.Effect<HostReport, HostError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const host = targetName(access.target)
      // Held over the exec, so that the host key is the one of the connection that was used.
      const { session } = yield* Effect.mapError(sessions.get(access.target), (error) => fromSsh(host, error))
      const { facts, system, tenancy } = yield* ask(sessions, access, { verb: "inspect", tenant })
      if (facts === undefined) return yield* unexpected(host, "no facts", "inspect")
      const { bootId, hostname, serviceManager } = facts
      const { hostKey, hostKeyType, jumpHostKeys } = session
      return {
        bootId,
        hostname,
        serviceManager,
        system,
        hostKey: { ...(hostKeyType === undefined ? {} : { type: hostKeyType }), fingerprint: hostKey },
        ...(jumpHostKeys === undefined ? {} : { jumpHostKeys }),
        tenancy: tenancy.record
      }
    })
  )

// ------------------------------------------------------------------------------------------------- layer

export interface Options {
  readonly idleSeconds?: number
}

export const layerWith = (options: Options): Layer.Layer<HostRuns, never, SshClient> =>
  Layer.effect(
    HostRuns,
    Effect.map(makeSessions(options.idleSeconds ?? SESSION_IDLE_SECONDS), (sessions) =>
      HostRuns.of({
        inspect: (access, tenant) => inspect(sessions, access, tenant),
        run: (access, request) => follow(sessions, access, request),
        clean: (access, request) => follow(sessions, access, request),
        quarantine: (access, tenant) => Effect.asVoid(ask(sessions, access, { verb: "quarantine", tenant }))
      })
    )
  )

export const layer: Layer.Layer<HostRuns, never, SshClient> = layerWith({})
