/**
 * Owns label and field selectors: parsing what a client sends and matching objects. Which fields a kind offers is its
 * resource type's.
 */
import * as Result from "effect/Result"
import type { StoredObject } from "./Json.ts"
import { labelValue, qualifiedName } from "./Names.ts"
import type { ResourceType } from "./ResourceType.ts"
import { type ApiStatus, badRequest } from "./Status.ts"

export type Matcher = (object: StoredObject) => boolean

type Labels = Readonly<Record<string, string>>
type Requirement = (labels: Labels) => boolean

/** Splits at commas that are not inside parentheses. */
const parts = (selector: string): ReadonlyArray<string> => {
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

const unparsable = (selector: string, why: string): ApiStatus =>
  badRequest(`unable to parse requirement: ${why} (selector ${JSON.stringify(selector)})`)

const setForm = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/
const compareForm = /^([^\s=!<>]+)\s*(==|=|!=|>|<)\s*([^\s=!<>]*)$/
const existsForm = /^(!?)\s*([^\s=!<>()]+)$/

const requirement = (part: string): { key: string; values: ReadonlyArray<string>; test: Requirement } | undefined => {
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
    return { key, values: [value], test: operator === "!=" ? (labels) => !equal(labels) : equal }
  }
  const exists = existsForm.exec(part)
  if (exists === null) return undefined
  const [, bang, key = ""] = exists
  return { key, values: [], test: (labels) => Object.hasOwn(labels, key) !== (bang === "!") }
}

const noLabels: Labels = Object.freeze({})

export const labelMatcher = (selector: string | undefined): Result.Result<Matcher | undefined, ApiStatus> => {
  if (selector === undefined || selector.trim() === "") return Result.succeed(undefined)
  const tests: Array<Requirement> = []
  for (const part of parts(selector)) {
    const parsed = requirement(part)
    if (parsed === undefined) return Result.fail(unparsable(selector, `invalid ${JSON.stringify(part)}`))
    const bad = qualifiedName(parsed.key) ?? parsed.values.map(labelValue).find((problem) => problem !== undefined)
    if (bad !== undefined) return Result.fail(unparsable(selector, bad))
    tests.push(parsed.test)
  }
  return Result.succeed((object) => {
    const labels = object.metadata.labels ?? noLabels
    return tests.every((test) => test(labels))
  })
}

export const fieldMatcher = (
  type: ResourceType,
  selector: string | undefined
): Result.Result<Matcher | undefined, ApiStatus> => {
  if (selector === undefined || selector.trim() === "") return Result.succeed(undefined)
  const tests: Array<Matcher> = []
  for (const part of parts(selector)) {
    const match = /^([^=!]+?)\s*(==|=|!=)\s*(.*)$/.exec(part)
    if (match === null) {
      return Result.fail(badRequest(`invalid selector: '${selector}'; can't understand '${part}'`))
    }
    const [, field = "", operator, value = ""] = match
    const read = fieldReader(type, field)
    if (read === undefined) return Result.fail(unknownField(type, field))
    tests.push((object) => ((read(object) ?? "") === value) === (operator !== "!="))
  }
  return Result.succeed((object) => tests.every((test) => test(object)))
}

const unknownField = (type: ResourceType, field: string): ApiStatus =>
  badRequest(
    type.definedBy === undefined && Object.keys(type.selectableFields).length === 0
      ? `"${field}" is not a known field selector: only "metadata.name", "metadata.namespace"`
      : `field label not supported: ${field}`
  )

const fieldReader = (type: ResourceType, field: string): ((object: StoredObject) => string | undefined) | undefined => {
  if (field === "metadata.name") return (object) => object.metadata.name
  if (field === "metadata.namespace") return (object) => object.metadata.namespace
  return type.selectableFields[field]
}

export const both = (a: Matcher | undefined, b: Matcher | undefined): Matcher | undefined =>
  a === undefined ? b : b === undefined ? a : (object) => a(object) && b(object)
