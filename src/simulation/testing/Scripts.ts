/**
 * Owns the names under which a test says what a host's steps do: slow, failing, hanging, rebooting, a disk that fills up.
 * Hand the result to `host.script(which, …)`; any other behaviour can be written out (StepBehaviour). Wrong keys and
 * unreachable hosts are the host's own (`accounts`, `setReachability`).
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { SimulatedHost } from "../hosts/SimulatedHost.ts"
import type { StepBehaviour, StepMatcher } from "../hosts/StepRunner.ts"

/** The n-th step of a run, from 1. */
export const step =
  (number: number): StepMatcher =>
  (_, index) =>
    index === number - 1

/** Every step. */
export const anyStep: StepMatcher = () => true

/** Takes so much longer, then does what it does. */
export const slow = (duration: Duration.Input, times?: number): StepBehaviour => ({
  duration: Duration.toMillis(duration),
  goesOn: true,
  ...(times === undefined ? {} : { times })
})

export interface Failing {
  /** Absent: 1. */
  readonly code?: number
  readonly stderr?: string
  /** Absent: every time. */
  readonly times?: number
}

export const failing = ({ code = 1, stderr, times }: Failing = {}): StepBehaviour => ({
  exitCode: code,
  ...(stderr === undefined ? {} : { stderr }),
  ...(times === undefined ? {} : { times })
})

/** Never ends by itself. */
export const hanging = (times?: number): StepBehaviour => ({ hang: true, ...(times === undefined ? {} : { times }) })

/** The host reboots in the middle of it, as from a kernel update; what runs is cut off. */
export const rebooting = (host: SimulatedHost, times = 1): StepBehaviour => ({
  effect: () => Effect.andThen(host.rebootSoon, Effect.never),
  times
})

/** Fills the disk below `path`, and fails for it; `host.disk.setFull(undefined)` makes room again. */
export const fillingDisk = (host: SimulatedHost, path = "/"): StepBehaviour => ({
  effect: () => Effect.sync(() => host.disk.setFull(path)),
  exitCode: 1,
  stderr: "No space left on device\n",
  times: 1
})
