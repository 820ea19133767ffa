/**
 * Owns one host's machine: its files on disk, power on and off, and entering it from outside. PID 1 is sshd (light) or
 * systemd, in namespaces of its own over an overlay of this machine's root. Does not own accounts or stand-ins
 * (BaseLayer.ts).
 */
import { type ChildProcess, spawn } from "node:child_process"
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { fingerprint } from "../../../../src/ssh/Fingerprint.ts"
import { makeKeyPair } from "../../../ssh/keyPair.ts"
import { guestDirectory } from "./BaseLayer.ts"
import { type CommandResult, run, TestHostError } from "./Command.ts"
import { type Pool, removeCgroup } from "./Pool.ts"

/** How long a host may take to boot until its sshd listens, on a machine that is busy with others. */
const BOOT_TIMEOUT = "60 seconds"
/** How long the kernel may take to end a killed host's processes. */
const DEATH_TIMEOUT = "20 seconds"
const POLL_INTERVAL = "5 millis"

interface Power {
  readonly outer: ChildProcess
  readonly ended: Promise<void>
}

export interface Machine {
  readonly pool: Pool
  readonly name: string
  readonly address: string
  readonly port: number
  readonly hostKey: string
  readonly directory: string
  readonly cgroup: string | undefined
  /** Where its k0s asks to be let in. */
  readonly mailbox: string | undefined
  power: Power | undefined
}

const error = (machine: Pick<Machine, "name">, message: string): TestHostError =>
  new TestHostError({ message: `test host ${machine.name}: ${message}` })

const put = (root: string, path: string, content: string, mode: number): void => {
  const file = join(root, path)
  mkdirSync(join(file, ".."), { recursive: true })
  writeFileSync(file, content, { mode })
}

const fstab = (machine: Machine): string => {
  const { directory, pool } = machine
  const root = join(directory, "root")
  const overlay = `lowerdir=${pool.base}:/,upperdir=${directory}/upper,workdir=${directory}/work`
  return [
    `overlay ${root} overlay ${overlay} 0 0`,
    `proc ${root}/proc proc nosuid,nodev,noexec 0 0`,
    ...(pool.kind === "systemd"
      ? [
          `sysfs ${root}/sys sysfs ro,nosuid,nodev,noexec 0 0`,
          `cgroup2 ${root}/sys/fs/cgroup cgroup2 nosuid,nodev,noexec 0 0`
        ]
      : []),
    `tmpfs ${root}/run tmpfs mode=755 0 0`,
    `tmpfs ${root}/tmp tmpfs mode=1777 0 0`,
    `tmpfs ${root}/dev/shm tmpfs mode=1777 0 0`,
    `devpts ${root}/dev/pts devpts newinstance,ptmxmode=0666,mode=620,gid=5 0 0`,
    `${directory}/boot_id ${root}/proc/sys/kernel/random/boot_id none bind 0 0`,
    `${pool.witness} ${root}/witness none bind 0 0`,
    ...(machine.mailbox === undefined ? [] : [`${machine.mailbox} ${root}/mailbox none bind 0 0`]),
    ""
  ].join("\n")
}

/** The files of host `index` (from 0) of the pool; it is off. `files` are written into its root beforehand. */
export const makeMachine = (
  pool: Pool,
  index: number,
  port: number,
  files: Readonly<Record<string, { readonly content: string; readonly mode: number }>>,
  mailbox?: string
): Effect.Effect<Machine, TestHostError> =>
  Effect.try({
    try: () => {
      const name = `${pool.kind}-${pool.net}-${index + 1}`
      const address = `127.${pool.net}.${Math.floor(index / 250)}.${(index % 250) + 1}`
      const key = makeKeyPair()
      const directory = join(pool.directory, name)
      const machine: Machine = {
        pool,
        name,
        address,
        port,
        hostKey: fingerprint(key.publicBytes),
        directory,
        cgroup: pool.cgroup === undefined ? undefined : join(pool.cgroup, name),
        mailbox,
        power: undefined
      }
      const upper = join(directory, "upper")
      for (const part of ["upper", "work", "root"]) mkdirSync(join(directory, part), { recursive: true })
      if (mailbox !== undefined) mkdirSync(join(upper, "mailbox"))
      put(upper, "etc/hostname", `${name}\n`, 0o644)
      put(upper, "etc/hosts", `127.0.0.1 localhost\n::1 localhost\n${address} ${name}\n`, 0o644)
      put(upper, "etc/machine-id", `${crypto.randomUUID().replaceAll("-", "")}\n`, 0o444)
      put(upper, "etc/ssh/machinist_host_key", key.private, 0o600)
      put(upper, "etc/machinist-test/sshd.env", `ADDRESS=${address}\nPORT=${port}\n`, 0o644)
      for (const [path, { content, mode }] of Object.entries(files)) put(upper, path, content, mode)
      writeFileSync(join(directory, "fstab"), fstab(machine))
      writeFileSync(join(pool.witness, `${name}.log`), "", { mode: 0o666 })
      return machine
    },
    catch: (cause) => new TestHostError({ message: `cannot make test host ${index} of pool ${pool.net}: ${cause}` })
  })

/** The kernel's table of listening sockets: a look costs no connection, for any number of hosts. */
const isListening = (machine: Machine): boolean => {
  const bytes = machine.address.split(".").map((part) => Number(part).toString(16).padStart(2, "0").toUpperCase())
  const local = `${bytes.reverse().join("")}:${machine.port.toString(16).padStart(4, "0").toUpperCase()} 00000000:0000 0A`
  return readFileSync("/proc/net/tcp", "utf8").includes(local)
}

