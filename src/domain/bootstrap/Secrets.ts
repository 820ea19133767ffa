/**
 * Owns which parts of a bootstrap are secret, for Redaction.ts: contents of the files that not everyone on the host may
 * read, what is inside a join token, and, wherever they stand, what tokens look like and what is called a secret.
 * Other commands are not secret: they are the author's own words, and are never shown by us anyway.
 */
import * as Result from "effect/Result"
import { decodeJoinToken } from "../JoinToken.ts"
import type { Payload } from "./Payload.ts"

/** kubeadm's and k0s' bootstrap tokens, and the server tokens of k3s and RKE2. */
const TOKENS = /\b[a-z0-9]{6}\.[a-z0-9]{16}\b|\bK10[0-9a-f]{64}::[^\s"']+/g

const CALLED = "(?:token|password|passwd|passphrase|secret|certificate-?key|api-?key)"
const VALUE = `["']?([^\\s"'\`;|&<>(){}$]{6,})`
/** `K3S_TOKEN=…`, `token: …`, `"certificateKey": …`; `--token …`; `Bearer …`. */
const NAMED = new RegExp(
  `[\\w-]*${CALLED}["']?\\s*[=:]\\s*${VALUE}|--[\\w-]*${CALLED}\\s+${VALUE}|\\bBearer\\s+${VALUE}`,
  "gi"
)

/** Words that stand where a secret might, and are none. */
const isSecret = (word: string): boolean => !/^(-|\/|https?:|true$|false$|null$|none$)/i.test(word)

const secretsIn = (text: string): ReadonlyArray<string> => [
  ...[...text.matchAll(TOKENS)].map(([token]) => token),
  ...[...text.matchAll(NAMED)].map(([, a, b, c]) => a ?? b ?? c ?? "").filter(isSecret)
]

const secretsOfFile = (file: Payload["files"][number]): ReadonlyArray<string> => {
  const text = Buffer.from(file.content).toString("utf8")
  if ((Number.parseInt(file.mode, 8) & 0o004) !== 0) return secretsIn(text)
  const join = decodeJoinToken(text)
  return Result.isSuccess(join) ? [text, join.success.token.secret] : [text, ...secretsIn(text)]
}

export const payloadSecrets = (payload: Payload): ReadonlyArray<string> => [
  ...payload.files.flatMap(secretsOfFile),
  ...payload.steps.flatMap((step) => secretsIn(step.script))
]
