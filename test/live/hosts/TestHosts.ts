/**
 * Owns real hosts for the live suites: OpenSSH on loopback addresses of their own, in namespaces of their own, light (no
 * service manager but SysV scripts), with a real OpenRC or a real systemd, as scoped resources. What they have installed and what their
 * stand-ins do is in README.md. Needs root on Linux and scripts/install-test-packages.sh.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { SshTarget } from "../../../src/ssh/SshClient.ts"
import { type HostKind, standInDirectory, type TestUser } from "./internal/BaseLayer.ts"
import { type CommandResult, TestHostError } from "./internal/Command.ts"
import * as Host from "./internal/Host.ts"
import { openrcUnavailable as openrcMissing } from "./internal/OpenRc.ts"
import { cgroupRoot, MAX_HOSTS, makePool } from "./internal/Pool.ts"

export type { HostKind, TestUser } from "./internal/BaseLayer.ts"
export { type CommandResult, TestHostError } from "./internal/Command.ts"

/** Hosts that boot at once: more only makes each slower. */
const BOOT_CONCURRENCY = { light: 16, openrc: 4, systemd: 4 } as const

export interface TestHost {
  readonly kind: HostKind
  /** Its host name, unique on this machine. */
  readonly name: string
  readonly address: string
  readonly port: number
  /** SHA256 fingerprint of its host key. */
  readonly hostKey: string
  /** OpenSSH format; accepted for every account of the host. */
  readonly privateKey: string
  /** As an SshClient wants it; root unless told otherwise. */
  readonly target: (user?: TestUser) => SshTarget
  readonly machine: Host.Machine
}

export interface TestHostOptions {
  readonly port?: number
  /** Puts the stand-in k0s at /usr/local/bin/k0s beforehand. */
  readonly k0s?: boolean
  /** Nodes are made at the API server that the join token names, instead of imagined. */
  readonly join?: boolean
  /** A directory in which k0s asks whoever serves it (shellhosts/Mailbox.ts) to be let in, and tells when it stops or leaves. */
  readonly mailbox?: string
  /** `pretend` (README.md) under the names of what the specification's examples call. */
  readonly pretend?: boolean
  /** Seconds k0s takes to register its node, and until that is Ready after it. */
  readonly registerSeconds?: number
  readonly readySeconds?: number
}

export interface WitnessLine {
  /** Nanoseconds since the epoch. */
  readonly at: bigint
  readonly host: string
  readonly what: string
  readonly args: string
}

/** A join token as k0s makes them, base64(gzip(kubeconfig)), for a control plane that need not exist. */
export const joinToken = (
  server = "https://control-plane.invalid:6443",
  token = "abcdef.0123456789abcdef",
  certificateAuthority = ""
): string =>
  gzipSync(`apiVersion: v1
kind: Config
clusters:
- name: k0s
  cluster:
    server: ${server}
    certificate-authority-data: ${Buffer.from(certificateAuthority).toString("base64")}
contexts:
- name: k0s
  context:
    cluster: k0s
    user: kubelet-bootstrap
current-context: k0s
users:
- name: kubelet-bootstrap
  user:
    token: ${token}
`).toString("base64")

