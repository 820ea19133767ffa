/**
 * Holds the plain async entry to the same promises as the Effect one: it is what people without Effect write, so nothing
 * here imports Effect.
 */
import { assert, describe, it } from "vitest"
import { createSimulation, MachineDeployments, Machines, RemoteMachines, Scripts } from "../../src/testing.ts"

describe("createSimulation", () => {
  it("gets, lists, patches, deletes, and waits", async () => {
    await using simulation = await createSimulation({ hosts: 2 })
    await simulation.addWorkers({ replicas: 1 })
    await simulation.until("one runs", () => simulation.areRunning(1))
    const [machine] = await simulation.list(RemoteMachines, "default")
    assert.isDefined(machine)
    const { name } = machine.metadata
    assert.isTrue(await simulation.isReady(RemoteMachines, name))
    assert.deepStrictEqual(simulation.machine(name).phases, ["Pending", "Claimed", "Provisioning", "Ready"])
    await simulation.patch(MachineDeployments, "workers", { spec: { replicas: 2 } })
    await simulation.until("two run", () => simulation.areRunning(2))
    await simulation.delete(Machines, name)
    await simulation.until("it is gone", () => simulation.isGone(Machines, name))
    assert.isFalse(await simulation.isReady(RemoteMachines, name))
    assert.deepStrictEqual(simulation.violations(), [])
  })

  it("crashes a process and starts another one", async () => {
    await using simulation = await createSimulation({ hosts: 1 })
    simulation.host("h1").script("start k0s", Scripts.slow("1 minute"))
    await simulation.addWorkers()
    await simulation.until("it starts", () => simulation.journal("h1").some(({ name }) => name === "start k0s"))
    await simulation.processes()[0]?.crash()
    await simulation.startProvider()
    await simulation.until("it runs", () => simulation.areRunning(1))
    assert.lengthOf(
      simulation.journal("h1").filter(({ name }) => name === "start k0s"),
      1
    )
  })

  it("rejects with what happened when patience ends", async () => {
    await using simulation = await createSimulation()
    await simulation.addWorkers()
    const error: unknown = await simulation
      .until("it runs", () => simulation.areRunning(1), "1 minute")
      .catch((reason: unknown) => reason)
    assert.instanceOf(error, Error)
    assert.include(error.message, "it runs: not within 1m of virtual time")
  })

  it("rejects a patch that the server refuses, in its words", async () => {
    await using simulation = await createSimulation({ providers: 0 })
    await simulation.addWorkers()
    const error: unknown = await simulation
      .patch(MachineDeployments, "workers", { spec: { replicas: "many" } })
      .catch((reason: unknown) => reason)
    assert.match(String(error), /spec\.replicas/)
  })

  it("works in real time, too", async () => {
    await using simulation = await createSimulation({ hosts: 1, time: "live" })
    await simulation.addWorkers()
    await simulation.until("it runs", () => simulation.areRunning(1))
  })

  it("repeats with its seed", async () => {
    const story = async (seed: number) => {
      await using simulation = await createSimulation({ hosts: 2, seed })
      simulation.faults({ conflict: 0.2, drop: 0.3, requestDelay: [1, 50] })
      await simulation.addWorkers({ replicas: 2 })
      await simulation.until("both run", () => simulation.areRunning(2))
      return simulation.story().join("\n")
    }
    assert.strictEqual(await story(1), await story(1))
    assert.notStrictEqual(await story(1), await story(2))
  })
})
