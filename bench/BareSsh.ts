/** Owns what the scenarios on real hosts are measured against: ssh2 alone, one connection and one exec. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import ssh2 from "ssh2"
import type { SshTarget } from "../src/ssh/SshClient.ts"
import { BenchError } from "./Scenario.ts"

const failed = (message: string): BenchError => new BenchError({ scenario: "bare ssh2", message })

const connect = (client: ssh2.Client, target: SshTarget): void => {
  client.connect({
    host: target.address,
    port: target.port,
    username: target.user,
    privateKey: Redacted.value(target.privateKey)
  })
  client.setNoDelay(true)
}

/** Ends when the script has, and fails unless well. */
export const bareRun = (target: SshTarget, script: string): Effect.Effect<void, BenchError> =>
  Effect.callback((resume) => {
    const client = new ssh2.Client()
    const fail = (error: Error) => resume(Effect.fail(failed(`${target.address}: ${error.message}`)))
    client.on("error", fail)
    client.on("ready", () => {
      client.exec("sh -s", (error, channel) => {
        if (error !== undefined) return fail(error)
        channel.on("exit", (code: number | null) => {
          client.end()
          resume(code === 0 ? Effect.void : Effect.fail(failed(`the script ended with ${code}`)))
        })
        channel.resume()
        channel.stderr.resume()
        channel.end(script)
      })
    })
    connect(client, target)
    return Effect.sync(() => client.destroy())
  })

/** Open with an exec that runs, for as long as the scope is. */
export const bareSession = (target: SshTarget, command: string): Effect.Effect<void, BenchError, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.callback<ssh2.Client, BenchError>((resume) => {
        const client = new ssh2.Client()
        const fail = (error: Error) => resume(Effect.fail(failed(`${target.address}: ${error.message}`)))
        client.on("error", fail)
        client.on("ready", () => {
          client.exec(command, (error, channel) => {
            if (error !== undefined) return fail(error)
            channel.resume()
            channel.stderr.resume()
            resume(Effect.succeed(client))
          })
        })
        connect(client, target)
      }),
      (client) => Effect.sync(() => client.destroy())
    )
  )
