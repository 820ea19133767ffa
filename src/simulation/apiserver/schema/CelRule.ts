/**
 * Owns one CEL rule of a schema: its compilation in the environment the API server offers, and its evaluation.
 * Does not own which value it is about nor what the message becomes (Cel.ts).
 */
import { Environment, type ParseResult } from "@marcbachmann/cel-js"
import { isJsonObject, type Json, stringAt } from "../Json.ts"

export interface CelRule {
  readonly text: string
  /** Names oldSelf: judged only on updates, where there is an old value. */
  readonly transition: boolean
  readonly message: string | undefined
  readonly reason: string | undefined
  readonly fieldPath: string | undefined
  /** True, false, or why it could not be evaluated. */
  readonly holds: (self: unknown, oldSelf: unknown) => boolean | { readonly error: string }
  readonly messageOf: (self: unknown, oldSelf: unknown) => string | undefined
}

const texts = (list: unknown): ReadonlyArray<string> => (Array.isArray(list) ? list.map(String) : [])

const ordered = (list: unknown): boolean =>
  Array.isArray(list) && list.every((item, index) => index === 0 || list[index - 1] <= item)

const isUrl = (text: string): boolean => URL.canParse(text)

/** Standard CEL (macros, strings) is the library's; the functions Kubernetes adds to it are ours. */
const environment = new Environment({ homogeneousAggregateLiterals: false, enableOptionalTypes: true })
  .registerVariable("self", "dyn")
  .registerVariable("oldSelf", "dyn")
  .registerFunction(
    "string.find(string): string",
    (text: string, pattern: string) => new RegExp(pattern).exec(text)?.[0] ?? ""
  )
  .registerFunction(
    "string.findAll(string): list<string>",
    (text: string, pattern: string) => text.match(new RegExp(pattern, "g")) ?? []
  )
  .registerFunction("string.replace(string, string): string", (text: string, from: string, to: string) =>
    text.replaceAll(from, to)
  )
  .registerFunction("list.isSorted(): bool", (list: unknown) => ordered(list))
  .registerFunction("list.sum(): int", (list: unknown) => texts(list).reduce((sum, item) => sum + BigInt(item), 0n))
  .registerFunction("isURL(string): bool", isUrl)

type Parsed = { readonly program: ParseResult } | { readonly error: string }

/** The library throws on a text that is no CEL, and on a function nobody knows; both are the rule's author's error. */
const parse = (text: string): Parsed => {
  try {
    const program = environment.parse(text)
    const check = program.check()
    return check.valid ? { program } : { error: firstLine(check.error) }
  } catch (thrown) {
    return { error: firstLine(thrown) }
  }
}

const evaluate = (
  program: ParseResult,
  self: unknown,
  oldSelf: unknown
): { readonly value: unknown } | { readonly error: string } => {
  try {
    return { value: program({ self, oldSelf }) }
  } catch (thrown) {
    return { error: firstLine(thrown) }
  }
}

const firstLine = (thrown: unknown): string =>
  (thrown instanceof Error ? thrown.message : String(thrown)).split("\n")[0] ?? ""

/** A rule ready to be used, or what is wrong with it. */
export const compileRule = (raw: Json): CelRule | string => {
  const text = stringAt(raw, "rule")
  if (!isJsonObject(raw) || text === undefined || text.trim() === "") return "rule is not specified"
  const parsed = parse(text)
  if ("error" in parsed) return parsed.error
  const expression = stringAt(raw, "messageExpression")
  const message = expression === undefined ? undefined : parse(expression)
  if (message !== undefined && "error" in message) return message.error
  return {
    text,
    transition: /\boldSelf\b/.test(text),
    message: stringAt(raw, "message"),
    reason: stringAt(raw, "reason"),
    fieldPath: stringAt(raw, "fieldPath"),
    holds: (self, oldSelf) => {
      const outcome = evaluate(parsed.program, self, oldSelf)
      return "error" in outcome ? outcome : outcome.value === true
    },
    messageOf: (self, oldSelf) => {
      const outcome = message === undefined ? undefined : evaluate(message.program, self, oldSelf)
      return outcome === undefined || "error" in outcome || typeof outcome.value !== "string"
        ? undefined
        : outcome.value
    }
  }
}
