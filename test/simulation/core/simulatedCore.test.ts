/**
 * Holds what a real manager can't be asked to show: SimulatedCore writes the shape of the version that is served, goes on
 * where it was after being cut off at any moment, makes no object twice whatever the network does to its requests, and
 * stand-ins say that they are.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Nodes as CoreNodes, Secrets, secretData, secretText } from "../../../src/api/Core.ts"
import type { JsonObject, KubeClientShape } from "../../../src/kube/KubeClient.ts"
import { WorkloadClusters } from "../../../src/kube/WorkloadClusters.ts"
import { allCrds } from "../../../src/simulation/core/ManagementCluster.ts"
import {
  Clusters,
  MachineDeployments,
  MachineSets,
  Machines,
  type Raw,
  rawKind
} from "../../../src/simulation/core/Raw.ts"
import * as SimulatedCore from "../../../src/simulation/core/SimulatedCore.ts"
import { cuttableKubeClient, drawKubeFaults, faultyKubeClient, noKubeFaults } from "../../../src/simulation/Faults.ts"
import * as SimulatedApiServer from "../../../src/simulation/SimulatedApiServer.ts"
import { seededSecureRandom } from "../../../src/simulation/Surroundings.ts"
import { KUBELET } from "../../conformance/core/World.ts"
import { eventually, makeWorld } from "./Examples.ts"

const NAMESPACE = "default"
const at = (name: string) => ({ namespace: NAMESPACE, name })
const infrastructure = (kind: string, plural: string) =>
  rawKind({ group: "infrastructure.cluster.x-k8s.io", kind, plural, versions: ["v1beta1"] })
const RemoteClusters = infrastructure("RemoteCluster", "remoteclusters")
const RemoteMachines = infrastructure("RemoteMachine", "remotemachines")
const Templates = infrastructure("RemoteMachineTemplate", "remotemachinetemplates")
const ControlPlanes = rawKind({
  group: "controlplane.cluster.x-k8s.io",
  kind: "K0smotronControlPlane",
  plural: "k0smotroncontrolplanes",
  versions: ["v1beta1"]
})

/** As CAPI v1.10 and older: CAPI's kinds in v1beta1 only. */
const onlyOld = (crd: JsonObject): JsonObject => {
  const text = JSON.stringify(crd)
  if (!text.includes('"cluster.x-k8s.io","names"')) return crd
  const copy: { spec: { versions: Array<{ name: string; storage: boolean }> } } & JsonObject = JSON.parse(text)
  copy.spec.versions = copy.spec.versions
    .filter((one) => one.name === "v1beta1")
    .map((one) => ({ ...one, storage: true }))
  return copy
}

const makeServer = Effect.fnUntraced(function* (crds: ReadonlyArray<JsonObject> = allCrds) {
  const server = yield* SimulatedApiServer.make()
  const workload = yield* SimulatedApiServer.make()
  for (const crd of crds) yield* server.apply(crd)
  const clusters = Context.get(
    yield* Layer.build(WorkloadClusters.layerOf(() => Effect.succeed(workload.client("core")))),
    WorkloadClusters
  )
  const start = (kube: KubeClientShape = server.client("core")) =>
    SimulatedCore.make({ kube, workloadClusters: clusters })
  return { server, kube: server.kubeClient, workload: workload.kubeClient, start }
})

const metadata = (name: string) => ({ name, namespace: NAMESPACE })

/** A Cluster that has reached everything, and templates without a bootstrap config: fewer parts, same rules. */
const prepare = Effect.fnUntraced(function* (kube: KubeClientShape) {
  yield* kube.create(RemoteClusters, { metadata: metadata("one") })
  yield* kube.create(ControlPlanes, { metadata: metadata("one") })
  yield* kube.create(Clusters, {
    metadata: metadata("one"),
    spec: {
      controlPlaneEndpoint: { host: "127.0.0.1", port: 6443 },
      infrastructureRef: { apiVersion: "infrastructure.cluster.x-k8s.io/v1beta1", kind: "RemoteCluster", name: "one" },
      controlPlaneRef: {
        apiVersion: "controlplane.cluster.x-k8s.io/v1beta1",
        kind: "K0smotronControlPlane",
        name: "one"
      }
    }
  })
  yield* kube.create(Secrets, { metadata: metadata("one-kubeconfig"), data: secretData({ value: "simulated" }) })
  const reached = {
    ready: true,
    initialized: true,
    initialization: { provisioned: true, controlPlaneInitialized: true }
  }
  for (const kind of [RemoteClusters, ControlPlanes])
    yield* kube.patch(kind, at("one"), { status: reached }, { subresource: "status" })
  yield* kube.create(Templates, { metadata: metadata("blue"), spec: { template: { spec: { pool: "blue" } } } })
})

