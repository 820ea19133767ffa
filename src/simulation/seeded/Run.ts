/**
 * Owns one seeded run: the real provider lives through the seed's plan under virtual time, then everything heals and
 * it must settle; then all is taken away, and nothing may be left. Judges with checkers that never ask the provider.
 * The clock is the caller's TestClock, and only moved here and in Actions.ts.
 */
import { createHash } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { TestClock } from "effect/testing"
import * as Names from "../../api/Names.ts"
import { PooledRemoteMachines } from "../../api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../../api/RemoteMachine.ts"
import { ProviderOptions } from "../../provider/Options.ts"
import { judge, type Violation } from "../Checkers.ts"
import { createMachine, ref } from "../ClusterObjects.ts"
import { root, SIMULATED_KEY } from "../hosts/Accounts.ts"
import type { SimulatedHost } from "../hosts/SimulatedHost.ts"
import type { Wrap } from "../Processes.ts"
import type { Line } from "../Story.ts"
import { makeWorld, type World } from "../World.ts"
import { carryOut, createHostObject, onMachine, ownersOf, putBack, releaseOrphan, setPaused, unpin } from "./Actions.ts"
import { beginAnew, membersLeft } from "./ControlPlane.ts"
import { bootstrapData, dataHash, SECRET } from "./Data.ts"
import { leftOver, takeAway } from "./Ending.ts"
import { growth, leaks } from "./Leaks.ts"
import { drawControlPlane, drawMore, drawPlan, type Plan } from "./Plan.ts"
import { crashOne, makeRunning, type Running, say, startProcess } from "./Running.ts"
import { type Unsettled, unsettled } from "./Settled.ts"

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
  /** Not all that is drawn by now: seeds that found something before there was more. */
  readonly drawn?: "plain" | "withoutControlPlanes"
}

export interface SeedReport {
  readonly seed: number
  readonly plan: Plan
  readonly violations: ReadonlyArray<Violation>
  readonly settledRounds: number
  readonly done: ReadonlyArray<Line>
  /** Where everything was in the end. */
  readonly world: World
  /** All management clusters, in the order of moves. */
  readonly worlds: ReadonlyArray<World>
  /** The same for every run of the seed. */
  readonly traceHash: string
}

// ---------------------------------------------------------------------------------------------------- phases

const advanceTo = (at: number) =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => (at > now ? TestClock.adjust(at - now) : Effect.void))

