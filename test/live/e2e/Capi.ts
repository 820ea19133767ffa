/**
 * Owns what the end-to-end suites need of Cluster API: stand-in CRDs of its Cluster and Machine (both API versions, no
 * schema), and what its Machine controller does with the objects of one machine, as a script of the test. Not the real
 * core: drain, Nodes and rollouts are not played.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { Clusters, Machines } from "../../../src/api/ClusterApi.ts"
import { Secrets, secretData } from "../../../src/api/Core.ts"
import * as Names from "../../../src/api/Names.ts"
import { RemoteMachines } from "../../../src/api/RemoteMachine.ts"
import type { JsonObject, KubeClientShape } from "../../../src/kube/KubeClient.ts"
import { installCrd } from "../apiserver/ApiServer.ts"

/** How often it is looked whether a deleted object has gone: its finalizer is the provider's to remove. */
const GONE_INTERVAL = "50 millis"

const version = (name: string, storage: boolean) => ({
  name,
  served: true,
  storage,
  subresources: { status: {} },
  schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } }
})

const standIn = (kind: string) => {
  const plural = `${kind.toLowerCase()}s`
  return {
    metadata: { name: `${plural}.${Names.CLUSTER_GROUP}` },
    spec: {
      group: Names.CLUSTER_GROUP,
      scope: "Namespaced",
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
      versions: [version("v1beta2", true), version("v1beta1", false)]
    }
  }
}

export const installStandIns = (kube: KubeClientShape) =>
  Effect.forEach(["Cluster", "Machine"], (kind) => installCrd(kube, standIn(kind)), { discard: true })

export const createCluster = Effect.fnUntraced(function* (kube: KubeClientShape, namespace: string, name: string) {
  yield* kube.create(Clusters, {
    metadata: { namespace, name },
    spec: { controlPlaneEndpoint: { host: "127.0.0.1", port: 6443 } }
  })
  yield* kube.patch(
    Clusters,
    { namespace, name },
    { status: { initialization: { infrastructureProvisioned: true, controlPlaneInitialized: true } } },
    { subresource: "status" }
  )
})

export interface MachineInput {
  readonly namespace: string
  readonly cluster: string
  readonly name: string
  /** Of the RemoteMachine; what a RemoteMachineTemplate would have. */
  readonly spec: JsonObject
  /** Bootstrap data; undefined: the Secret is named, but not there. */
  readonly data: Uint8Array | string | undefined
}

export const dataSecret = (name: string): string => `${name}-bootstrap`

export const createDataSecret = (kube: KubeClientShape, namespace: string, name: string, data: Uint8Array | string) =>
  kube.create(Secrets, {
    metadata: { namespace, name: dataSecret(name) },
    type: Names.CLUSTER_SECRET_TYPE,
    data: secretData({ value: data, format: "cloud-config" })
  })

/** Secret, Machine, and the RemoteMachine as MachineSet's clone of a template leaves it, owned by the Machine. */
export const createMachine = Effect.fnUntraced(function* (kube: KubeClientShape, input: MachineInput) {
  const { namespace, cluster, name } = input
  const labels = { [Names.CLUSTER_NAME_LABEL]: cluster }
  if (input.data !== undefined) yield* createDataSecret(kube, namespace, name, input.data)
  const machine = yield* kube.create(Machines, {
    metadata: { namespace, name, labels, finalizers: ["machine.cluster.x-k8s.io"] },
    spec: {
      clusterName: cluster,
      bootstrap: {
        dataSecretName: dataSecret(name),
        configRef: { apiGroup: Names.BOOTSTRAP_GROUP, kind: "K0sWorkerConfig", name }
      },
      infrastructureRef: { apiGroup: Names.INFRASTRUCTURE_GROUP, kind: "RemoteMachine", name }
    }
  })
  yield* kube.create(RemoteMachines, {
    metadata: {
      namespace,
      name,
      labels,
      annotations: {
        [Names.CLONED_FROM_NAME_ANNOTATION]: "template",
        [Names.CLONED_FROM_GROUP_KIND_ANNOTATION]: `RemoteMachineTemplate.${Names.INFRASTRUCTURE_GROUP}`
      },
      ownerReferences: [
        {
          apiVersion: `${Names.CLUSTER_GROUP}/v1beta2`,
          kind: "Machine",
          name,
          uid: machine.metadata.uid ?? "",
          controller: true,
          blockOwnerDeletion: true
        }
      ]
    },
    spec: input.spec
  })
})

/** As its Machine controller does: the RemoteMachine, and when that is gone the bootstrap data, then the Machine. */
export const deleteMachine = Effect.fnUntraced(function* (kube: KubeClientShape, namespace: string, name: string) {
  yield* kube.delete(RemoteMachines, { namespace, name })
  yield* kube.get(RemoteMachines, { namespace, name }).pipe(
    Effect.as(false),
    Effect.catchIf(
      (error) => error.reason === "NotFound",
      () => Effect.succeed(true)
    ),
    Effect.repeat({ schedule: Schedule.spaced(GONE_INTERVAL), until: (gone) => gone })
  )
  yield* kube.delete(Secrets, { namespace, name: dataSecret(name) }).pipe(Effect.ignore)
  yield* kube.delete(Machines, { namespace, name })
  yield* kube.patch(Machines, { namespace, name }, { metadata: { finalizers: [] } })
})
