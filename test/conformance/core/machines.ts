/**
 * Owns what core promises of a Machine (CONTRACT section 2): ownership of its objects, phases, data, providerID,
 * addresses, Node, pauses, and the order in which it goes.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Nodes as CoreNodes } from "../../../src/api/Core.ts"
import type { Raw } from "../../../src/simulation/core/Raw.ts"
import { rawKind } from "../../../src/simulation/core/Raw.ts"
import {
  Clusters,
  conditionOf,
  create,
  createMachine,
  createNode,
  freshNamespace,
  get,
  giveBootstrapData,
  type It,
  KUBELET,
  Machines,
  owners,
  patch,
  patchStatus,
  playProvider,
  provisionMachine,
  RemoteMachines,
  readyCluster,
  remove,
  reportConditions,
  until,
  untilGone,
  WorkerConfigs,
  World
} from "./World.ts"

const CLUSTER_LABEL = "cluster.x-k8s.io/cluster-name"
const phase = (wanted: string) => (one: Raw) => one.status?.["phase"] === wanted

/** As the specification's pages have it. */
const OldMachines = rawKind({ group: "cluster.x-k8s.io", kind: "Machine", plural: "machines", versions: ["v1beta1"] })

const unique = (namespace: string, name: string): string => `${namespace}-${name}`

