/**
 * Owns the way from an Effect Schema to a structural OpenAPI v3 schema, as apiextensions.k8s.io/v1 takes it: no `$ref`,
 * no `anyOf`, `additionalProperties` never beside `properties`. Reads the type side of the schema, so a field that
 * tolerates null when decoded is simply an optional one here. A schema it can't say structurally is a defect, thrown.
 */
import type * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { CRD_HINTS, type CrdHints } from "../Field.ts"

/** In the order of keys that people expect to read. */
export interface StructuralSchema extends CrdHints {
  readonly description?: string
  readonly type?: string
  readonly default?: unknown
  readonly enum?: ReadonlyArray<string>
  readonly required?: ReadonlyArray<string>
  readonly properties?: Readonly<Record<string, StructuralSchema>>
  readonly additionalProperties?: StructuralSchema
  readonly items?: StructuralSchema
}

type Shape = Pick<StructuralSchema, "type" | "enum" | "required" | "properties" | "additionalProperties" | "items">

const hintsOf = SchemaAST.resolveAt<CrdHints>(CRD_HINTS)
const defaultOf = SchemaAST.resolveAt<unknown>("default")

const unsupported = (ast: SchemaAST.AST, path: string): never => {
  throw new Error(`${path}: a ${ast._tag} has no structural schema`)
}

const literals = (ast: SchemaAST.Union, path: string): Shape => {
  const values = ast.types.map((type) =>
    SchemaAST.isLiteral(type) && typeof type.literal === "string" ? type.literal : unsupported(ast, path)
  )
  return { type: "string", enum: values }
}

const objects = (ast: SchemaAST.Objects, path: string): Shape => {
  const [index, ...more] = ast.indexSignatures
  if (index !== undefined) {
    if (more.length > 0 || ast.propertySignatures.length > 0) return unsupported(ast, path)
    // Values of which nothing is known are kept through x-kubernetes-preserve-unknown-fields, which a hint gives.
    return SchemaAST.isUnknown(index.type)
      ? { type: "object" }
      : { type: "object", additionalProperties: walk(index.type, `${path}.*`) }
  }
  const properties: Record<string, StructuralSchema> = {}
  const required: Array<string> = []
  for (const { name, type } of ast.propertySignatures) {
    properties[String(name)] = walk(type, `${path}.${String(name)}`)
    if (!SchemaAST.isOptional(type)) required.push(String(name))
  }
  return { type: "object", ...(required.length > 0 ? { required } : {}), properties }
}

const shape = (ast: SchemaAST.AST, path: string): Shape => {
  switch (ast._tag) {
    case "String":
      return { type: "string" }
    case "Boolean":
      return { type: "boolean" }
    // Every number of ours is a Schema.Int; its check leaves no trace in the AST that is worth following.
    case "Number":
      return { type: "integer" }
    case "Union":
      return literals(ast, path)
    case "Objects":
      return objects(ast, path)
    case "Arrays": {
      const [item, ...more] = ast.rest
      if (item === undefined || more.length > 0 || ast.elements.length > 0) return unsupported(ast, path)
      return { type: "array", items: walk(item, `${path}[]`) }
    }
    default:
      return unsupported(ast, path)
  }
}

const walk = (ast: SchemaAST.AST, path: string): StructuralSchema => {
  const description = SchemaAST.resolveDescription(ast)
  const defaultValue = defaultOf(ast)
  const { type, enum: values, required, properties, additionalProperties, items } = shape(ast, path)
  return {
    ...(description === undefined ? {} : { description }),
    ...(type === undefined ? {} : { type }),
    ...hintsOf(ast),
    ...(defaultValue === undefined ? {} : { default: defaultValue }),
    ...(values === undefined ? {} : { enum: values }),
    ...(required === undefined ? {} : { required }),
    ...(properties === undefined ? {} : { properties }),
    ...(additionalProperties === undefined ? {} : { additionalProperties }),
    ...(items === undefined ? {} : { items })
  }
}

export const toStructural = (schema: Schema.Constraint, name: string): StructuralSchema =>
  walk(SchemaAST.toType(schema.ast), name)
