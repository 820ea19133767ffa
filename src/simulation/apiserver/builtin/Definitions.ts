/**
 * Owns CustomResourceDefinitions: the built-in type, and the resource type each one defines. Does not own schemas
 * (schema/) nor the emptying of a deleted definition (Controllers.ts).
 */
import * as Result from "effect/Result"
import {
  arrayAt,
  emptyObject,
  isJsonObject,
  type Json,
  type JsonObject,
  jsonAt,
  objectAt,
  type StoredObject,
  stringAt,
  stringsAt
} from "../Json.ts"
import { withFinalizers } from "../Metadata.ts"
import { looseStrategy, type Registry, type ResourceType, type ServedVersion, type Strategy } from "../ResourceType.ts"
import { type FieldError, invalidValue, notSupported, required } from "../Status.ts"
import { anyRules, validateRules } from "../schema/Cel.ts"
import { shape } from "../schema/Shape.ts"
import { type Compiled, compileSchema, type Structural } from "../schema/Structural.ts"
import { validate } from "../schema/Validate.ts"
import { coreType } from "./CoreType.ts"

export const CRD_CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"

const RULES_NOT_CHECKED =
  "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"

const schemaOf = (version: Json): JsonObject => objectAt(version, "schema", "openAPIV3Schema")

/** Compiled once a schema, however often the definition is written for its status. */
const compiledSchemas = new WeakMap<JsonObject, Compiled>()

const compiled = (schema: JsonObject, path: string): Compiled => {
  const known = compiledSchemas.get(schema)
  if (known !== undefined) return known
  const fresh = compileSchema(schema, path)
  compiledSchemas.set(schema, fresh)
  return fresh
}

const validateDefinition = (definition: StoredObject): ReadonlyArray<FieldError> => {
  const errors: Array<FieldError> = []
  const spec = objectAt(definition, "spec")
  const group = stringAt(spec, "group") ?? ""
  const plural = stringAt(spec, "names", "plural") ?? ""
  for (const [field, value] of [
    ["spec.group", group],
    ["spec.names.plural", plural],
    ["spec.names.kind", stringAt(spec, "names", "kind") ?? ""]
  ] as const) {
    if (value === "") errors.push(required(field))
  }
  if (definition.metadata.name !== `${plural}.${group}`) {
    errors.push(invalidValue("metadata.name", definition.metadata.name, 'must be spec.names.plural+"."+spec.group'))
  }
  const scope = spec["scope"]
  if (scope !== "Namespaced" && scope !== "Cluster")
    errors.push(notSupported("spec.scope", scope ?? "", ["Cluster", "Namespaced"]))
  const versions = arrayAt(spec, "versions")
  if (versions.filter((version) => jsonAt(version, ["storage"]) === true).length !== 1) {
    errors.push(invalidValue("spec.versions", versions, "must have exactly one version marked as storage version"))
  }
  for (const [index, version] of versions.entries()) {
    const path = `spec.versions[${index}].schema.openAPIV3Schema`
    const schema = schemaOf(version)
    if (schema === emptyObject) errors.push(required(path, "schemas are required"))
    else errors.push(...compiled(schema, path).errors)
  }
  return errors
}

/** Names accepted and established at once: the simulation has nothing that could contest them. */
const establish = (definition: StoredObject): StoredObject => {
  const time = definition.metadata.creationTimestamp
  const condition = (type: string, reason: string, message: string) => ({
    type,
    status: "True",
    lastTransitionTime: time,
    reason,
    message
  })
  const names = objectAt(definition, "spec", "names")
  const kind = stringAt(names, "kind") ?? ""
  return {
    ...definition,
    status: {
      acceptedNames: {
        ...names,
        listKind: names["listKind"] ?? `${kind}List`,
        singular: names["singular"] ?? kind.toLowerCase()
      },
      conditions: [
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted")
      ],
      storedVersions: arrayAt(definition, "spec", "versions").flatMap((version) =>
        jsonAt(version, ["storage"]) === true ? [stringAt(version, "name") ?? ""] : []
      )
    }
  }
}

export const definitionType: ResourceType = coreType({
  group: "apiextensions.k8s.io",
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  namespaced: false,
  shortNames: ["crd", "crds"],
  categories: ["api-extensions"],
  statusSubresource: true,
  strategy: {
    generation: true,
    prepare: (write) => Result.succeed(write.old === undefined ? establish(write.object) : write.object),
    validate: (write) => (write.subresource === "status" ? [] : validateDefinition(write.object)),
    markDeleted: (definition) => {
      const finalizers = definition.metadata.finalizers ?? []
      if (finalizers.includes(CRD_CLEANUP_FINALIZER)) return definition
      return { ...definition, metadata: withFinalizers(definition.metadata, [...finalizers, CRD_CLEANUP_FINALIZER]) }
    }
  }
})

