/**
 * Owns a listener that accepts connections and never says a word, as a host whose sshd hangs; it counts who came.
 */
import { connect as connectSocket, createServer, type Socket } from "node:net"
import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"

/** Accepts and says nothing. */
export const silentServer = Effect.gen(function* () {
  const sockets = new Set<{ readonly destroy: () => void }>()
  const waiting: Array<{ readonly count: number; readonly arrived: Deferred.Deferred<void> }> = []
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.resume()
    for (const { count, arrived } of waiting) if (count === sockets.size) Deferred.doneUnsafe(arrived, Effect.void)
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () =>
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
      })
  )
  const address = server.address()
  assert(typeof address === "object" && address !== null)
  const { port } = address
  return {
    port,
    count: () => sockets.size,
    arrived: (count: number) =>
      Effect.suspend(() => {
        const arrived = Deferred.makeUnsafe<void>()
        waiting.push({ count, arrived })
        return sockets.size >= count ? Effect.void : Deferred.await(arrived)
      }),
    visit: Effect.acquireRelease(
      Effect.callback<Socket>((resume) => {
        const socket = connectSocket({ host: "127.0.0.1", port }, () => resume(Effect.succeed(socket)))
        socket.on("error", () => {})
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
  }
})
