/**
 * Owns the machine under a simulated host: power, boot id, the process table and its kills, the failpoints at which a
 * process dies by SIGKILL, the drawn latency of durable writes. Does not own what processes do (driver, steps), nor SSH.
 *
 * A process is a fiber of the HOST's scope, never of the SSH session that asked for it: it lives on when the session
 * is lost, as under a real sshd.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { ServiceManager } from "../../hosts/Protocol.ts"
import type { Witness } from "../Witness.ts"
import type { Disk } from "./Disk.ts"
import { type Millis, pass } from "./Time.ts"

export interface ProcessInfo {
  /** What `ps -o comm` says: `sh`, `k0s`, `sleep`. */
  readonly comm: string
  /** `service` processes are the service manager's: no run of ours tags them. */
  readonly role: "follower" | "runner" | "step" | "daemon" | "service"
  /** MACHINIST_CLAIM in its environment. */
  readonly claim?: string
  /** MACHINIST_STEP in its environment: the step that started it, `<run or clean>.<number>`. */
  readonly step?: string
}

export interface HostProcess extends ProcessInfo {
  readonly pid: number
}

export interface Kernel {
  readonly name: string
  readonly disk: Disk
  readonly witness: Witness
  readonly serviceManager: ServiceManager
  readonly bootId: () => string
  readonly poweredOn: () => boolean
  readonly processes: () => ReadonlyArray<HostProcess>
  /** `pid` counts only together with the boot it belongs to. */
  readonly alive: (pid: number, bootId: string) => boolean
  /**
   * Starts `body` as a process of the host. `onDeath` is called synchronously, with an interrupted Exit when it was
   * killed. On a host without power nothing starts: the process is dead at once.
   */
  readonly spawn: (
    info: ProcessInfo,
    body: (process: HostProcess) => Effect.Effect<void>,
    onDeath?: (exit: Exit.Exit<void>, at: number, pid: number) => void
  ) => Effect.Effect<HostProcess>
  /** SIGKILL to all that match; returns how many there were, after they are gone. */
  readonly kill: (match: (process: HostProcess) => boolean) => Effect.Effect<number>
  /** Ends once the process is gone. */
  readonly waitFor: (pid: number) => Effect.Effect<void>
  /** A place where the calling process may be killed; every durable write has one before and one after it. */
  readonly failpoint: (name: string) => Effect.Effect<void>
  /** `n`-th failpoint from now (from 1) kills its process, or takes the power away; undefined disarms. */
  readonly failAt: (n: number | undefined, how?: "process" | "power") => void
  readonly failpointsPassed: () => ReadonlyArray<string>
  /** One durable write of the driver: latency drawn, failpoints around it. */
  readonly durably: <E>(name: string, write: Effect.Effect<void, E>) => Effect.Effect<void, E>
  readonly powerOff: Effect.Effect<void>
  readonly powerOn: Effect.Effect<void>
  /** Called after each boot, for service managers and the like. */
  readonly onBoot: (hook: Effect.Effect<void>) => void
  /** Defects of processes: a bug of the simulation, which a test must see. */
  readonly defects: () => ReadonlyArray<unknown>
}

export interface KernelOptions {
  readonly name: string
  /** Number of the host in its simulation; makes boot ids that differ between hosts and repeat between replays. */
  readonly index: number
  readonly disk: Disk
  readonly witness: Witness
  readonly serviceManager: ServiceManager
  /** What happens to the outside when the power goes, once nothing runs any more. */
  readonly onPowerLoss: Effect.Effect<void>
  /** Of one durable write. */
  readonly writeLatency: Millis
}

/** Failpoint names kept for looking at. */
const FAILPOINT_LOG = 10_000
const hex = (n: number, digits: number): string => n.toString(16).padStart(digits, "0")
const bootIdOf = (host: number, boot: number): string => `${hex(host + 1, 8)}-0000-4000-8000-${hex(boot, 12)}`

