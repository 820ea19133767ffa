/**
 * Owns the state of one seeded run while it goes on: the management cluster where everything is now (a move changes it),
 * the processes at work, and what was done. Starts and ends processes; decides nothing (Plan.ts), judges nothing.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { faultyKubeClient, noKubeFaults } from "../Faults.ts"
import { faultySshClient, impersonated, noSshFaults } from "../hosts/SshFaults.ts"
import type { Process, Wrap } from "../Processes.ts"
import type { Line } from "../Story.ts"
import type { World } from "../World.ts"
import type { Plan } from "./Plan.ts"

export interface Running {
  readonly plan: Plan
  readonly wrap: Wrap
  /** Where everything is now; those before it were moved away from. */
  world: World
  readonly worlds: Array<World>
  /** At work, the oldest first. */
  readonly processes: Array<Process>
  healed: boolean
  /** What was in it has to be made anew. */
  namespaceDeleted: boolean
  /** Addresses where somebody else answers. */
  readonly impersonated: Set<string>
  readonly done: Array<Line>
}

export const makeRunning = (plan: Plan, wrap: Wrap, world: World): Running => ({
  plan,
  wrap,
  world,
  worlds: [world],
  processes: [],
  healed: false,
  namespaceDeleted: false,
  impersonated: new Set(),
  done: []
})

export const say = (run: Running, text: string): Effect.Effect<void> =>
  Effect.map(Clock.currentTimeMillis, (at) => void run.done.push({ at, text }))

const same = <A>(one: A): A => one

export const startProcess = Effect.fnUntraced(function* (run: Running) {
  const { plan, world, wrap } = run
  const name = `leader-${run.worlds.reduce((sum, one) => sum + one.processes.length, 1)}`
  yield* say(run, `${name} starts`)
  const kube = () => (run.healed ? noKubeFaults : plan.kube)
  const process = yield* world.startProvider(name, {
    kube: (inner) => faultyKubeClient((wrap.kube ?? same)(inner), kube),
    workload: (inner) => faultyKubeClient((wrap.workload ?? same)(inner), kube),
    ssh: (inner) =>
      impersonated(
        faultySshClient((wrap.ssh ?? same)(inner), () => (run.healed ? noSshFaults : plan.ssh)),
        () => run.impersonated
      ),
    ...(wrap.hosts === undefined ? {} : { hosts: wrap.hosts })
  })
  run.processes.push(process)
  return process
})

export const crashOne = Effect.fnUntraced(function* (run: Running, process: Process | undefined) {
  if (process === undefined || !run.processes.includes(process)) return
  run.processes.splice(run.processes.indexOf(process), 1)
  yield* say(run, `${process.name} crashes`)
  yield* process.crash
})

/** Later, on a fiber of its own: virtual time goes on meanwhile. */
export const later = <R>(millis: number, effect: Effect.Effect<void, never, R>) =>
  Effect.forkScoped(Effect.andThen(Effect.sleep(millis), effect))
