/**
 * Holds that it is noticed what a process of the provider holds: fibers, connections and queues without bounds, and what
 * outlives it; and that a controller leaves etcd before its host is wiped. Each by a provider that is broken on purpose.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { EVENTS_WAITING, EventRecorder } from "../../src/actors/EventRecorder.ts"
import { PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { LEAVE_STEP } from "../../src/domain/Cleaning.ts"
import type { HostRunsShape } from "../../src/hosts/HostRuns.ts"
import { KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import { Backlog } from "../../src/runtime/Backlog.ts"
import type { Wrap } from "../../src/simulation/Processes.ts"
import { leaks, tooLong } from "../../src/simulation/seeded/Leaks.ts"
import { makeCounter } from "../../src/simulation/Usage.ts"
import { makeWorld } from "../../src/simulation/World.ts"
import type { SshClientShape } from "../../src/ssh/SshClient.ts"
import { createMachine, ref } from "../support/cluster.ts"
import { pass } from "../support/world.ts"
import { seed } from "./seeds.ts"

const leavingFibers = (inner: HostRunsShape): HostRunsShape => ({
  ...inner,
  inspect: (access, tenant) => Effect.andThen(Effect.forkDetach(Effect.never), inner.inspect(access, tenant))
})

/** Each connection with as many others as `extra`, closed when `scope` is. */
const withOthers = (inner: SshClientShape, extra: number, scope: Effect.Effect<Scope.Scope>): SshClientShape => ({
  connect: (target) =>
    Effect.flatMap(scope, (one) =>
      Effect.andThen(
        Effect.ignore(Effect.repeat(Scope.provide(inner.connect(target), one), { times: extra - 1 })),
        inner.connect(target)
      )
    )
})
const leavingSessions = (inner: SshClientShape): SshClientShape => withOthers(inner, 1, Scope.make())
const hoardingSessions = (inner: SshClientShape): SshClientShape => ({
  connect: (target) =>
    Effect.flatMap(Effect.scope, (scope) => withOthers(inner, 2, Effect.succeed(scope)).connect(target))
})

const leavingFibersOfWatches = (inner: KubeClientShape): KubeClientShape => ({
  ...inner,
  watch: (kind, options) => Stream.unwrap(Effect.as(Effect.forkDetach(Effect.never), inner.watch(kind, options)))
})

/** As many at one time as no process needs. */
const hoardingFibers = (inner: HostRunsShape): HostRunsShape => ({
  ...inner,
  inspect: (access, tenant) =>
    Effect.andThen(
      Effect.forEach(Array.from({ length: 1_000 }), () => Effect.sleep(1), { concurrency: "unbounded", discard: true }),
      inner.inspect(access, tenant)
    )
})

/** A host that says more than an actor can take in, and an API server that makes each of its decisions slow. */
const FLOOD = 2_000
const flood: Wrap = {
  hosts: (inner) => ({
    ...inner,
    run: (access, request) =>
      Stream.concat(
        Stream.fromIterable(Array.from({ length: FLOOD }, () => ({ _tag: "StepStarted" as const, step: 0 }))),
        inner.run(access, request)
      )
  }),
  kube: (inner) => ({
    ...inner,
    patch: (kind, at, patch, options) => Effect.delay(inner.patch(kind, at, patch, options), "1 second")
  })
}
/** What is said of a process that ran for so long with `wrap`, and with queues that hold what `capacity` says. */
const leaksOf = Effect.fnUntraced(function* (wrap: Wrap, seconds: number, capacity = (meant: number) => meant) {
  const world = yield* makeWorld()
  yield* world.addHost(1)
  yield* createMachine(world.kube, { name: "m1", pool: "default" })
  const process = yield* Effect.updateService(world.startProvider("provider", wrap), Backlog, (backlog) => ({
    ...backlog,
    capacity
  }))
  yield* pass(seconds)
  yield* process.stop
  yield* pass(60)
  return leaks([world])
})

/** A seed whose controllers are scaled and replaced on hosts that nobody takes after them. */
const WITH_CONTROL_PLANE = 5

