/**
 * Owns how time passes in a simulation that is under test: virtually, where the clock is a TestClock (a wait moves it, and
 * ten minutes take milliseconds), else as it does. Does not own what is waited for.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"

/** Virtual time between two looks. Live, a look is cheap and a person waits. */
const VIRTUAL_LOOK = Duration.millis(500)
const LIVE_LOOK = Duration.millis(20)
/** How long is waited when nothing is said; virtual minutes cost next to nothing, live ones do. */
const VIRTUAL_PATIENCE = Duration.hours(2)
const LIVE_PATIENCE = Duration.minutes(2)

/** What was waited for has not come true in time. `story` is what happened instead, one line each. */
export class NotInTime extends Data.TaggedError("NotInTime")<{
  readonly message: string
  readonly story: ReadonlyArray<string>
}> {}

export interface Time {
  /** True where waiting moves the clock. */
  readonly virtual: boolean
  /** Lets so much time pass. */
  readonly pass: (duration: Duration.Input) => Effect.Effect<void>
  /** Until it is so. Fails with NotInTime when it isn't within `within` (virtual: 2 hours, live: 2 minutes). */
  readonly until: <E, R>(
    what: string,
    isSo: Effect.Effect<boolean, E, R>,
    within?: Duration.Input
  ) => Effect.Effect<void, E | NotInTime, R>
}

/** Of the clock that is there: hand in a TestClock's layer for virtual time. `story` is asked when patience ends. */
export const make = (story: () => ReadonlyArray<string>): Effect.Effect<Time> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const virtual = "adjust" in clock
    const pass: Time["pass"] = (duration) => (virtual ? TestClock.adjust(duration) : Effect.sleep(duration))
    const look = virtual ? VIRTUAL_LOOK : LIVE_LOOK
    const until: Time["until"] = Effect.fnUntraced(function* (what, isSo, within) {
      const patience = Duration.fromInputUnsafe(within ?? (virtual ? VIRTUAL_PATIENCE : LIVE_PATIENCE))
      const end = (yield* Clock.currentTimeMillis) + Duration.toMillis(patience)
      while (!(yield* isSo)) {
        if ((yield* Clock.currentTimeMillis) >= end)
          return yield* new NotInTime({
            message: `${what}: not within ${Duration.format(patience)}${virtual ? " of virtual time" : ""}`,
            story: story()
          })
        yield* pass(look)
      }
    })
    return { virtual, pass, until }
  })
