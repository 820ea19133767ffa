/**
 * Owns the join token's Secret in the workload cluster: found, minted once, kept valid, revoked. Which token is whose is
 * domain/BootstrapTokens's; when, domain/Bootstrap's. Every function may be cut off anywhere and run again.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { type Secret, Secrets, secretText } from "../api/Core.ts"
import { CONFIG_UID_LABEL } from "../api/Names.ts"
import {
  type FoundToken,
  freshMillis,
  labelled,
  renewIn,
  TOKEN_ID_TRIES,
  tokenIdFor,
  tokenOf
} from "../domain/BootstrapTokens.ts"
import {
  type BootstrapToken,
  TOKEN_NAMESPACE,
  TOKEN_RANDOM_BYTES,
  TOKEN_SECRET_TYPE,
  type TokenSecret,
  tokenExpiration,
  tokenFromBytes,
  tokenSecretName
} from "../domain/JoinToken.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import { absent, KubeError } from "../kube/KubeError.ts"

/** Whose token, and how its Secret is made (worker and controller tokens differ in their usages). */
export interface TokenUse {
  readonly configUid: string
  readonly ttlSeconds: number
  readonly secretFor: (token: BootstrapToken, expiresMillis: number) => TokenSecret
  /** The API server's own word: the config is there, and stays. What this process has seen of it may be old. */
  readonly isWanted: Effect.Effect<boolean, KubeError>
}

/** Tries to ask whether a token is wanted, and to take back one that was just made. */
const TAKE_BACK_TRIES = 4
const TAKE_BACK_PAUSE_MILLIS = 1_000
const patiently = <A>(call: Effect.Effect<A, KubeError>): Effect.Effect<A, KubeError> =>
  Effect.retry(call, { times: TAKE_BACK_TRIES, schedule: Schedule.spaced(TAKE_BACK_PAUSE_MILLIS) })

const found = (secret: Secret): FoundToken => ({
  name: secret.metadata.name,
  labels: secret.metadata.labels ?? {},
  id: secretText(secret, "token-id"),
  secret: secretText(secret, "token-secret"),
  expiration: secretText(secret, "expiration")
})

/** Tokens that carry the config's label, by name. More than one is what two leaders at a time may have left. */
const labelledTokens = (workload: KubeClientShape, use: TokenUse) =>
  workload.list(Secrets, { namespace: TOKEN_NAMESPACE, labelSelector: `${CONFIG_UID_LABEL}=${use.configUid}` }).pipe(
    Effect.map(({ items }) =>
      items
        .filter((one) => one.type === TOKEN_SECRET_TYPE)
        .map(found)
        .sort((a, b) => (a.name < b.name ? -1 : 1))
    )
  )

const ref = (name: string) => ({ namespace: TOKEN_NAMESPACE, name })

const expires = ({ ttlSeconds }: TokenUse) => Effect.map(Clock.currentTimeMillis, (now) => now + ttlSeconds * 1000)

/**
 * Asks before and afterwards whether the config is still there. Before: a leader that was held for long would make one for
 * a config that is long gone, and may end before it can take it back. Afterwards, for another leader may have revoked it
 * and seen the config off just now, and then nobody else would ever revoke this one: then it is taken back. Asked whatever
 * the answer was, which may be lost, and not interrupted between.
 */
const createSecret = (workload: KubeClientShape, use: TokenUse, token: BootstrapToken) => {
  const unwanted = (outcome: string) =>
    new KubeError({
      reason: "NotFound",
      verb: "create",
      kind: "Secret",
      ...ref(tokenSecretName(token.id)),
      message: `the bootstrap config that this token is for is gone, or can't be read: ${outcome}`
    })
  const isWanted = Effect.orElseSucceed(patiently(use.isWanted), () => false)
  return Effect.gen(function* () {
    if (!(yield* isWanted)) return yield* unwanted("none was made")
    const end = yield* expires(use)
    const secret = labelled(use.secretFor(token, end), CONFIG_UID_LABEL, use.configUid)
    return yield* Effect.uninterruptible(
      Effect.gen(function* () {
        const made = yield* Effect.exit(workload.create(Secrets, secret))
        if (yield* isWanted) return yield* made
        yield* Effect.ignore(patiently(remove(workload, tokenSecretName(token.id))))
        return yield* unwanted("the token was taken back")
      })
    )
  })
}

/** The same Secret with a later end: the bootstrap data that carries the token keeps its bytes. */
const renew = (workload: KubeClientShape, use: TokenUse, name: string) =>
  Effect.flatMap(expires(use), (end) =>
    Effect.asVoid(workload.patch(Secrets, ref(name), { data: { expiration: tokenExpiration(end) } }))
  )

