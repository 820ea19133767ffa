/**
 * Owns the one error of the SSH port: the phase that failed, and whether waiting helps.
 * Does not own what a host run makes of it.
 */
import * as Schema from "effect/Schema"

export const SshPhase = Schema.Literals([
  "connect", // refused, unreachable, reset before the handshake, DNS
  "timeout", // connect, login or keepalive timeout
  "limit", // too many sessions are open already, here or through this jump host
  "handshake", // no common algorithms
  "hostKeyChanged", // another host key than the pinned or known one
  "hostKey", // the host's key is unknown, revoked, or can't be checked
  "authentication", // the server refused user or key
  "key", // the private key does not parse
  "passphrase", // the private key wants a passphrase, or another one
  "forwarding", // a jump host does not let us through
  "channel", // the session could not open an exec channel
  "closed" // the connection was lost after it was up
])
export type SshPhase = typeof SshPhase.Type

/** `message` never holds key material. */
export class SshError extends Schema.TaggedError<SshError>()("SshError", {
  phase: SshPhase,
  /** `user@address:port`. */
  target: Schema.String,
  message: Schema.String,
  /** The jump host that it failed at, as `target`; absent: the target itself. */
  jumpHost: Schema.optionalKey(Schema.String)
}) {
  /** See KubeError: `waitForChange` until the Secret, the spec or the host is changed by someone. */
  get retry(): "backoff" | "waitForChange" {
    switch (this.phase) {
      case "connect":
      case "timeout":
      case "limit":
      case "channel":
      case "closed":
        return "backoff"
      case "handshake":
      case "hostKeyChanged":
      case "hostKey":
      case "authentication":
      case "key":
      case "passphrase":
      case "forwarding":
        return "waitForChange"
    }
  }
}
