/**
 * Holds the YAML of the specification's pages to what it promises, unchanged but for addresses: on a real API server with
 * CAPI's own core (which converts it), installed by clusterctl, on sshd hosts, with the provider killed meanwhile. AWSMachines
 * and K0sControlPlanes are others' kinds: their examples run in simulations.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { objectAt, stringAt } from "../../../src/simulation/apiserver/Json.ts"
import { groupOf, rawKind } from "../../../src/simulation/core/Raw.ts"
import * as Examples from "../../../src/simulation/demo/Examples.ts"
import { hostsOf, type Manifest, place, type Stead } from "../../../src/simulation/demo/Manifests.ts"
import * as CoreWorld from "../../conformance/core/World.ts"
import { available } from "../apiserver/ApiServer.ts"
import { standInDirectory } from "../hosts/internal/BaseLayer.ts"
import * as TestHosts from "../hosts/TestHosts.ts"
import * as Fleet from "./Fleet.ts"
import * as Management from "./Management.ts"
import * as Manager from "./Manager.ts"

const SEED = Number(process.env["SEED"] ?? "1")
/** Replicas of the pooled workers, each on a host of the pool. */
const POOLED = 2
const KILLS = 16
const LEAST_KILLS = 10
/** Milliseconds; a tenth of it where the machine has nothing else to do. */
const TIMEOUT = 1_200_000

const OTHERS = new Set(["AWSMachine", "AWSMachineTemplate", "K0sControlPlane"])
const isOurs = ({ manifests }: Examples.Example): boolean =>
  !manifests.some(({ object }) => OTHERS.has(stringAt(object, "kind") ?? ""))

/** Free hosts, handed out one by one. */
interface Farm {
  readonly take: () => TestHosts.TestHost
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
  const machines = manifests.filter(({ object }) => stringAt(object, "kind") === "Machine").length + pool.length
  return {
    namespace,
    keys,
    machines,
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

const clusterOf = (manifests: ReadonlyArray<Manifest>): string =>
  manifests
    .filter(({ object }) => stringAt(object, "kind") === "Cluster")
    .map(({ object }) => stringAt(object, "metadata", "name"))[0] ?? ""

const untilRunning = (namespace: string, machines: number) =>
  CoreWorld.eventually(`${machines} Machines of ${namespace} run`, CoreWorld.Machines, namespace, (all) =>
    all.length === machines && all.every((one) => one.status?.["phase"] === "Running") ? true : undefined
  )

const isClean = (host: TestHosts.TestHost) =>
  TestHosts.execOk(host, readFileSync(join(standInDirectory, "residue"), "utf8"))

describe.skipIf(!available || !Manager.available || TestHosts.unavailable !== undefined)(
  "the specification's YAML",
  () => {
    it.live(
      "runs on CAPI's own core and real hosts, and leaves them clean",
      () =>
        Effect.gen(function* () {
          const all = Result.getOrThrow(Examples.examples()).filter(isOurs)
          assert.isAtLeast(all.length, 9)
          const named = all.flatMap(({ manifests }) => hostsOf(manifests))
          const hosts = yield* TestHosts.light(named.length + POOLED, { join: true, pretend: true })
          const free = [...hosts]
          const farm: Farm = {
            take: () => {
              const host = free.pop()
              if (host === undefined) throw new Error("there are fewer hosts than the examples name")
              return host
            }
          }
          const management = yield* Management.start
          const { kube } = management
          const clusters = yield* workloadClusters(all)
          yield* Management.startStandIns(kube)
          const eyes = yield* Fleet.watch(kube)
          const lives = yield* Management.startProvider(management, "")
          const killer = yield* Fleet.killAtRandom(lives, eyes, SEED)
          killer.allow(KILLS)

          yield* Effect.gen(function* () {
            const applied: Array<{ readonly namespace: string; readonly cluster: string; readonly machines: number }> =
              []
            for (const { namespaces, workload } of clusters)
              for (const example of all.filter(({ name }) => namespaces.has(name))) {
                const { keys, machines, manifests, namespace } = placed(example, farm)
                const cluster = clusterOf(manifests)
                yield* Fleet.prepareNamespace(kube, workload, namespace, cluster, keys)
                yield* Effect.forEach(manifests, apply, { discard: true })
                applied.push({ namespace, cluster, machines })
              }
            for (const { machines, namespace } of applied) yield* untilRunning(namespace, machines)
            for (const { cluster, namespace } of applied)
              yield* CoreWorld.remove(CoreWorld.Clusters, yield* CoreWorld.get(CoreWorld.Clusters, namespace, cluster))
            for (const { cluster, namespace } of applied)
              yield* CoreWorld.untilGone(CoreWorld.Clusters, namespace, cluster)
          }).pipe(Effect.provideService(CoreWorld.World, { kube, workload: Effect.die("each has its own") }))

          const left = yield* Effect.forEach(hosts, isClean)
          assert.deepStrictEqual(
            left.filter((one) => one !== ""),
            []
          )
          for (const { workload } of clusters) assert.deepStrictEqual(yield* Fleet.tokens(workload), [])
          assert.deepStrictEqual([eyes.doubleClaims(), lives.died(), lives.refusals()], [[], [], []])
          yield* Fleet.assertWitnesses(hosts)
          assert.isAtLeast(lives.killed(), LEAST_KILLS)
        }).pipe(Effect.scoped),
      TIMEOUT
    )
  }
)
