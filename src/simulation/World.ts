/**
 * Owns the smallest world in which the real provider runs: an API server in memory, hosts in memory, and provider
 * processes that can crash (ports cut first, fibers dropped after). Not what happens in it: tests, seeds and stories
 * say that; nor the judgement (Checkers.ts).
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type * as Machine from "../domain/Machine.ts"
import { HostRuns, type HostRunsShape } from "../hosts/HostRuns.ts"
import * as LiveHostRuns from "../hosts/LiveHostRuns.ts"
import { KubeClient, type KubeClientShape } from "../kube/KubeClient.ts"
import * as Provider from "../provider/Provider.ts"
import { SshClient, type SshClientShape } from "../ssh/SshClient.ts"
import { apiServer, createCluster, createHost, createKey, type HostInput } from "./ClusterObjects.ts"
import { cuttableKubeClient } from "./Faults.ts"
import { type History, record } from "./History.ts"
import type { HostOptions } from "./hosts/SimulatedHost.ts"
import { makeSimulatedHosts } from "./hosts/SimulatedHosts.ts"
import { cuttable, makeCut } from "./hosts/SshFaults.ts"
import type { SimulatedApiServerShape } from "./SimulatedApiServer.ts"
import { noWorkloadClusters, seededSecureRandom } from "./Surroundings.ts"

/** A state that some process's actor entered. */
export interface Entered {
  readonly at: number
  readonly process: string
  /** `namespace/name`. */
  readonly machine: string
  readonly state: Machine.State
}

/** What stands between a provider process and the world: faults, counters, deliberate mistakes. */
export interface Wrap {
  readonly kube?: (inner: KubeClientShape) => KubeClientShape
  readonly ssh?: (inner: SshClientShape) => SshClientShape
  readonly hosts?: (inner: HostRunsShape) => HostRunsShape
}

export interface Process {
  readonly name: string
  /** Ports first, then fibers: nothing that runs on its way down reaches the world. */
  readonly crash: Effect.Effect<void>
  /** An orderly end: finalizers reach the world. */
  readonly stop: Effect.Effect<void>
  /** Why it ended by itself, which it must never do. */
  readonly died: () => string | undefined
}

const same = <A>(one: A): A => one

/** Another management cluster (`clusterctl move`) shares hosts with the first: hand `hosts` over. */
export const makeWorld = (hosts?: Effect.Success<ReturnType<typeof makeSimulatedHosts>>) =>
  Effect.gen(function* () {
    const server = yield* apiServer()
    const network = hosts ?? (yield* makeSimulatedHosts())
    const kube = server.client("user")
    const clock = yield* Clock.Clock
    const worldScope = yield* Effect.scope
    const history: History = record(server.store, () => clock.currentTimeMillisUnsafe())
    const entered: Array<Entered> = []
    const processes: Array<Process> = []
    yield* createKey(kube)
    yield* createCluster(kube)

    /** A host of pool `default`, in memory and as an object. */
    const addHost = Effect.fnUntraced(function* (
      index: number,
      options: Partial<HostOptions> = {},
      object: Partial<HostInput> = {}
    ) {
      const address = `10.0.0.${index}`
      const host = yield* network.add({ address, name: `h${index}`, ...options })
      yield* createHost(kube, { name: `h${index}`, address, ...object })
      return host
    })

    /** One process of the provider. */
    const startProvider = Effect.fnUntraced(function* (name = "provider", wrap: Wrap = {}) {
      const cut = makeCut()
      const scope = yield* Scope.make()
      const client = (wrap.kube ?? same)(cuttableKubeClient(server.client(name), cut))
      const ssh = (wrap.ssh ?? same)(cuttable(network.client, cut))
      const runs = Layer.effect(HostRuns, Effect.map(HostRuns, wrap.hosts ?? same)).pipe(
        Layer.provide(LiveHostRuns.layer.pipe(Layer.provide(Layer.succeed(SshClient, ssh))))
      )
      const ports = Layer.mergeAll(Layer.succeed(KubeClient, client), runs, noWorkloadClusters, seededSecureRandom)
      let died: string | undefined
      let ending = false
      yield* Provider.start({
        entered: (machine, state) =>
          entered.push({ at: clock.currentTimeMillisUnsafe(), process: name, machine, state })
      }).pipe(
        Effect.andThen(Effect.never),
        // Around all of it: these ports live as long as the process does.
        Effect.provide(ports),
        Effect.scoped,
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (!ending) died = Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it ended"
          })
        ),
        Effect.forkIn(scope)
      )
      /** Not waited for: a finalizer may sleep, and only the caller can let virtual time pass. */
      const end = (before: () => void) =>
        Effect.suspend(() => {
          ending = true
          before()
          return Effect.asVoid(Effect.forkIn(Scope.close(scope, Exit.void), worldScope))
        })
      const process: Process = { name, crash: end(cut.throwNow), stop: end(() => undefined), died: () => died }
      processes.push(process)
      return process
    })

    /** Phases that a machine's actors entered, repetitions left out. */
    const phases = (name: string): ReadonlyArray<string> => {
      const all = entered.filter((one) => one.machine === `default/${name}`).map((one) => one.state.phase._tag)
      return all.filter((phase, index) => phase !== all[index - 1])
    }

    return {
      server,
      kube,
      hosts: network,
      witness: network.witness,
      history,
      entered,
      processes,
      phases,
      addHost,
      startProvider
    }
  })

export type World = Effect.Success<ReturnType<typeof makeWorld>>
export type { SimulatedApiServerShape }
