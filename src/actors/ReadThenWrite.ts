/** Owns how a write that depends on what was read goes on after a conflict. Which writes do is ClaimWrites.ts's. */
import * as Effect from "effect/Effect"
import { KubeError } from "../kube/KubeError.ts"

/** How often one write reads again after a conflict until the whole claim is tried anew. */
const CONFLICT_RETRIES = 5

/**
 * Reads with `read`, writes with `write`; on a conflict reads again. Each read-and-write is uninterruptible: an
 * interrupted requester must not leave a write behind that nobody knows of.
 */
export const readThenWrite = <A, B, E>(
  read: Effect.Effect<A, KubeError>,
  first: A | undefined,
  write: (object: A) => Effect.Effect<B, KubeError | E>
): Effect.Effect<B, KubeError | E> => {
  const attempt = (known: A | undefined, left: number): Effect.Effect<B, KubeError | E> =>
    (known === undefined ? read : Effect.succeed(known)).pipe(
      Effect.flatMap(write),
      Effect.catchIf(
        (error): error is KubeError & E => error instanceof KubeError && error.reason === "Conflict" && left > 0,
        () => attempt(undefined, left - 1)
      )
    )
  return Effect.uninterruptible(attempt(first, CONFLICT_RETRIES))
}
