/**
 * Owns the world of the driver's tests: a host with a shell of its own and a private root, what is asked of it, and how its
 * drivers and followers are found, held back and killed.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { HostError } from "../../src/hosts/HostError.ts"
import {
  type CleanRequest,
  type HostAccess,
  HostRuns,
  type RunProgress,
  type RunRequest
} from "../../src/hosts/HostRuns.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { type LocalHostOptions, makeLocalHost } from "./LocalShell.ts"

export const tenant = { claim: "c1", machine: "default/m1", cluster: "u1", fence: 1 }
export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
export const STATE = "/var/lib/machinist"

/** A run of one step, unless said otherwise. */
export const runOf = (script: string, more: Partial<RunRequest> = {}): RunRequest => ({
  verb: "run",
  tenant,
  dataHash: "abc",
  attempt: 1,
  files: [],
  steps: [{ name: "only", script }],
  sentinel: false,
  stepTimeoutSeconds: 60,
  ...more
})
export const cleanOf = (more: Partial<CleanRequest> = {}): CleanRequest => ({
  verb: "clean",
  tenant,
  attempt: 1,
  steps: [],
  remove: [],
  verify: { k0s: true, paths: [] },
  stepTimeoutSeconds: 60,
  ...more
})

export const setUp = (options: LocalHostOptions = {}) =>
  Effect.gen(function* () {
    const host = yield* makeLocalHost(options)
    const context = yield* Layer.build(Layer.provide(LiveHostRuns.layer, host.layer))
    const runs = Context.get(context, HostRuns)
    const access: HostAccess = { target: host.target, useSudo: false }
    const play = (stream: Stream.Stream<RunProgress, HostError>) =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const result = yield* Effect.result(
          Stream.runForEach(stream, (one) =>
            Effect.sync(() =>
              told.push(
                [one._tag, ...("step" in one ? [one.step] : []), ...("code" in one ? [one.code] : [])].join(" ")
              )
            )
          )
        )
        return { told, error: Result.isFailure(result) ? result.failure : undefined }
      })
    return {
      host,
      runs,
      access,
      run: (request: RunRequest) => play(runs.run(access, request)),
      clean: (request: CleanRequest) => play(runs.clean(access, request)),
      out: (script: string) => Effect.map(host.sh(script), ({ stdout }) => stdout.trim())
    }
  })

export const eventually = (condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  condition.pipe(
    Effect.flatMap((holds) => (holds ? Effect.void : Effect.fail("not yet"))),
    Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 400 }),
    Effect.orDie
  )

/** Processes of the driver, whatever role; `[s]h` so that the question is not its own answer. */
export const DRIVERS = `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\000' ' ' | grep -c -e '[s]h ${STATE}/' -e '[s]h -c umask 077'`

/** SIGKILL to who follows run c1, and to its driver. */
export const KILL_FOLLOWERS = `for f in ${STATE}/runs/c1/follow-*.fifo; do f=\${f#*follow-}; kill -9 "\${f%%.*}"; done`
export const KILL_DRIVER = `read -r boot pid start <${STATE}/runs/c1/driver; kill -9 "$pid"`

/** A driver that was launched does this before anybody can know of it. */
export const lateDriver =
  (script: string) =>
  (text: string): string =>
    text.replace('\n  parse_request "$0" || exit 1\n', (line) => `${line}  ${script}\n`)

/**
 * Waits where it stands, also in a subshell, which has no `$$`, until /tmp/go is there; /tmp/at tells that it came, and its
 * process.
 */
export const HELD =
  "{ IFS=' ' read -r at rest </proc/self/stat; echo $at >/tmp/at.new; mv /tmp/at.new /tmp/at; until [ -e /tmp/go ]; do sleep 0.1; done; }"

/** Lets it go, and waits until it has ended or, as it must not, made /tmp/ran tell of `times` runs. */
export const letGo = (times: number): string =>
  `: >/tmp/go; until [ ! -e /proc/$(cat /tmp/at) ] || [ "$(cat /tmp/ran 2>/dev/null | wc -l)" -ge ${times} ]; do sleep 0.1; done`
