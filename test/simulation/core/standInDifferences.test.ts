/**
 * Holds what stand-ins (k0s, workload clusters, control planes, AWS) and the simulated move do otherwise than what they stand
 * for to what their headers say: where one of these fails, the difference is gone, and its line in the header with it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { Nodes, Secrets } from "../../../src/api/Core.ts"
import * as Names from "../../../src/api/Names.ts"
import { PooledRemoteMachines } from "../../../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../../src/api/RemoteMachine.ts"
import { TOKEN_NAMESPACE, workerTokenSecret } from "../../../src/domain/JoinToken.ts"
import { Machines, rawKind } from "../../../src/simulation/core/Raw.ts"
import * as SimulatedWorkloads from "../../../src/simulation/core/SimulatedWorkloads.ts"
import { AwsMachines } from "../../../src/simulation/core/standins/Aws.ts"
import { K0sControlPlanes } from "../../../src/simulation/core/standins/K0sControlPlanes.ts"
import { move } from "../../../src/simulation/Move.ts"
import { seededSecureRandom } from "../../../src/simulation/Surroundings.ts"
import * as World from "../../../src/simulation/World.ts"
import { createMachine, ref } from "../../support/cluster.ts"
import { pass } from "../../support/world.ts"
import { eventually, makeWorld } from "./Examples.ts"

const OWN = "control-plane"
const CLUSTER = { namespace: OWN, name: "remote-test" }
const Pods = rawKind({ group: "", kind: "Pod", plural: "pods", versions: ["v1"] })

const readiness = (world: { readonly server: SimulatedWorkloads.SimulatedWorkloads["server"] }) =>
  Effect.suspend(() => {
    const server = world.server(CLUSTER)
    return server === undefined
      ? Effect.succeed([])
      : Effect.map(server.kubeClient.list(Nodes), ({ items }) =>
          items.map(({ status }) => status?.conditions?.find(({ type }) => type === "Ready")?.status)
        )
  })

/** Controllers of a K0sControlPlane that are workers, too, on hosts of a pool. */
const controllers = Effect.fnUntraced(function* (replicas: number) {
  const world = yield* makeWorld()
  yield* world.apply(OWN)
  for (const index of [2, 3]) yield* world.addHost(OWN, `more-${index}`, `10.9.0.${index}`)
  yield* world.kube.patch(K0sControlPlanes, CLUSTER, {
    spec: { replicas, k0sConfigSpec: { args: ["--enable-worker"] } }
  })
  const { workloads } = world.management
  yield* eventually(
    `${replicas} Nodes are Ready`,
    Effect.map(readiness(workloads), (all) => all.length === replicas && all.every((one) => one === "True"))
  )
  return { ...world, workloads }
})

