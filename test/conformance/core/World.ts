/**
 * Owns the words that the scenarios of CAPI's core are written in: a management cluster with core at work, a workload
 * cluster, waiting for objects by their watches, and a provider played by the test: it says of infrastructure and
 * bootstrap objects what a provider would, when the scenario wants it. Does not own scenarios nor any core.
 */
import { assert, type Vitest } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Namespaces, Nodes, Secrets, secretData } from "../../../src/api/Core.ts"
import type { Kind } from "../../../src/api/Kind.ts"
import { kubeconfigSecretName } from "../../../src/api/Names.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../../../src/kube/KubeClient.ts"
import type { KubeError } from "../../../src/kube/KubeError.ts"
import * as Reflector from "../../../src/kube/Reflector.ts"
import { keyIn, Machines, type Raw, rawKind } from "../../../src/simulation/core/Raw.ts"

export { Clusters, MachineDeployments, MachineSets, Machines } from "../../../src/simulation/core/Raw.ts"

/** What a scenario may wait for, at most: a real manager's requeues are slow. */
const WAIT = "2 minutes"

const ours = (group: string, kind: string, plural: string): Kind<Raw> =>
  rawKind({ group: `${group}.cluster.x-k8s.io`, kind, plural, versions: ["v1beta1"] })
export const RemoteClusters = ours("infrastructure", "RemoteCluster", "remoteclusters")
export const RemoteMachines = ours("infrastructure", "RemoteMachine", "remotemachines")
export const RemoteMachineTemplates = ours("infrastructure", "RemoteMachineTemplate", "remotemachinetemplates")
export const WorkerConfigs = ours("bootstrap", "K0sWorkerConfig", "k0sworkerconfigs")
export const WorkerConfigTemplates = ours("bootstrap", "K0sWorkerConfigTemplate", "k0sworkerconfigtemplates")
export const ControlPlanes = ours("controlplane", "K0smotronControlPlane", "k0smotroncontrolplanes")

export interface CoreUnderTest {
  /** Of the management cluster: CAPI's kinds, ours, and K0smotronControlPlane are served, and core is at work. */
  readonly kube: KubeClientShape
  /** A workload cluster (the same one for all is fine) and the kubeconfig by which core reaches it. */
  readonly workload: Effect.Effect<{ readonly kube: KubeClientShape; readonly kubeconfig: string }, KubeError>
}

export class World extends Context.Service<World, CoreUnderTest>()("test/conformance/core/World") {
  static readonly layer = <E>(make: Effect.Effect<CoreUnderTest, E, Scope.Scope>) => Layer.effect(World, make)
}
export type It = Vitest.MethodsNonLive<World>

let namespaces = 0

/** Unlike any other, also on a server that other runs have used. */
export const freshNamespace = Effect.gen(function* () {
  const { kube } = yield* World
  const name = `core-${process.pid}-${namespaces++}`
  yield* kube.create(Namespaces, { metadata: { name } })
  return name
})

export const get = <A extends Raw>(kind: Kind<A>, namespace: string, name: string) =>
  Effect.flatMap(World, ({ kube }) => kube.get(kind, { namespace, name }))

export const listed = (kind: Kind<Raw>, namespace: string) =>
  Effect.flatMap(World, ({ kube }) => Effect.map(kube.list(kind, { namespace }), ({ items }) => items))

export const create = (
  kind: Kind<Raw>,
  namespace: string,
  name: string,
  rest: JsonObject = {},
  metadata: JsonObject = {}
) => Effect.flatMap(World, ({ kube }) => kube.create(kind, { metadata: { name, namespace, ...metadata }, ...rest }))

export const patch = (kind: Kind<Raw>, object: Raw, change: JsonObject) =>
  Effect.flatMap(World, ({ kube }) => kube.patch(kind, refOf(object), change))

export const patchStatus = (kind: Kind<Raw>, object: Raw, status: JsonObject) =>
  Effect.flatMap(World, ({ kube }) => kube.patch(kind, refOf(object), { status }, { subresource: "status" }))

export const remove = (kind: Kind<Raw>, object: Raw) =>
  Effect.flatMap(World, ({ kube }) => kube.delete(kind, refOf(object)))

const refOf = ({ metadata: { name, namespace } }: Raw) => ({ name, ...(namespace === undefined ? {} : { namespace }) })

