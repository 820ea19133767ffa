/**
 * Owns carrying out what a plan asks for: people's edits, crashes, and what befalls hosts. Whatever it takes away it
 * brings back itself, later, or `heal` does. Moves no clock but for a move that has to wait.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { Clusters, MachineDeployments, Machines } from "../../api/ClusterApi.ts"
import { Namespaces, Secrets } from "../../api/Core.ts"
import type { Kind, KubeObject } from "../../api/Kind.ts"
import * as Names from "../../api/Names.ts"
import { PooledRemoteMachines } from "../../api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../api/RemoteMachine.ts"
import { rfc3339 } from "../../domain/Rfc3339.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import { CLUSTER, createCluster, createKey, NAMESPACE, ref } from "../ClusterObjects.ts"
import { root, SIMULATED_KEY } from "../hosts/Accounts.ts"
import type { SimulatedHost } from "../hosts/SimulatedHost.ts"
import { move } from "../Move.ts"
import { cluster, workers } from "../testing/Objects.ts"
import { makeWorld, type World } from "../World.ts"
import { controlPlaneOf, scaleControlPlane, upgradeControlPlane } from "./ControlPlane.ts"
import type { Action, Plan, PlannedHost } from "./Plan.ts"
import { crashOne, later, type Running, say, startProcess } from "./Running.ts"

const KEY = "key"
const ZONE_LABEL = "topology.kubernetes.io/zone"
/** client-go's lease: nobody else leads before it is over. */
const LEASE_MILLIS = 15_000
/** What a leader that comes back may still do until it notices. */
const NOTICED_MILLIS = 5_000
/** Virtual milliseconds that clusterctl's user waits for runs in flight; then there is no move. */
const MOVE_PATIENCE_MILLIS = 300_000
const MOVE_LOOK_MILLIS = 5_000

export const createHostObject = (world: World, host: PlannedHost) =>
  world.kube.create(PooledRemoteMachines, {
    metadata: { name: host.name, namespace: "default" },
    spec: {
      pool: host.pool ?? "",
      machine: { address: host.address, port: 22, user: "root", sshKeyRef: { name: KEY } }
    }
  })

/** What people took away is put back; it may be there, or still be going. */
export const putBack = Effect.fnUntraced(function* (run: Running) {
  const { plan, world } = run
  if (run.namespaceDeleted) yield* makeAnew(run)
  yield* Effect.ignore(createKey(world.kube, KEY))
  for (const host of plan.hosts) if (host.pool !== undefined) yield* Effect.ignore(createHostObject(world, host))
})

/** Nothing can be made in a namespace that is still going: each time is a try. */
const makeAnew = Effect.fnUntraced(function* ({ plan, world }: Running) {
  yield* Effect.ignore(world.kube.create(Namespaces, { metadata: { name: NAMESPACE } }))
  if (world.workloads === undefined) return yield* Effect.ignore(createCluster(world.kube))
  for (const object of [...cluster({ name: CLUSTER }), ...ownersOf(plan)])
    yield* Effect.ignore(world.server.apply(object))
})

/** What owns machines where core is at work. */
export const ownersOf = (plan: Plan): ReadonlyArray<JsonObject> => [
  ...plan.deployments.flatMap((deployment) => workers({ ...deployment, cluster: CLUSTER })),
  ...(plan.controlPlane === undefined ? [] : controlPlaneOf(plan.controlPlane))
]

/** Real servers refuse to delete this one namespace; here everything is in it, and it goes as any other does. */
const deleteNamespace = Effect.fnUntraced(function* (run: Running) {
  const { registry, storage } = run.world.server.store
  const type = registry.byKind("", "Namespace")
  if (type === undefined) return
  const place = { type, namespace: "", name: NAMESPACE }
  const found = storage.get(place)
  if (found === undefined || found.metadata.deletionTimestamp !== undefined) return
  run.namespaceDeleted = true
  const deletionTimestamp = rfc3339(yield* Clock.currentTimeMillis)
  storage.put(place, type.strategy.markDeleted({ ...found, metadata: { ...found.metadata, deletionTimestamp } }))
})

/** In a run with deployments a name is a place among the machines that there are. */
const machineNamed = Effect.fnUntraced(function* ({ plan, world }: Running, name: string) {
  if (plan.deployments.length === 0) return name
  const machines = (yield* world.kube.list(RemoteMachines)).items
  return machines[Number(name) % Math.max(1, machines.length)]?.metadata.name ?? name
})

export const onMachine = Effect.fnUntraced(function* (run: Running, what: string, machine: string) {
  const { kube } = run.world
  const at = ref(machine)
  const annotate = (name: string, value: string | null) =>
    kube.patch(RemoteMachines, at, { metadata: { annotations: { [name]: value } } })
  const now = yield* Clock.currentTimeMillis
  switch (what) {
    case "delete":
      // Who has a Machine with core at work deletes that: its RemoteMachine's going would be a failure of it.
      return yield* run.plan.deployments.length > 0 ? kube.delete(Machines, at) : kube.delete(RemoteMachines, at)
    case "pause":
      return yield* annotate(Names.PAUSED_ANNOTATION, "")
    case "unpause":
      return yield* annotate(Names.PAUSED_ANNOTATION, null)
    default:
      return yield* annotate(Names.RETRY_ANNOTATION, `${now}`)
  }
})

