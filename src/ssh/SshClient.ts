/**
 * Owns the SSH port: one authenticated connection in a scope, and exec on it.
 * Knows nothing of what is run (hosts/ does), nor of Kubernetes. Live: LiveSshClient.ts on ssh2; in memory: simulation/.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { HostKeyPin, HostKeyTrust } from "./HostKeys.ts"
import type { SshError } from "./SshError.ts"

/** One SSH server, as whom to log in there, and how it is known. */
export interface SshLogin {
  /** IPv4, IPv6 (without brackets) or DNS name. */
  readonly address: string
  readonly port: number
  readonly user: string
  /** OpenSSH or PEM, as it stands in the Secret. */
  readonly privateKey: Redacted.Redacted<string>
  readonly passphrase?: Redacted.Redacted<string>
  /** Decided on before the user's key is offered, and never fallen back from. */
  readonly hostKeys: HostKeyTrust
}

export interface SshTarget extends SshLogin {
  /** Servers to go through, the first one connected to from here; each looks the next one's address up itself. */
  readonly jumpHosts?: ReadonlyArray<SshLogin>
}

export interface SshExit {
  /** Absent when the process was ended by a signal. */
  readonly code?: number
  /** With its prefix: `SIGKILL`. */
  readonly signal?: string
}

export interface SshProcess {
  /**
   * Ends when the remote side closes it; fails with phase `closed` when the connection is lost first. Read at most once.
   * A slow reader holds the host back. An output that nobody reads is kept up to a bound (live: 1 MiB) and dropped past
   * it, so that it stalls neither `exit` nor the other output; reading it then fails with phase `channel`.
   */
  readonly stdout: Stream.Stream<Uint8Array, SshError>
  readonly stderr: Stream.Stream<Uint8Array, SshError>
  readonly exit: Effect.Effect<SshExit, SshError>
}

/** A command that waits for the rest of its stdin. */
export interface SshDialog extends SshProcess {
  /** Writes to stdin, which stays open; `end` writes the last of it, and closes it. What nobody takes any more is no error. */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void>
  readonly end: (bytes: Uint8Array) => Effect.Effect<void>
}

export interface SshSession {
  /** SHA256 fingerprint (`SHA256:…`, unpadded base64, as ssh-keygen -l prints) of the host key that was used. */
  readonly hostKey: string
  /** `ssh-ed25519`, …; absent where the client doesn't know. */
  readonly hostKeyType?: string
  /** Of the jump hosts, in their order; absent: there are none. */
  readonly jumpHostKeys?: ReadonlyArray<HostKeyPin>
  /**
   * Runs `command` through the user's login shell, writes `stdin` and closes it. Closing the scope closes the channel;
   * OpenSSH leaves the remote process running then: to end it is the caller's business.
   */
  readonly exec: (command: string, stdin: Uint8Array) => Effect.Effect<SshProcess, SshError, Scope.Scope>
  /** The same, with stdin left open behind `stdin`. Absent: the client can't. */
  readonly begin?: (command: string, stdin: Uint8Array) => Effect.Effect<SshDialog, SshError, Scope.Scope>
}

export interface SshClientShape {
  /** Fails within the timeouts of the implementation; waiting for a session below a limit is bounded apart. */
  readonly connect: (target: SshTarget) => Effect.Effect<SshSession, SshError, Scope.Scope>
}

export class SshClient extends Context.Service<SshClient, SshClientShape>()("machinist/ssh/SshClient") {}

/** `user@address:port`, with brackets around an IPv6 address. */
export const targetName = (target: Pick<SshLogin, "address" | "port" | "user">): string =>
  `${target.user}@${target.address.includes(":") ? `[${target.address}]` : target.address}:${target.port}`