/** Why hosts can't be had on this machine, or undefined: for `describe.skipIf`. */
export const unavailable: string | undefined = (() => {
  if (process.platform !== "linux") return `test hosts need Linux, this is ${process.platform}`
  if (process.getuid?.() !== 0) return "test hosts need root"
  const tools = ["/usr/sbin/sshd", "/usr/bin/sudo", "/usr/bin/unshare", "/usr/bin/nsenter", "/usr/bin/setpriv"]
  const missing = tools.filter((tool) => !existsSync(tool))
  if (missing.length > 0) return `missing ${missing.join(", ")}: run scripts/install-test-packages.sh`
  // Root of a container may lack what root of a machine has.
  const probe = spawnSync("unshare", ["--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
  return probe.status === 0 ? undefined : `test hosts need to mount and unshare: ${probe.stderr}`.trim()
})()

/** Like `unavailable`, for hosts with systemd. */
export const systemdUnavailable: string | undefined =
  unavailable ??
  (existsSync("/lib/systemd/systemd") ? undefined : "missing systemd: run scripts/install-test-packages.sh") ??
  (cgroupRoot() === undefined ? "systemd needs a cgroup2 mount: mount -t cgroup2 cgroup2 /sys/fs/cgroup" : undefined)

/** Like `unavailable`, for hosts with OpenRC. */
export const openrcUnavailable: string | undefined = unavailable ?? openrcMissing

const unavailableFor = { light: unavailable, openrc: openrcUnavailable, systemd: systemdUnavailable }

/** Only where asked for: a host that has `systemctl` may be taken for one with systemd. */
const PRETENDED = ["apt-get", "docker", "kubectl", "sysctl", "systemctl"]

const pretences = () => ({
  ...Object.fromEntries(
    PRETENDED.map((name) => [
      `usr/local/bin/${name}`,
      { content: readFileSync(join(standInDirectory, "pretend"), "utf8"), mode: 0o755 }
    ])
  ),
  "usr/local/lib/machinist-test/get-docker.sh": {
    content: readFileSync(join(standInDirectory, "get-docker.sh"), "utf8"),
    mode: 0o644
  }
})

const filesFor = (options: TestHostOptions): Parameters<typeof Host.makeMachine>[3] => {
  const settings = [
    ...(options.registerSeconds === undefined ? [] : [`K0S_REGISTER_SECONDS=${options.registerSeconds}`]),
    ...(options.readySeconds === undefined ? [] : [`K0S_READY_SECONDS=${options.readySeconds}`])
  ]
  return {
    ...(settings.length === 0
      ? {}
      : { "etc/machinist-test/k0s": { content: `${settings.join("\n")}\n`, mode: 0o644 } }),
    ...(options.pretend === true ? pretences() : {}),
    ...(options.join === true ? { "etc/machinist-test/join": { content: "", mode: 0o644 } } : {}),
    ...(options.k0s === true
      ? { "usr/local/bin/k0s": { content: readFileSync(join(standInDirectory, "k0s"), "utf8"), mode: 0o755 } }
      : {})
  }
}

const toTestHost = (machine: Host.Machine): TestHost => {
  const { address, hostKey, name, pool, port } = machine
  return {
    kind: pool.kind,
    name,
    address,
    port,
    hostKey,
    privateKey: pool.privateKey,
    target: (user = "root") => ({
      address,
      port,
      user,
      privateKey: Redacted.make(pool.privateKey),
      hostKeys: { pins: [{ fingerprint: hostKey }] }
    }),
    machine
  }
}

const make = (
  kind: HostKind,
  count: number,
  options: TestHostOptions
): Effect.Effect<ReadonlyArray<TestHost>, TestHostError, Scope.Scope> =>
  Effect.gen(function* () {
    const reason = unavailableFor[kind]
    if (reason !== undefined) return yield* Effect.fail(new TestHostError({ message: reason }))
    if (count > MAX_HOSTS) return yield* Effect.fail(new TestHostError({ message: `at most ${MAX_HOSTS} hosts` }))
    const pool = yield* makePool(kind)
    const files = filesFor(options)
    const machines: Array<Host.Machine> = []
    // One finalizer for all, so that they die side by side; it is there before the first boots.
    yield* Effect.addFinalizer(() =>
      Effect.forEach(machines, Host.destroy, { concurrency: BOOT_CONCURRENCY.light, discard: true })
    )
    for (let index = 0; index < count; index++) {
      machines.push(yield* Host.makeMachine(pool, index, options.port ?? 22, files, options.mailbox))
    }
    yield* Effect.forEach(machines, Host.powerOn, { concurrency: BOOT_CONCURRENCY[kind], discard: true })
    const hosts = machines.map(toTestHost)
    if (kind === "systemd") {
      yield* Effect.forEach(hosts, settled, { concurrency: BOOT_CONCURRENCY.systemd, discard: true })
    }
    return hosts
  })

/** Hosts without systemd: the only service manager is `service` and /etc/init.d. PID 1 is sshd. */
export const light = (
  count: number,
  options: TestHostOptions = {}
): Effect.Effect<ReadonlyArray<TestHost>, TestHostError, Scope.Scope> => make("light", count, options)

/** Hosts whose PID 1 is a real openrc-init, with sshd as a service of OpenRC. */
export const openrc = (
  count: number,
  options: TestHostOptions = {}
): Effect.Effect<ReadonlyArray<TestHost>, TestHostError, Scope.Scope> => make("openrc", count, options)

/** Hosts whose PID 1 is a real systemd, with journald, logind and sshd as units. */
export const systemd = (
  count: number,
  options: TestHostOptions = {}
): Effect.Effect<ReadonlyArray<TestHost>, TestHostError, Scope.Scope> => make("systemd", count, options)

/** Runs a shell script as root on the host, past SSH: for what a test sets up or asserts. */
export const exec = (
  host: TestHost,
  script: string,
  stdin?: string | Uint8Array
): Effect.Effect<CommandResult, TestHostError> => Host.enter(host.machine, script, stdin)

/** Like `exec`; gives stdout, and fails unless the exit code is 0. */
export const execOk = (
  host: TestHost,
  script: string,
  stdin?: string | Uint8Array
): Effect.Effect<string, TestHostError> =>
  Effect.flatMap(exec(host, script, stdin), ({ code, stderr, stdout }) =>
    code === 0
      ? Effect.succeed(stdout)
      : Effect.fail(
          new TestHostError({ message: `on ${host.name} \`${script}\` ended with ${code}: ${stderr.trim()}` })
        )
  )

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** Contents of a file, or undefined when there is none. */
export const readFile = (host: TestHost, path: string): Effect.Effect<string | undefined, TestHostError> =>
  Effect.map(exec(host, `[ -e ${quote(path)} ] || exit 44; cat ${quote(path)}`), ({ code, stdout }) =>
    code === 0 ? stdout : undefined
  )

export const writeFile = (
  host: TestHost,
  path: string,
  content: string | Uint8Array,
  mode = "0644"
): Effect.Effect<void, TestHostError> =>
  Effect.asVoid(
    execOk(host, `mkdir -p "$(dirname ${quote(path)})" && cat >${quote(path)} && chmod ${mode} ${quote(path)}`, content)
  )

export const bootId = (host: TestHost): Effect.Effect<string, TestHostError> =>
  Effect.map(execOk(host, "cat /proc/sys/kernel/random/boot_id"), (id) => id.trim())

const settled = (host: TestHost): Effect.Effect<void, TestHostError> =>
  Effect.asVoid(exec(host, "systemctl is-system-running --wait"))

/** Power cut; the disk stays, /run and /tmp do not. */
export const powerOff = (host: TestHost): Effect.Effect<void, TestHostError> => Host.powerOff(host.machine)

/** Boots again on the same disk, with a new boot id; ends when sshd listens (and systemd has settled). */
export const powerOn = (host: TestHost): Effect.Effect<void, TestHostError> =>
  Effect.andThen(Host.powerOn(host.machine), host.kind === "systemd" ? settled(host) : Effect.void)

export const reboot = (host: TestHost): Effect.Effect<void, TestHostError> =>
  Effect.andThen(powerOff(host), powerOn(host))

/** Signals every process whose command line holds `text`, but PID 1; gives their number. */
export const kill = (host: TestHost, text: string, signal = "KILL"): Effect.Effect<number, TestHostError> =>
  Effect.map(execOk(host, `sh /usr/local/lib/machinist-test/kill-matching ${signal} ${quote(text)}`), (count) =>
    Number(count)
  )

/** Kills every SSH session's server process; the listener goes on. */
export const dropConnections = (host: TestHost): Effect.Effect<void, TestHostError> =>
  Effect.asVoid(execOk(host, "sh /usr/local/lib/machinist-test/drop-connections"))

/** Stops all processes of the host where they stand: connects are accepted by the kernel and never answered. */
export const freeze = (host: TestHost): Effect.Effect<void, TestHostError> => Host.setFrozen(host.machine, true)

export const thaw = (host: TestHost): Effect.Effect<void, TestHostError> => Host.setFrozen(host.machine, false)

/** What a stand-in can be told: see README.md. */
export type Told =
  | "curl"
  | "get-k0s"
  | "oras"
  | "install"
  | "start"
  | "stop"
  | "reset"
  | "worker"
  | "controller"
  | "etcd"
  | "kubectl"

/** The next `times` calls of a stand-in fail (0: no more). */
export const fail = (host: TestHost, what: Told, times: number | "always"): Effect.Effect<void, TestHostError> =>
  times === 0
    ? Effect.asVoid(execOk(host, `rm -f /etc/machinist-test/fail/${what}`))
    : writeFile(host, `/etc/machinist-test/fail/${what}`, `${times}\n`)

/** Calls of a stand-in hang until they are killed; false: new calls don't. */
export const hang = (host: TestHost, what: Told, hangs = true): Effect.Effect<void, TestHostError> =>
  hangs
    ? writeFile(host, `/etc/machinist-test/hang/${what}`, "")
    : Effect.asVoid(execOk(host, `rm -f /etc/machinist-test/hang/${what}`))

/** What the stand-ins of this host did, oldest first. Outlives reboots and whatever product code does. */
export const witness = (host: TestHost): Effect.Effect<ReadonlyArray<WitnessLine>> =>
  Effect.sync(() =>
    readFileSync(join(host.machine.pool.witness, `${host.name}.log`), "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => {
        const [at = "0", name = "", what = "", ...args] = line.split("\t")
        return { at: BigInt(at), host: name, what, args: args.join("\t") }
      })
  )
