/**
 * Owns how much the queues of a process may hold, and who is told how much they do: each says so whenever something
 * comes. In the provider nobody listens; a simulation counts (simulation/Usage.ts), and has queues made too large on
 * purpose, to see that it is noticed. Knows no kind, no kube, no SSH.
 */
import * as Context from "effect/Context"

export interface Backlog {
  /** How many a queue that is made to hold `meant` holds. */
  readonly capacity: (meant: number) => number
  /** `waiting`: what is queued, and what is held back until there is room. */
  readonly told: (queue: string, waiting: number) => void
}

export const Backlog = Context.Reference<Backlog>("machinist/runtime/Backlog", {
  defaultValue: () => ({ capacity: (meant) => meant, told: () => {} })
})
