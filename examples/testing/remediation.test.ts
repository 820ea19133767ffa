/**
 * An example of machinist/testing: a remediation loop of one's own, as MachineHealthCheck's `nodeStartupTimeout`, tested
 * against the real provider. A Machine that has no Node after ten minutes is deleted, and its host, which is hardware and
 * would be next in line again, is put into maintenance; the MachineSet makes another Machine.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { createSimulation, KubeClient, Machines, PooledRemoteMachines, Scripts } from "machinist/testing"
import { expect, test } from "vitest"

const NODE_STARTUP_TIMEOUT_MILLIS = 600_000

/** The controller under test: it knows Kubernetes, and nothing of the simulation. */
const remediate = Effect.gen(function* () {
  const kube = yield* KubeClient
  const now = yield* Clock.currentTimeMillis
  const hosts = (yield* kube.list(PooledRemoteMachines)).items
  for (const machine of (yield* kube.list(Machines)).items) {
    const { creationTimestamp = "", deletionTimestamp, name, namespace = "" } = machine.metadata
    const age = now - Date.parse(creationTimestamp)
    if (deletionTimestamp !== undefined || machine.status?.nodeRef !== undefined) continue
    if (age <= NODE_STARTUP_TIMEOUT_MILLIS) continue
    const host = hosts.find(
      ({ metadata, status }) => metadata.namespace === namespace && status?.machineRef?.name === name
    )
    if (host !== undefined) {
      const metadata = { annotations: { "machinist.dev/maintenance": "node did not start" } }
      yield* kube.patch(PooledRemoteMachines, { namespace, name: host.metadata.name }, { metadata })
    }
    yield* kube.delete(Machines, { namespace, name })
  }
}).pipe(
  // A conflict or a restarting API server: look again next time.
  Effect.ignore,
  Effect.repeat(Schedule.spaced("30 seconds"))
)

test("a machine whose host hangs is replaced by one on another host, and the host comes back clean", async () => {
  await using simulation = await createSimulation({ hosts: 2 })
  simulation.host("h1").script("install k0s", Scripts.hanging())
  await simulation.run(simulation.simulation.startController("remediation", remediate))
  await simulation.addWorkers({ replicas: 1 })

  await simulation.until("its Node is there", () => simulation.areRunning(1))

  expect(simulation.claims().map(({ host }) => host)).toEqual(["default/h2"])
  expect(simulation.host("h1").residue()).toEqual([])
  expect(simulation.journal("h1").find(({ name }) => name === "install k0s")?.outcome).toBe("interrupted")
  expect(simulation.violations()).toEqual([])
})

test("a machine that is merely slow is left alone", async () => {
  await using simulation = await createSimulation({ hosts: 1 })
  simulation.host("h1").script("install k0s", Scripts.slow("9 minutes"))
  await simulation.run(simulation.simulation.startController("remediation", remediate))
  await simulation.addWorkers({ replicas: 1 })
  await simulation.until("its Node is there", () => simulation.areRunning(1))
  expect(simulation.journal("h1").filter(({ verb }) => verb === "clean")).toEqual([])
})
