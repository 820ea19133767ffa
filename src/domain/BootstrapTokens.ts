/**
 * Owns how the join token of a bootstrap config is told from all others in the workload cluster: by a label, and by an
 * id that follows from the config's uid. Pure. What a token is made of is JoinToken.ts; reading and writing the actor's.
 *
 * Why the workload cluster is the only memory: a token written down on the config would be a secret in metadata, and an
 * id written down beside it could be wrong after a crash between the two writes. So the token's own Secret carries the
 * config's uid as a label; after a crash anywhere it is found by it, used again, and revoked by it. The id is public
 * (it names the Secret): made from the uid, a create that was thought lost and is repeated meets its own Secret instead of
 * making a second one. The secret half is drawn at random and stays in that Secret and in the bootstrap data.
 */
import { createHash } from "node:crypto"
import * as Result from "effect/Result"
import { parseDuration } from "./Duration.ts"
import type { BootstrapToken, TokenSecret } from "./JoinToken.ts"

/** Ids tried when another's token has the one before: of 36^6 ids, three in a row are never taken by chance. */
export const TOKEN_ID_TRIES = 3

const ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
const ID_LENGTH = 6

/** `try_` from 0. Six of `[a-z0-9]`. */
export const tokenIdFor = (configUid: string, try_: number): string =>
  [...createHash("sha256").update(`machinist.dev/token/${configUid}/${try_}`).digest().subarray(0, ID_LENGTH)]
    // Public, so the bias of 256 over 36 does no harm.
    .map((byte) => ALPHABET.charAt(byte % ALPHABET.length))
    .join("")

/** What is needed of a `bootstrap.kubernetes.io/token` Secret; texts decoded. */
export interface FoundToken {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly id: string | undefined
  readonly secret: string | undefined
  /** RFC 3339; undefined: it never ends. */
  readonly expiration: string | undefined
}

/** Bounds of what may be asked for, seconds: a host must have the time to boot, and nothing lives for ever unseen. */
export const TOKEN_TTL_MIN_SECONDS = 5 * 60
export const TOKEN_TTL_MAX_SECONDS = 30 * 24 * 60 * 60

/** As Go and Kubernetes write durations (`1h30m`), in seconds; fails with what is wrong. */
export const parseTtl = (text: string): Result.Result<number, string> =>
  Result.flatMap(parseDuration(text), (seconds) =>
    seconds < TOKEN_TTL_MIN_SECONDS || seconds > TOKEN_TTL_MAX_SECONDS
      ? Result.fail("must be between 5m and 720h")
      : Result.succeed(seconds)
  )

/** A token that is still needed is extended when this much of its life is left, milliseconds. */
const renewBeforeMillis = (ttlSeconds: number): number => (ttlSeconds * 1000) / 4

/** A token just made or extended may be left alone this long, milliseconds. */
export const freshMillis = (ttlSeconds: number): number => ttlSeconds * 1000 - renewBeforeMillis(ttlSeconds)

/** Undefined when it is not a whole token (someone is editing it by hand). */
export const tokenOf = (found: FoundToken): BootstrapToken | undefined =>
  found.id === undefined || found.secret === undefined || found.name !== `bootstrap-token-${found.id}`
    ? undefined
    : { id: found.id, secret: found.secret }

/** Milliseconds until it has to be renewed; 0: now. An expiration that can't be read is as good as past. */
export const renewIn = (found: FoundToken, now: number, ttlSeconds: number): number => {
  if (found.expiration === undefined) return Number.POSITIVE_INFINITY
  const end = Date.parse(found.expiration)
  return Number.isNaN(end) ? 0 : Math.max(0, end - renewBeforeMillis(ttlSeconds) - now)
}

/** The Secret to create, with the label that it is found by. */
export const labelled = (secret: TokenSecret, label: string, configUid: string) => ({
  metadata: { ...secret.metadata, labels: { [label]: configUid } },
  type: secret.type,
  data: secret.data
})
