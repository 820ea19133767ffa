/**
 * Holds the YAML of the specification's pages to what it promises, unchanged but for addresses: on a real API server with
 * CAPI's own core (which converts it), installed by clusterctl, on sshd hosts, with the provider killed meanwhile. What is
 * neither CAPI's nor ours is played by the simulation's stand-ins over that API server: control planes, whose API servers
 * are real ones, too, and AWS, whose instances are in memory and run the real user data.
 *
 * Not so real: k0s is a stand-in, so a K0sControlPlane's API server runs beside its controller, from before that starts; and
 * whoever has no real kubelet (instances, controllers) is let in by K0sAdmission.ts, by what that API server holds.
 */
import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Names from "../../../src/api/Names.ts"
import { jsonAt, objectAt, stringAt } from "../../../src/simulation/apiserver/Json.ts"
import { groupOf, rawKind } from "../../../src/simulation/core/Raw.ts"
import * as Examples from "../../../src/simulation/demo/Examples.ts"
import { hostsOf, type Manifest, place, type Stead } from "../../../src/simulation/demo/Manifests.ts"
import type { SimulatedHosts } from "../../../src/simulation/hosts/SimulatedHosts.ts"
import { serveMailbox } from "../../../src/simulation/shellhosts/Mailbox.ts"
import { stepsRunTwice } from "../../../src/simulation/Witness.ts"
import * as CoreWorld from "../../conformance/core/World.ts"
import { available } from "../apiserver/ApiServer.ts"
import { temporaryDirectory } from "../apiserver/Processes.ts"
import { standInDirectory } from "../hosts/internal/BaseLayer.ts"
import * as TestHosts from "../hosts/TestHosts.ts"
import * as Fleet from "./Fleet.ts"
import * as Management from "./Management.ts"
import * as Manager from "./Manager.ts"
import type { Workloads } from "./Workloads.ts"

const SEED = Number(process.env["SEED"] ?? "1")
/** Replicas of the pooled workers, each on a host of the pool. */
const POOLED = 2
const KILLS = 16
const LEAST_KILLS = 10
/** Milliseconds; a tenth of it where the machine has nothing else to do. */
const TIMEOUT = 1_200_000

const countOf = ({ manifests }: Examples.Example, kind: string): number =>
  manifests.filter(({ object }) => stringAt(object, "kind") === kind).length

/** Controllers that run no workloads have no Node, and their Machines are never Running. */
const hasControllers = (example: Examples.Example): boolean => countOf(example, "K0sControlPlane") > 0

/** Where hosts can only join clusters that stand-ins opened: these get an API server each. */
const isOpened = (example: Examples.Example): boolean => hasControllers(example) || countOf(example, "AWSCluster") > 0

/** Free hosts, handed out one by one. */
interface Farm {
  readonly take: () => TestHosts.TestHost
}

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((one, other) => one + other, 0)

/** How many Machines there will be, by the phase in which they stay. */
const phasesOf = (manifests: ReadonlyArray<Manifest>): Readonly<Record<string, number>> => {
  const of = (kind: string) => manifests.filter(({ object }) => stringAt(object, "kind") === kind)
  const replicas = (kind: string) => sum(of(kind).map(({ object }) => Number(jsonAt(object, ["spec", "replicas"]))))
  const phases = {
    Running: of("Machine").length + replicas("MachineDeployment"),
    Provisioned: replicas("K0sControlPlane")
  }
  return Object.fromEntries(Object.entries(phases).filter(([, count]) => count > 0))
}

/** In a namespace of its name, with a host of ours for each that it names or that its pool shall have. */
const placed = (example: Examples.Example, farm: Farm) => {
  const namespace = example.name
  const keys: Record<string, string> = {}
  const steads = new Map<string, Stead>()
  for (const { address, key, user } of hostsOf(example.manifests)) {
    if (steads.has(address)) continue
    const host = farm.take()
    const account = user === "root" ? {} : { user: "machinist", useSudo: true }
    steads.set(address, { address: host.address, port: host.port, ...account })
    if (key !== undefined) keys[key] = host.privateKey
  }
  const pool = namespace === Examples.POOLED ? Array.from({ length: POOLED }, farm.take) : []
  for (const { privateKey } of pool) keys[Examples.POOL_KEY] = privateKey
  const addresses = pool.map(({ address, port }) => ({ address, port }))
  const { manifests } = pool.length === 0 ? example : Examples.scaled(example, addresses)
  return {
    namespace,
    cluster: nameOf(manifests, "Cluster"),
    keys,
    phases: phasesOf(manifests),
    manifests: manifests.map((one) => place(one, { namespace, address: ({ address }) => steads.get(address) }))
  }
}

