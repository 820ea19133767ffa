/**
 * Owns a demo from start to end: cluster, hosts and provider in one scope, the YAML applied, waiting until all of it has
 * come true, deletion and its proof, and the report with the witness's counts. Does not own flags nor the screen.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { KubeError } from "../../kube/KubeError.ts"
import type { WorkloadCluster } from "../../kube/WorkloadClusters.ts"
import * as SimulatedWorkloads from "../core/SimulatedWorkloads.ts"
import type { WorkloadFront } from "../core/WorkloadFront.ts"
import type { K0sWorld } from "../hosts/K0s.ts"
import type { SimulatedApiServerShape } from "../SimulatedApiServer.ts"
import { dirtyHosts, doubleTenants, stepsRunTwice } from "../Witness.ts"
import { exampleNames } from "./Examples.ts"
import { countsOf, type Farm } from "./Farm.ts"
import { managementServer, type Prepare, startCore, startProvider } from "./Management.ts"
import type { Manifest, ManifestError } from "./Manifests.ts"
import { hostsOf } from "./Manifests.ts"
import { type Picture, picture, remaining, terminating, totals } from "./Picture.ts"
import {
  applyExamples,
  applyFiles,
  deleteClusters,
  deleteLeft,
  deleteNamespaces,
  namespacesOf,
  type Stage
} from "./Scenario.ts"

/** At most one part in so many of the time goes into pictures. */
const GLANCE_SHARE = 20
/** Between two looks at whether everything has come true. */
const LOOK = "100 millis"
/** A demo that gets no further for this long has failed: seconds. */
export const STALLED_SECONDS = 120

export class DemoFailed extends Data.TaggedError("DemoFailed")<{
  readonly message: string
  readonly details: ReadonlyArray<string>
}> {}

export interface DemoOptions<E> {
  readonly machines: number
  /** The user's own YAML instead of the examples. */
  readonly files: ReadonlyArray<Manifest> | undefined
  readonly farm: (k0s: K0sWorld) => Effect.Effect<Farm, E, Scope.Scope>
  readonly stalledSeconds?: number
  /** Absent: workload clusters are in memory alone, and hosts ask past the network to join. */
  readonly front?: WorkloadFront
  /** What makes clusters outlive this process. */
  readonly keep?: Keep<E>
}

export interface Keep<E> {
  readonly management: Prepare<E>
  readonly workload: (
    cluster: WorkloadCluster,
    server: SimulatedApiServerShape
  ) => Effect.Effect<void, never, Scope.Scope>
  /** What `workload` kept of a cluster that is deleted. */
  readonly forget: (cluster: WorkloadCluster) => Effect.Effect<void>
  /** True: the examples were applied by a process before this one. */
  readonly isApplied: boolean
  /** The examples are applied now. */
  readonly applied: Effect.Effect<void>
  /** Everything was deleted: next time they are applied again. */
  readonly removed: Effect.Effect<void>
}

/** The last line of `--json`. */
export interface Report {
  readonly machines: number
  readonly ready: number
  readonly running: number
  readonly seconds: number
  /** Null: the hosts have no witness that could tell. */
  readonly doubleClaims: number | null
  readonly stepsRunTwice: number | null
  readonly deleted: number
  readonly dirtyHosts: number
}

export interface Demo extends Stage {
  readonly picture: () => Picture
  /** Boots the hosts and applies the YAML. */
  readonly apply: Effect.Effect<void, ManifestError>
  /** Until every machine is ready and its Node is there; fails when nothing happens any more. */
  readonly ready: Effect.Effect<void, DemoFailed>
  /** Deletes everything and proves it: no object left, every host clean. */
  readonly remove: Effect.Effect<void, DemoFailed | KubeError>
  readonly report: Effect.Effect<Report>
  /** What the witness, or a look at the hosts, objects to; empty when all is as it should be. */
  readonly objections: Effect.Effect<ReadonlyArray<string>>
}

const waiting = (now: Picture): ReadonlyArray<string> =>
  now.machines
    .filter((machine) => !(machine.infraReady && machine.running))
    .map(
      ({ message, name, namespace, phase, reason, state }) =>
        `${namespace}/${name} is ${phase}${state === "" ? "" : ` (${state})`}${reason === "" ? "" : `: ${reason}`}${message === "" ? "" : ` ${message}`}`
    )

/** Looks until `left` has nothing to say; gives up when it says the same thing for too long. */
const until = (what: string, seconds: number, left: () => ReadonlyArray<string>, moved: () => string) =>
  Effect.gen(function* () {
    let since = yield* Clock.currentTimeMillis
    let before = ""
    yield* Effect.gen(function* () {
      const found = left()
      if (found.length === 0) return true
      const now = yield* Clock.currentTimeMillis
      const state = moved()
      if (state !== before) {
        before = state
        since = now
      }
      if (now - since > seconds * 1000)
        return yield* new DemoFailed({
          message: `nothing moved for ${seconds} s, and ${what}`,
          details: found
        })
      return false
    }).pipe(Effect.repeat({ schedule: Schedule.spaced(LOOK), until: (done) => done }))
  })

