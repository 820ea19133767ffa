/**
 * Owns how long a bootstrap may take: each step, and the whole; the operator's flags, and a machine's own annotations,
 * which count more. Steps are timed on the host, the whole is timed here, from the moment the host was first taken. And how
 * long a try at cleaning may.
 */
import * as Context from "effect/Context"
import * as Result from "effect/Result"
import * as Names from "../api/Names.ts"
import type { PooledRemoteMachine } from "../api/PooledRemoteMachine.ts"
import type { RemoteMachine } from "../api/RemoteMachine.ts"
import { durationText, parseDuration } from "../domain/Duration.ts"
import type { Failure } from "../domain/Machine.ts"
import { inputFailure } from "./MachineFailures.ts"
import { annotation, keyOf } from "./Objects.ts"

/** One step, seconds; images of k0s are large and racks are slow. */
export const STEP_TIMEOUT_SECONDS = 3_600
/** A whole bootstrap, seconds. */
export const BOOTSTRAP_TIMEOUT_SECONDS = 4 * 3_600
/** No limit is shorter or longer, seconds. */
export const MIN_TIMEOUT_SECONDS = 1
export const MAX_TIMEOUT_SECONDS = 7 * 24 * 3_600

export interface RunLimits {
  readonly stepSeconds: number
  readonly bootstrapSeconds: number
}

export const RunLimits = Context.Reference<RunLimits>("machinist/actors/RunLimits", {
  defaultValue: () => ({ stepSeconds: STEP_TIMEOUT_SECONDS, bootstrapSeconds: BOOTSTRAP_TIMEOUT_SECONDS })
})

/** Seconds, within the bounds; fails with what is wrong, as the rest of a sentence. */
export const parseLimit = (text: string): Result.Result<number, string> =>
  Result.flatMap(parseDuration(text), (seconds) =>
    seconds < MIN_TIMEOUT_SECONDS || seconds > MAX_TIMEOUT_SECONDS
      ? Result.fail(`must be between ${durationText(MIN_TIMEOUT_SECONDS)} and ${durationText(MAX_TIMEOUT_SECONDS)}`)
      : Result.succeed(seconds)
  )

const own = (machine: RemoteMachine, name: string, otherwise: number): Result.Result<number, Failure> => {
  const text = annotation(machine, name)
  return text === undefined
    ? Result.succeed(otherwise)
    : Result.mapError(parseLimit(text.trim()), (why) =>
        inputFailure("InvalidTimeout", `Annotation ${name} of ${keyOf(machine)} ${why}. Correct or remove it.`)
      )
}

export const limitsOf = (machine: RemoteMachine, limits: RunLimits): Result.Result<RunLimits, Failure> =>
  Result.all({
    stepSeconds: own(machine, Names.STEP_TIMEOUT_ANNOTATION, limits.stepSeconds),
    bootstrapSeconds: own(machine, Names.BOOTSTRAP_TIMEOUT_ANNOTATION, limits.bootstrapSeconds)
  })

/** One try at cleaning, milliseconds: its steps' own limits, and a slow host. What still runs then is followed by the next. */
export const CLEANING_MILLIS = 1_800_000

/** `what`: the machine, or the quarantined host. It counts as a try, so that nobody waits for ever for a host that hangs. */
export const cleaningTimedOut = (what: RemoteMachine | PooledRemoteMachine): Failure => ({
  reason: "CleaningTimedOut",
  message:
    `Cleaning the host of ${keyOf(what)} took longer than ${durationText(CLEANING_MILLIS / 1_000)}, and is waited for again. ` +
    "Look at the host: what hangs there?",
  retry: "backoff",
  ofHost: true
})

export const timedOut = (machine: RemoteMachine, seconds: number): Failure => ({
  reason: "BootstrapTimedOut",
  message:
    `The bootstrap of ${keyOf(machine)} took longer than ${durationText(seconds)}. Look at what its last step waits for; ` +
    `allow more with annotation ${Names.BOOTSTRAP_TIMEOUT_ANNOTATION} or --bootstrap-timeout. ` +
    `Annotation ${Names.RETRY_ANNOTATION} (any new value) cleans the host and begins anew.`,
  retry: "budget",
  ofHost: true,
  final: true
})
