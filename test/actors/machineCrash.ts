/**
 * What the crash-point tests share: a machine's whole life with one crash in it, at a counted write or exec, and who
 * carries on: the same process (its actor fails and is restarted), the next leader, or another cluster after a move.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { Clusters, Machines } from "../../src/api/ClusterApi.ts"
import { Secrets } from "../../src/api/Core.ts"
import type { Kind, KubeObject } from "../../src/api/Kind.ts"
import * as Names from "../../src/api/Names.ts"
import { PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import type { JsonObject, KubeClientShape } from "../../src/kube/KubeClient.ts"
import { makeWorld, type World } from "../../src/simulation/World.ts"
import type { SshClientShape } from "../../src/ssh/SshClient.ts"
import { CLUSTER, createMachine, ref } from "../support/cluster.ts"
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

/** `clusterctl move`: paused, created anew (no status, new uids, owners re-linked), then the source let go. */
const move = Effect.fnUntraced(function* (from: World, to: World) {
  const pause = { spec: { paused: true } }
  yield* Effect.ignore(from.kube.patch(Clusters, ref(CLUSTER), pause))
  yield* to.kube.patch(Clusters, ref(CLUSTER), pause)
  yield* pass(5)
  const uids = new Map<string, string>()
  const copy = Effect.fnUntraced(function* <A extends KubeObject>(kind: Kind<A>, skip: ReadonlyArray<string> = []) {
    for (const object of (yield* from.kube.list(kind)).items) {
      if (skip.includes(object.metadata.name)) continue
      const { status: _, ...rest } = JSON.parse(JSON.stringify(object))
      const { name, namespace, labels, annotations, finalizers, ownerReferences } = rest.metadata
      const owners = (ownerReferences ?? []).map((one: { readonly uid: string }) => ({
        ...one,
        uid: uids.get(one.uid) ?? one.uid
      }))
      const metadata: JsonObject = { name, namespace, labels, annotations, finalizers, ownerReferences: owners }
      const made = yield* to.kube.create(kind, { ...rest, apiVersion: undefined, kind: undefined, metadata })
      uids.set(object.metadata.uid ?? "", made.metadata.uid ?? "")
    }
  })
  yield* copy(Secrets, ["key"])
  yield* copy(Machines)
  yield* copy(PooledRemoteMachines)
  yield* copy(RemoteMachines)
  yield* letGo(from)
  yield* to.kube.patch(Clusters, ref(CLUSTER), { spec: { paused: false } })
})

/** As clusterctl does: annotated, deleted, finalizers taken away. */
const letGo = Effect.fnUntraced(function* (from: World) {
  const kinds: ReadonlyArray<Kind<KubeObject>> = [RemoteMachines, PooledRemoteMachines]
  for (const kind of kinds)
    for (const { metadata } of (yield* from.kube.list(kind)).items) {
      const at = ref(metadata.name)
      yield* from.kube.patch(kind, at, { metadata: { annotations: { [Names.DELETE_FOR_MOVE_ANNOTATION]: "" } } })
      yield* Effect.ignore(from.kube.delete(kind, at))
      yield* Effect.ignore(from.kube.patch(kind, at, { metadata: { finalizers: [] } }))
    }
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
      here = yield* makeWorld(world.hosts)
      yield* move(world, here)
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
