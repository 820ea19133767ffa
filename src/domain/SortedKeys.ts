/**
 * Owns a persistent set of strings in order: adding and removing one copies a few hundred references, however many there
 * are, and the first ones are found without looking at the rest. Pure.
 */

/** Blocks in order, none empty. */
export type SortedKeys = ReadonlyArray<ReadonlyArray<string>>

/** A block that has grown to this many is halved. */
const BLOCK = 128

export const empty: SortedKeys = []

/** How many of `sorted` come before what `isAfter` says yes to first. */
const position = <A>(sorted: ReadonlyArray<A>, isAfter: (one: A) => boolean): number => {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const one = sorted[middle]
    if (one !== undefined && !isAfter(one)) low = middle + 1
    else high = middle
  }
  return low
}

/** The block that has the key, or would: the last one that begins at or before it. */
const blockOf = (keys: SortedKeys, key: string): number =>
  Math.max(0, position(keys, (block) => (block[0] ?? "") > key) - 1)

export const add = (keys: SortedKeys, key: string): SortedKeys => {
  const at = blockOf(keys, key)
  const block = keys[at] ?? []
  const place = position(block, (one) => one >= key)
  if (block[place] === key) return keys
  const grown = block.toSpliced(place, 0, key)
  const parts = grown.length < BLOCK ? [grown] : [grown.slice(0, BLOCK / 2), grown.slice(BLOCK / 2)]
  return keys.toSpliced(at, 1, ...parts)
}

export const remove = (keys: SortedKeys, key: string): SortedKeys => {
  const at = blockOf(keys, key)
  const block = keys[at] ?? []
  const place = position(block, (one) => one >= key)
  if (block[place] !== key) return keys
  return block.length === 1 ? keys.toSpliced(at, 1) : keys.with(at, block.toSpliced(place, 1))
}

/** The first one that will do. */
export const first = <A>(keys: SortedKeys, suits: (key: string) => A | undefined): A | undefined => {
  for (const block of keys)
    for (const key of block) {
      const found = suits(key)
      if (found !== undefined) return found
    }
  return undefined
}
