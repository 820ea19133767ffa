/**
 * Holds the Nodes of workload clusters (CONTRACT section 3, "Nodes") over the whole provider: providerID by one watch a
 * cluster, only while a Machine waits for its Node; a host's former tenant removed before the new one registers; and a
 * cluster that does not answer delays no other, neither its Nodes nor its tokens.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Events, Nodes } from "../src/api/Core.ts"
import { K0sWorkerConfigs } from "../src/api/K0sConfigs.ts"
import type { Kind, KubeObject } from "../src/api/Kind.ts"
import type { KubeClientShape } from "../src/kube/KubeClient.ts"
import { KubeError } from "../src/kube/KubeError.ts"
import { WorkloadClusters } from "../src/kube/WorkloadClusters.ts"
import { stringAt } from "../src/simulation/apiserver/Json.ts"
import { Clusters, MachineDeployments, Machines } from "../src/simulation/core/Raw.ts"
import { seededSecureRandom } from "../src/simulation/Surroundings.ts"
import { makeSimulation } from "../src/testing.ts"
import { eventually, makeWorld, type World } from "./simulation/core/Examples.ts"

type Wrap = (cluster: string, client: KubeClientShape) => KubeClientShape

/** Told apart by the namespace of their Cluster, which is the example's name. */
const wrapped = (wrap: Wrap) => (inner: Layer.Layer<WorkloadClusters>) =>
  Layer.effect(
    WorkloadClusters,
    Effect.map(WorkloadClusters, (clusters) => ({
      answers: clusters.answers,
      client: (cluster, kubeconfig) =>
        Effect.map(clusters.client(cluster, kubeconfig), (client) => wrap(cluster.namespace, client))
    }))
  ).pipe(Layer.provide(inner))

const isNodes = (kind: Kind<KubeObject>): boolean => kind.kind === "Node"

/** How many watches on Nodes there were in all, are now, and were at most at one time; by cluster. */
const counting = () => {
  const counts = new Map<string, { made: number; open: number; most: number }>()
  const of = (cluster: string) => {
    const known = counts.get(cluster) ?? { made: 0, open: 0, most: 0 }
    counts.set(cluster, known)
    return known
  }
  const wrap: Wrap = (cluster, client) => ({
    ...client,
    watch: (kind, options) =>
      isNodes(kind)
        ? Stream.unwrap(
            Effect.as(
              Effect.acquireRelease(
                Effect.sync(() => {
                  const count = of(cluster)
                  count.made += 1
                  count.open += 1
                  count.most = Math.max(count.most, count.open)
                }),
                () =>
                  Effect.sync(() => {
                    of(cluster).open -= 1
                  })
              ),
              client.watch(kind, options)
            )
          )
        : client.watch(kind, options)
  })
  return { of, wrap }
}

const running = (world: World, namespace: string, count: number) =>
  Effect.map(
    world.kube.list(Machines, { namespace }),
    ({ items }) => items.length === count && items.every(({ status }) => stringAt(status, "phase") === "Running")
  )

const replicas = Effect.fnUntraced(function* (world: World, count: number) {
  const namespace = "pooled-workers"
  const { items } = yield* world.kube.list(MachineDeployments, { namespace })
  for (const { metadata } of items)
    yield* world.kube.patch(MachineDeployments, { namespace, name: metadata.name }, { spec: { replicas: count } })
})

const clusterOf = Effect.fnUntraced(function* (world: World, namespace: string) {
  yield* eventually(
    "its Cluster has an API server",
    Effect.map(world.kube.list(Clusters, { namespace }), ({ items }) =>
      items.some(({ metadata }) => world.management.workloads.server({ namespace, name: metadata.name }) !== undefined)
    )
  )
  const { items } = yield* world.kube.list(Clusters, { namespace })
  const server = world.management.workloads.server({ namespace, name: items[0]?.metadata.name ?? "" })
  return server?.kubeClient ?? assert.fail("no server")
})

