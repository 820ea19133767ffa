/**
 * Holds: what the SSH flags of `machinist controller` say reaches the client, their defaults are the client's own, and
 * values that make no sense are refused with the flag's name.
 */

import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { type SshInput, sshFlags, sshOptions } from "../../src/cli/SshFlags.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import * as LiveSshClient from "../../src/ssh/LiveSshClient.ts"
import { MAX_SESSIONS, MAX_SESSIONS_PER_JUMP_HOST } from "../../src/ssh/SessionLimits.ts"

const parse = (...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const seen: Array<SshInput> = []
    const command = Command.make("controller", sshFlags, (input) => Effect.sync(() => void seen.push(input)))
    yield* Command.runWith(command, { version: "0" })(args)
    const [input] = seen
    return input === undefined ? yield* Effect.die("not run") : input
  }).pipe(Effect.provide(NodeServices.layer))

describe("SSH flags", () => {
  it.live("have the client's defaults", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Effect.flatMap(parse(), sshOptions), {
        connectTimeoutSeconds: LiveSshClient.CONNECT_TIMEOUT_SECONDS,
        loginTimeoutSeconds: LiveSshClient.LOGIN_TIMEOUT_SECONDS,
        idleSeconds: LiveHostRuns.SESSION_IDLE_SECONDS,
        keepaliveSeconds: LiveSshClient.KEEPALIVE_SECONDS,
        maxSessions: MAX_SESSIONS,
        maxSessionsPerJumpHost: MAX_SESSIONS_PER_JUMP_HOST,
        insecureIgnoreHostKeys: false
      })
    })
  )

  it.live("are followed", () =>
    Effect.gen(function* () {
      const input = yield* parse(
        ...["--ssh-connect-timeout", "1m", "--ssh-login-timeout", "90s", "--ssh-idle-timeout", "0s"],
        ...["--ssh-keepalive-interval", "5", "--max-ssh-sessions", "7", "--max-ssh-sessions-per-jump-host", "3"],
        "--insecure-ignore-host-keys"
      )
      assert.deepStrictEqual(yield* sshOptions(input), {
        connectTimeoutSeconds: 60,
        loginTimeoutSeconds: 90,
        idleSeconds: 0,
        keepaliveSeconds: 5,
        maxSessions: 7,
        maxSessionsPerJumpHost: 3,
        insecureIgnoreHostKeys: true
      })
    })
  )

  it.live("that make no sense are refused by name", () =>
    Effect.gen(function* () {
      const cases = [
        ["--ssh-connect-timeout", "0s"],
        ["--ssh-login-timeout", "soon"],
        ["--ssh-keepalive-interval", "10ms"],
        ["--max-ssh-sessions", "0"],
        ["--max-ssh-sessions-per-jump-host", "0"]
      ] as const
      for (const [flag, value] of cases) {
        const error = yield* Effect.flip(Effect.flatMap(parse(flag, value), sshOptions))
        assert.include(String(Reflect.get(error, "userMessage")), flag)
      }
    })
  )
})
