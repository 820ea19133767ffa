/**
 * Owns one ssh2 connection from its socket (or its way through a jump host) to its end: the only `error` listener of the
 * client's whole life, the host key's check, what was lost and why, and an end that is bounded in time. Does not own
 * channels (LiveSshProcess.ts), nor how many connect at once (LiveSshClient.ts). An edge: ssh2's own timers run the
 * keepalives.
 */
import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { ParsedKey, PublicKeyAuthMethod } from "ssh2"
import ssh2 from "ssh2"
import { algorithms } from "./Algorithms.ts"
import { fingerprint } from "./Fingerprint.ts"
import { type HostKeyPin, knownTypes, pinOf, refusal } from "./HostKeys.ts"
import { type SshLogin, targetName } from "./SshClient.ts"
import type { SshError } from "./SshError.ts"
import { connectError, type Failure, forwardError, hostKeyRefused, lostError, toFailure } from "./SshFailure.ts"
import { inWholePackets } from "./WholePackets.ts"

/** Unanswered keepalives after which the host counts as gone: with an interval of 10 s, after 40 s. */
const KEEPALIVE_COUNT_MAX = 3
/** A name with several addresses: how long one is tried before the next one is, too, milliseconds (Node's 250 are few). */
const ADDRESS_ATTEMPT_MILLIS = 2_000
/** How long the end of a connection may take before the socket is destroyed. */
const END_TIMEOUT = "1 second"

export interface ConnectionSettings {
  /** Milliseconds between two keepalives on a silent connection. */
  readonly keepaliveMillis: number
  /** A person turned the check of host keys off, for every host. */
  readonly insecureIgnoreHostKeys: boolean
}

export class LiveSshConnection {
  readonly client: ssh2.Client = new ssh2.Client()
  readonly login: SshLogin
  readonly name: string
  /** The jump host that this connection goes through. */
  readonly via: LiveSshConnection | undefined
  private readonly settings: ConnectionSettings
  private shown: HostKeyPin = { fingerprint: "" }
  private transport: Duplex | undefined = undefined
  private readonly agreement = Deferred.makeUnsafe<void, SshError>()
  private readonly readiness = Deferred.makeUnsafe<void, SshError>()
  private readonly closing = Deferred.makeUnsafe<void>()
  private readonly lostListeners = new Set<(error: SshError) => void>()
  private up = false
  private ended = false
  private failure: Failure | undefined = undefined

  constructor(login: SshLogin, settings: ConnectionSettings, via?: LiveSshConnection) {
    this.login = login
    this.name = targetName(login)
    this.settings = settings
    this.via = via
  }

  /** The key the host showed; known before `ready`. */
  get hostKey(): HostKeyPin {
    return this.shown
  }

  /** Succeeds when keys are agreed on and the host's is accepted. Does not end by itself while a host stays silent. */
  get agreed(): Effect.Effect<void, SshError> {
    return Deferred.await(this.agreement)
  }

  /** Succeeds when the user is logged in. Does not end by itself while a host stays silent: bound it. */
  get ready(): Effect.Effect<void, SshError> {
    return Deferred.await(this.readiness)
  }

