/**
 * Owns sets of field paths: the algebra server-side apply is made of, and FieldsV1, the form in which managedFields hold
 * them. Does not own which fields an object has (Typed.ts) nor who owns them (ManagedFields.ts).
 */
import { isJsonObject, type Json, type JsonObject } from "../../apiserver/Json.ts"

/**
 * A tree of path elements, each written as FieldsV1 has it: `f:name` (a field), `k:{"name":"x"}` (an item of a list that
 * is a map), `v:"x"` (an item of a list that is a set). `member`: the path that ends here is itself in the set.
 */
export interface FieldSet {
  readonly member: boolean
  readonly children: ReadonlyMap<string, FieldSet>
}

const noChildren: ReadonlyMap<string, FieldSet> = new Map()
export const emptySet: FieldSet = { member: false, children: noChildren }
export const leafSet: FieldSet = { member: true, children: noChildren }

export const isEmpty = (set: FieldSet): boolean => !set.member && set.children.size === 0

/** Without the children that are empty. */
export const makeSet = (member: boolean, children: ReadonlyMap<string, FieldSet>): FieldSet => {
  const kept = new Map([...children].filter(([, child]) => !isEmpty(child)))
  return kept.size === 0 ? (member ? leafSet : emptySet) : { member, children: kept }
}

export const union = (a: FieldSet, b: FieldSet): FieldSet => {
  if (isEmpty(a)) return b
  if (isEmpty(b) || a === b) return a
  const children = new Map(a.children)
  for (const [key, child] of b.children) children.set(key, union(children.get(key) ?? emptySet, child))
  return makeSet(a.member || b.member, children)
}

/** Paths of `a` that are not in `b`; a path in `b` says nothing of those below it. */
export const difference = (a: FieldSet, b: FieldSet): FieldSet => {
  if (isEmpty(a) || isEmpty(b)) return a
  const children = new Map<string, FieldSet>()
  for (const [key, child] of a.children) children.set(key, difference(child, b.children.get(key) ?? emptySet))
  return makeSet(a.member && !b.member, children)
}

export const intersection = (a: FieldSet, b: FieldSet): FieldSet => {
  if (isEmpty(a) || isEmpty(b)) return emptySet
  const children = new Map<string, FieldSet>()
  for (const [key, child] of a.children) children.set(key, intersection(child, b.children.get(key) ?? emptySet))
  return makeSet(a.member && b.member, children)
}

/** Without each path of `b` and everything below it. */
export const without = (a: FieldSet, b: FieldSet): FieldSet => {
  if (b.member) return emptySet
  const children = new Map<string, FieldSet>()
  for (const [key, child] of a.children) {
    const gone = b.children.get(key)
    children.set(key, gone === undefined ? child : without(child, gone))
  }
  return makeSet(a.member, children)
}

/** Only what lies at or below a path of `b`. */
export const within = (a: FieldSet, b: FieldSet): FieldSet => {
  if (b.member) return a
  const children = new Map<string, FieldSet>()
  for (const [key, kept] of b.children) children.set(key, within(a.children.get(key) ?? emptySet, kept))
  return makeSet(false, children)
}

export const equalSets = (a: FieldSet, b: FieldSet): boolean => {
  if (a === b) return true
  if (a.member !== b.member || a.children.size !== b.children.size) return false
  for (const [key, child] of a.children) {
    const other = b.children.get(key)
    if (other === undefined || !equalSets(child, other)) return false
  }
  return true
}

export const fieldElement = (name: string): string => `f:${name}`
export const valueElement = (value: Json): string => `v:${JSON.stringify(value)}`
export const keyElement = (keys: ReadonlyArray<readonly [string, Json]>): string => {
  const sorted = [...keys].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return `k:{${sorted.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`
}

/** A set of fields of fields, by their names. */
export const fieldPaths = (...paths: ReadonlyArray<ReadonlyArray<string>>): FieldSet =>
  paths.reduce(
    (set, path) =>
      union(
        set,
        path.reduceRight<FieldSet>(
          (below, name) => ({ member: false, children: new Map([[fieldElement(name), below]]) }),
          leafSet
        )
      ),
    emptySet
  )

export const toFieldsV1 = (set: FieldSet): JsonObject => {
  const encoded: Record<string, Json> = {}
  for (const key of [...set.children.keys()].sort()) {
    const child = set.children.get(key) ?? emptySet
    const below = toFieldsV1(child)
    // A path with nothing below it is a member without being said to be one.
    encoded[key] = child.member && child.children.size > 0 ? { ".": {}, ...below } : below
  }
  return encoded
}

const parsed = (text: string): Json | undefined => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** One spelling an element, however the client wrote it; undefined: not an element. */
const normalized = (element: string): string | undefined => {
  const rest = element.slice(2)
  switch (element.slice(0, 2)) {
    case "f:":
      return element
    case "i:":
      return /^\d+$/.test(rest) ? element : undefined
    case "v:": {
      const value = parsed(rest)
      return value === undefined ? undefined : valueElement(value)
    }
    case "k:": {
      const value = parsed(rest)
      return isJsonObject(value)
        ? keyElement(Object.entries(value).map(([name, item]) => [name, item ?? null] as const))
        : undefined
    }
    default:
      return undefined
  }
}

/** Undefined when it isn't FieldsV1. */
export const fromFieldsV1 = (raw: Json | undefined): FieldSet | undefined => {
  if (!isJsonObject(raw)) return undefined
  const decode = (value: JsonObject, root: boolean): FieldSet | undefined => {
    const children = new Map<string, FieldSet>()
    let member = false
    for (const [key, below] of Object.entries(value)) {
      if (!isJsonObject(below)) return undefined
      if (key === ".") {
        member = true
        continue
      }
      const element = normalized(key)
      const child = element === undefined ? undefined : decode(below, false)
      if (element === undefined || child === undefined) return undefined
      children.set(element, child)
    }
    return makeSet(member || (!root && children.size === 0), children)
  }
  return decode(raw, true)
}

const elementText = (element: string): string => {
  const rest = element.slice(2)
  switch (element.slice(0, 2)) {
    case "f:":
      return `.${rest}`
    case "v:":
      return `[=${rest}]`
    case "k:": {
      const keys = parsed(rest)
      const pairs = isJsonObject(keys) ? Object.entries(keys) : []
      return `[${pairs.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(",")}]`
    }
    default:
      return `[${rest}]`
  }
}

/** `.spec.parts[name="a"].weight`, for each path of the set; at each level what ends there first, as upstream. */
export const pathsOf = (set: FieldSet, prefix = ""): ReadonlyArray<string> => {
  const children = [...set.children].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const here = (element: string) => `${prefix}${elementText(element)}`
  return [
    ...children.filter(([, child]) => child.member).map(([element]) => here(element)),
    ...children.flatMap(([element, child]) => pathsOf(child, here(element)))
  ]
}
