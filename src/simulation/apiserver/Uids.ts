/**
 * Owns the server's own randomness: uids and generated name suffixes. Drawn from one seed taken when the server starts,
 * so that a seeded simulation replays exactly whatever its clients draw in between.
 */

/** What upstream generates names from: no vowels (no words), no characters that look alike. */
const SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
export const SUFFIX_LENGTH = 5

export class Uids {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** mulberry32: 32 bits a draw; enough to tell objects apart, no security asked. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }

  below(bound: number): number {
    return Math.floor((this.#next() / 0x1_0000_0000) * bound)
  }

  /** An RFC 4122 version 4 uuid. */
  uid(): string {
    const hex = [this.#next(), this.#next(), this.#next(), this.#next()]
      .map((word) => word.toString(16).padStart(8, "0"))
      .join("")
    const variant = "89ab"[Number.parseInt(hex[16] ?? "0", 16) & 3] ?? "8"
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`
  }

  suffix(): string {
    return Array.from({ length: SUFFIX_LENGTH }, () => SUFFIX_ALPHABET[this.below(SUFFIX_ALPHABET.length)]).join("")
  }

  shuffle<A>(items: ReadonlyArray<A>): ReadonlyArray<A> {
    const mixed = [...items]
    for (let index = mixed.length - 1; index > 0; index--) {
      const other = this.below(index + 1)
      const [a, b] = [mixed[index], mixed[other]]
      if (a !== undefined && b !== undefined) {
        mixed[index] = b
        mixed[other] = a
      }
    }
    return mixed
  }
}
