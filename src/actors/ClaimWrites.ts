/**
 * Owns the writes that make a claim durable, and those that undo it: intent, claim, populate; release; quarantine
 * (DESIGN, "Claims"). Every one is idempotent, carries uid and resourceVersion as preconditions, and reads again on a
 * conflict. Which host goes to whom is domain/Pool.ts's; when, PoolAllocator.ts's.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Names from "../api/Names.ts"
import { type PooledRemoteMachine, PooledRemoteMachines } from "../api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import { type Claim, encodeClaim } from "../domain/Claim.ts"
import type { Leaving } from "../domain/Machine.ts"
import type { JsonObject, KubeClientShape, ObjectRef } from "../kube/KubeClient.ts"
import { absent, KubeError } from "../kube/KubeError.ts"
import { labelOwner } from "./HostLabels.ts"
import { pinsOn } from "./HostPins.ts"
import { annotation, claimOf, runOf, withFinalizer, withoutFinalizer } from "./Objects.ts"
import { conditionsWhen, statusSetAside } from "./PoolVerdicts.ts"
import { population, unpopulated } from "./Population.ts"
import { readThenWrite } from "./ReadThenWrite.ts"

/** A claim that has to be undone is tried so often, the first time after so many milliseconds, then twice as long. */
export const UNDO_RETRIES = 8
export const UNDO_FIRST_MILLIS = 200

/** Why a claim could not be made; `host` is what was read last, so that the next choice knows better. */
export class ClaimLost extends Data.TaggedError("ClaimLost")<{
  readonly why: "machine-leaves" | "machine-claimed" | "host-taken"
  readonly host?: PooledRemoteMachine
  readonly machine?: RemoteMachine
}> {}

export interface Claimant {
  readonly namespace: string
  readonly name: string
  readonly uid: string
}

/** Cached objects save a read when they are current; `replaces`: id of the claim that may be written over. */
interface Known {
  readonly machine?: RemoteMachine | undefined
  readonly host?: PooledRemoteMachine | undefined
  readonly replaces?: string | undefined
}

export interface Release {
  readonly leaving: Exclude<Leaving, "no">
  /** A run record with a greater one: another leader has touched the host. */
  readonly fence: number
}

const isTouchedSince = (machine: RemoteMachine, fence: number): boolean => (runOf(machine)?.fence ?? 0) > fence

/** Read again, and begin anew. */
const changedMeanwhile = ({ namespace }: Claimant, { host }: Claim): KubeError =>
  new KubeError({
    reason: "Conflict",
    verb: "patch",
    kind: "PooledRemoteMachine",
    namespace,
    name: host,
    message: `PooledRemoteMachine ${namespace}/${host} was changed while it was freed`
  })

/** Nothing is released; the machine's actor reads the world again. */
const overtaken = ({ namespace, name }: Claimant): KubeError =>
  new KubeError({
    reason: "Conflict",
    verb: "patch",
    kind: "RemoteMachine",
    namespace,
    name,
    message: `Another leader has begun to use the host of RemoteMachine ${namespace}/${name}; it is not given back`
  })

/** What a cache shows is proven by the write that follows; where it shows the claim already, nothing is written. */
const toBeWritten = <A extends RemoteMachine | PooledRemoteMachine>(known: A | undefined, claim: Claim) =>
  known !== undefined && claimOf(known)?.id === claim.id ? undefined : known

const hostRef = (claimant: Claimant, claim: Claim): ObjectRef => ({ namespace: claimant.namespace, name: claim.host })

const isNotFound = (error: KubeError): boolean => error.reason === "NotFound"

/** Annotations that pin a host's key. */
type Pinned = { readonly [name: string]: string }

