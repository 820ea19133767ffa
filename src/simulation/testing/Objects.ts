/**
 * Owns the few objects that most tests begin with: a cluster with a hosted control plane, a pool's host with its key, and
 * a MachineDeployment of k0s workers on the pool. Anything else is applied as YAML. Does not own who acts on them.
 */
import type { JsonObject } from "../../kube/KubeClient.ts"
import { SIMULATED_KEY } from "../hosts/Accounts.ts"

export const DEFAULT_NAMESPACE = "default"
export const DEFAULT_POOL = "default"
export const DEFAULT_CLUSTER = "demo"
/** Name of the Secret that simulated hosts are reached with, in each namespace that has hosts. */
export const KEY_SECRET = "ssh-key"

const CLUSTER = "cluster.x-k8s.io/v1beta1"
const INFRASTRUCTURE = "infrastructure.cluster.x-k8s.io/v1beta1"
const BOOTSTRAP = "bootstrap.cluster.x-k8s.io/v1beta1"
const CONTROL_PLANE = "controlplane.cluster.x-k8s.io/v1beta1"

const object = (apiVersion: string, kind: string, namespace: string, name: string, rest: JsonObject): JsonObject => ({
  apiVersion,
  kind,
  metadata: { namespace, name },
  ...rest
})

export const keySecret = (namespace: string): JsonObject =>
  object("v1", "Secret", namespace, KEY_SECRET, {
    data: { value: Buffer.from(SIMULATED_KEY).toString("base64") }
  })

export interface ClusterInput {
  /** Absent: `demo`. */
  readonly name?: string
  readonly namespace?: string
  /** Absent: v1.33.1+k0s.0. */
  readonly version?: string
}

export const cluster = ({
  name = DEFAULT_CLUSTER,
  namespace = DEFAULT_NAMESPACE,
  version = "v1.33.1+k0s.0"
}: ClusterInput): ReadonlyArray<JsonObject> => {
  const infrastructureRef = { apiVersion: INFRASTRUCTURE, kind: "RemoteCluster", name, namespace }
  const controlPlaneRef = { apiVersion: CONTROL_PLANE, kind: "K0smotronControlPlane", name, namespace }
  return [
    object(CLUSTER, "Cluster", namespace, name, { spec: { infrastructureRef, controlPlaneRef } }),
    object(INFRASTRUCTURE, "RemoteCluster", namespace, name, { spec: {} }),
    object(CONTROL_PLANE, "K0smotronControlPlane", namespace, name, {
      spec: { version: version.replace("+", "-") }
    })
  ]
}

export interface WorkersInput {
  /** Of the MachineDeployment; absent: `workers`. */
  readonly name?: string
  readonly namespace?: string
  readonly cluster?: string
  readonly pool?: string
  /** Absent: 1. */
  readonly replicas?: number
  /** More of the MachineDeployment's spec, such as `strategy`. */
  readonly spec?: JsonObject
  /** Of the K0sWorkerConfigs. */
  readonly config?: JsonObject
}

export const workers = (input: WorkersInput): ReadonlyArray<JsonObject> => {
  const { namespace = DEFAULT_NAMESPACE, name = "workers", cluster: clusterName = DEFAULT_CLUSTER } = input
  const labels = { "cluster.x-k8s.io/cluster-name": clusterName, "cluster.x-k8s.io/deployment-name": name }
  const configRef = { apiVersion: BOOTSTRAP, kind: "K0sWorkerConfigTemplate", name, namespace }
  const infrastructureRef = { apiVersion: INFRASTRUCTURE, kind: "RemoteMachineTemplate", name, namespace }
  return [
    object(BOOTSTRAP, "K0sWorkerConfigTemplate", namespace, name, {
      spec: { template: { spec: { version: "v1.33.1+k0s.0", ...input.config } } }
    }),
    object(INFRASTRUCTURE, "RemoteMachineTemplate", namespace, name, {
      spec: { template: { spec: { pool: input.pool ?? DEFAULT_POOL } } }
    }),
    object(CLUSTER, "MachineDeployment", namespace, name, {
      spec: {
        clusterName,
        replicas: input.replicas ?? 1,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: { clusterName, bootstrap: { configRef }, infrastructureRef }
        },
        ...input.spec
      }
    })
  ]
}

export interface PoolHostInput {
  readonly namespace?: string
  readonly pool?: string
  readonly labels?: JsonObject
  readonly annotations?: JsonObject
  /** More of `spec.machine`. */
  readonly machine?: JsonObject
}

export const poolHost = (name: string, address: string, port: number, input: PoolHostInput): JsonObject => {
  const { annotations = {}, labels = {}, namespace = DEFAULT_NAMESPACE, pool = DEFAULT_POOL } = input
  return {
    apiVersion: INFRASTRUCTURE,
    kind: "PooledRemoteMachine",
    metadata: { namespace, name, labels, annotations },
    spec: { pool, machine: { address, port, user: "root", sshKeyRef: { name: KEY_SECRET }, ...input.machine } }
  }
}
