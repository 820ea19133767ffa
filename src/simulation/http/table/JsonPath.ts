/**
 * Owns the JSONPath of printer columns, as far as CustomResourceDefinitions use it: fields (also quoted, with escaped
 * dots), indices, `[*]`, and filters `[?(@.type=="Ready")]`. Slices, unions and `..` find nothing.
 */
import { isJsonArray, isJsonObject, type Json } from "../../apiserver/Json.ts"

type Step =
  | { readonly _tag: "Field"; readonly name: string }
  | { readonly _tag: "Index"; readonly index: number }
  | { readonly _tag: "All" }
  | {
      readonly _tag: "Filter"
      readonly path: ReadonlyArray<Step>
      readonly operator: string
      readonly value: Json | undefined
    }

const FILTER = /^\?\(\s*@((?:\.[^\s=!<>()]+)*)\s*(?:(==|!=|>=|<=|>|<)\s*(.+?)\s*)?\)$/

const literal = (text: string): Json | undefined => {
  const quoted = /^'(.*)'$/.exec(text)
  if (quoted !== null) return quoted[1] ?? ""
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const bracket = (inside: string): Step | undefined => {
  const quoted = /^'(.*)'$|^"(.*)"$/s.exec(inside)
  if (quoted !== null) return { _tag: "Field", name: unescaped(quoted[1] ?? quoted[2] ?? "") }
  if (inside === "*") return { _tag: "All" }
  if (/^-?\d+$/.test(inside)) return { _tag: "Index", index: Number(inside) }
  const filter = FILTER.exec(inside)
  if (filter === null) return undefined
  const path = parse(filter[1] ?? "")
  if (path === undefined) return undefined
  const value = filter[3] === undefined ? undefined : literal(filter[3])
  if (filter[3] !== undefined && value === undefined) return undefined
  return { _tag: "Filter", path, operator: filter[2] ?? "", value }
}

const unescaped = (text: string): string => text.replaceAll(/\\(.)/g, "$1")

/** Up to the bracket's end, past brackets and quotes within. */
const bracketEnd = (text: string, from: number): number => {
  let quote = ""
  let depth = 0
  for (let index = from; index < text.length; index++) {
    const char = text[index] ?? ""
    if (quote !== "") {
      if (char === "\\") index++
      else if (char === quote) quote = ""
    } else if (char === '"' || char === "'") quote = char
    else if (char === "[") depth++
    else if (char === "]" && --depth === 0) return index
  }
  return -1
}

const parse = (text: string): ReadonlyArray<Step> | undefined => {
  const steps: Array<Step> = []
  let rest = text
  while (rest !== "") {
    if (rest.startsWith("[")) {
      const end = bracketEnd(rest, 0)
      const step = end < 0 ? undefined : bracket(rest.slice(1, end).trim())
      if (step === undefined) return undefined
      steps.push(step)
      rest = rest.slice(end + 1)
      continue
    }
    const field = /^\.((?:\\.|[^.[\\])+)/s.exec(rest)
    if (field === null) return undefined
    steps.push(field[1] === "*" ? { _tag: "All" } : { _tag: "Field", name: unescaped(field[1] ?? "") })
    rest = rest.slice(field[0].length)
  }
  return steps
}

const parsed = new Map<string, ReadonlyArray<Step> | undefined>()
/** Definitions have few columns; beyond this many someone makes them up. */
const MAX_REMEMBERED_PATHS = 4096

const stepsOf = (path: string): ReadonlyArray<Step> | undefined => {
  if (parsed.has(path)) return parsed.get(path)
  const text = path.replace(/^\{(.*)\}$/s, "$1")
  const steps = parse(text.startsWith(".") || text.startsWith("[") ? text : `.${text}`)
  if (parsed.size >= MAX_REMEMBERED_PATHS) parsed.clear()
  parsed.set(path, steps)
  return steps
}

const holds = (item: Json, step: Extract<Step, { readonly _tag: "Filter" }>): boolean => {
  const [found] = follow([item], step.path)
  const { operator, value } = step
  if (operator === "") return found !== undefined
  if (found === undefined || value === undefined) return false
  if (operator === "==") return found === value
  if (operator === "!=") return found !== value
  if (typeof found !== typeof value || found === null || value === null) return false
  const order = found < value ? -1 : found > value ? 1 : 0
  return operator === "<" ? order < 0 : operator === ">" ? order > 0 : operator === "<=" ? order <= 0 : order >= 0
}

const take = (value: Json, step: Step): ReadonlyArray<Json> => {
  switch (step._tag) {
    case "Field": {
      const item = isJsonObject(value) && Object.hasOwn(value, step.name) ? value[step.name] : undefined
      return item === undefined ? [] : [item]
    }
    case "Index": {
      const item = isJsonArray(value) ? value.at(step.index) : undefined
      return item === undefined ? [] : [item]
    }
    case "All":
      if (isJsonArray(value)) return value
      return isJsonObject(value) ? Object.values(value).filter((item) => item !== undefined) : []
    case "Filter":
      return isJsonArray(value) ? value.filter((item) => holds(item, step)) : []
  }
}

const follow = (start: ReadonlyArray<Json>, steps: ReadonlyArray<Step>): ReadonlyArray<Json> =>
  steps.reduce((values, step) => values.flatMap((value) => take(value, step)), start)

/** The first value at the path: columns show one. */
export const firstAt = (value: Json, path: string): Json | undefined => {
  const steps = stepsOf(path)
  return steps === undefined ? undefined : follow([value], steps)[0]
}