const machineNames = ({ manifests }: Examples.Example): ReadonlyArray<string> =>
  manifests
    .filter(({ object }) => stringAt(object, "kind") === "Machine")
    .map(({ object }) => stringAt(object, "metadata", "name") ?? "")

/** As few as will do: several examples have Machines of one name, whose Nodes can't be in one cluster. */
const workloadClusters = Effect.fnUntraced(function* (all: ReadonlyArray<Examples.Example>) {
  const groups: Array<{ readonly namespaces: Set<string>; readonly machines: Set<string> }> = []
  for (const example of all) {
    const names = machineNames(example)
    const fitting = groups.find(({ machines }) => !names.some((name) => machines.has(name)))
    const group = fitting ?? { namespaces: new Set<string>(), machines: new Set<string>() }
    if (fitting === undefined) groups.push(group)
    group.namespaces.add(example.name)
    for (const name of names) group.machines.add(name)
  }
  return yield* Effect.forEach(
    groups,
    ({ namespaces }) => Effect.map(Fleet.startWorkload, (workload) => ({ workload, namespaces })),
    { concurrency: "unbounded" }
  )
})

/** Not how it is applied here: the server answers in the version it was written in. */
const apply = ({ object }: Manifest) =>
  Effect.flatMap(CoreWorld.World, ({ kube }) => {
    const apiVersion = stringAt(object, "apiVersion") ?? ""
    const kind = stringAt(object, "kind") ?? ""
    const { metadata: _, ...rest } = object
    const described = rawKind({
      group: groupOf(apiVersion),
      kind,
      plural: `${kind.toLowerCase()}s`,
      versions: [apiVersion.slice(apiVersion.indexOf("/") + 1)]
    })
    return kube.create(described, { ...rest, metadata: objectAt(object, "metadata") })
  })

const nameOf = (manifests: ReadonlyArray<Manifest>, kind: string): string =>
  manifests
    .filter(({ object }) => stringAt(object, "kind") === kind)
    .map(({ object }) => stringAt(object, "metadata", "name"))[0] ?? ""

type Placed = Pick<ReturnType<typeof placed>, "cluster" | "namespace" | "phases">

const untilItRuns = Effect.fnUntraced(function* ({ cluster, namespace, phases }: Placed) {
  const wanted = JSON.stringify(phases)
  yield* CoreWorld.eventually(`Machines of ${namespace}: ${wanted}`, CoreWorld.Machines, namespace, (all) => {
    const there = all.map((one) => stringAt(one.status, "phase") ?? "")
    const expected = Object.entries(phases).every(
      ([phase, count]) => there.filter((one) => one === phase).length === count
    )
    return expected && there.length === sum(Object.values(phases)) ? true : undefined
  })
  yield* CoreWorld.until(
    "available",
    CoreWorld.Clusters,
    namespace,
    cluster,
    (one) => CoreWorld.conditionOf(one, "Available")?.["status"] === "True"
  )
})

const Tokens = rawKind({ group: "", kind: "Secret", plural: "secrets", versions: ["v1"] })
const ControllerConfigs = rawKind({
  group: "bootstrap.cluster.x-k8s.io",
  kind: "K0sControllerConfig",
  plural: "k0scontrollerconfigs",
  versions: ["v1beta1"]
})

/** Its controllers are seen in it, and its tokens are revoked once everyone has joined: it goes with its Cluster. */
const whileOpened = Effect.fnUntraced(function* (workloads: Workloads, { cluster, namespace, phases }: Placed) {
  const server = workloads.server({ namespace, name: cluster })
  if (server === undefined) return
  const controllers = phases["Provisioned"] ?? 0
  yield* CoreWorld.eventually(`${controllers} controllers have joined`, ControllerConfigs, namespace, (all) => {
    const joined = all.filter(({ metadata }) => metadata.annotations?.[Names.JOINED_ANNOTATION] === "true")
    return joined.length === controllers && all.length === controllers ? true : undefined
  })
  yield* CoreWorld.eventually(`no token of ${namespace} is left`, Tokens, "kube-system", (all) =>
    all.some(({ metadata }) => metadata.name.startsWith("bootstrap-token-")) ? undefined : true
  ).pipe(Effect.provideService(CoreWorld.World, { kube: server.kubeClient, workload: Effect.die("this is it") }))
})

const goneWithIt = Effect.fnUntraced(function* (applied: ReadonlyArray<Placed>) {
  for (const { cluster, namespace } of applied)
    yield* CoreWorld.remove(CoreWorld.Clusters, yield* CoreWorld.get(CoreWorld.Clusters, namespace, cluster))
  for (const { cluster, namespace } of applied) yield* CoreWorld.untilGone(CoreWorld.Clusters, namespace, cluster)
})

