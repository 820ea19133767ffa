/**
 * Holds that the checkers see: each fails on a provider, a client or a host that is broken on purpose, and the unbroken
 * one is passed. A checker that can't fail proves nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { EVENTS_WAITING, EventRecorder } from "../../src/actors/EventRecorder.ts"
import * as Names from "../../src/api/Names.ts"
import { PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import type { HostRunsShape } from "../../src/hosts/HostRuns.ts"
import { TENANCY_FILE } from "../../src/hosts/Protocol.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import { Backlog } from "../../src/runtime/Backlog.ts"
import { judge } from "../../src/simulation/Checkers.ts"
import type { Wrap } from "../../src/simulation/Processes.ts"
import { leaks, tooLong } from "../../src/simulation/seeded/Leaks.ts"
import { makeCounter } from "../../src/simulation/Usage.ts"
import { makeWorld, type World } from "../../src/simulation/World.ts"
import type { SshClientShape } from "../../src/ssh/SshClient.ts"
import { createMachine, ref } from "../support/cluster.ts"
import { pass } from "../support/world.ts"
import { seed } from "./seeds.ts"

const evidence = (world: World, logs: ReadonlyArray<string> = []) => ({
  witness: world.witness.entries(),
  versions: world.history.versions(),
  writes: world.server.writes(),
  logs,
  canaries: ["canary"],
  dataOwner: () => undefined,
  isProvider: (client: string) => client.startsWith("provider"),
  lives: 1
})

const found = (world: World, logs: ReadonlyArray<string> = []): ReadonlyArray<string> => [
  ...new Set(judge(evidence(world, logs)).map(({ checker }) => checker))
]

/** A world with two hosts and machine m1, provided by a provider with `wrap` between it and the world. */
const withProvider = Effect.fnUntraced(function* (
  wrap: Wrap,
  spoil: (world: World) => Effect.Effect<void> = () => Effect.void
) {
  const world = yield* makeWorld()
  yield* world.addHost(1)
  yield* createMachine(world.kube, { name: "m1", pool: "default", data: DATA })
  yield* spoil(world)
  yield* world.startProvider("provider", wrap)
  yield* pass(30)
  return world
})

const DATA = `#cloud-config
runcmd:
  - echo canary > /etc/k0s.token
  - mkdir -p /run/cluster-api && touch /run/cluster-api/bootstrap-success.complete
`

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
  yield* createMachine(world.kube, { name: "m1", pool: "default", data: DATA })
  const process = yield* Effect.updateService(world.startProvider("provider", wrap), Backlog, (backlog) => ({
    ...backlog,
    capacity
  }))
  yield* pass(seconds)
  yield* process.stop
  yield* pass(60)
  return leaks([world])
})

const OWN_HOST = { address: "10.0.0.1", sshKeyRef: { name: "key" } }

const remove = Effect.fnUntraced(function* (world: World) {
  yield* Effect.orDie(world.kube.delete(RemoteMachines, ref("m1")))
  yield* pass(60)
})

/** Every patch of a kind, changed on its way. */
const patching =
  (kindName: string, change: (patch: JsonObject) => JsonObject) =>
  (inner: KubeClientShape): KubeClientShape => ({
    ...inner,
    patch: (kind, at, patch, options) => inner.patch(kind, at, kind.kind === kindName ? change(patch) : patch, options)
  })

/** Says that the host is clean without looking at it. */
const neverCleans = (inner: HostRunsShape): HostRunsShape => ({ ...inner, clean: () => Stream.empty })

const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Random.withSeed(effect, "checkers")

