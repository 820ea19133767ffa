/**
 * Owns one host's processes: a root of its own in namespaces of its own (guest/boot.sh), entering it, and its end. As root
 * its file system is this machine's under an overlay; without, the same inside a user namespace. Everything it wrote is
 * gone with it. Does not own SSH (SshServer.ts) nor what is run.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

const GUEST = fileURLToPath(new URL("guest/", import.meta.url))
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/** A host that is not up after this long is not coming: seconds. */
const BOOT_SECONDS = 20

export class HostBootError extends Data.TaggedError("HostBootError")<{ readonly message: string }> {}

/** `root`: mount, PID, UTS and IPC namespaces. `user`: the same inside a user namespace, whose only user is root. */
export type Privilege = "root" | "user"

export const privilege: Privilege = process.getuid?.() === 0 ? "root" : "user"

export interface BootOptions {
  readonly name: string
  readonly address: string
  /** An empty directory, which may be that of other hosts too: each mounts over it where the others can't see. */
  readonly room: string
  /** Holds directories `witness` and `mailbox`, which all hosts see. */
  readonly shared: string
  /** Where its disk lies when that is to outlive this boot. */
  readonly disk?: string
}

export interface Namespace {
  readonly name: string
  /** As this machine sees the host's files. */
  readonly path: (file: string) => string
  /** Runs `sh -c command` as that user of the host. */
  readonly enter: (command: string, uid: number) => ChildProcessWithoutNullStreams
  /** Every process of it is killed, and its files are gone. */
  readonly halt: Effect.Effect<void>
}

const NAMESPACES = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"] as const
const USER_NAMESPACE = ["--user", "--map-root-user"] as const

const firstChild = (pid: number | undefined): number =>
  Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0])

const ended = (child: ChildProcess): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
  })

const made = (child: ChildProcess, pid: number, options: BootOptions): Namespace => {
  const into = ["-t", String(pid), "-m", "-p", "-u", "-i", "-r", "-w"]
  const asRoot = privilege === "root" ? [] : ["-U", "--preserve-credentials"]
  const asUser = (uid: number) => (privilege === "root" && uid !== 0 ? ["-S", String(uid), "-G", String(uid)] : [])
  return {
    name: options.name,
    path: (file) => `/proc/${pid}/root${file}`,
    enter: (command, uid) =>
      spawn("nsenter", [...into, ...asRoot, ...asUser(uid), "--", "/bin/sh", "-c", command], {
        env: { PATH, HOME: uid === 0 ? "/root" : "/tmp" },
        stdio: ["pipe", "pipe", "pipe"]
      }),
    // Its PID 1 lives as long as its standard input: so it dies with this process too, however that ends.
    halt: Effect.andThen(
      Effect.sync(() => child.kill("SIGKILL")),
      ended(child)
    )
  }
}

export const boot = (options: BootOptions): Effect.Effect<Namespace, HostBootError> =>
  Effect.callback<Namespace, HostBootError>((resume) => {
    const child = spawn(
      "unshare",
      [
        ...(privilege === "root" ? [] : USER_NAMESPACE),
        ...NAMESPACES,
        "sh",
        `${GUEST}boot.sh`,
        options.room,
        options.name,
        options.address,
        GUEST,
        options.shared,
        privilege === "root" ? "whole" : "parts",
        ...(options.disk === undefined ? [] : [options.disk])
      ],
      // A session of its own: Ctrl-C is for us, and we end it in order.
      { env: { PATH }, stdio: ["pipe", "pipe", "pipe"], detached: true }
    )
    let said = ""
    const failed = () =>
      resume(Effect.fail(new HostBootError({ message: said.trim() === "" ? "it ended at once" : said.trim() })))
    child.stdin.on("error", () => undefined)
    child.stderr.on("data", (data: Buffer) => {
      said += data.toString()
    })
    child.once("error", (error) => {
      said = error.message
      failed()
    })
    child.once("close", failed)
    child.stdout.once("data", () => resume(Effect.succeed(made(child, firstChild(child.pid), options))))
    return Effect.sync(() => child.kill("SIGKILL"))
  }).pipe(
    Effect.timeoutOrElse({
      duration: `${BOOT_SECONDS} seconds`,
      orElse: () => Effect.fail(new HostBootError({ message: `it was not up after ${BOOT_SECONDS} seconds` }))
    })
  )
