/**
 * Owns the simulated world that users embed in their tests: a management cluster with CAPI's core and stand-ins, hosts in
 * memory, the real provider in as many processes as asked for, faults, and the means to wait and to look. The public entry
 * is src/testing.ts; Async.ts is the same for those who don't write Effect. Does not own its parts (core/, hosts/, …).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type { Kind, KubeObject } from "../../api/Kind.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import type { ApiStatus } from "../apiserver/Status.ts"
import * as ManagementCluster from "../core/ManagementCluster.ts"
import { Machines } from "../core/Raw.ts"
import type { SimulatedWorkloads } from "../core/SimulatedWorkloads.ts"
import { type ManifestError, parseManifests } from "../demo/Manifests.ts"
import { faultyKubeClient } from "../Faults.ts"
import { record } from "../History.ts"
import type { HostOptions, SimulatedHost } from "../hosts/SimulatedHost.ts"
import { makeSimulatedHosts, type SimulatedHosts } from "../hosts/SimulatedHosts.ts"
import { faultySshClient } from "../hosts/SshFaults.ts"
import { type Entered, makeProcesses, type Process, type ProcessOptions } from "../Processes.ts"
import * as SimulatedApiServer from "../SimulatedApiServer.ts"
import type { Line } from "../Story.ts"
import { makeFaultSwitch, type PortFaults } from "./FaultNames.ts"
import * as Inspection from "./Inspection.ts"
import * as Objects from "./Objects.ts"
import * as Time from "./Time.ts"

export interface SimulationOptions {
  /** Whatever is drawn (faults, delays, names) repeats with it. Absent: `machinist`. */
  readonly seed?: string | number
  /** Hosts `h1`, `h2`, … of pool `default`. Absent: none. */
  readonly hosts?: number
  /** Absent: a Cluster `demo` with a hosted control plane; false: none. */
  readonly cluster?: Objects.ClusterInput | false
  /** Processes of the provider; more than one stand by for a Lease, as replicas do. Absent: 1. */
  readonly providers?: number
}

export interface HostInput extends Partial<HostOptions>, Objects.PoolHostInput {
  /** False: the host is there, and no PooledRemoteMachine names it. */
  readonly pooled?: boolean
}

/** YAML (several documents, Lists) or objects; those without a namespace go to `default`. */
export type Manifests = string | JsonObject | ReadonlyArray<JsonObject>

export interface Simulation extends Time.Time, Inspection.Inspection {
  /** As a person with kubectl: every kind, nothing goes wrong. */
  readonly kube: KubeClientShape
  /** For controllers of one's own: writes are told apart by `name`, and the faults that are set befall it. */
  readonly client: (name: string) => KubeClientShape
  /** Runs a controller of one's own until the simulation ends; its failure is a defect. */
  readonly startController: <E>(name: string, controller: Effect.Effect<unknown, E, KubeClient>) => Effect.Effect<void>
  readonly server: SimulatedApiServer.SimulatedApiServerShape
  readonly workloads: SimulatedWorkloads
  readonly hosts: SimulatedHosts
  readonly apply: (manifests: Manifests) => Effect.Effect<void, ApiStatus | ManifestError>
  /** A host in memory, and its PooledRemoteMachine with a key that works. Absent: the next name and address. */
  readonly addHost: (input?: HostInput) => Effect.Effect<SimulatedHost, ApiStatus>
  /** Throws when there is none of that name. */
  readonly host: (name: string) => SimulatedHost
  readonly addCluster: (input?: Objects.ClusterInput) => Effect.Effect<void, ApiStatus>
  /** A MachineDeployment of k0s workers on a pool, with its templates. */
  readonly addWorkers: (input?: Objects.WorkersInput) => Effect.Effect<void, ApiStatus>
  readonly startProvider: (name?: string, options?: ProcessOptions) => Effect.Effect<Process>
  /** Every process of the provider that ever was, oldest first. */
  readonly processes: ReadonlyArray<Process>
  /** From now on, between everybody but you and the world; replaces what was set before. */
  readonly faults: (faults: PortFaults) => void
  /** A line of one's own for the story. */
  readonly say: (text: string) => Effect.Effect<void>
  /** Whether the object's condition (`Ready`) is True; false when there is no such object. */
  readonly isReady: <A extends KubeObject>(
    kind: Kind<A>,
    name: string,
    condition?: string
  ) => Effect.Effect<boolean, KubeError>
  readonly isGone: <A extends KubeObject>(kind: Kind<A>, name: string) => Effect.Effect<boolean, KubeError>
  /** Whether there are `count` Machines (of `namespace`), and all have their Node. */
  readonly areRunning: (count: number, namespace?: string) => Effect.Effect<boolean, KubeError>
}

/** `name` of namespace default, or `namespace/name`. */
export const refOf = (name: string) => {
  const slash = name.indexOf("/")
  return slash < 0
    ? { namespace: Objects.DEFAULT_NAMESPACE, name }
    : { namespace: name.slice(0, slash), name: name.slice(slash + 1) }
}

/** 10.x.y.z, for any number of hosts. */
const addressOf = (index: number): string => `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`

const conditionIn = (object: KubeObject, type: string): boolean =>
  "status" in object && conditionsOf(object.status).some((one) => one.type === type && one.status === "True")

const conditionsOf = (status: unknown): ReadonlyArray<{ readonly type?: unknown; readonly status?: unknown }> =>
  typeof status === "object" && status !== null && "conditions" in status && Array.isArray(status.conditions)
    ? status.conditions
    : []

