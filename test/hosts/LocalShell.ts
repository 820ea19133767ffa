/**
 * Owns real hosts for tests, without sshd: each is a private root (overlay over this machine's, or nothing but BusyBox)
 * in mount, pid and uts namespaces of its own, with its own /run, boot id and PID 1; exec goes in by nsenter. Steps,
 * signals, /proc and the disk are real. Needs root; `unavailable` says why not. SSH itself is faked: a closed channel
 * leaves the remote process running, as OpenSSH does.
 */
import { type ChildProcess, type ChildProcessByStdio, spawn, spawnSync } from "node:child_process"
import { randomUUID } from "node:crypto"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Readable, Writable } from "node:stream"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { firstUse } from "../../src/ssh/HostKeys.ts"
import {
  SshClient,
  type SshClientShape,
  type SshDialog,
  type SshExit,
  type SshProcess,
  type SshTarget,
  targetName
} from "../../src/ssh/SshClient.ts"
import { SshError } from "../../src/ssh/SshError.ts"

export type LocalShell = "dash" | "bash" | "busybox"

const has = (tool: string): boolean => spawnSync("sh", ["-c", `command -v ${tool}`]).status === 0

/** Undefined: hosts can be made here. */
export const unavailable: string | undefined =
  process.getuid?.() !== 0
    ? "local hosts need root (mount and pid namespaces)"
    : !["unshare", "nsenter", "mount", "chroot"].every(has)
      ? "local hosts need unshare, nsenter, mount and chroot"
      : spawnSync("unshare", ["--mount", "--pid", "--fork", "true"]).status !== 0
        ? "local hosts need mount and pid namespaces, which this machine refuses"
        : undefined

/** Shells that the driver can be tried on here; `busybox` is a root of nothing but BusyBox. */
export const shells: ReadonlyArray<LocalShell> = (["dash", "bash", "busybox"] as const).filter(has)

export interface LocalHostOptions {
  readonly shell?: LocalShell
  /** Size of an own file system for /var/lib/machinist, e.g. `256k`, to fill it up. */
  readonly stateSize?: string
  /** What the piped stdin becomes, e.g. with another failpoint. */
  readonly rewrite?: (text: string) => string
  /** Runs execs as this user; absent: root. */
  readonly uid?: number
  /** Of execs, beside PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>
}

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface LocalHost {
  readonly ssh: SshClientShape
  readonly layer: Layer.Layer<SshClient>
  readonly target: SshTarget
  /** Runs a script in the host, as a person would. */
  readonly sh: (script: string) => Effect.Effect<Ran>
  /** Power loss: everything in it is killed, /run and /tmp are emptied, the boot id changes. */
  readonly reboot: Effect.Effect<void>
  /** Cuts every open connection, as a network does: the processes on the host live on. */
  readonly cut: Effect.Effect<void>
  /** Set between two execs. */
  rewrite: (text: string) => string
}

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const setUpOverlay = (shell: LocalShell): string => `
mount -t overlay overlay -o lowerdir=/,upperdir=$B/upper,workdir=$B/work $B/root
# This machine may be a host itself. At a reboot what is there is the host's own.
[ -e $B/upper/usr ] || rm -rf $B/root/var/lib/machinist
ln -sf ${shell} $B/root/usr/bin/sh
mkdir -p $B/root/etc $B/root/var/lib
rm -rf $B/root/etc/environment.d 2>/dev/null
`

const setUpBusybox = `
mount --bind $B/upper $B/root
if [ ! -e $B/root/bin/busybox ]; then
  mkdir -p $B/root/bin $B/root/etc $B/root/proc $B/root/dev $B/root/run $B/root/tmp $B/root/var/lib $B/root/root $B/root/sys $B/root/usr/local/bin $B/root/srv
  cp "$(command -v busybox)" $B/root/bin/busybox
  for applet in $(busybox --list); do [ -e $B/root/bin/$applet ] || ln -s busybox $B/root/bin/$applet; done
  echo 'root:x:0:0:root:/root:/bin/sh' >$B/root/etc/passwd
  echo 'root:x:0:' >$B/root/etc/group
  # Debian's BusyBox has none; a step of a user may well want it.
  printf '#!/bin/sh\\ntrap "" HUP\\nexec "$@"\\n' >$B/root/bin/nohup
  chmod 755 $B/root/bin/nohup
fi
`

