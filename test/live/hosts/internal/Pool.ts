/**
 * Owns what hosts that are made together share: a directory on disk, a /16 of loopback addresses of their own, a key, the
 * base layer; and that what a killed test run left of these is removed by the next one. Does not own hosts (Host.ts).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { makeKeyPair } from "../../../ssh/keyPair.ts"
import { type HostKind, writeBaseLayer } from "./BaseLayer.ts"
import { TestHostError } from "./Command.ts"

/** Second numbers of 127.x.0.0/16 that pools may take; the lowest free one is taken. */
const FIRST_NET = 77
const LAST_NET = 250
/** Looks, 10 ms apart, at whether the processes of a dead pool are gone. */
const DEATH_LOOKS = 500
/** On 127.x.255.254, where no host is. */
const RESERVATION_PORT = 1
/** Upper layers of the overlays lie here: not on /tmp, which may be a tmpfs and not behave as a disk does. */
const POOLS = "/var/tmp/machinist-hosts"
const BASES = "/dev/shm/machinist-hosts"
/** Hosts of one pool: their addresses fill bytes three and four. */
export const MAX_HOSTS = 250 * 250

export interface Pool {
  readonly net: number
  readonly kind: HostKind
  readonly directory: string
  readonly base: string
  readonly witness: string
  /** Parent of the hosts' cgroups; undefined where no cgroup2 is mounted. */
  readonly cgroup: string | undefined
  readonly privateKey: string
}

const quoted = (path: string): string => path.replaceAll("\\040", " ")

/** Where cgroup2 is mounted: /sys/fs/cgroup, or beside version 1. */
export const cgroupRoot = (): string | undefined => {
  for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n")) {
    const [, path, type] = line.split(" ")
    if (type === "cgroup2" && path !== undefined) return quoted(path)
  }
  return undefined
}

const removeEmptyCgroup = (path: string): void => {
  if (!existsSync(path)) return
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeEmptyCgroup(join(path, entry.name))
  }
  try {
    rmdirSync(path)
  } catch {
    // A process in it is still dying: removePool comes by again.
  }
}

/** Kills what is in a host's (or a pool's) cgroup, frozen or not, and removes it. Nothing of anyone else is in there. */
export const removeCgroup = (path: string): void => {
  const kill = join(path, "cgroup.kill")
  if (existsSync(kill)) writeFileSync(kill, "1")
  removeEmptyCgroup(path)
}

const cgroupOf = (net: number): string | undefined => {
  const root = cgroupRoot()
  return root === undefined ? undefined : join(root, `machinist-hosts-${net}`)
}

const removePool = (net: number): Effect.Effect<void> =>
  Effect.gen(function* () {
    const cgroup = cgroupOf(net)
    if (cgroup !== undefined) {
      yield* Effect.sync(() => {
        removeCgroup(cgroup)
        return existsSync(cgroup)
      }).pipe(Effect.repeat({ schedule: Schedule.spaced("10 millis"), times: DEATH_LOOKS, while: (left) => left }))
    }
    rmSync(join(BASES, `${net}`), { recursive: true, force: true })
    // Last: as long as it is there, the next sweep looks for the rest too.
    if (cgroup === undefined || !existsSync(cgroup)) rmSync(join(POOLS, `${net}`), { recursive: true, force: true })
  })

/**
 * A listening socket in the net reserves it: the kernel gives it to one process only, and takes it back when that dies,
 * however it dies. Undefined when another process has it.
 */
const reserve = (net: number): Effect.Effect<Server | undefined> =>
  Effect.callback((resume) => {
    const server = createServer()
    server.unref()
    server.once("error", () => resume(Effect.succeed(undefined)))
    server.listen({ host: `127.${net}.255.254`, port: RESERVATION_PORT }, () => resume(Effect.succeed(server)))
  })

const release = (server: Server): Effect.Effect<void> =>
  Effect.callback((resume) => {
    server.close(() => resume(Effect.void))
  })

/** What test runs left that died before they could tidy up; their hosts died with them. */
const sweep: Effect.Effect<void> = Effect.gen(function* () {
  mkdirSync(POOLS, { recursive: true })
  for (const net of readdirSync(POOLS)) {
    const server = yield* reserve(Number(net))
    if (server === undefined) continue
    yield* removePool(Number(net))
    yield* release(server)
  }
})

const reserveAny = Effect.gen(function* () {
  for (let net = FIRST_NET; net <= LAST_NET; net++) {
    const server = yield* reserve(net)
    if (server !== undefined) return { net, server }
  }
  return yield* Effect.fail(new TestHostError({ message: "no free network for test hosts" }))
})

/** Takes a free /16 and writes the base layer; all of it is removed with the scope, after the hosts. */
export const makePool = (kind: HostKind): Effect.Effect<Pool, TestHostError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* sweep
    const { net } = yield* Effect.acquireRelease(reserveAny, ({ net: taken, server }) =>
      Effect.andThen(removePool(taken), release(server))
    )
    const key = makeKeyPair()
    const directory = join(POOLS, `${net}`)
    const pool: Pool = {
      net,
      kind,
      directory,
      base: join(BASES, `${net}`),
      witness: join(directory, "witness"),
      cgroup: cgroupOf(net),
      privateKey: key.private
    }
    yield* Effect.try({
      try: () => {
        mkdirSync(pool.witness, { recursive: true })
        mkdirSync(pool.base, { recursive: true })
        writeBaseLayer(pool.base, kind, `${key.public}\n`)
        if (pool.cgroup !== undefined) mkdirSync(pool.cgroup, { recursive: true })
      },
      catch: (error) => new TestHostError({ message: `cannot prepare the base layer of test hosts: ${error}` })
    })
    return pool
  })
