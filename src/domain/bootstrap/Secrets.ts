/**
 * Owns which parts of a bootstrap are secret, for Redaction.ts. Commands are not: they are the author's own words, and
 * are never shown by us anyway.
 */
import * as Result from "effect/Result"
import { decodeJoinToken } from "../JoinToken.ts"
import type { Payload } from "./Payload.ts"

/** Contents of the files that not everyone on the host may read, and what is inside a join token. */
export const payloadSecrets = (payload: Payload): ReadonlyArray<string> =>
  payload.files
    .filter((file) => (Number.parseInt(file.mode, 8) & 0o004) === 0)
    .flatMap((file) => {
      const text = Buffer.from(file.content).toString("utf8")
      const join = decodeJoinToken(text)
      return Result.isSuccess(join) ? [text, join.success.token.secret] : [text]
    })
