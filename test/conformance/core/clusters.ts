/**
 * Owns what core promises of a Cluster (CONTRACT section 2): ownership, endpoint, provisioned and initialized for good,
 * deletion from the workers inwards.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createDeployment, createTemplates } from "./templates.ts"
import {
  Clusters,
  ControlPlanes,
  create,
  createCluster,
  freshNamespace,
  get,
  type It,
  initializeControlPlane,
  MachineDeployments,
  owners,
  patch,
  patchStatus,
  playProvider,
  provisionInfrastructure,
  RemoteClusters,
  readyCluster,
  remove,
  until,
  untilGone
} from "./World.ts"

const CLUSTER_LABEL = "cluster.x-k8s.io/cluster-name"
const initialization = (object: { readonly status?: { readonly [key: string]: unknown } }) =>
  object.status?.["initialization"]

export const clusters = (it: It): void => {
  it.effect("owns and labels its infrastructure and control plane, and keeps itself until they are gone", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* createCluster(namespace, "one")
      for (const kind of [RemoteClusters, ControlPlanes]) {
        const object = yield* until("owned", kind, namespace, "one", (one) => owners(one).length > 0)
        assert.match(owners(object)[0] ?? "", /^Cluster\/one/)
        assert.strictEqual(object.metadata.labels?.[CLUSTER_LABEL], "one")
      }
      const cluster = yield* get(Clusters, namespace, "one")
      assert.include(cluster.metadata.finalizers ?? [], "cluster.cluster.x-k8s.io")
    })
  )

  it.effect("copies the endpoint once the infrastructure is provisioned, not before", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* createCluster(namespace, "one")
      const waiting = yield* until(
        "Provisioning",
        Clusters,
        namespace,
        "one",
        (one) => one.status?.["phase"] === "Provisioning"
      )
      assert.notDeepEqual(waiting.spec?.["controlPlaneEndpoint"], { host: "192.0.2.1", port: 6443 })
      yield* provisionInfrastructure(yield* get(RemoteClusters, namespace, "one"))
      const cluster = yield* until(
        "Provisioned",
        Clusters,
        namespace,
        "one",
        (one) => one.status?.["phase"] === "Provisioned"
      )
      assert.deepStrictEqual(cluster.spec?.["controlPlaneEndpoint"], { host: "192.0.2.1", port: 6443 })
      assert.deepNestedInclude(initialization(cluster), { infrastructureProvisioned: true })
    })
  )

  it.effect("keeps an endpoint that it has", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      const cluster = yield* createCluster(namespace, "one")
      yield* patch(Clusters, cluster, { spec: { controlPlaneEndpoint: { host: "198.51.100.9", port: 443 } } })
      yield* provisionInfrastructure(yield* get(RemoteClusters, namespace, "one"))
      const after = yield* until(
        "Provisioned",
        Clusters,
        namespace,
        "one",
        (one) => one.status?.["phase"] === "Provisioned"
      )
      assert.deepStrictEqual(after.spec?.["controlPlaneEndpoint"], { host: "198.51.100.9", port: 443 })
    })
  )

  it.effect("once provisioned and initialized stays so, whatever the objects say later", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* createCluster(namespace, "one")
      yield* provisionInfrastructure(yield* get(RemoteClusters, namespace, "one"))
      yield* initializeControlPlane(yield* get(ControlPlanes, namespace, "one"))
      const both = { infrastructureProvisioned: true, controlPlaneInitialized: true }
      const reached = (one: Parameters<typeof initialization>[0]) =>
        JSON.stringify(sorted(initialization(one))) === JSON.stringify(sorted(both))
      yield* until("initialized", Clusters, namespace, "one", reached)
      const gone = { ready: false, initialization: { provisioned: false } }
      yield* patchStatus(RemoteClusters, yield* get(RemoteClusters, namespace, "one"), gone)
      // Core has looked at it since: it follows the generation.
      const touched = yield* patch(Clusters, yield* get(Clusters, namespace, "one"), {
        spec: { controlPlaneEndpoint: { host: "203.0.113.5", port: 1 } }
      })
      const after = yield* until(
        "looked at again",
        Clusters,
        namespace,
        "one",
        (one) => Number(one.status?.["observedGeneration"] ?? 0) >= (touched.metadata.generation ?? 0)
      )
      assert.isTrue(reached(after))
    })
  )

  it.effect("goes after its workers, then its control plane, then its infrastructure", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      yield* playProvider(namespace)
      yield* createTemplates(namespace, "blue")
      yield* createDeployment(namespace, "workers", "one", { replicas: 1 })
      yield* until("one ready", MachineDeployments, namespace, "workers", (one) => one.status?.["readyReplicas"] === 1)
      const hold = { metadata: { finalizers: ["conformance.machinist.dev/hold"] } }
      yield* patch(MachineDeployments, yield* get(MachineDeployments, namespace, "workers"), {
        metadata: {
          finalizers: [
            ...((yield* get(MachineDeployments, namespace, "workers")).metadata.finalizers ?? []),
            "conformance.machinist.dev/hold"
          ]
        }
      })
      yield* patch(ControlPlanes, yield* get(ControlPlanes, namespace, "one"), hold)
      yield* patch(RemoteClusters, yield* get(RemoteClusters, namespace, "one"), hold)
      yield* remove(Clusters, yield* get(Clusters, namespace, "one"))

      const deployment = yield* until(
        "only held",
        MachineDeployments,
        namespace,
        "workers",
        (one) => one.metadata.deletionTimestamp !== undefined && one.metadata.finalizers?.length === 1
      )
      assert.isUndefined((yield* get(ControlPlanes, namespace, "one")).metadata.deletionTimestamp)
      yield* patch(MachineDeployments, deployment, { metadata: { finalizers: null } })

      const plane = yield* until(
        "deleted",
        ControlPlanes,
        namespace,
        "one",
        (one) => one.metadata.deletionTimestamp !== undefined
      )
      assert.isUndefined((yield* get(RemoteClusters, namespace, "one")).metadata.deletionTimestamp)
      yield* patch(ControlPlanes, plane, { metadata: { finalizers: null } })

      const infrastructure = yield* until(
        "deleted",
        RemoteClusters,
        namespace,
        "one",
        (one) => one.metadata.deletionTimestamp !== undefined
      )
      assert.strictEqual((yield* get(Clusters, namespace, "one")).status?.["phase"], "Deleting")
      yield* patch(RemoteClusters, infrastructure, { metadata: { finalizers: null } })
      yield* untilGone(Clusters, namespace, "one")
    })
  )

  it.effect("without a control plane reference is initialized by the first control plane Machine with a Node", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* create(RemoteClusters, namespace, "bare")
      yield* create(Clusters, namespace, "bare", {
        spec: {
          infrastructureRef: { apiGroup: "infrastructure.cluster.x-k8s.io", kind: "RemoteCluster", name: "bare" }
        }
      })
      yield* provisionInfrastructure(yield* get(RemoteClusters, namespace, "bare"))
      const cluster = yield* until(
        "infrastructure",
        Clusters,
        namespace,
        "bare",
        (one) => initialization(one) !== undefined
      )
      assert.notProperty(initialization(cluster), "controlPlaneInitialized")
    })
  )
}

const sorted = (value: unknown): unknown =>
  typeof value === "object" && value !== null ? Object.entries(value).sort() : value
