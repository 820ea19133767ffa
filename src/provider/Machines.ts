/**
 * Owns the wiring of RemoteMachines and of the pools they take hosts from. Decides nothing.
 */
import * as Effect from "effect/Effect"
import { KeyGuard } from "../actors/KeyGuard.ts"
import * as MachineActor from "../actors/MachineActor.ts"
import { asksForHost, halted } from "../actors/MachineInputs.ts"
import { PoolAllocator } from "../actors/PoolAllocator.ts"
import * as PoolProbes from "../actors/PoolProbes.ts"
import * as QuarantineCleaner from "../actors/QuarantineCleaner.ts"
import { type PooledRemoteMachine, PooledRemoteMachines } from "../api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import type * as Machine from "../domain/Machine.ts"
import * as Reflector from "../kube/Reflector.ts"
import type { Core } from "./Core.ts"
import * as Family from "./Family.ts"
import type { Nodes } from "./Nodes.ts"
import { listOptions, ProviderOptions } from "./Options.ts"

export interface Inspection {
  /** Every state that any machine's actor entered, in order; for stories and checkers. */
  readonly entered?: (machine: string, state: Machine.State) => void
}

const nonEmpty = (text: string | undefined): string | undefined => (text === "" ? undefined : text)

/** Runs until the scope closes; returns when the watches have synced and every machine has its actor. */
export const run = Effect.fnUntraced(function* (core: Core, { entered }: Inspection, nodes?: Nodes) {
  const allocator = yield* PoolAllocator
  const keys = yield* KeyGuard
  const hosts = yield* Reflector.make(PooledRemoteMachines, listOptions(yield* ProviderOptions))
  const around = Family.surroundings(core)
  const seen = (machine: RemoteMachine) =>
    Effect.flatMap(around(machine), (surroundings) =>
      Effect.andThen(
        allocator.machineSeen(machine, {
          failureDomain: nonEmpty(surroundings.owner?.spec?.failureDomain),
          paused: halted(machine, surroundings) !== undefined,
          asks: asksForHost(machine, surroundings)
        }),
        keys.machineSeen(machine, halted(machine, surroundings) !== undefined)
      )
    )
  const machines = yield* Family.make(core, {
    kind: RemoteMachines,
    sighting: (machine): MachineActor.Sighting | Machine.Event => ({ machine }),
    life: (machine: RemoteMachine, mailbox) => {
      const { namespace = "", name, uid = "" } = machine.metadata
      const told =
        entered === undefined ? {} : { entered: (state: Machine.State) => entered(`${namespace}/${name}`, state) }
      return MachineActor.life({ namespace, name, uid, around, ...told }, mailbox)
    },
    seen: (machine) => Effect.andThen(seen(machine), nodes?.remoteMachineSeen(machine) ?? Effect.void),
    gone: (machine) =>
      Effect.all(
        [allocator.machineGone(machine), keys.machineGone(machine), nodes?.remoteMachineGone(machine) ?? Effect.void],
        { discard: true }
      )
  })
  yield* Effect.all([hosts.synced, machines.reflector.synced, core.synced], { discard: true })
  // All machines before any host: a host is only free when no machine means to have it.
  yield* Effect.forEach(yield* machines.reflector.list(), seen, { discard: true })
  const quarantine = yield* QuarantineCleaner.make(hosts.list())
  const hostSeen = (host: PooledRemoteMachine) => Effect.andThen(allocator.hostSeen(host), quarantine.seen(host))
  yield* Effect.forEach(yield* hosts.list(), hostSeen, { discard: true })
  yield* allocator.synced
  yield* Effect.forkScoped(keys.synced((yield* ProviderOptions).namespace))
  yield* Family.follow(hosts, hostSeen, allocator.hostGone)
  yield* machines.follow
  const { poolProbeSeconds } = yield* ProviderOptions
  if (poolProbeSeconds !== undefined) yield* Effect.forkScoped(PoolProbes.run(poolProbeSeconds * 1_000))
})
