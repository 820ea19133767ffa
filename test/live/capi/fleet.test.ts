/**
 * Holds the whole of it together, on real parts: CAPI's own core, clusterctl, API servers, sshd hosts whose kubelets join
 * with their token, and our provider as clusterctl installs it, killed all the while. A MachineDeployment scales both ways,
 * rolls over, has a sick machine replaced, moves to another management cluster and back, and goes. The witnesses count.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Names from "../../../src/api/Names.ts"
import { type Raw, rawKind } from "../../../src/simulation/core/Raw.ts"
import { createDeployment, machineTemplate } from "../../conformance/core/templates.ts"
import * as CoreWorld from "../../conformance/core/World.ts"
import { available } from "../apiserver/ApiServer.ts"
import { disksOf } from "../e2e/World.ts"
import * as TestHosts from "../hosts/TestHosts.ts"
import * as Fleet from "./Fleet.ts"
import * as Management from "./Management.ts"
import * as Manager from "./Manager.ts"

const { MachineDeployments, Machines } = CoreWorld

const NAMESPACE = "fleet"
const CLUSTER = "one"
const HOSTS = 5
const SEED = Number(process.env["SEED"] ?? "1")
/** Milliseconds; a tenth of it where the machine has nothing else to do. */
const TIMEOUT = 1_200_000
/** Of the provider's processes, while all this happens. */
const LEAST_KILLS = 50
/** In each part: however fast this machine is, the part goes on until they have happened. But the last one ends by itself. */
const KILLS = { grow: 14, rollOver: 12, remediate: 8, there: 8, back: 8, leave: 8 }
/** Of the provider that is moved away from, while that is done. */
const KILLS_BEHIND = 2
/** How often a part goes on by scaling up and down. */
const MOST_ROUNDS = 10

const HealthChecks = rawKind({
  group: "cluster.x-k8s.io",
  kind: "MachineHealthCheck",
  plural: "machinehealthchecks",
  versions: ["v1beta2"]
})

const settled = (replicas: number) => (deployment: Raw) => {
  const { status = {}, metadata } = deployment
  const counts = ["replicas", "readyReplicas", "availableReplicas", "upToDateReplicas"].map((one) => status[one])
  return counts.every((count) => count === replicas) && status["observedGeneration"] === metadata.generation
}

const untilSettled = (what: string, replicas: number) =>
  CoreWorld.until(`${what}: ${replicas} available`, MachineDeployments, NAMESPACE, "workers", settled(replicas))

const patchDeployment = Effect.fnUntraced(function* (spec: Parameters<typeof CoreWorld.patch>[2]) {
  const deployment = yield* CoreWorld.get(MachineDeployments, NAMESPACE, "workers")
  return yield* CoreWorld.patch(MachineDeployments, deployment, { spec })
})

const machineNames = Effect.map(CoreWorld.listed(Machines, NAMESPACE), (all) =>
  all.map((one) => one.metadata.name).sort()
)

/** A management cluster at work on the namespace: stand-ins, provider, eyes, and who kills the provider. */
const atWork = Effect.fnUntraced(function* (management: Management.Management, workload: Fleet.Workload, seed: number) {
  const { kube } = management
  yield* Management.startStandIns(kube)
  const eyes = yield* Fleet.watch(kube, NAMESPACE)
  const lives = yield* Management.startProvider(management, NAMESPACE)
  const killer = yield* Fleet.killAtRandom(lives, eyes, seed)
  const world = { kube, workload: Effect.succeed({ kube: workload.kube, kubeconfig: workload.server.kubeconfig }) }
  const on = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, CoreWorld.World, world)
  return { eyes, lives, killer, on }
})

const grow = Effect.gen(function* () {
  yield* Fleet.createCluster(NAMESPACE, CLUSTER)
  for (const colour of ["blue", "green"]) yield* Fleet.createTemplates(NAMESPACE, colour)
  yield* createDeployment(NAMESPACE, "workers", CLUSTER, { replicas: 2 })
  yield* untilSettled("created", 2)
  yield* patchDeployment({ replicas: 4 })
  yield* untilSettled("scaled up", 4)
  yield* patchDeployment({ replicas: 3 })
  yield* untilSettled("scaled down", 3)
})

const rollOver = Effect.gen(function* () {
  const before = yield* machineNames
  yield* patchDeployment({ template: machineTemplate(CLUSTER, "green") })
  // Its counts say for a moment that the old Machines are what is wanted.
  yield* CoreWorld.eventually("all green", CoreWorld.RemoteMachines, NAMESPACE, (all) => {
    const colours = all.map((one) => one.metadata.annotations?.[Names.CLONED_FROM_NAME_ANNOTATION])
    return colours.join() === "green,green,green" ? true : undefined
  })
  yield* untilSettled("rolled over", 3)
  const after = yield* machineNames
  assert.lengthOf(after, 3)
  for (const name of after) assert.notInclude(before, name)
})

