/**
 * Owns what core promises of MachineSets and MachineDeployments (CONTRACT section 2): what the clones look like, scaling
 * both ways, who goes first, rolling updates within their bounds, pauses, deletion.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { KubeClient } from "../../../src/kube/KubeClient.ts"
import * as Reflector from "../../../src/kube/Reflector.ts"
import type { Raw } from "../../../src/simulation/core/Raw.ts"
import { createDeployment, createTemplates, machineTemplate } from "./templates.ts"
import {
  create,
  eventually,
  freshNamespace,
  get,
  type It,
  listed,
  MachineDeployments,
  MachineSets,
  Machines,
  owners,
  patch,
  playProvider,
  RemoteMachines,
  RemoteMachineTemplates,
  readyCluster,
  remove,
  until,
  untilGone,
  WorkerConfigs,
  World
} from "./World.ts"

const available = (count: number) => (one: Raw) =>
  one.status?.["replicas"] === count && one.status?.["availableReplicas"] === count

const prepared = Effect.gen(function* () {
  const namespace = yield* freshNamespace
  yield* readyCluster(namespace, "one")
  yield* playProvider(namespace)
  yield* createTemplates(namespace, "blue")
  return namespace
})

const names = (objects: ReadonlyArray<Raw>): ReadonlyArray<string> => objects.map((one) => one.metadata.name).sort()

const createSet = (namespace: string, name: string, replicas: number) =>
  create(MachineSets, namespace, name, {
    spec: {
      clusterName: "one",
      replicas,
      selector: { matchLabels: { pool: "workers" } },
      template: machineTemplate("one", "blue")
    }
  })

/** Which templates the infrastructure of living Machines was cloned from. */
const colours = (objects: ReadonlyArray<Raw>): ReadonlyArray<string> =>
  objects.map((one) => one.metadata.annotations?.["cluster.x-k8s.io/cloned-from-name"] ?? "").sort()

