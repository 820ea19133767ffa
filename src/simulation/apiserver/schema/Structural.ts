/**
 * Owns the structural schema of a CustomResourceDefinition's version: reading openAPIV3Schema once into typed form, and
 * what is wrong with it. Does not own applying it (Shape.ts prunes and defaults, Validate.ts and Cel.ts judge).
 */
import {
  arrayAt,
  emptyObject,
  isJsonArray,
  isJsonObject,
  type Json,
  type JsonObject,
  ownJson,
  stringAt,
  stringsAt
} from "../Json.ts"
import { type FieldError, forbiddenField, invalidValue, required } from "../Status.ts"
import { type CelRule, compileRule } from "./CelRule.ts"

export interface Structural {
  readonly type: string
  readonly nullable: boolean
  readonly properties: ReadonlyMap<string, Structural>
  readonly additional: Structural | undefined
  readonly items: Structural | undefined
  readonly required: ReadonlyArray<string>
  readonly enum: ReadonlyArray<Json> | undefined
  readonly pattern: RegExp | undefined
  readonly patternText: string
  readonly format: string | undefined
  readonly bounds: Bounds
  readonly uniqueItems: boolean
  readonly listType: "atomic" | "set" | "map"
  readonly listMapKeys: ReadonlyArray<string>
  readonly preserveUnknown: boolean
  readonly intOrString: boolean
  readonly embedded: boolean
  readonly default: Json | undefined
  readonly allOf: ReadonlyArray<Structural>
  readonly anyOf: ReadonlyArray<Structural>
  readonly oneOf: ReadonlyArray<Structural>
  readonly not: Structural | undefined
  readonly rules: ReadonlyArray<CelRule>
}

export interface Bounds {
  readonly minimum: number | undefined
  readonly maximum: number | undefined
  readonly exclusiveMinimum: boolean
  readonly exclusiveMaximum: boolean
  readonly multipleOf: number | undefined
  readonly minLength: number | undefined
  readonly maxLength: number | undefined
  readonly minItems: number | undefined
  readonly maxItems: number | undefined
  readonly minProperties: number | undefined
  readonly maxProperties: number | undefined
}

export interface Compiled {
  readonly schema: Structural
  readonly errors: ReadonlyArray<FieldError>
}

const number = (value: Json | undefined): number | undefined => (typeof value === "number" ? value : undefined)

const bounds = (raw: JsonObject): Bounds => ({
  minimum: number(raw["minimum"]),
  maximum: number(raw["maximum"]),
  exclusiveMinimum: raw["exclusiveMinimum"] === true,
  exclusiveMaximum: raw["exclusiveMaximum"] === true,
  multipleOf: number(raw["multipleOf"]),
  minLength: number(raw["minLength"]),
  maxLength: number(raw["maxLength"]),
  minItems: number(raw["minItems"]),
  maxItems: number(raw["maxItems"]),
  minProperties: number(raw["minProperties"]),
  maxProperties: number(raw["maxProperties"])
})

const listType = (text: string | undefined): Structural["listType"] =>
  text === "set" || text === "map" ? text : "atomic"

class Compiler {
  readonly errors: Array<FieldError> = []

  /** `value`: inside allOf, anyOf, oneOf, not: only value validations, no types of their own. */
  compile(raw: JsonObject, path: string, position: "root" | "inner" | "value"): Structural {
    const type = stringAt(raw, "type") ?? ""
    const preserveUnknown = raw["x-kubernetes-preserve-unknown-fields"] === true
    const intOrString = raw["x-kubernetes-int-or-string"] === true
    this.#checkForm(raw, path, position, type, preserveUnknown || intOrString)
    const below = position === "value" ? "value" : "inner"
    const properties = isJsonObject(raw["properties"]) ? raw["properties"] : emptyObject
    const { additionalProperties: additional, items, enum: choices } = raw
    return {
      type,
      nullable: raw["nullable"] === true,
      properties: new Map(
        Object.entries(properties).flatMap(([name, property]) =>
          isJsonObject(property) ? [[name, this.compile(property, `${path}.properties[${name}]`, below)] as const] : []
        )
      ),
      additional: isJsonObject(additional)
        ? this.compile(additional, `${path}.additionalProperties`, below)
        : additional === true
          ? anything
          : undefined,
      items: isJsonObject(items) ? this.compile(items, `${path}.items`, below) : undefined,
      required: stringsAt(raw, "required"),
      enum: isJsonArray(choices) ? choices : undefined,
      ...this.#pattern(raw, path),
      format: stringAt(raw, "format"),
      bounds: bounds(raw),
      uniqueItems: raw["uniqueItems"] === true,
      listType: listType(stringAt(raw, "x-kubernetes-list-type")),
      listMapKeys: stringsAt(raw, "x-kubernetes-list-map-keys"),
      preserveUnknown,
      intOrString,
      embedded: raw["x-kubernetes-embedded-resource"] === true,
      default: raw["default"] === undefined ? undefined : ownJson(raw["default"]),
      allOf: this.#each(raw, "allOf", path),
      anyOf: this.#each(raw, "anyOf", path),
      oneOf: this.#each(raw, "oneOf", path),
      not: isJsonObject(raw["not"]) ? this.compile(raw["not"], `${path}.not`, "value") : undefined,
      rules: this.#rules(raw, path)
    }
  }