const machineSpec: JsonObject = {
  clusterName: "one",
  bootstrap: { dataSecretName: "given" },
  infrastructureRef: {
    apiVersion: "infrastructure.cluster.x-k8s.io/v1beta1",
    kind: "RemoteMachineTemplate",
    name: "blue"
  }
}

const createDeployment = (kube: KubeClientShape, replicas: number) =>
  kube.create(MachineDeployments, {
    metadata: metadata("workers"),
    spec: { clusterName: "one", replicas, template: { spec: machineSpec } }
  })

const names = (kube: KubeClientShape, kind: typeof Machines) =>
  Effect.map(kube.list(kind), ({ items }) => items.map((one) => one.metadata.name).sort())

/** Of Machines that there are: a clone whose Machine could not be made is nobody's. */
const provisionAll = Effect.fnUntraced(function* (kube: KubeClientShape, workload: KubeClientShape) {
  for (const one of (yield* kube.list(Machines)).items) {
    const providerID = `remote-machine://${one.metadata.name}:22`
    yield* kube.patch(RemoteMachines, at(one.metadata.name), { spec: { providerID } })
    const status = { ready: true, initialization: { provisioned: true } }
    yield* kube.patch(RemoteMachines, at(one.metadata.name), { status }, { subresource: "status" })
    const conditions = Object.entries(KUBELET).map(([type, status]) => ({ type, status }))
    yield* workload.create(CoreNodes, {
      metadata: { name: one.metadata.name },
      spec: { providerID },
      status: { conditions }
    })
  }
})

const oldConditions = (object: Raw): ReadonlyArray<string> => {
  const conditions = object.status?.["conditions"]
  return Array.isArray(conditions) ? conditions.map((one) => `${one.type}=${one.status}`).sort() : []
}

describe("where only v1beta1 is served", () => {
  it.effect("statuses have v1beta1's fields, and the new conditions below v1beta2", () =>
    Effect.gen(function* () {
      const { kube, start, workload } = yield* makeServer(allCrds.map(onlyOld))
      yield* start()
      yield* prepare(kube)
      yield* createDeployment(kube, 1)
      yield* eventually(
        "cloned",
        Effect.map(names(kube, RemoteMachines), (all) => all.length === 1)
      )
      yield* provisionAll(kube, workload)
      yield* eventually(
        "available",
        Effect.map(kube.get(MachineDeployments, at("workers")), (one) => one.status?.["availableReplicas"] === 1)
      )
      const [machine] = (yield* kube.list(Machines)).items
      const [set] = (yield* kube.list(MachineSets)).items
      const deployment = yield* kube.get(MachineDeployments, at("workers"))
      const cluster = yield* kube.get(Clusters, at("one"))
      assert.isDefined(machine)
      assert.isDefined(set)
      if (machine === undefined || set === undefined) return
      assert.strictEqual(machine.apiVersion, "cluster.x-k8s.io/v1beta1")
      assert.include(machine.status, { phase: "Running", infrastructureReady: true })
      assert.deepNestedInclude(machine.status, { "nodeRef.kind": "Node", "nodeRef.apiVersion": "v1" })
      assert.notProperty(machine.status, "initialization")
      assert.includeMembers(
        [...oldConditions(machine)],
        ["BootstrapReady=True", "InfrastructureReady=True", "NodeHealthy=True", "Ready=True"]
      )
      assert.nestedProperty(machine.status, "v1beta2.conditions")
      assert.deepNestedInclude(machine.spec, {
        "infrastructureRef.apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
        "infrastructureRef.namespace": NAMESPACE
      })
      assert.include(set.status, { replicas: 1, fullyLabeledReplicas: 1, readyReplicas: 1 })
      assert.include(deployment.status, { updatedReplicas: 1, unavailableReplicas: 0, phase: "Running" })
      assert.include(cluster.status, { infrastructureReady: true, controlPlaneReady: true, phase: "Provisioned" })
      assert.include(oldConditions(cluster), "ControlPlaneInitialized=True")
    })
  )
})

