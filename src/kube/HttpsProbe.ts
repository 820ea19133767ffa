/**
 * Owns one look at an HTTPS server: does anyone certified by a given authority answer there. Any answer counts, a refusal
 * too; who has another certificate is not the one that was meant. Sends no credentials.
 */
import { request } from "node:https"
import * as Effect from "effect/Effect"

/** A look may take this long, milliseconds: whoever asks has another way. */
export const PROBE_MILLIS = 3_000

/** Never fails: false is the answer to everything that goes wrong. */
export const answers = (url: string, ca: string): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    if (!URL.canParse(url)) return resume(Effect.succeed(false))
    const asked = request(url, { ca, agent: false, timeout: PROBE_MILLIS }, (response) => {
      response.destroy()
      resume(Effect.succeed(true))
    })
    asked.on("error", () => resume(Effect.succeed(false)))
    asked.on("timeout", () => asked.destroy())
    asked.end()
    return Effect.sync(() => asked.destroy())
  }).pipe(Effect.timeoutOrElse({ duration: PROBE_MILLIS, orElse: () => Effect.succeed(false) }))