describe("checkers", () => {
  it.effect("pass a provider that is not broken", () =>
    run(
      Effect.gen(function* () {
        const world = yield* withProvider({})
        yield* remove(world)
        assert.deepStrictEqual(found(world), [])
        assert.isAbove(world.witness.entries().length, 4)
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a host freed, and a finalizer let go, before it was cleaned", () =>
    run(
      Effect.gen(function* () {
        const world = yield* withProvider({ hosts: neverCleans })
        yield* remove(world)
        const checkers = found(world)
        assert.include(checkers, "claimsChangeHandsCleanly")
        assert.include(checkers, "finalizerLast")
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a host that skips its tenancy check: the next tenant beside the last one's leavings", () =>
    run(
      Effect.gen(function* () {
        const world = yield* withProvider({ hosts: neverCleans })
        yield* remove(world)
        // The record that would have refused the next one.
        world.hosts.hosts()[0]?.disk.remove(TENANCY_FILE)
        yield* createMachine(world.kube, { name: "m2", pool: "default", data: DATA })
        yield* pass(60)
        const judged = judge(evidence(world))
        assert.isTrue(
          judged.some(({ checker, what }) => checker === "witnessed" && what.includes("took the host from"))
        )
        assert.isTrue(judged.some(({ checker, what }) => checker === "witnessed" && what.includes("ran the data of")))
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a step that runs twice: the journal of a host that forgets", () =>
    run(
      Effect.gen(function* () {
        const forgetful = (inner: HostRunsShape): HostRunsShape => ({
          ...inner,
          run: (access, request) =>
            Stream.concat(
              inner.run(access, request),
              Stream.unwrap(
                Effect.sync(() => {
                  forget()
                  return inner.run(access, { ...request, attempt: request.attempt + 1 })
                })
              )
            )
        })
        let forget = () => {}
        const world = yield* withProvider({ hosts: forgetful }, (one) =>
          Effect.sync(() => {
            forget = () => {
              for (const host of one.hosts.hosts()) host.disk.remove("/var/lib/machinist")
            }
          })
        )
        const judged = judge(evidence(world))
        assert.isTrue(
          judged.some(({ what }) => what.includes("had succeeded and ran again")),
          JSON.stringify(judged)
        )
      })
    ).pipe(Effect.scoped)
  )

  it.effect("an allocator that ignores claims: a host goes from one claim straight to another", () =>
    run(
      Effect.gen(function* () {
        const world = yield* withProvider({})
        const other = { id: "other", host: "h1", machine: "default/m9", uid: "u9" }
        yield* world.kube.patch(PooledRemoteMachines, ref("h1"), {
          metadata: { annotations: { [Names.CLAIM_ANNOTATION]: JSON.stringify(other) } }
        })
        assert.include(found(world), "claimsChangeHandsCleanly")
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a quarantined host that is given away", () =>
    run(
      Effect.gen(function* () {
        const world = yield* withProvider({})
        const annotate = (value: string | null) =>
          world.kube.patch(PooledRemoteMachines, ref("h1"), {
            metadata: { annotations: { [Names.CLAIM_ANNOTATION]: value } }
          })
        yield* annotate(JSON.stringify({ id: "q", host: "h1", machine: "default/m9", uid: "u", quarantined: "dirty" }))
        yield* annotate(null)
        assert.isTrue(judge(evidence(world)).some(({ what }) => what.includes("without a person")))
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a providerID of another host, and one that came before the bootstrap", () =>
    run(
      Effect.gen(function* () {
        const wrong = patching("RemoteMachine", (patch) =>
          JSON.parse(JSON.stringify(patch).replace("remote-machine://10.0.0.1", "remote-machine://10.0.0.9"))
        )
        assert.include(found(yield* withProvider({ kube: wrong })), "providerIDsStay")
        const early = (inner: HostRunsShape): HostRunsShape => ({ ...inner, run: () => Stream.empty })
        assert.include(found(yield* withProvider({ hosts: early })), "readyMeansProvisioned")
      })
    ).pipe(Effect.scoped)
  )

  it.effect("two machines on one address", () =>
    run(
      Effect.gen(function* () {
        const world = yield* withProvider({})
        yield* createMachine(world.kube, {
          name: "m2",
          spec: { address: "10.0.0.1", sshKeyRef: { name: "key" } }
        })
        const record = (yield* world.kube.get(RemoteMachines, ref("m1"))).metadata.annotations?.[Names.RUN_ANNOTATION]
        yield* world.kube.patch(RemoteMachines, ref("m2"), {
          metadata: { annotations: { [Names.RUN_ANNOTATION]: record ?? "" } }
        })
        assert.include(found(world), "oneMachineAnAddress")
      })
    ).pipe(Effect.scoped)
  )

  it.effect("two machines provisioned on one address of their own, however many leaders wrote that", () =>
    run(
      Effect.gen(function* () {
        const world = yield* makeWorld()
        yield* world.hosts.add({ name: "h1", address: "10.0.0.1" })
        yield* createMachine(world.kube, { name: "m1", spec: OWN_HOST, data: DATA })
        yield* world.startProvider("provider-1", {})
        yield* pass(30)
        const { metadata, spec } = yield* world.kube.get(RemoteMachines, ref("m1"))
        const annotations = { [Names.RUN_ANNOTATION]: metadata.annotations?.[Names.RUN_ANNOTATION] ?? "" }
        assert.isDefined(spec.providerID)
        yield* createMachine(world.kube, { name: "m2", spec: OWN_HOST })
        const other = world.server.client("provider-2")
        // Both mean to run there: the host's own record lets one of them through.
        yield* other.patch(RemoteMachines, ref("m2"), { metadata: { annotations } })
        assert.notInclude(found(world), "oneMachineAnAddress")
        yield* other.patch(RemoteMachines, ref("m2"), { spec: { providerID: spec.providerID ?? "" } })
        assert.include(found(world), "oneMachineAnAddress")
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a secret in a status, in an Event, in a log", () =>
    run(
      Effect.gen(function* () {
        const leaky = patching("RemoteMachine", (patch) =>
          "status" in patch ? { ...patch, status: { ...Object(patch["status"]), host: "canary" } } : patch
        )
        assert.deepStrictEqual(found(yield* withProvider({ kube: leaky })), ["secretsStaySecret"])
        assert.deepStrictEqual(found(yield* withProvider({}), ["connecting with key canary"]), ["secretsStaySecret"])
      })
    ).pipe(Effect.scoped)
  )

  it.effect("a provider that writes without end", () =>
    run(
      Effect.gen(function* () {
        const chatty = (inner: KubeClientShape): KubeClientShape => ({
          ...inner,
          patch: (kind, at, patch, options) =>
            kind.kind === "RemoteMachine" && options?.subresource === "status"
              ? Effect.andThen(
                  Effect.forEach(
                    Array.from({ length: 100 }),
                    () => inner.patch(kind, at, { status: { observedGeneration: 1 } }, { subresource: "status" }),
                    { discard: true }
                  ),
                  inner.patch(kind, at, patch, options)
                )
              : inner.patch(kind, at, patch, options)
        })
        assert.include(found(yield* withProvider({ kube: chatty })), "writesAreBounded")
      })
    ).pipe(Effect.scoped)
  )

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

  it.live("seeded runs: a provider that never cleans is found within a few seeds, in more than one way", () =>
    Effect.gen(function* () {
      const checkers = new Set<string>()
      const both = ["finalizerLast", "settled"]
      for (let number = 1; number <= 6 && !both.every((one) => checkers.has(one)); number++) {
        const { violations } = yield* seed(number, { wrap: { hosts: neverCleans } })
        for (const { checker } of violations) checkers.add(checker)
      }
      assert.includeMembers([...checkers], both)
    })
  )
})
