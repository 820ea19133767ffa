/**
 * Owns judging a value by a structural schema, in the words of the real server. Does not own CEL rules (Cel.ts) nor
 * metadata (Metadata.ts).
 */
import { isJsonArray, isJsonObject, type Json, type JsonObject, jsonEqual, jsonTypeOf } from "../Json.ts"
import { duplicate, type FieldError, invalidValue, notSupported, required } from "../Status.ts"
import { formatProblem } from "./Formats.ts"
import type { Structural } from "./Structural.ts"

type Errors = Array<FieldError>

const child = (path: string, key: string): string => (path === "" ? key : `${path}.${key}`)

const isOfType = (value: Json, type: string): boolean => {
  switch (type) {
    case "":
      return true
    case "array":
      return isJsonArray(value)
    case "object":
      return isJsonObject(value)
    case "integer":
      return Number.isInteger(value)
    default:
      return typeof value === type
  }
}

/** Every error of `value`, at most one about its type (nothing below a wrong type is looked at). */
export const validate = (value: Json, schema: Structural, path: string): ReadonlyArray<FieldError> => {
  const errors: Errors = []
  check(value, schema, path, errors)
  return errors
}

const check = (value: Json, schema: Structural, path: string, errors: Errors): void => {
  if (value === null && (schema.nullable || schema.type === "")) return
  if (schema.intOrString && !(Number.isInteger(value) || typeof value === "string")) {
    errors.push(wrongType(value, "integer,string", path))
    return
  }
  if (!schema.intOrString && !isOfType(value, schema.type)) {
    errors.push(wrongType(value, schema.type, path))
    return
  }
  if (schema.enum !== undefined && !schema.enum.some((choice) => jsonEqual(choice, value))) {
    const supported = schema.enum.map((choice) => (typeof choice === "string" ? choice : JSON.stringify(choice)))
    errors.push(notSupported(path, value, supported))
  }
  if (typeof value === "string") checkString(value, schema, path, errors)
  else if (typeof value === "number") checkNumber(value, schema, path, errors)
  else if (isJsonArray(value)) checkArray(value, schema, path, errors)
  else if (isJsonObject(value)) checkObject(value, schema, path, errors)
  checkCombinations(value, schema, path, errors)
}

const wrongType = (value: Json, type: string, path: string): FieldError => ({
  ...invalidValue(
    path,
    jsonTypeOf(value),
    `${path} in body must be of type ${type}: ${JSON.stringify(jsonTypeOf(value))}`
  ),
  wrongType: true
})

const should = (path: string, value: Json, what: string): FieldError =>
  invalidValue(path, value, `${path} in body should ${what}`)

const checkString = (value: string, schema: Structural, path: string, errors: Errors): void => {
  const { minLength, maxLength } = schema.bounds
  const length = [...value].length
  if (minLength !== undefined && length < minLength)
    errors.push(should(path, value, `be at least ${minLength} chars long`))
  if (maxLength !== undefined && length > maxLength) {
    errors.push({ type: "Too long", field: path, detail: `may not be more than ${maxLength} bytes` })
  }
  if (schema.pattern !== undefined && !schema.pattern.test(value)) {
    errors.push(should(path, value, `match '${schema.patternText}'`))
  }
  const bad = schema.format === undefined ? undefined : formatProblem(schema.format, value)
  if (bad !== undefined)
    errors.push(invalidValue(path, value, `${path} in body must be of type ${bad}: ${JSON.stringify(value)}`))
}

const checkNumber = (value: number, schema: Structural, path: string, errors: Errors): void => {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema.bounds
  if (minimum !== undefined && (exclusiveMinimum ? value <= minimum : value < minimum)) {
    errors.push(should(path, value, `be greater than ${exclusiveMinimum ? "" : "or equal to "}${minimum}`))
  }
  if (maximum !== undefined && (exclusiveMaximum ? value >= maximum : value > maximum)) {
    errors.push(should(path, value, `be less than ${exclusiveMaximum ? "" : "or equal to "}${maximum}`))
  }
  if (multipleOf !== undefined && !Number.isInteger(value / multipleOf)) {
    errors.push(should(path, value, `be a multiple of ${multipleOf}`))
  }
  const bad = schema.format === undefined ? undefined : formatProblem(schema.format, value)
  if (bad !== undefined)
    errors.push(invalidValue(path, value, `${path} in body must be of type ${bad}: ${JSON.stringify(String(value))}`))
}

