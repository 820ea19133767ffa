/**
 * Holds: in the simulated management cluster, with the real provider and hosts in memory, the specification's examples
 * come true: Machines reach Running because a Node registered with its token, and everything goes again when deleted.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Nodes as CoreNodes } from "../../../src/api/Core.ts"
import type { KubeObject } from "../../../src/api/Kind.ts"
import { PooledRemoteMachines } from "../../../src/api/PooledRemoteMachine.ts"
import { RemoteClusters } from "../../../src/api/RemoteCluster.ts"
import { RemoteMachines } from "../../../src/api/RemoteMachine.ts"
import { stringAt } from "../../../src/simulation/apiserver/Json.ts"
import { Clusters, MachineDeployments, Machines, rawKind } from "../../../src/simulation/core/Raw.ts"
import { seededSecureRandom } from "../../../src/simulation/Surroundings.ts"
import { dirtyHosts, doubleTenants, stepsRunTwice } from "../../../src/simulation/Witness.ts"
import { eventually, exampleNames, makeWorld, type World } from "./Examples.ts"

const ControllerConfigs = rawKind({
  group: "bootstrap.cluster.x-k8s.io",
  kind: "K0sControllerConfig",
  plural: "k0scontrollerconfigs",
  versions: ["v1beta1"]
})

const owners = (object: KubeObject) =>
  (object.metadata.ownerReferences ?? []).map(({ kind, name }) => `${kind}/${name}`)

const phases = ({ kube }: World, namespace: string) =>
  Effect.map(kube.list(Machines, { namespace }), ({ items }) => items.map((one) => String(one.status?.["phase"])))

const allRunning = (world: World, namespace: string, count: number) =>
  Effect.map(phases(world, namespace), (found) => found.length === count && found.every((one) => one === "Running"))

const workloadNodes = ({ management }: World, namespace: string, name: string) => {
  const server = management.workloads.server({ namespace, name })
  assert.isDefined(server, `${namespace}/${name} has no workload cluster`)
  return server === undefined ? Effect.succeed([]) : Effect.map(server.kubeClient.list(CoreNodes), ({ items }) => items)
}

const deleteCluster = Effect.fnUntraced(function* (world: World, namespace: string, name: string) {
  yield* world.kube.delete(Clusters, { namespace, name })
  yield* eventually(
    `Cluster ${name} is gone`,
    Effect.map(world.kube.list(Clusters, { namespace }), ({ items }) => items.length === 0)
  )
})

describe("the examples of the specification", () => {
  it.effect(
    "a MachineDeployment over a pool: six Machines run, and all hosts are clean after the Cluster is deleted",
    () =>
      Effect.gen(function* () {
        const world = yield* makeWorld()
        const namespace = "pooled-workers"
        yield* world.apply(namespace)
        for (let i = 1; i <= 6; i++) yield* world.addHost(namespace, `h${i}`, `10.0.0.${i}`)
        yield* eventually("six Machines run", allRunning(world, namespace, 6))
        yield* eventually(
          "the deployment says so",
          Effect.map(
            world.kube.get(MachineDeployments, { namespace, name: "workers" }),
            (one) => one.status?.["availableReplicas"] === 6
          )
        )
        const machines = (yield* world.kube.list(Machines, { namespace })).items
        const nodes = yield* workloadNodes(world, namespace, "demo")
        assert.deepStrictEqual(
          nodes.map((node) => node.metadata.labels?.["k0smotron.io/machine-name"]).sort(),
          machines.map((machine) => machine.metadata.name).sort()
        )
        assert.deepStrictEqual(
          nodes.map((node) => node.spec?.providerID).sort(),
          [1, 2, 3, 4, 5, 6].map((i) => `remote-machine://10.0.0.${i}:22`)
        )

        yield* deleteCluster(world, namespace, "demo")
        yield* eventually(
          "no host is reserved",
          Effect.map(world.kube.list(PooledRemoteMachines, { namespace }), ({ items }) =>
            items.every((host) => host.status?.reserved !== true)
          )
        )
        assert.deepStrictEqual(yield* phases(world, namespace), [])
        const entries = world.hosts.witness.entries()
        for (const query of [stepsRunTwice, doubleTenants, dirtyHosts])
          assert.deepStrictEqual(query(entries), [], query.name)
        assert.deepStrictEqual(world.hosts.defects(), [])
      }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("a MachineDeployment on AWS: the user data runs on hosts in memory, and its Machines run", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const namespace = "machine-deployment"
      yield* world.apply(namespace)
      yield* eventually("two Machines run", allRunning(world, namespace, 2))
      assert.lengthOf(yield* workloadNodes(world, namespace, "cp-test"), 2)
      assert.lengthOf(world.hosts.hosts(), 2)
      yield* deleteCluster(world, namespace, "cp-test")
      assert.isTrue(world.hosts.hosts().every((host) => !host.kernel.poweredOn()))
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("a K0sControlPlane: a Machine with a RemoteMachine from its template and a K0sControllerConfig", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld({ provider: false })
      const namespace = "control-plane"
      yield* world.apply(namespace)
      yield* world.kube.patch(
        RemoteClusters,
        { namespace, name: "remote-test" },
        { status: { ready: true, initialization: { provisioned: true } } },
        { subresource: "status" }
      )
      yield* eventually(
        "the infrastructure machine is the Machine's",
        Effect.map(world.kube.list(RemoteMachines, { namespace }), ({ items }) =>
          items.some((one) => owners(one).join() === "Machine/remote-test-0")
        )
      )
      const machine = yield* world.kube.get(Machines, { namespace, name: "remote-test-0" })
      assert.deepStrictEqual(owners(machine), ["K0sControlPlane/remote-test"])
      assert.strictEqual(machine.metadata.labels?.["cluster.x-k8s.io/control-plane"], "true")
      assert.strictEqual(machine.spec?.["version"], "v1.27.1+k0s.0")
      const infrastructure = yield* world.kube.get(RemoteMachines, { namespace, name: "remote-test-0" })
      assert.strictEqual(infrastructure.spec.pool, "default")
      assert.strictEqual(
        infrastructure.metadata.annotations?.["cluster.x-k8s.io/cloned-from-name"],
        "remote-test-template"
      )
      const config = yield* world.kube.get(ControllerConfigs, { namespace, name: "remote-test-0" })
      assert.deepNestedInclude(config.spec, {
        version: "v1.27.1+k0s.0",
        "k0s.spec.api.extraArgs.anonymous-auth": "true"
      })
      assert.strictEqual(stringAt(config.spec, "k0s", "spec", "api", "externalAddress"), "1.2.3.4")
      // Nothing answers before a controller runs, and nobody runs one here.
      const cluster = yield* world.kube.get(Clusters, { namespace, name: "remote-test" })
      assert.notInclude(JSON.stringify(cluster.status ?? {}), '"controlPlaneInitialized":true')
    }).pipe(Effect.provide(seededSecureRandom))
  )

  // The ones above, and controlPlane.test.ts, are told in full.
  const told = ["control-plane", "machine-deployment", "pooled-workers"]
  for (const example of exampleNames.filter((name) => !told.includes(name))) {
    it.effect(`${example}: its Machines run, and are gone with their Cluster`, () =>
      Effect.gen(function* () {
        const world = yield* makeWorld()
        yield* world.apply(example)
        const { items } = yield* world.kube.list(Machines, { namespace: example })
        assert.isAbove(items.length, 0)
        yield* eventually("all run", allRunning(world, example, items.length))
        for (const cluster of (yield* world.kube.list(Clusters, { namespace: example })).items)
          yield* deleteCluster(world, example, cluster.metadata.name)
        assert.deepStrictEqual(dirtyHosts(world.hosts.witness.entries()), [])
        assert.deepStrictEqual(world.hosts.defects(), [])
      }).pipe(Effect.provide(seededSecureRandom))
    )
  }
})
