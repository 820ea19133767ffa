/**
 * Owns what a seed means: the topology, the faults' chances, the misbehaving steps, and what happens when. Everything is
 * drawn from Effect's Random before the run begins, so that a plan can be printed. Carries nothing out (Run.ts does).
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { drawKubeFaults, type KubeFaultPlan, noKubeFaults } from "../Faults.ts"
import { drawSshFaults, noSshFaults, type SshFaultPlan } from "../hosts/SshFaults.ts"
import type { StepBehaviour } from "../hosts/StepRunner.ts"

/** Where the bootstrap data of a seeded run puts its token. */
export const TOKEN_FILE = "/etc/k0s.token"

/** Virtual milliseconds of the phase with faults. */
const SHORTEST_TROUBLE_MILLIS = 120_000
const LONGEST_TROUBLE_MILLIS = 900_000
/** Most things that happen in it. */
const MOST_ACTIONS = 30
/** Most times a step fails: more than the budget, so that some machines need a person. */
const MOST_STEP_FAILURES = 4
/** Virtual milliseconds a host may be out of reach, and a provider may be missing. */
const LONGEST_OUTAGE_MILLIS = 240_000
const LONGEST_ABSENCE_MILLIS = 60_000
/** Longer than a lease lives. */
const SHORTEST_HOLD_MILLIS = 16_000
/** How many seeds have MachineDeployments instead of Machines with ready-made data: they cost several times as much. */
const DEPLOYMENTS_CHANCE = 0.25
const MOST_REPLICAS = 4

export interface PlannedHost {
  readonly name: string
  readonly address: string
  /** Absent: a host outside pools. */
  readonly pool?: string
  readonly steps: ReadonlyArray<{ readonly match: RegExp | string; readonly behaviour: StepBehaviour }>
  readonly stepMillis: readonly [number, number]
}

/** A MachineDeployment of k0s workers: CAPI's core, bootstrap configs, join tokens and Nodes come with it. */
export interface PlannedDeployment {
  readonly name: string
  readonly pool: string
  readonly replicas: number
}

/** A K0sControlPlane whose controllers are machines of a pool, in a Cluster of its own. */
export interface PlannedControlPlane {
  readonly pool: string
  readonly replicas: number
}

export interface PlannedMachine {
  readonly name: string
  readonly at: number
  /** One of the two. */
  readonly pool?: string
  readonly address?: string
}

export type Action =
  /** `machine`: its name, or where it stands among those that there are. */
  | { readonly do: "delete" | "pause" | "unpause" | "retry"; readonly machine: string }
  | { readonly do: "pauseCluster" | "unpauseCluster" | "closeWatches" | "compact" }
  | { readonly do: "scale"; readonly deployment: string; readonly replicas: number }
  | { readonly do: "rollOut"; readonly deployment: string }
  | { readonly do: "scaleControlPlane"; readonly replicas: number }
  /** Another version: each controller is replaced. */
  | { readonly do: "upgradeControlPlane" }
  /** The provider process dies; another one comes later. */
  | { readonly do: "crash"; readonly absentMillis: number }
  /** A second process believes to be the leader, too, for a while. */
  | { readonly do: "twoLeaders"; readonly forMillis: number }
  /** The leader is stopped for longer than its lease, another one leads, and it comes back before it finds out. */
  | { readonly do: "hold"; readonly forMillis: number }
  | {
      readonly do: "powerLoss" | "refuse" | "blackhole" | "refuseKey" | "fullDisk"
      readonly host: string
      readonly forMillis: number
    }
  | { readonly do: "loseConnections" | "killDriver" | "killStep" | "killFollowers"; readonly host: string }
  /** The host gets another key, as if it were reinstalled; after a while a person takes the old one's pins away. */
  | { readonly do: "newHostKey"; readonly host: string; readonly forMillis: number }
  /** People: take it out of service for a while, move it between cables (labels), take its object away and bring it back. */
  | { readonly do: "maintenance" | "withdraw"; readonly host: string; readonly forMillis: number }
  | { readonly do: "relabel"; readonly host: string; readonly zone: string }
  /** The key's Secret is gone for a while. */
  | { readonly do: "loseKey"; readonly forMillis: number }
  /** Somebody else answers at the host's address, with another host key. */
  | { readonly do: "impostor"; readonly host: string; readonly forMillis: number }
  /** `clusterctl move` to another management cluster. */
  | { readonly do: "move" }
  /** With all that is in it, in whatever order; people make it and its cluster anew once it is gone. */
  | { readonly do: "deleteNamespace" }

