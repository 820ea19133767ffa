/**
 * Holds: a control plane of the user's own, told by a kubeconfig Secret that no stand-in wrote, is left alone: its Secrets
 * stay as they are, its address becomes the Cluster's, and it is vouched for.
 */
import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { Secrets, secretData, secretText } from "../../../src/api/Core.ts"
import { ourCrds } from "../../../src/api/crd/Render.ts"
import { RemoteClusters } from "../../../src/api/RemoteCluster.ts"
import type { JsonObject } from "../../../src/kube/KubeClient.ts"
import { jsonAt } from "../../../src/simulation/apiserver/Json.ts"
import { accessIn } from "../../../src/simulation/core/KubeconfigSecret.ts"
import * as ManagementCluster from "../../../src/simulation/core/ManagementCluster.ts"
import * as SimulatedWorkloads from "../../../src/simulation/core/SimulatedWorkloads.ts"
import { K0smotronControlPlanes } from "../../../src/simulation/core/standins/K0smotronControlPlanes.ts"
import * as WorkloadFront from "../../../src/simulation/core/WorkloadFront.ts"
import * as SimulatedApiServer from "../../../src/simulation/SimulatedApiServer.ts"
import { fronted } from "../http/Fronted.ts"

const NAMESPACE = "default"
const metadata = { namespace: NAMESPACE, name: "lab" }
const reference = (group: string, kind: string) => ({ apiVersion: `${group}/v1beta1`, kind, name: "lab" })
const CONTROL_PLANE = "controlplane.cluster.x-k8s.io"
const INFRASTRUCTURE = "infrastructure.cluster.x-k8s.io"

const manifests: ReadonlyArray<JsonObject> = [
  {
    apiVersion: "cluster.x-k8s.io/v1beta1",
    kind: "Cluster",
    metadata,
    spec: {
      controlPlaneRef: reference(CONTROL_PLANE, "K0smotronControlPlane"),
      infrastructureRef: reference(INFRASTRUCTURE, "RemoteCluster")
    }
  },
  {
    apiVersion: `${CONTROL_PLANE}/v1beta1`,
    kind: "K0smotronControlPlane",
    metadata,
    spec: { version: "v1.34.2-k0s.0" }
  },
  { apiVersion: `${INFRASTRUCTURE}/v1beta1`, kind: "RemoteCluster", metadata, spec: {} }
]

/** Looks until it is so; the test's timeout bounds it. */
const until = <A, E>(look: Effect.Effect<A, E>, holds: (found: A) => boolean) =>
  look.pipe(Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: holds }))

const world = Effect.gen(function* () {
  const own = yield* fronted()
  const server = yield* SimulatedApiServer.make()
  for (const crd of ourCrds) yield* server.apply(JSON.parse(JSON.stringify(crd)))
  const front = yield* WorkloadFront.make("127.0.0.1")
  const workloads = yield* SimulatedWorkloads.make({ front })
  yield* ManagementCluster.make({ client: server.client, workloads })
  const kube = server.kubeClient
  const plane = until(kube.get(K0smotronControlPlanes, metadata), (one) => one.status?.["ready"] === true)
  return { own, server, kube, workloads, plane }
})

describe("a control plane of the user's own", () => {
  it.live("is taken as its kubeconfig says, and nothing of it is changed", () =>
    Effect.gen(function* () {
      const { kube, own, plane, server, workloads } = yield* world
      const name = "lab-kubeconfig"
      const data = secretData({ value: own.front.kubeconfig })
      yield* kube.create(Secrets, { metadata: { namespace: NAMESPACE, name }, data })
      for (const manifest of manifests) yield* server.apply(manifest)
      const found = yield* plane
      assert.isTrue(jsonAt(found.status, ["initialization", "controlPlaneInitialized"]))
      assert.include(JSON.stringify(found.status), "nobody looked whether it answers")
      const { spec } = yield* kube.get(RemoteClusters, metadata)
      assert.deepStrictEqual(spec?.controlPlaneEndpoint, { host: "127.0.0.1", port: own.front.port })
      assert.deepStrictEqual((yield* kube.get(Secrets, { namespace: NAMESPACE, name })).data, data)
      const authority = yield* kube.get(Secrets, { namespace: NAMESPACE, name: "lab-ca" })
      assert.strictEqual(secretText(authority, "tls.crt"), own.front.caPem)
      assert.isUndefined(workloads.server(metadata))
    }).pipe(Effect.scoped, Effect.provide(SecureRandom.layerWebCrypto))
  )

  it.live("without one, a stand-in is served on a port of this machine, and is found there", () =>
    Effect.gen(function* () {
      const { kube, plane, server, workloads } = yield* world
      for (const manifest of manifests) yield* server.apply(manifest)
      yield* plane
      const kubeconfig = yield* kube.get(Secrets, { namespace: NAMESPACE, name: "lab-kubeconfig" })
      const access = accessIn(secretText(kubeconfig, "value") ?? "")
      const { spec } = yield* kube.get(RemoteClusters, metadata)
      assert.strictEqual(access?.server, `https://127.0.0.1:${spec?.controlPlaneEndpoint?.port}`)
      assert.isDefined(workloads.server(metadata))
    }).pipe(Effect.scoped, Effect.provide(SecureRandom.layerWebCrypto))
  )
})
