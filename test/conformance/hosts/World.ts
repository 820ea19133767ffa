/**
 * Owns what a host must offer to be put through the conformance suite, and the words the scenarios are written in:
 * requests, witness steps, outcomes. Does not own scenarios nor any host.
 */

import { assert } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { HostError, HostErrorReason } from "../../../src/hosts/HostError.ts"
import type { CleanRequest, HostAccess, HostRunsShape, RunProgress, RunRequest } from "../../../src/hosts/HostRuns.ts"
import type { RunStep, Tenant } from "../../../src/hosts/Protocol.ts"
import { SENTINEL } from "../../../src/hosts/Protocol.ts"
import type { SshClientShape } from "../../../src/ssh/SshClient.ts"

/** What not every host can do; a scenario that needs it is skipped for those that can't. */
export type Ability =
  /** Power loss and boot. */
  | "reboot"
  /** Filling the disk that the state directory is on. */
  | "fillDisk"
  /** A real shell: any script, a real environment. */
  | "shell"
  /** Accounts beside root, with and without sudo. */
  | "accounts"

export interface ConformanceHost {
  readonly ssh: SshClientShape
  /** As root. */
  readonly access: HostAccess
  /** A directory the product knows nothing of, that survives reboots. */
  readonly dir: string
  /** An executable that runs for longer than any test; a copy of it is seen in the process table by the copy's name. */
  readonly program: string
  readonly readFile: (path: string) => Effect.Effect<string | undefined>
  readonly writeFile: (path: string, text: string) => Effect.Effect<void>
  readonly remove: (path: string) => Effect.Effect<void>
  /** Bytes below the state directory. */
  readonly stateBytes: Effect.Effect<number>
  /** Everything below the state directory, in any stable form: to tell whether something changed. */
  readonly stateListing: Effect.Effect<string>
  /** Living processes of that name. */
  readonly running: (comm: string) => Effect.Effect<number>
  /** Starts it as root, in the background, outside of any run. */
  readonly startUntagged: (path: string) => Effect.Effect<void>
  readonly loseJournal: (claim: string) => Effect.Effect<void>
  /** The record of who holds the host is gone, as when a person removes it. */
  readonly loseRecord: Effect.Effect<void>
  /** SIGKILL to the detached driver, and to nothing else. */
  readonly killDriver: Effect.Effect<void>
  /**
   * At the `n`-th place before or after a durable write, counted from now over all processes of the driver: SIGKILL to
   * the one that is there, or power loss (`reboot` brings the host back). Undefined: no more of that, but the count goes
   * on.
   */
  readonly failAt: (n: number | undefined, how?: "process" | "power") => Effect.Effect<void>
  readonly failpointsPassed: Effect.Effect<number>
  readonly reboot?: Effect.Effect<void>
  readonly fillDisk?: (full: boolean) => Effect.Effect<void>
  /** The same host as others: `sudoer` with useSudo, `refused` by sudo, `plain` without useSudo and not root. */
  readonly accounts?: { readonly sudoer: HostAccess; readonly refused: HostAccess; readonly plain: HostAccess }
}

export interface Bench {
  readonly host: ConformanceHost
  readonly runs: HostRunsShape
  /** The layer under test, over another client of the same host (one that loses connections, …). */
  readonly over: (ssh: SshClientShape) => Effect.Effect<HostRunsShape, never, Scope.Scope>
  /** Of the places where something can be killed, each how many-eth is tried; 1: all. */
  readonly everyNthKill: number
  /** A fresh host of the same kind. */
  readonly another: Effect.Effect<Bench, never, Scope.Scope>
}

export const tenant = (claim = "claim-a", fence = 1): Tenant => ({
  claim,
  machine: `default/${claim}`,
  cluster: "cluster-1",
  fence
})

const encoder = new TextEncoder()
export const bytes = (text: string): Uint8Array => encoder.encode(text)

export const STEP_TIMEOUT_SECONDS = 60

export const runOf = (steps: ReadonlyArray<RunStep>, more: Partial<RunRequest> = {}): RunRequest => ({
  verb: "run",
  tenant: tenant(),
  dataHash: "0a1b2c",
  attempt: 1,
  files: [],
  steps,
  sentinel: true,
  stepTimeoutSeconds: STEP_TIMEOUT_SECONDS,
  ...more
})

export const cleanOf = (steps: ReadonlyArray<RunStep>, more: Partial<CleanRequest> = {}): CleanRequest => ({
  verb: "clean",
  tenant: tenant(),
  attempt: 1,
  steps,
  remove: [SENTINEL],
  verify: { k0s: true, paths: [] },
  stepTimeoutSeconds: STEP_TIMEOUT_SECONDS,
  ...more
})

/** A step that tells when it begins and ends; `body` in between. Only commands that MiniShell knows, if in memory too. */
export const step = (host: ConformanceHost, name: string, ...body: ReadonlyArray<string>): RunStep => ({
  name,
  script: [`echo begin ${name} >>${host.dir}/log`, ...body, `echo end ${name} >>${host.dir}/log`, ""].join("\n")
})