  /** Why nothing more comes from this connection, or undefined while it lives. */
  get lost(): SshError | undefined {
    return Deferred.isDoneUnsafe(this.closing) ? this.lostError() : undefined
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

  start(key: ParsedKey): void {
    const keyFingerprint = fingerprint(key.getPublicSSH())
    const { client, login } = this
    const explain = (failure: Failure): SshError => connectError(failure, this.name, login.user, keyFingerprint)
    client.on("error", (error) => {
      // The first word is the cause; what follows (a reset after a refused login) is its consequence.
      this.failure ??= toFailure(error)
      if (!this.up) this.refuse(explain(this.failure))
    })
    client.on("handshake", () => Deferred.doneUnsafe(this.agreement, Effect.void))
    client.on("ready", () => {
      this.up = true
      Deferred.doneUnsafe(this.readiness, Effect.void)
    })
    // ssh2 stops its keepalives when the host has sent its FIN: unsent bytes must not keep a dead socket.
    client.on("end", () => this.transport?.destroy())
    client.on("close", () => {
      const gone: Failure = { message: "the host closed it during login", level: undefined, code: undefined }
      this.refuse(explain(this.failure ?? gone))
      Deferred.doneUnsafe(this.closing, Effect.void)
      for (const listener of this.lostListeners) listener(this.lostError())
      this.lostListeners.clear()
    })
    try {
      if (this.via === undefined) {
        const socket = new Socket()
        socket.connect({
          host: login.address,
          port: login.port,
          autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_MILLIS
        })
        inWholePackets(socket)
        this.speak(socket, key)
      } else this.forward(this.via, key, explain)
    } catch (error) {
      // Node throws for a port out of range; ssh2 for a configuration it does not know.
      this.refuse(explain(toFailure(error)))
      this.transport?.destroy()
    }
  }

  /** Asks the jump host for a way to the host, and speaks SSH over that. */
  private forward(via: LiveSshConnection, key: ParsedKey, explain: (failure: Failure) => SshError): void {
    const { address, port } = this.login
    const lost = via.lost
    if (lost !== undefined) {
      this.refuse(explain(toFailure(new Error(lost.message))))
      return
    }
    const forget = via.onLost((error) => this.refuse(explain(toFailure(new Error(error.message)))))
    via.client.forwardOut("127.0.0.1", 0, address, port, (error, channel) => {
      forget()
      if (error !== undefined && error !== null) {
        this.refuse(forwardError(toFailure(error), this.name, via.name))
        return
      }
      // Given up while the jump host was still trying.
      if (this.ended) {
        channel.on("error", () => {})
        channel.resume()
        channel.close()
        return
      }
      try {
        this.speak(channel, key)
      } catch (failed) {
        this.refuse(explain(toFailure(failed)))
        channel.destroy()
      }
    })
  }

  private speak(transport: Duplex, key: ParsedKey): void {
    const { client, login, settings } = this
    this.transport = transport
    const publicKey: PublicKeyAuthMethod = { type: "publickey", username: login.user, key }
    client.connect({
      sock: transport,
      username: login.user,
      authHandler: [publicKey],
      algorithms: algorithms(knownTypes(login.hostKeys, login)),
      keepaliveInterval: settings.keepaliveMillis,
      keepaliveCountMax: KEEPALIVE_COUNT_MAX,
      readyTimeout: 0, // the caller bounds connecting, DNS included
      // Before anything of the user is offered: SSH authenticates the host first (RFC 4253, section 8).
      hostVerifier: (offered: Buffer): boolean => {
        this.shown = pinOf(offered)
        const refused = settings.insecureIgnoreHostKeys ? undefined : refusal(login.hostKeys, login, offered)
        if (refused !== undefined) this.refuse(hostKeyRefused(this.name, refused))
        return refused === undefined
      }
    })
    // Without it every small packet waits for the host's delayed acknowledgement: 40 ms an exec.
    client.setNoDelay(true)
  }

  private refuse(error: SshError): void {
    Deferred.doneUnsafe(this.agreement, Effect.fail(error))
    Deferred.doneUnsafe(this.readiness, Effect.fail(error))
  }

  private lostError(): SshError {
    const jumpHost = this.via?.lost === undefined ? undefined : this.via.name
    return lostError(this.name, this.failure, jumpHost)
  }

  /** Says goodbye, and destroys the socket when that takes longer than END_TIMEOUT. */
  get end(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.ended = true
      const { transport } = this
      if (this.lost !== undefined || transport === undefined || transport.destroyed) return Effect.void
      if (!this.up) {
        transport.destroy()
        return Effect.void
      }
      this.client.end()
      return Deferred.await(this.closing).pipe(
        Effect.timeoutOrElse({ duration: END_TIMEOUT, orElse: () => Effect.sync(() => transport.destroy()) }),
        Effect.asVoid
      )
    })
  }
}
