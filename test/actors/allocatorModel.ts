/**
 * Owns the allocator's model-based test: commands on an API server in memory with the real PoolAllocator between it and
 * machines that ask and leave; and the trivial model that says what has to be true once all is quiet. The model knows
 * nothing of claims, grants or queues: it looks at who has which host, and who may have it.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { claimOf } from "../../src/actors/Objects.ts"
import { PoolAllocator, type PoolAllocatorShape } from "../../src/actors/PoolAllocator.ts"
import { MAINTENANCE_ANNOTATION, SELECTOR_ANNOTATION } from "../../src/api/Names.ts"
import { type PooledRemoteMachine, PooledRemoteMachines } from "../../src/api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../../src/api/RemoteMachine.ts"
import { KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import { cuttableKubeClient } from "../../src/simulation/Faults.ts"
import { apiServer, createHost, createKey, ref } from "../support/cluster.ts"

// ---------------------------------------------------------------------------------------------------- commands

const below = (count: number) => Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: count - 1 })))
const host = below(4)
const machine = below(5)
const pool = below(2)
/** 0: none. */
const rack = below(3)

const AddHost = Schema.TaggedStruct("AddHost", { host, pool, rack })
const Ask = Schema.TaggedStruct("Ask", { machine, pool, rack })

export const Command = Schema.Union([
  // More often than the rest: without hosts and machines nothing happens.
  AddHost,
  AddHost,
  Ask,
  Ask,
  Schema.TaggedStruct("RemoveHost", { host }),
  Schema.TaggedStruct("EditHost", { host, pool, rack }),
  Schema.TaggedStruct("Maintain", { host, on: Schema.Boolean }),
  Schema.TaggedStruct("Select", { machine, rack }),
  Schema.TaggedStruct("Leave", { machine }),
  /** Somebody else writes on the host just before the allocator's next write on it. */
  Schema.TaggedStruct("Collide", { host }),
  /** The process dies at the next write but so many, before it or after it; another one takes over. */
  Schema.TaggedStruct("Crash", { writes: below(4), after: Schema.Boolean })
])
export type Command = typeof Command.Type

export interface Broken {
  /** What stands between the allocator and those who use it: a deliberate mistake. */
  readonly allocator?: (inner: PoolAllocatorShape) => PoolAllocatorShape
}

/** More than the longest pause between two tries of anything that can go wrong here. */
const QUIET_SECONDS = 8

const selectorOf = (number: number): string | null => (number === 0 ? null : `rack=r${number}`)
const labelsOf = (number: number) => ({ rack: number === 0 ? null : `r${number}` })

// ---------------------------------------------------------------------------------------------------- the system

