/**
 * Owns the one error of the host layer: which phase of a host run failed, and whether waiting helps.
 * Conditions and Events are made from it by the actors.
 */
import * as Schema from "effect/Schema"

export const HostErrorReason = Schema.Literals([
  "ConnectFailed", // refused, unreachable, timed out, lost: backoff
  "SessionLimit", // as many SSH sessions are open as may be: backoff
  "AuthenticationFailed", // user or key refused
  "InvalidKey", // the private key does not parse
  "InvalidPassphrase", // the private key wants a passphrase, or another one
  "HostKeyChanged", // another host key than the pinned or known one
  "HostKeyRejected", // the host key is unknown to knownHosts, revoked, or can't be checked
  "NoCommonAlgorithm", // the host's sshd has only algorithms of another age
  "JumpHostRefused", // a jump host forwards no connection to the host
  "SessionRefused", // logged in, and the host opens no session: PAM limits, /etc/nologin
  "ShellRefused", // logged in, and the login shell or a ForceCommand runs no commands of ours
  "SudoRefused", // useSudo, and `sudo -n` wants a password, a tty, or says no
  "Unsupported", // not root, tools missing, no way to detach
  "ForeignTenant", // another claim holds the host
  "StaleFence", // a newer controller acts for this claim: stop
  "Released", // this claim was already cleaned on the host
  "Quarantined", // the host's record says an earlier cleaning failed
  "DataChanged", // journal of other bootstrap data: clean first
  "JournalLost", // a run began and its journal is gone: clean first
  "StepFailed",
  "NoSentinel",
  "NotClean", // verification after cleaning found leftovers
  "DriverFailed", // disk full, read-only file system, unexpected end of the event stream
  "ProtocolViolation" // what came back is not the protocol
])
export type HostErrorReason = typeof HostErrorReason.Type

/** `message` says what happened, where and what would change it, in one or two sentences; secrets are not in it. */
export class HostError extends Schema.TaggedError<HostError>()("HostError", {
  reason: HostErrorReason,
  /** `user@address:port`. */
  host: Schema.String,
  message: Schema.String,
  /** The jump host that it failed at, as `user@address:port`; absent: the host itself. */
  jumpHost: Schema.optionalKey(Schema.String),
  /** StepFailed: number from 0, name, exit code. */
  step: Schema.optionalKey(Schema.Number),
  stepName: Schema.optionalKey(Schema.String),
  exitCode: Schema.optionalKey(Schema.Number),
  /** StepFailed: the last 2 KiB, printable. */
  stderr: Schema.optionalKey(Schema.String),
  /** NotClean: what is left. */
  leftovers: Schema.optionalKey(Schema.Array(Schema.String))
}) {
  get retry(): "backoff" | "waitForChange" | "budget" {
    switch (this.reason) {
      case "ConnectFailed":
      case "SessionLimit":
      case "SessionRefused":
      case "DriverFailed":
      case "ProtocolViolation":
        return "backoff"
      case "StepFailed":
      case "NoSentinel":
      case "NotClean":
        return "budget"
      case "AuthenticationFailed":
      case "InvalidKey":
      case "InvalidPassphrase":
      case "HostKeyChanged":
      case "HostKeyRejected":
      case "NoCommonAlgorithm":
      case "JumpHostRefused":
      case "ShellRefused":
      case "SudoRefused":
      case "Unsupported":
      case "ForeignTenant":
      case "StaleFence":
      case "Released":
      case "Quarantined":
      case "DataChanged":
      case "JournalLost":
        return "waitForChange"
    }
  }
}
