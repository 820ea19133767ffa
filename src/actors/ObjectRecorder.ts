/**
 * Owns how one actor writes its own object, whatever its kind: durable facts (metadata, spec), written before the state
 * is acted on; and status, which follows coalesced and may lag. On a conflict the object is read again; facts that
 * someone else changed end this life, and recovery decides anew. What is written is the caller's (`Recording`).
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Semaphore from "effect/Semaphore"
import type { Kind, KubeObject } from "../api/Kind.ts"
import type { Condition } from "../api/Meta.ts"
import { API_BACKOFF, backoffMillis } from "../domain/Backoff.ts"
import { type ConditionInput, sameConditions, setConditions } from "../domain/Conditions.ts"
import { rfc3339 } from "../domain/Rfc3339.ts"
import type { JsonObject, KubeClientShape, ObjectRef } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import { keyOf } from "./Objects.ts"
import { ProgressPace } from "./ProgressPace.ts"

/** How often a write reads again after a conflict until this life ends. */
export const CONFLICT_RETRIES = 5

/** Someone else changed what this life had decided on: read the world again. */
export class ObjectChanged extends Data.TaggedError("ObjectChanged")<{ readonly object: string }> {}

export interface Recording<A extends KubeObject, State> {
  readonly kind: Kind<A>
  readonly isFinal: (state: State) => boolean
  /** The metadata and spec patch that makes the state true of the object; undefined when it is already. */
  readonly durablePatch: (object: A, state: State) => JsonObject | undefined
  /** `{status: …}`, or undefined when it already shows the state. `now` is RFC 3339. */
  readonly statusPatch: (object: A, state: State, now: string) => JsonObject | undefined
  /** Whether the state's status may wait for the next coalesced write. */
  readonly isProgress: (before: State | undefined, after: State) => boolean
  /** Whether what the state was decided on still stands. */
  readonly sameFacts: (before: A, after: A) => boolean
  /** Whether the object, as it is seen now, rules out what the state was decided on. Absent: it never does. */
  readonly contradicts?: (object: A, state: State) => boolean
}

export interface ObjectRecorder<A extends KubeObject, State> {
  /** The object as it was last seen or written. */
  readonly current: () => A
  /** A sighting by the caches; older ones than the last write are passed over. */
  readonly seen: (object: A) => void
  readonly commit: (next: State, previous: State) => Effect.Effect<void, KubeError | ObjectChanged>
}

/**
 * The patch of a status whose conditions and own fields are to be these; `fields` are those that differ already. None
 * when nothing would change.
 */
export const statusChange = (
  object: KubeObject & { readonly status?: { readonly conditions?: ReadonlyArray<Condition> } },
  wanted: ReadonlyArray<ConditionInput>,
  fields: JsonObject,
  now: string
): JsonObject | undefined => {
  const { generation } = object.metadata
  const observed = generation === undefined ? {} : { observedGeneration: generation }
  const before = object.status?.conditions
  const conditions = setConditions(
    before,
    wanted.map((one) => ({ ...one, ...observed })),
    now
  )
  if (sameConditions(before, conditions) && Object.keys(fields).length === 0) return undefined
  return { status: { ...fields, ...observed, conditions: conditions.map((one) => ({ ...one })) } }
}

/** Where only whether there is a difference counts, not when it was made. */
const EPOCH = rfc3339(0)