describe("two Machines of one providerID", () => {
  // Seed 192: a host's next tenant has the providerID of the last one, whose Machine was still being deleted.
  it.effect("take the one Node for theirs in turns, while time passes", () =>
    Effect.gen(function* () {
      const { kube, start, workload } = yield* makeServer()
      yield* start()
      yield* prepare(kube)
      yield* createDeployment(kube, 2)
      yield* eventually(
        "cloned",
        Effect.map(names(kube, Machines), (all) => all.length === 2)
      )
      const providerID = "remote-machine://10.0.0.1:22"
      yield* workload.create(CoreNodes, { metadata: { name: "host" }, spec: { providerID } })
      const machines = yield* names(kube, Machines)
      for (const name of machines) {
        yield* kube.patch(RemoteMachines, at(name), { spec: { providerID } })
        const status = { ready: true, initialization: { provisioned: true } }
        yield* kube.patch(RemoteMachines, at(name), { status }, { subresource: "status" })
      }
      const owner = Effect.map(
        workload.get(CoreNodes, { name: "host" }),
        ({ metadata }) => metadata.annotations?.["cluster.x-k8s.io/machine"]
      )
      const owners = new Set<string | undefined>()
      for (let look = 0; look < 100; look++) owners.add(yield* Effect.andThen(TestClock.adjust(33), owner))
      assert.includeMembers([...owners], [...machines])
    })
  )
})

describe("cut off", () => {
  it.effect(
    "at every one of its writes, another goes on: no Machine and no clone too many, none without the other",
    () =>
      Effect.gen(function* () {
        let writesInAll = 0
        for (let limit = 1; limit <= Math.max(writesInAll, 1); limit++) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { kube, server, start, workload } = yield* makeServer()
              yield* prepare(kube)
              yield* createDeployment(kube, 2)
              const before = server.writes().length
              const own = () =>
                server
                  .writes()
                  .slice(before)
                  .filter((one) => one.client === "core").length
              let cut = false
              const scope = yield* Scope.make()
              const isCut = () => {
                cut = cut || own() >= limit
                return cut
              }
              yield* start(cuttableKubeClient(server.client("core"), { isCut })).pipe(
                Scope.provide(scope),
                Effect.forkIn(scope)
              )
              yield* eventually(
                "cut off, or done",
                Effect.sync(() => cut || own() > 200).pipe(
                  Effect.flatMap((ended) =>
                    ended ? Effect.succeed(true) : Effect.map(names(kube, Machines), (all) => all.length === 2)
                  )
                )
              )
              yield* Scope.close(scope, Exit.void)

              yield* start(server.client("core"))
              yield* eventually(
                "two Machines",
                Effect.map(names(kube, Machines), (all) => all.length === 2)
              )
              yield* provisionAll(kube, workload)
              yield* eventually(
                "two available",
                Effect.map(
                  kube.get(MachineDeployments, at("workers")),
                  (one) => one.status?.["availableReplicas"] === 2
                )
              )
              const machines = yield* names(kube, Machines)
              assert.lengthOf(machines, 2)
              assert.lengthOf(yield* names(kube, MachineSets), 1, `cut after write ${limit}`)
              // A clone whose Machine was never made is left behind by CAPI, too: but never taken for a Machine's.
              assert.includeMembers([...(yield* names(kube, RemoteMachines))], [...machines])
              writesInAll = Math.max(writesInAll, own())
            })
          )
          if (limit > 60) break
        }
        assert.isAbove(writesInAll, 20)
      }),
    120_000
  )
})

describe("with a bad network", () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 64]) {
    it.effect(`seed ${seed}: conflicts, lost answers, broken watches, and still each thing once`, () =>
      Effect.gen(function* () {
        const { kube, server, start, workload } = yield* makeServer()
        let plan = yield* drawKubeFaults
        yield* Effect.forkScoped(start(faultyKubeClient(server.client("core"), () => plan)))
        yield* prepare(kube)
        yield* createDeployment(kube, 3)
        yield* eventually(
          "three Machines",
          Effect.map(names(kube, Machines), (all) => all.length === 3)
        )
        yield* provisionAll(kube, workload)
        yield* eventually(
          "three available",
          Effect.map(kube.get(MachineDeployments, at("workers")), (one) => one.status?.["availableReplicas"] === 3)
        )
        assert.lengthOf(yield* names(kube, MachineSets), 1)
        yield* kube.delete(Clusters, at("one"))
        yield* eventually(
          "half way",
          Effect.map(names(kube, Machines), (all) => all.length < 3)
        )
        plan = noKubeFaults
        yield* eventually(
          "all gone",
          Effect.map(names(kube, Clusters), (all) => all.length === 0)
        )
        for (const kind of [MachineDeployments, MachineSets, Machines, RemoteMachines, RemoteClusters])
          assert.deepStrictEqual(yield* names(kube, kind), [], kind.kind)
        assert.lengthOf((yield* workload.list(CoreNodes)).items, 3, "a Cluster that goes leaves its Nodes alone")
      }).pipe(Random.withSeed(seed))
    )
  }
})

