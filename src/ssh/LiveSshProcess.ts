/**
 * Owns one exec channel of an ssh2 connection as an SshProcess: opening, stdin, two output streams with backpressure,
 * the exit, and what becomes of them when the connection is lost. Does not own the connection, nor the remote process:
 * OpenSSH leaves that running when the channel closes.
 */
import type { Readable } from "node:stream"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ClientChannel } from "ssh2"
import type { LiveSshConnection } from "./LiveSshConnection.ts"
import type { SshDialog, SshExit, SshProcess } from "./SshClient.ts"
import { SshError } from "./SshError.ts"
import { toFailure } from "./SshFailure.ts"

/**
 * Bytes kept of an output that nobody reads yet. Past it the output is dropped, so that an unread stderr never stalls
 * stdout (both share one SSH window of 2 MiB), and a late reader is told. A reader that is slow is waited for.
 */
export const UNREAD_LIMIT_BYTES = 1024 * 1024

/** How long a host may take to open a channel; keepalives only tell that its sshd still lives. */
const OPEN_TIMEOUT_SECONDS = 15

const noop = (): void => {}

/**
 * Whether the host itself ended this output. When a connection dies ssh2 ends all its channels' outputs too, in the
 * same words; Node has no public name for "the end is queued", and ssh2 reads this same field.
 */
const isEndReceived = (readable: Readable): boolean => {
  const state: unknown = Reflect.get(readable, "_readableState")
  return typeof state === "object" && state !== null && Reflect.get(state, "ended") === true
}

/** One output of a channel: unread, then read by one consumer, then (consumer gone) dropped. */
class Output {
  private state: "unread" | "read" | "dropped" = "unread"
  private readonly name: "stdout" | "stderr"
  private readonly readable: Readable
  private readonly connection: LiveSshConnection
  /** Set when the connection was lost before the host had ended this output. */
  private cut: SshError | undefined = undefined

  constructor(name: "stdout" | "stderr", readable: Readable, connection: LiveSshConnection) {
    this.name = name
    this.readable = readable
    this.connection = connection
    readable.on("readable", this.onUnread)
    // Told before ssh2 ends its channels, so that the two ends can be told apart.
    readable.once(
      "close",
      connection.onLost((error) => {
        if (!isEndReceived(readable)) this.cut = error
      })
    )
  }

  private readonly onUnread = (): void => {
    if (this.readable.readableLength > UNREAD_LIMIT_BYTES) this.drop()
  }

  /** From here on everything is read and forgotten: an unread channel would never close. */
  drop(): void {
    this.state = "dropped"
    this.readable.removeListener("readable", this.onUnread)
    this.readable.resume()
  }

  private error(phase: SshError["phase"], message: string): SshError {
    return new SshError({ phase, target: this.connection.name, message })
  }

  /** Next bytes; done at the end; `closed` when the end is only the connection's. */
  private readonly next: Effect.Effect<readonly [Uint8Array], SshError | Cause.Done> = Effect.callback((resume) => {
    const { readable } = this
    const stop = (): void => {
      readable.removeListener("readable", attempt)
      readable.removeListener("end", attempt)
    }
    const attempt = (): void => {
      // `read` is untyped in @types/node: a byte stream without an encoding gives a Buffer or null.
      const bytes: unknown = readable.read()
      if (bytes instanceof Uint8Array) {
        stop()
        resume(Effect.succeed([bytes]))
      } else if (readable.readableEnded) {
        stop()
        resume(this.cut === undefined ? Cause.done() : Effect.fail(this.cut))
      }
    }
    readable.on("readable", attempt)
    readable.on("end", attempt)
    attempt()
    return Effect.sync(stop)
  })

  readonly stream: Stream.Stream<Uint8Array, SshError> = Stream.suspend(() => {
    if (this.state !== "unread") {
      const why =
        this.state === "read" ? "is read already" : `was dropped: nobody read its first ${UNREAD_LIMIT_BYTES} bytes`
      return Stream.fail(this.error("channel", `${this.name} of the command on ${this.connection.name} ${why}`))
    }
    this.state = "read"
    this.readable.removeListener("readable", this.onUnread)
    return Stream.fromPull(Effect.succeed(this.next)).pipe(Stream.ensuring(Effect.sync(() => this.drop())))
  })
}

