/**
 * Owns the picture of a demo at a moment: pools, machines with state and step, and the totals, read straight from the
 * store of the management cluster. Does not own how it is shown (cli/demo), nor when.
 */
import { JOINED_ANNOTATION } from "../../api/Names.ts"
import type { Json, JsonObject } from "../../kube/KubeClient.ts"
import type { ApiStore } from "../apiserver/ApiStore.ts"
import { arrayAt, jsonAt, objectAt, type StoredObject, stringAt } from "../apiserver/Json.ts"

export interface MachinePicture {
  readonly namespace: string
  readonly name: string
  /** Of the Machine: Pending, Provisioning, Provisioned, Running, Deleting. */
  readonly phase: string
  /** Of the RemoteMachine; empty for machines of other providers. */
  readonly state: string
  readonly host: string
  /** `3/7`, and its name; empty when nothing runs. */
  readonly step: string
  readonly stepName: string
  /** From 0 to 1. */
  readonly progress: number
  readonly infraReady: boolean
  readonly running: boolean
  /** A controller that is no Node, and never will be: Cluster API calls it Provisioned, its cluster knows it. */
  readonly isController: boolean
  /** Why it isn't ready, in its own words. */
  readonly reason: string
  readonly message: string
}

export interface PoolPicture {
  readonly namespace: string
  readonly pool: string
  readonly hosts: number
  /** By phase: Free, Reserved, … */
  readonly phases: ReadonlyMap<string, number>
}

export interface Picture {
  readonly machines: ReadonlyArray<MachinePicture>
  readonly pools: ReadonlyArray<PoolPicture>
  /** Machines that MachineDeployments and control planes are yet to make. */
  readonly awaited: number
}

const CLUSTER_GROUP = "cluster.x-k8s.io"
const INFRASTRUCTURE_GROUP = "infrastructure.cluster.x-k8s.io"
const BOOTSTRAP_GROUP = "bootstrap.cluster.x-k8s.io"
const CONTROL_PLANE_GROUP = "controlplane.cluster.x-k8s.io"

const listOf = (store: ApiStore, group: string, kind: string): ReadonlyArray<StoredObject> => {
  const type = store.registry.byKind(group, kind)
  return type === undefined ? [] : store.storage.list(type)
}

const numberAt = (value: Json | undefined, ...path: ReadonlyArray<string>): number => {
  const found = jsonAt(value, path)
  return typeof found === "number" ? found : 0
}

const readyCondition = (object: JsonObject | undefined): JsonObject =>
  objectAt(
    { found: arrayAt(object, "status", "conditions").find((one) => stringAt(one, "type") === "Ready") ?? null },
    "found"
  )

const referred = (store: ApiStore, machine: StoredObject, ...path: ReadonlyArray<string>): StoredObject | undefined => {
  const reference = objectAt(machine, "spec", ...path)
  const group = stringAt(reference, "apiGroup") ?? (stringAt(reference, "apiVersion") ?? "").split("/")[0] ?? ""
  const type = store.registry.byKind(group, stringAt(reference, "kind") ?? "")
  const name = stringAt(reference, "name")
  if (type === undefined || name === undefined) return undefined
  return store.storage.get({ type, namespace: machine.metadata.namespace ?? "", name })
}

const machinePicture = (store: ApiStore, machine: StoredObject, knows: ControllersKnown): MachinePicture => {
  const infra = referred(store, machine, "infrastructureRef")
  const config = referred(store, machine, "bootstrap", "configRef")
  const phase = stringAt(machine, "status", "phase") ?? "Pending"
  const infraReady = jsonAt(infra, ["status", "ready"]) === true
  const isController =
    phase === "Provisioned" &&
    config?.kind === "K0sControllerConfig" &&
    (knows === "by themselves" || config.metadata.annotations?.[JOINED_ANNOTATION] !== undefined)
  const running = phase === "Running" || isController
  const configReason = readyCondition(config)
  // Without its data nobody can go on.
  const why = stringAt(configReason, "status") === "False" ? configReason : readyCondition(infra)
  const step = numberAt(infra, "status", "bootstrap", "step")
  const steps = numberAt(infra, "status", "bootstrap", "of")
  const isReady = stringAt(why, "status") === "True"
  return {
    namespace: machine.metadata.namespace ?? "",
    name: machine.metadata.name,
    phase,
    state: stringAt(infra, "status", "phase") ?? "",
    host: stringAt(infra, "status", "host") ?? "",
    step: infraReady || steps === 0 ? "" : `${step}/${steps}`,
    stepName: infraReady ? "" : (stringAt(infra, "status", "bootstrap", "name") ?? ""),
    progress: running ? 1 : infraReady ? 0.95 : steps === 0 ? 0 : (0.9 * Math.max(0, step - 1)) / steps,
    infraReady,
    running,
    isController,
    reason: isReady ? "" : (stringAt(why, "reason") ?? ""),
    message: isReady ? "" : (stringAt(why, "message") ?? "")
  }
}

