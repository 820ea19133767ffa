/** Holds that what is written in one turn of the event loop leaves as one write, whole and in order, and nothing is held back. */
import { once } from "node:events"
import { type AddressInfo, createServer, Socket } from "node:net"
import { assert, describe, it } from "vitest"
import { inWholePackets } from "../../src/ssh/WholePackets.ts"

class Counted extends Socket {
  writes = 0
  override _write(...args: Parameters<Socket["_write"]>): void {
    this.writes += 1
    super._write(...args)
  }
  override _writev(...args: Parameters<NonNullable<Socket["_writev"]>>): void {
    this.writes += 1
    super._writev?.(...args)
  }
}

/** Takes one connection; `received`: all that came through it, once it is over. */
const listen = async () => {
  const chunks: Array<Buffer> = []
  const server = createServer((socket) => socket.on("data", (bytes) => chunks.push(bytes)))
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port }: Pick<AddressInfo, "port"> = Object(server.address())
  const closed = new Promise((resolve) => server.on("connection", (socket) => socket.on("close", resolve)))
  const received = async () => {
    await closed
    return Buffer.concat(chunks).toString()
  }
  return { port, received, close: () => server.close() }
}

describe("whole packets", () => {
  it("three parts of a packet are one write, the next turn's another; the end waits for them", async () => {
    const { port, received, close } = await listen()
    const socket = new Counted()
    socket.connect(port, "127.0.0.1")
    inWholePackets(socket)
    await once(socket, "connect")
    for (const part of ["length ", "contents ", "seal "]) socket.write(part)
    await new Promise((resolve) => setImmediate(resolve))
    assert.strictEqual(socket.writes, 1)
    await new Promise<void>((resolve) => socket.write(Buffer.from("next "), () => resolve()))
    assert.strictEqual(socket.writes, 2)
    socket.write("last")
    socket.end()
    assert.strictEqual(await received(), "length contents seal next last")
    close()
  })

  it("what is written before the connection stands is not lost", async () => {
    const { port, received, close } = await listen()
    const socket = new Socket()
    socket.connect(port, "127.0.0.1")
    inWholePackets(socket)
    for (const part of ["SSH-", "2.0"]) socket.write(part)
    socket.end()
    assert.strictEqual(await received(), "SSH-2.0")
    close()
  })
})