const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.sync(condition).pipe(
    Effect.repeat({ schedule: Schedule.spaced(POLL_INTERVAL), until: (done) => done }),
    Effect.asVoid
  )

const bootLog = (machine: Machine): string => {
  try {
    return readFileSync(join(machine.directory, "boot.log"), "utf8").trim()
  } catch {
    return ""
  }
}

/** Number of PID 1 as it is seen from here. */
export const initPid = (machine: Machine): Effect.Effect<string, TestHostError> =>
  machine.power === undefined
    ? Effect.fail(error(machine, "is off"))
    : Effect.try({
        try: () => readFileSync(join(machine.directory, "pid"), "utf8").trim(),
        catch: () => error(machine, "did not boot")
      })

/** Boots the host and waits until its sshd listens. */
export const powerOn = (machine: Machine): Effect.Effect<void, TestHostError> =>
  Effect.gen(function* () {
    if (machine.power !== undefined) return yield* Effect.fail(error(machine, "is on already"))
    if (machine.pool.kind === "systemd" && machine.cgroup === undefined) {
      return yield* Effect.fail(error(machine, "needs a cgroup2 mount on this machine for systemd"))
    }
    const boot = [machine.pool.kind, machine.directory, machine.name, machine.address, `${machine.port}`]
    const started = yield* Effect.sync(() => {
      rmSync(join(machine.directory, "pid"), { force: true })
      const log = openSync(join(machine.directory, "boot.log"), "w")
      const outer = spawn(
        "sh",
        [join(guestDirectory, "power-on.sh"), machine.cgroup ?? "", join(guestDirectory, "boot.sh"), ...boot],
        { stdio: ["ignore", log, log], detached: true }
      )
      closeSync(log)
      let over = false
      const ended = new Promise<void>((resolve) => {
        const end = (): void => {
          over = true
          resolve()
        }
        outer.on("exit", end)
        outer.on("error", end)
      })
      machine.power = { outer, ended }
      return { isOver: () => over }
    })
    yield* until(() => started.isOver() || isListening(machine)).pipe(
      Effect.timeoutOrElse({
        duration: BOOT_TIMEOUT,
        orElse: () => Effect.fail(error(machine, `did not boot within ${BOOT_TIMEOUT}: ${bootLog(machine)}`))
      })
    )
    if (started.isOver()) return yield* Effect.fail(error(machine, `ended while it booted: ${bootLog(machine)}`))
  })

/** Power cut: SIGKILL to PID 1, which takes every process of the host along; its disk stays. Nothing if it is off. */
export const powerOff = (machine: Machine): Effect.Effect<void, TestHostError> =>
  Effect.gen(function* () {
    const power = machine.power
    if (power === undefined) return
    const pid = yield* Effect.option(initPid(machine))
    machine.power = undefined
    if (power.outer.exitCode === null && power.outer.signalCode === null) {
      // Inner before outer: whoever waits for PID 1 must live to see it end.
      yield* Effect.sync(() => {
        if (pid._tag === "Some" && /^\d+$/.test(pid.value)) process.kill(Number(pid.value), "SIGKILL")
        else power.outer.kill("SIGKILL")
        // What waits for PID 1 is in the host's cgroup too, and may be frozen.
        if (machine.cgroup !== undefined) writeFileSync(join(machine.cgroup, "cgroup.freeze"), "0")
      }).pipe(Effect.catchDefect(() => Effect.void)) // it ended just now
    }
    yield* Effect.promise(() => power.ended).pipe(
      Effect.timeoutOrElse({
        duration: DEATH_TIMEOUT,
        orElse: () => Effect.fail(error(machine, `did not die within ${DEATH_TIMEOUT}`))
      })
    )
    if (machine.cgroup !== undefined) removeCgroup(machine.cgroup)
  })

/** Power off and everything on disk gone. */
export const destroy = (machine: Machine): Effect.Effect<void> =>
  powerOff(machine).pipe(
    Effect.ignore,
    Effect.andThen(Effect.sync(() => machine.cgroup === undefined || removeCgroup(machine.cgroup))),
    Effect.andThen(Effect.sync(() => rmSync(machine.directory, { recursive: true, force: true })))
  )

/** Runs `sh -c script` as root on the host, past SSH. */
export const enter = (
  machine: Machine,
  script: string,
  stdin: string | Uint8Array = ""
): Effect.Effect<CommandResult, TestHostError> =>
  Effect.flatMap(initPid(machine), (pid) => {
    const namespaces = ["-m", "-p", "-u", "-i", "-r", "-w", ...(machine.pool.kind === "systemd" ? ["-C"] : [])]
    const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return run("nsenter", ["-t", pid, ...namespaces, "env", "-i", path, "sh", "-c", script], stdin)
  })

/** Stops every process of the host where it stands, or lets them go on: connections are accepted and never answered. */
export const setFrozen = (machine: Machine, frozen: boolean): Effect.Effect<void, TestHostError> =>
  Effect.try({
    try: () => {
      if (machine.cgroup === undefined) throw new Error("no cgroup2 is mounted")
      writeFileSync(join(machine.cgroup, "cgroup.freeze"), frozen ? "1" : "0")
    },
    catch: (cause) => error(machine, `cannot be frozen or thawed: ${cause}`)
  })
