/**
 * Owns the simulation for tests that are plain async TypeScript: the same world as Simulation.ts, each effect run to a
 * Promise on a runtime of its own, in virtual time unless asked otherwise. Adds nothing that Simulation.ts has not.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { TestClock } from "effect/testing"
import type { Kind, KubeObject } from "../../api/Kind.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import type { SimulatedHost } from "../hosts/SimulatedHost.ts"
import type { Process, ProcessOptions } from "../Processes.ts"
import type { PortFaults } from "./FaultNames.ts"
import type { Inspection } from "./Inspection.ts"
import type * as Objects from "./Objects.ts"
import * as Simulation from "./Simulation.ts"

export interface AsyncOptions extends Simulation.SimulationOptions {
  /** Absent: `virtual`; waiting moves the clock. */
  readonly time?: "virtual" | "live"
  /** True: what provider and core log goes to the console. Absent: nothing is logged. */
  readonly logs?: boolean
}

export interface AsyncProcess {
  readonly name: string
  readonly crash: () => Promise<void>
  readonly stop: () => Promise<void>
  readonly hold: () => Promise<void>
  readonly resume: () => Promise<void>
}

/** See Simulation for what each does; failures reject with the same typed errors. */
export interface AsyncSimulation extends Inspection {
  readonly apply: (manifests: Simulation.Manifests) => Promise<void>
  readonly addHost: (input?: Simulation.HostInput) => Promise<SimulatedHost>
  readonly host: (name: string) => SimulatedHost
  readonly hosts: () => ReadonlyArray<SimulatedHost>
  readonly addCluster: (input?: Objects.ClusterInput) => Promise<void>
  readonly addWorkers: (input?: Objects.WorkersInput) => Promise<void>
  readonly startProvider: (name?: string, options?: ProcessOptions) => Promise<AsyncProcess>
  readonly processes: () => ReadonlyArray<AsyncProcess>
  readonly faults: (faults: PortFaults) => void
  /** `name` or `namespace/name`. */
  readonly get: <A extends KubeObject>(kind: Kind<A>, name: string) => Promise<A>
  /** Absent: all namespaces. */
  readonly list: <A extends KubeObject>(kind: Kind<A>, namespace?: string) => Promise<ReadonlyArray<A>>
  /** JSON merge patch. */
  readonly patch: <A extends KubeObject>(kind: Kind<A>, name: string, patch: JsonObject) => Promise<A>
  readonly delete: <A extends KubeObject>(kind: Kind<A>, name: string) => Promise<void>
  readonly isReady: <A extends KubeObject>(kind: Kind<A>, name: string, condition?: string) => Promise<boolean>
  readonly isGone: <A extends KubeObject>(kind: Kind<A>, name: string) => Promise<boolean>
  readonly areRunning: (count: number, namespace?: string) => Promise<boolean>
  readonly until: (what: string, isSo: () => boolean | Promise<boolean>, within?: Duration.Input) => Promise<void>
  readonly pass: (duration: Duration.Input) => Promise<void>
  /** Runs a host's effects (`host.powerOff`, `host.reboot`) and any other. */
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
  readonly simulation: Simulation.Simulation
  readonly close: () => Promise<void>
  readonly [Symbol.asyncDispose]: () => Promise<void>
}

class World extends Context.Service<World, Simulation.Simulation>()("machinist/simulation/testing/World") {}

const asyncProcess = (run: AsyncSimulation["run"], process: Process): AsyncProcess => ({
  name: process.name,
  crash: () => run(process.crash),
  stop: () => run(process.stop),
  hold: () => run(process.hold),
  resume: () => run(process.resume)
})

/** Real time that the virtual clock waits for what it woke, before it goes on without: a busy computer is no timeout. */
const CLOCK_PATIENCE = "5 minutes"

/** `await using simulation = await createSimulation()`, or `close()` it. */
export const createSimulation = async (options: AsyncOptions = {}): Promise<AsyncSimulation> => {
  const clock = options.time === "live" ? Layer.empty : TestClock.layer({ warningDelay: CLOCK_PATIENCE })
  const quiet = options.logs === true ? Layer.empty : Logger.layer([])
  const world = Layer.effect(World, Simulation.make(options))
  const runtime = ManagedRuntime.make(Layer.provideMerge(world, Layer.mergeAll(clock, quiet)))
  const simulation = await runtime.runPromise(World)
  const run: AsyncSimulation["run"] = (effect) => runtime.runPromise(effect)
  const { kube } = simulation
  const close = () => runtime.dispose()
  return {
    machine: simulation.machine,
    claims: simulation.claims,
    journal: simulation.journal,
    events: simulation.events,
    violations: simulation.violations,
    story: simulation.story,
    apply: (manifests) => run(simulation.apply(manifests)),
    addHost: (input) => run(simulation.addHost(input)),
    host: simulation.host,
    hosts: simulation.hosts.hosts,
    addCluster: (input) => run(simulation.addCluster(input)),
    addWorkers: (input) => run(simulation.addWorkers(input)),
    startProvider: async (name, more) => asyncProcess(run, await run(simulation.startProvider(name, more))),
    processes: () => simulation.processes.map((process) => asyncProcess(run, process)),
    faults: simulation.faults,
    get: (kind, name) => run(kube.get(kind, Simulation.refOf(name))),
    list: async (kind, namespace) => (await run(kube.list(kind, namespace === undefined ? {} : { namespace }))).items,
    patch: (kind, name, patch) => run(kube.patch(kind, Simulation.refOf(name), patch)),
    delete: (kind, name) => run(Effect.asVoid(kube.delete(kind, Simulation.refOf(name)))),
    isReady: (kind, name, condition) => run(simulation.isReady(kind, name, condition)),
    isGone: (kind, name) => run(simulation.isGone(kind, name)),
    areRunning: (count, namespace) => run(simulation.areRunning(count, namespace)),
    until: (what, isSo, within) =>
      run(
        simulation.until(
          what,
          Effect.promise(async () => isSo()),
          within
        )
      ),
    pass: (duration) => run(simulation.pass(duration)),
    run,
    simulation,
    close,
    [Symbol.asyncDispose]: close
  }
}
