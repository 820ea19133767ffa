/**
 * Owns the one loop of the product (DESIGN, "One machine, one loop"): take an event, decide, persist, then act.
 * Deciding is the definition's pure functions; the world is handed in. Knows no kind, no kube, no SSH; does not
 * restart itself (Supervisor does) and does not choose who lives (Registry does).
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Mailbox } from "./Mailbox.ts"

export interface Definition<State, Event, Activity, Notice> {
  /** Pure. Returning the same reference means: nothing changed. */
  readonly transition: (state: State, event: Event) => readonly [State, ReadonlyArray<Notice>]
  /** Pure: the durable work that this state wants done; a changed one replaces the one that runs. */
  readonly activity: (state: State) => Activity | undefined
  readonly isFinal: (state: State) => boolean
}

export interface World<State, Event, Activity, Notice, E, R> {
  /** Returns when `next` is durable; a failure ends this life, and recovery reads the world again. */
  readonly commit: (next: State, previous: State) => Effect.Effect<void, E, R>
  /** Reports facts through `post`; idempotent and re-enterable. Its failure ends this life too. */
  readonly perform: (activity: Activity, post: (event: Event) => Effect.Effect<void>) => Effect.Effect<void, E, R>
  /** May be lost. */
  readonly notify: (notice: Notice) => Effect.Effect<void, never, R>
  /** Told of every state that was entered; for inspection and stories. */
  readonly entered?: (state: State) => void
}

/**
 * One life of an actor, from `initial` to a final state. The initial state is committed too: recovery may have
 * decided something (a higher fence, an activity to go on with) that has to be durable before it is acted on.
 */
export const live = <State, Event, Activity, Notice, E, R>(
  definition: Definition<State, Event, Activity, Notice>,
  world: World<State, Event, Activity, Notice, E, R>,
  mailbox: Mailbox<Event>,
  recovered: { readonly initial: State; readonly previous: State }
): Effect.Effect<void, E, R> =>
  Effect.scoped(
    Effect.gen(function* () {
      const broken = yield* Deferred.make<never, E>()
      const enter = yield* activitySlot(world, mailbox, broken)
      const loop = Effect.gen(function* () {
        let state = recovered.initial
        yield* world.commit(state, recovered.previous)
        world.entered?.(state)
        yield* enter(definition.activity(state))
        while (!definition.isFinal(state)) {
          const event = yield* mailbox.take
          const [next, notices] = definition.transition(state, event)
          if (next !== state) {
            yield* world.commit(next, state)
            state = next
            world.entered?.(state)
            yield* enter(definition.activity(state))
          }
          yield* Effect.forEach(notices, world.notify, { discard: true })
        }
      })
      yield* Effect.raceFirst(loop, Deferred.await(broken))
    })
  )

/** The one activity that runs: an equal one is left alone, another one waits until its predecessor has ended. */
const activitySlot = <State, Event, Activity, Notice, E, R>(
  world: World<State, Event, Activity, Notice, E, R>,
  mailbox: Mailbox<Event>,
  broken: Deferred.Deferred<never, E>
): Effect.Effect<(next: Activity | undefined) => Effect.Effect<void, never, R>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    let running:
      | { readonly activity: Activity; readonly fiber: Fiber.Fiber<void, E>; readonly slot: { replaced: boolean } }
      | undefined
    return Effect.fnUntraced(function* (next: Activity | undefined) {
      if (running !== undefined && next !== undefined && Equal.equals(running.activity, next)) return
      if (running !== undefined) {
        running.slot.replaced = true
        yield* Fiber.interrupt(running.fiber)
        running = undefined
      }
      if (next === undefined) return
      const slot = { replaced: false }
      const fiber = yield* world.perform(next, mailbox.post).pipe(
        // An activity's failure or defect must not vanish with its fiber: it ends this life. Being replaced doesn't.
        Effect.onError((cause) => (slot.replaced ? Effect.void : Deferred.failCause(broken, cause))),
        Effect.forkIn(scope)
      )
      running = { activity: next, fiber, slot }
    })
  })
