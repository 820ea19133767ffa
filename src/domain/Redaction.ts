/**
 * Owns taking known secrets out of a text before people see it (conditions, Events, logs). Knows no secret itself:
 * callers pass what they put on the host (join token, key, file contents).
 */

export const REDACTED = "[redacted]"

/** Characters. A whole secret shorter than this can't be told from ordinary words. */
const MIN_SECRET_LENGTH = 4
/** Characters. Pieces (a line of a key, a base64 form) shorter than this stay. */
const MIN_PIECE_LENGTH = 8
/**
 * Characters. Any run this long out of a secret goes, so that a text cut or wrapped in the middle of one (a stderr tail
 * starts anywhere) doesn't show the rest; long enough not to hit ordinary words.
 */
const WINDOW_LENGTH = 16

/** Base64 of `text` as it looks inside the base64 of any longer text: one form for each alignment, sure middle only. */
const base64Forms = (text: string): ReadonlyArray<string> =>
  [0, 1, 2].map((offset) => {
    const encoded = Buffer.concat([Buffer.alloc(offset), Buffer.from(text, "utf8")]).toString("base64")
    const padding = encoded.endsWith("==") ? 3 : encoded.endsWith("=") ? 2 : 0
    return encoded.slice(offset === 0 ? 0 : offset + 1, encoded.length - padding)
  })

const piecesOf = (secret: string): ReadonlyArray<string> => {
  const whole = secret.trim()
  if (whole.length < MIN_SECRET_LENGTH) return []
  const lines = whole.split(/\r?\n/).map((line) => line.trim())
  const parts = [
    ...lines,
    ...[whole, secret, ...lines].flatMap((text) => (text.length < MIN_SECRET_LENGTH ? [] : base64Forms(text)))
  ]
  return [whole, ...parts.filter((part) => part.length >= MIN_PIECE_LENGTH)]
}

const cover = (hidden: Uint8Array, from: number, length: number): void => {
  hidden.fill(1, from, from + length)
}

const coverPiece = (hidden: Uint8Array, text: string, piece: string): void => {
  for (let at = text.indexOf(piece); at !== -1; at = text.indexOf(piece, at + 1)) cover(hidden, at, piece.length)
}

/** Characters of a secret that are looked for window by window: bounds the memory a big file of mode 0600 costs. */
const MAX_WINDOWED_LENGTH = 64 * 1024

/** Built once for a set of secrets; the function it gives is cheap. */
export const redactor = (secrets: Iterable<string>): ((text: string) => string) => {
  const pieces = [...new Set([...secrets].flatMap(piecesOf))].sort((a, b) => b.length - a.length)
  const windows = new Set<string>()
  for (const piece of pieces) {
    for (let at = 0; at + WINDOW_LENGTH <= Math.min(piece.length, MAX_WINDOWED_LENGTH); at++)
      windows.add(piece.slice(at, at + WINDOW_LENGTH))
  }
  if (pieces.length === 0) return (text) => text
  return (text) => {
    const hidden = new Uint8Array(text.length)
    for (const piece of pieces) coverPiece(hidden, text, piece)
    for (let at = 0; at + WINDOW_LENGTH <= text.length; at++) {
      if (windows.has(text.slice(at, at + WINDOW_LENGTH))) cover(hidden, at, WINDOW_LENGTH)
    }
    let out = ""
    for (let at = 0; at < text.length; at++) {
      if (hidden[at] === 0) out += text.charAt(at)
      else if (at === 0 || hidden[at - 1] === 0) out += REDACTED
    }
    return out
  }
}

export const redact = (text: string, secrets: Iterable<string>): string => redactor(secrets)(text)