export interface Planned {
  readonly at: number
  readonly action: Action
}

/** How everything is taken away in the end: as one should, or all at once in any order, as Helm and namespaces do. */
export type Ending = "machines" | "everything"

export interface Plan {
  readonly hosts: ReadonlyArray<PlannedHost>
  readonly machines: ReadonlyArray<PlannedMachine>
  /** Either these or `machines`; with these CAPI's core is at work, too. */
  readonly deployments: ReadonlyArray<PlannedDeployment>
  /** With deployments only: it needs CAPI's core, too. */
  readonly controlPlane?: PlannedControlPlane
  readonly ending: Ending
  readonly actions: ReadonlyArray<Planned>
  readonly troubleMillis: number
  readonly kube: KubeFaultPlan
  readonly ssh: SshFaultPlan
}

const below = (limit: number) => Random.nextIntBetween(0, limit, { halfOpen: true })
const from = (least: number, most: number) => Random.nextIntBetween(least, most)
const chance = (value: number) => Effect.map(Random.next, (drawn) => drawn < value)
const pick = <const A>(all: readonly [A, ...ReadonlyArray<A>]): Effect.Effect<A> =>
  Effect.map(below(all.length), (index) => all[index] ?? all[0])

const STEPS = ["runcmd 1", "install k0s", "start k0s", "stop k0s", "reset k0s"] as const

/** A careless step: it prints the join token, and people must not see it. */
const complain: StepBehaviour["effect"] = (context) =>
  Effect.sync(() => context.stderr(`bad token ${context.kernel.disk.readText(TOKEN_FILE) ?? "missing"}\n`))

/** What is wrong with a host's steps: nothing on most. */
const drawSteps = Effect.gen(function* () {
  const steps: Array<PlannedHost["steps"][number]> = []
  if (yield* chance(0.3)) {
    const match = yield* pick(STEPS)
    steps.push({ match, behaviour: { effect: complain, exitCode: 1, times: yield* from(1, MOST_STEP_FAILURES) } })
  }
  if (yield* chance(0.2))
    steps.push({ match: "runcmd 1", behaviour: { duration: yield* from(30_000, 300_000), times: yield* from(1, 3) } })
  if (yield* chance(0.1)) steps.push({ match: yield* pick(STEPS), behaviour: { hang: true, times: 1 } })
  // Never clean again: quarantine.
  if (yield* chance(0.08))
    steps.push(
      { match: "reset k0s", behaviour: { exitCode: 1 } },
      { match: "runcmd 1", behaviour: { creates: ["/var/lib/k0s/leftover"] } }
    )
  return steps
})

const drawHosts = Effect.gen(function* () {
  const pools = yield* from(1, 3)
  const count = yield* from(2, 8)
  const hosts: Array<PlannedHost> = []
  for (let index = 1; index <= count; index++) {
    const name = `h${index}`
    const fixed = index > 1 && (yield* chance(0.2))
    hosts.push({
      name,
      address: `10.0.0.${index}`,
      ...(fixed ? {} : { pool: `pool${(yield* below(pools)) + 1}` }),
      steps: yield* drawSteps,
      stepMillis: [0, yield* from(1, 20_000)]
    })
  }
  return hosts
})

const drawMachines = Effect.fnUntraced(function* (hosts: ReadonlyArray<PlannedHost>, troubleMillis: number) {
  const count = yield* from(2, 10)
  const pools = [...new Set(hosts.flatMap(({ pool }) => (pool === undefined ? [] : [pool])))]
  const fixed = hosts.filter(({ pool }) => pool === undefined)
  const machines: Array<PlannedMachine> = []
  for (let index = 1; index <= count; index++) {
    const at = (yield* chance(0.6)) ? 0 : yield* below(troubleMillis)
    const own = fixed[yield* below(Math.max(1, fixed.length))]
    const pool = pools[yield* below(pools.length)] ?? "pool1"
    const place = own !== undefined && (yield* chance(0.25)) ? { address: own.address } : { pool }
    machines.push({ name: `m${index}`, at, ...place })
  }
  return machines
})