export const make = (kube: KubeClientShape) => {
  const machineRef = (claimant: Claimant): ObjectRef => ({ namespace: claimant.namespace, name: claimant.name })
  const preconditions = (object: RemoteMachine | PooledRemoteMachine) => ({
    resourceVersion: object.metadata.resourceVersion,
    uid: object.metadata.uid
  })
  const readMachine = (claimant: Claimant) => kube.get(RemoteMachines, machineRef(claimant))
  const leaves = (machine: RemoteMachine, claimant: Claimant): boolean =>
    machine.metadata.uid !== claimant.uid || machine.metadata.deletionTimestamp !== undefined

  // ------------------------------------------------------------------------------------------------ claim

  /** 1. With the finalizer in the same write: whatever follows, the object can't vanish without a release. */
  const intent = (claimant: Claimant, claim: Claim, { machine: known, replaces }: Known) =>
    readThenWrite(readMachine(claimant), toBeWritten(known, claim), (machine) => {
      if (leaves(machine, claimant)) return Effect.fail(new ClaimLost({ why: "machine-leaves" }))
      const carried = claimOf(machine)
      // Another leader was faster: its claim is completed, never written over; least of all when its host was touched
      // since (a leader that was held for longer than its lease chooses by an old copy).
      const touched = runOf(machine)?.touched === true
      if (carried !== undefined && carried.id !== claim.id && (carried.id !== replaces || touched))
        return Effect.fail(new ClaimLost({ why: "machine-claimed", machine }))
      const text = encodeClaim(claim)
      const finalizers = withFinalizer(machine, Names.REMOTE_MACHINE_FINALIZER)
      if (
        machine.metadata.annotations?.[Names.CLAIM_ANNOTATION] === text &&
        finalizers.length === machine.metadata.finalizers?.length
      )
        return Effect.succeed(machine)
      const metadata = { annotations: { [Names.CLAIM_ANNOTATION]: text }, finalizers }
      return kube.patch(
        RemoteMachines,
        machineRef(claimant),
        // Of a host that was given up on before its address was taken out again.
        carried !== undefined && carried.host !== claim.host && machine.spec.address !== undefined
          ? unpopulated(machine, metadata)
          : { metadata },
        preconditions(machine)
      )
    })

  /** It lost the race for the host: nobody must be kept waiting for a host that this machine will not get. */
  const clearIntent = (claimant: Claimant, claim: Claim) =>
    readThenWrite(absent(readMachine(claimant)), undefined, (machine) =>
      machine === undefined || machine.metadata.uid !== claimant.uid || claimOf(machine)?.id !== claim.id
        ? Effect.succeed(machine)
        : kube.patch(
            RemoteMachines,
            machineRef(claimant),
            { metadata: { annotations: { [Names.CLAIM_ANNOTATION]: null } } },
            preconditions(machine)
          )
    )

  /** 2. The one write that can lose a race. */
  const hold = (claimant: Claimant, claim: Claim, known: PooledRemoteMachine | undefined) =>
    readThenWrite(
      absent(kube.get(PooledRemoteMachines, hostRef(claimant, claim))),
      toBeWritten(known, claim),
      (host): Effect.Effect<PooledRemoteMachine, KubeError | ClaimLost> => {
        if (host === undefined) return Effect.fail(new ClaimLost({ why: "host-taken" }))
        const held = claimOf(host)
        if (held?.id === claim.id && held.quarantined === undefined) return Effect.succeed(host)
        const text = host.metadata.annotations?.[Names.CLAIM_ANNOTATION]
        if (text !== undefined || host.metadata.deletionTimestamp !== undefined)
          return Effect.fail(new ClaimLost({ why: "host-taken", host }))
        return kube.patch(
          PooledRemoteMachines,
          hostRef(claimant, claim),
          {
            metadata: {
              annotations: { [Names.CLAIM_ANNOTATION]: encodeClaim(claim) },
              finalizers: withFinalizer(host, Names.REMOTE_MACHINE_FINALIZER)
            }
          },
          preconditions(host)
        )
      }
    )

  /** Only as long as the host has the claim: a late write on a freed host would hold it for nobody. */
  const populateHost = (claimant: Claimant, claim: Claim, held: PooledRemoteMachine) =>
    readThenWrite(kube.get(PooledRemoteMachines, hostRef(claimant, claim)), held, (host) => {
      const { reserved, machineRef, phase } = host.status ?? {}
      if (claimOf(host)?.id !== claim.id) return Effect.fail(new ClaimLost({ why: "host-taken", host }))
      if (reserved === true && machineRef?.name === claimant.name && phase === "Reserved") return Effect.succeed(host)
      return Effect.flatMap(Clock.currentTimeMillis, (now) =>
        kube.patch(
          PooledRemoteMachines,
          hostRef(claimant, claim),
          {
            status: {
              reserved: true,
              phase: "Reserved",
              observedGeneration: host.metadata.generation,
              conditions: conditionsWhen("Reserved", host, now),
              machineRef: { name: claimant.name, namespace: claimant.namespace }
            }
          },
          { subresource: "status", ...preconditions(host) }
        )
      )
    })

  /** 3. Refused unless the intent still has this id. */
  const populateMachine = (claimant: Claimant, claim: Claim, host: PooledRemoteMachine, known: RemoteMachine) =>
    readThenWrite(readMachine(claimant), known, (machine) => {
      if (leaves(machine, claimant)) return Effect.fail(new ClaimLost({ why: "machine-leaves", machine }))
      if (claimOf(machine)?.id !== claim.id) return Effect.fail(new ClaimLost({ why: "machine-claimed", machine }))
      const patch = population(machine, host)
      return patch === undefined
        ? Effect.succeed(machine)
        : kube.patch(RemoteMachines, machineRef(claimant), patch, preconditions(machine))
    })

  /** A claim that nobody will use is undone, unless its machine got as far as the host with it: then it is released. */
  const undo = (claimant: Claimant, claim: Claim): Effect.Effect<void> =>
    Effect.gen(function* () {
      const gotFar = Effect.map(absent(readMachine(claimant)), (machine) => {
        const carries = machine?.metadata.uid === claimant.uid && claimOf(machine)?.id === claim.id
        return carries && annotation(machine, Names.RUN_ANNOTATION) !== undefined
      })
      if (yield* gotFar) return
      const unused = Effect.flatMap(gotFar, (far) => (far ? Effect.fail(overtaken(claimant)) : Effect.void))
      yield* freeHost(claimant, claim, {}, unused)
    }).pipe(
      Effect.retry({ schedule: Schedule.exponential(UNDO_FIRST_MILLIS), times: UNDO_RETRIES }),
      Effect.catch((error) => Effect.logWarning("a claim could not be undone", { claim: claim.id, why: error.message }))
    )

  /** The three steps, in order. */
  const claim = Effect.fnUntraced(function* (claimant: Claimant, claim: Claim, known: Known) {
    const intended = yield* intent(claimant, claim, known)
    if (claim.host === "") return { machine: intended, host: undefined }
    const host = yield* hold(claimant, claim, known.host).pipe(
      Effect.flatMap((held) => populateHost(claimant, claim, held)),
      // The machine as it is then goes with the error: a cached intent that is gone must not pass for a written one.
      Effect.catchTag("ClaimLost", (lost) =>
        Effect.flatMap(clearIntent(claimant, claim), (machine) =>
          Effect.fail(machine === undefined ? lost : new ClaimLost({ ...lost, machine }))
        )
      )
    )
    const machine = yield* populateMachine(claimant, claim, host, intended).pipe(
      Effect.tapError((error) =>
        error instanceof ClaimLost || isNotFound(error) ? undo(claimant, claim) : Effect.void
      )
    )
    yield* labelOwner(kube, machine, host)
    return { machine, host }
  })

  // ------------------------------------------------------------------------------------------------ release

  /**
   * Clears status, then the annotation: a host whose status still says reserved is not yet free. `unused` fails when the
   * claim is another leader's business by now; asked before each write, for who was paused in between may be late by minutes.
   */
  const freeHost = (
    claimant: Claimant,
    claim: Claim,
    status: JsonObject,
    unused: Effect.Effect<unknown, KubeError>,
    pins: Pinned = {}
  ) =>
    readThenWrite(absent(kube.get(PooledRemoteMachines, hostRef(claimant, claim))), undefined, (host) =>
      Effect.gen(function* () {
        if (host === undefined || claimOf(host)?.id !== claim.id) return host
        yield* unused
        const conditions = conditionsWhen("Free", host, yield* Clock.currentTimeMillis)
        if (host.status?.reserved === true || Object.keys(status).length > 0)
          yield* kube.patch(
            PooledRemoteMachines,
            hostRef(claimant, claim),
            { status: { reserved: false, machineRef: null, phase: "Free", conditions, ...status } },
            { subresource: "status", uid: host.metadata.uid }
          )
        const fresh = yield* kube.get(PooledRemoteMachines, hostRef(claimant, claim))
        if (claimOf(fresh)?.id !== claim.id) return fresh
        // Another leader showed the claim again meanwhile: freed like this, the host would be nobody's and reserved.
        if (fresh.status?.reserved === true) return yield* changedMeanwhile(claimant, claim)
        yield* unused
        return yield* kube.patch(
          PooledRemoteMachines,
          hostRef(claimant, claim),
          {
            metadata: {
              annotations: { [Names.CLAIM_ANNOTATION]: null, [Names.RELEASE_ANNOTATION]: null, ...pins },
              finalizers: withoutFinalizer(fresh, Names.REMOTE_MACHINE_FINALIZER)
            }
          },
          preconditions(fresh)
        )
      }).pipe(Effect.catchIf(isNotFound, () => Effect.succeed(undefined)))
    )

  /** The machine's side, last: its claim and, when it is being deleted, its finalizer, in one write. */
  const letGo = (claimant: Claimant, claim: Claim | undefined, leaving: Exclude<Leaving, "no">) =>
    readThenWrite(absent(readMachine(claimant)), undefined, (machine) => {
      if (machine === undefined || machine.metadata.uid !== claimant.uid) return Effect.succeed(undefined)
      // Another leader has found another host for it meanwhile.
      if (leaving !== "deleted" && claimOf(machine)?.id !== claim?.id) return Effect.succeed(machine)
      const annotations = {
        [Names.CLAIM_ANNOTATION]: null,
        [Names.RUN_ANNOTATION]: null,
        [Names.BLOCK_MOVE_ANNOTATION]: null
      }
      const patch: JsonObject =
        leaving === "deleted"
          ? { metadata: { annotations, finalizers: withoutFinalizer(machine, Names.REMOTE_MACHINE_FINALIZER) } }
          : unpopulated(machine, { annotations })
      return absent(kube.patch(RemoteMachines, machineRef(claimant), patch, preconditions(machine)))
    })

  const release = Effect.fnUntraced(function* (claimant: Claimant, known: Claim | undefined, how: Release) {
    const { leaving, fence } = how
    const before = yield* untouched(claimant, fence)
    // What was learnt of the host's key goes with the host: its next tenant must not trust whoever answers.
    const pins = before?.metadata.uid === claimant.uid ? pinsOn(before) : {}
    const machine =
      leaving === "deleted" ? yield* absent(readMachine(claimant)) : yield* unpopulate(claimant, known, fence)
    const written = machine?.metadata.uid === claimant.uid ? claimOf(machine) : undefined
    const claim = known ?? written
    // What another leader claimed for a machine that leaves is given back, too.
    if (leaving === "deleted" && written !== undefined && written.id !== claim?.id && written.host !== "")
      yield* freeHost(claimant, written, {}, untouched(claimant, fence))
    const host = claim === undefined || claim.host === "" ? undefined : yield* giveBack(claimant, claim, how, pins)
    return { host, machine: yield* letGo(claimant, claim, leaving) }
  })

  const giveBack = Effect.fnUntraced(function* (
    claimant: Claimant,
    claim: Claim,
    { leaving, fence }: Release,
    pins: Pinned
  ) {
    if (leaving === "deleted") return yield* freeHost(claimant, claim, {}, untouched(claimant, fence), pins)
    const status = yield* setAside(claimant, claim, leaving)
    // Its address was taken away just now: one that is there is another leader's, who completed the intent.
    const unused = Effect.flatMap(untouched(claimant, fence), (machine) =>
      machine !== undefined && claimOf(machine)?.id === claim.id && machine.spec.address !== undefined
        ? Effect.fail(overtaken(claimant))
        : Effect.void
    )
    return yield* freeHost(claimant, claim, status, unused, pins)
  })

  /**
   * Before a host that is set aside is freed: a crash in between leaves an intent without an address, which is completed
   * on this host or another, and never a machine that goes on with a host that isn't its own any more.
   */
  const unpopulate = (claimant: Claimant, claim: Claim | undefined, fence: number) =>
    readThenWrite(absent(readMachine(claimant)), undefined, (machine) => {
      if (machine === undefined || machine.metadata.uid !== claimant.uid) return Effect.succeed(machine)
      if (claimOf(machine)?.id !== claim?.id || machine.spec.address === undefined) return Effect.succeed(machine)
      if (isTouchedSince(machine, fence)) return Effect.fail(overtaken(claimant))
      const written = kube.patch(RemoteMachines, machineRef(claimant), unpopulated(machine), preconditions(machine))
      return absent(Effect.tap(written, (free) => labelOwner(kube, free, undefined)))
    })

  /** Once a machine is being deleted no leader touches a host for it any more: what is not there now never comes. */
  const untouched = (claimant: Claimant, fence: number) =>
    Effect.flatMap(absent(readMachine(claimant)), (machine) =>
      machine?.metadata.uid === claimant.uid && isTouchedSince(machine, fence)
        ? Effect.fail(overtaken(claimant))
        : Effect.succeed(machine)
    )

  /** What its next claimant must know. */
  const setAside = Effect.fnUntraced(function* (
    claimant: Claimant,
    claim: Claim,
    leaving: Exclude<Leaving, "no" | "deleted">
  ) {
    const host = yield* absent(kube.get(PooledRemoteMachines, hostRef(claimant, claim)))
    const now = DateTime.formatIso(DateTime.makeUnsafe(yield* Clock.currentTimeMillis))
    return statusSetAside(leaving, `${claimant.namespace}/${claimant.name}`, host, now)
  })

  /** The host keeps the claim, marked: held, given to nobody, until a person frees it. */
  const quarantine = Effect.fnUntraced(function* (claimant: Claimant, claim: Claim, reason: string) {
    if (claim.host === "") return { host: undefined, machine: yield* letGo(claimant, claim, "deleted") }
    const leaving = yield* absent(readMachine(claimant))
    const pins = leaving?.metadata.uid === claimant.uid ? pinsOn(leaving) : {}
    const host = yield* readThenWrite(
      absent(kube.get(PooledRemoteMachines, hostRef(claimant, claim))),
      undefined,
      (host) =>
        host === undefined || claimOf(host)?.id !== claim.id
          ? Effect.succeed(host)
          : kube.patch(
              PooledRemoteMachines,
              hostRef(claimant, claim),
              {
                metadata: {
                  annotations: { [Names.CLAIM_ANNOTATION]: encodeClaim({ ...claim, quarantined: reason }), ...pins },
                  finalizers: withoutFinalizer(host, Names.REMOTE_MACHINE_FINALIZER)
                }
              },
              preconditions(host)
            )
    )
    return { host, machine: yield* letGo(claimant, claim, "deleted") }
  })

  return { claim, release, quarantine, freeHost }
}

export type ClaimWrites = ReturnType<typeof make>