export const start = Effect.fnUntraced(function* <E>(options: DemoOptions<E>): Effect.fn.Return<Demo, E, Scope.Scope> {
  const startedAt = yield* Clock.currentTimeMillis
  const stalled = options.stalledSeconds ?? STALLED_SECONDS
  const { keep } = options
  const server = yield* managementServer(keep?.management)
  const workloads = yield* SimulatedWorkloads.make({
    ...(keep === undefined ? {} : { prepare: keep.workload, forget: keep.forget }),
    ...(options.front === undefined ? {} : { front: options.front })
  })
  const farm = yield* options.farm(workloads.k0s)
  yield* startCore(server, workloads)
  yield* startProvider(server, workloads, farm.ssh)
  const stage: Stage = { server, farm, front: options.front }
  const controllers = options.front === undefined ? "by their cluster" : "by themselves"

  const clock = yield* Clock.Clock
  let last:
    | { readonly revision: number; readonly at: number; readonly cost: number; readonly picture: Picture }
    | undefined
  const look = (): Picture => {
    const { revision } = server.store.storage
    const at = clock.currentTimeMillisUnsafe()
    if (last?.revision !== revision) {
      const seen = picture(server.store, controllers)
      last = { revision, at, cost: clock.currentTimeMillisUnsafe() - at, picture: seen }
    }
    return last.picture
  }
  /** Thousands of machines take a while to look at: that must not be what the machines wait for. */
  const glance = (): Picture => {
    const isRecent = last !== undefined && clock.currentTimeMillisUnsafe() - last.at < last.cost * GLANCE_SHARE
    return isRecent && last !== undefined ? last.picture : look()
  }
  const namespaces = options.files === undefined ? exampleNames() : namespacesOf(options.files)
  const apply = Effect.gen(function* () {
    if (options.files !== undefined) return yield* applyFiles(stage, options.files)
    // A person may have changed them since: what was applied once is theirs.
    if (keep?.isApplied === true) return
    yield* applyExamples(stage, options.machines)
    yield* keep?.applied ?? Effect.void
  })
  let peak = { machines: 0, ready: 0, running: 0 }
  let seconds = 0
  let deleted = 0
  let wasRemoved = false
  const elapsed = Effect.map(Clock.currentTimeMillis, (now) => (now - startedAt) / 1000)
  const revision = () => String(server.store.storage.revision)

  const ready = Effect.gen(function* () {
    yield* until(
      "machines are not ready",
      stalled,
      () => {
        const now = glance()
        const made = now.awaited === 0 ? [] : [`${now.awaited} machines are not made yet`]
        return [...made, ...waiting(now)]
      },
      revision
    )
    peak = totals(look())
    seconds = yield* elapsed
  })

  const remove = Effect.gen(function* () {
    const before = look().machines.length
    yield* deleteClusters(stage)
    yield* until(
      "clusters are not deleted",
      stalled,
      () => remaining(server.store).filter((one) => /^(?:Cluster|Machine) /.test(one)),
      revision
    )
    deleted = before - look().machines.length
    yield* deleteLeft(stage)
    yield* deleteNamespaces(stage, namespaces)
    yield* until(
      "objects are left",
      stalled,
      () => [...remaining(server.store), ...terminating(server.store)],
      revision
    )
    wasRemoved = true
    yield* keep?.removed ?? Effect.void
  })

  const findings = Effect.suspend(() => {
    const entries = farm.witness.entries()
    return (
      // A machine that is there is no leftover.
      (farm.leftovers === undefined || !wasRemoved ? undefined : farm.leftovers) ??
      Effect.succeed([...doubleTenants(entries), ...stepsRunTwice(entries), ...dirtyHosts(entries)])
    )
  })
  const objections = Effect.map(findings, (found) => found.map(({ host, what }) => `${host}: ${what}`))

  const report = Effect.gen(function* (): Effect.fn.Return<Report> {
    const counts = countsOf(farm.witness)
    const hasWitness = farm.leftovers === undefined
    const dirty = hasWitness ? counts.dirtyHosts + (wasRemoved ? counts.held : 0) : (yield* findings).length
    const now = wasRemoved ? peak : totals(look())
    return {
      machines: now.machines,
      ready: now.ready,
      running: now.running,
      seconds: Math.round((seconds === 0 ? yield* elapsed : seconds) * 10) / 10,
      doubleClaims: hasWitness ? counts.doubleClaims : null,
      stepsRunTwice: hasWitness ? counts.stepsRunTwice : null,
      deleted,
      dirtyHosts: dirty
    }
  })

  return { ...stage, picture: glance, apply, ready, remove, report, objections }
})

/** Hosts a user's YAML needs; for a message before anything is started. */
export const hostCount = (files: ReadonlyArray<Manifest>): number => hostsOf(files).length

/** Whether everything is as it should be, deleted things included when deletion was asked for. */
export const isGood = (report: Report, wasDeleted: boolean): boolean =>
  report.ready === report.machines &&
  report.running === report.machines &&
  (report.doubleClaims ?? 0) === 0 &&
  (report.stepsRunTwice ?? 0) === 0 &&
  report.dirtyHosts === 0 &&
  (!wasDeleted || report.deleted >= report.machines)
