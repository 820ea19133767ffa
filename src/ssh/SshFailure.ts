/**
 * Owns turning what ssh2 and Node report into the phases of SshError, with a message that names target, cause and what
 * would change it. Pure. Does not own when a connection counts as ready or lost: LiveSshConnection tells.
 */
import { lacking } from "./Algorithms.ts"
import type { HostKeyRefusal } from "./HostKeys.ts"
import { SshError, type SshPhase } from "./SshError.ts"

/** The parts of an ssh2 or socket error that classify it; ssh2 puts `level` beside Node's `code`. */
export interface Failure {
  readonly message: string
  readonly level: string | undefined
  /** Node's errno name, or ssh2's number of an SSH disconnect reason (RFC 4253, 11.1). */
  readonly code: string | number | undefined
}

const field = (value: object, name: string): unknown => Reflect.get(value, name)

export const toFailure = (error: unknown): Failure => {
  if (!(error instanceof Error)) return { message: String(error), level: undefined, code: undefined }
  const level = field(error, "level")
  // Of a channel that was not opened: RFC 4254's number, from 1 to 4.
  const code = field(error, "code") ?? field(error, "reason")
  return {
    message: error.message === "" ? error.name : error.message,
    level: typeof level === "string" ? level : undefined,
    code: typeof code === "string" || typeof code === "number" ? code : undefined
  }
}

/** RFC 4253: 14 is NO_MORE_AUTH_METHODS_AVAILABLE; OpenSSH sends 2 with these words past MaxAuthTries. */
const isAuthenticationDisconnect = (failure: Failure): boolean =>
  failure.code === 14 || /too many authentication failures/i.test(failure.message)

const socketCause: Readonly<Record<string, readonly [SshPhase, string]>> = {
  ECONNREFUSED: ["connect", "connection refused; nothing listens there: start sshd, or correct address and port"],
  ENOTFOUND: ["connect", "the name does not resolve; correct the address, or the DNS"],
  EAI_AGAIN: ["connect", "the name could not be looked up for now; check the DNS"],
  EHOSTUNREACH: ["connect", "no route to the host; check that it is up and the network between"],
  ENETUNREACH: ["connect", "the network is unreachable; check routes and firewall"],
  ENETDOWN: ["connect", "the network is down"],
  EACCES: ["connect", "the connection is forbidden here; check the firewall or network policy of the controller"],
  EPERM: ["connect", "the connection is forbidden here; check the firewall or network policy of the controller"],
  ECONNRESET: ["connect", "the connection was reset before login; check sshd and what lies between"],
  EPIPE: ["connect", "the connection was closed before login; check sshd's log"],
  ETIMEDOUT: ["timeout", "no answer; check that the host is up and that no firewall drops the packets"],
  ERR_SOCKET_BAD_PORT: ["connect", "the port is not between 1 and 65535; correct it"]
}

const connectCause = (failure: Failure, user: string, keyFingerprint: string): readonly [SshPhase, string] => {
  if (failure.level === "client-timeout") {
    return ["timeout", "the SSH handshake did not end in time; check that the host answers and is not overloaded"]
  }
  if (failure.level === "client-authentication" || isAuthenticationDisconnect(failure)) {
    return [
      "authentication",
      `the host refused user ${user} with the key ${keyFingerprint}; add its public key to that user's ` +
        `authorized_keys, or correct user or key (sshd's log on the host says why)`
    ]
  }
  if (failure.level === "handshake") {
    const why = failure.message.replace(/^Handshake failed: /, "")
    return [
      "handshake",
      /no matching/.test(why)
        ? `no SSH handshake is possible: ${why}, only older ones; give its sshd ${lacking(why)}`
        : `the SSH handshake failed: ${why}; check what answers there, and sshd's log`
    ]
  }
  const known = typeof failure.code === "string" ? socketCause[failure.code] : undefined
  if (known !== undefined) return known
  if (/connection lost before handshake/i.test(failure.message)) {
    return ["connect", "it was closed before any SSH greeting; is it sshd, and below its MaxStartups?"]
  }
  return ["connect", `${failure.message}; check sshd's log on the host`]
}

/** Before the session was ready. */
export const connectError = (failure: Failure, target: string, user: string, keyFingerprint: string): SshError => {
  const [phase, cause] = connectCause(failure, user, keyFingerprint)
  return new SshError({ phase, target, message: `cannot connect to ${target}: ${cause}` })
}

export const connectTimeout = (target: string, seconds: number): SshError =>
  new SshError({
    phase: "timeout",
    target,
    message: `cannot connect to ${target}: no SSH session within ${seconds} s; check that the host is up, answers, and that no firewall drops the packets`
  })

export const loginTimeout = (target: string, seconds: number): SshError =>
  new SshError({
    phase: "timeout",
    target,
    message: `cannot log in to ${target}: its sshd answers, but the login did not end within ${seconds} s; check PAM, name service and load on the host`
  })

export const hostKeyRefused = (target: string, { message, why }: HostKeyRefusal): SshError =>
  new SshError({
    phase: why === "changed" ? "hostKeyChanged" : "hostKey",
    target,
    message: `the host key of ${target} ${message}`.replace(" , ", ", ")
  })

/** RFC 4254, 5.1: why a jump host opened no channel. */
const CONNECT_FAILED = 2

/** The jump host is connected, and does not get us (or let us) through to the target. */
export const forwardError = (failure: Failure, target: string, jumpHost: string): SshError => {
  const reached = failure.code === CONNECT_FAILED
  const said = failure.message.replace(/^\(SSH\) Channel open failure: /, "")
  return new SshError({
    phase: reached ? "connect" : "forwarding",
    target,
    ...(reached ? {} : { jumpHost }),
    message: reached
      ? `cannot connect to ${target}: its jump host ${jumpHost} could not (${said}); check that the host is up and listens, and that the jump host reaches it`
      : `cannot connect to ${target}: its jump host ${jumpHost} forwards no connection there (${said}); allow it: AllowTcpForwarding and PermitOpen in its sshd_config`
  })
}

/** The target was not tried at all. */
export const atJumpHost = (target: string, error: SshError): SshError =>
  new SshError({
    phase: error.phase,
    target,
    jumpHost: error.jumpHost ?? error.target,
    message: error.jumpHost === undefined ? `${target} is behind a jump host: ${error.message}` : error.message
  })

export const limitReached = (target: string, what: string, limit: number, seconds: number): SshError =>
  new SshError({
    phase: "limit",
    target,
    message: `no SSH session to ${target} was begun within ${seconds} s: ${limit} sessions ${what} are open already; wait for those to end, or raise the controller's limit`
  })

/** After the session was ready: `undefined` when the connection went without a word. */
export const lostError = (target: string, failure: Failure | undefined, jumpHost?: string): SshError => {
  if (jumpHost !== undefined) {
    const message = `the connection to ${target} was lost with that to its jump host ${jumpHost}`
    return new SshError({ phase: "closed", target, jumpHost, message })
  }
  if (failure?.level === "client-timeout") {
    return new SshError({
      phase: "timeout",
      target,
      message: `the connection to ${target} was given up: the host stopped answering keepalives; check that it is up and reachable`
    })
  }
  return new SshError({
    phase: "closed",
    target,
    message: `the connection to ${target} was lost${failure === undefined ? "" : `: ${failure.message}`}; if it is each time, see sshd's log on the host (PAM limits, memory) and the network between`
  })
}