const drawDeployments = Effect.fnUntraced(function* (hosts: ReadonlyArray<PlannedHost>) {
  const pools = [...new Set(hosts.flatMap(({ pool }) => (pool === undefined ? [] : [pool])))]
  const count = yield* from(1, 2)
  const deployments: Array<PlannedDeployment> = []
  for (let index = 1; index <= count; index++) {
    const pool = pools[yield* below(pools.length)] ?? "pool1"
    deployments.push({ name: `d${index}`, pool, replicas: yield* from(1, MOST_REPLICAS) })
  }
  return deployments
})

interface Cast {
  readonly machines: ReadonlyArray<PlannedMachine>
  readonly hosts: ReadonlyArray<PlannedHost>
  readonly deployments: ReadonlyArray<PlannedDeployment>
}

/** What only one of the two kinds of owners has. */
const drawOwnersAction = Effect.fnUntraced(function* ({ deployments }: Cast): Effect.fn.Return<Action> {
  const deployment = deployments[yield* below(Math.max(1, deployments.length))]?.name
  if (deployment === undefined) return { do: "move" }
  return (yield* chance(0.6))
    ? { do: "scale", deployment, replicas: yield* from(0, MOST_REPLICAS) }
    : { do: "rollOut", deployment }
})

const drawPeoplesAction = Effect.fnUntraced(function* (host: string, forMillis: number): Effect.fn.Return<Action> {
  const kind = yield* pick(["maintenance", "withdraw", "relabel", "loseKey"])
  if (kind === "loseKey") return { do: kind, forMillis }
  return kind === "relabel" ? { do: kind, host, zone: yield* pick(["a", "b"]) } : { do: kind, host, forMillis }
})

const drawAction = Effect.fnUntraced(function* (cast: Cast): Effect.fn.Return<Action> {
  const machine =
    cast.machines[yield* below(Math.max(1, cast.machines.length))]?.name ?? `${yield* below(MOST_REPLICAS)}`
  const host = cast.hosts[yield* below(cast.hosts.length)]?.name ?? "h1"
  const forMillis = yield* below(LONGEST_OUTAGE_MILLIS)
  const kind = yield* below(100)
  if (kind < 18) return { do: "delete", machine }
  if (kind < 34) return { do: "crash", absentMillis: yield* below(LONGEST_ABSENCE_MILLIS) }
  if (kind < 40) return { do: "twoLeaders", forMillis }
  if (kind < 45) return { do: "hold", forMillis: yield* from(SHORTEST_HOLD_MILLIS, LONGEST_ABSENCE_MILLIS) }
  if (kind < 50) return { do: yield* pick(["pause", "unpause"]), machine }
  if (kind < 53) return { do: yield* pick(["pauseCluster", "unpauseCluster"]) }
  if (kind < 56) return { do: "retry", machine }
  if (kind < 65) return { do: "powerLoss", host, forMillis }
  if (kind < 74)
    return { do: yield* pick(["refuse", "blackhole", "refuseKey", "fullDisk", "newHostKey"]), host, forMillis }
  if (kind < 84) return { do: yield* pick(["loseConnections", "killDriver", "killStep", "killFollowers"]), host }
  if (kind < 90) return yield* drawPeoplesAction(host, forMillis)
  if (kind < 96) return yield* drawOwnersAction(cast)
  return { do: yield* pick(["closeWatches", "compact"]) }
})

/** Of `Random` as it stands: give it a seed. */
export const drawPlan: Effect.Effect<Plan> = Effect.gen(function* () {
  const troubleMillis = yield* from(SHORTEST_TROUBLE_MILLIS, LONGEST_TROUBLE_MILLIS)
  const hosts = yield* drawHosts
  const owned = yield* chance(DEPLOYMENTS_CHANCE)
  const machines = owned ? [] : yield* drawMachines(hosts, troubleMillis)
  const deployments = owned ? yield* drawDeployments(hosts) : []
  const actions: Array<Planned> = []
  const count = yield* below(MOST_ACTIONS)
  for (let index = 0; index < count; index++)
    actions.push({ at: yield* below(troubleMillis), action: yield* drawAction({ machines, hosts, deployments }) })
  // Some seeds have calm ports: what then goes wrong is easier to read.
  const calm = yield* chance(0.2)
  const kube = yield* drawKubeFaults
  const ssh = yield* drawSshFaults
  return {
    hosts,
    machines,
    deployments,
    ending: yield* pick(["machines", "everything"]),
    actions: actions.sort((a, b) => a.at - b.at),
    troubleMillis,
    kube: calm ? noKubeFaults : kube,
    ssh: calm ? noSshFaults : ssh
  }
})

