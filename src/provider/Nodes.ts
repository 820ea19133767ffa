/**
 * Owns the wiring of Node watches: which Machines of a cluster wait for their Node, from what the provider's own watches
 * show, and one actor for each cluster that has some. Decides nothing about a Node (domain/Nodes does).
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as NodeActor from "../actors/NodeActor.ts"
import type { Cluster, Machine } from "../api/ClusterApi.ts"
import {
  clusterPaused,
  isDeleting,
  machineBootstrapRef,
  machineClusterName,
  machineInfrastructureRef,
  machineNodeName,
  machineProviderID,
  ownerMachine
} from "../api/ClusterApiView.ts"
import type { K0sControllerConfig } from "../api/K0sConfigs.ts"
import * as Names from "../api/Names.ts"
import { type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import { isNodeWith } from "../domain/bootstrap/InstallArgs.ts"
import { providerIDOf } from "../domain/MachineStatus.ts"
import type { Need } from "../domain/Nodes.ts"
import type * as NodeWatch from "../domain/NodeWatch.ts"
import * as Reflector from "../kube/Reflector.ts"
import * as Registry from "../runtime/Registry.ts"
import type { Core } from "./Core.ts"
import { listOptions, ProviderOptions } from "./Options.ts"

export interface Nodes {
  readonly remoteMachineSeen: (machine: RemoteMachine) => Effect.Effect<void>
  readonly remoteMachineGone: (machine: RemoteMachine) => Effect.Effect<void>
  readonly controllerSeen: (config: K0sControllerConfig) => Effect.Effect<void>
  readonly controllerGone: (config: K0sControllerConfig) => Effect.Effect<void>
}

const keyIn = (namespace: string | undefined, name: string): string => `${namespace ?? ""}/${name}`
const isAtWork = (cluster: Cluster | undefined): boolean =>
  cluster !== undefined && !clusterPaused(cluster) && !isDeleting(cluster)

const isRemote = (machine: Machine): boolean => {
  const reference = machineInfrastructureRef(machine)
  return reference?.kind === RemoteMachines.kind && reference.group === RemoteMachines.group
}

const NEWS: NodeActor.News = { news: true }

/** Returns at once; follows the Machines until the scope closes. `told`: of RemoteMachines, by who has them anyway. */
export const make = Effect.fnUntraced(function* (core: Core, told: boolean) {
  /** By `namespace/name` of the owner Machine: the providerID that its host will give it. */
  const hosts = new Map<string, string>()
  /** Machines whose controller is a Node, too. */
  const workers = new Set<string>()

  /** By cluster, then by name: Machines that wait for their Node. */
  const needy = new Map<string, Map<string, Need>>()

  const needOf = (machine: Machine): Need | undefined => {
    const { name, namespace } = machine.metadata
    if (isDeleting(machine) || machineNodeName(machine) !== undefined) return undefined
    const reference = machineBootstrapRef(machine)
    if (reference?.group !== Names.BOOTSTRAP_GROUP) return undefined
    const key = keyIn(namespace, name)
    const isNode =
      reference.kind === "K0sWorkerConfig" ||
      (reference.kind === "K0sControllerConfig" &&
        (workers.has(key) || machine.metadata.labels?.[Names.WORKER_ENABLED_LABEL] === "true"))
    const own = machineProviderID(machine)
    const providerID = own ?? hosts.get(key)
    return isNode && providerID !== undefined ? { machine: name, providerID, assign: own !== undefined } : undefined
  }

  const look = (namespace: string, name: string): Effect.Effect<NodeActor.Sight> =>
    Effect.gen(function* () {
      const cluster = yield* core.clusters.get({ namespace, name })
      const machines = yield* core.machinesOf(keyIn(namespace, name))
      const needs = [...(needy.get(keyIn(namespace, name))?.values() ?? [])]
      return {
        target: { namespace, name, cluster },
        needs: isAtWork(cluster) ? needs : [],
        machines: new Map(machines.map((machine) => [machine.metadata.name, machine]))
      }
    })

  const isNeeded = (namespace: string, name: string): Effect.Effect<boolean> =>
    Effect.map(
      core.clusters.get({ namespace, name }),
      (cluster) => needy.has(keyIn(namespace, name)) && isAtWork(cluster)
    )

  const registry = yield* Registry.make<string, NodeActor.News | NodeWatch.Event, LifeServices>((key, mailbox) => {
    const slash = key.indexOf("/")
    const [namespace, name] = [key.slice(0, slash), key.slice(slash + 1)]
    const sights = { look: look(namespace, name), isNeeded: isNeeded(namespace, name) }
    return NodeActor.life({ namespace, name, ...sights }, mailbox)
  })

  /** Wakes the cluster's actor; starts one only when there is something for it to do. */
  const changed = Effect.fnUntraced(function* (namespace: string, name: string) {
    const key = keyIn(namespace, name)
    yield* (yield* isNeeded(namespace, name)) ? registry.observe(key, NEWS) : registry.tell(key, NEWS)
  })
  const note = (clusterKey: string, name: string, need: Need | undefined): void => {
    const needs = needy.get(clusterKey) ?? new Map<string, Need>()
    if (need === undefined) needs.delete(name)
    else needs.set(name, need)
    if (needs.size === 0) needy.delete(clusterKey)
    else needy.set(clusterKey, needs)
  }
  const machineChanged = (machine: Machine, gone = false) => {
    const cluster = machineClusterName(machine)
    const { name, namespace = "" } = machine.metadata
    if (cluster === undefined) return Effect.void
    note(keyIn(namespace, cluster), name, gone ? undefined : needOf(machine))
    return changed(namespace, cluster)
  }
  const ownerChanged = Effect.fnUntraced(function* (namespace: string, name: string) {
    const machine = yield* core.machines.get({ namespace, name })
    if (machine !== undefined) yield* machineChanged(machine)
  })

  yield* core.machines.changes.pipe(
    Stream.runForEach((change) => machineChanged(change.object, change._tag === "Deleted")),
    Effect.forkScoped
  )
  yield* core.clusters.changes.pipe(
    Stream.runForEach(({ object }: { readonly object: Cluster }) =>
      changed(object.metadata.namespace ?? "", object.metadata.name)
    ),
    Effect.forkScoped
  )

  /** Of an object whose owner is a Machine. */
  const ofOwner =
    <A extends RemoteMachine | K0sControllerConfig>(noted: (key: string, object: A) => boolean) =>
    (object: A): Effect.Effect<void> => {
      const owner = ownerMachine(object)
      const { namespace = "" } = object.metadata
      if (owner === undefined || !noted(keyIn(namespace, owner.name), object)) return Effect.void
      return ownerChanged(namespace, owner.name)
    }

  const remoteMachineSeen = ofOwner((key, { spec }: RemoteMachine) => {
    const { address } = spec
    const id = address === undefined ? undefined : providerIDOf({ address, port: spec.port ?? 22 })
    if (hosts.get(key) === id) return false
    if (id === undefined) hosts.delete(key)
    else hosts.set(key, id)
    return true
  })
  const remoteMachineGone = ofOwner((key, _: RemoteMachine) => hosts.delete(key))

  // Where the other half of the provider is another process, they are watched from the first Machine on that has one.
  if (!told) {
    const options = listOptions(yield* ProviderOptions)
    const watchHosts = Effect.gen(function* () {
      yield* core.machines.changes.pipe(
        Stream.filter(({ object }) => isRemote(object)),
        Stream.runHead
      )
      const remoteMachines = yield* Reflector.make(RemoteMachines, options)
      yield* remoteMachines.changes.pipe(
        Stream.runForEach(({ _tag, object }) =>
          _tag === "Deleted" ? remoteMachineGone(object) : remoteMachineSeen(object)
        )
      )
    })
    yield* Effect.forkScoped(Effect.scoped(watchHosts))
  }

  return {
    remoteMachineSeen,
    remoteMachineGone,
    controllerSeen: ofOwner((key, { spec }) => {
      const isNode = isNodeWith("controller", spec.args ?? [])
      if (workers.has(key) === isNode) return false
      if (isNode) workers.add(key)
      else workers.delete(key)
      return true
    }),
    controllerGone: ofOwner((key) => workers.delete(key))
  } satisfies Nodes
})
type LifeServices = Effect.Services<ReturnType<typeof NodeActor.life>>