/** Everything that stands in for watches and actors: told what there is after each command, and after a restart. */
export const makeSystem = Effect.fnUntraced(function* (broken: Broken) {
  const server = yield* apiServer()
  const kube = server.kubeClient
  yield* createKey(kube)
  const parent = yield* Effect.scope
  let bomb: { writes: number; readonly after: boolean } | undefined
  const collisions = new Set<string>()
  let crashed = false
  let process: { readonly allocator: PoolAllocatorShape; readonly end: Effect.Effect<void> } | undefined

  const client = (isCut: () => boolean, cut: () => void): KubeClientShape => {
    const dying = Effect.suspend(() => {
      cut()
      crashed = true
      return Effect.interruptible(Effect.never)
    })
    return cuttableKubeClient(
      {
        ...kube,
        patch: (kind, at, patch, options) =>
          Effect.suspend(() => {
            if (collisions.delete(`${kind.kind}/${at.name}`))
              return Effect.andThen(
                Effect.ignore(
                  kube.patch(kind, at, {
                    metadata: { annotations: { "example.com/touched": `${server.writes().length}` } }
                  })
                ),
                kube.patch(kind, at, patch, options)
              )
            if (bomb === undefined || bomb.writes-- > 0) return kube.patch(kind, at, patch, options)
            const { after } = bomb
            bomb = undefined
            return after ? Effect.andThen(Effect.exit(kube.patch(kind, at, patch, options)), dying) : dying
          })
      },
      { isCut }
    )
  }

  /** What the caches knew last: objects that are gone are told of. */
  let known: { readonly hosts: ReadonlyArray<PooledRemoteMachine>; readonly machines: ReadonlyArray<RemoteMachine> } = {
    hosts: [],
    machines: []
  }
  const asking = new Map<string, Fiber.Fiber<void>>()

  const look = Effect.fnUntraced(function* (allocator: PoolAllocatorShape) {
    const machines = (yield* kube.list(RemoteMachines)).items
    const hosts = (yield* kube.list(PooledRemoteMachines)).items
    const uids = new Set([...machines, ...hosts].map(({ metadata }) => metadata.uid))
    for (const one of machines) yield* allocator.machineSeen(one)
    for (const one of known.machines) if (!uids.has(one.metadata.uid)) yield* allocator.machineGone(one)
    for (const one of hosts) yield* allocator.hostSeen(one)
    for (const one of known.hosts) if (!uids.has(one.metadata.uid)) yield* allocator.hostGone(one)
    known = { hosts, machines }
  })

  /** As a machine's actor: it asks until it has a host, and gives it back when it leaves. The oldest first. */
  const act = Effect.fnUntraced(function* (allocator: PoolAllocatorShape) {
    const oldest = [...known.machines].sort(
      (a, b) => Number(a.metadata.resourceVersion) - Number(b.metadata.resourceVersion)
    )
    oldest.sort((a, b) => ((a.metadata.creationTimestamp ?? "") < (b.metadata.creationTimestamp ?? "") ? -1 : 1))
    for (const one of oldest) {
      const { uid = "", name, namespace = "" } = one.metadata
      const leaves = one.metadata.deletionTimestamp !== undefined
      if (asking.has(leaves ? `-${uid}` : uid) || (!leaves && one.spec.address !== undefined)) continue
      const before = asking.get(uid)
      if (before !== undefined) yield* Fiber.interrupt(before)
      const claimant = { uid, name, namespace, pool: one.spec.pool }
      const work = leaves
        ? Effect.ignore(allocator.release(claimant, claimOf(one), { leaving: "deleted", fence: 0 }))
        : Effect.asVoid(allocator.claim(claimant, () => Effect.void))
      asking.set(leaves ? `-${uid}` : uid, yield* Effect.forkIn(work, parent))
    }
  })

  const start = Effect.gen(function* () {
    let isCut = false
    const scope = yield* Scope.make()
    const layer = PoolAllocator.layer.pipe(
      Layer.provide(
        Layer.succeed(
          KubeClient,
          client(
            () => isCut,
            () => {
              isCut = true
            }
          )
        )
      )
    )
    const context = yield* Layer.build(layer).pipe(Scope.provide(scope))
    const inner = yield* PoolAllocator.pipe(Effect.provideContext(context))
    const allocator = (broken.allocator ?? ((one) => one))(inner)
    known = { hosts: [], machines: [] }
    yield* look(allocator)
    yield* allocator.synced
    process = {
      allocator,
      end: Effect.suspend(() => {
        isCut = true
        return Scope.close(scope, Exit.void)
      })
    }
  })

  /** Until nothing can happen any more: virtual time passes, and what died is followed by another. */
  const settle = Effect.gen(function* () {
    for (let second = 0; second < QUIET_SECONDS; second++) {
      if (crashed && process !== undefined) {
        yield* process.end
        for (const fiber of asking.values()) yield* Fiber.interrupt(fiber)
        asking.clear()
        crashed = false
        process = undefined
      }
      if (process === undefined) yield* start
      if (process !== undefined) {
        yield* look(process.allocator)
        yield* act(process.allocator)
      }
      yield* TestClock.adjust(1_000)
    }
  })

  const exists = (name: string) =>
    Effect.map(Effect.option(kube.get(PooledRemoteMachines, ref(name))), (one) => one._tag === "Some")

  const perform = Effect.fnUntraced(function* (command: Command) {
    const on = "host" in command ? ref(`h${command.host}`) : ref(`m${"machine" in command ? command.machine : 0}`)
    switch (command._tag) {
      case "AddHost": {
        if (yield* exists(on.name)) return
        const labels = command.rack === 0 ? {} : { labels: { rack: `r${command.rack}` } }
        return yield* createHost(kube, {
          name: on.name,
          address: `10.0.0.${command.host}`,
          pool: `p${command.pool}`,
          ...labels
        })
      }
      case "RemoveHost":
        return yield* kube.delete(PooledRemoteMachines, on)
      case "EditHost":
        return yield* kube.patch(PooledRemoteMachines, on, {
          metadata: { labels: labelsOf(command.rack) },
          spec: { pool: `p${command.pool}` }
        })
      case "Maintain":
        return yield* kube.patch(PooledRemoteMachines, on, {
          metadata: { annotations: { [MAINTENANCE_ANNOTATION]: command.on ? "" : null } }
        })
      case "Ask": {
        const selector = selectorOf(command.rack)
        const annotations = selector === null ? {} : { annotations: { [SELECTOR_ANNOTATION]: selector } }
        return yield* kube.create(RemoteMachines, {
          metadata: { ...on, ...annotations },
          spec: { pool: `p${command.pool}` }
        })
      }
      case "Select":
        return yield* kube.patch(RemoteMachines, on, {
          metadata: { annotations: { [SELECTOR_ANNOTATION]: selectorOf(command.rack) } }
        })
      case "Leave":
        return yield* kube.delete(RemoteMachines, on)
      case "Collide":
        collisions.add(`PooledRemoteMachine/${on.name}`)
        return
      case "Crash":
        bomb = { writes: command.writes, after: command.after }
        return
    }
  })

  yield* settle
  return {
    kube,
    /** A command on what isn't there does nothing. */
    run: (command: Command) => Effect.andThen(Effect.ignore(perform(command)), settle)
  }
})