export const deployments = (it: It): void => {
  it.effect("makes Machines whose objects are named, labelled, annotated and owned alike", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createDeployment(namespace, "workers", "one", { replicas: 2 })
      yield* until("two available", MachineDeployments, namespace, "workers", available(2))
      const machines = yield* listed(Machines, namespace)
      const [set] = yield* listed(MachineSets, namespace)
      assert.lengthOf(machines, 2)
      assert.deepStrictEqual(names(yield* listed(RemoteMachines, namespace)), names(machines))
      assert.deepStrictEqual(names(yield* listed(WorkerConfigs, namespace)), names(machines))
      const hash = set?.metadata.labels?.["machine-template-hash"]
      assert.isString(hash)
      for (const machine of machines) {
        const { name, labels } = machine.metadata
        assert.match(name, new RegExp(`^${set?.metadata.name}-[a-z0-9]{5}$`))
        assert.deepStrictEqual(owners(machine), [`MachineSet/${set?.metadata.name} (controller)`])
        assert.strictEqual(labels?.["cluster.x-k8s.io/deployment-name"], "workers")
        assert.strictEqual(labels?.["cluster.x-k8s.io/set-name"], set?.metadata.name)
        assert.strictEqual(labels?.["machine-template-hash"], hash)
        const infrastructure = yield* get(RemoteMachines, namespace, name)
        assert.include(infrastructure.metadata.labels, {
          "from-template": "blue",
          pool: "workers",
          "cluster.x-k8s.io/cluster-name": "one",
          "machine-template-hash": hash
        })
        assert.include(infrastructure.metadata.annotations, {
          "note-of-template": "blue",
          "note-of-machine": "yes",
          "cluster.x-k8s.io/cloned-from-name": "blue",
          "cluster.x-k8s.io/cloned-from-groupkind": "RemoteMachineTemplate.infrastructure.cluster.x-k8s.io"
        })
        assert.deepStrictEqual(owners(infrastructure), [`Machine/${name} (controller)`])
        assert.strictEqual(infrastructure.spec?.["pool"], "blue")
        const config = yield* get(WorkerConfigs, namespace, name)
        assert.strictEqual(config.spec?.["version"], "v1.27.2+k0s.0")
      }
      const template = yield* get(RemoteMachineTemplates, namespace, "blue")
      assert.deepStrictEqual(owners(template), ["Cluster/one"])
    })
  )

  it.effect("makes the bootstrap config first, then the infrastructure, then the Machine", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      const { kube } = yield* World
      yield* readyCluster(namespace, "one")
      yield* createTemplates(namespace, "blue")
      const seen: Array<string> = []
      const before = (yield* kube.list(Machines, { namespace })).resourceVersion
      for (const kind of [WorkerConfigs, RemoteMachines, Machines])
        yield* kube.watch(kind, { namespace, resourceVersion: before }).pipe(
          Stream.filter((event) => event._tag === "Added"),
          Stream.runForEach((event) =>
            Effect.sync(() => {
              if (event._tag === "Added")
                seen.push(`${event.object.metadata.resourceVersion?.padStart(20, "0")} ${kind.kind}`)
            })
          ),
          Effect.ignore,
          Effect.forkScoped
        )
      yield* createSet(namespace, "set", 1)
      yield* until("one", MachineSets, namespace, "set", (one) => one.status?.["replicas"] === 1)
      yield* eventually("all three heard of", Machines, namespace, () => (seen.length === 3 ? true : undefined))
      assert.deepStrictEqual(
        [...seen].sort().map((one) => one.slice(21)),
        ["K0sWorkerConfig", "RemoteMachine", "Machine"]
      )
    })
  )

  it.effect("scales up and down, the Machine a person marked first", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createSet(namespace, "set", 1)
      yield* until("one available", MachineSets, namespace, "set", available(1))
      yield* patch(MachineSets, yield* get(MachineSets, namespace, "set"), { spec: { replicas: 3 } })
      yield* until("three available", MachineSets, namespace, "set", available(3))
      const machines = yield* listed(Machines, namespace)
      // Neither the first nor the last by name or age.
      const marked = [...machines].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))[1]
      assert.isDefined(marked)
      if (marked === undefined) return
      yield* patch(Machines, marked, { metadata: { annotations: { "cluster.x-k8s.io/delete-machine": "" } } })
      yield* patch(MachineSets, yield* get(MachineSets, namespace, "set"), { spec: { replicas: 2 } })
      yield* until("two available", MachineSets, namespace, "set", available(2))
      const left = names(yield* listed(Machines, namespace))
      assert.deepStrictEqual(
        left,
        names(machines).filter((name) => name !== marked.metadata.name)
      )
      assert.deepStrictEqual(names(yield* listed(RemoteMachines, namespace)), left)
    })
  )

  it.effect("replaces a Machine that someone deleted, after it is gone", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createSet(namespace, "set", 1)
      yield* until("one available", MachineSets, namespace, "set", available(1))
      const [machine] = yield* listed(Machines, namespace)
      assert.isDefined(machine)
      if (machine === undefined) return
      const { name } = machine.metadata
      yield* patch(RemoteMachines, yield* get(RemoteMachines, namespace, name), {
        metadata: { finalizers: ["conformance.machinist.dev/hold"] }
      })
      yield* remove(Machines, machine)
      const held = yield* until(
        "deleted",
        RemoteMachines,
        namespace,
        name,
        (one) => one.metadata.deletionTimestamp !== undefined
      )
      // Its host is not free yet: no second Machine asks for one.
      assert.lengthOf(yield* listed(Machines, namespace), 1)
      yield* patch(RemoteMachines, held, { metadata: { finalizers: null } })
      yield* untilGone(Machines, namespace, name)
      yield* until("one available again", MachineSets, namespace, "set", available(1))
      assert.notInclude(names(yield* listed(Machines, namespace)), name)
    })
  )

  it.effect("adopts orphans that match its selector, and takes them for its own", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createSet(namespace, "set", 1)
      yield* until("one available", MachineSets, namespace, "set", available(1))
      yield* create(RemoteMachines, namespace, "orphan", { spec: { address: "orphan", sshKeyRef: { name: "key" } } })
      yield* create(
        Machines,
        namespace,
        "orphan",
        {
          spec: {
            clusterName: "one",
            bootstrap: { dataSecretName: "given" },
            infrastructureRef: { apiGroup: "infrastructure.cluster.x-k8s.io", kind: "RemoteMachine", name: "orphan" }
          }
        },
        { labels: { pool: "workers", "cluster.x-k8s.io/cluster-name": "one" } }
      )
      // Two are one too many: the set gives one of them up.
      yield* eventually("one left", Machines, namespace, (machines) =>
        machines.length === 1 && owners(machines[0] ?? machine404)[0]?.startsWith("MachineSet/set") ? true : undefined
      )
    })
  )

  it.effect("rolls over to a new template without ever having fewer available or more in all than allowed", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createTemplates(namespace, "green")
      yield* createDeployment(namespace, "workers", "one", {
        replicas: 3,
        rollout: { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } }
      })
      yield* until("three available", MachineDeployments, namespace, "workers", available(3))
      const [first] = yield* listed(MachineSets, namespace)

      const { kube } = yield* World
      const counts: Array<number> = []
      const machines = yield* Reflector.make(Machines, { namespace }).pipe(Effect.provideService(KubeClient, kube))
      yield* machines.synced
      yield* machines.changes.pipe(
        Stream.runForEach(() => Effect.map(machines.list(), (all) => void counts.push(all.length))),
        Effect.forkScoped
      )
      yield* patch(MachineDeployments, yield* get(MachineDeployments, namespace, "workers"), {
        spec: { template: machineTemplate("one", "green") }
      })
      yield* eventually("all green", RemoteMachines, namespace, (all) =>
        colours(all).join() === "green,green,green" ? true : undefined
      )
      yield* until("three available", MachineDeployments, namespace, "workers", available(3))
      assert.isAtMost(Math.max(...counts), 4)
      assert.isAtLeast(Math.min(...counts), 3)
      const after = yield* eventually("the old set is cleaned up", MachineSets, namespace, (sets) =>
        sets.length === 1 ? sets : undefined
      )
      assert.notStrictEqual(after[0]?.metadata.uid, first?.metadata.uid)
      assert.notStrictEqual(
        after[0]?.metadata.labels?.["machine-template-hash"],
        first?.metadata.labels?.["machine-template-hash"]
      )
      const revision = (one: Raw | undefined) =>
        one?.metadata.annotations?.["machinedeployment.clusters.x-k8s.io/revision"]
      assert.deepStrictEqual([revision(first), revision(after[0])], ["1", "2"])
    })
  )

  it.effect("with nothing to spare takes a Machine away before it makes the new one", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createTemplates(namespace, "green")
      yield* createDeployment(namespace, "workers", "one", {
        replicas: 2,
        rollout: { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } } }
      })
      yield* until("two available", MachineDeployments, namespace, "workers", available(2))
      const { kube } = yield* World
      const counts: Array<number> = []
      const machines = yield* Reflector.make(Machines, { namespace }).pipe(Effect.provideService(KubeClient, kube))
      yield* machines.synced
      yield* machines.changes.pipe(
        Stream.runForEach(() => Effect.map(machines.list(), (all) => void counts.push(all.length))),
        Effect.forkScoped
      )
      yield* patch(MachineDeployments, yield* get(MachineDeployments, namespace, "workers"), {
        spec: { template: machineTemplate("one", "green") }
      })
      yield* eventually("all green", RemoteMachines, namespace, (all) =>
        colours(all).join() === "green,green" ? true : undefined
      )
      assert.isAtMost(Math.max(...counts), 2)
    })
  )

  it.effect("follows labels of the template in place, without new Machines", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createDeployment(namespace, "workers", "one", { replicas: 1 })
      yield* until("one available", MachineDeployments, namespace, "workers", available(1))
      const before = names(yield* listed(Machines, namespace))
      yield* patch(MachineDeployments, yield* get(MachineDeployments, namespace, "workers"), {
        spec: { template: { metadata: { labels: { shelf: "top" } } } }
      })
      yield* eventually("labelled", Machines, namespace, (all) =>
        all.every((one) => one.metadata.labels?.["shelf"] === "top") ? true : undefined
      )
      assert.deepStrictEqual(names(yield* listed(Machines, namespace)), before)
      assert.lengthOf(yield* listed(MachineSets, namespace), 1)
    })
  )

  it.effect("paused, scales but does not roll over", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createTemplates(namespace, "green")
      const made = yield* createDeployment(namespace, "workers", "one", { replicas: 1 })
      yield* until("one available", MachineDeployments, namespace, "workers", available(1))
      yield* patch(MachineDeployments, made, { spec: { paused: true, replicas: 2 } })
      yield* until("two available", MachineDeployments, namespace, "workers", available(2))
      const changed = yield* patch(MachineDeployments, made, { spec: { template: machineTemplate("one", "green") } })
      yield* until(
        "seen",
        MachineDeployments,
        namespace,
        "workers",
        (one) => Number(one.status?.["observedGeneration"] ?? 0) >= (changed.metadata.generation ?? 0)
      )
      assert.lengthOf(yield* listed(MachineSets, namespace), 1)
      assert.deepStrictEqual(colours(yield* listed(RemoteMachines, namespace)), ["blue", "blue"])
      yield* patch(MachineDeployments, made, { spec: { paused: false } })
      yield* eventually("all green", RemoteMachines, namespace, (all) =>
        colours(all).join() === "green,green" ? true : undefined
      )
    })
  )

  it.effect("a label of the Machine counts more on its objects than one of their template", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      yield* readyCluster(namespace, "one")
      yield* createTemplates(namespace, "blue")
      const labels = { pool: "of-the-template", "from-template": "blue" }
      yield* patch(RemoteMachineTemplates, yield* get(RemoteMachineTemplates, namespace, "blue"), {
        spec: { template: { metadata: { labels } } }
      })
      yield* createSet(namespace, "set", 1)
      const [clone] = yield* eventually("cloned", RemoteMachines, namespace, (all) =>
        all.length > 0 ? all : undefined
      )
      assert.include(clone?.metadata.labels, { pool: "workers", "from-template": "blue" })
    })
  )

  it.effect("deleted, takes its sets and Machines along, and waits for them", () =>
    Effect.gen(function* () {
      const namespace = yield* prepared
      yield* createDeployment(namespace, "workers", "one", { replicas: 2 })
      yield* until("two available", MachineDeployments, namespace, "workers", available(2))
      yield* remove(MachineDeployments, yield* get(MachineDeployments, namespace, "workers"))
      yield* untilGone(MachineDeployments, namespace, "workers")
      for (const kind of [MachineSets, Machines, RemoteMachines, WorkerConfigs])
        assert.deepStrictEqual(names(yield* listed(kind, namespace)), [], kind.kind)
    })
  )
}

const machine404: Raw = { metadata: { name: "none" } }