export const makeKernel = Effect.fnUntraced(function* (
  options: KernelOptions
): Effect.fn.Return<Kernel, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const clock = yield* Clock.Clock
  const table = new Map<number, { readonly process: HostProcess; fiber?: Fiber.Fiber<void> }>()
  const deaths = new Map<number, Array<Deferred.Deferred<void>>>()
  const hooks: Array<Effect.Effect<void>> = []
  const defects: Array<unknown> = []
  const passed: Array<string> = []
  let lastPid = 100
  let boots = 1
  let on = true
  let armed: number | undefined
  let armedHow: "process" | "power" = "process"

  const gone = (pid: number): void => {
    table.delete(pid)
    for (const waiter of deaths.get(pid) ?? []) Deferred.doneUnsafe(waiter, Exit.void)
    deaths.delete(pid)
  }

  const spawn: Kernel["spawn"] = Effect.fnUntraced(function* (info, body, onDeath) {
    lastPid += 1
    const process: HostProcess = { ...info, pid: lastPid }
    if (!on) {
      onDeath?.(Exit.interrupt(), clock.currentTimeMillisUnsafe(), process.pid)
      return process
    }
    const slot: { readonly process: HostProcess; fiber?: Fiber.Fiber<void> } = { process }
    table.set(process.pid, slot)
    const fiber = yield* Effect.forkIn(body(process), scope)
    slot.fiber = fiber
    // An observer, not a finalizer of the body: it also fires for a process that was killed before its first step.
    fiber.addObserver((exit) => {
      if (Exit.isFailure(exit) && !Exit.hasInterrupts(exit)) defects.push(exit.cause)
      gone(process.pid)
      onDeath?.(exit, clock.currentTimeMillisUnsafe(), process.pid)
    })
    return process
  })

  const kill: Kernel["kill"] = Effect.fnUntraced(function* (match) {
    const victims = [...table.values()].filter(({ process }) => match(process))
    for (const { fiber, process } of victims) {
      if (fiber === undefined) gone(process.pid)
      else yield* Fiber.interrupt(fiber)
    }
    return victims.length
  })

  const powerOff = Effect.gen(function* () {
    on = false
    yield* kill(() => true)
    options.disk.loseVolatile()
    yield* options.onPowerLoss
  })

  const failpoint = (name: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      passed.push(name)
      if (passed.length > FAILPOINT_LOG) passed.shift()
      if (armed === undefined) return Effect.void
      armed -= 1
      if (armed > 0) return Effect.void
      armed = undefined
      if (armedHow === "process") return Effect.interrupt
      // Taking the power away kills the caller too, so another fiber has to do it; unless someone was faster.
      const boot = boots
      const off = Effect.suspend(() => (boots === boot && on ? powerOff : Effect.void))
      return Effect.andThen(Effect.forkIn(off, scope), Effect.never)
    })

  const powerOn = Effect.gen(function* () {
    if (on) return
    boots += 1
    on = true
    yield* options.witness.tell(options.name, { _tag: "Booted", bootId: bootIdOf(options.index, boots) })
    for (const hook of hooks) yield* hook
  })

  return {
    name: options.name,
    disk: options.disk,
    witness: options.witness,
    serviceManager: options.serviceManager,
    bootId: () => bootIdOf(options.index, boots),
    poweredOn: () => on,
    processes: () => [...table.values()].map(({ process }) => process),
    alive: (pid, bootId) => bootId === bootIdOf(options.index, boots) && table.has(pid),
    spawn,
    kill,
    waitFor: (pid) =>
      Effect.suspend(() => {
        if (!table.has(pid)) return Effect.void
        const waiter = Deferred.makeUnsafe<void>()
        deaths.set(pid, [...(deaths.get(pid) ?? []), waiter])
        return Deferred.await(waiter)
      }),
    failpoint,
    failAt: (n, how = "process") => {
      armed = n
      armedHow = how
    },
    failpointsPassed: () => passed,
    durably: (name, write) =>
      failpoint(`before ${name}`).pipe(
        Effect.andThen(pass(options.writeLatency)),
        Effect.andThen(write),
        Effect.andThen(failpoint(`after ${name}`))
      ),
    powerOff,
    powerOn,
    onBoot: (hook) => {
      hooks.push(hook)
    },
    defects: () => defects
  }
})