export const make = Effect.fnUntraced(function* <A extends KubeObject, State>(
  kube: KubeClientShape,
  first: A,
  recording: Recording<A, State>
) {
  const { kind } = recording
  const pace = yield* ProgressPace
  let object = first
  let wanted: State | undefined
  const ref: ObjectRef = { namespace: first.metadata.namespace ?? "", name: first.metadata.name }
  /** Our own two writers must not make each other lose. */
  const one = yield* Semaphore.make(1)
  const wake = yield* Queue.sliding<"now" | "soon">(1)
  /** "soon" never takes the place of a "now" that is still waiting. */
  const show = (when: "now" | "soon"): void => {
    if (when === "now" || Queue.sizeUnsafe(wake) === 0) Queue.offerUnsafe(wake, when)
  }

  const take = (newer: A): void => {
    if (newer.metadata.uid !== object.metadata.uid) return
    if (Number(newer.metadata.resourceVersion ?? 0) >= Number(object.metadata.resourceVersion ?? 0)) object = newer
  }

  const seen = (newer: A): void => {
    take(newer)
    // Level-triggered: a status that someone else emptied or edited, or of an older generation, is written again.
    if (wanted !== undefined && recording.statusPatch(object, wanted, EPOCH) !== undefined) show("soon")
  }

  const writeDurable = (state: State, left: number): Effect.Effect<void, KubeError | ObjectChanged> =>
    Effect.suspend(() => {
      // The caches may have shown it without a conflict, between the event and this write.
      if (recording.contradicts?.(object, state) === true)
        return Effect.fail(new ObjectChanged({ object: keyOf(object) }))
      const patch = recording.durablePatch(object, state)
      if (patch === undefined) return Effect.void
      const { uid, resourceVersion } = object.metadata
      return kube.patch(kind, ref, patch, { uid, resourceVersion }).pipe(
        Effect.map(take),
        Effect.catchIf(
          (error) => error.reason === "Conflict" && left > 0,
          () => Effect.andThen(readAgain, writeDurable(state, left - 1))
        ),
        // What is gone needs no facts any more.
        Effect.catchIf(
          (error) => error._tag === "KubeError" && error.reason === "NotFound" && recording.isFinal(state),
          () => Effect.void
        )
      )
    })

  const readAgain: Effect.Effect<void, KubeError | ObjectChanged> = Effect.suspend(() => {
    const before = object
    return Effect.flatMap(kube.get(kind, ref), (fresh) => {
      if (fresh.metadata.uid !== before.metadata.uid || !recording.sameFacts(before, fresh))
        return Effect.fail(new ObjectChanged({ object: keyOf(before) }))
      take(fresh)
      return Effect.void
    })
  })

  const writeStatus = Effect.gen(function* () {
    const state = wanted
    if (state === undefined || recording.isFinal(state)) return
    const patch = recording.statusPatch(object, state, rfc3339(yield* Clock.currentTimeMillis))
    if (patch === undefined) return
    take(yield* kube.patch(kind, ref, patch, { subresource: "status", uid: object.metadata.uid }))
  })

  /** Shows the latest state; what lies between two writes is never shown. */
  const showing = Effect.gen(function* () {
    let failures = 0
    while (true) {
      const when = yield* Queue.take(wake)
      // Anything that must be shown at once cuts the wait short.
      if (when === "soon") yield* Effect.raceFirst(Effect.flatMap(pace, Effect.sleep), urgent)
      const exit = yield* Effect.exit(one.withPermit(writeStatus))
      failures = exit._tag === "Success" ? 0 : failures + 1
      if (exit._tag === "Failure") {
        yield* Effect.logDebug("status not written", { object: keyOf(object), cause: exit.cause })
        yield* Effect.sleep(backoffMillis(API_BACKOFF, failures, yield* Random.next))
        show("now")
      }
    }
  })

  const urgent: Effect.Effect<void> = Effect.flatMap(Queue.take(wake), (when) =>
    when === "now" ? Effect.void : urgent
  )

  yield* Effect.forkScoped(showing)

  return {
    current: () => object,
    seen,
    commit: (next, previous) =>
      Effect.gen(function* () {
        yield* one.withPermit(writeDurable(next, CONFLICT_RETRIES))
        if (recording.isFinal(next)) return
        const before = wanted === undefined ? undefined : previous
        wanted = next
        show(recording.isProgress(before, next) ? "soon" : "now")
      })
  } satisfies ObjectRecorder<A, State>
})
