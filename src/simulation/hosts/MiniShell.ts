/**
 * Owns the few shell commands a simulated host understands, so that one test script means the same in memory and under
 * a real sh: echo, touch, mkdir, rm, cp, test, sleep, exit, wait-for-a-file loops, background processes, k0s. A script
 * with anything else in it is not interpreted at all (`parse` says undefined). Does not own which steps are run.
 */
import * as Effect from "effect/Effect"
import type { DiskError } from "./Disk.ts"
import type { StepContext } from "./StepContext.ts"

interface Command {
  readonly words: ReadonlyArray<string>
  readonly redirect?: { readonly to: string; readonly append: boolean }
  readonly background: boolean
  /** How it hangs on the one before it. */
  readonly after: ";" | "&&" | "||"
}

export interface Script {
  readonly commands: ReadonlyArray<Command>
  readonly stopOnFailure: boolean
}

const WAIT_LOOP = /^\s*(?:until \[ -e (\S+) \]|while \[ ! -e (\S+) \]); do sleep [0-9.]+; done\s*$/
/** `head -c BYTES /dev/zero | tr '\0' x`: a command that prints a lot. */
const SPEW = /^\s*head -c (\d+) \/dev\/zero \| tr '\\0' x\s*$/
const BUILTINS = new Set([
  ":",
  "true",
  "false",
  "exit",
  "echo",
  "touch",
  "mkdir",
  "rm",
  "cp",
  "sleep",
  "[",
  "test",
  "cat"
])
const PREFIXES = new Set(["exec", "nohup", "setsid"])
const K0S_VERBS = new Set(["install", "start", "stop", "reset", "etcd"])

type Token = { readonly text: string; readonly operator: boolean }

const tokens = (line: string): ReadonlyArray<Token> | undefined => {
  const found: Array<Token> = []
  const pattern =
    /\s*(?:(2>&1|2>\/dev\/null|<\/dev\/null|>&2|&&|\|\||>>|[;&|<>])|'([^']*)'|"([^"$`\\]*)"|([^\s;&|<>'"$`()]+))/y
  let at = 0
  const text = line.trimEnd()
  while (at < text.length) {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match === null) return undefined
    at = pattern.lastIndex
    const [, operator, single, double, bare] = match
    found.push(
      operator === undefined
        ? { text: single ?? double ?? bare ?? "", operator: false }
        : { text: operator, operator: true }
    )
  }
  return found
}

const commandKnown = (words: ReadonlyArray<string>): boolean => {
  const [head, verb] = words.filter((word) => !PREFIXES.has(word))
  if (head === undefined) return false
  if (BUILTINS.has(head)) return true
  // An absolute path is run as what lies there: a copy of a program, or k0s.
  return head.startsWith("/") ? true : head === "k0s" && verb !== undefined && K0S_VERBS.has(verb)
}

const parseLine = (line: string): ReadonlyArray<Command> | undefined => {
  const loop = WAIT_LOOP.exec(line)
  const path = loop?.[1] ?? loop?.[2]
  if (path !== undefined) return [{ words: ["@wait", path], background: false, after: ";" }]
  const spew = SPEW.exec(line)
  if (spew?.[1] !== undefined) return [{ words: ["@spew", spew[1]], background: false, after: ";" }]
  const all = tokens(line)
  if (all === undefined) return undefined
  const commands: Array<Command> = []
  let words: Array<string> = []
  let redirect: Command["redirect"]
  let after: Command["after"] = ";"
  const end = (background: boolean): boolean => {
    if (words.length === 0) return false
    if (!commandKnown(words)) return false
    commands.push({ words, background, after, ...(redirect === undefined ? {} : { redirect }) })
    words = []
    redirect = undefined
    return true
  }
  for (let i = 0; i < all.length; i += 1) {
    const token = all[i]
    if (token === undefined) break
    if (!token.operator) words.push(token.text)
    else if (token.text === ">" || token.text === ">>") {
      const target = all[i + 1]
      if (target === undefined || target.operator) return undefined
      redirect = { to: target.text, append: token.text === ">>" }
      i += 1
    } else if (token.text === ">&2") redirect = { to: "&2", append: false }
    else if (token.text === "2>&1" || token.text === "2>/dev/null" || token.text === "</dev/null") continue
    else if (token.text === ";" || token.text === "&&" || token.text === "||" || token.text === "&") {
      if (!end(token.text === "&")) return undefined
      after = token.text === "&" ? ";" : token.text
    } else return undefined
  }
  return words.length === 0 || end(false) ? commands : undefined
}

