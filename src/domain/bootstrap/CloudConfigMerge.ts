/**
 * Owns how several cloud-configs become one, as cloud-init merges the parts of a multipart: by the later part's merge
 * type (its header, or its own `merge_how`), by default replacing. Pure; knows no module.
 */
export type Config = Readonly<Record<string, unknown>>

export const isRecord = (value: unknown): value is Config =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** Options of the `list`, `dict` and `str` mergers; where a type has no merger, what was there first stays. */
type Mergers = Readonly<Record<string, ReadonlySet<string>>>

const DEFAULT_MERGE_TYPE = "dict(replace)+list()+str()"

const ofText = (text: string): Mergers => {
  const mergers: Record<string, ReadonlySet<string>> = {}
  for (const one of text.split("+")) {
    const found = /^\s*(\w+)\s*(?:\(([^)]*)\))?\s*$/.exec(one.toLowerCase())
    if (found?.[1] === undefined) continue
    const options = (found[2] ?? "").split(",").map((option) => option.trim())
    mergers[found[1]] = new Set(options.filter((option) => option !== ""))
  }
  return mergers
}

const ofList = (list: ReadonlyArray<unknown>): Mergers => {
  const mergers: Record<string, ReadonlySet<string>> = {}
  for (const one of list) {
    if (!isRecord(one) || typeof one["name"] !== "string") continue
    const settings = Array.isArray(one["settings"]) ? one["settings"] : []
    mergers[one["name"]] = new Set(settings.filter((setting) => typeof setting === "string"))
  }
  return mergers
}

/** The content's own word counts before the header's. */
export const mergersOf = (config: Config, header: string | undefined): Mergers => {
  const own = config["merge_how"] ?? config["merge_type"]
  const fromContent = typeof own === "string" ? ofText(own) : Array.isArray(own) ? ofList(own) : {}
  const mergers = { ...(header === undefined ? {} : ofText(header)), ...fromContent }
  return Object.keys(mergers).length === 0 ? ofText(DEFAULT_MERGE_TYPE) : mergers
}

const recursesInto = (value: unknown, options: ReadonlySet<string>, intoDicts: boolean): boolean =>
  Array.isArray(value)
    ? options.has("recurse_array") || options.has("recurse_list")
    : isRecord(value)
      ? intoDicts || options.has("recurse_dict")
      : typeof value === "string" && options.has("recurse_str")

const mergeDicts = (before: Config, next: Config, mergers: Mergers, options: ReadonlySet<string>): Config => {
  const merged: Record<string, unknown> = { ...before }
  for (const [key, value] of Object.entries(next)) {
    if (!Object.hasOwn(before, key)) merged[key] = value
    else if (value === null && options.has("allow_delete")) delete merged[key]
    else if (options.has("replace")) merged[key] = value
    else if (recursesInto(value, options, true)) merged[key] = mergeValues(before[key], value, mergers)
  }
  return merged
}

const mergeLists = (
  before: ReadonlyArray<unknown>,
  next: ReadonlyArray<unknown>,
  mergers: Mergers,
  options: ReadonlySet<string>
): ReadonlyArray<unknown> => {
  if (options.has("append")) return [...before, ...next]
  if (options.has("prepend")) return [...next, ...before]
  return before.map((old, index) => {
    if (index >= next.length || options.has("no_replace")) return old
    const value = next[index]
    return recursesInto(value, options, false) ? mergeValues(old, value, mergers) : value
  })
}

/** By the type of what was there before, as cloud-init does. */
const mergeValues = (before: unknown, next: unknown, mergers: Mergers): unknown => {
  const options = mergers[Array.isArray(before) ? "list" : isRecord(before) ? "dict" : "str"]
  if (options === undefined) return before
  if (isRecord(before)) return isRecord(next) ? mergeDicts(before, next, mergers, options) : before
  if (Array.isArray(before)) return Array.isArray(next) ? mergeLists(before, next, mergers, options) : next
  if (typeof before !== "string") return before
  return options.has("append") && typeof next === "string" ? before + next : next
}

export const mergeConfigs = (before: Config, next: Config, mergers: Mergers): Config => {
  const merged = mergeValues(before, next, mergers)
  return isRecord(merged) ? merged : before
}
