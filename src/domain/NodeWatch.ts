/**
 * Owns when the Nodes of a workload cluster are watched: while some Machine of its waits for its Node, with one watch, which
 * is made again with backoff when it breaks. Pure. What is done with the Nodes is Nodes.ts's; the connection the actor's.
 *
 * There is nothing durable to recover: who needs a Node is read off the Machines each time.
 */
import * as Data from "effect/Data"
import type { Failure } from "./BootstrapState.ts"

export type State = Data.TaggedEnum<{
  /** `failures` in a row; `failure`: the last one, until the cluster answers. */
  Watching: { readonly attempt: number; readonly failures: number; readonly failure: Failure | undefined }
  /** Nobody needs it. */
  Over: {}
}>
export const State = Data.taggedEnum<State>()

export type Event = Data.TaggedEnum<{
  /** What the caches say now. */
  Observed: { readonly needed: boolean }
  /** The cluster answers. */
  Answered: { readonly attempt: number }
  Broke: { readonly attempt: number; readonly failure: Failure }
}>
export const Event = Data.taggedEnum<Event>()

export interface Activity {
  readonly attempt: number
  /** Failures in a row: how long it waits first. */
  readonly wait: number
}

/**
 * What is worth telling people: the first failure of a row, and its end. Not that there is no way in yet: that is waited
 * for, and whoever needs it sooner says so.
 */
export type Notice = { readonly _tag: "Lost"; readonly failure: Failure } | { readonly _tag: "Found" }

type Step = readonly [State, ReadonlyArray<Notice>]
const none: ReadonlyArray<Notice> = []

export const initial: State = State.Watching({ attempt: 1, failures: 0, failure: undefined })

export const isFinal = (state: State): boolean => state._tag === "Over"

export const activity = (state: State): Activity | undefined =>
  state._tag === "Over" ? undefined : { attempt: state.attempt, wait: state.failures }

export const transition = (state: State, event: Event): Step => {
  if (state._tag === "Over") return [state, none]
  if ("attempt" in event && event.attempt !== state.attempt) return [state, none]
  return Event.$match(event, {
    Observed: ({ needed }): Step => [needed ? state : State.Over(), none],
    // Of the activity nothing changes: the watch goes on.
    Answered: (): Step =>
      state.failure === undefined
        ? [state, none]
        : [State.Watching({ ...state, failure: undefined }), [{ _tag: "Found" }]],
    Broke: ({ failure }): Step => {
      const failures = (state.failure === undefined ? 0 : state.failures) + 1
      const next = State.Watching({ attempt: state.attempt + 1, failures, failure })
      const isNews = state.failure === undefined && !failure.reason.endsWith("NotFound")
      return [next, isNews ? [{ _tag: "Lost", failure }] : none]
    }
  })
}
