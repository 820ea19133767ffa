/**
 * Owns the one error of the SSH port: the phase that failed, and whether waiting helps.
 * Does not own what a host run makes of it.
 */
import * as Schema from "effect/Schema"

export const SshPhase = Schema.Literals([
  "connect", // refused, unreachable, reset before the handshake, DNS
  "timeout", // connect, handshake or keepalive timeout
  "handshake", // no common algorithms
  "hostKey", // the host's key was refused by the policy
  "authentication", // the server refused user or key
  "key", // the private key does not parse, or wants a passphrase
  "channel", // the session could not open an exec channel
  "closed" // the connection was lost after it was up
])
export type SshPhase = typeof SshPhase.Type

/** `message` never holds key material. */
export class SshError extends Schema.TaggedError<SshError>()("SshError", {
  phase: SshPhase,
  /** `user@address:port`. */
  target: Schema.String,
  message: Schema.String
}) {
  /** See KubeError: `waitForChange` until the Secret, the spec or the host is changed by someone. */
  get retry(): "backoff" | "waitForChange" {
    switch (this.phase) {
      case "connect":
      case "timeout":
      case "channel":
      case "closed":
        return "backoff"
      case "handshake":
      case "hostKey":
      case "authentication":
      case "key":
        return "waitForChange"
    }
  }
}
