/**
 * Owns an ssh2 server in this process for the tests of LiveSshClient: accounts, commands as functions of a channel, and
 * ways to die. Not a host: nothing runs on it.
 */
import { type AddressInfo, connect as connectSocket } from "node:net"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Algorithms, Connection, ParsedKey, PublicKeyAuthContext, ServerChannel, TcpipRequestInfo } from "ssh2"
import ssh2 from "ssh2"
import { firstUse } from "../../src/ssh/HostKeys.ts"
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
  /** Private keys; one ed25519 key, the same for all servers, where absent. */
  readonly hostKeys?: ReadonlyArray<string>
  /** Who may log in, as lines of authorized_keys; the holder of `userKey` where absent. */
  readonly authorized?: ReadonlyArray<string>
  /** As a jump host: `forbid` is AllowTcpForwarding no, `swallow` a way that ends nowhere; absent: it forwards. */
  readonly forwarding?: "forbid" | "swallow"
}

export interface TestSshServer {
  readonly port: number
  readonly hostKeyPublic: Uint8Array
  readonly target: SshTarget
  readonly connections: ReadonlySet<Connection>
  /** User names that were offered together with a key: what an impostor would get to see. */
  readonly logins: ReadonlyArray<string>
  /** Where clients wanted to be forwarded to, `address:port`. */
  readonly forwards: ReadonlyArray<string>
}

export const userKey = makeKeyPair()
const hostKey = makeKeyPair()
export const hostKeyPublic = hostKey.publicBytes

interface Served {
  readonly server: ssh2.Server
  readonly connections: Set<Connection>
  readonly logins: Array<string>
  readonly forwards: Array<string>
}

const publicKeyOf = (line: string): ParsedKey => {
  const key = ssh2.utils.parseKey(line)
  if (key instanceof Error) throw key
  return key
}

/** As sshd: a key that is known is asked to sign, and a signature is checked. */
const admits = (key: ParsedKey, { blob, hashAlgo, key: offered, signature }: PublicKeyAuthContext): boolean => {
  if (!Buffer.from(key.getPublicSSH()).equals(offered.data)) return false
  return signature === undefined || blob === undefined || key.verify(blob, signature, hashAlgo) === true
}

const forward = (info: TcpipRequestInfo, accept: () => ServerChannel, reject: () => void): void => {
  const socket = connectSocket(info.destPort, info.destIP)
  socket.once("error", reject)
  socket.once("connect", () => {
    socket.removeListener("error", reject)
    const channel = accept()
    const end = (): void => {
      socket.destroy()
      channel.destroy()
    }
    socket.on("error", end)
    channel.on("error", end)
    channel.on("close", end)
    socket.pipe(channel)
    channel.pipe(socket)
  })
}

export const serve = (options: ServerOptions = {}): Effect.Effect<TestSshServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Served>((resume) => {
      const connections = new Set<Connection>()
      const logins: Array<string> = []
      const forwards: Array<string> = []
      const allowed = (options.authorized ?? [userKey.public]).map((line) => publicKeyOf(line))
      const server = new ssh2.Server(
        {
          hostKeys: [...(options.hostKeys ?? [hostKey.private])],
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
            if (context.method !== "publickey") return context.reject(["publickey"])
            if (context.signature === undefined) logins.push(context.username)
            if (allowed.some((key) => admits(key, context))) context.accept()
            else context.reject(["publickey"])
          })
          connection.on("tcpip", (accept, reject, info) => {
            forwards.push(`${info.destIP}:${info.destPort}`)
            if (options.forwarding === "forbid") reject()
            else if (options.forwarding !== "swallow") forward(info, accept, reject)
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
      server.listen(0, options.host ?? "127.0.0.1", () =>
        resume(Effect.succeed({ server, connections, logins, forwards }))
      )
    }),
    ({ server, connections }) =>
      Effect.callback<void>((resume) => {
        for (const connection of connections) connection.end()
        server.close(() => resume(Effect.void))
      })
  ).pipe(
    Effect.map(({ server, connections, logins, forwards }) => {
      // A TCP listener always has an AddressInfo; the type also covers pipes.
      const { port } = server.address() as AddressInfo
      const target: SshTarget = {
        address: options.host ?? "127.0.0.1",
        port,
        user: "root",
        privateKey: Redacted.make(userKey.private),
        hostKeys: firstUse
      }
      return { port, hostKeyPublic, target, connections, logins, forwards }
    })
  )
