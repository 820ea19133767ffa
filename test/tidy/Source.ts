/**
 * Owns reading TypeScript well enough for the tidy rules: comments and the contents of strings blanked out (so that a rule
 * can't be tripped by prose), and the modules a file imports. A lexer, not a parser; knows none of the rules.
 */

export interface Source {
  /** From the repository's root, with `/`. */
  readonly path: string
  readonly text: string
}

type Kind = "code" | "line comment" | "block comment" | "string" | "template" | "regex"

/** Where a `/` starts a regular expression rather than a division: after these, or at the start. */
const BEFORE_REGEX = /(?:^|[=(,:;!&|?{}[+\-*%<>~^]|\b(?:return|typeof|case|in|of|yield|await|void|delete))\s*$/

const isQuote = (c: string): boolean => c === '"' || c === "'"

/** The text cut into runs of one kind; their concatenation is the text. */
const lex = (text: string): ReadonlyArray<{ readonly kind: Kind; readonly text: string }> => {
  const runs: Array<{ kind: Kind; text: string }> = []
  // Depth of `{` inside each `${` we are in: a `}` at depth 0 ends the substitution.
  const substitutions: Array<number> = []
  let at = 0
  const push = (kind: Kind, end: number) => {
    if (end > at) runs.push({ kind, text: text.slice(at, end) })
    at = end
  }
  const endOfQuoted = (from: number, quote: string): number => {
    let i = from
    while (i < text.length && text[i] !== quote && text[i] !== "\n") i += text[i] === "\\" ? 2 : 1
    return Math.min(i + 1, text.length)
  }
  const endOfRegex = (from: number): number => {
    let inClass = false
    for (let i = from; i < text.length && text[i] !== "\n"; i++) {
      if (text[i] === "\\") i++
      else if (text[i] === "[") inClass = true
      else if (text[i] === "]") inClass = false
      else if (text[i] === "/" && !inClass) return i + 1
    }
    return from
  }
  /** From just after a backtick or a substitution's `}`, to after the closing backtick or a `${`. */
  const template = (from: number): void => {
    let i = from
    while (i < text.length && text[i] !== "`" && !(text[i] === "$" && text[i + 1] === "{"))
      i += text[i] === "\\" ? 2 : 1
    if (text[i] === "$") {
      substitutions.push(0)
      push("template", i + 2)
    } else push("template", Math.min(i + 1, text.length))
  }
  let i = 0
  while (i < text.length) {
    const c = text.charAt(i)
    const next = text[i + 1]
    const code = (kind: Kind, end: number) => {
      push("code", i)
      push(kind, end)
    }
    const depth = substitutions.at(-1)
    if (c === "/" && next === "/") {
      const end = text.indexOf("\n", i)
      code("line comment", end === -1 ? text.length : end)
    } else if (c === "/" && next === "*") {
      const end = text.indexOf("*/", i + 2)
      code("block comment", end === -1 ? text.length : end + 2)
    } else if (isQuote(c)) code("string", endOfQuoted(i + 1, c))
    else if (c === "`") {
      push("code", i)
      template(i + 1)
    } else if (c === "}" && depth === 0) {
      substitutions.pop()
      push("code", i)
      template(i + 1)
    } else if (c === "/" && BEFORE_REGEX.test(text.slice(Math.max(0, i - 40), i)) && endOfRegex(i + 1) > i + 1) {
      code("regex", endOfRegex(i + 1))
    } else {
      if (depth !== undefined && c === "{") substitutions[substitutions.length - 1] = depth + 1
      if (depth !== undefined && c === "}") substitutions[substitutions.length - 1] = depth - 1
      i++
      continue
    }
    i = at
  }
  push("code", text.length)
  return runs
}

const blank = (text: string): string => text.replace(/[^\n]/g, " ")

/** A string that is there, whatever it says: `f("x")` must not look like `f()`. */
const hollow = (text: string): string => `${text.slice(0, 1)}${blank(text.slice(1, -1))}${text.slice(1).slice(-1)}`

const codeOfRun = (kind: Kind, text: string): string => {
  switch (kind) {
    case "code":
      return text
    case "string":
      return hollow(text)
    case "line comment":
    case "block comment":
    case "template":
    case "regex":
      return blank(text)
  }
}

/** Only code: comments, templates, regular expressions and what is in strings are spaces; lines and columns stay. */
export const codeOf = (text: string): string =>
  lex(text)
    .map((run) => codeOfRun(run.kind, run.text))
    .join("")

/** Code and strings: comments are spaces. */
const withoutComments = (text: string): string =>
  lex(text)
    .map((run) => (run.kind.endsWith("comment") ? blank(run.text) : run.text))
    .join("")

export interface Import {
  readonly specifier: string
  readonly line: number
}

const IMPORT = /(?:\bfrom\s*|^\s*import\s*|\bimport\s*\(\s*)(["'])([^"'\n]+)\1/gm

/** Static, side-effect, dynamic and re-exporting imports, in order. */
export const importsOf = (text: string): ReadonlyArray<Import> => {
  const code = withoutComments(text)
  return [...code.matchAll(IMPORT)].map((match) => ({
    specifier: match[2] ?? "",
    line: lineAt(code, match.index)
  }))
}

export const lineAt = (text: string, index: number): number => text.slice(0, index).split("\n").length

/** `./x.ts` seen from `src/a/b.ts` is `src/a/x.ts`; undefined for packages and node's own modules. */
export const resolveImport = (from: string, specifier: string): string | undefined => {
  if (!specifier.startsWith(".")) return undefined
  const parts = from.split("/").slice(0, -1)
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop()
    else if (part !== ".") parts.push(part)
  }
  return parts.join("/")
}
