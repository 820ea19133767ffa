/**
 * Owns the provider's processes in a simulation: each with ports of its own to one API server, hosts and workload
 * clusters, which can be cut (a crash: ports first, then fibers), held (a pause longer than its lease) and wrapped
 * (faults, counters, deliberate mistakes). Does not own what stands behind the ports.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Machine from "../domain/Machine.ts"
import { HostRuns, type HostRunsShape } from "../hosts/HostRuns.ts"
import * as LiveHostRuns from "../hosts/LiveHostRuns.ts"
import { KubeClient, type KubeClientShape } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import * as Lease from "../kube/Lease.ts"
import { WorkloadClusters } from "../kube/WorkloadClusters.ts"
import * as Provider from "../provider/Provider.ts"
import { SshClient, type SshClientShape } from "../ssh/SshClient.ts"
import { cuttableKubeClient, heldKubeClient } from "./Faults.ts"
import { cuttable, held, makeCut } from "./hosts/SshFaults.ts"
import { seededSecureRandom } from "./Surroundings.ts"
import { makeCounter, type Usage } from "./Usage.ts"

/** A state that some process's actor entered. */
export interface Entered {
  readonly at: number
  readonly process: string
  /** `namespace/name`. */
  readonly machine: string
  readonly state: Machine.State
}

/** Phases that a machine's actors entered, whichever process's, repetitions left out. `machine`: `namespace/name`. */
export const phasesOf = (all: ReadonlyArray<Entered>, machine: string): ReadonlyArray<string> => {
  const phases = all.filter((one) => one.machine === machine).map(({ state }) => state.phase._tag)
  return phases.filter((phase, index) => phase !== phases[index - 1])
}

/** What stands between a provider process and the world. */
export interface Wrap {
  readonly kube?: (inner: KubeClientShape) => KubeClientShape
  /** Clients of workload clusters. */
  readonly workload?: (inner: KubeClientShape) => KubeClientShape
  readonly ssh?: (inner: SshClientShape) => SshClientShape
  readonly hosts?: (inner: HostRunsShape) => HostRunsShape
}

export interface Process {
  readonly name: string
  /** Ports first, then fibers: nothing that runs on its way down reaches the world. */
  readonly crash: Effect.Effect<void>
  /** An orderly end: finalizers reach the world. */
  readonly stop: Effect.Effect<void>
  /** As SIGSTOP: nothing of it gets through until `resume`, then everything does, late. */
  readonly hold: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Why it ended by itself, which it must never do (but for a lost lease). */
  readonly died: () => string | undefined
  /** What it holds, and, once it has ended, what it left. */
  readonly usage: Usage
}

export interface ProcessPorts {
  readonly client: (name: string) => KubeClientShape
  readonly ssh: SshClientShape
  readonly workloads: Layer.Layer<WorkloadClusters>
  readonly entered: (entered: Entered) => void
}

export interface ProcessOptions {
  readonly wrap?: Wrap
  /** Namespace of the Lease it has to hold to be at work; absent: it is at work at once. */
  readonly leaseNamespace?: string
}

/** As `machinist controller --leader-elect` calls it. */
const LEASE_NAME = "machinist-controller-leader-election"

const same = <A>(one: A): A => one

/** Clients of workload clusters go through the process's own wrappers, too. */
const wrappedClusters = (
  inner: Layer.Layer<WorkloadClusters>,
  wrap: (client: KubeClientShape) => KubeClientShape
): Layer.Layer<WorkloadClusters> =>
  Layer.effect(
    WorkloadClusters,
    Effect.map(WorkloadClusters, (clusters) => ({
      answers: clusters.answers,
      client: (cluster, kubeconfig) => Effect.map(clusters.client(cluster, kubeconfig), wrap)
    }))
  ).pipe(Layer.provide(inner))

export const makeProcesses = Effect.fnUntraced(function* (ports: ProcessPorts) {
  const clock = yield* Clock.Clock
  const parent = yield* Effect.scope
  const all: Array<Process> = []

  const start = Effect.fnUntraced(function* (name: string, options: ProcessOptions = {}) {
    const { leaseNamespace, wrap = {} } = options
    const cut = makeCut()
    const gate = Latch.makeUnsafe(true)
    const scope = yield* Scope.make()
    const counter = makeCounter()
    const around = (client: KubeClientShape) =>
      heldKubeClient(cuttableKubeClient(counter.kube(client), cut), gate.await)
    const client = (wrap.kube ?? same)(around(ports.client(name)))
    const ssh = (wrap.ssh ?? same)(held(cuttable(counter.ssh(ports.ssh), cut), gate.await))
    const runs = Layer.effect(HostRuns, Effect.map(HostRuns, wrap.hosts ?? same)).pipe(
      Layer.provide(LiveHostRuns.layer.pipe(Layer.provide(Layer.succeed(SshClient, ssh))))
    )
    const clusters = wrappedClusters(ports.workloads, (one) => (wrap.workload ?? same)(around(one)))
    const layers = Layer.mergeAll(Layer.succeed(KubeClient, client), runs, clusters, seededSecureRandom)
    let died: string | undefined
    let ending = false
    const work = Provider.start({
      entered: (machine, state) => ports.entered({ at: clock.currentTimeMillisUnsafe(), process: name, machine, state })
    }).pipe(Effect.andThen(Effect.never), Effect.scoped)
    const leading: Effect.Effect<
      never,
      KubeError | Lease.LeadershipLost,
      Effect.Services<typeof work>
    > = leaseNamespace === undefined
      ? work
      : Lease.run({ namespace: leaseNamespace, name: LEASE_NAME, identity: name }, work)
    yield* leading.pipe(
      // Around all of it: these ports live as long as the process does.
      Effect.provide(layers),
      Effect.scoped,
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (!ending) died = Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it ended"
        })
      ),
      Effect.forkIn(scope),
      counter.process
    )
    /** Not waited for: a finalizer may sleep, and only the caller can let virtual time pass. */
    const end = (before: () => void) =>
      Effect.suspend(() => {
        ending = true
        before()
        return Effect.asVoid(Effect.forkIn(Scope.close(scope, Exit.void), parent))
      })
    const process: Process = {
      name,
      crash: end(() => {
        cut.throwNow()
        // One that is held can't come back to its end else.
        gate.openUnsafe()
      }),
      stop: end(() => undefined),
      hold: Effect.asVoid(gate.close),
      resume: Effect.asVoid(gate.open),
      died: () => died,
      usage: counter
    }
    all.push(process)
    return process
  })
  const everyone: ReadonlyArray<Process> = all
  return { start, all: everyone }
})