const remediate = Effect.gen(function* () {
  yield* CoreWorld.create(HealthChecks, NAMESPACE, "workers", {
    spec: {
      clusterName: CLUSTER,
      selector: { matchLabels: { pool: "workers" } },
      checks: {
        nodeStartupTimeoutSeconds: 0,
        unhealthyNodeConditions: [{ type: "Ready", status: "False", timeoutSeconds: 1 }]
      }
    }
  })
  const [sick = ""] = yield* machineNames
  yield* CoreWorld.reportConditions(sick, { ...CoreWorld.KUBELET, Ready: "False" })
  yield* CoreWorld.untilGone(Machines, NAMESPACE, sick)
  yield* untilSettled("remediated", 3)
  assert.notInclude(yield* machineNames, sick)
})

/** Nothing that a part is about, but as much to do for the provider: until all of the part's kills have happened. */
const goOn = Effect.fnUntraced(function* (killer: Fleet.Killer, replicas: number) {
  for (let round = 1; killer.left() > 0; round++) {
    assert.isAtMost(round, MOST_ROUNDS, `${killer.left()} kills are still to come`)
    for (const wanted of [replicas + 1, replicas]) {
      yield* patchDeployment({ replicas: wanted })
      yield* untilSettled("going on", wanted)
    }
  }
})

describe.skipIf(!available || !Manager.available || TestHosts.unavailable !== undefined)(
  "a fleet on CAPI's core",
  () => {
    it.live(
      "scales, rolls over, is remediated, moved there and back, and goes, through crashes of the provider",
      () =>
        Effect.gen(function* () {
          const hosts = yield* TestHosts.light(HOSTS, { join: true })
          const disks = disksOf(hosts)
          const workload = yield* Fleet.startWorkload
          const home = yield* Management.start
          yield* Fleet.prepareNamespace(home.kube, workload, NAMESPACE, CLUSTER, {
            [Fleet.KEY]: hosts[0]?.privateKey ?? ""
          })
          for (const [index, host] of hosts.entries()) {
            yield* Fleet.addPoolHost(home.kube, NAMESPACE, `h${index}`, host)
          }
          const here = yield* atWork(home, workload, SEED)
          for (const [kills, part] of [
            [KILLS.grow, grow],
            [KILLS.rollOver, rollOver],
            [KILLS.remediate, remediate]
          ] as const) {
            here.killer.allow(kills)
            yield* here.on(Effect.andThen(part, goOn(here.killer, 3)))
          }

          const away = yield* Management.start
          const stay = yield* Scope.make()
          const there = yield* Scope.provide(atWork(away, workload, SEED + 1), stay)
          const machines = yield* here.on(machineNames)
          const move = (from: Management.Management, to: Management.Management) => {
            const ends = ["--kubeconfig", from.server.kubeconfigPath, "--to-kubeconfig", to.server.kubeconfigPath]
            return from.clusterctl.run("move", "--namespace", NAMESPACE, ...ends)
          }
          there.killer.allow(KILLS.there)
          here.killer.allow(KILLS_BEHIND)
          yield* move(home, away)
          yield* there.on(untilSettled("moved", 3))
          assert.deepStrictEqual(yield* there.on(machineNames), machines)
          yield* there.on(patchDeployment({ replicas: 4 }))
          yield* there.on(Effect.andThen(untilSettled("scaled up there", 4), goOn(there.killer, 4)))
          const carried = yield* there.on(machineNames)
          here.killer.allow(KILLS.back)
          there.killer.allow(KILLS_BEHIND)
          yield* move(away, home)
          const others = [here, there]
          yield* here.on(untilSettled("moved back", 4))
          assert.deepStrictEqual(yield* here.on(machineNames), carried)
          yield* Scope.close(stay, Exit.void)
          yield* here.on(goOn(here.killer, 4))
          const more = yield* here.on(machineNames)
          const before = here.lives.killed()
          here.killer.allow(KILLS.leave)

          yield* here.on(
            Effect.gen(function* () {
              yield* CoreWorld.remove(CoreWorld.Clusters, yield* CoreWorld.get(CoreWorld.Clusters, NAMESPACE, CLUSTER))
              yield* CoreWorld.untilGone(CoreWorld.Clusters, NAMESPACE, CLUSTER)
            })
          )
          assert.deepStrictEqual(yield* disks.residue, [], "hosts are not clean")
          // With its Cluster a Machine goes without its Node; those of Machines before are gone.
          assert.deepStrictEqual(yield* Fleet.nodeNames(workload), more)
          assert.deepStrictEqual(yield* Fleet.tokens(workload), [])
          for (const { eyes, lives } of others) {
            assert.deepStrictEqual(eyes.doubleClaims(), [])
            assert.deepStrictEqual(lives.died(), [])
            assert.deepStrictEqual(lives.refusals(), [])
          }
          const tenancies = yield* Fleet.assertWitnesses(hosts)
          const killed = others.reduce((sum, { lives }) => sum + lives.killed(), 0)
          yield* Effect.logInfo(`${tenancies} tenancies on ${HOSTS} hosts, the provider killed ${killed} times`)
          assert.isAbove(here.lives.killed(), before, "nobody was killed while all of it was deleted")
          assert.isAtLeast(killed, LEAST_KILLS)
          assert.isTrue(home.manager.isRunning() && away.manager.isRunning())
        }).pipe(Effect.scoped),
      TIMEOUT
    )
  }
)
