/** Holds: every answer about CAPI's objects is the same in both of its API versions (the table of CONTRACT section 1). */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { type Cluster, ClusterSchema, type Machine, MachineSchema } from "../../src/api/ClusterApi.ts"
import * as View from "../../src/api/ClusterApiView.ts"

const metadata = { name: "c", namespace: "ns" }
const cluster = (object: object): Cluster => Schema.decodeUnknownSync(ClusterSchema)({ metadata, ...object })
const machine = (object: object): Machine => Schema.decodeUnknownSync(MachineSchema)({ metadata, ...object })

const initialized = { type: "ControlPlaneInitialized", status: "True" }
const infrastructure = "infrastructure.cluster.x-k8s.io"
const bootstrap = "bootstrap.cluster.x-k8s.io"

interface Row {
  readonly answer: string
  readonly v1beta1: unknown
  readonly v1beta2: unknown
  readonly expected: unknown
}

const rows: ReadonlyArray<Row> = [
  {
    answer: "infrastructure ready",
    v1beta1: View.clusterInfrastructureReady(cluster({ status: { infrastructureReady: true } })),
    v1beta2: View.clusterInfrastructureReady(
      cluster({ status: { initialization: { infrastructureProvisioned: true } } })
    ),
    expected: true
  },
  {
    answer: "infrastructure not ready",
    v1beta1: View.clusterInfrastructureReady(cluster({ status: { infrastructureReady: false } })),
    v1beta2: View.clusterInfrastructureReady(cluster({ status: { initialization: {} } })),
    expected: false
  },
  {
    answer: "control plane initialized",
    v1beta1: View.controlPlaneInitialized(cluster({ status: { conditions: [initialized] } })),
    v1beta2: View.controlPlaneInitialized(cluster({ status: { initialization: { controlPlaneInitialized: true } } })),
    expected: true
  },
  {
    answer: "control plane not initialized, though ready",
    v1beta1: View.controlPlaneInitialized(
      cluster({ status: { controlPlaneReady: true, conditions: [{ ...initialized, status: "False" }] } })
    ),
    v1beta2: View.controlPlaneInitialized(
      cluster({ status: { initialization: { controlPlaneInitialized: false }, conditions: [initialized] } })
    ),
    expected: false
  },
  {
    answer: "nothing reported",
    v1beta1: View.clusterInfrastructureReady(cluster({})) || View.controlPlaneInitialized(cluster({ status: {} })),
    v1beta2: View.clusterPaused(cluster({ spec: {} })),
    expected: false
  },
  {
    answer: "bootstrap data Secret",
    v1beta1: View.machineDataSecretName(machine({ spec: { bootstrap: { dataSecretName: "d" } } })),
    v1beta2: View.machineDataSecretName(machine({ spec: { bootstrap: { dataSecretName: "d" } } })),
    expected: "d"
  },
  {
    answer: "no bootstrap data Secret",
    v1beta1: View.machineDataSecretName(machine({ spec: { bootstrap: { configRef: { name: "d" } } } })),
    v1beta2: View.machineDataSecretName(machine({ spec: { bootstrap: { dataSecretName: "" } } })),
    expected: undefined
  },
  {
    answer: "bootstrap config",
    v1beta1: View.machineBootstrapRef(
      machine({
        spec: {
          bootstrap: {
            configRef: { apiVersion: `${bootstrap}/v1beta1`, kind: "K0sWorkerConfig", name: "b", namespace: "ns" }
          }
        }
      })
    ),
    v1beta2: View.machineBootstrapRef(
      machine({ spec: { bootstrap: { configRef: { apiGroup: bootstrap, kind: "K0sWorkerConfig", name: "b" } } } })
    ),
    expected: { group: bootstrap, kind: "K0sWorkerConfig", name: "b", namespace: "ns" }
  },
  {
    answer: "infrastructure machine",
    v1beta1: View.machineInfrastructureRef(
      machine({
        spec: { infrastructureRef: { apiVersion: `${infrastructure}/v1beta1`, kind: "RemoteMachine", name: "m" } }
      })
    ),
    v1beta2: View.machineInfrastructureRef(
      machine({ spec: { infrastructureRef: { apiGroup: infrastructure, kind: "RemoteMachine", name: "m" } } })
    ),
    expected: { group: infrastructure, kind: "RemoteMachine", name: "m", namespace: "ns" }
  },
  {
    answer: "no reference",
    v1beta1: View.clusterControlPlaneRef(cluster({ spec: {} })),
    v1beta2: View.clusterControlPlaneRef(cluster({ spec: { controlPlaneRef: {} } })),
    expected: undefined
  },
  {
    answer: "node",
    v1beta1: View.machineNodeName(
      machine({ status: { nodeRef: { apiVersion: "v1", kind: "Node", name: "n", uid: "u" } } })
    ),
    v1beta2: View.machineNodeName(machine({ status: { nodeRef: { name: "n" } } })),
    expected: "n"
  },
  {
    answer: "machine's parts are ready",
    v1beta1: [
      View.machineInfrastructureReady(machine({ status: { infrastructureReady: true } })),
      View.machineBootstrapReady(machine({ status: { bootstrapReady: true } }))
    ],
    v1beta2: [
      View.machineInfrastructureReady(machine({ status: { initialization: { infrastructureProvisioned: true } } })),
      View.machineBootstrapReady(machine({ status: { initialization: { bootstrapDataSecretCreated: true } } }))
    ],
    expected: [true, true]
  }
]