const tooMany = (field: string, count: number, max: number): FieldError => ({
  type: "Too many",
  field,
  value: count,
  detail: `must have at most ${max} items`
})

const checkArray = (value: ReadonlyArray<Json>, schema: Structural, path: string, errors: Errors): void => {
  const { minItems, maxItems } = schema.bounds
  if (minItems !== undefined && value.length < minItems)
    errors.push(should(path, value.length, `have at least ${minItems} items`))
  if (maxItems !== undefined && value.length > maxItems) errors.push(tooMany(path, value.length, maxItems))
  for (const [index, item] of value.entries()) {
    if (schema.items !== undefined) check(item, schema.items, `${path}[${index}]`, errors)
  }
  if (schema.listType === "map") checkUnique(value, (item) => listMapKey(item, schema), path, errors)
  else if (schema.listType === "set" || schema.uniqueItems) checkUnique(value, (item) => item, path, errors)
}

export const listMapKey = (item: Json, schema: Structural): Json =>
  isJsonObject(item) ? Object.fromEntries(schema.listMapKeys.map((key) => [key, item[key] ?? null])) : item

const checkUnique = (value: ReadonlyArray<Json>, key: (item: Json) => Json, path: string, errors: Errors): void => {
  const seen = new Set<string>()
  for (const [index, item] of value.entries()) {
    const identity = key(item)
    const text = canonical(identity)
    if (seen.has(text)) errors.push(duplicate(`${path}[${index}]`, identity))
    seen.add(text)
  }
}

/** JSON with sorted keys: equal values, equal text. */
const canonical = (value: Json): string => {
  if (isJsonArray(value)) return `[${value.map(canonical).join(",")}]`
  if (!isJsonObject(value)) return JSON.stringify(value)
  const entries = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key] ?? null)}`)
  return `{${entries.join(",")}}`
}

const checkObject = (value: JsonObject, schema: Structural, path: string, errors: Errors): void => {
  const { minProperties, maxProperties } = schema.bounds
  const keys = Object.keys(value)
  if (minProperties !== undefined && keys.length < minProperties) {
    errors.push(should(path, keys.length, `have at least ${minProperties} properties`))
  }
  if (maxProperties !== undefined && keys.length > maxProperties) errors.push(tooMany(path, keys.length, maxProperties))
  for (const key of schema.required) {
    if (!Object.hasOwn(value, key)) errors.push(required(child(path, key)))
  }
  for (const key of keys) {
    const property = schema.properties.get(key) ?? schema.additional
    const item = value[key]
    if (property !== undefined && item !== undefined) check(item, property, child(path, key), errors)
  }
}

const holds = (value: Json, schema: Structural, path: string): boolean => validate(value, schema, path).length === 0

const checkCombinations = (value: Json, schema: Structural, path: string, errors: Errors): void => {
  for (const part of schema.allOf) check(value, part, path, errors)
  if (schema.anyOf.length > 0 && !schema.anyOf.some((part) => holds(value, part, path))) {
    errors.push(invalidValue(path, value, `${path} in body must validate at least one schema (anyOf)`))
  }
  const matching = schema.oneOf.filter((part) => holds(value, part, path)).length
  if (schema.oneOf.length > 0 && matching !== 1) {
    errors.push(
      invalidValue(
        path,
        value,
        `${path} in body must validate one and only one schema (oneOf). ${matching === 0 ? "Found none valid" : `Found ${matching} valid alternatives`}`
      )
    )
  }
  if (schema.not !== undefined && holds(value, schema.not, path)) {
    errors.push(invalidValue(path, value, `${path} in body must not validate the schema (not)`))
  }
}