describe("Nodes", () => {
  it.effect("one watch a cluster, while its Machines wait; none before, none after", () =>
    Effect.gen(function* () {
      const { of, wrap } = counting()
      const world = yield* makeWorld({ workloads: wrapped(wrap) })
      yield* world.apply("pooled-workers")
      for (const index of [1, 2, 3]) yield* world.addHost("pooled-workers", `host-${index}`, `10.8.0.${index}`)
      yield* replicas(world, 3)
      yield* eventually("three run", running(world, "pooled-workers", 3))
      yield* eventually(
        "nobody watches",
        Effect.sync(() => of("pooled-workers").open === 0)
      )
      const { made, most } = of("pooled-workers")
      assert.strictEqual(most, 1)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(of("pooled-workers").made, made)
      const kube = yield* clusterOf(world, "pooled-workers")
      const ids = (yield* kube.list(Nodes)).items.map(({ spec }) => spec?.providerID).sort()
      assert.deepStrictEqual(
        ids,
        [1, 2, 3].map((index) => `remote-machine://10.8.0.${index}:22`)
      )
      const events = (yield* world.kube.list(Events, { namespace: "pooled-workers" })).items
      assert.lengthOf(
        events.filter(
          ({ involvedObject, reason }) => reason === "NodeProviderIDSet" && involvedObject?.kind === "Machine"
        ),
        3
      )
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("labels of the host reach its Node, as far as Cluster API takes them there from the Machine", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation()
      const labels = { "node-restriction.kubernetes.io/rack": "r1", "node-role.kubernetes.io/edge": "", plain: "no" }
      yield* simulation.addHost({ labels })
      yield* simulation.addWorkers()
      yield* simulation.until("it runs", simulation.areRunning(1))
      const kube = simulation.workloads.server({ namespace: "default", name: "demo" })?.kubeClient
      const onNode = Effect.map(kube?.list(Nodes) ?? Effect.die("no server"), ({ items }) => items[0]?.metadata.labels)
      yield* simulation.until(
        "it is labelled",
        Effect.map(onNode, (all) => all?.["node-restriction.kubernetes.io/rack"] === "r1"),
        "10 minutes"
      )
      const { plain: _, ...taken } = labels
      const all = (yield* onNode) ?? {}
      assert.include(all, taken)
      assert.notProperty(all, "plain")
    })
  )

  it.effect(
    "the Node of the host's former tenant goes before the new one registers, also one of the host's own name",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld()
        const namespace = "pooled-workers"
        yield* world.apply(namespace)
        yield* replicas(world, 1)
        const kube = yield* clusterOf(world, namespace)
        const providerID = "remote-machine://10.8.0.1:22"
        const old = { labels: { "k0smotron.io/machine-name": "of-last-year" } }
        // The kubelet on this host calls itself as it always did: it would take this Node over, label and all.
        yield* kube.create(Nodes, { metadata: { name: "host-1", ...old }, spec: { providerID } })
        yield* kube.create(Nodes, {
          metadata: { name: "elsewhere", ...old },
          spec: { providerID: "remote-machine://9:22" }
        })
        const { resourceVersion } = yield* kube.list(Nodes)
        yield* world.addHost(namespace, "host-1", "10.8.0.1", [300, 600])
        const seen: Array<string> = []
        yield* kube.watch(Nodes, { resourceVersion }).pipe(
          Stream.runForEach((event) =>
            Effect.sync(() => {
              if (event._tag === "Added" || event._tag === "Deleted")
                seen.push(`${event._tag} ${event.object.metadata.name}`)
            })
          ),
          Effect.forkScoped
        )
        yield* eventually(
          "the new one is there",
          Effect.sync(() => seen.some((what) => what.startsWith("Added ")))
        )
        const fresh = seen.find((what) => what.startsWith("Added "))?.slice("Added ".length) ?? ""
        assert.deepStrictEqual(seen, ["Deleted host-1", `Added ${fresh}`])
        yield* eventually("it runs", running(world, namespace, 1))
        assert.strictEqual((yield* kube.get(Nodes, { name: fresh })).spec?.providerID, providerID)
        yield* kube.get(Nodes, { name: "elsewhere" })
      }).pipe(Effect.scoped, Effect.provide(seededSecureRandom))
  )

  it.effect("a cluster that does not answer delays no other; when it comes back, it goes on by itself", () =>
    Effect.gen(function* () {
      let silent = true
      const wrap: Wrap = (cluster, client) =>
        cluster === "sudo"
          ? { ...client, list: (kind, options) => (silent ? Effect.never : client.list(kind, options)) }
          : client
      const world = yield* makeWorld({ workloads: wrapped(wrap) })
      yield* world.apply("sudo")
      yield* TestClock.adjust("1 minute")
      yield* world.apply("machine-deployment")
      yield* world.apply("machine")
      yield* eventually("the others run", running(world, "machine-deployment", 2))
      yield* eventually("the others run", running(world, "machine", 1))
      const ready = Effect.map(world.kube.list(K0sWorkerConfigs, { namespace: "sudo" }), ({ items }) =>
        items[0]?.status?.conditions?.find(({ type }) => type === "Ready")
      )
      yield* eventually(
        "it says so",
        Effect.map(ready, (one) => one?.reason === "WorkloadClusterUnreachable")
      )
      const waiting = yield* ready
      assert.strictEqual(waiting?.status, "False")
      assert.notProperty(
        (yield* world.kube.list(K0sWorkerConfigs, { namespace: "sudo" })).items[0]?.status,
        "failureReason"
      )
      silent = false
      yield* eventually("it runs, too", running(world, "sudo", 1))
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("watches that break are made again, with patience", () =>
    Effect.gen(function* () {
      let refusals = 0
      const wrap: Wrap = (_, client) => ({
        ...client,
        watch: (kind, options) =>
          isNodes(kind) && refusals < 5
            ? Stream.unwrap(
                Effect.sync(() => {
                  refusals += 1
                  return refusals % 2 === 0
                    ? Stream.empty
                    : Stream.fail(
                        new KubeError({
                          reason: "Unavailable",
                          verb: "watch",
                          kind: "Node",
                          message: "connection reset"
                        })
                      )
                })
              )
            : client.watch(kind, options)
      })
      const world = yield* makeWorld({ workloads: wrapped(wrap) })
      yield* world.apply("remote-machine")
      yield* eventually("it runs", running(world, "remote-machine", 1))
      assert.strictEqual(refusals, 5)
      const events = (yield* world.kube.list(Events, { namespace: "remote-machine" })).items
      const said = events.filter(
        ({ involvedObject, reason }) => reason === "WorkloadClusterUnreachable" && involvedObject?.kind === "Machine"
      )
      assert.isAtLeast(said.length, 1)
      assert.isAtMost(said.length, 3)
    }).pipe(Effect.provide(seededSecureRandom))
  )
})
