/**
 * Owns who waits for a host in this process, and that each hears why: in the background, since an actor with a full mailbox
 * must not hold up the others, and only the latest word once it has room. Does not own why (domain/PoolChoice.ts).
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Waiting } from "../domain/Machine.ts"

export type Told = (waiting: Waiting) => Effect.Effect<void>

interface Waiter<A> {
  readonly told: Told
  readonly answer: Deferred.Deferred<A>
  lastMessage: string
  /** What it has not heard yet. */
  news: Waiting | undefined
  isTold: boolean
}

export interface Waiters<A> {
  /** Until it is answered; an interruption takes it back. One that asks anew takes the place of itself. */
  readonly wait: (uid: string, told: Told) => { readonly answer: Effect.Effect<A>; readonly leave: () => void }
  /** Once for each new message. */
  readonly tell: (uid: string, why: { readonly reason: string; readonly message: string }) => Effect.Effect<void>
  readonly answer: (uid: string, answer: A) => Effect.Effect<void>
}

export const make = <A>(): Effect.Effect<Waiters<A>, never, Scope.Scope> =>
  Effect.map(Effect.scope, (scope) => {
    const waiters = new Map<string, Waiter<A>>()

    const hear = (waiter: Waiter<A>): Effect.Effect<void> =>
      Effect.suspend(() => {
        const { news } = waiter
        waiter.news = undefined
        waiter.isTold = news !== undefined
        return news === undefined ? Effect.void : Effect.andThen(waiter.told(news), hear(waiter))
      })

    return {
      wait: (uid, told) => {
        const waiter: Waiter<A> = {
          told,
          answer: Deferred.makeUnsafe(),
          lastMessage: "",
          news: undefined,
          isTold: false
        }
        waiters.set(uid, waiter)
        return {
          answer: Deferred.await(waiter.answer),
          leave: () => {
            if (waiters.get(uid) === waiter) waiters.delete(uid)
          }
        }
      },
      tell: (uid, why) =>
        Effect.suspend(() => {
          const waiter = waiters.get(uid)
          if (waiter === undefined || waiter.lastMessage === why.message) return Effect.void
          waiter.lastMessage = why.message
          waiter.news = { on: "Host", ...why }
          if (waiter.isTold) return Effect.void
          waiter.isTold = true
          return Effect.asVoid(Effect.forkIn(hear(waiter), scope))
        }),
      answer: (uid, answer) =>
        Effect.suspend(() => {
          const waiter = waiters.get(uid)
          return waiter === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(waiter.answer, answer))
        })
    }
  })
