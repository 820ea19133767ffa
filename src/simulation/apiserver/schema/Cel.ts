/**
 * Owns judging an object by the CEL rules of its schema: which value each rule sees as `self` and `oldSelf`, and the
 * error a broken rule becomes. Does not own CEL itself (CelRule.ts).
 */
import * as DateTime from "effect/DateTime"
import { isJsonArray, isJsonObject, type Json, jsonEqual } from "../Json.ts"
import { type FieldError, type FieldErrorType, invalidValue } from "../Status.ts"
import type { CelRule } from "./CelRule.ts"
import type { Structural } from "./Structural.ts"
import { listMapKey } from "./Validate.ts"

const TYPE_OF_REASON: Readonly<Record<string, FieldErrorType>> = {
  FieldValueInvalid: "Invalid value",
  FieldValueForbidden: "Forbidden",
  FieldValueRequired: "Required value",
  FieldValueDuplicate: "Duplicate value"
}

const keywords: ReadonlySet<string> = new Set(
  "true false null in as break const continue else for function if import let loop package namespace return".split(" ")
)

/** How a property is written in a rule: upstream's escapes. */
export const celName = (property: string): string =>
  keywords.has(property)
    ? `__${property}__`
    : property
        .replaceAll("__", "__underscores__")
        .replaceAll(".", "__dot__")
        .replaceAll("-", "__dash__")
        .replaceAll("/", "__slash__")

/** Only what the schema declares can be seen by rules; of the root, the fields every object has. */
const toCel = (value: Json | undefined, schema: Structural, root: boolean): unknown => {
  if (value === undefined || value === null) return value ?? null
  if (typeof value === "number")
    return schema.type === "integer" || schema.intOrString ? BigInt(Math.trunc(value)) : value
  if (typeof value === "string") return schema.format === "date-time" ? timestamp(value) : value
  if (isJsonArray(value)) {
    const { items } = schema
    return items === undefined ? [...value] : value.map((item) => toCel(item, items, false))
  }
  if (!isJsonObject(value)) return value
  const seen: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value)) {
    const property = schema.properties.get(key)
    if ((root || schema.embedded) && headFields.has(key)) seen[key] = headOf(item ?? null)
    else if (property !== undefined) seen[celName(key)] = toCel(item, property, false)
    else if (schema.additional !== undefined) seen[key] = toCel(item, schema.additional, false)
  }
  return seen
}

const headFields: ReadonlySet<string> = new Set(["apiVersion", "kind", "metadata"])

/** Of metadata rules see the names alone. */
const headOf = (value: Json): unknown => {
  if (!isJsonObject(value)) return value
  return Object.fromEntries(
    ["name", "generateName"].flatMap((key) => (value[key] === undefined ? [] : [[key, value[key]]]))
  )
}

/** A date-time that is none was already refused by its format. */
const timestamp = (text: string): Date => DateTime.toDateUtc(DateTime.makeUnsafe(text))

export const validateRules = (
  value: Json,
  old: Json | undefined,
  schema: Structural,
  path: string
): ReadonlyArray<FieldError> => {
  const errors: Array<FieldError> = []
  visit(value, old, schema, path, true, errors)
  return errors
}

const hasRules = new WeakMap<Structural, boolean>()

/** Whether a rule stands at or below this schema: what has none is not walked. */
export const anyRules = (schema: Structural): boolean => {
  const known = hasRules.get(schema)
  if (known !== undefined) return known
  const below = [...schema.properties.values(), schema.items, schema.additional]
  const found = schema.rules.length > 0 || below.some((part) => part !== undefined && anyRules(part))
  hasRules.set(schema, found)
  return found
}

const visit = (
  value: Json,
  old: Json | undefined,
  schema: Structural,
  path: string,
  root: boolean,
  errors: Array<FieldError>
): void => {
  if (!anyRules(schema) || value === null) return
  judge(value, old, schema, path, root, errors)
  if (isJsonArray(value)) {
    const { items } = schema
    if (items === undefined) return
    for (const [index, item] of value.entries()) {
      visit(item, oldItem(item, old, schema), items, `${path}[${index}]`, false, errors)
    }
  } else if (isJsonObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      const property = schema.properties.get(key)
      const part = property ?? schema.additional
      if (part === undefined || item === undefined) continue
      const here = property === undefined ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`
      visit(item, isJsonObject(old) ? old[key] : undefined, part, here, false, errors)
    }
  }
}

/** Items of a list can be told apart over an update only by the keys of a map-list. */
const oldItem = (item: Json, old: Json | undefined, schema: Structural): Json | undefined =>
  schema.listType === "map" && isJsonArray(old)
    ? old.find((candidate) => jsonEqual(listMapKey(candidate, schema), listMapKey(item, schema)))
    : undefined

const judge = (
  value: Json,
  old: Json | undefined,
  schema: Structural,
  path: string,
  root: boolean,
  errors: Array<FieldError>
): void => {
  const rules = schema.rules.filter((rule) => !rule.transition || (old !== undefined && old !== null))
  if (rules.length === 0) return
  const self = toCel(value, schema, root)
  const oldSelf = old === undefined ? null : toCel(old, schema, root)
  for (const rule of rules) {
    const verdict = rule.holds(self, oldSelf)
    if (verdict !== true) errors.push(broken(rule, verdict, self, oldSelf, schema, path))
  }
}

const broken = (
  rule: CelRule,
  verdict: false | { readonly error: string },
  self: unknown,
  oldSelf: unknown,
  schema: Structural,
  path: string
): FieldError => {
  const text = rule.messageOf(self, oldSelf) ?? rule.message ?? `failed rule: ${rule.text}`
  const field = `${path}${rule.fieldPath ?? ""}`.replace(/^\./, "") || "<nil>"
  if (verdict !== false) {
    return invalidValue(field, schema.type, `${verdict.error} evaluating rule: ${rule.message ?? rule.text}`)
  }
  const type = TYPE_OF_REASON[rule.reason ?? ""] ?? "Invalid value"
  return { type, field, value: schema.type, detail: text }
}