const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Random.withSeed(effect, "checkers")

describe("what a process holds", () => {
  it.effect("a process with a thousand fibers", () =>
    run(
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* leaksOf({}, 30), [])
        const [told = "", ...more] = yield* leaksOf({ hosts: hoardingFibers }, 30)
        assert.match(told, /^provider had 1\d\d\d fibers, more than \d+$/)
        assert.deepStrictEqual(more, [])
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a mailbox that is not bounded, and a host that says more than its actor takes in", () =>
    run(
      Effect.gen(function* () {
        // Held back by the mailbox that there is: nothing waits but what it holds.
        assert.deepStrictEqual(yield* leaksOf(flood, 30), [])
        const [told = "", ...more] = yield* leaksOf(flood, 30, () => Number.MAX_SAFE_INTEGER)
        assert.match(told, /^provider had \d{3,4} waiting in one queue \(mailbox\), more than \d+$/)
        assert.deepStrictEqual(more, [])
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a queue of Events that is not bounded, and an API server that takes none", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const host = yield* world.addHost(1).pipe(Effect.andThen(world.kube.get(PooledRemoteMachines, ref("h1"))))
      const silent = { ...world.kube, create: () => Effect.never }
      const saidOf = Effect.fnUntraced(function* (capacity: (meant: number) => number) {
        const counter = makeCounter()
        const notice = { type: "Normal" as const, reason: "Told", message: "once more" }
        yield* Effect.flatMap(EventRecorder, ({ record }) =>
          Effect.repeat(record(PooledRemoteMachines, host, notice), { times: 2 * EVENTS_WAITING })
        ).pipe(
          Effect.provide(EventRecorder.layer.pipe(Layer.provide(Layer.succeed(KubeClient, silent)))),
          counter.process,
          Effect.updateService(Backlog, (backlog) => ({ ...backlog, capacity }))
        )
        return tooLong("provider", counter)
      })
      assert.deepStrictEqual(yield* saidOf((meant) => meant), [])
      const [told = ""] = yield* saidOf(() => Number.MAX_SAFE_INTEGER)
      assert.match(told, /^provider had 2\d\d\d waiting in one queue \(events\), more than 1024$/)
    }).pipe(Effect.scoped)
  )

  it.live("seeded runs: fibers and connections that outlive their process, or grow while nothing happens", () =>
    Effect.gen(function* () {
      const ofSeed = (wrap: Wrap) =>
        Effect.map(seed(2, { wrap }), ({ violations }) =>
          violations.filter(({ checker }) => checker === "leaks" || checker === "quiet").map(({ what }) => what)
        )
      const told = yield* Effect.all({
        fibers: ofSeed({ hosts: leavingFibers }),
        sessions: ofSeed({ ssh: leavingSessions }),
        hoard: ofSeed({ ssh: hoardingSessions }),
        watches: ofSeed({ kube: leavingFibersOfWatches })
      })
      assert.isTrue(told.fibers.some((what) => /has ended, and \d+ fibers/.test(what)))
      assert.isTrue(told.sessions.some((what) => /has ended, and \d+ of its connections/.test(what)))
      assert.isTrue(told.hoard.some((what) => /had 3 connections to one host/.test(what)))
      assert.isTrue(told.watches.some((what) => /does nothing, and its \d+ fibers have become/.test(what)))
    })
  )

  it.live("seeded runs: a controller's host that is wiped before its member has left etcd", () =>
    Effect.gen(function* () {
      const neverLeaves = (inner: HostRunsShape): HostRunsShape => ({
        ...inner,
        clean: (access, request) =>
          inner.clean(access, { ...request, steps: request.steps.filter(({ name }) => name !== LEAVE_STEP) })
      })
      const { plan, violations } = yield* seed(WITH_CONTROL_PLANE, { wrap: { hosts: neverLeaves } })
      assert.isDefined(plan.controlPlane)
      assert.isTrue(
        violations.some(({ checker, what }) => checker === "settled" && what.includes("is a member of etcd still")),
        JSON.stringify(violations)
      )
    })
  )
})
