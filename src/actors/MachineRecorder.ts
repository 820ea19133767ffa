/**
 * Owns what one RemoteMachine's actor writes on its own object: durable facts, which are written before the state is
 * acted on; and status, which follows coalesced and may lag. Both are computed from the state (domain/MachineStatus).
 * On a conflict the object is read again; facts that someone else changed end this life, and recovery decides anew.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Semaphore from "effect/Semaphore"
import * as Names from "../api/Names.ts"
import { HOST_DEFAULTS, type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import { API_BACKOFF, backoffMillis } from "../domain/Backoff.ts"
import { encodeRun } from "../domain/Claim.ts"
import { sameConditions, setConditions } from "../domain/Conditions.ts"
import type { State } from "../domain/Machine.ts"
import { type Durable, durable, isProgress, type Place, status } from "../domain/MachineStatus.ts"
import type { JsonObject, KubeClientShape, ObjectRef } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import { annotation, claimOf, keyOf } from "./Objects.ts"

/** Two status writes of one machine that only show progress are at least this far apart, milliseconds. */
export const PROGRESS_INTERVAL_MILLIS = 1_000
/** How often a write reads again after a conflict until this life ends. */
export const CONFLICT_RETRIES = 5

/** Someone else changed what this life had decided on: read the world again. */
export class FactsChanged extends Data.TaggedError("FactsChanged")<{ readonly machine: string }> {}

export interface MachineRecorder {
  /** The object as it was last seen or written. */
  readonly current: () => RemoteMachine
  readonly seen: (machine: RemoteMachine) => void
  readonly commit: (next: State, previous: State) => Effect.Effect<void, KubeError | FactsChanged>
}

export const placeOf = (machine: RemoteMachine): Place | undefined =>
  machine.spec.address === undefined
    ? undefined
    : { address: machine.spec.address, port: machine.spec.port ?? HOST_DEFAULTS.port }

/** The metadata and spec patch that makes `wanted` true of `machine`; undefined when it is already. */
export const durablePatch = (machine: RemoteMachine, wanted: Durable): JsonObject | undefined => {
  const run = wanted.run === undefined ? undefined : encodeRun(wanted.run)
  const annotations: Record<string, string | null> = {}
  if (run !== undefined && annotation(machine, Names.RUN_ANNOTATION) !== run) annotations[Names.RUN_ANNOTATION] = run
  const blocked = annotation(machine, Names.BLOCK_MOVE_ANNOTATION) !== undefined
  if (wanted.blockMove !== blocked) annotations[Names.BLOCK_MOVE_ANNOTATION] = wanted.blockMove ? "" : null
  const providerID =
    wanted.providerID === undefined || machine.spec.providerID === wanted.providerID ? undefined : wanted.providerID
  const changes = Object.keys(annotations).length > 0
  if (!changes && providerID === undefined) return undefined
  return {
    ...(changes ? { metadata: { annotations } } : {}),
    // A providerID that is there stays: it is immutable, and may be older than we are.
    ...(providerID === undefined || machine.spec.providerID !== undefined ? {} : { spec: { providerID } })
  }
}

export const statusPatch = (machine: RemoteMachine, state: State, now: string): JsonObject | undefined => {
  const wanted = status(state, placeOf(machine))
  const before = machine.status
  const generation = machine.metadata.generation
  const observed = generation === undefined ? {} : { observedGeneration: generation }
  const conditions = setConditions(
    before?.conditions,
    wanted.conditions.map((one) => ({ ...one, ...observed })),
    now
  )
  const place = placeOf(machine)
  const becomesReady = wanted.ready === true && before?.ready !== true && place !== undefined
  const paused = state.halted !== undefined
  const changes: Record<string, JsonObject[string]> = {}
  // While paused nothing is written but the condition that says so (DESIGN, "Paused").
  if (!paused) {
    if (before?.phase !== wanted.phase) changes["phase"] = wanted.phase
    if (wanted.host !== undefined && before?.host !== wanted.host) changes["host"] = wanted.host
    if (wanted.bootstrap !== undefined && !sameProgress(before?.bootstrap, wanted.bootstrap))
      changes["bootstrap"] = wanted.bootstrap
    if (becomesReady) {
      changes["ready"] = true
      changes["initialization"] = { provisioned: true }
      changes["addresses"] = [{ type: "ExternalIP", address: place.address }]
    }
  }
  const same = sameConditions(before?.conditions, conditions)
  if (same && Object.keys(changes).length === 0) return undefined
  return { status: { ...changes, ...observed, conditions: conditions.map((one) => ({ ...one })) } }
}