/** Of how many seeds; most have neither. */
const IMPOSTOR_CHANCE = 0.3
const MOST_IMPOSTORS = 3
const DELETED_NAMESPACE_CHANCE = 0.12

/**
 * What was thought of later. Drawn from a stream of its own, so that a seed's `drawPlan` stays what it was: seeds that
 * found something once still tell the same story without it.
 */
export const drawMore = Effect.fnUntraced(function* (plan: Plan): Effect.fn.Return<Plan> {
  const more: Array<Planned> = []
  const impostors = (yield* chance(IMPOSTOR_CHANCE)) ? yield* from(1, MOST_IMPOSTORS) : 0
  for (let index = 0; index < impostors; index++) {
    const host = plan.hosts[yield* below(plan.hosts.length)]?.name ?? "h1"
    const forMillis = yield* below(LONGEST_OUTAGE_MILLIS)
    more.push({ at: yield* below(plan.troubleMillis), action: { do: "impostor", host, forMillis } })
  }
  if (yield* chance(DELETED_NAMESPACE_CHANCE))
    more.push({ at: yield* below(plan.troubleMillis), action: { do: "deleteNamespace" } })
  return { ...plan, actions: [...plan.actions, ...more].sort((a, b) => a.at - b.at) }
})

/** Of how many of the seeds with deployments. */
const CONTROL_PLANE_CHANCE = 0.6
const MOST_CONTROLLERS = 3
const MOST_CONTROL_PLANE_ACTIONS = 3
const OWN_POOL_CHANCE = 0.7
const CONTROLLERS = "controllers"
/** One more than controllers: a rollout makes the new one first. */
const MOST_CONTROLLER_HOSTS = MOST_CONTROLLERS + 1

const drawControllerHosts = Effect.gen(function* () {
  const hosts: Array<PlannedHost> = []
  const count = yield* from(1, MOST_CONTROLLER_HOSTS)
  for (let index = 1; index <= count; index++)
    hosts.push({
      name: `c${index}`,
      address: `10.0.1.${index}`,
      pool: CONTROLLERS,
      steps: yield* drawSteps,
      stepMillis: [0, yield* from(1, 20_000)]
    })
  return hosts
})

/** Thought of last, and drawn from a stream of its own for the same reason. */
export const drawControlPlane = Effect.fnUntraced(function* (plan: Plan): Effect.fn.Return<Plan> {
  const pools = [...new Set(plan.hosts.flatMap(({ pool }) => (pool === undefined ? [] : [pool])))]
  if (plan.deployments.length === 0 || !(yield* chance(CONTROL_PLANE_CHANCE))) return plan
  // Some share a pool with workers, who may have taken every host.
  const hosts = (yield* chance(OWN_POOL_CHANCE)) ? yield* drawControllerHosts : []
  const pool = hosts.length > 0 ? CONTROLLERS : (pools[yield* below(pools.length)] ?? "pool1")
  const controlPlane = { pool, replicas: yield* from(1, MOST_CONTROLLERS) }
  const more: Array<Planned> = []
  const count = yield* from(0, MOST_CONTROL_PLANE_ACTIONS)
  for (let index = 0; index < count; index++) {
    const action: Action = (yield* chance(0.6))
      ? { do: "scaleControlPlane", replicas: yield* from(1, MOST_CONTROLLERS) }
      : { do: "upgradeControlPlane" }
    more.push({ at: yield* below(plan.troubleMillis), action })
  }
  return {
    ...plan,
    hosts: [...plan.hosts, ...hosts],
    controlPlane,
    actions: [...plan.actions, ...more].sort((a, b) => a.at - b.at)
  }
})