/** Looks again whenever something of the kind changes in the namespace (`""`: of none), until what is there pleases. */
export const eventually = <A>(
  what: string,
  kind: Kind<Raw>,
  namespace: string,
  look: (objects: ReadonlyArray<Raw>) => A | undefined
): Effect.Effect<A, never, World> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { kube } = yield* World
      const reflector = yield* Reflector.make(kind, namespace === "" ? {} : { namespace }).pipe(
        Effect.provideService(KubeClient, kube)
      )
      yield* reflector.synced
      // The tick is for what was deleted between the list and the subscription.
      const found = yield* Stream.merge(reflector.changes, Stream.tick("1 second")).pipe(
        Stream.mapEffect(() => reflector.list()),
        Stream.map(look),
        Stream.filter((answer) => answer !== undefined),
        Stream.runHead,
        Effect.timeoutOption(WAIT),
        Effect.map(Option.flatten)
      )
      if (Option.isSome(found)) return found.value
      const there = (yield* reflector.list()).map((one) => JSON.stringify([one.metadata, one.status], undefined, 1))
      return assert.fail(`${what}: not within ${WAIT}. There is:\n${there.join("\n")}`)
    })
  )

/** One object that pleases. */
export const until = (
  what: string,
  kind: Kind<Raw>,
  namespace: string,
  name: string,
  pleases: (object: Raw) => boolean
) =>
  eventually(`${kind.kind} ${name}: ${what}`, kind, namespace, (objects) =>
    objects.find((one) => one.metadata.name === name && pleases(one))
  )

export const untilGone = (kind: Kind<Raw>, namespace: string, name: string) =>
  eventually(`${kind.kind} ${name} is gone`, kind, namespace, (objects) =>
    objects.some((one) => one.metadata.name === name) ? undefined : true
  )

export const owners = (object: Raw): ReadonlyArray<string> =>
  (object.metadata.ownerReferences ?? []).map(
    (owner) => `${owner.kind}/${owner.name}${owner.controller === true ? " (controller)" : ""}`
  )

export const conditionOf = (object: Raw, type: string): JsonObject | undefined => {
  const conditions = object.status?.["conditions"]
  return Array.isArray(conditions) ? conditions.find((one: JsonObject) => one["type"] === type) : undefined
}

/** With an infrastructure and a bootstrap config of its name, which nobody provides for yet. */
export const createMachine = Effect.fnUntraced(function* (namespace: string, name: string, cluster: string) {
  yield* create(WorkerConfigs, namespace, name)
  yield* create(RemoteMachines, namespace, name, { spec: { address: name, sshKeyRef: { name: "key" } } })
  return yield* create(Machines, namespace, name, {
    spec: {
      clusterName: cluster,
      bootstrap: { configRef: { apiGroup: "bootstrap.cluster.x-k8s.io", kind: "K0sWorkerConfig", name } },
      infrastructureRef: { apiGroup: "infrastructure.cluster.x-k8s.io", kind: "RemoteMachine", name }
    }
  })
})

// ------------------------------------------------------------------------------------------------ the played provider

export const provisionInfrastructure = (remoteCluster: Raw) =>
  patchStatus(RemoteClusters, remoteCluster, { ready: true, initialization: { provisioned: true } })

export const initializeControlPlane = (controlPlane: Raw) =>
  patchStatus(ControlPlanes, controlPlane, {
    ready: true,
    initialized: true,
    externalManagedControlPlane: true,
    // What core's preflight checks go by: without it no MachineSet gets a Machine.
    version: controlPlane.spec?.["version"] === undefined ? undefined : String(controlPlane.spec["version"]),
    initialization: { controlPlaneInitialized: true }
  })

export const giveBootstrapData = Effect.fnUntraced(function* (config: Raw) {
  const { kube } = yield* World
  const { name, namespace = "" } = config.metadata
  yield* kube.create(Secrets, { metadata: { name, namespace }, data: secretData({ value: "#cloud-config" }) }).pipe(
    Effect.catchIf(
      (error) => error.reason === "AlreadyExists",
      () => Effect.void
    )
  )
  yield* patchStatus(WorkerConfigs, config, {
    ready: true,
    dataSecretName: name,
    initialization: { dataSecretCreated: true }
  })
})

export const providerIdFor = (machine: Raw): string => `remote-machine://${machine.metadata.name}:22`

