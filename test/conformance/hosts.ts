/**
 * Owns the conformance suite of the host layer: the same promises, held by the in-memory host and by the shell driver
 * (locally and behind a real sshd). Does not own any host: each implementation hands in a ConformanceHost; the
 * scenarios are in hosts/.
 *
 * What the suite needs of the shell driver (src/hosts/driver): the one line `failpoint() { :; }`, and a call
 * `failpoint NAME` right before and right after every durable write. The suite replaces that line in the piped text by
 * one that counts its calls and sends SIGKILL to the calling shell, or takes the power away, at the n-th (ShellHost).
 */
import { describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { HostRuns, type HostRunsShape } from "../../src/hosts/HostRuns.ts"
import { layer as hostRunsLayer } from "../../src/hosts/LiveHostRuns.ts"
import { SshClient, type SshClientShape } from "../../src/ssh/SshClient.ts"
import { cleaning } from "./hosts/cleaning.ts"
import { killing } from "./hosts/killing.ts"
import { refusing } from "./hosts/refusing.ts"
import { running } from "./hosts/running.ts"
import type { Ability, Bench, ConformanceHost, Scenario } from "./hosts/World.ts"

export { makeShellHost, type ShellParts } from "./hosts/ShellHost.ts"
export type { Ability, ConformanceHost } from "./hosts/World.ts"

export interface ConformanceOptions {
  readonly abilities: ReadonlyArray<Ability>
  /** Why none of it can run here; undefined: it can. */
  readonly unavailable?: string | undefined
  /** Milliseconds a scenario; the kill-everywhere ones get ten times as much. */
  readonly timeout?: number
  /** Of the places where something can be killed, each how many-eth is tried. Absent: 1, all. */
  readonly everyNthKill?: number
  /** Absent: all. */
  readonly only?: (title: string) => boolean
}

const GROUPS: ReadonlyArray<readonly [title: string, scenarios: ReadonlyArray<Scenario>]> = [
  ["runs", running],
  ["refuses", refusing],
  ["cleans", cleaning],
  ["survives", killing]
]

const DEFAULT_TIMEOUT_MILLIS = 60_000

const over = (ssh: SshClientShape): Effect.Effect<HostRunsShape, never, Scope.Scope> =>
  Effect.map(Layer.build(hostRunsLayer.pipe(Layer.provide(Layer.succeed(SshClient, ssh)))), (built) =>
    Context.get(built, HostRuns)
  )

const bench = <E>(
  makeHost: Effect.Effect<ConformanceHost, E, Scope.Scope>,
  everyNthKill: number
): Effect.Effect<Bench, never, Scope.Scope> =>
  Effect.gen(function* () {
    const host = yield* Effect.orDie(makeHost)
    return { host, runs: yield* over(host.ssh), over, everyNthKill, another: bench(makeHost, everyNthKill) }
  })

export const hostConformance = <E>(
  name: string,
  makeHost: Effect.Effect<ConformanceHost, E, Scope.Scope>,
  options: ConformanceOptions
): void => {
  const { abilities, everyNthKill = 1, only = () => true, timeout = DEFAULT_TIMEOUT_MILLIS, unavailable } = options
  const title = unavailable === undefined ? name : `${name} (skipped: ${unavailable})`
  describe.skipIf(unavailable !== undefined)(`host conformance: ${title}`, () => {
    for (const [group, scenarios] of GROUPS) {
      describe(group, () => {
        for (const scenario of scenarios) {
          const able = (scenario.needs ?? []).every((ability) => abilities.includes(ability))
          const test = able && only(scenario.title) ? it.live : it.live.skip
          test(
            scenario.title,
            () => Effect.flatMap(bench(makeHost, everyNthKill), (made) => scenario.play(made)),
            scenario.long === true ? timeout * 10 : timeout
          )
        }
      })
    }
  })
}
