/**
 * Owns one host in memory: accounts, reachability, disk, processes, steps, and what a test does to it (power, cable,
 * disk, SIGKILL). It answers exec as sshd and the driver would. Does not own addresses nor the client side of SSH
 * (SimulatedHosts).
 *
 * Unlike a real one:
 * - driver-only: it runs the driver's requests, and `echo` of a word; nothing else can be executed
 * - steps-by-name: a step does what a test scripted, what our own steps of that name do, or a few commands (MiniShell.ts);
 *   of anything else it only says that it succeeded
 * - disk-by-decree: a disk is full when it is said to be, whatever is on it
 * - one-launch: a driver is known as soon as it was launched, so two are never launched at once, and what it was sent is one
 *   file of the run
 */
import { createHash } from "node:crypto"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { readExec } from "../../hosts/driver/Exec.ts"
import type { HostEvent, Request, ServiceManager, TenancyRecord } from "../../hosts/Protocol.ts"
import { encodeEvent } from "../../hosts/WireEvent.ts"
import { fingerprint } from "../../ssh/Fingerprint.ts"
import { knownName } from "../../ssh/KnownHosts.ts"
import type { SshExit } from "../../ssh/SshClient.ts"
import type { SshError } from "../../ssh/SshError.ts"
import type { Witness } from "../Witness.ts"
import type { Account } from "./Accounts.ts"
import { root, SIMULATED_KEY } from "./Accounts.ts"
import { type Disk, makeDisk } from "./Disk.ts"
import { serve } from "./Driver.ts"
import { readTenancy } from "./Journal.ts"
import { type K0sWorld, makeK0s, openWorld } from "./K0s.ts"
import { type Kernel, makeKernel } from "./Kernel.ts"
import { residue } from "./Leftovers.ts"
import { makeStepRunner, type StepBehaviour, type StepMatcher } from "./StepRunner.ts"
import type { Millis } from "./Time.ts"

/** `refusing`: nothing listens; `blackholed`: no answer at all; `mute`: connects, and never answers an exec. */
export type Reachability = "up" | "refusing" | "blackholed" | "mute"

export interface HostOptions {
  /** Also the hostname, and the host's name in the witness. Absent: the address. */
  readonly name?: string
  readonly address: string
  /** Absent: 22. */
  readonly port?: number
  /** Absent: root with SIMULATED_KEY. */
  readonly accounts?: Readonly<Record<string, Account>>
  readonly serviceManager?: ServiceManager
  /** Files it comes with. */
  readonly image?: Readonly<Record<string, string>>
  /** Time a connect takes. Absent: none. */
  readonly connectDelay?: Millis
  /** Time of a step that neither a test nor MiniShell knows. Absent: none. */
  readonly stepDuration?: Millis
  /** Time of each durable write of the driver. Absent: none. */
  readonly writeLatency?: Millis
  readonly k0s?: K0sWorld
}

/** The far end of one exec's channel. */
export interface HostChannel {
  readonly stdout: Queue.Queue<Uint8Array, SshError | Cause.Done>
  readonly stderr: Queue.Queue<Uint8Array, SshError | Cause.Done>
  readonly exit: Deferred.Deferred<SshExit, SshError>
  /** Done when nobody reads any more: the next write gets SIGPIPE. */
  readonly closed: Deferred.Deferred<void>
}

/** A live connection as the host sees it; `lose` ends it with an error at the client, and leaves processes alone. */
export interface HostConnection {
  readonly user: string
  readonly lose: (message: string) => Effect.Effect<void>
}

