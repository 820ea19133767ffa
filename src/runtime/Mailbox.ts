/**
 * Owns how an actor is spoken to: facts queue up in order and bounded; observations of the world only ever matter in
 * their latest form, so a newer one replaces an older one that was not yet taken. Knows no kind, no kube, no SSH.
 */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { Backlog } from "./Backlog.ts"

/** Facts waiting in one mailbox. An activity that reports faster than its actor decides is held back. */
export const MAILBOX_CAPACITY = 64
/** What mailboxes are called where their backlog is told. */
export const MAILBOX = "mailbox"

export interface Mailbox<Event> {
  /** Queues a fact; waits while the mailbox is full. */
  readonly post: (event: Event) => Effect.Effect<void>
  /** Puts the latest observation, never waits. */
  readonly observe: (event: Event) => void
  /** The latest observation if there is a new one, else the next fact. */
  readonly take: Effect.Effect<Event>
  /** Facts of a life that ended (a crashed actor's activities) mean nothing to the next one. */
  readonly clear: Effect.Effect<void>
}

/** For an actor that takes what `translate` makes of what was put in: news of its object, say, as an observation. */
export const translated = <Item, Event>(
  mailbox: Mailbox<Item | Event>,
  translate: (item: Item | Event) => Effect.Effect<Event>
): Mailbox<Event> => ({ ...mailbox, take: Effect.flatMap(mailbox.take, translate) })

const WAKE = Symbol("wake")

export const make = <Event>(): Effect.Effect<Mailbox<Event>> =>
  Effect.gen(function* () {
    const { capacity, told } = yield* Backlog
    const queue = yield* Queue.bounded<Event | typeof WAKE>(capacity(MAILBOX_CAPACITY))
    let posting = 0
    let latest: { readonly event: Event } | undefined
    const take: Effect.Effect<Event> = Effect.suspend(() => {
      if (latest !== undefined) {
        const { event } = latest
        latest = undefined
        return Effect.succeed(event)
      }
      return Effect.flatMap(Queue.take(queue), (item) => (item === WAKE ? take : Effect.succeed(item)))
    })
    return {
      post: (event) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            posting += 1
            told(MAILBOX, Queue.sizeUnsafe(queue) + posting)
          }),
          () => Effect.asVoid(Queue.offer(queue, event)),
          () =>
            Effect.sync(() => {
              posting -= 1
            })
        ),
      observe: (event) => {
        const pending = latest !== undefined
        latest = { event }
        // A full queue needs no waking: its reader looks at `latest` before every take.
        if (!pending) Queue.offerUnsafe(queue, WAKE)
      },
      take,
      clear: Effect.asVoid(Queue.clear(queue))
    }
  })