/** The commands of a script made of known ones only. */
export const parse = (script: string): Script | undefined => {
  const commands: Array<Command> = []
  let stopOnFailure = false
  for (const line of script.split("\n")) {
    const text = line.trim()
    if (text === "" || text.startsWith("#")) continue
    if (text === "set -e" || text === "set -eu") {
      stopOnFailure = true
      continue
    }
    const parsed = parseLine(text)
    if (parsed === undefined) return undefined
    commands.push(...parsed)
  }
  return { commands, stopOnFailure }
}

const WITHOUT_OPTIONS = (words: ReadonlyArray<string>): ReadonlyArray<string> =>
  words.filter((word) => !word.startsWith("-"))

const output = (context: StepContext, command: Command, text: string): Effect.Effect<void, DiskError> => {
  const { redirect } = command
  if (redirect === undefined) return Effect.sync(() => context.stdout(text.length))
  if (redirect.to === "&2") return Effect.sync(() => context.stderr(text))
  if (redirect.to === "/dev/null") return Effect.void
  const attributes = { via: "step", claim: context.claim } as const
  const { disk } = context.kernel
  return redirect.append ? disk.append(redirect.to, text, attributes) : disk.write(redirect.to, text, attributes)
}

const test = (context: StepContext, words: ReadonlyArray<string>): boolean => {
  const inner = words.filter((word) => word !== "[" && word !== "]" && word !== "test")
  const negated = inner[0] === "!"
  const [, path] = negated ? inner.slice(1) : inner
  return context.kernel.disk.exists(path ?? "") !== negated
}

const program = Effect.fnUntraced(function* (
  context: StepContext,
  words: ReadonlyArray<string>,
  background: boolean
): Effect.fn.Return<number, DiskError> {
  const [path = "", verb] = words
  const comm = path.split("/").at(-1) ?? path
  if (comm === "k0s" && verb !== undefined && K0S_VERBS.has(verb)) return yield* context.k0s(words.slice(1))
  if (path !== "sleep" && !context.kernel.disk.exists(path)) {
    context.stderr(`sh: ${path}: not found\n`)
    return 127
  }
  const body = verb === undefined || Number.isNaN(Number(verb)) ? Effect.void : Effect.sleep(Number(verb) * 1000)
  const process = yield* context.kernel.spawn(
    { comm, role: "daemon", claim: context.claim, step: `${context.verb}.${context.index}` },
    () => body
  )
  if (!background) yield* context.kernel.waitFor(process.pid)
  return 0
})

const run = Effect.fnUntraced(function* (context: StepContext, command: Command): Effect.fn.Return<number, DiskError> {
  const { disk } = context.kernel
  const words = command.words.filter((word) => !PREFIXES.has(word))
  const [head = "", ...rest] = words
  const paths = WITHOUT_OPTIONS(rest)
  const written = { via: "step", claim: context.claim } as const
  switch (head) {
    case ":":
    case "true":
      // `: >FILE` truncates or makes the file.
      if (command.redirect !== undefined) yield* output(context, command, "")
      return 0
    case "false":
      return 1
    case "echo":
      yield* output(context, command, `${rest.join(" ")}\n`)
      return 0
    case "cat": {
      const text = disk.readText(paths[0] ?? "")
      if (text === undefined) return 1
      yield* output(context, command, text)
      return 0
    }
    case "touch":
    case "mkdir":
      for (const path of paths) if (!disk.exists(path)) yield* disk.write(path, "", written)
      return 0
    case "rm":
      for (const path of paths) disk.remove(path)
      return 0
    case "cp":
      yield* disk.write(paths[1] ?? "", disk.read(paths[0] ?? "") ?? new Uint8Array(), written)
      return 0
    case "[":
    case "test":
      return test(context, words) ? 0 : 1
    case "@wait":
      yield* disk.until(() => disk.exists(rest[0] ?? ""))
      return 0
    case "@spew":
      context.stdout(Number(rest[0]))
      return 0
    case "sleep":
      if (command.background) return yield* program(context, words, true)
      yield* Effect.sleep(Number(rest[0]) * 1000)
      return 0
    default:
      return yield* program(context, words, command.background)
  }
})

/** Runs the script as `sh FILE` would; the exit code is the last command's, or exit's. */
export const interpret = Effect.fnUntraced(function* (context: StepContext, script: Script): Effect.fn.Return<number> {
  let code = 0
  for (const command of script.commands) {
    if ((command.after === "&&" && code !== 0) || (command.after === "||" && code === 0)) continue
    if (command.words[0] === "exit") return command.words[1] === undefined ? code : Number(command.words[1])
    code = yield* run(context, command).pipe(
      Effect.catchTag("DiskError", (error) =>
        Effect.sync(() => {
          context.stderr(`sh: ${error.detail}\n`)
          return 1
        })
      )
    )
    if (code !== 0 && script.stopOnFailure) return code
  }
  return code
})