describe("stand-ins", () => {
  it.effect("say that they are, keep what is there, and give an ingress its certificate", () =>
    Effect.gen(function* () {
      const { kube, management } = yield* makeWorld({ provider: false })
      const given = secretData({ "tls.crt": "given certificate", "tls.key": "given key" })
      yield* kube.create(Secrets, { metadata: metadata("one-sa"), data: given })
      yield* kube.create(RemoteClusters, { metadata: metadata("one") })
      yield* kube.create(ControlPlanes, {
        metadata: metadata("one"),
        spec: { version: "v1.27.2-k0s.0", ingress: { apiHost: "api.example.com" }, service: { apiPort: 32000 } }
      })
      yield* kube.create(Clusters, {
        metadata: metadata("one"),
        spec: {
          infrastructureRef: {
            apiVersion: "infrastructure.cluster.x-k8s.io/v1beta1",
            kind: "RemoteCluster",
            name: "one"
          },
          controlPlaneRef: {
            apiVersion: "controlplane.cluster.x-k8s.io/v1beta1",
            kind: "K0smotronControlPlane",
            name: "one"
          }
        }
      })
      yield* eventually(
        "initialized",
        Effect.map(kube.get(ControlPlanes, at("one")), (one) => one.status?.["initialized"] === true)
      )
      const plane = yield* kube.get(ControlPlanes, at("one"))
      assert.strictEqual(plane.metadata.annotations?.["machinist.dev/stand-in"], "true")
      assert.include(oldConditions(plane), "StandIn=True")
      assert.deepStrictEqual((yield* kube.get(RemoteClusters, at("one"))).spec?.["controlPlaneEndpoint"], {
        host: "127.0.0.1",
        port: 32000
      })
      const text = (name: string, key: string) =>
        Effect.map(kube.get(Secrets, at(name)), (secret) => secretText(secret, key))
      assert.strictEqual(yield* text("one-sa", "tls.crt"), "given certificate")
      assert.match((yield* text("one-ca", "tls.crt")) ?? "", /BEGIN CERTIFICATE/)
      assert.match((yield* text("one-ingress-haproxy", "tls.key")) ?? "", /BEGIN PRIVATE KEY/)
      assert.include((yield* text("one-kubeconfig", "value")) ?? "", "https://127.0.0.1:32000")
      const owners = (yield* kube.get(Secrets, at("one-ca"))).metadata.ownerReferences?.map(
        ({ kind, name }) => `${kind}/${name}`
      )
      assert.deepStrictEqual(owners, ["K0smotronControlPlane/one"])
      assert.isDefined(management.workloads.server(at("one")))
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("a K0sControlPlane waits for an endpoint, and says so", () =>
    Effect.gen(function* () {
      const { kube } = yield* makeWorld({ provider: false })
      const planes = rawKind({
        group: "controlplane.cluster.x-k8s.io",
        kind: "K0sControlPlane",
        plural: "k0scontrolplanes",
        versions: ["v1beta1"]
      })
      yield* kube.create(planes, { metadata: metadata("one"), spec: { replicas: 1, version: "v1.27.1+k0s.0" } })
      yield* kube.create(Clusters, {
        metadata: metadata("one"),
        spec: { controlPlaneRef: { apiGroup: "controlplane.cluster.x-k8s.io", kind: "K0sControlPlane", name: "one" } }
      })
      yield* eventually(
        "it says so",
        Effect.map(kube.get(planes, at("one")), (one) =>
          JSON.stringify(one.status ?? {}).includes("WaitingForEndpoint")
        )
      )
      yield* kube.patch(Clusters, at("one"), { spec: { controlPlaneEndpoint: { host: "127.0.0.1", port: 6443 } } })
      yield* eventually(
        "it waits for a controller now",
        Effect.map(kube.get(planes, at("one")), (one) =>
          JSON.stringify(one.status ?? {}).includes("WaitingForController")
        )
      )
    }).pipe(Effect.provide(seededSecureRandom))
  )
})