export interface SimulatedHost {
  readonly name: string
  readonly address: string
  readonly port: number
  readonly kernel: Kernel
  readonly disk: Disk
  readonly accounts: Map<string, Account>
  /** SHA256 fingerprint of its host key. */
  readonly hostKey: () => string
  /** The same key as a line of known_hosts. */
  readonly knownHostsLine: () => string
  /** The same key as SSH says it. */
  readonly publicKey: () => Uint8Array
  /** A new host key, as after a reinstallation. */
  readonly rotateHostKey: () => void
  readonly connectDelay: Millis
  readonly reachability: () => Reachability
  readonly setReachability: (how: Reachability) => void
  readonly connections: Set<HostConnection>
  readonly connectsSeen: () => number
  readonly countConnect: () => void
  /** What sshd does with an exec. */
  readonly exec: (user: string, command: string, stdin: Uint8Array, channel: HostChannel) => Effect.Effect<void>

  /** The latest word counts first; see StepBehaviour. */
  readonly script: (matcher: StepMatcher, behaviour: StepBehaviour) => void
  readonly tenancy: () => TenancyRecord | undefined
  /** What any tenant left here, by the witness's knowledge. */
  readonly residue: () => ReadonlyArray<string>
  readonly k0sRunning: () => boolean
  readonly loseConnections: Effect.Effect<void>
  /** SIGKILL to the detached driver; the step that runs lives on, orphaned. */
  readonly killDriver: Effect.Effect<number>
  readonly killFollowers: Effect.Effect<number>
  /** SIGKILL to the step that runs. */
  readonly killStep: Effect.Effect<number>
  readonly powerOff: Effect.Effect<void>
  readonly powerOn: Effect.Effect<void>
  readonly reboot: Effect.Effect<void>
  /** For a process of the host, which dies of it: returns before the power goes. */
  readonly rebootSoon: Effect.Effect<void>
  /** Power off, a fresh disk, a new host key, power on. */
  readonly reimage: Effect.Effect<void>
}

const encoder = new TextEncoder()

const finish = (channel: HostChannel, exit: SshExit): Effect.Effect<void> =>
  Effect.sync(() => {
    Queue.endUnsafe(channel.stdout)
    Queue.endUnsafe(channel.stderr)
    Deferred.doneUnsafe(channel.exit, Exit.succeed(exit))
  })

/** Writes a line; a writer whose channel is gone ends there, as by SIGPIPE. */
const write = (channel: HostChannel, queue: HostChannel["stdout"], line: string): Effect.Effect<void> =>
  Effect.gen(function* () {
    if (Deferred.isDoneUnsafe(channel.closed)) return yield* Effect.interrupt
    const offered = Queue.offer(queue, encoder.encode(`${line}\n`)).pipe(Effect.as(true))
    const gone = Deferred.await(channel.closed).pipe(Effect.as(false))
    if (!(yield* Effect.raceFirst(offered, gone))) return yield* Effect.interrupt
  })

const loseAll = (connections: ReadonlySet<HostConnection>, message: string): Effect.Effect<void> =>
  Effect.suspend(() => Effect.forEach([...connections], (connection) => connection.lose(message), { discard: true }))

/** Of every simulated host. */
export const HOST_KEY_TYPE = "ssh-ed25519"

/** Shaped as a host key is in SSH, and different for each text. Nobody can sign with it: nobody has to. */
const makePublicKey = (text: string): Uint8Array => {
  const length = (bytes: number): Uint8Array => Uint8Array.of(0, 0, 0, bytes)
  const key = createHash("sha256").update(text).digest()
  return Buffer.concat([length(HOST_KEY_TYPE.length), Buffer.from(HOST_KEY_TYPE), length(key.length), key])
}

