/**
 * Owns that an SSH packet is one write: ssh2 writes its length, its contents and its seal apart, each at once. With Nagle's
 * algorithm off that is three system calls here and three packets on the network, of which the first two wake the host's
 * sshd for nothing. Whatever is written in one turn of the event loop leaves together; nothing waits longer than that.
 */
import type { Socket } from "node:net"

type Done = (error?: Error | null) => void

/** After `connect`, which puts Node's own `write` back. What Node does about writes behind the host's FIN stays. */
export const inWholePackets = (socket: Socket): void => {
  const write = socket.write.bind(socket)
  let gathering = false
  const send = (): void => {
    gathering = false
    socket.uncork()
  }
  socket.write = (chunk: Uint8Array | string, encoding?: BufferEncoding | Done, done?: Done): boolean => {
    if (!gathering) {
      gathering = true
      socket.cork()
      process.nextTick(send)
    }
    return typeof encoding === "function" ? write(chunk, encoding) : write(chunk, encoding, done)
  }
}
