/**
 * Owns hosts with a real /bin/sh, any number of them: each a root and processes of its own behind an SSH server on a
 * loopback address of its own, with a stand-in k0s and a witness. Says why, where this machine does not allow them. Does
 * not own what they are for. A scope's end leaves nothing behind;
 * SIGKILL a directory with logs, which the next one removes.
 *
 * Unlike hosts of their own:
 * - shared-kernel: this machine's, with its clock
 * - no-init: no service manager runs; what a service would be is a process of the host
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import ssh2 from "ssh2"
import * as LiveSshClient from "../../ssh/LiveSshClient.ts"
import type { SshClientShape } from "../../ssh/SshClient.ts"
import { type Farm, numbered } from "../demo/Farm.ts"
import type { Address } from "../demo/Manifests.ts"
import type { K0sWorld } from "../hosts/K0s.ts"
import { serveMailbox } from "./Mailbox.ts"
import { boot, HostBootError, privilege } from "./Namespace.ts"
import { makeObserver } from "./Observer.ts"
import { type Roster, type RosterError, type RosterHost, readRoster, writeRoster } from "./Roster.ts"
import { type ListenError, serve } from "./SshServer.ts"

/** Second numbers of loopback addresses that farms may take; the lowest free one is taken. */
const FIRST_NET = 100
const LAST_NET = 199
/** Held on 127.x.255.254, where no host is, by the farm that has the net. */
const RESERVATION_PORT = 2221
/** SSH's own, else this one: binding the former needs root, and nobody else on every address. */
const PORTS = [22, 2222] as const
/** uid of an account that is not root. */
const USER_UID = 1000
/** Hosts that boot at one time. */
const BOOT_CONCURRENCY = 4

interface KeyPair {
  readonly private: string
}

/** ssh2's generator drops a leading zero byte of one key in 200, which is no key then: those are thrown away. */
const makeKeyPair = (): KeyPair => {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync("ed25519")
    const parsed = ssh2.utils.parseKey(pair.private)
    if (!(parsed instanceof Error)) return { private: pair.private }
  }
}

const reserve = (net: number): Effect.Effect<Server | undefined> =>
  Effect.callback((resume) => {
    const server = createServer()
    server.unref()
    server.once("error", () => resume(Effect.succeed(undefined)))
    server.listen({ host: `127.${net}.255.254`, port: RESERVATION_PORT }, () => resume(Effect.succeed(server)))
  })

const reserveAny = Effect.gen(function* () {
  for (let net = FIRST_NET; net <= LAST_NET; net++) {
    const server = yield* reserve(net)
    if (server !== undefined) return { net, server }
  }
  return yield* new HostBootError({ message: "no loopback network is free" })
})

const PREFIX = "machinist-hosts-"

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // Somebody else's is alive too.
    return Reflect.get(Object(error), "code") === "EPERM"
  }
}

/** What processes left that died before they could tidy up; their hosts died with them. */
const sweep = (): void => {
  for (const name of readdirSync(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(tmpdir(), name), { recursive: true, force: true })
  }
}

