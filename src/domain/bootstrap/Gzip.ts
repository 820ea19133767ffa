/**
 * Owns gzip whose bytes depend on nothing but the content: no time, no file name, and stored (uncompressed) blocks, or
 * our own compressor's (Deflate.ts), because what zlib makes differs between its versions and CPUs. Join tokens are about
 * 2 KiB: size is nothing, while equal bytes mean that bootstrap data never looks changed. Reading takes any gzip, within
 * a bound.
 */
import { crc32, gunzipSync } from "node:zlib"
import * as Result from "effect/Result"
import { deflate } from "./Deflate.ts"

/** RFC 1951: the length field of a stored block has 16 bits. */
const MAX_STORED_BYTES = 0xffff
/** Bytes. Nothing that is bootstrapped is bigger; stops a decompression bomb. */
export const MAX_GUNZIP_BYTES = 16 * 1024 * 1024

/** RFC 1952: magic, deflate, no flags, mtime 0, no hint, operating system unknown. */
const HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff)

export const gzipStored = (content: Uint8Array): Uint8Array => {
  const blocks: Array<Uint8Array> = []
  let at = 0
  do {
    const chunk = content.subarray(at, at + MAX_STORED_BYTES)
    at += chunk.length
    const head = new Uint8Array(5)
    const view = new DataView(head.buffer)
    head[0] = at >= content.length ? 1 : 0
    view.setUint16(1, chunk.length, true)
    view.setUint16(3, chunk.length ^ 0xffff, true)
    blocks.push(head, chunk)
  } while (at < content.length)
  return framed(content, blocks)
}

export const gzipDeflated = (content: Uint8Array): Uint8Array => framed(content, [deflate(content)])

/** gzip of the content, if it has at least `from` bytes and is shorter for it, base64 around it included. */
export const compressed = (content: Uint8Array, from: number): Uint8Array | undefined => {
  if (content.length < from) return undefined
  const small = gzipDeflated(content)
  return Math.ceil(small.length / 3) * 4 < content.length ? small : undefined
}

const framed = (content: Uint8Array, blocks: ReadonlyArray<Uint8Array>): Uint8Array => {
  const tail = new Uint8Array(8)
  const view = new DataView(tail.buffer)
  view.setUint32(0, crc32(content), true)
  view.setUint32(4, content.length >>> 0, true)
  return Buffer.concat([HEADER, ...blocks, tail])
}

export const isGzip = (content: Uint8Array): boolean => content[0] === 0x1f && content[1] === 0x8b

/** Fails without saying why: the reason would be zlib's own wording about bytes that may be secret. */
export const gunzip = (content: Uint8Array): Result.Result<Uint8Array, "not gzip"> =>
  Result.try({
    try: (): Uint8Array => gunzipSync(content, { maxOutputLength: MAX_GUNZIP_BYTES }),
    catch: () => "not gzip" as const
  })

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$/

/** Strict but for white space, which wrapped base64 has: Node alone would skip over anything. */
export const decodeBase64 = (text: string): Result.Result<Uint8Array, "not base64"> => {
  const compact = text.replace(/\s+/g, "")
  return BASE64.test(compact) ? Result.succeed(Buffer.from(compact, "base64")) : Result.fail("not base64")
}
