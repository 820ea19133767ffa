/**
 * Owns one seeded run: the real provider lives through the seed's plan under virtual time, then everything heals and
 * it must settle. Judges with checkers that never ask the provider. The clock is the caller's TestClock, and only moved
 * here.
 */
import { createHash } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { TestClock } from "effect/testing"
import { Clusters } from "../../api/ClusterApi.ts"
import * as Names from "../../api/Names.ts"
import { PooledRemoteMachines } from "../../api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../api/RemoteMachine.ts"
import { ProviderOptions } from "../../provider/Options.ts"
import { judge, type Violation } from "../Checkers.ts"
import { CLUSTER, createMachine, ref } from "../ClusterObjects.ts"
import { faultyKubeClient, noKubeFaults } from "../Faults.ts"
import type { SimulatedHost } from "../hosts/SimulatedHost.ts"
import { faultySshClient, noSshFaults } from "../hosts/SshFaults.ts"
import type { Process, Wrap } from "../Processes.ts"
import { makeWorld, type World } from "../World.ts"
import { type Action, drawPlan, type Plan, TOKEN_FILE } from "./Plan.ts"
import { unsettled } from "./Settled.ts"

/** Virtual time that the healed world has to settle, and how often a person looks whether something needs a retry. */
export const SETTLE_ROUNDS = 24
const SETTLE_ROUND_MILLIS = 600_000
/** Then nothing more may happen for so long, virtual milliseconds. */
const QUIET_MILLIS = 1_800_000
/** Scheduler turns, a virtual millisecond each, that a provider needs to begin. */
const HOPS = 10
/** A connection or follower that is there still after so long, virtual milliseconds, is a leak. */
const LEFT_OVER_MILLIS = 20_000
/** An idle SSH connection is kept a few seconds; after this, virtual milliseconds, there is none. */
const IDLE_MILLIS = 60_000

export interface SeedOptions {
  /** Deliberate mistakes, for testing the checkers. */
  readonly wrap?: Wrap
  /** Log lines of the run; the caller collects them (Logger). */
  readonly logs?: ReadonlyArray<string>
  readonly plan?: Plan
}

export interface SeedReport {
  readonly seed: number
  readonly plan: Plan
  readonly violations: ReadonlyArray<Violation>
  readonly settledRounds: number
  readonly done: ReadonlyArray<{ readonly at: number; readonly text: string }>
  readonly world: World
  /** The same for every run of the seed. */
  readonly traceHash: string
}

const SECRET = "canary"
export const canaryOf = (owner: string): string => `${SECRET}-token-of-${owner}-0123456789abcdef`

/** A worker's bootstrap as our own data has it: a token file that nobody else may read, k0s, the sentinel. */
export const bootstrapData = (machine: string): string => `#cloud-config
write_files:
  - path: ${TOKEN_FILE}
    permissions: "0600"
    content: ${canaryOf(machine)}
runcmd:
  - echo ${machine}
  - |
    # step: install k0s
    /usr/local/bin/k0s install worker --token-file ${TOKEN_FILE}
  - |
    # step: start k0s
    /usr/local/bin/k0s start
  - mkdir -p /run/cluster-api && touch /run/cluster-api/bootstrap-success.complete
`

const dataHash = (machine: string): string =>
  createHash("sha256").update("cloud-config").update("\0").update(bootstrapData(machine)).digest("hex")

interface Running {
  readonly world: World
  readonly plan: Plan
  readonly wrap: Wrap
  readonly healed: () => boolean
  readonly processes: Array<Process>
  readonly say: (text: string) => Effect.Effect<void>
}

// ---------------------------------------------------------------------------------------------------- processes

const startProcess = Effect.fnUntraced(function* (run: Running) {
  const { world, plan, wrap, healed } = run
  const name = `leader-${world.processes.length + 1}`
  yield* run.say(`${name} starts`)
  const process = yield* world.startProvider(name, {
    kube: (inner) =>
      faultyKubeClient((wrap.kube ?? ((one) => one))(inner), () => (healed() ? noKubeFaults : plan.kube)),
    ssh: (inner) => faultySshClient((wrap.ssh ?? ((one) => one))(inner), () => (healed() ? noSshFaults : plan.ssh)),
    ...(wrap.hosts === undefined ? {} : { hosts: wrap.hosts })
  })
  run.processes.push(process)
  return process
})