const makeDirectories = Effect.acquireRelease(
  Effect.try({
    try: () => {
      sweep()
      const directory = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`))
      for (const name of ["room", "shared", "shared/witness", "shared/mailbox"]) mkdirSync(join(directory, name))
      // Root of a user namespace is somebody else outside.
      chmodSync(directory, 0o711)
      return directory
    },
    catch: (error) => new HostBootError({ message: String(error) })
  }),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true }))
)

/** On the first port that can be had there. */
const listen = (
  address: string,
  ports: ReadonlyArray<number>,
  server: Omit<Parameters<typeof serve>[0], "address" | "port">
): Effect.Effect<number, ListenError, Scope.Scope> => {
  const [port = 0, ...others] = ports
  const here = Effect.as(serve({ ...server, address, port }), port)
  return others.length === 0 ? here : Effect.catch(here, () => listen(address, others, server))
}

/** Addresses that the YAML gave, which are nobody's here: led to the host that stands in. */
const routed = (client: SshClientShape, routes: ReadonlyMap<string, Address>): SshClientShape => ({
  connect: (target) => client.connect({ ...target, ...routes.get(`${target.address} ${target.port}`) })
})

const publicHalf = (privateKey: string): Uint8Array => {
  const parsed = ssh2.utils.parseKey(privateKey)
  return parsed instanceof Error ? new Uint8Array() : parsed.getPublicSSH()
}

/** The network of before, or the lowest free one. */
const takeNet = (wanted: number | undefined) =>
  Effect.acquireRelease(
    wanted === undefined
      ? reserveAny
      : Effect.flatMap(reserve(wanted), (server) =>
          server === undefined
            ? Effect.fail(new HostBootError({ message: `127.${wanted}.0.0/16 is used by another process` }))
            : Effect.succeed({ net: wanted, server })
        ),
    ({ server }) => Effect.sync(() => server.close())
  )

const freshRoster = (net: number): Roster => ({
  net,
  privateKey: makeKeyPair().private,
  hostKey: makeKeyPair().private,
  hosts: []
})

/**
 * Fails, with the reason, where this machine does not allow such hosts: one is booted to see. With `state`, a directory,
 * hosts have their disks there, and those of before are booted at once.
 */
export const shellFarm = Effect.fnUntraced(function* (
  k0s: K0sWorld,
  state?: string
): Effect.fn.Return<Farm, HostBootError | RosterError, Scope.Scope> {
  if (process.platform !== "linux")
    return yield* new HostBootError({ message: `this is ${process.platform}, not Linux` })
  const directory = yield* makeDirectories
  const shared = join(directory, "shared")
  const room = join(directory, "room")
  const known = state === undefined ? undefined : yield* readRoster(state)
  const { net } = yield* takeNet(known?.net)
  const probe = yield* boot({ name: "probe", address: "127.0.0.1", room, shared })
  yield* probe.halt
  yield* serveMailbox(join(shared, "mailbox"), k0s)
  const observer = makeObserver()
  let roster = known ?? freshRoster(net)
  const { hostKey, privateKey } = roster
  const publicKey = publicHalf(privateKey)
  const routes = new Map<string, Address>()
  const running = new Map<string, Address>()
  const booting = yield* Semaphore.make(BOOT_CONCURRENCY)
  const scope = yield* Effect.scope
  // One finalizer for all, so that they die side by side.
  const halts: Array<Effect.Effect<void>> = []
  yield* Effect.addFinalizer(() => Effect.all(halts, { concurrency: "unbounded", discard: true }))
  const runLook = yield* Effect.map(Effect.context<never>(), Effect.runForkWith)
  let index = roster.hosts.length

  const start = Effect.fnUntraced(function* (host: Omit<RosterHost, "port">, ports: ReadonlyArray<number>) {
    const { address, name } = host
    const disk = state === undefined ? {} : { disk: join(state, name) }
    const namespace = yield* boot({ name, address, room, shared, ...disk }).pipe(booting.withPermits(1))
    halts.push(namespace.halt)
    observer.follow(namespace, join(shared, "witness", `${name}.log`))
    const accounts = new Map([["root", 0]])
    if (host.user !== "root") accounts.set(host.user, USER_UID)
    const port = yield* listen(address, ports, {
      hostKey,
      publicKey,
      accounts,
      run: namespace.enter,
      onEnd: () => void runLook(observer.look(name))
    }).pipe(
      Scope.provide(scope),
      Effect.mapError((error) => new HostBootError({ message: `SSH at ${address}: ${error.message}` }))
    )
    const { given } = host
    if (given !== undefined) routes.set(`${given.address} ${given.port}`, { address, port })
    running.set(host.key, given ?? { address, port })
    return { ...host, port }
  })
  yield* Effect.forEach(roster.hosts, (host) => start(host, [host.port]), {
    concurrency: BOOT_CONCURRENCY,
    discard: true
  })

  const add: Farm["add"] = Effect.fnUntraced(function* (key, user, given) {
    const before = running.get(key)
    if (before !== undefined) return before
    const number = index++
    const host = { key, name: `host-${number + 1}`, user, address: numbered(net, number) }
    const added = yield* start(given === undefined ? host : { ...host, given }, PORTS).pipe(Effect.orDie)
    // Before its address stands in any object.
    roster = { ...roster, hosts: [...roster.hosts, added] }
    if (state !== undefined) writeRoster(state, roster)
    return given ?? { address: added.address, port: added.port }
  })

  return {
    kind: "sh",
    about: `hosts with a real /bin/sh (${privilege === "root" ? "mount and PID namespaces" : "user namespaces"})`,
    ssh: routed(yield* LiveSshClient.make(), routes),
    keyOf: () => ({ privateKey: Redacted.make(privateKey) }),
    jumpKey: () => undefined,
    free: () => [],
    leftovers: undefined,
    witness: observer.witness,
    add
  }
})
