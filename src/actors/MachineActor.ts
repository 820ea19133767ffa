/**
 * Owns the life of one RemoteMachine's actor: recover from the object as it stands, then the one loop of
 * runtime/Actor with domain/Machine's decisions, ObjectRecorder's writes and MachineActivities' deeds. Supervised:
 * a life that ends badly is followed by another, which recovers anew.
 */
import * as Effect from "effect/Effect"
import { type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import * as Machine from "../domain/Machine.ts"
import { recover } from "../domain/MachineRecovery.ts"
import type { Notice } from "../domain/Notice.ts"
import { HostRuns } from "../hosts/HostRuns.ts"
import { KubeClient } from "../kube/KubeClient.ts"
import { absent, KubeError } from "../kube/KubeError.ts"
import * as Actor from "../runtime/Actor.ts"
import { type Mailbox, translated } from "../runtime/Mailbox.ts"
import { supervise } from "../runtime/Supervisor.ts"
import { EventRecorder } from "./EventRecorder.ts"
import { KeyGuard } from "./KeyGuard.ts"
import * as Activities from "./MachineActivities.ts"
import { GONE, observe, type Surroundings } from "./MachineInputs.ts"
import { recording } from "./MachineRecording.ts"
import * as Recorder from "./ObjectRecorder.ts"
import { PoolAllocator } from "./PoolAllocator.ts"

/** What the provider's watches tell a machine's actor: the object (undefined: gone); also when only its surroundings changed. */
export interface Sighting {
  readonly machine: RemoteMachine | undefined
}

export interface Options {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  /** What the caches show around the machine, at the time of asking. */
  readonly around: (machine: RemoteMachine) => Effect.Effect<Surroundings>
  /** For inspection: every state that is entered. */
  readonly entered?: (state: Machine.State) => void
}

const definition: Actor.Definition<Machine.State, Machine.Event, Machine.Activity, Notice> = {
  transition: Machine.transition,
  activity: Machine.activity,
  isFinal: Machine.isFinal
}

/** Ends when the machine is gone. */
export const life = (options: Options, mailbox: Mailbox<Sighting | Machine.Event>) =>
  supervise(
    `RemoteMachine ${options.namespace}/${options.name}`,
    Effect.scoped(oneLife(options, mailbox)),
    (error) => error._tag === "ObjectChanged" || error instanceof KubeError
  )

const oneLife = Effect.fnUntraced(function* (options: Options, mailbox: Mailbox<Sighting | Machine.Event>) {
  const kube = yield* KubeClient
  const hosts = yield* HostRuns
  const allocator = yield* PoolAllocator
  const keys = yield* KeyGuard
  const events = yield* EventRecorder
  const { namespace, name, uid } = options
  yield* mailbox.clear

  // A fresh read, not the cache: what a life before this one wrote must be seen.
  const first = yield* absent(kube.get(RemoteMachines, { namespace, name }))
  if (first === undefined || first.metadata.uid !== uid) return
  const recorder = yield* Recorder.make(kube, first, recording)
  const initial = recover(observe(first, yield* options.around(first)))

  const notify = (notice: Notice) => events.record(RemoteMachines, recorder.current(), notice)
  yield* Effect.forEach(Machine.opening(initial), notify, { discard: true })

  const perform = Activities.make({
    kube,
    hosts,
    allocator,
    keys,
    current: recorder.current,
    seen: recorder.seen,
    around: () => options.around(recorder.current())
  })

  /** Sightings become observations here, of the newest object that anyone has seen. */
  const observed = translated<Sighting, Machine.Event>(mailbox, (item) => {
    if ("_tag" in item) return Effect.succeed(item)
    if (item.machine === undefined) return Effect.succeed(Machine.Event.Observed({ observed: GONE }))
    recorder.seen(item.machine)
    const machine = recorder.current()
    return Effect.map(options.around(machine), (around) =>
      Machine.Event.Observed({ observed: observe(machine, around) })
    )
  })

  yield* Actor.live(
    definition,
    {
      commit: recorder.commit,
      perform,
      notify,
      ...(options.entered === undefined ? {} : { entered: options.entered })
    },
    observed,
    { initial, previous: initial }
  )
})
