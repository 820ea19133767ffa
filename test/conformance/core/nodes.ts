/**
 * Owns what core promises about Nodes and a Machine that goes (CONTRACT section 2): which Node is a Machine's, what is
 * written on it, hooks, cordon, and when a Node is left alone.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Nodes, type Raw } from "../../../src/simulation/core/Raw.ts"
import {
  Clusters,
  conditionOf,
  createMachine,
  createNode,
  eventually,
  freshNamespace,
  get,
  giveBootstrapData,
  type It,
  Machines,
  owners,
  patch,
  provisionMachine,
  RemoteMachines,
  readyCluster,
  remove,
  until,
  untilGone,
  WorkerConfigs,
  World
} from "./World.ts"

const PRE_DRAIN = "pre-drain.delete.hook.machine.cluster.x-k8s.io/test"
const PRE_TERMINATE = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/test"
const HOLD = { metadata: { finalizers: ["conformance.machinist.dev/hold"] } }

/** A Machine that waits for its Node. */
const provisioned = Effect.fnUntraced(function* (name: (namespace: string) => string) {
  const namespace = yield* freshNamespace
  yield* readyCluster(namespace, "one")
  const machine = name(namespace)
  yield* createMachine(namespace, machine, "one")
  yield* giveBootstrapData(yield* get(WorkerConfigs, namespace, machine))
  yield* provisionMachine(yield* until("owned", RemoteMachines, namespace, machine, (one) => owners(one).length > 0))
  yield* until("Provisioned", Machines, namespace, machine, phase("Provisioned"))
  return { namespace, name: machine }
})

const phase = (wanted: string) => (one: Raw) => one.status?.["phase"] === wanted
const unique = (namespace: string): string => `${namespace}-m`
const providerId = (name: string): string => `remote-machine://${name}:22`

const workload = Effect.flatMap(World, ({ workload: made }) => made)

const untilNode = (what: string, name: string, pleases: (node: Raw) => boolean) =>
  Effect.gen(function* () {
    const { kube } = yield* workload
    // The workload cluster is another server: its Nodes are waited for there.
    return yield* eventually(`Node ${name}: ${what}`, Nodes, "", (nodes) =>
      nodes.find((node) => node.metadata.name === name && pleases(node))
    ).pipe(Effect.provideService(World, { kube, workload }))
  })

const untilDeletionWaits = (namespace: string, name: string, reason: string) =>
  until(`waits: ${reason}`, Machines, namespace, name, (one) => conditionOf(one, "Deleting")?.["reason"] === reason)

export const nodes = (it: It): void => {
  it.effect("a Machine has no Node while two have its providerID", () =>
    Effect.gen(function* () {
      const { name, namespace } = yield* provisioned(unique)
      // Else core may see the one before there is the other.
      const paused = (value: string | null) =>
        Effect.flatMap(get(Machines, namespace, name), (machine) =>
          patch(Machines, machine, { metadata: { annotations: { "cluster.x-k8s.io/paused": value } } })
        )
      yield* paused("")
      yield* until("paused", Machines, namespace, name, (one) => conditionOf(one, "Paused")?.["status"] === "True")
      yield* createNode(`${name}-a`, providerId(name))
      yield* createNode(`${name}-b`, providerId(name))
      yield* paused(null)
      const { kube } = yield* workload
      const seen = yield* until("refuses to guess", Machines, namespace, name, (one) =>
        ["NodeReady", "NodeHealthy"].every((type) => conditionOf(one, type)?.["reason"] === "InternalError")
      )
      assert.notProperty(seen.status, "nodeRef")
      yield* kube.delete(Nodes, { name: `${name}-a` })
      const running = yield* until("Running", Machines, namespace, name, phase("Running"))
      assert.deepNestedInclude(running.status, { "nodeRef.name": `${name}-b` })
    })
  )

  it.effect("labels in Kubernetes' and CAPI's own domains follow a Machine to its Node, others do not", () =>
    Effect.gen(function* () {
      const { name, namespace } = yield* provisioned(unique)
      const labels = {
        "node-role.kubernetes.io/edge": "",
        "rack.node.cluster.x-k8s.io/row": "7",
        "node.cluster.x-k8s.io/shelf": "top",
        plain: "no"
      }
      yield* patch(Machines, yield* get(Machines, namespace, name), { metadata: { labels } })
      yield* createNode(name, providerId(name))
      const node = yield* untilNode(
        "labelled",
        name,
        (one) => one.metadata.labels?.["node.cluster.x-k8s.io/shelf"] !== undefined
      )
      const { plain: _, ...managed } = labels
      assert.include(node.metadata.labels, managed)
      assert.notProperty(node.metadata.labels, "plain")
    })
  )

  it.effect("a deleted Machine waits for its hooks: the first before its Node is cordoned, the second after", () =>
    Effect.gen(function* () {
      const { name, namespace } = yield* provisioned(unique)
      yield* createNode(name, providerId(name))
      const annotations = { [PRE_DRAIN]: "", [PRE_TERMINATE]: "" }
      const running = yield* until("Running", Machines, namespace, name, phase("Running"))
      yield* patch(Machines, running, { metadata: { annotations } })
      yield* remove(Machines, running)
      yield* untilDeletionWaits(namespace, name, "WaitingForPreDrainHook")
      const { kube } = yield* workload
      assert.notStrictEqual((yield* kube.get(Nodes, { name })).spec?.["unschedulable"], true)

      yield* patch(Machines, running, { metadata: { annotations: { [PRE_DRAIN]: null } } })
      yield* untilDeletionWaits(namespace, name, "WaitingForPreTerminateHook")
      assert.strictEqual((yield* kube.get(Nodes, { name })).spec?.["unschedulable"], true)
      assert.isUndefined((yield* get(RemoteMachines, namespace, name)).metadata.deletionTimestamp)

      yield* patch(Machines, running, { metadata: { annotations: { [PRE_TERMINATE]: null } } })
      yield* untilGone(Machines, namespace, name)
      assert.strictEqual((yield* Effect.flip(kube.get(Nodes, { name }))).reason, "NotFound")
    })
  )

  it.effect("with its whole Cluster a Machine goes without touching its Node", () =>
    Effect.gen(function* () {
      const { name, namespace } = yield* provisioned(unique)
      yield* createNode(name, providerId(name))
      yield* until("Running", Machines, namespace, name, phase("Running"))
      const held = yield* patch(RemoteMachines, yield* get(RemoteMachines, namespace, name), HOLD)
      yield* remove(Clusters, yield* get(Clusters, namespace, "one"))
      yield* untilDeletionWaits(namespace, name, "WaitingForInfrastructureDeletion")
      const { kube } = yield* workload
      assert.notStrictEqual((yield* kube.get(Nodes, { name })).spec?.["unschedulable"], true)
      yield* patch(RemoteMachines, held, { metadata: { finalizers: null } })
      yield* untilGone(Clusters, namespace, "one")
      assert.strictEqual((yield* kube.get(Nodes, { name })).metadata.name, name)
    })
  )
}
