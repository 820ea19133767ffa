/**
 * Owns the wiring of RemoteMachines: watches feed the allocator and one actor a machine. Decides nothing.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as MachineActor from "../actors/MachineActor.ts"
import type { Surroundings } from "../actors/MachineInputs.ts"
import { PoolAllocator } from "../actors/PoolAllocator.ts"
import { clusterNameOf, ownerMachine } from "../api/ClusterApiView.ts"
import type { KubeObject } from "../api/Kind.ts"
import { PooledRemoteMachines } from "../api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import type * as Machine from "../domain/Machine.ts"
import * as Reflector from "../kube/Reflector.ts"
import * as Registry from "../runtime/Registry.ts"
import type { Core } from "./Core.ts"
import { listOptions, ProviderOptions } from "./Options.ts"

/** Indexes of the copy: RemoteMachines by `namespace/name` of their owner Machine, and of their Cluster. */
const OWNER = "owner"
const CLUSTER = "cluster"

const inNamespace = (object: KubeObject, name: string | undefined): ReadonlyArray<string> =>
  name === undefined ? [] : [`${object.metadata.namespace ?? ""}/${name}`]

export interface Inspection {
  /** Every state that any machine's actor entered, in order; for stories and checkers. */
  readonly entered?: (machine: string, state: Machine.State) => void
}

/** Runs until the scope closes; returns when the watches have synced and every machine has its actor. */
export const run = Effect.fnUntraced(function* (core: Core, inspection: Inspection) {
  const allocator = yield* PoolAllocator
  const options = yield* ProviderOptions
  const hosts = yield* Reflector.make(PooledRemoteMachines, listOptions(options))
  const machines = yield* Reflector.make<RemoteMachine>(RemoteMachines, {
    ...listOptions(options),
    indexes: {
      [OWNER]: (machine) => inNamespace(machine, ownerMachine(machine)?.name),
      [CLUSTER]: (machine) => inNamespace(machine, clusterNameOf(machine))
    }
  })

  const around = Effect.fnUntraced(function* (machine: RemoteMachine): Effect.fn.Return<Surroundings> {
    const namespace = machine.metadata.namespace ?? ""
    const reference = ownerMachine(machine)
    const found = reference === undefined ? undefined : yield* core.machines.get({ namespace, name: reference.name })
    const owner = found?.metadata.uid === reference?.uid ? found : undefined
    return { owner, cluster: yield* core.clusterOf(owner ?? machine) }
  })

  const byUid = new Map<string, RemoteMachine>()
  const registry = yield* Registry.make<string, MachineActor.Sighting | Machine.Event, LifeServices>((uid, mailbox) =>
    Effect.suspend(() => {
      const machine = byUid.get(uid)
      if (machine === undefined) return Effect.void
      const { namespace = "", name } = machine.metadata
      const { entered } = inspection
      const told =
        entered === undefined ? {} : { entered: (state: Machine.State) => entered(`${namespace}/${name}`, state) }
      return MachineActor.life({ namespace, name, uid, around, ...told }, mailbox)
    })
  )

  const sight = Effect.fnUntraced(function* (machine: RemoteMachine) {
    const uid = machine.metadata.uid ?? ""
    byUid.set(uid, machine)
    yield* allocator.machineSeen(machine)
    yield* registry.observe(uid, { machine })
  })

  const gone = Effect.fnUntraced(function* (machine: RemoteMachine) {
    const uid = machine.metadata.uid ?? ""
    byUid.delete(uid)
    yield* registry.tell(uid, { machine: undefined })
    yield* allocator.machineGone(machine)
  })

  const sightAll = (index: string) => (object: KubeObject) =>
    Effect.flatMap(machines.byIndex(index, `${object.metadata.namespace ?? ""}/${object.metadata.name}`), (found) =>
      Effect.forEach(found, (machine) => registry.observe(machine.metadata.uid ?? "", { machine }), { discard: true })
    )

  yield* Effect.all([hosts.synced, machines.synced, core.synced], { discard: true })
  // All machines before any host: a host is only free when no machine means to have it.
  yield* Effect.forEach(yield* machines.list(), allocator.machineSeen, { discard: true })
  yield* Effect.forEach(yield* hosts.list(), allocator.hostSeen, { discard: true })
  yield* allocator.synced

  const follow = <A extends KubeObject>(
    reflector: Reflector.Reflector<A>,
    seen: (object: A) => Effect.Effect<void>,
    deleted: (object: A) => Effect.Effect<void>
  ) =>
    reflector.changes.pipe(
      Stream.runForEach((change) => (change._tag === "Deleted" ? deleted(change.object) : seen(change.object))),
      Effect.forkScoped
    )
  yield* follow(machines, sight, gone)
  yield* follow(hosts, allocator.hostSeen, allocator.hostGone)
  yield* follow(core.machines, sightAll(OWNER), sightAll(OWNER))
  yield* follow(core.clusters, sightAll(CLUSTER), sightAll(CLUSTER))
})

type LifeServices = Effect.Services<ReturnType<typeof MachineActor.life>>