const takingFrom = (hosts: ReadonlyArray<TestHosts.TestHost>): Farm => {
  const free = [...hosts]
  return {
    take: () => {
      const host = free.pop()
      if (host === undefined) throw new Error("there are fewer hosts than the examples name")
      return host
    }
  }
}

/** Controllers say in a mailbox that they start: their cluster answers from then on. */
const makeHosts = Effect.fnUntraced(function* (all: ReadonlyArray<Examples.Example>) {
  const named = (examples: ReadonlyArray<Examples.Example>) =>
    sum(examples.map(({ manifests }) => hostsOf(manifests).length))
  const mailbox = join(yield* temporaryDirectory, "mailbox")
  mkdirSync(mailbox)
  const [controllers, others] = [all.filter(hasControllers), all.filter((one) => !hasControllers(one))]
  const options = { join: true, pretend: true }
  const workers = yield* TestHosts.light(named(others) + POOLED, options)
  const ofControlPlanes = yield* TestHosts.light(named(controllers), { ...options, mailbox })
  return { workers, ofControlPlanes, mailbox }
})

const isClean = (host: TestHosts.TestHost) =>
  TestHosts.execOk(host, readFileSync(join(standInDirectory, "residue"), "utf8"))

/** What a controller's life leaves in the witness of one of these hosts, in this order. */
const CONTROLLER = ["k0s-install-controller", "k0s-controller", "k0s-etcd-leave", "k0s-controller-end", "k0s-reset"]

const assertControllers = Effect.fnUntraced(function* (hosts: ReadonlyArray<TestHosts.TestHost>) {
  const told = (yield* Effect.forEach(hosts, TestHosts.witness)).flat().map(({ what }) => what)
  assert.deepStrictEqual(
    told.filter((what) => CONTROLLER.includes(what)),
    CONTROLLER
  )
})

/** Those of one Machine and of a MachineDeployment of two, which are no more. */
const assertInstances = (hosts: SimulatedHosts) => {
  const areOn = hosts.hosts().map((host) => host.kernel.poweredOn())
  assert.deepStrictEqual(areOn, [false, false, false])
  assert.deepStrictEqual([hosts.defects(), stepsRunTwice(hosts.witness.entries())], [[], []])
}

describe.skipIf(!available || !Manager.available || TestHosts.unavailable !== undefined)(
  "the specification's YAML",
  () => {
    it.live(
      "runs on CAPI's own core and real hosts, and leaves them clean",
      () =>
        Effect.gen(function* () {
          const all = Result.getOrThrow(Examples.examples())
          const { mailbox, ofControlPlanes, workers } = yield* makeHosts(all)
          const hosts = [...workers, ...ofControlPlanes]
          const farms = { workers: takingFrom(workers), ofControlPlanes: takingFrom(ofControlPlanes) }
          const management = yield* Management.start
          const { kube } = management
          const clusters = yield* workloadClusters(all.filter((example) => !isOpened(example)))
          const { awsHosts, workloads } = yield* Management.startStandIns(kube)
          yield* serveMailbox(mailbox, workloads.k0s)
          const eyes = yield* Fleet.watch(kube)
          const lives = yield* Management.startProvider(management, "")
          const killer = yield* Fleet.killAtRandom(lives, eyes, SEED)
          killer.allow(KILLS)

          yield* Effect.gen(function* () {
            const applied: Array<Placed> = []
            for (const example of all) {
              const one = placed(example, hasControllers(example) ? farms.ofControlPlanes : farms.workers)
              const given = clusters.find(({ namespaces }) => namespaces.has(example.name))?.workload
              yield* Fleet.prepareNamespace(kube, given, one.namespace, one.cluster, one.keys)
              yield* Effect.forEach(one.manifests, apply, { discard: true })
              applied.push(one)
            }
            yield* Effect.forEach(applied, untilItRuns, { discard: true })
            yield* Effect.forEach(applied, (one) => whileOpened(workloads, one), { discard: true })
            yield* goneWithIt(applied)
          }).pipe(Effect.provideService(CoreWorld.World, { kube, workload: Effect.die("each has its own") }))

          const left = yield* Effect.forEach(hosts, isClean)
          assert.deepStrictEqual(
            left.filter((one) => one !== ""),
            []
          )
          for (const { workload } of clusters) assert.deepStrictEqual(yield* Fleet.tokens(workload), [])
          assert.deepStrictEqual([eyes.doubleClaims(), lives.died(), lives.refusals()], [[], [], []])
          yield* Fleet.assertWitnesses(hosts)
          assert.deepStrictEqual(workloads.refusals(), [])
          yield* assertControllers(ofControlPlanes)
          assertInstances(awsHosts)
          assert.isAtLeast(lives.killed(), LEAST_KILLS)
        }).pipe(Effect.scoped),
      TIMEOUT
    )
  }
)
