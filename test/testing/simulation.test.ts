/**
 * Holds machinist/testing to what docs/testing.md says: a cluster with hosts in a few lines, virtual time, scripts, faults
 * by name, replicas, one's own controllers, and something to look at when it went wrong.
 */
import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { noKubeFaults } from "../../src/simulation/Faults.ts"
import { noSshFaults } from "../../src/simulation/hosts/SshFaults.ts"
import {
  KubeClient,
  MachineDeployments,
  Machines,
  makeSimulation,
  NotInTime,
  PooledRemoteMachines,
  RemoteMachines,
  root,
  Scripts
} from "../../src/testing.ts"

const oneMachine = (simulation: { readonly kube: typeof KubeClient.Service }) =>
  Effect.map(simulation.kube.list(RemoteMachines), ({ items }) => items[0]?.metadata.name ?? "")

describe("a simulation", () => {
  it.effect("hosts, workers, and both gone again, in a few lines", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: 3 })
      yield* simulation.addWorkers({ replicas: 2 })
      yield* simulation.until("two workers run", simulation.areRunning(2))
      assert.lengthOf(simulation.claims(), 2)
      yield* simulation.kube.delete(MachineDeployments, { namespace: "default", name: "workers" })
      yield* simulation.until(
        "nothing is claimed",
        Effect.sync(() => simulation.claims().length === 0)
      )
      assert.deepStrictEqual(simulation.violations(), [])
      for (const host of simulation.hosts.hosts()) assert.deepStrictEqual(host.residue(), [], host.name)
    })
  )

  it.effect("a bootstrap of ten minutes passes in virtual time", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: 1 })
      simulation.host("h1").script("start k0s", Scripts.slow("10 minutes"))
      yield* simulation.addWorkers()
      const before = yield* Clock.currentTimeMillis
      yield* simulation.until("it runs", simulation.areRunning(1))
      assert.isAtLeast((yield* Clock.currentTimeMillis) - before, 600_000)
    })
  )

  it.effect("what does not come true fails in time, and tells what happened instead", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: 1 })
      yield* simulation.say("a worker too many")
      yield* simulation.addWorkers({ replicas: 2 })
      const error = yield* Effect.flip(simulation.until("two run", simulation.areRunning(2), "5 minutes"))
      assert.instanceOf(error, NotInTime)
      assert.strictEqual(error.message, "two run: not within 5m of virtual time")
      assert.isTrue(error.story.some((line) => line.includes("---- a worker too many")))
      assert.isTrue(error.story.some((line) => line.includes("waits: NoFreeHost")))
    })
  )

  it.effect("YAML is applied as kubectl would, and refused as the server does", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ providers: 0, cluster: false })
      yield* simulation.apply(`
apiVersion: infrastructure.cluster.x-k8s.io/v1beta1
kind: PooledRemoteMachine
metadata: {name: a}
spec: {pool: default, machine: {address: 10.9.9.9, user: root, sshKeyRef: {name: k}}}
---
apiVersion: v1
kind: Secret
metadata: {name: k}
`)
      assert.strictEqual(
        (yield* simulation.kube.get(PooledRemoteMachines, { namespace: "default", name: "a" })).spec.pool,
        "default"
      )
      const refused = yield* Effect.flip(
        simulation.apply(
          "apiVersion: infrastructure.cluster.x-k8s.io/v1beta1\nkind: RemoteMachineTemplate\nmetadata: {name: t}\nspec: {}"
        )
      )
      assert.include(refused.message, "spec.template")
      assert.include((yield* Effect.flip(simulation.apply("kind: Nothing"))).message, "apiVersion")
    })
  )
})

