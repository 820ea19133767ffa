/**
 * Holds that the checkers see: each fails on a provider, a client or a host that is broken on purpose, and the unbroken
 * one is passed. A checker that can't fail proves nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as Names from "../../src/api/Names.ts"
import { PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import type { HostRunsShape } from "../../src/hosts/HostRuns.ts"
import { STATE_DIR } from "../../src/hosts/Protocol.ts"
import type { JsonObject, KubeClientShape } from "../../src/kube/KubeClient.ts"
import { judge } from "../../src/simulation/Checkers.ts"
import type { Wrap } from "../../src/simulation/Processes.ts"
import { makeWorld, type World } from "../../src/simulation/World.ts"
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
        // The record that would have refused the next one, and the journal that would have told of it.
        world.hosts.hosts()[0]?.disk.remove(STATE_DIR)
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