const crashOne = Effect.fnUntraced(function* (run: Running, process: Process | undefined) {
  if (process === undefined) return
  run.processes.splice(run.processes.indexOf(process), 1)
  yield* run.say(`${process.name} crashes`)
  yield* process.crash
})

/** Later, on a fiber of its own: virtual time goes on meanwhile. */
const later = <R>(millis: number, effect: Effect.Effect<void, never, R>) =>
  Effect.forkScoped(Effect.andThen(Effect.sleep(millis), effect))

// ---------------------------------------------------------------------------------------------------- actions

const onMachine = Effect.fnUntraced(function* ({ world }: Running, what: string, machine: string) {
  const { kube } = world
  const at = ref(machine)
  const annotate = (name: string, value: string | null) =>
    kube.patch(RemoteMachines, at, { metadata: { annotations: { [name]: value } } })
  const now = yield* Clock.currentTimeMillis
  switch (what) {
    case "delete":
      return yield* kube.delete(RemoteMachines, at)
    case "pause":
      return yield* annotate(Names.PAUSED_ANNOTATION, "")
    case "unpause":
      return yield* annotate(Names.PAUSED_ANNOTATION, null)
    default:
      return yield* annotate(Names.RETRY_ANNOTATION, `${now}`)
  }
})

const onHost = Effect.fnUntraced(function* (run: Running, action: Extract<Action, { readonly host: string }>) {
  const { world } = run
  const host = world.hosts.hosts().find((one) => one.name === action.host)
  if (host === undefined) return
  switch (action.do) {
    case "powerLoss":
      yield* host.powerOff
      return yield* later(action.forMillis, host.powerOn)
    case "refuse":
    case "blackhole":
      host.setReachability(action.do === "refuse" ? "refusing" : "blackholed")
      return yield* later(
        action.forMillis,
        Effect.sync(() => host.setReachability("up"))
      )
    case "loseConnections":
      return yield* host.loseConnections
    case "killDriver":
      return yield* host.killDriver
    case "killStep":
      return yield* host.killStep
    case "killFollowers":
      return yield* host.killFollowers
    case "newHostKey":
      host.rotateHostKey()
      yield* host.loseConnections
      return yield* later(action.forMillis, Effect.ignore(unpin(world, host)))
    case "maintenance": {
      const set = (value: string | null) =>
        world.kube.patch(PooledRemoteMachines, ref(action.host), {
          metadata: { annotations: { [Names.MAINTENANCE_ANNOTATION]: value } }
        })
      yield* set("")
      return yield* later(action.forMillis, Effect.ignore(set(null)))
    }
  }
})