describe("scripts of hosts", () => {
  const provisioned = (script: (simulation: Effect.Success<ReturnType<typeof makeSimulation>>) => void) =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: 1 })
      script(simulation)
      yield* simulation.addWorkers()
      return simulation
    })

  it.effect("a step that fails twice is run again, and only it", () =>
    Effect.gen(function* () {
      const simulation = yield* provisioned(({ host }) =>
        host("h1").script(Scripts.step(2), Scripts.failing({ code: 7, stderr: "no mirror\n", times: 2 }))
      )
      yield* simulation.until("it runs", simulation.areRunning(1))
      const codes = simulation
        .journal("h1")
        .flatMap(({ outcome, step }) => (typeof outcome === "object" ? [[step, outcome.code]] : []))
      assert.deepStrictEqual(codes.slice(0, 4), [
        [1, 0],
        [2, 7],
        [2, 7],
        [2, 0]
      ])
      const name = yield* oneMachine(simulation)
      assert.isTrue(simulation.events(`RemoteMachine ${name}`).some(({ message }) => message.includes("no mirror")))
      assert.deepStrictEqual(simulation.violations(), [])
    })
  )

  it.effect("a step that hangs is ended when its machine is deleted", () =>
    Effect.gen(function* () {
      const simulation = yield* provisioned(({ host }) => host("h1").script("install k0s", Scripts.hanging()))
      yield* simulation.until(
        "it hangs",
        Effect.sync(() =>
          simulation.journal("h1").some(({ name, outcome }) => name === "install k0s" && outcome === "running")
        )
      )
      yield* simulation.kube.delete(MachineDeployments, { namespace: "default", name: "workers" })
      yield* simulation.until(
        "the host is free",
        Effect.sync(() => simulation.claims().length === 0)
      )
      assert.isTrue(
        simulation.journal("h1").some(({ name, outcome }) => name === "install k0s" && outcome === "interrupted")
      )
      assert.deepStrictEqual(simulation.violations(), [])
    })
  )

  it.effect("a host that reboots in a step goes on where it was", () =>
    Effect.gen(function* () {
      const simulation = yield* provisioned(({ host }) => host("h1").script("start k0s", Scripts.rebooting(host("h1"))))
      yield* simulation.until("it runs", simulation.areRunning(1))
      assert.strictEqual(simulation.hosts.witness.entries().filter(({ _tag }) => _tag === "Booted").length, 1)
      assert.deepStrictEqual(
        simulation
          .journal("h1")
          .filter(({ name }) => name === "start k0s")
          .map(({ outcome }) => outcome),
        ["interrupted", { code: 0 }]
      )
      assert.deepStrictEqual(simulation.violations(), [])
    })
  )

  it.effect("a disk that fills up fails the step, and room lets it go on", () =>
    Effect.gen(function* () {
      const simulation = yield* provisioned(({ host }) =>
        host("h1").script(Scripts.step(1), Scripts.fillingDisk(host("h1")))
      )
      const name = Effect.map(oneMachine(simulation), (found) => found)
      yield* simulation.until(
        "it failed",
        Effect.map(name, (one) => simulation.events(`RemoteMachine ${one}`).some(({ type }) => type === "Warning"))
      )
      simulation.host("h1").disk.setFull(undefined)
      yield* simulation.until("it runs", simulation.areRunning(1))
    })
  )

  it.effect("a key that the host does not know is a condition, until it does", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation()
      const host = yield* simulation.addHost({ accounts: { root: root("simulated:another") } })
      yield* simulation.addWorkers()
      yield* simulation.until(
        "it says so",
        Effect.map(oneMachine(simulation), (one) =>
          simulation.events(`RemoteMachine ${one}`).some(({ reason }) => /Auth/.test(reason))
        )
      )
      host.accounts.set("root", root("simulated:machinist"))
      yield* simulation.until("it runs", simulation.areRunning(1))
    })
  )
})

