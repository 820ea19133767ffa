/**
 * Owns compressing (RFC 1951) with bytes that depend on nothing but the content: zlib's differ between its versions and
 * CPUs, and bootstrap data that is rendered again must be the same. One block of fixed Huffman codes, greedy matches: for
 * the few contents that would not fit otherwise. Does not own gzip's frame around it (Gzip.ts), nor reading.
 */

const WINDOW_BYTES = 32_768
const MIN_MATCH = 3
const MAX_MATCH = 258
/** Earlier places that are tried for a match. */
const MAX_CHAIN = 64
const HASH_BITS = 15

class BitWriter {
  #bytes: Uint8Array
  #at = 0
  #buffer = 0
  #count = 0
  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity)
  }
  /** Least significant bit first; at most 16 bits. */
  write(value: number, bits: number): void {
    this.#buffer |= value << this.#count
    this.#count += bits
    while (this.#count >= 8) {
      this.#bytes[this.#at++] = this.#buffer & 0xff
      this.#buffer >>>= 8
      this.#count -= 8
    }
  }
  finish(): Uint8Array {
    if (this.#count > 0) this.write(0, 8 - this.#count)
    return this.#bytes.subarray(0, this.#at)
  }
}

const reversed = (code: number, bits: number): number => {
  let result = 0
  for (let bit = 0; bit < bits; bit++) result |= ((code >> bit) & 1) << (bits - 1 - bit)
  return result
}

interface Code {
  readonly value: number
  readonly bits: number
}

/** RFC 1951, 3.2.6. Huffman codes are written from their most significant bit. */
const fixedCode = (symbol: number): Code => {
  const [code, bits] =
    symbol < 144
      ? [0x30 + symbol, 8]
      : symbol < 256
        ? [0x190 + symbol - 144, 9]
        : symbol < 280
          ? [symbol - 256, 7]
          : [0xc0 + symbol - 280, 8]
  return { value: reversed(code, bits), bits }
}
const SYMBOLS: ReadonlyArray<Code> = Array.from({ length: 288 }, (_, symbol) => fixedCode(symbol))
const END_OF_BLOCK = 256

interface Range {
  readonly symbol: number
  readonly base: number
  readonly extra: number
}

/** `counts[extra]`: how many codes have that many extra bits. */
const ranges = (first: number, base: number, counts: ReadonlyArray<number>): ReadonlyArray<Range> => {
  const found: Array<Range> = []
  let next = base
  for (const [extra, count] of counts.entries())
    for (let one = 0; one < count; one++) {
      found.push({ symbol: first + found.length, base: next, extra })
      next += 1 << extra
    }
  return found
}
/** 258 has a code of its own. */
const LENGTHS: ReadonlyArray<Range> = [
  ...ranges(257, MIN_MATCH, [8, 4, 4, 4, 4, 4]),
  { symbol: 285, base: MAX_MATCH, extra: 0 }
]
const DISTANCES = ranges(0, 1, [4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])

const NONE: Range = { symbol: 0, base: 0, extra: 0 }
/** The last range that begins at or below the value. */
const table = (of: ReadonlyArray<Range>, size: number): ReadonlyArray<Range> => {
  const found: Array<Range> = []
  let at = 0
  for (let value = 0; value < size; value++) {
    while ((of[at + 1]?.base ?? Number.POSITIVE_INFINITY) <= value) at++
    found.push(of[at] ?? NONE)
  }
  return found
}
const LENGTH_OF = table(LENGTHS, MAX_MATCH + 1)
const DISTANCE_OF = table(DISTANCES, WINDOW_BYTES + 1)

const writeSymbol = (out: BitWriter, symbol: number): void => {
  const code = SYMBOLS[symbol]
  if (code !== undefined) out.write(code.value, code.bits)
}

const writeMatch = (out: BitWriter, length: number, distance: number): void => {
  const long = LENGTH_OF[length] ?? NONE
  writeSymbol(out, long.symbol)
  out.write(length - long.base, long.extra)
  const far = DISTANCE_OF[distance] ?? NONE
  out.write(reversed(far.symbol, 5), 5)
  out.write(distance - far.base, far.extra)
}

/** Where each hash of three bytes was seen last, and before that. */
class Places {
  readonly #last = new Int32Array(1 << HASH_BITS).fill(-1)
  readonly #before: Int32Array
  readonly #content: Uint8Array
  constructor(content: Uint8Array) {
    this.#content = content
    this.#before = new Int32Array(content.length).fill(-1)
  }
  #hash(at: number): number {
    const [a = 0, b = 0, c = 0] = [this.#content[at], this.#content[at + 1], this.#content[at + 2]]
    return (Math.imul((a << 16) | (b << 8) | c, 0x9e3779b1) >>> (32 - HASH_BITS)) & ((1 << HASH_BITS) - 1)
  }
  add(at: number): void {
    if (at + MIN_MATCH > this.#content.length) return
    const hash = this.#hash(at)
    this.#before[at] = this.#last[hash] ?? -1
    this.#last[hash] = at
  }
  #lengthOf(at: number, earlier: number): number {
    const most = Math.min(MAX_MATCH, this.#content.length - at)
    let length = 0
    while (length < most && this.#content[at + length] === this.#content[earlier + length]) length++
    return length
  }
  /** The longest that was found; length 0: none worth a match. */
  find(at: number): { readonly length: number; readonly distance: number } {
    let best = { length: 0, distance: 0 }
    if (at + MIN_MATCH > this.#content.length) return best
    let earlier = this.#last[this.#hash(at)] ?? -1
    for (let tries = 0; tries < MAX_CHAIN && earlier >= 0 && at - earlier <= WINDOW_BYTES; tries++) {
      const length = this.#lengthOf(at, earlier)
      if (length >= MIN_MATCH && length > best.length) best = { length, distance: at - earlier }
      if (best.length === MAX_MATCH) break
      earlier = this.#before[earlier] ?? -1
    }
    return best
  }
}

export const deflate = (content: Uint8Array): Uint8Array => {
  // A literal takes at most nine bits.
  const out = new BitWriter(Math.ceil((content.length * 9) / 8) + 8)
  const places = new Places(content)
  // The last block, with fixed codes.
  out.write(1, 1)
  out.write(1, 2)
  for (let at = 0; at < content.length; ) {
    const { length, distance } = places.find(at)
    if (length === 0) writeSymbol(out, content[at] ?? 0)
    else writeMatch(out, length, distance)
    for (let one = 0; one < Math.max(1, length); one++) places.add(at + one)
    at += Math.max(1, length)
  }
  writeSymbol(out, END_OF_BLOCK)
  return out.finish()
}