  #each(raw: JsonObject, key: string, path: string): ReadonlyArray<Structural> {
    return arrayAt(raw, key).flatMap((part, index) =>
      isJsonObject(part) ? [this.compile(part, `${path}.${key}[${index}]`, "value")] : []
    )
  }

  #pattern(raw: JsonObject, path: string): Pick<Structural, "pattern" | "patternText"> {
    const patternText = stringAt(raw, "pattern") ?? ""
    if (patternText === "") return { pattern: undefined, patternText }
    const pattern = compilePattern(patternText)
    if (pattern === undefined)
      this.errors.push(invalidValue(`${path}.pattern`, patternText, "must be a valid regular expression"))
    return { pattern, patternText }
  }

  #rules(raw: JsonObject, path: string): ReadonlyArray<CelRule> {
    return arrayAt(raw, "x-kubernetes-validations").flatMap((rule, index) => {
      const compiled = compileRule(rule)
      if (typeof compiled !== "string") return [compiled]
      this.errors.push(
        invalidValue(`${path}.x-kubernetes-validations[${index}].rule`, rule, `compilation failed: ${compiled}`)
      )
      return []
    })
  }

  #checkForm(raw: JsonObject, path: string, position: string, type: string, free: boolean): void {
    if (raw["$ref"] !== undefined) this.errors.push(forbiddenField(`${path}.$ref`, "$ref is not supported"))
    if (raw["properties"] !== undefined && isJsonObject(raw["additionalProperties"])) {
      this.errors.push(
        forbiddenField(`${path}.additionalProperties`, "additionalProperties and properties are mutual exclusive")
      )
    }
    if (raw["uniqueItems"] === true) {
      this.errors.push(
        forbiddenField(
          `${path}.uniqueItems`,
          "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
      )
    }
    if (position === "value") return
    if (type === "" && !free) {
      this.errors.push(
        required(
          `${path}.type`,
          position === "root" ? "must not be empty at the root" : "must not be empty for specified object fields"
        )
      )
    }
    if (type === "array" && !isJsonObject(raw["items"]))
      this.errors.push(required(`${path}.items`, "must be specified"))
    this.#checkListMap(raw, path)
  }

  #checkListMap(raw: JsonObject, path: string): void {
    if (stringAt(raw, "x-kubernetes-list-type") !== "map") return
    const keys = stringsAt(raw, "x-kubernetes-list-map-keys")
    if (keys.length === 0)
      this.errors.push(
        required(`${path}.x-kubernetes-list-map-keys`, "must not be empty if x-kubernetes-list-type is map")
      )
    const items = isJsonObject(raw["items"]) ? raw["items"] : emptyObject
    const properties = isJsonObject(items["properties"]) ? items["properties"] : emptyObject
    for (const key of keys) {
      const property = properties[key]
      const assured =
        stringsAt(items, "required").includes(key) || (isJsonObject(property) && property["default"] !== undefined)
      if (!assured) {
        this.errors.push(
          required(
            `${path}.items.properties[${key}].default`,
            "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
          )
        )
      }
    }
  }
}

const compilePattern = (text: string): RegExp | undefined => {
  try {
    return new RegExp(text, "u")
  } catch {
    // RE2 takes escapes that a unicode-mode RegExp refuses.
    try {
      return new RegExp(text)
    } catch {
      return undefined
    }
  }
}

const anything: Structural = new Compiler().compile({ "x-kubernetes-preserve-unknown-fields": true }, "", "value")

export const compileSchema = (raw: JsonObject, path: string): Compiled => {
  const compiler = new Compiler()
  const schema = compiler.compile(raw, path, "root")
  return { schema, errors: compiler.errors }
}