/** Becomes PID 1, which reaps: dash's and ash's wait for one child collects all others too. */
const setUp = (shell: LocalShell, stateSize: string | undefined): string => `
set -e
mount --make-rprivate /
${shell === "busybox" ? setUpBusybox : setUpOverlay(shell)}
mount -t proc proc $B/root/proc
mount -t tmpfs tmpfs $B/root/run
mount -t tmpfs -o mode=1777 tmpfs $B/root/tmp
mount --rbind /dev $B/root/dev
mount --bind $B/boot_id $B/root/proc/sys/kernel/random/boot_id
${stateSize === undefined ? "" : `mkdir -p $B/root/var/lib/machinist; mount -t tmpfs -o mode=700,size=${stateSize} tmpfs $B/root/var/lib/machinist`}
exec chroot $B/root /bin/sh -c 'echo up; exec >/dev/null; while :; do sleep 1000; done'
`

class Booted {
  readonly unshare: ChildProcess
  readonly pid: number
  constructor(unshare: ChildProcess, pid: number) {
    this.unshare = unshare
    this.pid = pid
  }
}

const boot = (base: string, options: LocalHostOptions): Effect.Effect<Booted> =>
  Effect.callback<Booted>((resume) => {
    writeFileSync(join(base, "boot_id"), `${randomUUID()}\n`)
    const child = spawn(
      "unshare",
      [
        "--mount",
        "--pid",
        "--uts",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        setUp(options.shell ?? "dash", options.stateSize)
      ],
      { env: { PATH, B: base }, stdio: ["ignore", "pipe", "pipe"] }
    )
    let said = ""
    child.stderr.on("data", (data: Buffer) => {
      said += data.toString()
    })
    child.once("close", () => resume(Effect.die(new Error(`the local host did not come up: ${said}`))))
    child.stdout.once("data", () => {
      const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").trim()
      resume(Effect.succeed(new Booted(child, Number(children.split(" ")[0]))))
    })
  })

const halt = (booted: Booted): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    if (booted.unshare.exitCode !== null || booted.unshare.signalCode !== null) return resume(Effect.void)
    booted.unshare.once("exit", () => resume(Effect.void))
    // The namespace's init: everything in it dies with it.
    process.kill(booted.pid, "SIGKILL")
  })

type Piped = ChildProcessByStdio<Writable, Readable, Readable>

const enter = (booted: Booted, command: string, { env, uid }: Pick<LocalHostOptions, "uid" | "env">): Piped =>
  spawn(
    "nsenter",
    [
      ...["-t", String(booted.pid), "-m", "-p", "-u", "-r", "-w"],
      ...(uid === undefined ? [] : ["-S", String(uid), "-G", String(uid)]),
      ...["--", "/bin/sh", "-c", command]
    ],
    { env: { ...env, PATH, HOME: "/root" }, stdio: ["pipe", "pipe", "pipe"] }
  )

const lost = (target: string): SshError => new SshError({ phase: "closed", target, message: "the connection was lost" })

interface Channel {
  readonly child: Piped
  cut: boolean
}

/**
 * Bytes of a pipe; fails when the connection was cut before its end. Taken from now on, whoever reads when: Node throws away
 * what nobody has listened to when a process ends.
 */
const bytesOf = (channel: Channel, readable: Readable, name: string): Effect.Effect<SshProcess["stdout"]> =>
  Effect.map(Queue.unbounded<Uint8Array, SshError | Cause.Done>(), (queue) => {
    const end = () => (channel.cut ? Queue.failCauseUnsafe(queue, Cause.fail(lost(name))) : Queue.endUnsafe(queue))
    readable.on("data", (data: Buffer) => Queue.offerUnsafe(queue, new Uint8Array(data)))
    readable.once("close", end)
    readable.once("error", end)
    return Stream.fromQueue(queue)
  })

const exitOf = (channel: Channel, name: string): Effect.Effect<SshExit, SshError> =>
  Effect.callback<SshExit, SshError>((resume) => {
    const { child } = channel
    const ended = () => {
      if (channel.cut) resume(Effect.fail(lost(name)))
      else if (child.signalCode !== null) resume(Effect.succeed({ signal: child.signalCode }))
      else resume(Effect.succeed({ code: child.exitCode ?? 0 }))
    }
    if (channel.cut || child.exitCode !== null || child.signalCode !== null) return ended()
    child.once("exit", ended)
    child.stdout.once("close", () => channel.cut && ended())
    return undefined
  })