const relabel = (workload: KubeClientShape, use: TokenUse, name: string) =>
  Effect.asVoid(workload.patch(Secrets, ref(name), { metadata: { labels: { [CONFIG_UID_LABEL]: use.configUid } } }))

const remove = (workload: KubeClientShape, name: string) => absent(workload.delete(Secrets, ref(name)))

/**
 * The one token of the config: the one there is (of a life before), else a new one. `draw` gives secure random bytes.
 */
export const mint = Effect.fnUntraced(function* (
  workload: KubeClientShape,
  use: TokenUse,
  draw: (bytes: number) => Effect.Effect<Uint8Array>
): Effect.fn.Return<BootstrapToken, KubeError> {
  const now = yield* Clock.currentTimeMillis
  for (const known of yield* labelledTokens(workload, use)) {
    const token = tokenOf(known)
    if (token === undefined) continue
    if (renewIn(known, now, use.ttlSeconds) === 0) yield* renew(workload, use, known.name)
    return token
  }
  for (let try_ = 0; try_ < TOKEN_ID_TRIES; try_++) {
    const drawn = tokenFromBytes(yield* draw(TOKEN_RANDOM_BYTES))
    // Too few usable bytes: once in 10^60 draws, and the next try draws again.
    if (Result.isFailure(drawn)) continue
    const token = { id: tokenIdFor(use.configUid, try_), secret: drawn.success.secret }
    const made = yield* createSecret(workload, use, token).pipe(
      Effect.as(token),
      Effect.catchIf(
        (error) => error.reason === "AlreadyExists",
        () => existing(workload, use, token.id)
      )
    )
    if (made !== undefined) return made
  }
  return yield* new KubeError({
    reason: "Conflict",
    verb: "create",
    kind: "Secret",
    namespace: TOKEN_NAMESPACE,
    message: `other tokens have all ${TOKEN_ID_TRIES} ids that follow from the config's uid ${use.configUid}`
  })
})

/** A create of ours that was thought lost; undefined when the id is another's. */
const existing = (workload: KubeClientShape, use: TokenUse, id: string) =>
  Effect.map(absent(workload.get(Secrets, ref(tokenSecretName(id)))), (secret) =>
    secret === undefined || secret.metadata.labels?.[CONFIG_UID_LABEL] !== use.configUid
      ? undefined
      : tokenOf(found(secret))
  )

/**
 * Keeps `token` (what the bootstrap data carries) valid: renewed in time, made again with the same id and secret if the
 * workload cluster collected it; other tokens of the config are revoked. Undefined: the data can't be read, so whatever
 * carries the label is kept. Answers how many milliseconds it may be left alone.
 */
export const keep = Effect.fnUntraced(function* (
  workload: KubeClientShape,
  use: TokenUse,
  token: BootstrapToken | undefined
): Effect.fn.Return<number, KubeError> {
  const now = yield* Clock.currentTimeMillis
  const known = yield* labelledTokens(workload, use)
  const tend = Effect.fnUntraced(function* (one: FoundToken) {
    const left = renewIn(one, now, use.ttlSeconds)
    if (left > 0) return left
    yield* renew(workload, use, one.name)
    return freshMillis(use.ttlSeconds)
  })
  if (token === undefined) {
    const waits = yield* Effect.forEach(known, tend)
    return Math.min(Number.POSITIVE_INFINITY, ...waits)
  }
  const name = tokenSecretName(token.id)
  for (const other of known) if (other.name !== name) yield* remove(workload, other.name)
  const mine = known.find((one) => one.name === name)
  if (mine !== undefined) return yield* tend(mine)
  const unlabelled = yield* absent(workload.get(Secrets, ref(name)))
  if (unlabelled === undefined) {
    yield* createSecret(workload, use, token)
    return freshMillis(use.ttlSeconds)
  }
  // Of the management cluster the config was moved from, or k0smotron's: found by its label from now on.
  yield* relabel(workload, use, name)
  return yield* tend(found(unlabelled))
})

/** Nothing that lets this machine in is left. `token`: what the bootstrap data carries, if that is known. */
export const revoke = Effect.fnUntraced(function* (
  workload: KubeClientShape,
  use: TokenUse,
  token: BootstrapToken | undefined
): Effect.fn.Return<void, KubeError> {
  const known = yield* labelledTokens(workload, use)
  const names = new Set(known.map((one) => one.name))
  if (token !== undefined) names.add(tokenSecretName(token.id))
  for (const name of names) yield* remove(workload, name)
})
