/**
 * Owns whether a join token is good for something: its Secret in `kube-system` against what was shown, as kube-apiserver's
 * bootstrap token authenticator, and k0s for its controllers, judge it. Does not own who asks, nor what is let in.
 */
import { type Secret, secretText } from "../../api/Core.ts"
import { type BootstrapToken, TOKEN_SECRET_TYPE } from "../../domain/JoinToken.ts"

export type JoinUsage = "usage-bootstrap-authentication" | "usage-controller-join"

/** Why it is not; undefined: it is. */
export const judgeToken = (
  secret: Secret,
  { id, secret: value }: BootstrapToken,
  usage: JoinUsage,
  nowMillis: number
): string | undefined => {
  if (secret.type !== TOKEN_SECRET_TYPE) return `the token's Secret is of type ${secret.type ?? "none"}`
  if (secret.metadata.deletionTimestamp !== undefined) return "the token is being deleted"
  if (secretText(secret, "token-id") !== id || secretText(secret, "token-secret") !== value)
    return "the token is another one"
  const expiration = secretText(secret, "expiration")
  if (expiration !== undefined && !(Date.parse(expiration) > nowMillis)) return `the token expired at ${expiration}`
  return secretText(secret, usage) === "true" ? undefined : `the token may not be used: no ${usage}`
}