/** A step that goes on once `open` was called for its gate. */
export const waitFor = (host: ConformanceHost, gate: string): string =>
  `until [ -e ${host.dir}/gate-${gate} ]; do sleep 0.05; done`
export const open = (host: ConformanceHost, gate: string): Effect.Effect<void> =>
  host.writeFile(`${host.dir}/gate-${gate}`, "open")

export const MAKE_SENTINEL: ReadonlyArray<string> = ["mkdir -p /run/cluster-api", `echo success >${SENTINEL}`]
/** The last step of a bootstrap. */
export const success = (host: ConformanceHost): RunStep => step(host, "success", ...MAKE_SENTINEL)

/** Times each line was told by the steps: `begin NAME`, `end NAME`. */
export const told = (host: ConformanceHost): Effect.Effect<(line: string) => number> =>
  Effect.map(host.readFile(`${host.dir}/log`), (text) => {
    const lines = (text ?? "").split("\n")
    return (line) => lines.filter((one) => one === line).length
  })

export class NotYet extends Data.TaggedError("NotYet")<{ readonly what: string }> {}

/** Looks are 20 ms apart; a condition that does not come true in 30 s never will. */
const LOOKS = 1500
export const eventually = (what: string, condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  condition.pipe(
    Effect.flatMap((holds) => (holds ? Effect.void : Effect.fail(new NotYet({ what })))),
    Effect.retry({ schedule: Schedule.spaced("20 millis"), times: LOOKS }),
    Effect.orDie
  )
export const eventuallyTold = (host: ConformanceHost, line: string): Effect.Effect<void> =>
  eventually(
    `"${line}" is told by a step`,
    Effect.map(told(host), (count) => count(line) > 0)
  )

export const eventuallyRuns = (host: ConformanceHost, comm: string): Effect.Effect<void> =>
  eventually(
    `${comm} runs`,
    Effect.map(host.running(comm), (processes) => processes > 0)
  )

export interface Outcome {
  readonly progress: ReadonlyArray<RunProgress>
  /** Undefined: it ended well. */
  readonly error: HostError | undefined
}

export const outcome = (stream: Stream.Stream<RunProgress, HostError>): Effect.Effect<Outcome> =>
  Effect.gen(function* () {
    const progress: Array<RunProgress> = []
    const result = yield* Effect.result(Stream.runForEach(stream, (one) => Effect.sync(() => void progress.push(one))))
    return { progress, error: Result.isFailure(result) ? result.failure : undefined }
  })

/** Calls again as a controller would, when the error is one that a retry is right for: a connection was lost. */
const CALLS = 4
export const persistently = <A extends Outcome>(call: Effect.Effect<A>): Effect.Effect<A> =>
  Effect.repeat(call, { until: ({ error }) => error?.retry !== "backoff", times: CALLS - 1 })

export const how = (result: Outcome): string | undefined => {
  for (const one of result.progress) if (one._tag === "Attached") return one.how
  return undefined
}

export const count = (result: Outcome, tag: RunProgress["_tag"], index?: number): number =>
  result.progress.filter((one) => one._tag === tag && (index === undefined || ("step" in one && one.step === index)))
    .length

export const assertWell = (result: Outcome): void =>
  assert.isUndefined(result.error, `${result.error?.reason}: ${result.error?.message}`)

export const assertError = (result: Outcome, reason: HostErrorReason): HostError => {
  assert.strictEqual(result.error?.reason, reason, result.error?.message)
  if (result.error === undefined) return assert.fail("no error")
  return result.error
}

/** Each of the named steps ran to its end exactly once, and was begun only once. */
export const assertOnce = (host: ConformanceHost, ...names: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.map(told(host), (times) => {
    for (const name of names) {
      assert.strictEqual(times(`begin ${name}`), 1, `step ${name} began`)
      assert.strictEqual(times(`end ${name}`), 1, `step ${name} ended`)
    }
  })

export const stateOf = (bench: Bench, claim = "claim-a"): Effect.Effect<string | undefined, HostError> =>
  bench.runs.inspect(bench.host.access, tenant(claim)).pipe(
    Effect.retry({ while: ({ retry }) => retry === "backoff", times: CALLS - 1 }),
    Effect.map((report) => report.tenancy?.state)
  )

export interface Scenario {
  readonly title: string
  readonly needs?: ReadonlyArray<Ability>
  /** Takes many hosts. */
  readonly long?: boolean
  readonly play: (bench: Bench) => Effect.Effect<void, HostError, Scope.Scope>
}

/** A process of the host that stays, tagged as a step's child. */
export const daemon = (host: ConformanceHost, path: string): ReadonlyArray<string> => [
  `cp ${host.program} ${path}`,
  `nohup setsid ${path} 1000 >/dev/null 2>&1 &`
]
