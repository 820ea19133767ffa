/**
 * Owns all pool claims of this process: answers `claim` and `release`, feeds domain/Pool.ts with what the caches show,
 * and carries out its choices (ClaimWrites). Decisions happen one at a time, in the order of calls; writes of
 * different machines run side by side, bounded. A requester that is interrupted leaks nothing: its choice is carried
 * to its end and found again by the next request or release.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as HashMap from "effect/HashMap"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Semaphore from "effect/Semaphore"
import type { KubeObject } from "../api/Kind.ts"
import type { PooledRemoteMachine } from "../api/PooledRemoteMachine.ts"
import type { RemoteMachine } from "../api/RemoteMachine.ts"
import { API_BACKOFF, backoffMillis } from "../domain/Backoff.ts"
import type { Claim } from "../domain/Claim.ts"
import * as Pool from "../domain/Pool.ts"
import { KubeClient } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import { newClaimId } from "./ClaimId.ts"
import * as ClaimWrites from "./ClaimWrites.ts"
import { claimOf, isGone, isOlder, keyOf, machineView, setAsideFor, versionOf } from "./Objects.ts"
import * as PoolStatus from "./PoolStatus.ts"
import * as PoolVerdicts from "./PoolVerdicts.ts"
import { unfailing } from "./Unfailing.ts"
import { make as makeWaiters, type Told } from "./Waiters.ts"

/** Claims whose writes run at one time. */
export const CLAIMS_IN_FLIGHT = 32

/** So long a host is kept, when a process starts, for a machine that seems to want it and whose actor does not ask. */
export const EARLY_SECONDS = 30

export interface ClaimedMachine {
  readonly claim: Claim
  /** As written last: with the host's address in its spec. */
  readonly machine: RemoteMachine
}

/** What surrounds a machine, as far as its host goes. */
export interface Around {
  /** That its owner Machine asks for. */
  readonly failureDomain: string | undefined
  /** It, or its Cluster: nothing is written on it. */
  readonly paused: boolean
  /** Everything else that it needs is there: its actor asks for a host, or will as soon as it lives. */
  readonly asks: boolean
}

export interface PoolAllocatorShape {
  /** Waits until the machine has its host; `told` hears why it waits, once for each new reason. */
  readonly claim: (
    claimant: ClaimWrites.Claimant & { readonly pool: string | undefined },
    told: Told
  ) => Effect.Effect<ClaimedMachine>
  /** Idempotent, also of a mere intent, also when the machine's object is gone. */
  readonly release: (
    claimant: ClaimWrites.Claimant,
    claim: Claim | undefined,
    how: ClaimWrites.Release
  ) => Effect.Effect<void, KubeError>
  /** Whether a host of its pool is free that it could have instead of the one it has. */
  readonly hasAnother: (
    claimant: ClaimWrites.Claimant & { readonly pool: string | undefined }
  ) => Effect.Effect<boolean>
  /** That another machine of this cluster has its own address, by the claim that its host names; in words. */
  readonly tenantHere: (claimant: ClaimWrites.Claimant, claimId: string) => Effect.Effect<string | undefined>
  readonly quarantine: (claimant: ClaimWrites.Claimant, claim: Claim, reason: string) => Effect.Effect<void, KubeError>
  /** What the caches show; nothing is given away before `synced`. */
  readonly hostSeen: (host: PooledRemoteMachine) => Effect.Effect<void>
  readonly hostGone: (host: PooledRemoteMachine) => Effect.Effect<void>
  /** `around` absent: as it was the last time. */
  readonly machineSeen: (machine: RemoteMachine, around?: Around) => Effect.Effect<void>
  readonly machineGone: (machine: RemoteMachine) => Effect.Effect<void>
  readonly synced: Effect.Effect<void>
  /** Hosts that nobody uses, and that nobody has set aside: to be probed. Those that an unknown claim holds among them. */
  readonly idle: Effect.Effect<ReadonlyArray<PooledRemoteMachine>>
  readonly probed: (host: PooledRemoteMachine, verdict: PoolVerdicts.Verdict) => Effect.Effect<void>
  /** The host's own record says that the claim which holds it, and which no machine carries, is over. */
  readonly proven: (host: PooledRemoteMachine, claim: Claim) => Effect.Effect<void>
  /** For inspection and tests. */
  readonly state: Effect.Effect<Pool.State>
}

export class PoolAllocator extends Context.Service<PoolAllocator, PoolAllocatorShape>()(
  "machinist/actors/PoolAllocator"
) {
  static readonly layer = Layer.effect(
    PoolAllocator,
    Effect.suspend(() => make)
  )
}