const openChannel = (connection: LiveSshConnection, command: string): Effect.Effect<ClientChannel, SshError> =>
  Effect.callback((resume) => {
    let abandoned = false
    const fail = (error: unknown): void => {
      const phase = "channel"
      const message = `${connection.name} opened no channel for a command: ${toFailure(error).message}; check sshd's MaxSessions and forced commands`
      resume(Effect.fail(connection.lost ?? new SshError({ phase, target: connection.name, message })))
    }
    const lost = connection.lost
    if (lost !== undefined) {
      resume(Effect.fail(lost))
      return
    }
    try {
      connection.client.exec(command, (error, channel) => {
        if (error !== undefined && error !== null) return fail(error)
        channel.on("error", noop)
        channel.stderr.on("error", noop)
        // Interrupted while the host was opening it.
        if (abandoned) return closeChannel(channel)
        resume(Effect.succeed(channel))
      })
    } catch (error) {
      // ssh2 throws when its socket can no longer be written, a moment before it says `close`.
      const { message } = toFailure(error)
      resume(
        Effect.fail(
          new SshError({
            phase: "closed",
            target: connection.name,
            message: `the connection to ${connection.name} was lost: ${message}`
          })
        )
      )
    }
    return Effect.sync(() => {
      abandoned = true
    })
  })

const closeChannel = (channel: ClientChannel): void => {
  channel.removeAllListeners("readable")
  channel.stderr.removeAllListeners("readable")
  channel.resume()
  channel.stderr.resume()
  channel.close()
}

/** Without a copy. */
const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Opens the channel, sends `stdin` as the host takes it, and leaves it open. */
export const begin = Effect.fnUntraced(function* (
  connection: LiveSshConnection,
  command: string,
  stdin: Uint8Array
): Effect.fn.Return<SshDialog, SshError, Scope.Scope> {
  const { channel, process } = yield* start(connection, command)
  const write = (bytes: Uint8Array) =>
    Effect.sync(() => {
      if (channel.writable) channel.write(bufferOf(bytes))
    })
  yield* write(stdin)
  const end = (bytes: Uint8Array) =>
    Effect.sync(() => {
      if (channel.writable) channel.end(bufferOf(bytes))
    })
  return { ...process, write, end }
})

/** The same, and closes it. */
export const exec = (
  connection: LiveSshConnection,
  command: string,
  stdin: Uint8Array
): Effect.Effect<SshProcess, SshError, Scope.Scope> =>
  Effect.map(start(connection, command), ({ channel, process }) => {
    // One write: ssh2 cuts it along the host's window, and holds the rest back until the window opens.
    channel.end(bufferOf(stdin))
    return process
  })

interface Started {
  readonly channel: ClientChannel
  readonly process: SshProcess
}

const start = Effect.fnUntraced(function* (
  connection: LiveSshConnection,
  command: string
): Effect.fn.Return<Started, SshError, Scope.Scope> {
  const exit = Deferred.makeUnsafe<SshExit, SshError>()
  const channel = yield* Effect.acquireRelease(
    openChannel(connection, command).pipe(
      Effect.timeoutOrElse({
        duration: `${OPEN_TIMEOUT_SECONDS} seconds`,
        orElse: () => {
          const message = `${connection.name} opened no channel for a command within ${OPEN_TIMEOUT_SECONDS} s; check its load`
          return Effect.fail(new SshError({ phase: "timeout", target: connection.name, message }))
        }
      })
    ),
    (opened) =>
      Effect.sync(() => {
        closeChannel(opened)
        const message = `the command's channel to ${connection.name} was closed here before the command ended`
        Deferred.doneUnsafe(exit, Effect.fail(new SshError({ phase: "closed", target: connection.name, message })))
      }),
    { interruptible: true }
  )
  channel.on("exit", (code: number | null, signal?: string) => {
    const ended: SshExit = code === null ? { signal: signal ?? "unknown" } : { code }
    Deferred.doneUnsafe(exit, Effect.succeed(ended))
  })
  const forget = connection.onLost((error) => {
    Deferred.doneUnsafe(exit, Effect.fail(error))
  })
  channel.on("close", () => {
    forget()
    const message = `${connection.name} closed the command's channel without an exit status`
    Deferred.doneUnsafe(exit, Effect.fail(new SshError({ phase: "closed", target: connection.name, message })))
  })
  const stdout = new Output("stdout", channel, connection)
  const stderr = new Output("stderr", channel.stderr, connection)
  return { channel, process: { stdout: stdout.stream, stderr: stderr.stream, exit: Deferred.await(exit) } }
})
