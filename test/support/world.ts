/**
 * Owns the smallest world in which the real provider runs: an API server in memory, hosts in memory, and provider
 * processes that can crash (ports cut first, fibers dropped after). Not what happens in it: tests say that.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import type * as Machine from "../../src/domain/Machine.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import * as Provider from "../../src/provider/Provider.ts"
import { cuttableKubeClient } from "../../src/simulation/Faults.ts"
import type { HostOptions } from "../../src/simulation/hosts/SimulatedHost.ts"
import { makeSimulatedHosts } from "../../src/simulation/hosts/SimulatedHosts.ts"
import { cuttable, makeCut } from "../../src/simulation/hosts/SshFaults.ts"
import { SshClient, type SshClientShape } from "../../src/ssh/SshClient.ts"
import { apiServer, createCluster, createHost, createKey } from "./cluster.ts"

export interface Entered {
  readonly machine: string
  readonly state: Machine.State
}

export const makeWorld = Effect.gen(function* () {
  const server = yield* apiServer()
  const hosts = yield* makeSimulatedHosts()
  const kube = server.client("test")
  const entered: Array<Entered> = []
  yield* createKey(kube)
  yield* createCluster(kube)

  /** A host of pool `default`, in memory and as an object. */
  const addHost = Effect.fnUntraced(function* (index: number, options: Partial<HostOptions> = {}) {
    const address = `10.0.0.${index}`
    const host = yield* hosts.add({ address, name: `h${index}`, ...options })
    yield* createHost(kube, { name: `h${index}`, address })
    return host
  })

  /** One process of the provider. */
  const startProvider = Effect.fnUntraced(function* (
    name = "provider",
    wrap: { readonly kube?: (inner: KubeClientShape) => KubeClientShape; readonly ssh?: (inner: SshClientShape) => SshClientShape } = {}
  ) {
    const cut = makeCut()
    const scope = yield* Scope.make()
    const client = (wrap.kube ?? ((one) => one))(cuttableKubeClient(server.client(name), cut))
    const ssh = (wrap.ssh ?? ((one) => one))(cuttable(hosts.client, cut))
    const ports = Layer.merge(
      Layer.succeed(KubeClient, client),
      LiveHostRuns.layer.pipe(Layer.provide(Layer.succeed(SshClient, ssh)))
    )
    yield* Effect.forkIn(
      Provider.start({ entered: (machine, state) => entered.push({ machine, state }) }).pipe(
        Effect.andThen(Effect.never),
        // Around all of it: these ports live as long as the process does.
        Effect.provide(ports),
        Effect.scoped
      ),
      scope
    )
    return {
      crash: Effect.suspend(() => {
        cut.throwNow()
        return Scope.close(scope, Exit.void)
      }),
      stop: Scope.close(scope, Exit.void)
    }
  })

  const phases = (name: string): ReadonlyArray<string> => {
    const all = entered.filter((one) => one.machine === `default/${name}`).map((one) => one.state.phase._tag)
    return all.filter((phase, index) => phase !== all[index - 1])
  }

  return { server, kube, hosts, witness: hosts.witness, entered, phases, addHost, startProvider }
})

/** Virtual time in small steps: what wakes at one moment may sleep again before the next. Seconds. */
export const pass = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds * 4 }), () => TestClock.adjust(250), { discard: true })