describe("faults by name", () => {
  it("every one that ports have can be asked for", () => {
    const names = [...Object.keys(noKubeFaults), ...Object.keys(noSshFaults)]
    assert.strictEqual(new Set(names).size, names.length, "a name means one fault")
    const page = readFileSync(new URL("../../docs/testing.md", import.meta.url), "utf8")
    assert.deepStrictEqual(
      names.filter((name) => !page.includes(`\`${name}\``)),
      [],
      "docs/testing.md knows them all"
    )
  })

  it.effect("with many at once it takes longer, and nothing unsafe happens", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: 2, seed: "faults" })
      simulation.faults({
        conflict: 0.2,
        lostResponse: 0.1,
        unavailable: 0.1,
        watchBreak: 0.05,
        refuse: 0.2,
        drop: 0.4,
        loseRequest: 0.1
      })
      yield* simulation.addWorkers({ replicas: 2 })
      yield* simulation.until("both run", simulation.areRunning(2))
      assert.isAbove(
        simulation.server.writes().filter(({ outcome }) => outcome !== "changed").length +
          simulation.hosts.hosts().reduce((sum, host) => sum + host.connectsSeen(), 0),
        2
      )
      assert.deepStrictEqual(simulation.violations(["simulated:machinist"]), [])
    })
  )
})

describe("processes", () => {
  it.effect("of two replicas one is at work; when it crashes the other goes on", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: 1, providers: 2 })
      simulation.host("h1").script("start k0s", Scripts.slow("2 minutes"))
      yield* simulation.addWorkers()
      yield* simulation.until(
        "a step runs",
        Effect.sync(() => simulation.journal("h1").some(({ name }) => name === "start k0s"))
      )
      const name = yield* oneMachine(simulation)
      const [leader] = new Set(simulation.machine(name).history.map(({ process }) => process))
      yield* simulation.processes.find((one) => one.name === leader)?.crash ?? Effect.void
      yield* simulation.until("it runs", simulation.areRunning(1))
      assert.lengthOf([...new Set(simulation.machine(name).history.map(({ process }) => process))], 2)
      assert.strictEqual(simulation.journal("h1").filter((one) => one.name === "start k0s").length, 1)
      assert.deepStrictEqual(simulation.violations(), [])
    })
  )

  it.effect("a leader that is held longer than its lease comes back late, and does no harm", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: 2, providers: 2 })
      simulation.host("h1").script("start k0s", Scripts.slow("5 minutes"))
      yield* simulation.addWorkers({ replicas: 2 })
      yield* simulation.until(
        "a step runs",
        Effect.sync(() => simulation.journal("h1").some(({ name }) => name === "start k0s"))
      )
      const [first] = simulation.machine(yield* oneMachine(simulation)).history
      const leader = simulation.processes.find(({ name }) => name === first?.process)
      assert.isDefined(leader)
      yield* leader.hold
      yield* simulation.until("both run", simulation.areRunning(2))
      yield* leader.resume
      yield* simulation.pass("10 minutes")
      assert.include(leader.died() ?? "", "LeadershipLost")
      assert.isTrue(yield* simulation.areRunning(2))
      assert.deepStrictEqual(simulation.violations(), [])
    })
  )

  it.effect("a controller of one's own works beside the provider", () =>
    Effect.gen(function* () {
      const simulation = yield* makeSimulation({ hosts: 1 })
      const label = Effect.gen(function* () {
        const kube = yield* KubeClient
        for (const { metadata } of (yield* kube.list(Machines)).items)
          yield* kube.patch(
            Machines,
            { namespace: metadata.namespace ?? "", name: metadata.name },
            { metadata: { labels: { seen: "yes" } } }
          )
      }).pipe(Effect.repeat(Schedule.spaced("10 seconds")))
      yield* simulation.startController("labeller", label)
      yield* simulation.addWorkers()
      yield* simulation.until(
        "it is labelled",
        Effect.map(simulation.kube.list(Machines), ({ items }) =>
          items.some(({ metadata }) => metadata.labels?.["seen"] === "yes")
        )
      )
      assert.isTrue(simulation.server.writes().some(({ client }) => client === "labeller"))
    })
  )
})