export const provisionMachine = Effect.fnUntraced(function* (machine: Raw) {
  const address = machine.metadata.name
  const spec = { providerID: providerIdFor(machine) }
  yield* patch(RemoteMachines, machine, { spec })
  yield* patchStatus(RemoteMachines, machine, {
    ready: true,
    addresses: [{ type: "ExternalIP", address }],
    initialization: { provisioned: true }
  })
})

/** Node names are those of the whole workload cluster. A kubelet reports these four conditions. */
export const createNode = Effect.fnUntraced(function* (
  name: string,
  providerID: string,
  given: Readonly<Record<string, string>> = KUBELET
) {
  const { kube } = yield* Effect.flatMap(World, ({ workload }) => workload)
  const node = yield* kube.create(Nodes, { metadata: { name }, spec: { providerID } })
  return yield* reportConditions(node.metadata.name, given)
})

export const KUBELET = { Ready: "True", MemoryPressure: "False", DiskPressure: "False", PIDPressure: "False" } as const

/** As its kubelet does: a Node's status is its own to write. */
export const reportConditions = Effect.fnUntraced(function* (name: string, given: Readonly<Record<string, string>>) {
  const { kube } = yield* Effect.flatMap(World, ({ workload }) => workload)
  const conditions = Object.entries(given).map(([type, status]) => ({ type, status, reason: "Played", message: "" }))
  return yield* kube.patch(Nodes, { name }, { status: { conditions } }, { subresource: "status" })
})

/** Everything that a cluster needs before it can have Machines. */
export const readyCluster = Effect.fnUntraced(function* (namespace: string, name: string) {
  const cluster = yield* createCluster(namespace, name)
  yield* provisionInfrastructure(yield* get(RemoteClusters, namespace, name))
  const { workload, kube } = yield* World
  const { kubeconfig } = yield* workload
  yield* kube.create(Secrets, {
    metadata: {
      name: kubeconfigSecretName(name),
      namespace,
      labels: { "cluster.x-k8s.io/cluster-name": name }
    },
    type: "cluster.x-k8s.io/secret",
    data: secretData({ value: kubeconfig })
  })
  yield* initializeControlPlane(yield* get(ControlPlanes, namespace, name))
  return cluster
})

const group = { infrastructure: "infrastructure.cluster.x-k8s.io", controlPlane: "controlplane.cluster.x-k8s.io" }

export const createCluster = Effect.fnUntraced(function* (namespace: string, name: string) {
  yield* create(RemoteClusters, namespace, name, {
    spec: { controlPlaneEndpoint: { host: "192.0.2.1", port: 6443 } }
  })
  yield* create(ControlPlanes, namespace, name, { spec: { version: "v1.27.2-k0s.0", replicas: 1 } })
  return yield* create(clustersKind, namespace, name, {
    spec: {
      infrastructureRef: { apiGroup: group.infrastructure, kind: "RemoteCluster", name },
      controlPlaneRef: { apiGroup: group.controlPlane, kind: "K0smotronControlPlane", name }
    }
  })
})

const clustersKind: Kind<Raw> = rawKind({
  group: "cluster.x-k8s.io",
  kind: "Cluster",
  plural: "clusters",
  versions: ["v1beta2"]
})

/** Plays the provider of one namespace until the scope closes: whatever core clones becomes ready, and gets its Node. */
export const playProvider = Effect.fnUntraced(function* (namespace: string) {
  const { kube } = yield* World
  const follow = (kind: Kind<Raw>, act: (object: Raw) => Effect.Effect<unknown, KubeError, World>) =>
    Effect.gen(function* () {
      const done = new Set<string>()
      const reflector = yield* Reflector.make(kind, { namespace }).pipe(Effect.provideService(KubeClient, kube))
      yield* reflector.changes.pipe(
        Stream.runForEach(({ _tag, object }) => {
          const owned = object.metadata.ownerReferences?.some((owner) => owner.kind === "Machine") ?? false
          const key = object.metadata.uid ?? keyIn(namespace, object.metadata.name)
          if (_tag === "Deleted" || !owned || done.has(key) || object.metadata.deletionTimestamp !== undefined)
            return Effect.void
          done.add(key)
          return Effect.ignore(act(object))
        }),
        Effect.forkScoped
      )
    })
  yield* follow(WorkerConfigs, giveBootstrapData)
  yield* follow(
    RemoteMachines,
    Effect.fnUntraced(function* (machine) {
      yield* provisionMachine(machine)
      yield* createNode(machine.metadata.name, providerIdFor(machine))
    })
  )
})
