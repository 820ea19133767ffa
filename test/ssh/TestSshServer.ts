/**
 * Owns an ssh2 server in this process for the tests of LiveSshClient: accounts, commands as functions of a channel, and
 * ways to die. Not a host: nothing runs on it.
 */
import type { AddressInfo } from "node:net"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Algorithms, Connection, ServerChannel } from "ssh2"
import ssh2 from "ssh2"
import type { SshTarget } from "../../src/ssh/SshClient.ts"
import { makeKeyPair } from "./keyPair.ts"

export interface CommandContext {
  readonly command: string
  readonly channel: ServerChannel
  readonly connection: Connection
}

export interface ServerOptions {
  readonly algorithms?: Algorithms
  readonly host?: string
  readonly onCommand?: (context: CommandContext) => void
  /** Given what would open a channel, instead of opening it at once. */
  readonly onChannelWanted?: (open: () => void) => void
  /** Given what would accept a command, instead of accepting it at once. */
  readonly onExecWanted?: (accept: () => void, connection: Connection) => void
  /** Refuses to open channels. */
  readonly noChannels?: boolean
  readonly onConnection?: (connection: Connection) => void
}

export interface TestSshServer {
  readonly port: number
  readonly hostKeyPublic: Uint8Array
  readonly target: SshTarget
  readonly connections: ReadonlySet<Connection>
}

export const userKey = makeKeyPair()
const hostKey = makeKeyPair()
export const hostKeyPublic = hostKey.publicBytes

export const serve = (options: ServerOptions = {}): Effect.Effect<TestSshServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: ssh2.Server; readonly connections: Set<Connection> }>((resume) => {
      const connections = new Set<Connection>()
      const allowed = Buffer.from(userKey.publicBytes)
      const server = new ssh2.Server(
        {
          hostKeys: [hostKey.private],
          ...(options.algorithms === undefined ? {} : { algorithms: options.algorithms })
        },
        (connection) => {
          connections.add(connection)
          options.onConnection?.(connection)
          // Missing from @types/ssh2; without it each small reply waits 40 ms for the client's acknowledgement.
          Reflect.get(connection, "setNoDelay").call(connection, true)
          connection.on("error", () => {})
          connection.on("close", () => connections.delete(connection))
          connection.on("authentication", (context) => {
            if (context.method === "publickey" && allowed.equals(context.key.data)) context.accept()
            else context.reject(["publickey"])
          })
          connection.on("session", (accept, reject) => {
            if (options.noChannels === true) {
              reject()
              return
            }
            const open = (): void => {
              accept().on("exec", (acceptExec, _rejectExec, info) => {
                const run = (): void => {
                  const channel = acceptExec()
                  channel.on("error", () => {})
                  // ssh2 closes a channel only once its input is read to the end.
                  channel.resume()
                  options.onCommand?.({ command: info.command, channel, connection })
                }
                if (options.onExecWanted === undefined) run()
                else options.onExecWanted(run, connection)
              })
            }
            if (options.onChannelWanted === undefined) open()
            else options.onChannelWanted(open)
          })
        }
      )
      server.listen(0, options.host ?? "127.0.0.1", () => resume(Effect.succeed({ server, connections })))
    }),
    ({ server, connections }) =>
      Effect.callback<void>((resume) => {
        for (const connection of connections) connection.end()
        server.close(() => resume(Effect.void))
      })
  ).pipe(
    Effect.map(({ server, connections }) => {
      // A TCP listener always has an AddressInfo; the type also covers pipes.
      const { port } = server.address() as AddressInfo
      const target: SshTarget = {
        address: options.host ?? "127.0.0.1",
        port,
        user: "root",
        privateKey: Redacted.make(userKey.private)
      }
      return { port, hostKeyPublic, target, connections }
    })
  )
