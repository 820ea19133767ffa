/**
 * Owns the stand-in k0s of a simulated host: its binary, service and data directory, what install, start, stop and
 * reset do to them, and its authentication to the workload cluster with its token file. Does not own that cluster:
 * whoever simulates it passes `K0sWorld` in, and only what it lets in becomes a Node.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { DiskError } from "./Disk.ts"
import type { Kernel } from "./Kernel.ts"

export const K0S_DATA = "/var/lib/k0s"
/** Written by the kubelet once the API server let it in. */
export const KUBELET_CONF = `${K0S_DATA}/kubelet.conf`
const ADMITTED = `${K0S_DATA}/admitted`
const STARTED = `${K0S_DATA}/started`
/** k0s asks again this often while it is not let in. */
const RETRY = Duration.seconds(10)
/** `wait for k0s` gives up after this; the real script's bound is of the same size. */
export const REGISTRATION_WAIT = Duration.minutes(5)

export interface K0sStart {
  /** Name of the simulated host. */
  readonly host: string
  readonly role: "worker" | "controller"
  /** The token file's text as it is at this moment; undefined when there is none. */
  readonly token: string | undefined
  /** The certificate authority in its data directory (PEM): what the first controller is told its cluster by. */
  readonly authority: string | undefined
  /** Everything that stood after `k0s install`, unquoted. */
  readonly arguments: string
  readonly claim: string
}

export interface K0sWorld {
  /** True: let in (for a worker: a Node exists now). Asked again after a while when false. */
  readonly started: (start: K0sStart) => Effect.Effect<boolean>
  readonly stopped: (host: string) => Effect.Effect<void>
  /** `k0s etcd leave`; false: it is no member of any. */
  readonly left: (host: string) => Effect.Effect<boolean>
}

export const openWorld: K0sWorld = {
  started: () => Effect.succeed(true),
  stopped: () => Effect.void,
  left: () => Effect.succeed(true)
}

export interface K0s {
  /** `k0s <arguments>` on behalf of a claim; the exit code. */
  readonly command: (
    claim: string,
    words: ReadonlyArray<string>,
    stderr: (text: string) => void
  ) => Effect.Effect<number, DiskError>
  readonly waitUntilAdmitted: Effect.Effect<boolean>
  readonly running: () => boolean
}

const serviceFile = (kernel: Kernel, role: string): string =>
  kernel.serviceManager === "systemd" ? `/etc/systemd/system/k0s${role}.service` : `/etc/init.d/k0s${role}`
const ROLES = ["worker", "controller"] as const
/** Wherever a service manager of ours has them. */
export const SERVICES: ReadonlyArray<string> = ROLES.flatMap((role) => [
  `/etc/systemd/system/k0s${role}.service`,
  `/etc/init.d/k0s${role}`
])

export const makeK0s = (kernel: Kernel, world: K0sWorld): K0s => {
  const { disk } = kernel
  const installed = (): ReadonlyArray<"worker" | "controller"> =>
    ROLES.filter((role) => disk.exists(serviceFile(kernel, role)))
  const running = (): boolean => kernel.processes().some((process) => process.comm === "k0s")

  const daemon = (role: "worker" | "controller", claim: string, args: string): Effect.Effect<void> => {
    const tokenFile = /--token-file[= ](\S+)/.exec(args)?.[1]
    const letIn = Effect.gen(function* () {
      const token = tokenFile === undefined ? undefined : disk.readText(tokenFile)
      // k0s keeps what it got the first time: a service that restarts after a reboot needs no token.
      if (disk.exists(ADMITTED)) return true
      // Nor does it ask for what it can't keep.
      yield* disk.reserve
      const authority = disk.readText(`${K0S_DATA}/pki/ca.crt`)
      return yield* world.started({ host: kernel.name, role, token, authority, arguments: args, claim })
    })
    const keep = Effect.andThen(
      disk.write(KUBELET_CONF, "kubelet\n", { via: "step", claim }),
      disk.write(ADMITTED, "", { via: "step", claim })
    )
    /** Its service manager starts it again, for as long as it dies of a full disk. */
    const patiently = Effect.retry({ schedule: Schedule.spaced(RETRY) })
    return Effect.gen(function* () {
      while (!(yield* patiently(letIn))) yield* Effect.sleep(RETRY)
      yield* patiently(keep)
      return yield* Effect.never
    }).pipe(Effect.orDie)
  }

  const launch = Effect.fnUntraced(function* (role: "worker" | "controller") {
    const file = serviceFile(kernel, role)
    const claim = disk.entry(file)?.claim ?? ""
    const args = disk.readText(file) ?? ""
    yield* kernel.spawn({ comm: "k0s", role: "service" }, () => daemon(role, claim, args))
  })

  // The service is enabled by `k0s start`; it comes back after every boot.
  kernel.onBoot(
    Effect.gen(function* () {
      for (const role of installed()) if (disk.exists(STARTED)) yield* launch(role)
    })
  )

  const command: K0s["command"] = Effect.fnUntraced(function* (claim, words, stderr) {
    const [verb, role] = words
    switch (verb) {
      case "install": {
        if (role !== "worker" && role !== "controller") return 1
        if (installed().length > 0 && !words.includes("--force")) {
          stderr("Error: failed to install service: Init already exists\n")
          return 1
        }
        yield* disk.write(serviceFile(kernel, role), words.slice(1).join(" "), { via: "step", claim, mode: "0644" })
        return 0
      }
      case "start": {
        const [first] = installed()
        if (first === undefined) {
          stderr("Error: failed to start service: not installed\n")
          return 1
        }
        yield* disk.write(STARTED, "", { via: "step", claim })
        if (!running()) yield* launch(first)
        return 0
      }
      case "stop":
        yield* kernel.kill((process) => process.comm === "k0s")
        yield* world.stopped(kernel.name)
        return 0
      case "reset":
        if (running()) {
          stderr("Error: k0s seems to be running! please stop k0s before reset\n")
          return 1
        }
        for (const path of [K0S_DATA, "/run/k0s", ...ROLES.map((one) => serviceFile(kernel, one))]) disk.remove(path)
        return 0
      case "etcd":
        if (running() && (yield* world.left(kernel.name))) return 0
        stderr("Error: can't connect to the etcd: this host is no member\n")
        return 1
      default:
        stderr(`Error: unknown command ${verb}\n`)
        return 1
    }
  })

  return {
    command,
    running,
    waitUntilAdmitted: disk
      .until(() => disk.exists(KUBELET_CONF))
      .pipe(Effect.as(true), Effect.timeoutOrElse({ duration: REGISTRATION_WAIT, orElse: () => Effect.succeed(false) }))
  }
}
