/**
 * What the crash-point tests share: a machine's whole life with one crash in it, at a counted write or exec, and who
 * carries on: the same process (its actor fails and is restarted), the next leader, or another cluster after a move.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import { move } from "../../src/simulation/Move.ts"
import { makeWorld, type World } from "../../src/simulation/World.ts"
import type { SshClientShape } from "../../src/ssh/SshClient.ts"
import { createMachine, ref } from "../support/cluster.ts"
import { pass } from "../support/world.ts"

export type Recoverer = "same process" | "next leader" | "other cluster"
export const recoverers: ReadonlyArray<Recoverer> = ["same process", "next leader", "other cluster"]

/** `write` n: before or after the n-th write of the provider; `line` n: after the n-th chunk that a host said. */
export interface CrashPoint {
  readonly at: "before write" | "after write" | "host said"
  readonly number: number
}

/** Until nothing is left to be done; virtual seconds. */
const LIFE_SECONDS = 30

interface Counter {
  count: number
}

/** Counts, and at the crash point does what the recoverer means by a crash. */
const counted = (
  point: CrashPoint | undefined,
  kind: "write" | "line",
  counter: Counter,
  crash: Effect.Effect<never>
) => {
  const mine = (at: CrashPoint["at"]) => point?.at === at && point.number === counter.count
  return <A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      counter.count += 1
      if (kind === "line") return mine("host said") ? crash : call
      if (mine("before write")) return crash
      return mine("after write") ? Effect.andThen(call, crash) : call
    })
}

const countingKube = (
  inner: KubeClientShape,
  around: <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E>
): KubeClientShape => ({
  ...inner,
  patch: (kind, at, patch, options) =>
    kind.kind === "Event" ? inner.patch(kind, at, patch, options) : around(inner.patch(kind, at, patch, options))
})

const countingSsh = (
  inner: SshClientShape,
  around: <A, E>(call: Effect.Effect<A, E>) => Effect.Effect<A, E>
): SshClientShape => ({
  connect: (target) =>
    Effect.map(inner.connect(target), (session) => ({
      ...session,
      exec: (command, stdin) =>
        Effect.map(session.exec(command, stdin), (process) => ({
          ...process,
          stdout: Stream.mapEffect(process.stdout, (chunk) => around(Effect.succeed(chunk)))
        }))
    }))
})

export interface Lived {
  /** Where the machine was in the end. */
  readonly world: World
  readonly first: World
  readonly writes: number
  readonly lines: number
  readonly crashed: boolean
}

/** From creation to Ready and, when `deleting`, to its end; one crash at `point`. */
export const live = (recoverer: Recoverer, deleting: boolean, point?: CrashPoint) =>
  // One seed: what is counted without a crash is what is met with one.
  Random.withSeed(lived(recoverer, deleting, point), "crash points")

const lived = Effect.fnUntraced(function* (recoverer: Recoverer, deleting: boolean, point?: CrashPoint) {
  const world = yield* makeWorld()
  yield* world.addHost(1)
  yield* createMachine(world.kube, { name: "m1", pool: "default" })
  const writes: Counter = { count: 0 }
  const lines: Counter = { count: 0 }
  let crashed = false
  const crash: Effect.Effect<never> = Effect.suspend(() => {
    crashed = true
    // Another process: this one's ports are dead from here on. The same one: a defect, and only this actor's life ends.
    return recoverer === "same process"
      ? Effect.die("crash point")
      : Effect.andThen(first.crash, Effect.interruptible(Effect.never))
  })
  const first = yield* world.startProvider("first", {
    kube: (inner) => countingKube(inner, counted(point, "write", writes, crash)),
    ssh: (inner) => countingSsh(inner, counted(point, "line", lines, crash))
  })
  let here = world
  const carryOn = Effect.gen(function* () {
    if (!crashed || recoverer === "same process" || here.processes.length > 1 || here !== world) return
    if (recoverer === "other cluster") {
      here = yield* makeWorld({ hosts: world.hosts })
      yield* move(world.kube, here.kube, { whilePaused: pass(5), known: ["key"] })
    }
    yield* here.startProvider("second")
  })
  yield* pass(LIFE_SECONDS)
  yield* carryOn
  yield* pass(LIFE_SECONDS)
  if (deleting) {
    yield* Effect.ignore(here.kube.delete(RemoteMachines, ref("m1")))
    yield* pass(LIFE_SECONDS)
    yield* carryOn
    // clusterctl moves nothing that is being deleted: the deletion is asked for again where the machine is now.
    if (here !== world) yield* Effect.ignore(here.kube.delete(RemoteMachines, ref("m1")))
    yield* pass(LIFE_SECONDS)
  }
  return { world: here, first: world, writes: writes.count, lines: lines.count, crashed } satisfies Lived
})