/** The type registered for a definition, if it is. */
export const definedType = (registry: Registry, definition: StoredObject): ResourceType | undefined => {
  const type = registry.byResource(
    stringAt(definition, "spec", "group") ?? "",
    stringAt(definition, "spec", "names", "plural") ?? ""
  )
  return type?.definedBy === definition.metadata.name ? type : undefined
}

/** Rules are not asked about objects that lack what they may rely on, or are too big to be judged in time. */
const stopsRules = (error: FieldError): boolean =>
  error.wrongType === true || ["Unsupported value", "Required value", "Too long", "Too many"].includes(error.type)

const customStrategy = (schemas: ReadonlyMap<string, Structural>): Strategy => ({
  ...looseStrategy,
  prepare: (write) => {
    const schema = schemas.get(write.version)
    if (schema === undefined) return Result.succeed(write.object)
    const { apiVersion, kind, metadata, ...body } = write.object
    const shaped = shape(body, schema)
    return Result.succeed(shaped === body ? write.object : { ...shaped, apiVersion, kind, metadata })
  },
  validate: (write) => {
    const schema = schemas.get(write.version)
    if (schema === undefined) return []
    const errors = validate(write.object, schema, "")
    if (anyRules(schema) && errors.some(stopsRules)) return [...errors, invalidValue("<nil>", null, RULES_NOT_CHECKED)]
    return [...errors, ...validateRules(write.object, write.old, schema, "")]
  }
})

const printerReady = (version: Json): ServedVersion => ({
  name: stringAt(version, "name") ?? "",
  served: jsonAt(version, ["served"]) === true,
  schema: schemaOf(version)
})

/** GA versions before beta before alpha, then higher numbers first: discovery's order. */
const versionRank = (name: string): readonly [number, number, number] => {
  const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(name)
  if (match === null) return [3, 0, 0]
  const stage = match[2] === undefined ? 0 : match[2] === "beta" ? 1 : 2
  return [stage, -Number(match[1]), -Number(match[3] ?? 0)]
}

export const byPreference = (a: string, b: string): number => {
  const [left, right] = [versionRank(a), versionRank(b)]
  return left[0] - right[0] || left[1] - right[1] || left[2] - right[2] || (a < b ? -1 : a > b ? 1 : 0)
}

const fieldOf = (jsonPath: string) => (object: StoredObject) => {
  const value = jsonAt(
    object,
    jsonPath.split(".").filter((part) => part !== "")
  )
  return value === undefined || value === null || typeof value === "object" ? undefined : String(value)
}

/** The resource type that a (valid) definition defines. */
export const typeOfDefinition = (definition: StoredObject): ResourceType => {
  const spec = objectAt(definition, "spec")
  const names = objectAt(spec, "names")
  const kind = stringAt(names, "kind") ?? ""
  const versions = arrayAt(spec, "versions")
  const storage = versions.find((version) => jsonAt(version, ["storage"]) === true)
  const schemas = new Map(
    versions.map((version) => [stringAt(version, "name") ?? "", compiled(schemaOf(version), "").schema] as const)
  )
  const selectable = arrayAt(storage, "selectableFields").map((field) => stringAt(field, "jsonPath") ?? "")
  return {
    group: stringAt(spec, "group") ?? "",
    kind,
    plural: stringAt(names, "plural") ?? "",
    singular: stringAt(names, "singular") ?? kind.toLowerCase(),
    listKind: stringAt(names, "listKind") ?? `${kind}List`,
    shortNames: stringsAt(names, "shortNames"),
    categories: stringsAt(names, "categories"),
    namespaced: spec["scope"] === "Namespaced",
    versions: versions.map(printerReady).sort((a, b) => byPreference(a.name, b.name)),
    storageVersion: stringAt(storage, "name") ?? "",
    statusSubresource: isJsonObject(jsonAt(storage, ["subresources", "status"])),
    selectableFields: Object.fromEntries(selectable.map((path) => [path.replace(/^\./, ""), fieldOf(path)])),
    strategy: customStrategy(schemas),
    definedBy: definition.metadata.name
  }
}
