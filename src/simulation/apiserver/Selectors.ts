/**
 * Owns label and field selectors: parsing what a client sends and matching objects. Which fields a kind offers is its
 * resource type's.
 */
import * as Result from "effect/Result"
import { parseLabelSelector, selectorParts } from "../../domain/LabelSelector.ts"
import type { StoredObject } from "./Json.ts"
import type { ResourceType } from "./ResourceType.ts"
import { type ApiStatus, badRequest } from "./Status.ts"

export type Matcher = (object: StoredObject) => boolean

/** Where to look: whatever matches has this name, or this label. The rest of a selection is its matcher's. */
export interface Narrowing {
  readonly name?: string
  readonly label?: readonly [key: string, value: string]
}

/** Of selectors that parse. */
export const narrowing = (labelSelector: string | undefined, fieldSelector: string | undefined): Narrowing => {
  const name = selectorParts(fieldSelector ?? "").flatMap((part) => NAME_SELECTOR.exec(part)?.[1] ?? [])[0]
  const labels = Result.getOrUndefined(parseLabelSelector(labelSelector ?? ""))
  return {
    ...(name === undefined ? {} : { name }),
    ...(labels?.exactly === undefined ? {} : { label: labels.exactly })
  }
}
const NAME_SELECTOR = /^metadata\.name\s*==?\s*([^=].*)$/

const unparsable = (selector: string, why: string): ApiStatus =>
  badRequest(`unable to parse requirement: ${why} (selector ${JSON.stringify(selector)})`)

export const labelMatcher = (selector: string | undefined): Result.Result<Matcher | undefined, ApiStatus> =>
  selector === undefined || selector.trim() === ""
    ? Result.succeed(undefined)
    : Result.mapBoth(parseLabelSelector(selector), {
        onFailure: (why) => unparsable(selector, why),
        onSuccess:
          ({ matches }): Matcher =>
          (object) =>
            matches(object.metadata.labels)
      })

export const fieldMatcher = (
  type: ResourceType,
  selector: string | undefined
): Result.Result<Matcher | undefined, ApiStatus> => {
  if (selector === undefined || selector.trim() === "") return Result.succeed(undefined)
  const tests: Array<Matcher> = []
  for (const part of selectorParts(selector)) {
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
