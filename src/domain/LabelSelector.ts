/**
 * Owns label selectors in the text form that `kubectl -l` takes (`rack=r1,gpu,zone in (a,b),!spare`): parsing and
 * matching. Pure. Does not own selectors as objects carry them (`matchLabels`).
 */
import * as Result from "effect/Result"
import { labelValue, qualifiedName } from "./QualifiedName.ts"

export type Labels = Readonly<Record<string, string>>
type Requirement = (labels: Labels) => boolean

export interface LabelSelector {
  /** As it was written; two selectors of one text are the same. */
  readonly text: string
  readonly matches: (labels: Labels | undefined) => boolean
  /** A label that whatever matches has, with its value; undefined: none is asked for in so many words. */
  readonly exactly: readonly [key: string, value: string] | undefined
}

/** Splits at commas that are not inside parentheses. */
export const selectorParts = (selector: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  let depth = 0
  let start = 0
  for (let index = 0; index < selector.length; index++) {
    const char = selector[index]
    if (char === "(") depth++
    else if (char === ")") depth--
    else if (char === "," && depth === 0) {
      found.push(selector.slice(start, index))
      start = index + 1
    }
  }
  found.push(selector.slice(start))
  return found.map((part) => part.trim())
}

const setForm = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/
const compareForm = /^([^\s=!<>]+)\s*(==|=|!=|>|<)\s*([^\s=!<>]*)$/
const existsForm = /^(!?)\s*([^\s=!<>()]+)$/

interface Parsed {
  readonly key: string
  readonly values: ReadonlyArray<string>
  readonly test: Requirement
  readonly exact?: boolean
}

const requirement = (part: string): Parsed | undefined => {
  const set = setForm.exec(part)
  if (set !== null) {
    const key = set[1] ?? ""
    const values = (set[3] ?? "").split(",").map((value) => value.trim())
    const has = (labels: Labels) => Object.hasOwn(labels, key) && values.includes(labels[key] ?? "")
    return { key, values, test: set[2] === "in" ? has : (labels) => !has(labels) }
  }
  const compare = compareForm.exec(part)
  if (compare !== null) {
    const [, key = "", operator, value = ""] = compare
    const equal = (labels: Labels) => Object.hasOwn(labels, key) && labels[key] === value
    if (operator === ">" || operator === "<") {
      const bound = Number(value)
      if (!/^-?\d+$/.test(value)) return undefined
      return {
        key,
        values: [],
        test: (labels) => {
          const text = labels[key] ?? ""
          return /^-?\d+$/.test(text) && (operator === ">" ? Number(text) > bound : Number(text) < bound)
        }
      }
    }
    return operator === "!="
      ? { key, values: [value], test: (labels) => !equal(labels) }
      : { key, values: [value], test: equal, exact: true }
  }
  const exists = existsForm.exec(part)
  if (exists === null) return undefined
  const [, bang, key = ""] = exists
  return { key, values: [], test: (labels) => Object.hasOwn(labels, key) !== (bang === "!") }
}

const noLabels: Labels = Object.freeze({})

/** An empty text selects everything. The failure says what is wrong, in the API server's words. */
export const parseLabelSelector = (text: string): Result.Result<LabelSelector, string> => {
  const tests: Array<Requirement> = []
  let exactly: LabelSelector["exactly"]
  for (const part of text.trim() === "" ? [] : selectorParts(text)) {
    const parsed = requirement(part)
    if (parsed === undefined) return Result.fail(`invalid ${JSON.stringify(part)}`)
    const bad = qualifiedName(parsed.key) ?? parsed.values.map(labelValue).find((problem) => problem !== undefined)
    if (bad !== undefined) return Result.fail(bad)
    if (parsed.exact === true) exactly ??= [parsed.key, parsed.values[0] ?? ""]
    tests.push(parsed.test)
  }
  return Result.succeed({ text, exactly, matches: (labels) => tests.every((test) => test(labels ?? noLabels)) })
}
