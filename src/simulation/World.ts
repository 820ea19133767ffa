/**
 * Owns the smallest world in which the real provider runs: an API server in memory, hosts in memory, and provider
 * processes that can crash (ports cut first, fibers dropped after). Not what happens in it: tests, seeds and stories
 * say that; nor the judgement (Checkers.ts).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import {
  apiServer,
  CLUSTER,
  createCluster,
  createHost,
  createKey,
  type HostInput,
  NAMESPACE
} from "./ClusterObjects.ts"
import * as ManagementCluster from "./core/ManagementCluster.ts"
import { type History, record } from "./History.ts"
import type { HostOptions } from "./hosts/SimulatedHost.ts"
import { makeSimulatedHosts, type SimulatedHosts } from "./hosts/SimulatedHosts.ts"
import { type Entered, makeProcesses, phasesOf, type Wrap } from "./Processes.ts"
import * as SimulatedApiServer from "./SimulatedApiServer.ts"
import { noWorkloadClusters } from "./Surroundings.ts"
import { cluster } from "./testing/Objects.ts"

export interface WorldOptions {
  /** Another management cluster (`clusterctl move`) shares hosts with the first: hand them over. */
  readonly hosts?: SimulatedHosts
  /** CAPI's core, stand-ins and workload clusters are at work; absent: objects stay as tests write them. */
  readonly core?: boolean
}

/** Core and stand-ins over the same server; they see no faults, which are the provider's. */
const startCore = Effect.fnUntraced(function* (
  server: SimulatedApiServer.SimulatedApiServerShape,
  hosts: SimulatedHosts
) {
  const { workloads } = yield* Effect.orDie(ManagementCluster.makeSeeded({ client: server.client, hosts }))
  for (const object of cluster({ name: CLUSTER })) yield* Effect.orDie(server.apply(object))
  return workloads
})

export const makeWorld = (options: WorldOptions = {}) =>
  Effect.gen(function* () {
    const server = yield* options.core === true ? SimulatedApiServer.make() : apiServer()
    const network = options.hosts ?? (yield* makeSimulatedHosts())
    const kube = server.client("user")
    const clock = yield* Clock.Clock
    const history: History = record(server.store, () => clock.currentTimeMillisUnsafe())
    const entered: Array<Entered> = []
    const workloads = options.core === true ? yield* startCore(server, network) : undefined
    const processes = yield* makeProcesses({
      client: server.client,
      ssh: network.client,
      workloads: workloads?.clusters ?? noWorkloadClusters,
      entered: (one) => entered.push(one)
    })
    yield* createKey(kube)
    if (workloads === undefined) yield* createCluster(kube)

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
    const startProvider = (name = "provider", wrap: Wrap = {}) => processes.start(name, { wrap })

    /** Phases that a machine's actors entered, repetitions left out. */
    const phases = (name: string): ReadonlyArray<string> => phasesOf(entered, `${NAMESPACE}/${name}`)

    return {
      server,
      kube,
      hosts: network,
      witness: network.witness,
      history,
      entered,
      processes: processes.all,
      phases,
      /** Undefined without core. */
      workloads,
      addHost,
      startProvider
    }
  })

export type World = Effect.Success<ReturnType<typeof makeWorld>>