const onHostObject = Effect.fnUntraced(function* (
  run: Running,
  action: Extract<Action, { readonly do: "maintenance" | "withdraw" | "relabel" }>
) {
  const { kube } = run.world
  const at = ref(action.host)
  switch (action.do) {
    case "relabel":
      return yield* kube.patch(PooledRemoteMachines, at, { metadata: { labels: { [ZONE_LABEL]: action.zone } } })
    case "withdraw": {
      yield* kube.delete(PooledRemoteMachines, at)
      return yield* later(
        action.forMillis,
        Effect.suspend(() => putBack(run))
      )
    }
    case "maintenance": {
      const set = (value: string | null) =>
        kube.patch(PooledRemoteMachines, at, { metadata: { annotations: { [Names.MAINTENANCE_ANNOTATION]: value } } })
      yield* set("")
      return yield* later(action.forMillis, Effect.ignore(set(null)))
    }
  }
})

/** A person has made sure of a host's new key: the old one's pins go, wherever they are. */
export const unpin = Effect.fnUntraced(function* ({ kube }: World, { address, hostKey }: SimulatedHost) {
  const stale = (annotations: Readonly<Record<string, string>> = {}): boolean => {
    const pin = annotations[Names.HOST_KEY_ANNOTATION]
    return pin !== undefined && !pin.includes(hostKey())
  }
  const patch = { metadata: { annotations: { [Names.HOST_KEY_ANNOTATION]: null } } }
  for (const { metadata, spec } of (yield* kube.list(RemoteMachines)).items)
    if (spec.address === address && stale(metadata.annotations))
      yield* Effect.ignore(kube.patch(RemoteMachines, ref(metadata.name), patch))
  for (const { metadata, spec } of (yield* kube.list(PooledRemoteMachines)).items)
    if (spec.machine.address === address && stale(metadata.annotations))
      yield* Effect.ignore(kube.patch(PooledRemoteMachines, ref(metadata.name), patch))
})

type HostAction = Extract<
  Action,
  {
    readonly do:
      | "powerLoss"
      | "refuse"
      | "blackhole"
      | "refuseKey"
      | "fullDisk"
      | "newHostKey"
      | "impostor"
      | "loseConnections"
      | "killDriver"
      | "killStep"
      | "killFollowers"
  }
>

const onHost = Effect.fnUntraced(function* (run: Running, action: HostAction) {
  const host = run.world.hosts.hosts().find((one) => one.name === action.host)
  if (host === undefined) return
  const backAfter = (millis: number, undo: () => unknown) => later(millis, Effect.sync(undo))
  switch (action.do) {
    case "powerLoss":
      yield* host.powerOff
      return yield* later(action.forMillis, host.powerOn)
    case "refuse":
    case "blackhole":
      host.setReachability(action.do === "refuse" ? "refusing" : "blackholed")
      return yield* backAfter(action.forMillis, () => host.setReachability("up"))
    case "refuseKey":
      host.accounts.set("root", root("simulated:somebody-else"))
      return yield* backAfter(action.forMillis, () => host.accounts.set("root", root(SIMULATED_KEY)))
    case "newHostKey":
      host.rotateHostKey()
      yield* host.loseConnections
      return yield* later(
        action.forMillis,
        Effect.suspend(() => Effect.ignore(unpin(run.world, host)))
      )
    case "impostor":
      run.impersonated.add(host.address)
      return yield* backAfter(action.forMillis, () => run.impersonated.delete(host.address))
    case "fullDisk":
      host.disk.setFull("/")
      return yield* backAfter(action.forMillis, () => host.disk.setFull(undefined))
    case "loseConnections":
      return yield* host.loseConnections
    case "killDriver":
      return yield* host.killDriver
    case "killStep":
      return yield* host.killStep
    case "killFollowers":
      return yield* host.killFollowers
  }
})

const crash = Effect.fnUntraced(function* (run: Running, absentMillis: number) {
  yield* crashOne(run, run.processes[0])
  const another = Effect.suspend(() =>
    run.healed || run.processes.length > 0 ? Effect.void : Effect.asVoid(startProcess(run))
  )
  yield* later(absentMillis, another)
})

const twoLeaders = Effect.fnUntraced(function* (run: Running, forMillis: number) {
  if (run.processes.length > 1) return
  const second = yield* startProcess(run)
  const ends = Effect.suspend(() =>
    run.healed || !run.processes.includes(second) ? Effect.void : crashOne(run, run.processes[0])
  )
  yield* later(forMillis, ends)
})