/** The questions most tests wait for. */
const questions = (kube: KubeClientShape) => {
  const found = <A extends KubeObject>(kind: Kind<A>, name: string) =>
    kube.get(kind, refOf(name)).pipe(
      Effect.map((object): A | undefined => object),
      Effect.catchIf(
        (error) => error.reason === "NotFound",
        () => Effect.succeed(undefined)
      )
    )
  const isReady: Simulation["isReady"] = (kind, name, condition = "Ready") =>
    Effect.map(found(kind, name), (object) => object !== undefined && conditionIn(object, condition))
  const isGone: Simulation["isGone"] = (kind, name) => Effect.map(found(kind, name), (object) => object === undefined)
  const areRunning: Simulation["areRunning"] = (count, namespace) =>
    Effect.map(
      kube.list(Machines, namespace === undefined ? {} : { namespace }),
      ({ items }) => items.length === count && items.every((one) => one.status?.["phase"] === "Running")
    )
  return { isReady, isGone, areRunning }
}

/** Applies; every host's namespace gets its key once. */
const objectsOf = (
  server: SimulatedApiServer.SimulatedApiServerShape,
  hosts: SimulatedHosts,
  k0s: HostOptions["k0s"]
) => {
  const keyed = new Set<string>()
  let numbered = 0
  const applyAll = (objects: ReadonlyArray<JsonObject>) => Effect.forEach(objects, server.apply, { discard: true })
  const apply: Simulation["apply"] = (manifests) =>
    typeof manifests === "string"
      ? Effect.fromResult(parseManifests(manifests, "manifests")).pipe(
          Effect.flatMap((all) => applyAll(all.map(({ object }) => object)))
        )
      : applyAll(Array.isArray(manifests) ? manifests : [manifests])
  const addHost: Simulation["addHost"] = Effect.fnUntraced(function* (input = {}) {
    numbered += 1
    const { annotations, labels, machine, namespace = Objects.DEFAULT_NAMESPACE, pool, pooled, ...options } = input
    const name = options.name ?? `h${numbered}`
    const address = options.address ?? addressOf(numbered)
    const host = yield* hosts.add({ ...(k0s === undefined ? {} : { k0s }), ...options, name, address })
    if (!keyed.has(namespace)) yield* server.apply(Objects.keySecret(namespace))
    keyed.add(namespace)
    if (pooled !== false)
      yield* server.apply(
        Objects.poolHost(name, address, host.port, {
          namespace,
          ...(pool === undefined ? {} : { pool }),
          ...(labels === undefined ? {} : { labels }),
          ...(annotations === undefined ? {} : { annotations }),
          ...(machine === undefined ? {} : { machine })
        })
      )
    return host
  })
  return {
    apply,
    addHost,
    addCluster: (input: Objects.ClusterInput = {}) => applyAll(Objects.cluster(input)),
    addWorkers: (input: Objects.WorkersInput = {}) => applyAll(Objects.workers(input))
  }
}

const build = Effect.fnUntraced(function* (
  options: SimulationOptions
): Effect.fn.Return<Simulation, ApiStatus | KubeError, Scope.Scope> {
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const server = yield* SimulatedApiServer.make()
  const hosts = yield* makeSimulatedHosts()
  const history = record(server.store, () => clock.currentTimeMillisUnsafe())
  const entered: Array<Entered> = []
  const told: Array<Line> = []
  const faults = makeFaultSwitch()
  const { workloads } = yield* ManagementCluster.makeSeeded({ client: server.client, hosts })

  const client = (name: string) => faultyKubeClient(server.client(name), faults.kube)
  const processes = yield* makeProcesses({
    client,
    ssh: faultySshClient(hosts.client, faults.ssh),
    workloads: workloads.clusters,
    entered: (one) => entered.push(one)
  })
  const startProvider: Simulation["startProvider"] = (name = `provider-${processes.all.length + 1}`, more = {}) =>
    processes.start(name, more)

  const inspection = Inspection.inspect({
    server,
    witness: hosts.witness,
    history,
    entered,
    processes: processes.all,
    told
  })
  const time = yield* Time.make(inspection.story)
  const kube = server.client("user")
  const objects = objectsOf(server, hosts, workloads.k0s)

  if (options.cluster !== false) yield* objects.addCluster(options.cluster ?? {})
  for (let index = 0; index < (options.hosts ?? 0); index++) yield* objects.addHost()
  const providers = options.providers ?? 1
  const replica = providers > 1 ? { leaseNamespace: Objects.DEFAULT_NAMESPACE } : {}
  for (let index = 0; index < providers; index++) yield* startProvider(undefined, replica)

  return {
    ...time,
    ...inspection,
    ...objects,
    ...questions(kube),
    kube,
    client,
    startController: (name, controller) =>
      controller.pipe(
        Effect.provideService(KubeClient, client(name)),
        Effect.orDie,
        Effect.forkIn(scope),
        Effect.asVoid
      ),
    server,
    workloads,
    hosts,
    host: (name) => {
      const found = hosts.hosts().find((one) => one.name === name)
      if (found === undefined)
        throw new Error(
          `no simulated host ${name}; there are ${hosts
            .hosts()
            .map((one) => one.name)
            .join(", ")}`
        )
      return found
    },
    startProvider,
    processes: processes.all,
    faults: faults.set,
    say: (text) => Effect.map(Clock.currentTimeMillis, (at) => void told.push({ at, text }))
  }
})

/** All of it ends with the scope. Under a TestClock time is virtual. */
export const make = (options: SimulationOptions = {}): Effect.Effect<Simulation, ApiStatus | KubeError, Scope.Scope> =>
  build(options).pipe(Random.withSeed(options.seed ?? "machinist"))
