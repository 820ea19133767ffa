/**
 * Owns one execution of a step as a process of its own on a simulated host: the witness's entries, the timeout, the
 * bounded output. Does not own its durable record (Runner) nor what it does (StepRunner).
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Request } from "../../hosts/Protocol.ts"
import type { StepIdentity } from "../Witness.ts"
import { runDir } from "./Journal.ts"
import type { K0s } from "./K0s.ts"
import type { HostProcess, Kernel } from "./Kernel.ts"
import type { StepRunner } from "./StepRunner.ts"

/** Output kept of one step, as in the shell driver. */
const OUTPUT_CAP_BYTES = 4 * 1024 * 1024
/** Of a failed step's stderr. */
const STDERR_TAIL_BYTES = 2048
/** What `timeout` answers. */
const TIMED_OUT = 124
export const KILLED = 137

export type JobRequest = Extract<Request, { readonly verb: "run" | "clean" }>

export interface HostParts {
  readonly kernel: Kernel
  readonly steps: StepRunner
  readonly k0s: K0s
}

const printable = (text: string): ReadonlyArray<string> =>
  text
    .slice(-STDERR_TAIL_BYTES)
    .split("\n")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
    .map((line) => line.replaceAll(/[\u0000-\u001f\u007f]/g, ""))
    .filter((line) => line !== "")

/** What a driver has in hand while it lives; what it had not recorded when it died, the witness is told. */
export interface Hand {
  unrecorded: { readonly pid: number; readonly identity: StepIdentity } | undefined
}
export const recorded = (hand: Hand): void => {
  hand.unrecorded = undefined
}
export const tellUnrecorded = (kernel: Kernel, hand: Hand, at: number): void => {
  if (hand.unrecorded === undefined) return
  const { identity, pid } = hand.unrecorded
  kernel.witness.tellUnsafe(kernel.name, at, { _tag: "StepUnrecorded", pid, ...identity })
}

export interface Outcome {
  readonly code: number
  readonly stderr: ReadonlyArray<string>
}

/** Claims other than `claim` that have processes on the host at this moment. */
export const othersOn = (kernel: Kernel, claim: string): ReadonlyArray<string> => [
  ...new Set(kernel.processes().flatMap((one) => (one.claim === undefined || one.claim === claim ? [] : [one.claim])))
]

const identify = (request: JobRequest, index: number, name: string): StepIdentity => ({
  verb: request.verb,
  claim: request.tenant.claim,
  machine: request.tenant.machine,
  attempt: request.attempt,
  step: index,
  name,
  ...(request.verb === "run" ? { dataHash: request.dataHash } : {})
})

/** What a step wrote, bounded. */
const makeOutput = () => {
  let bytes = 0
  let tail = ""
  return {
    stdout: (count: number): void => {
      bytes += count
    },
    stderr: (text: string): void => {
      bytes += text.length
      tail = (tail + text).slice(-STDERR_TAIL_BYTES)
    },
    kept: (): number => Math.min(bytes, OUTPUT_CAP_BYTES),
    tail: (): string => tail
  }
}

export const execute = Effect.fnUntraced(function* (
  host: HostParts,
  driver: HostProcess,
  request: JobRequest,
  index: number,
  hand: Hand
): Effect.fn.Return<Outcome> {
  const { kernel } = host
  const { claim } = request.tenant
  const step = request.steps[index]
  if (step === undefined) return { code: 0, stderr: [] }
  const identity = identify(request, index, step.name)
  const boot = kernel.bootId()
  const done = Deferred.makeUnsafe<number>()
  const output = makeOutput()
  const alongside = othersOn(kernel, claim)
  const tag = `${request.verb}.${index}`
  let code = 0
  const body = Effect.fnUntraced(function* (self: HostProcess) {
    yield* kernel.witness.tell(kernel.name, { _tag: "StepBegan", pid: self.pid, alongside, ...identity })
    code = yield* host.steps({
      kernel,
      pid: self.pid,
      claim,
      verb: request.verb,
      index,
      step,
      workingDir: request.workingDir ?? "/",
      stdout: output.stdout,
      stderr: output.stderr,
      k0s: (words) => host.k0s.command(claim, words, output.stderr)
    })
  })
  yield* kernel.spawn({ comm: "sh", role: "step", claim, step: tag }, body, (exit, at, pid) => {
    const ended = Exit.isSuccess(exit)
    const fact = { pid, ...identity }
    kernel.witness.tellUnsafe(
      kernel.name,
      at,
      ended ? { _tag: "StepEnded", code, ...fact } : { _tag: "StepInterrupted", ...fact }
    )
    if (ended) hand.unrecorded = { pid, identity }
    // Nobody is left to record it.
    if (!kernel.alive(driver.pid, boot)) tellUnrecorded(kernel, hand, at)
    Deferred.doneUnsafe(done, Exit.succeed(ended ? code : KILLED))
  })
  const result = yield* Deferred.await(done).pipe(
    Effect.timeoutOrElse({
      duration: request.stepTimeoutSeconds * 1000,
      orElse: () =>
        kernel
          .kill((one) => one.claim === claim && one.step === tag)
          .pipe(
            Effect.andThen(
              Effect.sync(() => output.stderr(`machinist: step timed out after ${request.stepTimeoutSeconds} s\n`))
            ),
            Effect.as(TIMED_OUT)
          )
    })
  )
  if (output.kept() > 0) {
    const log = `${runDir(claim)}/${request.verb}.${index}.log`
    yield* kernel.disk.write(log, new Uint8Array(output.kept())).pipe(Effect.ignore)
  }
  return { code: result, stderr: printable(output.tail()) }
})