describe("stand-ins, unlike what they stand for", () => {
  it.effect("a Node stays Ready, and its controller answers, while the host has no power (unlike: no-heartbeats)", () =>
    Effect.gen(function* () {
      const { hosts, workloads } = yield* controllers(1)
      for (const host of hosts.hosts()) yield* host.powerOff
      yield* TestClock.adjust("30 minutes")
      assert.deepStrictEqual(yield* readiness(workloads), ["True"])
      assert.isTrue(workloads.isUp(CLUSTER))
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("one of three members of etcd is enough for it to answer (unlike: no-quorum)", () =>
    Effect.gen(function* () {
      const { workloads } = yield* controllers(3)
      const [one, two] = workloads.members(CLUSTER)
      for (const member of [one, two]) yield* workloads.k0s.stopped(member?.host ?? "")
      assert.deepStrictEqual(
        workloads
          .members(CLUSTER)
          .map(({ running }) => running)
          .toSorted(),
        [false, false, true]
      )
      assert.isTrue(workloads.isUp(CLUSTER))
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect(
    "without Recreate a new version is written to the Machines, and nothing is updated (unlike: no-autopilot)",
    () =>
      Effect.gen(function* () {
        const { hosts, kube } = yield* controllers(1)
        const steps = () => hosts.witness.entries().filter(({ _tag }) => _tag === "StepBegan").length
        const before = steps()
        yield* kube.patch(K0sControlPlanes, CLUSTER, { spec: { updateStrategy: "InPlace", version: "v1.30.0+k0s.0" } })
        yield* eventually(
          "written",
          Effect.map(kube.list(Machines, { namespace: OWN }), ({ items }) =>
            items.every(({ spec }) => spec?.["version"] === "v1.30.0+k0s.0")
          )
        )
        yield* TestClock.adjust("30 minutes")
        assert.strictEqual(steps(), before)
      }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("a hosted control plane has no Pods (unlike: nothing-hosted)", () =>
    Effect.gen(function* () {
      const world = yield* World.makeWorld({ core: true })
      yield* pass(30)
      assert.isDefined(world.workloads?.server({ namespace: "default", name: "demo" }))
      assert.deepStrictEqual((yield* world.kube.list(Pods)).items, [])
    }).pipe(Effect.scoped)
  )

  it.effect("a workload cluster runs no Pods: one that is put there stays as it is (unlike: no-pods)", () =>
    Effect.gen(function* () {
      const { workloads } = yield* controllers(1)
      const kube = workloads.server(CLUSTER)?.kubeClient
      assert.isDefined(kube)
      yield* kube.create(Pods, { metadata: ref("p"), spec: { containers: [{ name: "c", image: "i" }] } })
      yield* TestClock.adjust("10 minutes")
      const pod = yield* kube.get(Pods, ref("p"))
      assert.deepStrictEqual([pod.spec?.["nodeName"], pod.status?.["phase"]], [undefined, undefined])
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("an expired join token stays where it is (unlike: no-token-cleaner)", () =>
    Effect.gen(function* () {
      const workloads = yield* SimulatedWorkloads.make()
      const access = { server: "https://127.0.0.1:30443", ca: "ca", token: "admin" }
      const { kubeClient } = yield* workloads.open(CLUSTER, access)
      const { data, metadata, type } = workerTokenSecret({ id: "abcdef", secret: "0123456789abcdef" }, 60_000, "a/b")
      yield* kubeClient.create(Secrets, { metadata, type, data })
      yield* TestClock.adjust("1 day")
      assert.lengthOf((yield* kubeClient.list(Secrets, { namespace: TOKEN_NAMESPACE })).items, 1)
    }).pipe(Effect.scoped)
  )

  it.effect("an AWSMachine's host goes with the process that stood in for it (unlike: lost-instances)", () =>
    Effect.gen(function* () {
      const first = yield* makeWorld()
      yield* first.apply("machine-deployment")
      yield* eventually(
        "its instance runs",
        Effect.map(first.kube.list(AwsMachines, { namespace: "machine-deployment" }), ({ items }) =>
          items.some(({ status }) => status?.["ready"] === true)
        )
      )
      const second = yield* makeWorld()
      yield* second.server.restore(first.server.snapshot())
      assert.isAbove(first.hosts.hosts().length, 0)
      assert.deepStrictEqual(second.hosts.hosts(), [])
    }).pipe(Effect.provide(seededSecureRandom))
  )

  it.effect("a move does not wait for runs in flight (unlike: waits-for-nobody)", () =>
    Effect.gen(function* () {
      const from = yield* World.makeWorld()
      yield* from.addHost(1)
      yield* createMachine(from.kube, { name: "m1", pool: "default" })
      yield* from.kube.patch(RemoteMachines, ref("m1"), {
        metadata: { annotations: { [Names.BLOCK_MOVE_ANNOTATION]: "" } }
      })
      const to = yield* World.makeWorld({ hosts: from.hosts })
      yield* move(from.kube, to.kube, { whilePaused: Effect.void, known: ["key"] })
      assert.deepStrictEqual((yield* from.kube.list(RemoteMachines)).items, [])
      assert.lengthOf((yield* to.kube.list(PooledRemoteMachines)).items, 1)
      assert.strictEqual((yield* to.kube.get(RemoteMachines, ref("m1"))).metadata.name, "m1")
    }).pipe(Effect.scoped)
  )
})
