/**
 * Owns what a simulation sets up: an API server in memory with our CRDs and CAPI's kinds, and the objects of one
 * cluster as CAPI's core would have left them. Not the provider, and nothing that happens to these objects later.
 */
import * as Effect from "effect/Effect"
import { Clusters, MachineDeployments, MachineSets, Machines } from "../api/ClusterApi.ts"
import { Secrets, secretData } from "../api/Core.ts"
import { ourCrds } from "../api/crd/Render.ts"
import { PooledRemoteMachines } from "../api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../api/RemoteMachine.ts"
import type { JsonObject, KubeClientShape } from "../kube/KubeClient.ts"
import { SIMULATED_KEY } from "./hosts/Accounts.ts"
import * as SimulatedApiServer from "./SimulatedApiServer.ts"

export const NAMESPACE = "default"
export const CLUSTER = "demo"

export const apiServer = Effect.fnUntraced(function* (options: SimulatedApiServer.SimulatedApiServerOptions = {}) {
  const server = yield* SimulatedApiServer.make(options)
  for (const crd of ourCrds) yield* server.apply(JSON.parse(JSON.stringify(crd)))
  yield* server.registerKind(Clusters)
  yield* server.registerKind(Machines)
  yield* server.registerKind(MachineSets)
  yield* server.registerKind(MachineDeployments)
  return server
})

const meta = (name: string, more: JsonObject = {}, namespace = NAMESPACE) => ({ name, namespace, ...more })

export const createCluster = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  name = CLUSTER,
  namespace = NAMESPACE
) {
  yield* kube.create(Clusters, {
    metadata: meta(name, {}, namespace),
    spec: { controlPlaneEndpoint: { host: "127.0.0.1", port: 6443 } }
  })
  return yield* kube.patch(
    Clusters,
    { namespace, name },
    { status: { initialization: { infrastructureProvisioned: true, controlPlaneInitialized: true } } },
    { subresource: "status" }
  )
})

export const createKey = (
  kube: KubeClientShape,
  name = "key",
  value: string = SIMULATED_KEY,
  namespace: string = NAMESPACE
) => kube.create(Secrets, { metadata: meta(name, {}, namespace), data: secretData({ value }) })

export interface HostInput {
  readonly name: string
  readonly namespace?: string
  readonly address: string
  readonly pool?: string
  readonly key?: string
  readonly labels?: JsonObject
  readonly machine?: JsonObject
}

export const createHost = (kube: KubeClientShape, input: HostInput) =>
  kube.create(PooledRemoteMachines, {
    metadata: meta(input.name, input.labels === undefined ? {} : { labels: input.labels }, input.namespace),
    spec: {
      pool: input.pool ?? "default",
      machine: {
        address: input.address,
        port: 22,
        user: "root",
        sshKeyRef: { name: input.key ?? "key" },
        ...input.machine
      }
    }
  })

/** Three steps, the last one with the sentinel: what any bootstrap provider's data ends with. */
export const CLOUD_CONFIG = `#cloud-config
write_files:
  - path: /etc/demo.conf
    content: demo
runcmd:
  - echo one
  - echo two
  - mkdir -p /run/cluster-api && touch /run/cluster-api/bootstrap-success.complete
`

export interface MachineInput {
  readonly name: string
  readonly namespace?: string
  readonly pool?: string
  readonly spec?: JsonObject
  readonly data?: string
  readonly cluster?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** That the Machine asks for. */
  readonly failureDomain?: string
}

/** Machine with bootstrap data, and its RemoteMachine owned by it. */
export const createMachine = Effect.fnUntraced(function* (kube: KubeClientShape, input: MachineInput) {
  const cluster = input.cluster ?? CLUSTER
  const labels = { "cluster.x-k8s.io/cluster-name": cluster }
  yield* kube.create(Secrets, {
    metadata: meta(`${input.name}-bootstrap`, {}, input.namespace),
    type: "cluster.x-k8s.io/secret",
    data: secretData({ value: input.data ?? CLOUD_CONFIG, format: "cloud-config" })
  })
  const machine = yield* kube.create(Machines, {
    metadata: meta(input.name, { labels }, input.namespace),
    spec: {
      clusterName: cluster,
      ...(input.failureDomain === undefined ? {} : { failureDomain: input.failureDomain }),
      bootstrap: {
        dataSecretName: `${input.name}-bootstrap`,
        configRef: { apiGroup: "bootstrap.cluster.x-k8s.io", kind: "K0sWorkerConfig", name: input.name }
      }
    }
  })
  return yield* kube.create(RemoteMachines, {
    metadata: meta(
      input.name,
      {
        labels: { ...labels, ...input.labels },
        ...(input.annotations === undefined ? {} : { annotations: { ...input.annotations } }),
        ownerReferences: [
          {
            apiVersion: "cluster.x-k8s.io/v1beta2",
            kind: "Machine",
            name: input.name,
            uid: machine.metadata.uid ?? "",
            controller: true,
            blockOwnerDeletion: true
          }
        ]
      },
      input.namespace
    ),
    spec: input.pool === undefined ? { ...input.spec } : { pool: input.pool, ...input.spec }
  })
})

export const ref = (name: string) => ({ namespace: NAMESPACE, name })