const hangUp = (channel: Channel): void => {
  channel.cut = true
  channel.child.stdin.destroy()
  channel.child.stdout.destroy()
  channel.child.stderr.destroy()
}

const open = (
  booted: Booted,
  command: string,
  stdin: string | Uint8Array,
  options: Pick<LocalHostOptions, "uid" | "env">
): Channel => {
  const child = enter(booted, command, options)
  // A program that ends before it has read everything is no error of ours.
  child.stdin.on("error", () => undefined)
  child.stdin.write(stdin)
  return { child, cut: false }
}

const collect = (readable: Readable): Effect.Effect<string> =>
  Effect.callback<string>((resume) => {
    const parts: Array<Buffer> = []
    readable.on("data", (data: Buffer) => parts.push(data))
    readable.once("close", () => resume(Effect.succeed(Buffer.concat(parts).toString())))
  })

const runIn = (booted: Booted, script: string): Effect.Effect<Ran> =>
  Effect.suspend(() => {
    const channel = open(booted, script, "", {})
    channel.child.stdin.end()
    return Effect.map(
      Effect.all(
        [collect(channel.child.stdout), collect(channel.child.stderr), Effect.orDie(exitOf(channel, "local"))],
        {
          concurrency: "unbounded"
        }
      ),
      ([stdout, stderr, exit]) => ({ stdout, stderr, code: exit.code ?? 255 })
    )
  })

/** Latin-1 keeps every byte of the request that follows the text. */
const rewritten = (stdin: Uint8Array, rewrite: (text: string) => string): Buffer =>
  Buffer.from(rewrite(Buffer.from(stdin).toString("latin1")), "latin1")

/** A host that lives as long as the scope. */
export const makeLocalHost = (options: LocalHostOptions = {}): Effect.Effect<LocalHost, never, Scope.Scope> =>
  Effect.gen(function* () {
    const base = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-host-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    for (const name of ["upper", "work", "root"]) mkdirSync(join(base, name))
    let booted = yield* boot(base, options)
    yield* Effect.addFinalizer(() => Effect.suspend(() => halt(booted)))
    const channels = new Set<Channel>()
    const cut = Effect.sync(() => {
      for (const channel of channels) hangUp(channel)
      channels.clear()
    })
    const target: SshTarget = {
      address: "192.0.2.1",
      port: 22,
      user: "root",
      privateKey: Redacted.make("key"),
      hostKeys: firstUse
    }
    const name = targetName(target)
    const begin = Effect.fnUntraced(function* (
      command: string,
      stdin: Uint8Array
    ): Effect.fn.Return<SshDialog, SshError, Scope.Scope> {
      const channel = yield* Effect.acquireRelease(
        Effect.sync(() => open(booted, command, rewritten(stdin, host.rewrite), options)),
        (channel) => Effect.sync(() => hangUp(channel))
      )
      channels.add(channel)
      return {
        stdout: yield* bytesOf(channel, channel.child.stdout, name),
        stderr: yield* bytesOf(channel, channel.child.stderr, name),
        exit: exitOf(channel, name),
        write: (bytes) => Effect.sync(() => channel.child.stdin.write(rewritten(bytes, host.rewrite))),
        end: (bytes) => Effect.sync(() => channel.child.stdin.end(rewritten(bytes, host.rewrite)))
      }
    })
    const exec = (command: string, stdin: Uint8Array): Effect.Effect<SshProcess, SshError, Scope.Scope> =>
      Effect.tap(begin(command, stdin), ({ end }) => end(new Uint8Array(0)))
    const ssh: SshClientShape = { connect: () => Effect.succeed({ hostKey: "SHA256:local", exec, begin }) }
    const host: LocalHost = {
      ssh,
      layer: Layer.succeed(SshClient, ssh),
      target,
      sh: (script) => Effect.suspend(() => runIn(booted, script)),
      reboot: Effect.gen(function* () {
        yield* halt(booted)
        yield* cut
        booted = yield* boot(base, options)
      }),
      cut,
      rewrite: options.rewrite ?? ((text) => text)
    }
    return host
  })
