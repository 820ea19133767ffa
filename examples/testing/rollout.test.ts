/**
 * An example of machinist/testing: a rolling update where hosts are scarce. Hardware can't be made by an API call, so a
 * surge needs a spare host; these tests show what happens with one, without one, and with `maxUnavailable`.
 */
import { createSimulation, MachineDeployments, Machines } from "machinist/testing"
import { expect, test } from "vitest"

const REPLICAS = 3

/** A patch release: workers must not be newer than their control plane's minor version, and core sees to that. */
const rollOut = { spec: { template: { spec: { version: "v1.33.2" } } } }
const strategy = (maxSurge: number, maxUnavailable: number) => ({
  spec: { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge, maxUnavailable } } }
})

const deployed = async (hosts: number, maxSurge: number, maxUnavailable: number) => {
  const simulation = await createSimulation({ hosts })
  await simulation.addWorkers({ replicas: REPLICAS, ...strategy(maxSurge, maxUnavailable) })
  await simulation.until("all run", () => simulation.areRunning(REPLICAS))
  const before = new Set((await simulation.list(Machines)).map(({ metadata }) => metadata.name))
  const replaced = async () => {
    const machines = await simulation.list(Machines)
    return machines.length === REPLICAS && machines.every(({ metadata }) => !before.has(metadata.name))
  }
  return { simulation, replaced }
}

test("one spare host is enough for a surge of one", async () => {
  const { simulation, replaced } = await deployed(REPLICAS + 1, 1, 0)
  await using _ = simulation
  await simulation.patch(MachineDeployments, "workers", rollOut)
  await simulation.until("all are new", replaced)
  await simulation.until("and run", () => simulation.areRunning(REPLICAS))
  // Whoever was there before had left, and left nothing.
  expect(simulation.violations()).toEqual([])
})

test("without a spare host a surge waits, says so, and goes on when a host is added", async () => {
  const { simulation, replaced } = await deployed(REPLICAS, 1, 0)
  await using _ = simulation
  await simulation.patch(MachineDeployments, "workers", rollOut)
  await simulation.pass("30 minutes")
  expect(simulation.story().some((line) => line.includes("waits: NoFreeHost"))).toBe(true)
  expect((await simulation.list(Machines)).length).toBe(REPLICAS + 1)
  await simulation.addHost()
  await simulation.until("all are new", replaced)
})

test("with maxUnavailable the hosts go round", async () => {
  const { simulation, replaced } = await deployed(REPLICAS, 0, 1)
  await using _ = simulation
  await simulation.patch(MachineDeployments, "workers", rollOut)
  await simulation.until("all are new", replaced)
  await simulation.until("and run", () => simulation.areRunning(REPLICAS))
  expect(
    simulation
      .hosts()
      .flatMap(({ name }) => simulation.journal(name))
      .some(({ verb }) => verb === "clean")
  ).toBe(true)
  expect(simulation.violations()).toEqual([])
})
