/**
 * Owns counting what one simulated process of the provider holds: its fibers, its SSH sessions, and what waits in its
 * queues, each now or at the most there was. What the world does when a process calls it (a host's driver that lives on,
 * say) is not the process's. Does not own what is too much, nor when nothing may be left (seeded/Leaks.ts).
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import { Backlog } from "../runtime/Backlog.ts"
import type { SshClientShape, SshSession } from "../ssh/SshClient.ts"

export interface Usage {
  readonly fibers: () => number
  readonly mostFibers: () => number
  /** Open connections, of all hosts. */
  readonly sessions: () => number
  /** To one address. */
  readonly mostSessionsToOne: () => number
  /** By what they are called: the most that ever waited in one of these queues. */
  readonly mostWaiting: () => ReadonlyMap<string, number>
}

/** A process's part of it: counts all that runs in `process`, and nothing that runs behind the ports. */
export interface Counter extends Usage {
  readonly process: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  readonly ssh: (inner: SshClientShape) => SshClientShape
  readonly kube: (inner: KubeClientShape) => KubeClientShape
}

const uncounted = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Metric.FiberRuntimeMetrics, undefined)

export const makeCounter = (): Counter => {
  let fibers = 0
  let mostFibers = 0
  let mostSessionsToOne = 0
  const sessions = new Map<string, number>()
  const mostWaiting = new Map<string, number>()
  const metrics: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => {
      fibers += 1
      mostFibers = Math.max(mostFibers, fibers)
    },
    recordFiberEnd: () => {
      fibers -= 1
    }
  }
  const add = (address: string, by: 1 | -1) =>
    Effect.sync(() => {
      const open = (sessions.get(address) ?? 0) + by
      sessions.set(address, open)
      mostSessionsToOne = Math.max(mostSessionsToOne, open)
    })
  const session = (open: SshSession): SshSession => ({
    ...open,
    exec: (command, stdin) => uncounted(open.exec(command, stdin))
  })
  return {
    fibers: () => fibers,
    mostFibers: () => mostFibers,
    sessions: () => [...sessions.values()].reduce((sum, open) => sum + open, 0),
    mostSessionsToOne: () => mostSessionsToOne,
    mostWaiting: () => mostWaiting,
    process: (effect) =>
      effect.pipe(
        Effect.updateService(Backlog, ({ capacity, told }) => ({
          capacity,
          told: (queue, waiting) => {
            mostWaiting.set(queue, Math.max(waiting, mostWaiting.get(queue) ?? 0))
            told(queue, waiting)
          }
        })),
        Effect.provideService(Metric.FiberRuntimeMetrics, metrics)
      ),
    ssh: (inner) => ({
      connect: (target) =>
        Effect.map(uncounted(inner.connect(target)), session).pipe(
          Effect.tap(() => Effect.acquireRelease(add(target.address, 1), () => add(target.address, -1)))
        )
    }),
    kube: (inner) => ({
      get: (kind, at) => uncounted(inner.get(kind, at)),
      list: (kind, options) => uncounted(inner.list(kind, options)),
      watch: inner.watch,
      create: (kind, object) => uncounted(inner.create(kind, object)),
      patch: (kind, at, changes, options) => uncounted(inner.patch(kind, at, changes, options)),
      delete: (kind, at, options) => uncounted(inner.delete(kind, at, options))
    })
  }
}