const hold = Effect.fnUntraced(function* (run: Running, forMillis: number) {
  const [held] = run.processes
  if (held === undefined || run.processes.length > 1) return
  yield* held.hold
  const leads = Effect.suspend(() =>
    run.healed || run.processes.length > 1 ? Effect.void : Effect.asVoid(startProcess(run))
  )
  yield* later(LEASE_MILLIS, leads)
  yield* later(forMillis, Effect.andThen(say(run, `${held.name} comes back`), held.resume))
  yield* later(
    forMillis + NOTICED_MILLIS,
    // By then it may be the only one that is left.
    Effect.suspend(() => (run.healed ? Effect.void : crashOne(run, held)))
  )
})

/** As `clusterctl move` and whoever runs it: pauses, waits for runs in flight, gives up if they take too long. */
const carryOver = Effect.fnUntraced(function* (run: Running) {
  const { world } = run
  const kinds: ReadonlyArray<Kind<KubeObject>> = [RemoteMachines, PooledRemoteMachines, Secrets]
  // Deletion waits while paused, and what is being deleted is not moved: nobody moves then.
  for (const kind of kinds)
    if ((yield* world.kube.list(kind)).items.some(({ metadata }) => metadata.deletionTimestamp !== undefined)) return
  const other = yield* makeWorld({ hosts: world.hosts })
  const inFlight = Effect.map(world.kube.list(RemoteMachines), ({ items }) =>
    items.some(({ metadata }) => metadata.annotations?.[Names.BLOCK_MOVE_ANNOTATION] !== undefined)
  )
  yield* setPaused(world, true)
  for (let waited = 0; yield* inFlight; waited += MOVE_LOOK_MILLIS) {
    if (waited >= MOVE_PATIENCE_MILLIS) {
      yield* setPaused(world, false)
      return
    }
    yield* TestClock.adjust(MOVE_LOOK_MILLIS)
  }
  yield* move(world.kube, other.kube, { whilePaused: Effect.void, known: [KEY] })
  while (run.processes.length > 0) yield* crashOne(run, run.processes[0])
  run.world = other
  run.worlds.push(other)
  yield* startProcess(run)
})

/**
 * By hand, as DESIGN has it ("Absence is never evidence"): what a process claimed whose crash kept it from undoing that. A
 * claim that nobody's crash explains stays, and is found.
 */
export const releaseOrphan = Effect.fnUntraced(function* ({ done, world }: Running, name: string) {
  const claim = (yield* world.kube.get(PooledRemoteMachines, ref(name))).metadata.annotations?.[Names.CLAIM_ANNOTATION]
  const first = world.history
    .versions()
    .find(
      ({ kind, object }) =>
        kind === "PooledRemoteMachine" && object.metadata.annotations?.[Names.CLAIM_ANNOTATION] === claim
    )
  if (first === undefined || !done.some(({ at, text }) => text.endsWith(" crashes") && at >= first.at)) return
  yield* world.kube.patch(PooledRemoteMachines, ref(name), {
    metadata: { annotations: { [Names.RELEASE_ANNOTATION]: "" } }
  })
})

export const setPaused = (world: World, paused: boolean) =>
  world.kube.patch(Clusters, ref(CLUSTER), { spec: { paused } })

export const carryOut = Effect.fnUntraced(function* (run: Running, action: Action) {
  const { world } = run
  yield* say(run, Object.values(action).join(" "))
  switch (action.do) {
    case "crash":
      return yield* crash(run, action.absentMillis)
    case "twoLeaders":
      return yield* twoLeaders(run, action.forMillis)
    case "hold":
      return yield* hold(run, action.forMillis)
    case "pauseCluster":
    case "unpauseCluster":
      return yield* setPaused(world, action.do === "pauseCluster")
    case "closeWatches":
      return yield* world.server.closeWatches
    case "compact":
      return yield* world.server.compact
    case "delete":
    case "pause":
    case "unpause":
    case "retry":
      return yield* onMachine(run, action.do, yield* machineNamed(run, action.machine))
    case "scale":
      return yield* world.kube.patch(MachineDeployments, ref(action.deployment), {
        spec: { replicas: action.replicas }
      })
    case "rollOut":
      return yield* world.kube.patch(MachineDeployments, ref(action.deployment), {
        spec: { template: { spec: { version: `v1.33.${Math.floor((yield* Clock.currentTimeMillis) / 1_000)}` } } }
      })
    case "scaleControlPlane":
      return yield* scaleControlPlane(world, action.replicas)
    case "upgradeControlPlane":
      return yield* upgradeControlPlane(world)
    case "maintenance":
    case "withdraw":
    case "relabel":
      return yield* onHostObject(run, action)
    case "loseKey":
      yield* world.kube.delete(Secrets, ref(KEY))
      return yield* later(
        action.forMillis,
        Effect.suspend(() => putBack(run))
      )
    case "move":
      return yield* carryOver(run)
    case "deleteNamespace":
      return yield* deleteNamespace(run)
    default:
      return yield* onHost(run, action)
  }
})
