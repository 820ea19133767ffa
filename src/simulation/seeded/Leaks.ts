/**
 * Owns what a process of the provider may hold: bounded while it lives, the same before and after a time in which nothing
 * happens, and nothing once it has ended, however it ended. Counting is Usage.ts's.
 */
import { EVENTS, EVENTS_WAITING } from "../../actors/EventRecorder.ts"
import { MAILBOX, MAILBOX_CAPACITY } from "../../runtime/Mailbox.ts"
import type { Process } from "../Processes.ts"
import type { Usage } from "../Usage.ts"
import type { World } from "../World.ts"

/** Connections of one process to one host: its own, and for a moment one that is being given up. */
export const MOST_SESSIONS_A_HOST = 2
/** Watches, reflectors, recorders, the allocator: what there is without any object. */
export const MOST_FIBERS_A_PROCESS = 60
/** An actor with its supervisor, activity and watches. */
export const MOST_FIBERS_AN_OBJECT = 10
/** Facts held back at a full mailbox: its activity's, and the allocator's word why there is no host. */
export const MOST_HELD_BACK = 2
/** By what queues are called (runtime/Backlog.ts). */
export const MOST_WAITING: Readonly<Record<string, number>> = {
  [MAILBOX]: MAILBOX_CAPACITY + MOST_HELD_BACK,
  [EVENTS]: EVENTS_WAITING
}
/** A watch that is being renewed, an Event on its way: what may differ between two moments of quiet. */
const FIBERS_COME_AND_GO = 8

/** Kinds of which each object may have an actor. */
const WITH_ACTORS: ReadonlySet<string> = new Set([
  "Cluster",
  "RemoteCluster",
  "RemoteMachine",
  "PooledRemoteMachine",
  "K0sWorkerConfig",
  "K0sControllerConfig"
])

const objectsOf = ({ history }: World): number =>
  history.versions().filter(({ kind, type }) => type === "Added" && WITH_ACTORS.has(kind)).length

/** Of queues. */
export const tooLong = (name: string, usage: Usage): ReadonlyArray<string> =>
  [...usage.mostWaiting()].flatMap(([queue, waiting]) => {
    const most = MOST_WAITING[queue]
    if (most === undefined) return [`${name} has a queue that nobody set a bound to: ${queue}`]
    return waiting <= most ? [] : [`${name} had ${waiting} waiting in one queue (${queue}), more than ${most}`]
  })

/** Once all have ended, and had the time that finalizers may take. */
export const leaks = (worlds: ReadonlyArray<World>): ReadonlyArray<string> =>
  worlds.flatMap((world) => {
    const fibers = MOST_FIBERS_A_PROCESS + MOST_FIBERS_AN_OBJECT * objectsOf(world)
    return world.processes.flatMap(({ name, usage }) => [
      ...(usage.fibers() === 0 ? [] : [`${name} has ended, and ${usage.fibers()} fibers of its run on`]),
      ...(usage.sessions() === 0 ? [] : [`${name} has ended, and ${usage.sessions()} of its connections are open`]),
      ...(usage.mostSessionsToOne() <= MOST_SESSIONS_A_HOST
        ? []
        : [`${name} had ${usage.mostSessionsToOne()} connections to one host`]),
      ...tooLong(name, usage),
      ...(usage.mostFibers() <= fibers ? [] : [`${name} had ${usage.mostFibers()} fibers, more than ${fibers}`])
    ])
  })

/** Taken before a time in which nothing happens; tells afterwards who has more than then. */
export const growth = (processes: ReadonlyArray<Process>): (() => ReadonlyArray<string>) => {
  const before = processes.map((process) => ({ process, fibers: process.usage.fibers() }))
  return () =>
    before.flatMap(({ process, fibers }) =>
      process.usage.fibers() <= fibers + FIBERS_COME_AND_GO
        ? []
        : [`${process.name} does nothing, and its ${fibers} fibers have become ${process.usage.fibers()}`]
    )
}
