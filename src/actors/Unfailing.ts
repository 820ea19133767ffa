/**
 * Owns background work that nobody waits for and somebody depends on: a defect there would vanish with its fiber, so it is
 * told, and the work begun again. Not the lives of actors (runtime/Supervisor.ts).
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"

/** After a defect, milliseconds. */
const DEFECT_PAUSE_MILLIS = 1_000

/** `what`: for the log. */
export const unfailing = (what: string, work: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.catchCause(work, (cause) =>
    Cause.hasInterruptsOnly(cause)
      ? Effect.interrupt
      : Effect.logError("defect in background work; it goes on", { what, cause: Cause.pretty(cause) }).pipe(
          Effect.andThen(Effect.sleep(DEFECT_PAUSE_MILLIS)),
          Effect.andThen(Effect.suspend(() => unfailing(what, work)))
        )
  )