const pools = (store: ApiStore): ReadonlyArray<PoolPicture> => {
  const found = new Map<string, { namespace: string; pool: string; hosts: number; phases: Map<string, number> }>()
  for (const object of listOf(store, INFRASTRUCTURE_GROUP, "PooledRemoteMachine")) {
    const namespace = object.metadata.namespace ?? ""
    const pool = stringAt(object, "spec", "pool") ?? ""
    const key = `${namespace}/${pool}`
    const one = found.get(key) ?? { namespace, pool, hosts: 0, phases: new Map<string, number>() }
    const phase = stringAt(object, "status", "phase") ?? "Unknown"
    one.hosts += 1
    one.phases.set(phase, (one.phases.get(phase) ?? 0) + 1)
    found.set(key, one)
  }
  return [...found.values()]
}

/**
 * Who says that a controller has joined: the stand-in cluster that it is a member of, or, on real hosts, its bootstrap
 * alone, which ends once its own API server serves: that one is no stand-in's, and nobody else can ask it.
 */
export type ControllersKnown = "by their cluster" | "by themselves"

/** Of what makes Machines: how many it wants more than it has. */
const missing = (owner: StoredObject, machines: ReadonlyMap<string, number>): number =>
  Math.max(0, numberAt(owner, "spec", "replicas") - (machines.get(owner.metadata.uid) ?? 0))

export const picture = (store: ApiStore, controllers: ControllersKnown): Picture => {
  const machines = listOf(store, CLUSTER_GROUP, "Machine")
  const sets = listOf(store, CLUSTER_GROUP, "MachineSet")
  const deploymentOf = new Map(sets.map((set) => [set.metadata.uid, set.metadata.ownerReferences?.[0]?.uid] as const))
  const counts = new Map<string, number>()
  for (const machine of machines) {
    for (const { uid } of machine.metadata.ownerReferences ?? []) {
      const owner = deploymentOf.get(uid) ?? uid
      counts.set(owner, (counts.get(owner) ?? 0) + 1)
    }
  }
  const makers = [
    ...listOf(store, CLUSTER_GROUP, "MachineDeployment"),
    ...sets.filter((set) => deploymentOf.get(set.metadata.uid) === undefined),
    ...listOf(store, CONTROL_PLANE_GROUP, "K0sControlPlane")
  ].filter((maker) => maker.metadata.deletionTimestamp === undefined)
  return {
    machines: machines.map((machine) => machinePicture(store, machine, controllers)),
    pools: pools(store),
    awaited: makers.reduce((sum, maker) => sum + missing(maker, counts), 0)
  }
}

export interface Totals {
  readonly machines: number
  readonly ready: number
  readonly running: number
}

export const totals = ({ awaited, machines }: Picture): Totals => ({
  machines: machines.length + awaited,
  ready: machines.filter((machine) => machine.infraReady).length,
  running: machines.filter((machine) => machine.infraReady && machine.running).length
})

/** Kinds whose objects a deletion must make disappear. */
const TIDIED: ReadonlyArray<readonly [group: string, kind: string]> = [
  ...["Cluster", "Machine", "MachineSet", "MachineDeployment"].map((kind) => [CLUSTER_GROUP, kind] as const),
  ...["RemoteCluster", "RemoteMachine", "RemoteMachineTemplate", "PooledRemoteMachine", "AWSMachine", "AWSCluster"].map(
    (kind) => [INFRASTRUCTURE_GROUP, kind] as const
  ),
  ...["K0sWorkerConfig", "K0sWorkerConfigTemplate", "K0sControllerConfig"].map(
    (kind) => [BOOTSTRAP_GROUP, kind] as const
  ),
  ...["K0smotronControlPlane", "K0sControlPlane"].map((kind) => [CONTROL_PLANE_GROUP, kind] as const)
]

/** Objects of the demo's kinds that are there, by `Kind namespace/name`. */
export const remaining = (store: ApiStore): ReadonlyArray<string> =>
  TIDIED.flatMap(([group, kind]) =>
    listOf(store, group, kind).map(({ metadata }) => `${kind} ${metadata.namespace ?? ""}/${metadata.name}`)
  )

/** Namespaces that are being deleted: nothing can be made in one until it is gone. */
export const terminating = (store: ApiStore): ReadonlyArray<string> =>
  listOf(store, "", "Namespace")
    .filter(({ metadata }) => metadata.deletionTimestamp !== undefined)
    .map(({ metadata }) => `Namespace ${metadata.name}`)