/** Does a lost race tell more than was known? */
const tellsMore = (
  { host, machine, why }: ClaimWrites.ClaimLost,
  knownMachine: RemoteMachine | undefined,
  knownHost: PooledRemoteMachine | undefined
): boolean =>
  (machine !== undefined && differs(machine, knownMachine)) ||
  (host === undefined ? why === "host-taken" && knownHost !== undefined : differs(host, knownHost))

const differs = (object: KubeObject, known: KubeObject | undefined): boolean =>
  known === undefined || versionOf(object) !== versionOf(known)

const make = Effect.gen(function* () {
  const kube = yield* KubeClient
  const writes = ClaimWrites.make(kube)
  const scope = yield* Effect.scope
  const open = yield* Latch.make(false)
  const inFlight = yield* Semaphore.make(CLAIMS_IN_FLIGHT)
  const granting = new Map<string, Fiber.Fiber<void>>()
  const reminders = yield* FiberMap.make<string>()
  const waiters = yield* makeWaiters<ClaimedMachine>()
  const hosts = new Map<string, PooledRemoteMachine>()
  const machines = new Map<string, RemoteMachine>()
  const paused = new Set<string>()
  const asking = new Set<string>()
  /** In the queue since this process began to give hosts away; their own actors have not asked yet (EARLY_SECONDS). */
  const early = new Set<string>()
  const releasing = new Set<string>()
  const verdicts = PoolVerdicts.make()
  let state = Pool.empty
  /** Those who wait will be told what they wait for. */
  let telling = false
  const status = yield* PoolStatus.make(kube, {
    host: (key) => hosts.get(key),
    verdicts,
    machine: (uid) => (paused.has(uid) ? undefined : machines.get(uid)),
    followed: (machine) => machineSeen(machine),
    state: () => state,
    busy: (key) => Option.isSome(HashMap.get(state.promised, key)) || releasing.has(key),
    free: (host, claim) =>
      writes
        .freeHost({ namespace: host.metadata.namespace ?? "", name: "", uid: claim.uid }, claim, {}, Effect.void)
        .pipe(Effect.flatMap((freed) => (freed === undefined ? Effect.void : hostSeen(freed))))
  })

  /** Decides, then starts what was decided; everything up to the first write is one synchronous step. */
  const dispatch = (event: Pool.Event): Effect.Effect<void> =>
    Effect.gen(function* () {
      const before = state
      const after = Pool.transition(before, event)
      state = after
      yield* Effect.forEach(Pool.rivals(before, after, event), status.look, { discard: true })
      for (const grant of after.granted)
        if (Option.getOrUndefined(HashMap.get(state.grants, grant.request.uid)) === grant) yield* start(grant)
      if (state.waiting.length > 0 && !telling) {
        telling = true
        yield* Effect.forkIn(Effect.andThen(Effect.yieldNow, tellWaiters), scope)
      }
    })

  /** Once for everything that happened at one time. */
  const tellWaiters = Effect.suspend(() => {
    telling = false
    return Effect.forEach(Pool.whyWaiting(state), ([uid, why]) => waiters.tell(uid, why), { discard: true })
  })

  /** Whose actor has not asked yet is only promised the host. */
  const start = Effect.fnUntraced(function* (grant: Pool.Grant) {
    if (early.has(grant.request.uid)) return
    const fiber = yield* Effect.forkIn(carryOut(grant), scope)
    granting.set(grant.request.uid, fiber)
  })

  const carryOut = (grant: Pool.Grant): Effect.Effect<void> => {
    const { request, claim, replaces } = grant
    const namespace = request.namespace
    const name = request.key.slice(namespace.length + 1)
    const claimant = { namespace, name, uid: request.uid }
    const once = (attempt: number): Effect.Effect<void> =>
      inFlight
        .withPermit(
          writes.claim(claimant, claim, {
            replaces,
            machine: attempt === 0 ? machines.get(request.uid) : undefined,
            host: attempt === 0 ? hosts.get(`${namespace}/${claim.host}`) : undefined
          })
        )
        .pipe(
          Effect.matchEffect({
            onSuccess: Effect.fnUntraced(function* (done) {
              if (done.host !== undefined) yield* hostSeen(done.host)
              yield* machineSeen(done.machine)
              yield* dispatch({ _tag: "GrantEnded", uid: request.uid, granted: true })
              yield* waiters.answer(request.uid, { claim, machine: done.machine })
            }),
            onFailure: Effect.fnUntraced(function* (error) {
              if (error._tag === "ClaimLost") {
                const isNews = tellsMore(error, machines.get(request.uid), hosts.get(`${namespace}/${claim.host}`))
                if (error.machine !== undefined) yield* machineSeen(error.machine)
                if (error.host !== undefined) yield* hostSeen(error.host)
                else if (error.why === "host-taken") yield* hostGone({ metadata: { namespace, name: claim.host } })
                // A machine that leaves gets nothing more; its own actor releases.
                if (error.why === "machine-leaves") return yield* dispatch({ _tag: "Cancelled", uid: request.uid })
                // What is known would only make the same choice again: a watch has to tell who was faster.
                if (!isNews) yield* Effect.sleep(backoffMillis(API_BACKOFF, 1, yield* Random.next))
                return yield* dispatch({ _tag: "GrantEnded", uid: request.uid, granted: false })
              }
              if (error.reason === "NotFound") return yield* dispatch({ _tag: "Cancelled", uid: request.uid })
              yield* waiters.tell(request.uid, { reason: "ClaimNotWritten", message: error.message })
              yield* Effect.sleep(backoffMillis(API_BACKOFF, attempt + 1, yield* Random.next))
              return yield* once(attempt + 1)
            })
          })
        )
    return unfailing("a claim's writes", once(0))
  }

  // ------------------------------------------------------------------------------------------------ the caches

  const hostSeen = (host: PooledRemoteMachine): Effect.Effect<void> =>
    Effect.gen(function* () {
      const key = keyOf(host)
      if (isGone(host)) return yield* hostGone(host)
      if (isOlder(host, hosts.get(key))) return
      const now = yield* Clock.currentTimeMillis
      hosts.set(key, host)
      // What becomes of it while it is used, no probe has seen.
      if (claimOf(host) !== undefined) verdicts.forget(host.metadata.uid)
      yield* dispatch({ _tag: "HostSeen", host: verdicts.view(host, now) })
      const wait = setAsideFor(host, now)
      // Nothing in the cluster changes when the suspicion has cooled down: look again then.
      if (wait > 0) yield* FiberMap.run(reminders, key, Effect.andThen(Effect.sleep(wait), lookAgain(key)))
      yield* status.look(key)
    })

  const lookAgain = (key: string) =>
    Effect.suspend(() => {
      const host = hosts.get(key)
      return host === undefined ? Effect.void : hostSeen(host)
    })

  const hostGone = (host: Pick<PooledRemoteMachine, "metadata">): Effect.Effect<void> =>
    Effect.suspend(() => {
      const known = hosts.get(keyOf(host))
      const { uid } = host.metadata
      // Late news of a former object of this name.
      if (known !== undefined && uid !== undefined && known.metadata.uid !== uid) return Effect.void
      hosts.delete(keyOf(host))
      verdicts.forget(known?.metadata.uid)
      return dispatch({ _tag: "HostGone", key: keyOf(host) })
    })

  const machineSeen = (machine: RemoteMachine, around?: Around): Effect.Effect<void> =>
    Effect.gen(function* () {
      const uid = machine.metadata.uid ?? ""
      if (isGone(machine)) return yield* machineGone(machine)
      if (isOlder(machine, machines.get(uid))) return
      const known = Option.getOrUndefined(HashMap.get(state.machines, uid))
      const before = known?.claim
      machines.set(uid, machine)
      const view = machineView(machine, (around ?? known)?.failureDomain)
      if (around !== undefined) {
        paused[around.paused ? "add" : "delete"](uid)
        asking[around.asks ? "add" : "delete"](uid)
      }
      yield* dispatch({ _tag: "MachineSeen", machine: view })
      if (!asking.has(uid)) yield* notEarly(uid)
      if (before !== undefined && before.host !== "" && before.id !== view.claim?.id)
        yield* status.look(`${machine.metadata.namespace ?? ""}/${before.host}`)
      if (view.claim !== undefined && view.claim.host !== "")
        yield* status.look(`${machine.metadata.namespace ?? ""}/${view.claim.host}`)
    })

  const machineGone = (machine: RemoteMachine): Effect.Effect<void> =>
    Effect.gen(function* () {
      const uid = machine.metadata.uid ?? ""
      const claim = Option.getOrUndefined(HashMap.get(state.machines, uid))?.claim
      machines.delete(uid)
      for (const some of [paused, asking]) some.delete(uid)
      yield* notEarly(uid)
      yield* dispatch({ _tag: "MachineGone", uid })
      if (claim !== undefined) yield* status.look(`${machine.metadata.namespace ?? ""}/${claim.host}`)
    })

  // ------------------------------------------------------------------------------------------------ the service

  const requestOf = ({ uid, namespace, name, pool }: Parameters<PoolAllocatorShape["claim"]>[0]) =>
    Effect.map(newClaimId, (claimId): Pool.Request => ({ uid, key: `${namespace}/${name}`, namespace, pool, claimId }))

  /** Actors begin to ask one after the other; a host that is free by now is the oldest machine's all the same. */
  const askEarly = Effect.gen(function* () {
    const waiting = [...asking].flatMap((uid) => machines.get(uid) ?? [])
    const requests = yield* Effect.forEach(
      waiting,
      ({ metadata: { uid = "", namespace = "", name }, spec: { pool } }) => requestOf({ uid, namespace, name, pool })
    )
    for (const { uid } of requests) early.add(uid)
    yield* dispatch({ _tag: "Opened", requests })
    const forget = Effect.forEach(requests, ({ uid }) => notEarly(uid), { discard: true })
    yield* Effect.forkIn(Effect.andThen(Effect.sleep(EARLY_SECONDS * 1_000), forget), scope)
  })

  /** It asks for nothing: what it was promised is anybody's. */
  const notEarly = (uid: string): Effect.Effect<void> =>
    Effect.suspend(() => (early.delete(uid) ? dispatch({ _tag: "Cancelled", uid }) : Effect.void))

  const claim: PoolAllocatorShape["claim"] = (claimant, told) =>
    Effect.gen(function* () {
      yield* open.await
      const request = yield* requestOf(claimant)
      return yield* Effect.acquireUseRelease(
        Effect.suspend(() => {
          const wasEarly = early.delete(claimant.uid)
          const waiting = waiters.wait(claimant.uid, told)
          const promised = Option.getOrUndefined(HashMap.get(state.grants, claimant.uid))
          const asked = wasEarly && promised !== undefined ? start(promised) : dispatch({ _tag: "Asked", request })
          return Effect.as(asked, waiting)
        }),
        ({ answer }) => answer,
        ({ leave }) =>
          Effect.suspend(() => {
            leave()
            return dispatch({ _tag: "Withdrawn", uid: claimant.uid })
          })
      )
    })

  const isIdle = (view: Pool.HostView | undefined): boolean =>
    view !== undefined &&
    (view.claim === undefined || Pool.isOrphan(state, view)) &&
    view.heldBy === undefined &&
    !view.deleting &&
    !view.maintenance &&
    !HashMap.has(state.promised, view.key)

  /** No grant of this machine may be under way while its claim is taken apart. */
  const stopGranting = Effect.fnUntraced(function* (uid: string) {
    early.delete(uid)
    yield* dispatch({ _tag: "Withdrawn", uid })
    const fiber = granting.get(uid)
    granting.delete(uid)
    if (fiber !== undefined) yield* Fiber.interrupt(fiber)
    yield* dispatch({ _tag: "Cancelled", uid })
  })

  const apart = (
    claimant: ClaimWrites.Claimant,
    claim: Claim | undefined,
    write: Effect.Effect<
      { readonly host: PooledRemoteMachine | undefined; readonly machine: RemoteMachine | undefined },
      KubeError
    >
  ) =>
    Effect.gen(function* () {
      const hostKey = claim === undefined ? undefined : `${claimant.namespace}/${claim.host}`
      yield* open.await
      yield* stopGranting(claimant.uid)
      if (hostKey !== undefined) releasing.add(hostKey)
      const done = yield* Effect.ensuring(
        inFlight.withPermit(write),
        Effect.sync(() => hostKey !== undefined && releasing.delete(hostKey))
      )
      // The machine first: while it still names the host, nobody else may be given it.
      if (done.machine !== undefined) yield* machineSeen(done.machine)
      if (done.host !== undefined) yield* hostSeen(done.host)
    })

  return PoolAllocator.of({
    claim,
    release: (claimant, claim, how) => apart(claimant, claim, writes.release(claimant, claim, how)),
    quarantine: (claimant, claim, reason) => apart(claimant, claim, writes.quarantine(claimant, claim, reason)),
    hasAnother: (claimant) => Effect.sync(() => Pool.hasAnother(state, claimant)),
    tenantHere: ({ uid }, claimId) => Effect.sync(() => Pool.tenantHere(state, uid, claimId)),
    hostSeen,
    hostGone,
    machineSeen,
    machineGone,
    synced: askEarly.pipe(Effect.andThen(open.open), Effect.andThen(status.lookAtAll(() => hosts.keys()))),
    idle: Effect.sync(() =>
      [...hosts.values()].filter((host) => isIdle(Option.getOrUndefined(HashMap.get(state.hosts, keyOf(host)))))
    ),
    probed: (host, verdict) =>
      Effect.gen(function* () {
        const now = hosts.get(keyOf(host))
        // It may have been claimed, or replaced, while it was looked at.
        if (now === undefined || now.metadata.uid !== host.metadata.uid || claimOf(now) !== undefined) return
        verdicts.put(host, verdict, yield* Clock.currentTimeMillis)
        yield* hostSeen(now)
      }),
    proven: (host, claim) => status.proven(keyOf(host), claim),
    state: Effect.sync(() => state)
  })
})
