/**
 * Owns the words of a bootstrap config's Events, one function each. When they are said is Bootstrap.ts's.
 */
import type { Failure, Waiting } from "./BootstrapState.ts"
import type { Notice } from "./Notice.ts"

export const provided = (adopted: boolean): Notice => ({
  type: "Normal",
  reason: adopted ? "DataSecretAdopted" : "DataSecretCreated",
  message: adopted
    ? "The bootstrap data Secret was there already, and is kept as it is"
    : "Rendered the bootstrap data and wrote its Secret"
})

export const dataLost: Notice = {
  type: "Warning",
  reason: "DataSecretDeleted",
  message: "The bootstrap data Secret was deleted before the Machine joined: it is written again, with the same token"
}

export const revoked: Notice = {
  type: "Normal",
  reason: "TokenRevoked",
  message: "The Machine has joined; its join token is revoked"
}

export const leftBehind = (why: string): Notice => ({
  type: "Warning",
  reason: "TokenNotRevoked",
  message: `Gave up revoking the join token, which expires by itself: ${why}`
})

/** Only a refusal is worth an Event; all else a config waits for comes by itself, and the condition says it. */
export const waiting = (waiting: Waiting): ReadonlyArray<Notice> =>
  waiting.on === "Refused" ? [{ type: "Warning", reason: waiting.reason, message: waiting.message }] : []

/** The same failure again is no news: retries are endless, Events must not be. */
export const failed = (before: Failure | undefined, failure: Failure): ReadonlyArray<Notice> =>
  before?.reason === failure.reason && before.message === failure.message
    ? []
    : [{ type: "Warning", reason: failure.reason, message: failure.message }]
