/**
 * Holds what SimulatedCore does otherwise than CAPI's own core to what its headers say, so that nobody is surprised: where
 * one of these fails, the difference is gone, and its line in the header with it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { rawKind } from "../../../src/simulation/core/Raw.ts"
import { inMemory } from "../../conformance/core/InMemory.ts"
import { createDeployment, createTemplates, machineTemplate } from "../../conformance/core/templates.ts"
import {
  Clusters,
  create,
  createMachine,
  eventually,
  freshNamespace,
  get,
  listed,
  MachineDeployments,
  MachineSets,
  Machines,
  patch,
  playProvider,
  RemoteMachines,
  readyCluster,
  remove,
  until,
  untilGone,
  World
} from "../../conformance/core/World.ts"

const capi = (kind: string, version: string) =>
  rawKind({ group: "cluster.x-k8s.io", kind, plural: `${kind.toLowerCase()}s`, versions: [version] })

const available = (count: number) => (one: { readonly status?: { readonly [key: string]: unknown } }) =>
  one.status?.["replicas"] === count && one.status?.["availableReplicas"] === count

describe("SimulatedCore, unlike CAPI", () => {
  it.layer(World.layer(inMemory), { excludeTestServices: true })((it) => {
    it.effect("serves no MachineHealthChecks, MachinePools or ClusterClasses", () =>
      Effect.gen(function* () {
        const { kube } = yield* World
        for (const kind of ["MachineHealthCheck", "MachinePool", "ClusterClass"]) {
          const error = yield* Effect.flip(kube.list(capi(kind, "v1beta2")))
          assert.strictEqual(error.reason, "Unavailable", kind)
        }
      })
    )

    it.effect("has no conversion: what was written in one version is read in the other as it was written", () =>
      Effect.gen(function* () {
        const namespace = yield* freshNamespace
        const reference = { apiVersion: "infrastructure.cluster.x-k8s.io/v1beta1", kind: "RemoteCluster", name: "none" }
        yield* create(capi("Cluster", "v1beta1"), namespace, "old", { spec: { infrastructureRef: reference } })
        const cluster = yield* get(Clusters, namespace, "old")
        assert.strictEqual(cluster.apiVersion, "cluster.x-k8s.io/v1beta2")
        assert.deepNestedInclude(cluster.spec, { "infrastructureRef.apiVersion": reference.apiVersion })
      })
    )

    it.effect(
      "has no webhooks: defaults come with the first look of a controller, and a wrong spec is not refused",
      () =>
        Effect.gen(function* () {
          const namespace = yield* freshNamespace
          yield* readyCluster(namespace, "one")
          yield* createTemplates(namespace, "blue")
          const template = machineTemplate("one", "blue")
          // CAPI's webhook refuses a selector that the template's own labels don't match.
          const set = { clusterName: "one", selector: { matchLabels: { pool: "others" } }, template }
          const made = yield* create(MachineSets, namespace, "set", { spec: set })
          assert.notProperty(made.spec, "replicas")
          yield* until("defaulted", MachineSets, namespace, "set", (one) => one.spec?.["replicas"] === 1)
        })
    )

    it.effect("scales a paused deployment also after its template was changed", () =>
      Effect.gen(function* () {
        const namespace = yield* freshNamespace
        yield* readyCluster(namespace, "one")
        yield* playProvider(namespace)
        for (const colour of ["blue", "green"]) yield* createTemplates(namespace, colour)
        const made = yield* createDeployment(namespace, "workers", "one", { replicas: 1 })
        yield* until("one available", MachineDeployments, namespace, "workers", available(1))
        const template = machineTemplate("one", "green")
        yield* patch(MachineDeployments, made, { spec: { paused: true, replicas: 2, template } })
        yield* until("two available", MachineDeployments, namespace, "workers", available(2))
        assert.lengthOf(yield* listed(MachineSets, namespace), 1)
      })
    )

    it.effect("drains nothing: a Machine that goes waits for no Pod", () =>
      Effect.gen(function* () {
        const namespace = yield* freshNamespace
        yield* readyCluster(namespace, "one")
        yield* playProvider(namespace)
        const name = `${namespace}-m`
        const machine = yield* createMachine(namespace, name, "one")
        yield* until("Running", Machines, namespace, name, (one) => one.status?.["phase"] === "Running")
        const { kube } = yield* Effect.flatMap(World, ({ workload }) => workload)
        const Pods = rawKind({ group: "", kind: "Pod", plural: "pods", versions: ["v1"] })
        yield* kube.create(Pods, {
          metadata: { name: `${name}-pod`, namespace: "default" },
          spec: { nodeName: name, containers: [{ name: "c", image: "i" }] }
        })
        yield* remove(Machines, machine)
        yield* untilGone(Machines, namespace, name)
        yield* eventually("its infrastructure is gone", RemoteMachines, namespace, (all) =>
          all.length === 0 ? true : undefined
        )
        yield* kube.get(Pods, { name: `${name}-pod`, namespace: "default" })
      })
    )
  })
})