describe("both versions", () => {
  it.each(rows)("$answer", ({ v1beta1, v1beta2, expected }) => {
    assert.deepStrictEqual(v1beta1, expected)
    assert.deepStrictEqual(v1beta2, expected)
  })
})

describe("endpoint", () => {
  it("is there only when whole", () => {
    const endpoint = (value: unknown) => View.controlPlaneEndpoint(cluster({ spec: { controlPlaneEndpoint: value } }))
    assert.deepStrictEqual(endpoint({ host: "h", port: 6443 }), { host: "h", port: 6443 })
    assert.isUndefined(endpoint({ host: "", port: 0 }))
    assert.isUndefined(endpoint({ host: "h", port: 0 }))
    assert.isUndefined(endpoint({ port: 6443 }))
    assert.isUndefined(endpoint(null))
    assert.isUndefined(View.controlPlaneEndpoint(cluster({})))
  })
})

describe("paused", () => {
  const object = (annotations?: Record<string, string>) => ({
    metadata: { name: "m", ...(annotations && { annotations }) }
  })

  it("by the Cluster, or by the annotation whatever its value", () => {
    assert.isFalse(View.isPaused(object(), undefined))
    assert.isFalse(View.isPaused(object({}), cluster({ spec: { paused: false } })))
    assert.isTrue(View.isPaused(object(), cluster({ spec: { paused: true } })))
    assert.isTrue(View.isPaused(object({ "cluster.x-k8s.io/paused": "" }), undefined))
    assert.isTrue(View.isPaused(object({ "cluster.x-k8s.io/paused": "false" }), cluster({})))
  })
})

describe("owners and labels", () => {
  const owner = (apiVersion: string, kind: string) => ({ apiVersion, kind, name: "o", uid: "u" })
  const owned = (...ownerReferences: ReadonlyArray<ReturnType<typeof owner>>) => ({
    metadata: { name: "m", ownerReferences }
  })

  it("an owner is matched by group and kind, never by version", () => {
    assert.strictEqual(View.ownerMachine(owned(owner("cluster.x-k8s.io/v1beta2", "Machine")))?.name, "o")
    assert.strictEqual(View.ownerMachine(owned(owner("cluster.x-k8s.io/v9", "Machine")))?.name, "o")
    assert.isUndefined(View.ownerMachine(owned(owner("other.io/v1beta1", "Machine"))))
    assert.isUndefined(View.ownerMachine(owned(owner("cluster.x-k8s.io/v1beta1", "MachineSet"))))
    assert.isUndefined(View.ownerMachine({ metadata: { name: "m" } }))
    assert.strictEqual(View.ownerCluster(owned(owner("cluster.x-k8s.io/v1beta1", "Cluster")))?.uid, "u")
  })

  it("cluster name and role come from labels, whatever the role's value", () => {
    const labelled = (labels: Record<string, string>) => ({ metadata: { name: "m", labels } })
    assert.strictEqual(View.clusterNameOf(labelled({ "cluster.x-k8s.io/cluster-name": "c" })), "c")
    assert.isUndefined(View.clusterNameOf(labelled({})))
    assert.isTrue(View.isControlPlaneMachine(labelled({ "cluster.x-k8s.io/control-plane": "" })))
    assert.isFalse(View.isControlPlaneMachine(labelled({})))
    assert.strictEqual(View.machineClusterName(machine({ spec: { clusterName: "c" } })), "c")
  })

  it("the core group is empty", () => {
    assert.strictEqual(View.groupOf("v1"), "")
    assert.strictEqual(View.groupOf("apps/v1"), "apps")
  })
})
