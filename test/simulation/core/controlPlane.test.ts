/**
 * Holds K0sControllerConfigs against a control plane that uses them: the stand-in for K0sControlPlane, the real provider
 * and hosts in memory. The first controller, two that join, a rollout, a way down: etcd always has exactly the members
 * that run, and nobody is let in who should not be.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Secrets } from "../../../src/api/Core.ts"
import { K0sControllerConfigs } from "../../../src/api/K0sConfigs.ts"
import { RemoteMachines } from "../../../src/api/RemoteMachine.ts"
import { stringAt } from "../../../src/simulation/apiserver/Json.ts"
import { Clusters, Machines } from "../../../src/simulation/core/Raw.ts"
import { type ControllerView, type Move, nextMove } from "../../../src/simulation/core/standins/ControlPlaneScale.ts"
import { K0sControlPlanes } from "../../../src/simulation/core/standins/K0sControlPlanes.ts"
import { seededSecureRandom } from "../../../src/simulation/Surroundings.ts"
import { dirtyHosts, doubleTenants } from "../../../src/simulation/Witness.ts"
import { eventually, makeWorld, type World } from "./Examples.ts"

const namespace = "control-plane"
const CLUSTER = { namespace, name: "remote-test" }

const begin = Effect.fnUntraced(function* (patch: { readonly k0sConfigSpec?: { readonly args: Array<string> } } = {}) {
  const world = yield* makeWorld()
  yield* world.apply(namespace)
  for (const index of [2, 3, 4]) yield* world.addHost(namespace, `more-${index}`, `10.9.0.${index}`)
  yield* world.kube.patch(K0sControlPlanes, CLUSTER, { spec: { updateStrategy: "Recreate", ...patch } })
  return world
})

const members = (world: World): string =>
  world.management.workloads
    .members(CLUSTER)
    .map(({ name, running }) => `${name}${running ? "" : " (stopped)"}`)
    .sort()
    .join()

const machines = (world: World) =>
  Effect.map(world.kube.list(Machines, { namespace }), ({ items }) =>
    items.map(({ metadata, spec, status }) => ({
      name: metadata.name,
      phase: stringAt(status, "phase"),
      version: stringAt(spec, "version")
    }))
  )
/** Without a worker beside it a controller is no Node, and its Machine never Running. */
const up = (world: World, names: string, phase = "Provisioned") =>
  eventually(
    `${names} are ${phase}`,
    Effect.map(
      machines(world),
      (all) =>
        all
          .map(({ name }) => name)
          .sort()
          .join() === names &&
        all.every((one) => one.phase === phase) &&
        members(world) === names
    )
  )
const scale = (world: World, replicas: number) => world.kube.patch(K0sControlPlanes, CLUSTER, { spec: { replicas } })

const tokens = Effect.fnUntraced(function* (world: World) {
  const server = world.management.workloads.server(CLUSTER)
  if (server === undefined) return 0
  const { items } = yield* server.kubeClient.list(Secrets, { namespace: "kube-system" })
  return items.filter(({ type }) => type === "bootstrap.kubernetes.io/token").length
})
const noTokens = (world: World) =>
  eventually(
    "no token is left",
    Effect.map(tokens(world), (left) => left === 0)
  )

const wellBehaved = (world: World) => {
  assert.deepStrictEqual(world.management.workloads.refusals(), [])
  assert.deepStrictEqual(doubleTenants(world.hosts.witness.entries()), [])
  assert.deepStrictEqual(dirtyHosts(world.hosts.witness.entries()), [])
  assert.deepStrictEqual(world.hosts.defects(), [])
}

describe("a K0sControlPlane on machines", () => {
  it.effect("first one, then three, another version, two, none", () =>
    Effect.gen(function* () {
      const world = yield* begin()
      yield* up(world, "remote-test-0")
      const cluster = yield* world.kube.get(Clusters, CLUSTER)
      assert.include(JSON.stringify(cluster.status), '"controlPlaneInitialized":true')
      yield* scale(world, 3)
      yield* up(world, "remote-test-0,remote-test-1,remote-test-2")
      yield* noTokens(world)
      const configs = (yield* world.kube.list(K0sControllerConfigs, { namespace })).items
      yield* eventually(
        "their configs need nobody any more",
        Effect.map(world.kube.list(K0sControllerConfigs, { namespace }), ({ items }) =>
          items.every(({ metadata }) => (metadata.finalizers ?? []).length === 0)
        )
      )
      assert.lengthOf(configs, 3)

      yield* world.kube.patch(K0sControlPlanes, CLUSTER, { spec: { version: "v1.28.0+k0s.0" } })
      yield* up(world, "remote-test-3,remote-test-4,remote-test-5")
      assert.isTrue((yield* machines(world)).every(({ version }) => version === "v1.28.0+k0s.0"))
      yield* noTokens(world)

      yield* scale(world, 2)
      yield* up(world, "remote-test-3,remote-test-4")
      const plane = yield* world.kube.get(K0sControlPlanes, CLUSTER)
      assert.notInclude(JSON.stringify(plane.status), "MembersLeftBehind")
      wellBehaved(world)

      yield* world.kube.delete(Clusters, CLUSTER)
      yield* eventually(
        "gone",
        Effect.map(world.kube.list(RemoteMachines, { namespace }), ({ items }) => items.length === 0)
      )
      wellBehaved(world)
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("with workers beside the controllers: Nodes, and Machines that run", () =>
    Effect.gen(function* () {
      const world = yield* begin({ k0sConfigSpec: { args: ["--enable-worker"] } })
      yield* scale(world, 2)
      yield* up(world, "remote-test-0,remote-test-1", "Running")
      yield* noTokens(world)
      wellBehaved(world)
    }).pipe(Effect.provide(seededSecureRandom))
  )
})

describe("what it does next", () => {
  const view = (index: number, more: Partial<ControllerView> = {}): ControllerView => ({
    name: `c-${index}`,
    index,
    running: true,
    deleting: false,
    current: true,
    ...more
  })
  const create = (index: number): Move => ({ do: "create", index })
  const remove = (...names: ReadonlyArray<string>): Move => ({ do: "remove", names })
  const wait: Move = { do: "wait" }
  const old = { current: false }
  const cases: ReadonlyArray<readonly [string, ReadonlyArray<ControllerView>, number, Move]> = [
    ["nothing there", [], 3, create(0)],
    ["the first starts", [view(0, { running: false })], 3, wait],
    ["the first runs", [view(0)], 3, create(1)],
    ["enough", [view(0), view(1)], 2, wait],
    ["too many", [view(0), view(1), view(2)], 2, remove("c-2")],
    ["one goes already", [view(0), view(1), view(2, { deleting: true })], 1, wait],
    ["outdated", [view(0, old), view(1, old)], 2, create(2)],
    ["the new one starts", [view(0, old), view(1, old), view(2, { running: false })], 2, wait],
    ["the new one runs", [view(0, old), view(1, old), view(2)], 2, remove("c-0")],
    ["the next", [view(1, old), view(2)], 2, create(3)],
    ["another size meanwhile", [view(1, old), view(2, old), view(3, { running: false })], 1, remove("c-1")],
    ["none at all", [view(0), view(1, { deleting: true }), view(2)], 0, remove("c-0", "c-2")],
    ["none left to remove", [view(0, { deleting: true })], 0, wait]
  ]
  for (const [what, there, wanted, move] of cases)
    it(what, () => {
      assert.deepStrictEqual(nextMove(there, wanted), move)
    })
})