// ---------------------------------------------------------------------------------------------------- the model

interface Seen {
  readonly hosts: ReadonlyArray<PooledRemoteMachine>
  readonly machines: ReadonlyArray<RemoteMachine>
}

const mayHave = (machine: RemoteMachine, host: PooledRemoteMachine): boolean => {
  const selector = machine.metadata.annotations?.[SELECTOR_ANNOTATION]
  return (
    host.spec.pool === machine.spec.pool &&
    host.metadata.deletionTimestamp === undefined &&
    host.metadata.annotations?.[MAINTENANCE_ANNOTATION] === undefined &&
    (selector === undefined || selector === `rack=${host.metadata.labels?.["rack"]}`)
  )
}

/** What is wrong in this quiet moment; `before`: host by machine's uid in the one before. */
export const judge = (seen: Seen, before: ReadonlyMap<string, string>): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const holders = new Map<string, RemoteMachine>()
  for (const one of seen.machines) {
    const claim = claimOf(one)
    if (one.metadata.deletionTimestamp !== undefined)
      wrong.push(`${one.metadata.name} was to leave, and is still there`)
    const had = before.get(one.metadata.uid ?? "")
    if (had !== undefined && had !== claim?.host) wrong.push(`${one.metadata.name} had ${had}, and has ${claim?.host}`)
    if (claim === undefined) continue
    if (one.spec.address === undefined) wrong.push(`${one.metadata.name} claims ${claim.host}, and has no address`)
    if (holders.has(claim.host)) wrong.push(`${claim.host} has two machines`)
    holders.set(claim.host, one)
    const host = seen.hosts.find(({ metadata }) => metadata.name === claim.host)
    if (host === undefined || claimOf(host)?.id !== claim.id)
      wrong.push(`${claim.host} does not know ${one.metadata.name}`)
    else if (had === undefined && !mayHave(one, host)) wrong.push(`${one.metadata.name} may not have ${claim.host}`)
  }
  const waiting = seen.machines.filter((one) => claimOf(one) === undefined)
  for (const host of seen.hosts) {
    const { name } = host.metadata
    const holder = holders.get(name)
    if (claimOf(host) !== undefined && holder === undefined) wrong.push(`${name} is held for nobody`)
    const suited = waiting.filter((one) => mayHave(one, host))
    if (claimOf(host) === undefined)
      wrong.push(...suited.map((one) => `${one.metadata.name} waits, and ${name} is free`))
    if (holder === undefined || before.has(holder.metadata.uid ?? "")) continue
    for (const one of suited)
      if ((one.metadata.creationTimestamp ?? "") < (holder.metadata.creationTimestamp ?? ""))
        wrong.push(`${name} went to ${holder.metadata.name}, and ${one.metadata.name} is older`)
  }
  return wrong
}

/** Runs the commands; what is wrong after which of them. */
export const check = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>, broken: Broken = {}) {
  const system = yield* makeSystem(broken)
  let before: ReadonlyMap<string, string> = new Map()
  for (const [index, command] of commands.entries()) {
    yield* system.run(command)
    const seen = {
      hosts: (yield* system.kube.list(PooledRemoteMachines)).items,
      machines: (yield* system.kube.list(RemoteMachines)).items
    }
    const wrong = judge(seen, before)
    if (wrong.length > 0) return [`after command ${index + 1}: ${wrong.join("; ")}`]
    before = new Map(
      seen.machines.flatMap((one) => {
        const claim = claimOf(one)
        return claim === undefined ? [] : [[one.metadata.uid ?? "", claim.host] as const]
      })
    )
  }
  return []
}, Effect.scoped)