export const makeSimulatedHost = Effect.fnUntraced(function* (
  options: HostOptions,
  index: number,
  witness: Witness
): Effect.fn.Return<SimulatedHost, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const port = options.port ?? 22
  const name = options.name ?? (port === 22 ? options.address : `${options.address}:${port}`)
  const disk = makeDisk(options.image)
  const connections = new Set<HostConnection>()
  const kernel = yield* makeKernel({
    name,
    index,
    disk,
    witness,
    serviceManager: options.serviceManager ?? "systemd",
    onPowerLoss: loseAll(connections, "the host lost power"),
    writeLatency: options.writeLatency ?? 0
  })
  const k0s = makeK0s(kernel, options.k0s ?? openWorld)
  const scripted = makeStepRunner({ stepDuration: options.stepDuration ?? 0, k0s })
  const parts = { kernel, steps: scripted.run, k0s }
  const lock = Semaphore.makeUnsafe(1)
  const accounts = new Map(Object.entries(options.accounts ?? { root: root(SIMULATED_KEY) }))
  let reachability: Reachability = "up"
  let keys = 0
  let connects = 0

  const publicKey = (): Uint8Array => makePublicKey(`${name} ${keys}`)

  const say = (channel: HostChannel, text: string, code: number) =>
    Effect.andThen(write(channel, channel.stderr, text), finish(channel, { code }))

  const driver = (request: Request, channel: HostChannel, uid: number) => {
    const print = (event: HostEvent) => write(channel, channel.stdout, encodeEvent(event))
    const beat = write(channel, channel.stdout, "machinist alive")
    return Effect.andThen(serve(parts, lock, request, { print, beat }, uid), finish(channel, { code: 0 }))
  }

  const exec: SimulatedHost["exec"] = (user, command, stdin, channel) => {
    const account = accounts.get(user)
    const read = readExec(command, stdin)
    const body = (): Effect.Effect<void> => {
      const [, words] = /^echo (\S+)$/.exec(command) ?? []
      if (words !== undefined)
        return Effect.andThen(write(channel, channel.stdout, `${words}\n`), finish(channel, { code: 0 }))
      if (read === undefined) return say(channel, "simulated host: only the driver can be run here", 127)
      if (Result.isFailure(read)) return say(channel, `simulated host: ${read.failure.message}`, 2)
      const { request, sudo } = read.success
      if (sudo && account?.sudo.allowed === false) return say(channel, account.sudo.refusal, 1)
      return driver(request, channel, sudo ? 0 : (account?.uid ?? 0))
    }
    return kernel
      .spawn({ comm: "sh", role: "follower" }, body, (exit) => {
        if (Exit.isSuccess(exit)) return
        Queue.endUnsafe(channel.stdout)
        Queue.endUnsafe(channel.stderr)
        Deferred.doneUnsafe<SshExit, SshError>(channel.exit, Exit.succeed({ signal: "KILL" }))
      })
      .pipe(Effect.asVoid)
  }

  const reboot = Effect.andThen(kernel.powerOff, kernel.powerOn)

  return {
    name,
    address: options.address,
    port,
    kernel,
    disk,
    accounts,
    hostKey: () => fingerprint(publicKey()),
    knownHostsLine: () =>
      `${knownName({ address: options.address, port })} ${HOST_KEY_TYPE} ${Buffer.from(publicKey()).toString("base64")}`,
    publicKey,
    rotateHostKey: () => {
      keys += 1
    },
    connectDelay: options.connectDelay ?? 0,
    reachability: () => (kernel.poweredOn() ? reachability : "blackholed"),
    setReachability: (how) => {
      reachability = how
    },
    connections,
    connectsSeen: () => connects,
    countConnect: () => {
      connects += 1
    },
    exec,
    script: scripted.script,
    tenancy: () => readTenancy(disk),
    residue: () => residue(kernel, (claim) => claim !== ""),
    k0sRunning: k0s.running,
    loseConnections: loseAll(connections, "the connection was reset"),
    killDriver: kernel.kill((process) => process.role === "runner"),
    killFollowers: kernel.kill((process) => process.role === "follower"),
    killStep: kernel.kill((process) => process.role === "step"),
    powerOff: kernel.powerOff,
    powerOn: kernel.powerOn,
    reboot,
    rebootSoon: Effect.asVoid(Effect.forkIn(reboot, scope)),
    reimage: Effect.gen(function* () {
      yield* kernel.powerOff
      disk.reimage()
      keys += 1
      yield* witness.tell(name, { _tag: "Reimaged" })
      yield* kernel.powerOn
    })
  }
})