/** A person has made sure of a host's new key: the old one's pins go, wherever they are. */
const unpin = Effect.fnUntraced(function* ({ kube }: World, { address, hostKey }: SimulatedHost) {
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

const setClusterPaused = (world: World, paused: boolean) =>
  world.kube.patch(Clusters, ref(CLUSTER), { spec: { paused } })

const carryOut = Effect.fnUntraced(function* (run: Running, action: Action) {
  const { world } = run
  yield* run.say(Object.values(action).join(" "))
  switch (action.do) {
    case "crash":
      yield* crashOne(run, run.processes[0])
      return yield* later(
        action.absentMillis,
        Effect.suspend(() =>
          run.healed() || run.processes.length > 0 ? Effect.void : Effect.asVoid(startProcess(run))
        )
      )
    case "twoLeaders": {
      if (run.processes.length > 1) return
      const second = yield* startProcess(run)
      return yield* later(
        action.forMillis,
        Effect.suspend(() =>
          run.healed() || !run.processes.includes(second) ? Effect.void : crashOne(run, run.processes[0])
        )
      )
    }
    case "pauseCluster":
    case "unpauseCluster":
      return yield* setClusterPaused(world, action.do === "pauseCluster")
    case "closeWatches":
      return yield* world.server.closeWatches
    case "compact":
      return yield* world.server.compact
    case "delete":
    case "pause":
    case "unpause":
    case "retry":
      return yield* onMachine(run, action.do, action.machine)
    default:
      return yield* onHost(run, action)
  }
})

// ---------------------------------------------------------------------------------------------------- phases

const advanceTo = (at: number) =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => (at > now ? TestClock.adjust(at - now) : Effect.void))

const setUp = Effect.fnUntraced(function* (world: World, plan: Plan) {
  for (const host of plan.hosts) {
    const { name, address, stepMillis } = host
    const made = yield* world.hosts.add({ name, address, stepDuration: stepMillis })
    for (const { match, behaviour } of host.steps) made.script(match, behaviour)
    if (host.pool !== undefined) yield* createHostObject(world, host)
  }
})

const createHostObject = (world: World, host: Plan["hosts"][number]) =>
  world.kube.create(PooledRemoteMachines, {
    metadata: { name: host.name, namespace: "default" },
    spec: {
      pool: host.pool ?? "",
      machine: { address: host.address, port: 22, user: "root", sshKeyRef: { name: "key" } }
    }
  })

const createPlanned = (world: World, machine: Plan["machines"][number]) =>
  createMachine(world.kube, {
    name: machine.name,
    ...(machine.pool === undefined ? {} : { pool: machine.pool }),
    ...(machine.address === undefined ? {} : { spec: { address: machine.address, sshKeyRef: { name: "key" } } }),
    data: bootstrapData(machine.name)
  })

/** Phase 1: whatever the plan has, in its order. What a person asks for may be refused or come too late. */
const trouble = Effect.fnUntraced(function* (run: Running) {
  const { world, plan } = run
  const todo = [
    ...plan.machines.map((machine) => ({
      at: machine.at,
      work: Effect.andThen(run.say(`create ${machine.name}`), createPlanned(world, machine))
    })),
    ...plan.actions.map(({ at, action }) => ({ at, work: carryOut(run, action) }))
  ].sort((a, b) => a.at - b.at)
  for (const { at, work } of todo) {
    yield* advanceTo(at)
    yield* Effect.ignore(work)
    // What it set off runs before time goes on: the clock waits for those it woke, not for those just begun.
    for (let hop = 0; hop < HOPS; hop++) yield* TestClock.adjust(1)
  }
  yield* advanceTo(plan.troubleMillis)
})

/** Phase 2: hosts up, nothing paused, one leader. */
const heal = Effect.fnUntraced(function* (run: Running) {
  const { world } = run
  yield* run.say("everything heals")
  for (const host of world.hosts.hosts()) {
    yield* host.powerOn
    host.setReachability("up")
    host.kernel.failAt(undefined)
    yield* unpin(world, host)
  }
  yield* setClusterPaused(world, false)
  for (const { metadata } of (yield* world.kube.list(RemoteMachines)).items)
    yield* Effect.ignore(onMachine(run, "unpause", metadata.name))
  for (const { metadata } of (yield* world.kube.list(PooledRemoteMachines)).items)
    yield* world.kube.patch(PooledRemoteMachines, ref(metadata.name), {
      metadata: { annotations: { [Names.MAINTENANCE_ANNOTATION]: null } }
    })
  while (run.processes.length > 1) yield* crashOne(run, run.processes[0])
  if (run.processes.length === 0) yield* startProcess(run)
})

/** Rounds until nothing is left to be done; a person retries what spent its budget. */
const settle = Effect.fnUntraced(function* (run: Running) {
  for (let round = 1; round <= SETTLE_ROUNDS; round++) {
    yield* TestClock.adjust(SETTLE_ROUND_MILLIS)
    const left = yield* unsettled(run.world)
    if (left.length === 0) return { rounds: round, left }
    for (const { machine } of left) if (machine !== undefined) yield* Effect.ignore(onMachine(run, "retry", machine))
    // What was on its way to an object when its host got another key.
    for (const host of run.world.hosts.hosts()) yield* unpin(run.world, host)
  }
  return { rounds: SETTLE_ROUNDS, left: yield* unsettled(run.world) }
})

const followersOn = ({ name, kernel }: SimulatedHost): ReadonlyArray<string> =>
  kernel.processes().flatMap(({ pid, role }) => (role === "follower" ? [`${pid} on ${name}`] : []))

/** A settled provider writes nothing, holds no connection, and no follower of its is left; quarantined hosts it tries on. */
const quiet = Effect.fnUntraced(function* ({ world, processes }: Running) {
  yield* TestClock.adjust(IDLE_MILLIS)
  const before = world.server.writes().length
  yield* TestClock.adjust(QUIET_MILLIS)
  const found: Array<string> = []
  const { items } = yield* world.kube.list(PooledRemoteMachines)
  const given = items.filter((host) => host.status?.phase === "Quarantined").map(({ metadata }) => metadata.name)
  // Its Events are named after the host.
  for (const write of world.server.writes().slice(before))
    if (write.client.startsWith("leader-") && !given.includes(write.name.replace(/\..*/, "")))
      found.push(`${write.client} still writes: ${write.verb} ${write.kind} ${write.name} ${write.subresource ?? ""}`)
  // Every minute someone may look whether a blocked host is free by now: only what stays is left over.
  const open = world.hosts.hosts().flatMap((host) => [...host.connections].map((one) => ({ host, one })))
  const followers = world.hosts.hosts().flatMap(followersOn)
  yield* TestClock.adjust(LEFT_OVER_MILLIS)
  for (const { host, one } of open) if (host.connections.has(one)) found.push(`a connection to ${host.name} is left`)
  const later = world.hosts.hosts().flatMap(followersOn)
  for (const one of followers) if (later.includes(one)) found.push(`a follower is left: ${one}`)
  for (const process of processes) {
    const why = process.died()
    if (why !== undefined) found.push(`${process.name} died by itself: ${why}`)
  }
  for (const defect of world.hosts.defects()) found.push(`a simulated host broke: ${String(defect)}`)
  return found
})

const hashOf = (world: World): string => {
  const hash = createHash("sha256")
  for (const entry of world.witness.entries()) hash.update(JSON.stringify(entry))
  for (const write of world.server.writes()) hash.update(JSON.stringify(write))
  for (const { at, machine, process, state } of world.entered)
    hash.update(`${at} ${process} ${machine} ${state.phase._tag}`)
  return hash.digest("hex")
}

// ---------------------------------------------------------------------------------------------------- run

const probing = (poolProbeSeconds: number | undefined) =>
  Effect.updateService(ProviderOptions, (options) => ({ ...options, poolProbeSeconds }))

export const runSeed = (seed: number, options: SeedOptions = {}) =>
  Effect.gen(function* () {
    const plan = options.plan ?? (yield* drawPlan)
    const world = yield* makeWorld()
    let healed = false
    const done: Array<{ readonly at: number; readonly text: string }> = []
    const run: Running = {
      world,
      plan,
      wrap: options.wrap ?? {},
      healed: () => healed,
      processes: [],
      say: (text) => Effect.map(Clock.currentTimeMillis, (at) => void done.push({ at, text }))
    }
    yield* setUp(world, plan)
    yield* startProcess(run)
    yield* trouble(run)
    healed = true
    yield* heal(run)
    const { rounds, left } = yield* settle(run)
    const noise = left.length > 0 ? [] : yield* quiet(run)
    for (const process of run.processes) yield* process.stop
    yield* TestClock.adjust(IDLE_MILLIS)
    const now = yield* Clock.currentTimeMillis
    const owners = new Map(plan.machines.map(({ name }) => [dataHash(name), `default/${name}`]))
    const violations: ReadonlyArray<Violation> = [
      ...judge({
        witness: world.witness.entries(),
        versions: world.history.versions(),
        writes: world.server.writes(),
        logs: options.logs ?? [],
        canaries: [SECRET, "simulated:machinist"],
        dataOwner: (hash) => owners.get(hash),
        isProvider: (client) => client.startsWith("leader-"),
        lives: world.processes.length
      }),
      ...left.map(({ what }) => ({ checker: "settled", at: now, what })),
      ...noise.map((what) => ({ checker: "quiet", at: now, what }))
    ]
    const report: SeedReport = { seed, plan, violations, settledRounds: rounds, done, world, traceHash: hashOf(world) }
    return report
  }).pipe(Effect.scoped, probing(seed % 7 === 1 ? 45 : undefined), Random.withSeed(`seed ${seed}`))
