/**
 * Owns an SSH server in this process for one host: its address, host key, accounts, and exec, which goes to whoever runs
 * commands there. As with OpenSSH, a connection that ends leaves what it started running. `sudo -n` of an account that may
 * is root, as sudo would have it. Does not own the host (Namespace.ts).
 */
import type { ChildProcessWithoutNullStreams } from "node:child_process"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { AuthContext, Connection, ServerChannel } from "ssh2"
import ssh2 from "ssh2"

const SUDO = "sudo -n "

export class ListenError extends Data.TaggedError("ListenError")<{
  readonly message: string
  readonly code: string | undefined
}> {}

export interface SshServerOptions {
  readonly address: string
  readonly port: number
  /** PEM or OpenSSH. */
  readonly hostKey: string
  /** SSH wire format of the one key that is accepted. */
  readonly publicKey: Uint8Array
  /** uid by name. */
  readonly accounts: ReadonlyMap<string, number>
  readonly run: (command: string, uid: number) => ChildProcessWithoutNullStreams
  /** A command has ended, or its connection has. */
  readonly onEnd: () => void
}

const isAccepted = (context: AuthContext, options: SshServerOptions): boolean =>
  context.method === "publickey" &&
  options.accounts.has(context.username) &&
  Buffer.from(options.publicKey).equals(context.key.data) &&
  (context.signature === undefined || verified(context, options.publicKey))

const verified = (context: AuthContext, publicKey: Uint8Array): boolean => {
  if (context.method !== "publickey" || context.blob === undefined || context.signature === undefined) return false
  const key = ssh2.utils.parseKey(Buffer.from(publicKey))
  return !(key instanceof Error) && key.verify(context.blob, context.signature, context.hashAlgo) === true
}

const serveExec = (channel: ServerChannel, child: ChildProcessWithoutNullStreams, onEnd: () => void): void => {
  channel.on("error", () => undefined)
  // A command that ends before it has read everything is no error of ours.
  child.stdin.on("error", () => undefined)
  channel.pipe(child.stdin)
  child.stdout.pipe(channel, { end: false })
  child.stderr.pipe(channel.stderr, { end: false })
  channel.once("close", () => {
    // The reading ends go, the process stays.
    child.stdout.destroy()
    child.stderr.destroy()
    onEnd()
  })
  child.once("error", () => channel.exit(127))
  child.once("close", (code, signal) => {
    if (signal === null) channel.exit(code ?? 0)
    else channel.exit(signal.replace(/^SIG/, ""))
    channel.end()
    onEnd()
  })
}

const serveConnection = (connection: Connection, options: SshServerOptions): void => {
  let user = "root"
  // Missing from the types; without it each small reply waits for the client's acknowledgement.
  Reflect.get(connection, "setNoDelay")?.call(connection, true)
  connection.on("error", () => undefined)
  connection.on("authentication", (context) => {
    user = context.username
    if (isAccepted(context, options)) context.accept()
    else context.reject(["publickey"])
  })
  connection.on("session", (accept) => {
    accept().on("exec", (acceptExec, _reject, { command }) => {
      const isSudo = command.startsWith(SUDO)
      const child = options.run(
        isSudo ? command.slice(SUDO.length) : command,
        isSudo ? 0 : (options.accounts.get(user) ?? 0)
      )
      serveExec(acceptExec(), child, options.onEnd)
    })
  })
}

/** Listens until the scope ends. */
export const serve = (options: SshServerOptions): Effect.Effect<void, ListenError, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.callback<{ readonly server: ssh2.Server; readonly open: Set<Connection> }, ListenError>((resume) => {
        const open = new Set<Connection>()
        const server = new ssh2.Server({ hostKeys: [options.hostKey] }, (connection) => {
          open.add(connection)
          connection.once("close", () => open.delete(connection))
          serveConnection(connection, options)
        })
        server.once("error", (error: NodeJS.ErrnoException) =>
          resume(Effect.fail(new ListenError({ message: error.message, code: error.code })))
        )
        server.listen(options.port, options.address, () => resume(Effect.succeed({ server, open })))
      }),
      ({ open, server }) =>
        Effect.callback<void>((resume) => {
          for (const connection of open) connection.end()
          server.close(() => resume(Effect.void))
        })
    )
  )