const sameProgress = (
  before: { readonly progress?: string | undefined; readonly attempt?: number | undefined } | undefined,
  after: { readonly progress: string; readonly attempt: number }
): boolean => before?.progress === after.progress && before.attempt === after.attempt

export const make = Effect.fnUntraced(function* (kube: KubeClientShape, first: RemoteMachine) {
  let object = first
  let wanted: State | undefined
  const ref: ObjectRef = { namespace: first.metadata.namespace ?? "", name: first.metadata.name }
  /** Our own two writers must not make each other lose. */
  const one = yield* Semaphore.make(1)
  const wake = yield* Queue.sliding<"now" | "soon">(1)

  const seen = (machine: RemoteMachine): void => {
    if (machine.metadata.uid !== object.metadata.uid) return
    if (Number(machine.metadata.resourceVersion ?? 0) >= Number(object.metadata.resourceVersion ?? 0)) object = machine
  }

  const writeDurable = (facts: Durable, left: number): Effect.Effect<void, KubeError | FactsChanged> =>
    Effect.suspend(() => {
      const patch = durablePatch(object, facts)
      if (patch === undefined) return Effect.void
      const { uid, resourceVersion } = object.metadata
      return kube.patch(RemoteMachines, ref, patch, { uid, resourceVersion }).pipe(
        Effect.map(seen),
        Effect.catchIf(
          (error) => error.reason === "Conflict" && left > 0,
          () => Effect.andThen(readAgain, writeDurable(facts, left - 1))
        )
      )
    })

  const readAgain: Effect.Effect<void, KubeError | FactsChanged> = Effect.suspend(() => {
    const before = object
    return Effect.flatMap(kube.get(RemoteMachines, ref), (fresh) => {
      const changed =
        fresh.metadata.uid !== before.metadata.uid ||
        claimOf(fresh)?.id !== claimOf(before)?.id ||
        annotation(fresh, Names.RUN_ANNOTATION) !== annotation(before, Names.RUN_ANNOTATION) ||
        fresh.spec.providerID !== before.spec.providerID
      if (changed) return Effect.fail(new FactsChanged({ machine: keyOf(before) }))
      seen(fresh)
      return Effect.void
    })
  })

  const writeStatus = Effect.gen(function* () {
    const state = wanted
    if (state === undefined || state.phase._tag === "Deleted") return
    const now = DateTime.formatIso(DateTime.makeUnsafe(yield* Clock.currentTimeMillis))
    const patch = statusPatch(object, state, now)
    if (patch === undefined) return
    seen(yield* kube.patch(RemoteMachines, ref, patch, { subresource: "status", uid: object.metadata.uid }))
  })

  /** Shows the latest state; what lies between two writes is never shown. */
  const showing = Effect.gen(function* () {
    let failures = 0
    while (true) {
      const when = yield* Queue.take(wake)
      if (when === "soon") {
        // Anything that must be shown at once cuts the wait short.
        yield* Effect.raceFirst(Effect.sleep(PROGRESS_INTERVAL_MILLIS), urgent)
      }
      const exit = yield* Effect.exit(one.withPermit(writeStatus))
      failures = exit._tag === "Success" ? 0 : failures + 1
      if (exit._tag === "Failure") {
        yield* Effect.logDebug("status not written", { machine: keyOf(object), cause: exit.cause })
        yield* Effect.sleep(backoffMillis(API_BACKOFF, failures, yield* Random.next))
        yield* Queue.offer(wake, "now")
      }
    }
  })

  const urgent: Effect.Effect<void> = Effect.flatMap(Queue.take(wake), (when) =>
    when === "now" ? Effect.void : urgent
  )

  yield* Effect.forkScoped(showing)

  const commit: MachineRecorder["commit"] = (next, previous) =>
    Effect.gen(function* () {
      if (next.phase._tag === "Deleted") return
      yield* one.withPermit(writeDurable(durable(next, placeOf(object)), CONFLICT_RETRIES))
      const before = wanted === undefined ? undefined : previous
      wanted = next
      yield* Queue.offer(wake, isProgress(before, next) ? "soon" : "now")
    })

  return { current: () => object, seen, commit } satisfies MachineRecorder
})
