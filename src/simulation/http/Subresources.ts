/**
 * Owns what a CustomResourceDefinition says about the look of its objects that the store has no use for: printer columns
 * and the scale subresource. Read from the definition as it is stored. Does not own printing (table/) nor scaling.
 */
import type { ApiStore } from "../apiserver/ApiStore.ts"
import { definitionType } from "../apiserver/builtin/Definitions.ts"
import { arrayAt, isJsonObject, type JsonObject, jsonAt, objectAt, stringAt } from "../apiserver/Json.ts"
import type { ResourceType } from "../apiserver/ResourceType.ts"

export interface ScalePaths {
  readonly spec: ReadonlyArray<string>
  readonly status: ReadonlyArray<string>
  readonly selector: ReadonlyArray<string> | undefined
}

export interface Subresources {
  readonly scaleOf: (type: ResourceType, version: string) => ScalePaths | undefined
  /** additionalPrinterColumns; undefined: the definition gives none. */
  readonly columnsOf: (type: ResourceType, version: string) => ReadonlyArray<JsonObject> | undefined
}

const pathOf = (jsonPath: string | undefined): ReadonlyArray<string> =>
  (jsonPath ?? "").split(".").filter((part) => part !== "")

export const subresourcesOf = (store: ApiStore): Subresources => {
  const versionOf = (type: ResourceType, version: string): JsonObject | undefined => {
    if (type.definedBy === undefined) return undefined
    const definition = store.storage.get({ type: definitionType, namespace: "", name: type.definedBy })
    return arrayAt(definition, "spec", "versions")
      .filter(isJsonObject)
      .find((each) => stringAt(each, "name") === version)
  }
  return {
    scaleOf: (type, version) => {
      const scale = jsonAt(versionOf(type, version), ["subresources", "scale"])
      if (!isJsonObject(scale)) return undefined
      const selector = stringAt(scale, "labelSelectorPath")
      return {
        spec: pathOf(stringAt(scale, "specReplicasPath")),
        status: pathOf(stringAt(scale, "statusReplicasPath")),
        selector: selector === undefined ? undefined : pathOf(selector)
      }
    },
    columnsOf: (type, version) => {
      const columns = arrayAt(versionOf(type, version), "additionalPrinterColumns").filter(isJsonObject)
      return columns.length === 0 ? undefined : columns
    }
  }
}

/** An object with `value` at a path of fields. */
export const withAt = (object: JsonObject, path: ReadonlyArray<string>, value: JsonObject[string]): JsonObject => {
  const [key, ...rest] = path
  if (key === undefined) return object
  return { ...object, [key]: rest.length === 0 ? value : withAt(objectAt(object, key), rest, value) }
}
