/**
 * Holds what SimulatedCore does otherwise than CAPI's own core to what its headers say, so that nobody is surprised: where
 * one of these fails, the difference is gone, and its line in the header with it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Events, Nodes, Secrets, secretData } from "../../../src/api/Core.ts"
import { rawKind } from "../../../src/simulation/core/Raw.ts"
import { inMemory } from "../../conformance/core/InMemory.ts"
import { createDeployment, createTemplates, machineTemplate } from "../../conformance/core/templates.ts"
import {
  Clusters,
  ControlPlanes,
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
  patchStatus,
  playProvider,
  RemoteClusters,
  RemoteMachines,
  readyCluster,
  remove,
  until,
  untilGone,
  WorkerConfigs,
  World
} from "../../conformance/core/World.ts"

const capi = (kind: string, version: string) =>
  rawKind({ group: "cluster.x-k8s.io", kind, plural: `${kind.toLowerCase()}s`, versions: [version] })

const available = (count: number) => (one: { readonly status?: { readonly [key: string]: unknown } }) =>
  one.status?.["replicas"] === count && one.status?.["availableReplicas"] === count

describe("SimulatedCore, unlike CAPI", () => {
  it.layer(World.layer(inMemory), { excludeTestServices: true })((it) => {
    it.effect("serves no MachineHealthChecks, MachinePools or ClusterClasses (unlike: few-core-kinds)", () =>
      Effect.gen(function* () {
        const { kube } = yield* World
        for (const kind of ["MachineHealthCheck", "MachinePool", "ClusterClass"]) {
          const error = yield* Effect.flip(kube.list(capi(kind, "v1beta2")))
          assert.strictEqual(error.reason, "Unavailable", kind)
        }
      })
    )

    it.effect(
      "has no conversion: what was written in one version is read in the other as it was written (unlike: no-core-conversion)",
      () =>
        Effect.gen(function* () {
          const namespace = yield* freshNamespace
          const reference = {
            apiVersion: "infrastructure.cluster.x-k8s.io/v1beta1",
            kind: "RemoteCluster",
            name: "none"
          }
          yield* create(capi("Cluster", "v1beta1"), namespace, "old", { spec: { infrastructureRef: reference } })
          const cluster = yield* get(Clusters, namespace, "old")
          assert.strictEqual(cluster.apiVersion, "cluster.x-k8s.io/v1beta2")
          assert.deepNestedInclude(cluster.spec, { "infrastructureRef.apiVersion": reference.apiVersion })
        })
    )

    it.effect(
      "has no webhooks: defaults come with the first look of a controller, and a wrong spec is not refused (unlike: no-core-webhooks)",
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

    it.effect("scales a paused deployment also after its template was changed (unlike: scales-while-paused)", () =>
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

    it.effect("drains nothing: a Machine that goes waits for no Pod and no volume (unlike: no-drain)", () =>
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
        const volumesAttached = [{ name: "kubernetes.io/csi/x", devicePath: "/dev/x" }]
        yield* kube.patch(Nodes, { name }, { status: { volumesAttached } }, { subresource: "status" })
        yield* remove(Machines, machine)
        yield* untilGone(Machines, namespace, name)
        yield* eventually("its infrastructure is gone", RemoteMachines, namespace, (all) =>
          all.length === 0 ? true : undefined
        )
        yield* kube.get(Pods, { name: `${name}-pod`, namespace: "default" })
      })
    )

    it.effect("leaves a Machine alone that somebody says is to be remediated (unlike: no-remediation)", () =>
      Effect.gen(function* () {
        const namespace = yield* freshNamespace
        yield* readyCluster(namespace, "one")
        yield* playProvider(namespace)
        yield* createTemplates(namespace, "blue")
        yield* createDeployment(namespace, "workers", "one", { replicas: 1 })
        yield* until("one available", MachineDeployments, namespace, "workers", available(1))
        const [sick] = yield* listed(Machines, namespace)
        assert.isDefined(sick)
        // What a MachineHealthCheck writes, and a MachineSet of CAPI's then deletes the Machine for.
        const conditions = ["HealthCheckSucceeded", "OwnerRemediated"].map((type) => ({
          type,
          status: "False",
          reason: "Sick",
          lastTransitionTime: "2026-01-01T00:00:00Z"
        }))
        yield* patchStatus(Machines, sick, { conditions })
        const scaled = yield* get(MachineDeployments, namespace, "workers")
        yield* patch(MachineDeployments, scaled, { spec: { replicas: 2 } })
        yield* until("two available", MachineDeployments, namespace, "workers", available(2))
        assert.include(
          (yield* listed(Machines, namespace)).map(({ metadata }) => metadata.name),
          sick.metadata.name
        )
      })
    )

    it.effect("writes no Events (unlike: no-core-events)", () =>
      Effect.gen(function* () {
        const namespace = yield* freshNamespace
        yield* readyCluster(namespace, "one")
        yield* playProvider(namespace)
        yield* createTemplates(namespace, "blue")
        const made = yield* createDeployment(namespace, "workers", "one", { replicas: 1 })
        yield* until("one available", MachineDeployments, namespace, "workers", available(1))
        yield* remove(MachineDeployments, made)
        yield* untilGone(MachineDeployments, namespace, "workers")
        const { kube } = yield* World
        assert.deepStrictEqual((yield* kube.list(Events, { namespace })).items, [])
      })
    )

    it.effect(
      "makes nothing of a topology, of failure domains, nor a kubeconfig of its own (unlike: plain-clusters)",
      () =>
        Effect.gen(function* () {
          const namespace = yield* freshNamespace
          yield* create(Clusters, namespace, "classy", {
            spec: { topology: { classRef: { name: "c" }, version: "v1.34.0" } }
          })
          // An endpoint and a certificate authority, and nobody's control plane: CAPI makes the kubeconfig itself then.
          const { kube } = yield* World
          yield* kube.create(Secrets, {
            metadata: { namespace, name: "alone-ca" },
            data: secretData({ "tls.crt": "c", "tls.key": "k" })
          })
          yield* create(RemoteClusters, namespace, "alone", { spec: {} })
          yield* create(Clusters, namespace, "alone", {
            spec: {
              controlPlaneEndpoint: { host: "192.0.2.1", port: 6443 },
              infrastructureRef: { apiGroup: "infrastructure.cluster.x-k8s.io", kind: "RemoteCluster", name: "alone" }
            }
          })
          yield* patchStatus(RemoteClusters, yield* get(RemoteClusters, namespace, "alone"), {
            ready: true,
            initialization: { provisioned: true },
            failureDomains: [{ name: "a", controlPlane: true }]
          })
          const found = yield* until(
            "provisioned",
            Clusters,
            namespace,
            "alone",
            (one) => one.status?.["phase"] === "Provisioned"
          )
          assert.notProperty(found.status, "failureDomains")
          assert.strictEqual(
            (yield* Effect.flip(kube.get(Secrets, { namespace, name: "alone-kubeconfig" }))).reason,
            "NotFound"
          )
          assert.deepStrictEqual(yield* listed(MachineDeployments, namespace), [])
          assert.deepStrictEqual(yield* listed(ControlPlanes, namespace), [])
        })
    )

    it.effect("does not say when a Machine's certificates expire (unlike: no-certificate-expiry)", () =>
      Effect.gen(function* () {
        const namespace = yield* freshNamespace
        yield* readyCluster(namespace, "one")
        yield* playProvider(namespace)
        const name = `${namespace}-m`
        yield* createMachine(namespace, name, "one")
        const annotations = { "machine.cluster.x-k8s.io/certificates-expiry": "2030-01-01T00:00:00Z" }
        yield* patch(WorkerConfigs, yield* get(WorkerConfigs, namespace, name), { metadata: { annotations } })
        const machine = yield* until("Running", Machines, namespace, name, (one) => one.status?.["phase"] === "Running")
        assert.notProperty(machine.status, "certificatesExpiryDate")
      })
    )

    it.effect(
      "does not hold a MachineSet back for what a topology or kubeadm want (unlike: fewer-preflight-checks)",
      () =>
        Effect.gen(function* () {
          const namespace = yield* freshNamespace
          const cluster = yield* readyCluster(namespace, "one")
          yield* createTemplates(namespace, "blue")
          const topology = { classRef: { name: "c" }, version: "v1.30.0" }
          yield* patch(Clusters, cluster, { spec: { topology } })
          yield* create(
            MachineSets,
            namespace,
            "set",
            {
              spec: {
                clusterName: "one",
                replicas: 1,
                selector: { matchLabels: { pool: "workers" } },
                template: machineTemplate("one", "blue", { version: "v1.27.2" })
              }
            },
            { labels: { "topology.cluster.x-k8s.io/owned": "" } }
          )
          yield* eventually("one Machine", Machines, namespace, (all) => (all.length === 1 ? true : undefined))
        })
    )
  })
})
