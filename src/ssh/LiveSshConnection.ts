/**
 * Owns one ssh2 connection from its socket to its end: the only `error` listener of the client's whole life, what was
 * lost and why, and an end that is bounded in time. Does not own channels (LiveSshProcess.ts), nor how many connect at
 * once (LiveSshClient.ts). An edge: ssh2's own timers run the keepalives.
 */
import { Socket } from "node:net"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { ParsedKey, PublicKeyAuthMethod } from "ssh2"
import ssh2 from "ssh2"
import type { SshTarget } from "./SshClient.ts"
import { targetName } from "./SshClient.ts"
import type { SshError } from "./SshError.ts"
import { connectError, type Failure, hostKeyRefused, lostError, toFailure } from "./SshFailure.ts"
import { fingerprint } from "./SshKey.ts"

/** Milliseconds between two keepalives on a silent connection. */
const KEEPALIVE_INTERVAL_MILLIS = 10_000
/** Unanswered keepalives after which the host counts as gone: with the interval, 40 s. */
const KEEPALIVE_COUNT_MAX = 3
/** How long the end of a connection may take before the socket is destroyed. */
const END_TIMEOUT = "1 second"

/**
 * What this decade's OpenSSH, dropbear and libssh offer; ssh2's defaults add SHA-1 MACs and `ssh-rsa` signatures.
 * The order of host key types is fixed, so that a host with several keys always shows the same one.
 */
const ALGORITHMS: ssh2.Algorithms = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512"
  ],
  serverHostKey: [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256"
  ],
  cipher: ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"]
}

/** `undefined` accepts any key: first use is trusted by whoever pins `SshSession.hostKey` afterwards. */
export type ExpectedHostKey = string | undefined

export class LiveSshConnection {
  readonly client: ssh2.Client = new ssh2.Client()
  readonly target: SshTarget
  readonly name: string
  /** Fingerprint of the key the host showed; set before `ready`. */
  hostKey = ""
  private readonly socket: Socket = new Socket()
  private readonly readiness = Deferred.makeUnsafe<void, SshError>()
  private readonly closing = Deferred.makeUnsafe<void>()
  private readonly lostListeners = new Set<(error: SshError) => void>()
  private up = false
  private failure: Failure | undefined = undefined

  constructor(target: SshTarget) {
    this.target = target
    this.name = targetName(target)
  }

  /** Succeeds when the user is logged in. Does not end by itself while a host stays silent: bound it. */
  get ready(): Effect.Effect<void, SshError> {
    return Deferred.await(this.readiness)
  }

  /** Why nothing more comes from this connection, or undefined while it lives. */
  get lost(): SshError | undefined {
    return Deferred.isDoneUnsafe(this.closing) ? lostError(this.name, this.failure) : undefined
  }

  /** Called once, when the connection is gone; at once when it already is. The result takes the listener back. */
  onLost(listener: (error: SshError) => void): () => void {
    const lost = this.lost
    if (lost !== undefined) {
      listener(lost)
      return () => {}
    }
    this.lostListeners.add(listener)
    return () => this.lostListeners.delete(listener)
  }

  start(key: ParsedKey, expected: ExpectedHostKey): void {
    const keyFingerprint = fingerprint(key.getPublicSSH())
    const { client, socket, target } = this
    const refuse = (error: SshError): void => {
      Deferred.doneUnsafe(this.readiness, Effect.fail(error))
    }
    client.on("error", (error) => {
      // The first word is the cause; what follows (a reset after a refused login) is its consequence.
      this.failure ??= toFailure(error)
      if (!this.up) refuse(connectError(this.failure, this.name, target.user, keyFingerprint))
    })
    client.on("ready", () => {
      this.up = true
      Deferred.doneUnsafe(this.readiness, Effect.void)
    })
    // ssh2 stops its keepalives when the host has sent its FIN: unsent bytes must not keep a dead socket.
    client.on("end", () => socket.destroy())
    client.on("close", () => {
      const gone: Failure = { message: "the host closed it during login", level: undefined, code: undefined }
      refuse(connectError(this.failure ?? gone, this.name, target.user, keyFingerprint))
      Deferred.doneUnsafe(this.closing, Effect.void)
      for (const listener of this.lostListeners) listener(lostError(this.name, this.failure))
      this.lostListeners.clear()
    })
    const login: PublicKeyAuthMethod = { type: "publickey", username: target.user, key }
    try {
      socket.connect({ host: target.address, port: target.port })
      client.connect({
        sock: socket,
        username: target.user,
        authHandler: [login],
        algorithms: ALGORITHMS,
        keepaliveInterval: KEEPALIVE_INTERVAL_MILLIS,
        keepaliveCountMax: KEEPALIVE_COUNT_MAX,
        readyTimeout: 0, // the caller bounds connecting, DNS included
        hostVerifier: (offered: Buffer): boolean => {
          this.hostKey = fingerprint(offered)
          if (expected === undefined || expected === this.hostKey) return true
          refuse(hostKeyRefused(this.name, expected, this.hostKey))
          return false
        }
      })
      // Without it every small packet waits for the host's delayed acknowledgement: 40 ms an exec.
      client.setNoDelay(true)
    } catch (error) {
      // Node throws for a port out of range; ssh2 for a configuration it does not know.
      refuse(connectError(toFailure(error), this.name, target.user, keyFingerprint))
      socket.destroy()
    }
  }

  /** Says goodbye, and destroys the socket when that takes longer than END_TIMEOUT. */
  get end(): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.lost !== undefined || this.socket.destroyed) return Effect.void
      if (this.socket.connecting || !this.up) {
        this.socket.destroy()
        return Effect.void
      }
      this.client.end()
      return Deferred.await(this.closing).pipe(
        Effect.timeoutOrElse({ duration: END_TIMEOUT, orElse: () => Effect.sync(() => this.socket.destroy()) }),
        Effect.asVoid
      )
    })
  }
}
