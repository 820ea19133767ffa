/**
 * Owns the flags of how hosts are connected to: timeouts, limits, and the one that turns the check of host keys off.
 * Defaults are those of the SSH client. Does not own the client (ssh/), nor sessions (hosts/Sessions.ts).
 */
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { HostRuns } from "../hosts/HostRuns.ts"
import * as LiveHostRuns from "../hosts/LiveHostRuns.ts"
import * as LiveSshClient from "../ssh/LiveSshClient.ts"
import { MAX_SESSIONS, MAX_SESSIONS_PER_JUMP_HOST } from "../ssh/SessionLimits.ts"
import { seconds } from "./Duration.ts"

export const sshFlags = {
  sshConnectTimeout: Flag.String("ssh-connect-timeout").pipe(
    Flag.withDescription("A host, or jump host, that has not agreed on SSH keys after this long can't be reached"),
    Flag.withDefault(`${LiveSshClient.CONNECT_TIMEOUT_SECONDS}s`)
  ),
  sshLoginTimeout: Flag.String("ssh-login-timeout").pipe(
    Flag.withDescription("How long logging in may take after that"),
    Flag.withDefault(`${LiveSshClient.LOGIN_TIMEOUT_SECONDS}s`)
  ),
  sshIdleTimeout: Flag.String("ssh-idle-timeout").pipe(
    Flag.withDescription("How long a connection that nobody uses is kept"),
    Flag.withDefault(`${LiveHostRuns.SESSION_IDLE_SECONDS}s`)
  ),
  sshKeepalive: Flag.String("ssh-keepalive-interval").pipe(
    Flag.withDescription(
      "Time between two keepalives on a silent connection; it is given up after three unanswered ones"
    ),
    Flag.withDefault(`${LiveSshClient.KEEPALIVE_SECONDS}s`)
  ),
  maxSshSessions: Flag.Int("max-ssh-sessions").pipe(
    Flag.withDescription("How many SSH sessions may be open at once; others wait for one to end"),
    Flag.withDefault(MAX_SESSIONS)
  ),
  maxSshSessionsPerJumpHost: Flag.Int("max-ssh-sessions-per-jump-host").pipe(
    Flag.withDescription("How many of them may go through one jump host"),
    Flag.withDefault(MAX_SESSIONS_PER_JUMP_HOST)
  ),
  insecureIgnoreHostKeys: Flag.Boolean("insecure-ignore-host-keys").pipe(
    Flag.withDescription(
      "Check no host's key: whoever answers at a host's address gets the secrets that are meant for the host"
    ),
    Flag.withDefault(false)
  )
} as const

export interface SshInput {
  readonly sshConnectTimeout: string
  readonly sshLoginTimeout: string
  readonly sshIdleTimeout: string
  readonly sshKeepalive: string
  readonly maxSshSessions: number
  readonly maxSshSessionsPerJumpHost: number
  readonly insecureIgnoreHostKeys: boolean
}

const atLeast = (least: number, flag: string, value: number): Effect.Effect<number, CliError.UserError> =>
  value >= least
    ? Effect.succeed(value)
    : Effect.fail(
        new CliError.UserError({ cause: value, userMessage: `--${flag} must be at least ${least}, not ${value}` })
      )

/** Shorter ones are mistakes: a keepalive that floods the hosts, a timeout that no host can meet. */
const LEAST_SECONDS = 1

const duration = (flag: string, text: string) =>
  Effect.flatMap(seconds(flag, text), (value) => atLeast(LEAST_SECONDS, flag, value))

/** Refused before anything starts: a flag that makes no sense. */
export const sshOptions = (
  input: SshInput
): Effect.Effect<LiveSshClient.LiveSshClientOptions & LiveHostRuns.Options, CliError.UserError> =>
  Effect.gen(function* () {
    return {
      connectTimeoutSeconds: yield* duration("ssh-connect-timeout", input.sshConnectTimeout),
      loginTimeoutSeconds: yield* duration("ssh-login-timeout", input.sshLoginTimeout),
      idleSeconds: yield* seconds("ssh-idle-timeout", input.sshIdleTimeout),
      keepaliveSeconds: yield* duration("ssh-keepalive-interval", input.sshKeepalive),
      maxSessions: yield* atLeast(1, "max-ssh-sessions", input.maxSshSessions),
      maxSessionsPerJumpHost: yield* atLeast(1, "max-ssh-sessions-per-jump-host", input.maxSshSessionsPerJumpHost),
      insecureIgnoreHostKeys: input.insecureIgnoreHostKeys
    }
  })

/** Hosts over real SSH, as the flags say. */
export const layer = (input: SshInput): Layer.Layer<HostRuns, CliError.UserError> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const options = yield* sshOptions(input)
      if (options.insecureIgnoreHostKeys === true)
        yield* Effect.logWarning("host keys are not checked (--insecure-ignore-host-keys): anyone can pose as a host")
      return LiveHostRuns.layerWith(options).pipe(Layer.provide(LiveSshClient.layer(options)))
    })
  )
