/**
 * Owns who lives: at most one supervised actor a key, started by the first observation of it, gone when its life ends.
 * Knows no kind, no kube, no SSH.
 */
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import type * as Scope from "effect/Scope"
import * as Mailbox from "./Mailbox.ts"

export interface Registry<Key, Event> {
  /** Hands the latest observation to the key's actor, starting it if it does not live. */
  readonly observe: (key: Key, event: Event) => Effect.Effect<void>
  /** The same, but starts nothing: for news of an object that is gone. */
  readonly tell: (key: Key, event: Event) => Effect.Effect<void>
  readonly keys: Effect.Effect<ReadonlyArray<Key>>
}

/** `life` is supervised by the caller (Supervisor): a fiber that fails here would vanish without a trace. */
export const make = <Key, Event, R>(
  life: (key: Key, mailbox: Mailbox.Mailbox<Event>) => Effect.Effect<void, never, R>
): Effect.Effect<Registry<Key, Event>, never, Scope.Scope | R> =>
  Effect.gen(function* () {
    const fibers = yield* FiberMap.make<Key, void, never>()
    const context = yield* Effect.context<R>()
    const mailboxes = new Map<Key, Mailbox.Mailbox<Event>>()

    const start = (key: Key, mailbox: Mailbox.Mailbox<Event>) =>
      FiberMap.run(
        fibers,
        key,
        life(key, mailbox).pipe(
          Effect.provideContext(context),
          Effect.ensuring(
            Effect.sync(() => {
              if (mailboxes.get(key) === mailbox) mailboxes.delete(key)
            })
          )
        )
      )

    const observe = Effect.fnUntraced(function* (key: Key, event: Event) {
      const living = mailboxes.get(key)
      if (living !== undefined) return living.observe(event)
      const mailbox = yield* Mailbox.make<Event>()
      mailboxes.set(key, mailbox)
      mailbox.observe(event)
      yield* start(key, mailbox)
    })

    return {
      observe: (key, event) => Effect.uninterruptible(observe(key, event)),
      tell: (key, event) => Effect.sync(() => mailboxes.get(key)?.observe(event)),
      keys: Effect.sync(() => [...mailboxes.keys()])
    }
  })
