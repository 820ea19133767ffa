/**
 * Owns rendering bootstrap data that says `## template: jinja`, as cloud-init renders it: no autoescaping, `trim_blocks`,
 * the last newline kept. The templates are other people's, so the engine must be one that can't run their JavaScript
 * (that is why it is not nunjucks), and it is bounded in steps and in size.
 *
 * One difference, on purpose: where cloud-init writes `CI_MISSING_JINJA_VAR/name` for a value it does not have and goes
 * on, the data is refused, with the name: a host must not be bootstrapped with such a text in its configuration.
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja"
import * as Result from "effect/Result"
import { type BootstrapDataError, dataError } from "./BootstrapDataError.ts"
import type { InstanceData } from "./HostFacts.ts"

/** Nodes of a template that are evaluated: more is a loop that never ends in time. */
export const MAX_STEPS = 100_000
/** UTF-16 code units of any text on the way: more is an attempt to blow memory up. */
export const MAX_RENDERED_LENGTH = 16 * 1024 * 1024

class TooMuch extends Error {}
class Missing extends Error {}

class Bounded extends Interpreter {
  private steps = 0
  override evaluate(...[statement, environment]: Parameters<Interpreter["evaluate"]>) {
    this.steps++
    if (this.steps > MAX_STEPS) throw new TooMuch(`it takes more than ${MAX_STEPS} steps`)
    const value = super.evaluate(statement, environment)
    if (typeof value.value === "string" && value.value.length > MAX_RENDERED_LENGTH)
      throw new TooMuch(`it makes more than ${MAX_RENDERED_LENGTH} characters`)
    return value
  }
}

/** A tag, with strings in it that may hold what looks like its end; `raw` blocks and comments whole. */
const STRING = `"(?:\\\\[\\s\\S]|[^"\\\\])*"|'(?:\\\\[\\s\\S]|[^'\\\\])*'`
const TAG = new RegExp(
  `(?<raw>\\{%(?<before>[-+]?)\\s*raw\\s*(?<inner>-?)%\\}(?<text>[\\s\\S]*?)\\{%(?<end>-?)\\s*endraw\\s*(?<after>-?)%\\}\\n?)` +
    `|(?<comment>\\{#[\\s\\S]*?#\\}\\n?)` +
    `|(?<block>\\{%(?:${STRING}|[^"'%]|%(?!\\}))*%\\}\\n?)` +
    `|\\{\\{(?<left>-?)(?<output>(?:${STRING}|[^"'}]|\\}(?!\\}))*?)(?<right>-?)\\}\\}`,
  "g"
)

const AT = "machinist_at"
const OUT = "machinist_out"

/** As a jinja string: what is in it is text, whatever it looks like. */
const literal = (text: string): string =>
  `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'").replaceAll("\n", "\\n").replaceAll("\r", "\\r")}'`

/** jinja's short name of `default`, outside strings. */
const ALIAS = new RegExp(`${STRING}|\\|\\s*d\\b`, "g")
const withAliases = (output: string): string =>
  output.replace(ALIAS, (found) => (found.startsWith("|") ? "|default" : found))

type Groups = Readonly<Record<string, string | undefined>>

const rawText = ({ before, inner, text = "", end, after }: Groups): string => {
  const start = inner === "-" ? text.trimStart() : text
  return `{{${before === "-" ? "-" : ""} ${literal(end === "-" ? start.trimEnd() : start)} ${after ?? ""}}}`
}

/**
 * The template in the engine's terms: the newline after a block goes (its own `trim_blocks` would also take the one after
 * a shell's `${"$"}{x:-}`), raw text becomes a string, and every output says where it stands and is looked at.
 */
const prepared = (template: string): string =>
  template.replace(TAG, (all: string, ...rest: ReadonlyArray<string | number | Groups>) => {
    const groups = rest.at(-1)
    if (typeof groups !== "object") return all
    const at = Number(rest.at(-3))
    if (groups["raw"] !== undefined) return rawText(groups)
    if (groups["comment"] !== undefined) return ""
    if (groups["block"] !== undefined) {
      const tag = all.endsWith("\n") ? all.slice(0, -1) : all
      // Before what begins something: in the middle of a chain it would belong to the branch before.
      return /^\{%\+?\s*(if|for|set)\b/.test(tag) ? `{{ ${AT}(${at}) }}${tag}` : tag
    }
    const { left = "", output = "", right = "" } = groups
    return `{{${left} ${OUT}(${AT}(${at}), (${withAliases(output)}\n)) ${right}}}`
  })

/** As Python prints it. */
const printed = (value: unknown): string => {
  if (value === undefined) throw new Missing()
  if (value === null) return "None"
  if (typeof value === "boolean") return value ? "True" : "False"
  if (typeof value === "string" || typeof value === "number") return String(value)
  throw new TypeError("a list or mapping is printed")
}

/** What stands in an output, when it is a mere name, which is no secret. */
const nameAt = (output: string): string => /^\{\{-?\s*([a-zA-Z_][\w.]{0,80})\s*-?\}\}/.exec(output)?.[1] ?? "a value"

const why = (thrown: unknown, output: string): string => {
  if (thrown instanceof TooMuch) return thrown.message
  if (thrown instanceof Missing) return `${nameAt(output)} is not known of this host: give it a value, or a default(…)`
  // The engine's own words may quote the data.
  return thrown instanceof SyntaxError ? "it is not jinja that is understood" : "an expression in it can't be evaluated"
}

/** The text after the `## template: jinja` line. `firstLine`: the line of the data it begins on. */
export const renderJinja = (
  text: string,
  data: InstanceData,
  firstLine: number
): Result.Result<string, BootstrapDataError> => {
  // As jinja does: line ends become `\n`, and the last is no part of the template; cloud-init puts it back.
  const lines = text.replaceAll(/\r\n?/g, "\n")
  const template = lines.endsWith("\n") ? lines.slice(0, -1) : lines
  let at = 0
  return Result.try({
    try: () => {
      const environment = new Environment()
      const globals: Record<string, unknown> = {
        ...data,
        true: true,
        false: false,
        none: null,
        True: true,
        False: false,
        None: null,
        [AT]: (offset: number) => {
          at = offset
          return ""
        },
        [OUT]: (_: unknown, value: unknown) => printed(value)
      }
      for (const [name, value] of Object.entries(globals)) environment.set(name, value)
      // The engine drops one newline at the end.
      const program = parse(tokenize(`${prepared(template)}\n`))
      return `${String(new Bounded(environment).run(program).value)}${lines.endsWith("\n") ? "\n" : ""}`
    },
    catch: (thrown) => {
      const line = firstLine + template.slice(0, at).split("\n").length - 1
      return dataError("Jinja", `the jinja template fails near line ${line}: ${why(thrown, template.slice(at))}`, line)
    }
  })
}