export const machines = (it: It): void => {
  it.effect("goes Pending, Provisioning, Provisioned, Running as its objects and its Node come", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      const name = unique(namespace, "m")
      yield* createMachine(namespace, name, "one")
      yield* until("Pending", Machines, namespace, name, phase("Pending"))

      yield* giveBootstrapData(yield* get(WorkerConfigs, namespace, name))
      const provisioning = yield* until("Provisioning", Machines, namespace, name, phase("Provisioning"))
      assert.deepNestedInclude(provisioning.spec, { "bootstrap.dataSecretName": name })

      yield* provisionMachine(yield* get(RemoteMachines, namespace, name))
      const provisioned = yield* until("Provisioned", Machines, namespace, name, phase("Provisioned"))
      assert.strictEqual(provisioned.spec?.["providerID"], `remote-machine://${name}:22`)
      assert.deepStrictEqual(provisioned.status?.["addresses"], [{ type: "ExternalIP", address: name }])
      assert.notProperty(provisioned.status, "nodeRef")

      yield* createNode(name, `remote-machine://${name}:22`)
      const running = yield* until("Running", Machines, namespace, name, phase("Running"))
      assert.deepNestedInclude(running.status, { "nodeRef.name": name })
      yield* until("Ready", Machines, namespace, name, (one) =>
        JSON.stringify(one.status?.["conditions"]).includes('"Available"')
      )
      const { kube } = yield* Effect.flatMap(World, ({ workload }) => workload)
      const node = yield* kube.get(CoreNodes, { name })
      assert.strictEqual(node.metadata.annotations?.["cluster.x-k8s.io/machine"], name)
    })
  )

  it.effect("is available only once its kubelet has reported all that kubelets report", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      const name = unique(namespace, "m")
      yield* createMachine(namespace, name, "one")
      yield* giveBootstrapData(yield* get(WorkerConfigs, namespace, name))
      const infrastructure = yield* until("there", RemoteMachines, namespace, name, (one) => owners(one).length > 0)
      yield* provisionMachine(infrastructure)
      yield* createNode(name, `remote-machine://${name}:22`, { Ready: "True" })
      const running = yield* until("health unknown", Machines, namespace, name, (one) => {
        const health = conditionOf(one, "NodeHealthy")
        return health?.["status"] === "Unknown" && String(health["message"]).includes("Node.PIDPressure")
      })
      assert.strictEqual(conditionOf(running, "NodeReady")?.["status"], "True")
      assert.strictEqual(conditionOf(running, "Available")?.["status"], "False")
      yield* reportConditions(name, KUBELET)
      yield* until(
        "available",
        Machines,
        namespace,
        name,
        (one) => conditionOf(one, "Available")?.["status"] === "True"
      )
      yield* reportConditions(name, { ...KUBELET, DiskPressure: "True" })
      yield* until("unhealthy", Machines, namespace, name, (one) => {
        const health = conditionOf(one, "NodeHealthy")
        return health?.["reason"] === "NodeNotHealthy" && conditionOf(one, "Available")?.["status"] === "False"
      })
    })
  )

  it.effect("becomes the controlling owner of its objects; a Machine of nobody is the Cluster's", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      const made = yield* createMachine(namespace, "m", "one")
      for (const kind of [WorkerConfigs, RemoteMachines]) {
        const object = yield* until("owned", kind, namespace, "m", (one) => owners(one).length > 0)
        assert.deepStrictEqual(owners(object), ["Machine/m (controller)"])
        assert.strictEqual(object.metadata.ownerReferences?.[0]?.uid, made.metadata.uid)
        assert.isTrue(object.metadata.ownerReferences?.[0]?.blockOwnerDeletion)
        assert.strictEqual(object.metadata.labels?.[CLUSTER_LABEL], "one")
      }
      const machine = yield* until("owned", Machines, namespace, "m", (one) => owners(one).length > 0)
      assert.deepStrictEqual(owners(machine), ["Cluster/one"])
      assert.include(machine.metadata.finalizers ?? [], "machine.cluster.x-k8s.io")
      assert.strictEqual(machine.metadata.labels?.[CLUSTER_LABEL], "one")
    })
  )

  it.effect("written as v1beta1, with references by apiVersion, is the same Machine", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      const name = unique(namespace, "old")
      yield* playProvider(namespace)
      yield* create(WorkerConfigs, namespace, name)
      yield* create(RemoteMachines, namespace, name, { spec: { address: name, sshKeyRef: { name: "key" } } })
      yield* create(OldMachines, namespace, name, {
        spec: {
          clusterName: "one",
          bootstrap: { configRef: { apiVersion: "bootstrap.cluster.x-k8s.io/v1beta1", kind: "K0sWorkerConfig", name } },
          infrastructureRef: { apiVersion: "infrastructure.cluster.x-k8s.io/v1beta1", kind: "RemoteMachine", name }
        }
      })
      const running = yield* until("Running", Machines, namespace, name, phase("Running"))
      assert.deepNestedInclude(running.status, { "nodeRef.name": name })
    })
  )

  it.effect("waits for an infrastructure that says ready but has no providerID", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      yield* createMachine(namespace, "m", "one")
      yield* giveBootstrapData(yield* get(WorkerConfigs, namespace, "m"))
      yield* until("Provisioning", Machines, namespace, "m", phase("Provisioning"))
      const infrastructure = yield* get(RemoteMachines, namespace, "m")
      yield* patchStatus(RemoteMachines, infrastructure, { ready: true, initialization: { provisioned: true } })
      yield* patch(RemoteMachines, infrastructure, { spec: { providerID: "remote-machine://m:22" } })
      const machine = yield* until("Provisioned", Machines, namespace, "m", phase("Provisioned"))
      assert.strictEqual(machine.spec?.["providerID"], "remote-machine://m:22")
    })
  )

  it.effect("is left alone while its Cluster is paused, and goes on afterwards", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      yield* until("initialized", Clusters, namespace, "one", phase("Provisioned"))
      yield* patch(Clusters, yield* get(Clusters, namespace, "one"), { spec: { paused: true } })
      yield* until("paused", Clusters, namespace, "one", (one) => paused(one) === "True")
      yield* createMachine(namespace, "m", "one")
      const held = yield* until("paused", Machines, namespace, "m", (one) => paused(one) === "True")
      assert.notProperty(held.status, "phase")
      assert.deepStrictEqual(owners(yield* get(RemoteMachines, namespace, "m")), [])
      yield* patch(Clusters, yield* get(Clusters, namespace, "one"), { spec: { paused: false } })
      yield* until("owned", RemoteMachines, namespace, "m", (one) => owners(one).length > 0)
      yield* until("not paused", Machines, namespace, "m", (one) => paused(one) === "False")
    })
  )

  it.effect("goes after its infrastructure, then its bootstrap config, then its Node", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      yield* playProvider(namespace)
      const name = unique(namespace, "m")
      const machine = yield* createMachine(namespace, name, "one")
      yield* until("Running", Machines, namespace, name, phase("Running"))
      const hold = { metadata: { finalizers: ["conformance.machinist.dev/hold"] } }
      yield* patch(RemoteMachines, yield* get(RemoteMachines, namespace, name), hold)
      yield* patch(WorkerConfigs, yield* get(WorkerConfigs, namespace, name), hold)
      yield* remove(Machines, machine)

      const infrastructure = yield* until(
        "deleted",
        RemoteMachines,
        namespace,
        name,
        (one) => one.metadata.deletionTimestamp !== undefined
      )
      yield* until("Deleting", Machines, namespace, name, phase("Deleting"))
      assert.isUndefined((yield* get(WorkerConfigs, namespace, name)).metadata.deletionTimestamp)
      yield* patch(RemoteMachines, infrastructure, { metadata: { finalizers: null } })

      const config = yield* until(
        "deleted",
        WorkerConfigs,
        namespace,
        name,
        (one) => one.metadata.deletionTimestamp !== undefined
      )
      const { kube } = yield* Effect.flatMap(World, ({ workload }) => workload)
      assert.strictEqual((yield* kube.get(CoreNodes, { name })).metadata.name, name)
      yield* patch(WorkerConfigs, config, { metadata: { finalizers: null } })

      yield* untilGone(Machines, namespace, name)
      assert.strictEqual((yield* Effect.flip(kube.get(CoreNodes, { name }))).reason, "NotFound")
    })
  )

  it.effect("whose objects are gone already goes all the same", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      const machine = yield* createMachine(namespace, "m", "one")
      yield* until("owned", RemoteMachines, namespace, "m", (one) => owners(one).length > 0)
      for (const kind of [WorkerConfigs, RemoteMachines]) {
        yield* remove(kind, yield* get(kind, namespace, "m"))
        yield* untilGone(kind, namespace, "m")
      }
      yield* remove(Machines, machine)
      yield* untilGone(Machines, namespace, "m")
    })
  )
}

const paused = (object: Raw) => conditionOf(object, "Paused")?.["status"]
