/**
 * Owns label selectors as objects carry them (`matchLabels`, `matchExpressions`). Does not own selectors of requests
 * (apiserver/Selectors.ts).
 */
import type { Json } from "../../kube/KubeClient.ts"
import { arrayAt, objectAt, stringAt, stringsAt } from "../apiserver/Json.ts"
import type { Raw } from "./Raw.ts"

export interface Selector {
  readonly labels: Readonly<Record<string, string>>
  readonly expressions: ReadonlyArray<{
    readonly key: string
    readonly operator: string
    readonly values: ReadonlyArray<string>
  }>
}

const expression = (json: Json): Selector["expressions"][number] => ({
  key: stringAt(json, "key") ?? "",
  operator: stringAt(json, "operator") ?? "",
  values: stringsAt(json, "values")
})

export const selectorOf = (object: Raw): Selector => ({
  labels: Object.fromEntries(
    Object.entries(objectAt(object.spec, "selector", "matchLabels")).flatMap(([key, value]) =>
      typeof value === "string" ? [[key, value]] : []
    )
  ),
  expressions: arrayAt(object.spec, "selector", "matchExpressions").map(expression)
})

/** An empty selector matches nothing here: upstream refuses it. An unknown operator matches nothing either. */
export const matches = (selector: Selector, object: Raw): boolean => {
  const labels = object.metadata.labels ?? {}
  const pairs = Object.entries(selector.labels)
  if (pairs.length + selector.expressions.length === 0) return false
  return (
    pairs.every(([key, value]) => labels[key] === value) &&
    selector.expressions.every(({ key, operator, values }) => {
      const value = labels[key]
      switch (operator) {
        case "In":
          return value !== undefined && values.includes(value)
        case "NotIn":
          return value === undefined || !values.includes(value)
        case "Exists":
          return value !== undefined
        case "DoesNotExist":
          return value === undefined
        default:
          return false
      }
    })
  )
}

/** As `status.selector` and `kubectl -l` have it. */
export const selectorText = (selector: Selector): string =>
  [
    ...Object.entries(selector.labels).map(([key, value]) => `${key}=${value}`),
    ...selector.expressions.map(({ key, operator, values }) =>
      operator === "In"
        ? `${key} in (${values.join(",")})`
        : operator === "NotIn"
          ? `${key} notin (${values.join(",")})`
          : operator === "Exists"
            ? key
            : `!${key}`
    )
  ]
    .sort()
    .join(",")
