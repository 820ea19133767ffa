/** Owns the scenarios `api-writes`, `api-lists`, `api-watches`: the simulated API server beside the real one. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { unavailable } from "../../test/live/apiserver/ApiServer.ts"
import { bothServers, CONCURRENCY, type Server } from "../ApiServers.ts"
import type { BenchError, Sample, Scenario } from "../Scenario.ts"

const LIMIT = "the same requests to a real kube-apiserver on etcd, each a process of its own."
/** Of a list at one time. */
const READERS = 4

const perSecond = <E>(count: number, effect: Effect.Effect<unknown, E>): Effect.Effect<Sample, E> =>
  Effect.map(Effect.timed(effect), ([duration]) => ({ value: (count * 1000) / Duration.toMillis(duration) }))

const scenario = (
  about: Pick<Scenario, "name" | "description" | "unit" | "parameters">,
  measure: (server: Server, parameters: Scenario["parameters"]) => Effect.Effect<Sample, BenchError>
): Scenario => ({
  ...about,
  better: "more",
  limit: LIMIT,
  unavailable: Effect.succeed(unavailable),
  setup: (parameters) => bothServers(about.name, (server) => measure(server, parameters))
})

export const apiWrites = scenario(
  {
    name: "api-writes",
    description: `Creates N RemoteMachines over HTTPS, ${CONCURRENCY} at a time; each validated and, on the real server, on disk.`,
    unit: "writes/s",
    parameters: { machines: 1000 }
  },
  (server, { machines }) => Effect.tap(perSecond(machines, server.create(machines)), () => server.clear)
)

export const apiLists = scenario(
  {
    name: "api-lists",
    description: `Lists N RemoteMachines over HTTPS, \`lists\` times, ${READERS} at a time.`,
    unit: "lists/s",
    parameters: { machines: 1000, lists: 40 }
  },
  Effect.fnUntraced(function* (server, parameters) {
    const { lists = 1, machines } = parameters
    yield* server.create(machines)
    const [bytes = 0] = yield* Effect.all([server.list])
    const all = Effect.forEach(Array.from({ length: lists }), () => server.list, { concurrency: READERS })
    const sample = yield* perSecond(lists, all)
    yield* server.clear
    return { ...sample, also: { bytesAList: bytes } }
  })
)

export const apiWatches = scenario(
  {
    name: "api-watches",
    description: "Creates N RemoteMachines while `watchers` watch, until each has seen each: events that arrived.",
    unit: "events/s",
    parameters: { machines: 500, watchers: 50 }
  },
  (server, parameters) =>
    Effect.gen(function* () {
      const { machines, watchers = 1 } = parameters
      const all = yield* server.watch(watchers, machines)
      return yield* perSecond(
        machines * watchers,
        Effect.all([server.create(machines), all], { concurrency: "unbounded", discard: true })
      )
    }).pipe(
      Effect.scoped,
      Effect.tap(() => server.clear)
    )
)
