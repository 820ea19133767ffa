/**
 * Owns quoting for a POSIX shell, and reading a piece of command line the way a shell reads it. k0smotron pastes
 * `spec.args` into a shell line as they are, so users write shell quotes, and expansions such as `$(hostname -I)`, in
 * them: both must go on working, while `;`, `|` or an unpaired quote must not break the line apart. Runs nothing.
 */
import * as Result from "effect/Result"

/** A part of a word: text as it is, or an expansion (`$NAME`, `${…}`, `$(…)`, backquotes) that the host's shell makes. */
export interface Piece {
  readonly kind: "text" | "expansion"
  readonly value: string
}
export type Word = ReadonlyArray<Piece>

/** Safe unquoted in every POSIX shell, at any place of a word. */
const PLAIN = /^[A-Za-z0-9_/:=@%+,.-]+$/

/** One word for the shell, nothing in it expanded. */
export const quote = (text: string): string => (PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

const escapeInDoubleQuotes = (text: string): string => text.replace(/[\\"$`]/g, "\\$&")

/** Double quotes around everything: what is inside reaches the command as one argument, expansions made. */
export const quoteWord = (word: Word): string => {
  const first = word[0]
  if (word.length === 1 && first?.kind === "text" && PLAIN.test(first.value)) return first.value
  return `"${insideDoubleQuotes(word)}"`
}

/** `$NAME` with braces when the text after it would make the name longer. */
const bracedBefore = (expansion: string, next: Piece | undefined): string =>
  /^\$[A-Za-z_]/.test(expansion) && /^[A-Za-z0-9_]/.test(next?.value ?? "") ? `\${${expansion.slice(1)}}` : expansion

export const insideDoubleQuotes = (word: Word): string =>
  word
    .map((piece, index) =>
      piece.kind === "text" ? escapeInDoubleQuotes(piece.value) : bracedBefore(piece.value, word[index + 1])
    )
    .join("")

export const textWord = (text: string): Word => [{ kind: "text", value: text }]

/** What the word says, with expansions as they are written: for looking at flags, never for a shell. */
export const plainText = (word: Word): string => word.map((piece) => piece.value).join("")

export const hasExpansion = (word: Word): boolean => word.some((piece) => piece.kind === "expansion")

/** What a program that splits its one argument again makes of the word; expansions stay whole. */
export const splitAtBlanks = (word: Word): ReadonlyArray<Word> => {
  const words: Array<Array<Piece>> = [[]]
  for (const piece of word) {
    if (piece.kind === "expansion") words.at(-1)?.push(piece)
    else
      for (const [index, value] of piece.value.split(/\s+/).entries()) {
        if (index > 0) words.push([])
        if (value !== "") words.at(-1)?.push({ kind: "text", value })
      }
  }
  return words.filter((one) => one.length > 0)
}

/** The word without its first `length` characters, which must be text. */
export const dropText = (word: Word, length: number): Word => {
  const [first, ...rest] = word
  if (first === undefined) return word
  const value = first.value.slice(length)
  return value === "" ? rest : [{ kind: first.kind, value }, ...rest]
}

export const joinWords = (words: ReadonlyArray<Word>, separator: string): Word =>
  merge(words.flatMap((word, index) => (index === 0 ? [...word] : [...textWord(separator), ...word])))

const merge = (pieces: ReadonlyArray<Piece>): Word => {
  const merged: Array<Piece> = []
  for (const piece of pieces) {
    const last = merged.at(-1)
    if (piece.kind === "text" && last?.kind === "text") {
      merged[merged.length - 1] = { kind: "text", value: last.value + piece.value }
    } else merged.push(piece)
  }
  return merged
}

export type ShellSyntaxError = "unpaired quote" | "unfinished expansion"

/** End (exclusive) of the quoted or bracketed stretch that opens at `at`; undefined when it never closes. */
const endOf = (text: string, at: number, open: string, close: string): number | undefined => {
  let depth = 0
  for (let i = at; i < text.length; i++) {
    const c = text.charAt(i)
    if (c === "\\") i++
    else if (c === "'") {
      const end = text.indexOf("'", i + 1)
      if (end === -1) return undefined
      i = end
    } else if (c === open) depth++
    else if (c === close && --depth === 0) return i + 1
  }
  return undefined
}

/** Length of the expansion that starts at `at`; 0: a plain dollar; undefined: it never ends. */
const expansionLength = (text: string, at: number): number | undefined => {
  if (text.charAt(at) === "`") {
    const end = text.indexOf("`", at + 1)
    return end === -1 ? undefined : end + 1 - at
  }
  const next = text.charAt(at + 1)
  if (next === "(" || next === "{") {
    const end = endOf(text, at + 1, next, next === "(" ? ")" : "}")
    return end === undefined ? undefined : end - at
  }
  const name = /^(?:[A-Za-z_][A-Za-z0-9_]*|[0-9?#$!*@-])/.exec(text.slice(at + 1))?.[0]
  return name === undefined ? 0 : 1 + name.length
}

/** One pass over a text; `at` moves as it reads. */
class Reader {
  readonly words: Array<Word> = []
  #pieces: Array<Piece> | undefined
  #at = 0
  readonly #text: string
  constructor(text: string) {
    this.#text = text
  }
  #push(kind: Piece["kind"], value: string): void {
    this.#pieces ??= []
    if (value !== "") this.#pieces.push({ kind, value })
  }
  #endWord(): void {
    if (this.#pieces !== undefined) this.words.push(merge(this.#pieces))
    this.#pieces = undefined
  }
  /** At `$` or a backquote. */
  #expansion(): ShellSyntaxError | undefined {
    const length = expansionLength(this.#text, this.#at)
    if (length === undefined) return "unfinished expansion"
    if (length === 0) this.#push("text", "$")
    else this.#push("expansion", this.#text.slice(this.#at, this.#at + length))
    this.#at += Math.max(1, length)
    return undefined
  }
  #doubleQuoted(): ShellSyntaxError | undefined {
    this.#push("text", "")
    this.#at++
    while (this.#at < this.#text.length) {
      const c = this.#text.charAt(this.#at)
      if (c === '"') {
        this.#at++
        return undefined
      }
      if (c === "$" || c === "`") {
        const error = this.#expansion()
        if (error !== undefined) return error
      } else if (c === "\\" && /[\\"$`\n]/.test(this.#text.charAt(this.#at + 1))) {
        const escaped = this.#text.charAt(this.#at + 1)
        this.#push("text", escaped === "\n" ? "" : escaped)
        this.#at += 2
      } else {
        this.#push("text", c)
        this.#at++
      }
    }
    return "unpaired quote"
  }
  #singleQuoted(): ShellSyntaxError | undefined {
    const end = this.#text.indexOf("'", this.#at + 1)
    if (end === -1) return "unpaired quote"
    this.#push("text", this.#text.slice(this.#at + 1, end))
    this.#at = end + 1
    return undefined
  }
  read(): ShellSyntaxError | undefined {
    while (this.#at < this.#text.length) {
      const c = this.#text.charAt(this.#at)
      let error: ShellSyntaxError | undefined
      if (/\s/.test(c)) {
        this.#endWord()
        this.#at++
      } else if (c === "'") error = this.#singleQuoted()
      else if (c === '"') error = this.#doubleQuoted()
      else if (c === "$" || c === "`") error = this.#expansion()
      else if (c === "\\") {
        const escaped = this.#text.charAt(this.#at + 1)
        if (escaped !== "\n") this.#push("text", escaped === "" ? "\\" : escaped)
        this.#at += 2
      } else {
        this.#push("text", c)
        this.#at++
      }
      if (error !== undefined) return error
    }
    this.#endWord()
    return undefined
  }
}

/** Words of a piece of command line. Operators (`;`, `|`, `&`, `<`, `>`) are plain characters here, as in an argument. */
export const shellWords = (text: string): Result.Result<ReadonlyArray<Word>, ShellSyntaxError> => {
  const reader = new Reader(text)
  const error = reader.read()
  return error === undefined ? Result.succeed(reader.words) : Result.fail(error)
}