const setUp = Effect.fnUntraced(function* (world: World, plan: Plan) {
  for (const host of plan.hosts) {
    const { address, name, stepMillis } = host
    const k0s = world.workloads === undefined ? {} : { k0s: world.workloads.k0s }
    const made = yield* world.hosts.add({ name, address, stepDuration: stepMillis, ...k0s })
    for (const { match, behaviour } of host.steps) made.script(match, behaviour)
    if (host.pool !== undefined) yield* createHostObject(world, host)
  }
  for (const object of ownersOf(plan)) yield* world.server.apply(object)
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
  const { plan } = run
  const todo = [
    ...plan.machines.map((machine) => ({
      at: machine.at,
      work: Effect.andThen(
        say(run, `create ${machine.name}`),
        Effect.suspend(() => createPlanned(run.world, machine))
      )
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

/** Phase 2: hosts up, nothing paused or missing, one leader. */
const heal = Effect.fnUntraced(function* (run: Running) {
  const { world } = run
  yield* say(run, "everything heals")
  run.healed = true
  run.impersonated.clear()
  for (const host of world.hosts.hosts()) {
    yield* host.powerOn
    host.setReachability("up")
    host.disk.setFull(undefined)
    host.accounts.set("root", root(SIMULATED_KEY))
    host.kernel.failAt(undefined)
    yield* unpin(world, host)
  }
  yield* Effect.ignore(setPaused(world, false))
  for (const { metadata } of (yield* world.kube.list(RemoteMachines)).items)
    yield* Effect.ignore(onMachine(run, "unpause", metadata.name))
  for (const { metadata } of (yield* world.kube.list(PooledRemoteMachines)).items)
    yield* Effect.ignore(
      world.kube.patch(PooledRemoteMachines, ref(metadata.name), {
        metadata: { annotations: { [Names.MAINTENANCE_ANNOTATION]: null } }
      })
    )
  yield* putBack(run)
  // One that was held finds out that it leads no more.
  while (run.processes.length > 1) yield* crashOne(run, run.processes[0])
  for (const process of run.processes) yield* process.resume
  if (run.processes.length === 0) yield* startProcess(run)
})

/** What a person does when something has not come to rest. */
const help = Effect.fnUntraced(function* (run: Running) {
  yield* putBack(run)
  if (run.plan.controlPlane !== undefined) yield* Effect.ignore(beginAnew(run.world))
  // What was on its way to an object when its host got another key.
  for (const host of run.world.hosts.hosts()) yield* Effect.ignore(unpin(run.world, host))
})

/** Rounds until nothing is left to be done; a person retries what spent its budget, and puts back what is missing. */
const settle = Effect.fnUntraced(function* <E>(
  run: Running,
  left: Effect.Effect<ReadonlyArray<Unsettled>, E>,
  help: Effect.Effect<void>
) {
  for (let round = 1; round <= SETTLE_ROUNDS; round++) {
    yield* TestClock.adjust(SETTLE_ROUND_MILLIS)
    const found = yield* left
    if (found.length === 0) return { rounds: round, left: found }
    for (const { machine, orphan } of found) {
      if (machine !== undefined) yield* Effect.ignore(onMachine(run, "retry", machine))
      if (orphan !== undefined) yield* Effect.ignore(releaseOrphan(run, orphan))
    }
    yield* help
  }
  return { rounds: SETTLE_ROUNDS, left: yield* left }
})

const followersOn = ({ name, kernel }: SimulatedHost): ReadonlyArray<string> =>
  kernel.processes().flatMap(({ pid, role }) => (role === "follower" ? [`${pid} on ${name}`] : []))

const isLeader = (client: string): boolean => client.startsWith("leader-")

const quarantinedHosts = (world: World) =>
  Effect.map(world.kube.list(PooledRemoteMachines), ({ items }) =>
    items.flatMap(({ metadata, status }) => (status?.phase === "Quarantined" ? [metadata.name] : []))
  )

/** A settled provider writes nothing, holds no connection, and no follower of its is left on a host. */
const quiet = Effect.fnUntraced(function* ({ processes, world }: Running) {
  yield* TestClock.adjust(IDLE_MILLIS)
  const before = world.server.writes().length
  const grown = growth(processes)
  yield* TestClock.adjust(QUIET_MILLIS)
  const found: Array<string> = [...grown()]
  const retried = yield* quarantinedHosts(world)
  const last = world.server.writes().slice(before)
  // What was given up on is tried again now and then, and each time told once.
  for (const write of last.filter(({ client }) => isLeader(client)))
    if (!retried.some((host) => write.name === host || write.name.startsWith(`${host}.`)))
      found.push(`${write.client} still writes: ${write.verb} ${write.kind} ${write.name} ${write.subresource ?? ""}`)
  // Every minute someone may look whether a blocked host is free by now: only what stays is left over. What was given up on
  // may be cleaned at this very moment (what a process holds at its end is counted apart).
  const still = world.hosts.hosts().filter(({ name }) => !retried.includes(name))
  const open = still.flatMap((host) => [...host.connections].map((one) => ({ host, one })))
  const followers = still.flatMap(followersOn)
  yield* TestClock.adjust(LEFT_OVER_MILLIS)
  for (const { host, one } of open) if (host.connections.has(one)) found.push(`a connection to ${host.name} is left`)
  const later = still.flatMap(followersOn)
  for (const one of followers) if (later.includes(one)) found.push(`a follower is left: ${one}`)
  for (const process of processes) {
    const why = process.died()
    if (why !== undefined) found.push(`${process.name} died by itself: ${why}`)
  }
  for (const defect of world.hosts.defects()) found.push(`a simulated host broke: ${String(defect)}`)
  return found
})

const asUnsettled = (what: string): Unsettled => ({ what })

const hashOf = (worlds: ReadonlyArray<World>): string => {
  const hash = createHash("sha256")
  for (const world of worlds) {
    for (const write of world.server.writes()) hash.update(JSON.stringify(write))
    for (const { at, machine, process, state } of world.entered)
      hash.update(`${at} ${process} ${machine} ${state.phase._tag}`)
  }
  for (const entry of worlds[0]?.witness.entries() ?? []) hash.update(JSON.stringify(entry))
  return hash.digest("hex")
}

// ---------------------------------------------------------------------------------------------------- run

/** Every seventh seed probes its free hosts, so often. */
const PROBED = 7
const PROBE_SECONDS = 45

const probing = (seed: number) =>
  Effect.updateService(ProviderOptions, (options) => ({
    ...options,
    poolProbeSeconds: seed % PROBED === 1 ? PROBE_SECONDS : undefined
  }))

/** Each management cluster by itself; the hosts' witness is common to all. */
const judged = (run: Running, logs: ReadonlyArray<string>): ReadonlyArray<Violation> => {
  const owners = new Map(run.plan.machines.map(({ name }) => [dataHash(name), `default/${name}`]))
  return run.worlds.flatMap((world) => {
    const lost = world.history.lost() + world.witness.lost()
    if (lost > 0) return [{ checker: "complete", at: 0, what: `${lost} happenings are not on record` }]
    return judge({
      witness: world.witness.entries(),
      versions: world.history.versions(),
      writes: world.server.writes(),
      logs,
      canaries: [SECRET, "simulated:machinist"],
      dataOwner: (hash) => owners.get(hash),
      isProvider: isLeader,
      lives: world.processes.length
    })
  })
}

const drawRest = Effect.fnUntraced(function* (seed: number, plan: Plan, only: SeedOptions["drawn"]) {
  if (only === "plain") return plan
  const more = yield* Random.withSeed(drawMore(plan), `more of seed ${seed}`)
  if (only === "withoutControlPlanes") return more
  return yield* Random.withSeed(drawControlPlane(more), `control plane of seed ${seed}`)
})

export const runSeed = (seed: number, options: SeedOptions = {}) =>
  Effect.gen(function* () {
    const drawn = options.plan ?? (yield* drawPlan)
    const plan = options.plan === undefined ? yield* drawRest(seed, drawn, options.drawn) : drawn
    const run = makeRunning(plan, options.wrap ?? {}, yield* makeWorld({ core: plan.deployments.length > 0 }))
    yield* setUp(run.world, plan)
    yield* startProcess(run)
    yield* trouble(run)
    yield* heal(run)
    const stuck = (what: string, left: ReadonlyArray<Unsettled>) =>
      Effect.map(Clock.currentTimeMillis, (at) => left.map((one) => ({ checker: what, at, what: one.what })))
    const settled = yield* settle(
      run,
      Effect.suspend(() => Effect.all([unsettled(run.world, run.worlds), membersLeft(run.world)])).pipe(
        Effect.map((all) => all.flat())
      ),
      Effect.suspend(() => help(run))
    )
    const noise = settled.left.length > 0 ? [] : yield* quiet(run)
    const atRest = [...(yield* stuck("settled", settled.left)), ...(yield* stuck("quiet", noise.map(asUnsettled)))]
    yield* say(run, `the end: ${plan.ending}`)
    yield* takeAway(run)
    const ended = yield* settle(
      run,
      Effect.suspend(() => leftOver(run)),
      Effect.void
    )
    for (const process of run.processes) yield* process.stop
    yield* TestClock.adjust(IDLE_MILLIS)
    const violations: ReadonlyArray<Violation> = [
      ...judged(run, options.logs ?? []),
      ...atRest,
      ...(yield* stuck("ended", ended.left)),
      ...(yield* stuck("leaks", leaks(run.worlds).map(asUnsettled)))
    ]
    const { done, world, worlds } = run
    const report: SeedReport = {
      seed,
      plan,
      violations,
      settledRounds: settled.rounds,
      done,
      world,
      worlds,
      traceHash: hashOf(worlds)
    }
    return report
  }).pipe(Effect.scoped, probing(seed), Random.withSeed(`seed ${seed}`))
