/**
 * Owns translating a Butane configuration (YAML) to the fields of an Ignition one: names, inline contents, mount units.
 * Refuses unknown fields and wrong types by their place, never by their value. Which fields there are is
 * ButaneFields.ts'; what Ignition itself thinks of the values is known on the host only.
 */
import * as Result from "effect/Result"
import { parseDocument } from "yaml"
import { BUTANE, ELSEWHERE, type Field, type Fields, resource } from "./ButaneFields.ts"

export type Json = string | number | boolean | ReadonlyArray<Json> | JsonRecord
export interface JsonRecord {
  readonly [name: string]: Json
}

/** `at`: where in the configuration; empty: all of it. `why` goes on from there. */
export interface ButaneError {
  readonly at: string
  readonly why: string
}

type Read<A> = Result.Result<A, ButaneError>
const refuse = (at: string, why: string): Read<never> => Result.fail({ at, why })

const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** `size_mib` is `sizeMiB`, `home_dir` is `homeDir`. */
const camel = (name: string): string =>
  name.replace(/_mib$/, "MiB").replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

export const dataUrl = (content: string | Uint8Array): string =>
  `data:;base64,${Buffer.from(content).toString("base64")}`

const scalar = (field: "string" | "integer" | "boolean", value: unknown, at: string): Read<Json> => {
  if (field === "string" && typeof value === "string") return Result.succeed(value)
  if (field === "integer" && typeof value === "number" && Number.isInteger(value)) return Result.succeed(value)
  // YAML 1.2 writes it so, and Butane takes both.
  if (field === "integer" && typeof value === "string" && /^0o[0-7]+$/.test(value))
    return Result.succeed(Number.parseInt(value.slice(2), 8))
  if (field === "boolean" && typeof value === "boolean") return Result.succeed(value)
  return refuse(at, `is not ${field === "integer" ? "an" : "a"} ${field}`)
}

const list = (value: unknown, at: string, one: (item: unknown, at: string) => Read<Json>): Read<Json> =>
  Array.isArray(value)
    ? Result.all(value.map((item: unknown, index) => one(item, `${at}[${index}]`)))
    : refuse(at, "is not a list")

const translated = (field: Field, value: unknown, at: string): Read<Json> => {
  if (field === "string" || field === "integer" || field === "boolean") return scalar(field, value, at)
  if (field === "strings") return list(value, at, (item, where) => scalar("string", item, where))
  // A tuple of one is a list of such mappings.
  const [entry] = Array.isArray(field) ? field : []
  if (isFields(entry)) return list(value, at, (item, where) => mapping(entry, item, where))
  return isFields(field) ? mapping(field, value, at) : refuse(at, "is unknown")
}

const isFields = (field: unknown): field is Fields => isMapping(field)

const mapping = (fields: Fields, value: unknown, at: string): Read<JsonRecord> => {
  if (!isMapping(value)) return refuse(at, "is not a mapping")
  const found: Record<string, Json> = {}
  for (const [name, inner] of Object.entries(value)) {
    const place = at === "" ? name : `${at}.${name}`
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (field === undefined) {
      const why = Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : undefined
      return /^[A-Za-z0-9_-]{1,40}$/.test(name)
        ? refuse(place, why ?? "is not a field that Butane has")
        : refuse(at, "has a key that names no field")
    }
    if (inner === null || inner === undefined) continue
    const json = translated(field, inner, place)
    if (Result.isFailure(json)) return Result.fail(json.failure)
    if (fields === resource && name === "inline") {
      if ("source" in value) return refuse(at, "has both inline and source")
      found["source"] = dataUrl(typeof json.success === "string" ? json.success : "")
    } else found[camel(name)] = json.success
  }
  return Result.succeed(found)
}

/** As systemd-escape --path does. */
const escapePath = (path: string): string => {
  const inner = path
    .split("/")
    .filter((part) => part !== "")
    .join("/")
  if (inner === "") return "-"
  return [...Buffer.from(inner, "utf8")]
    .map((byte, index) => {
      const char = String.fromCharCode(byte)
      if (char === "/") return "-"
      return /[A-Za-z0-9:_.]/.test(char) && !(char === "." && index === 0)
        ? char
        : `\\x${byte.toString(16).padStart(2, "0")}`
    })
    .join("")
}

const textOf = (from: JsonRecord, name: string): string => {
  const value = from[name]
  return typeof value === "string" ? value : ""
}

const mountUnit = (filesystem: JsonRecord): JsonRecord => {
  const device = textOf(filesystem, "device")
  const path = textOf(filesystem, "path")
  const format = textOf(filesystem, "format")
  const given = filesystem["mountOptions"]
  const options = Array.isArray(given) && given.length > 0 ? [`Options=${given.join(",")}`] : []
  if (format === "swap") {
    const contents = ["[Swap]", `What=${device}`, ...options, "", "[Install]", "RequiredBy=swap.target", ""]
    return { name: `${escapePath(device)}.swap`, enabled: true, contents: contents.join("\n") }
  }
  const check = `systemd-fsck@${escapePath(device)}.service`
  const contents = [
    "[Unit]",
    `Requires=${check}`,
    `After=${check}`,
    "",
    "[Mount]",
    `Where=${path}`,
    `What=${device}`,
    `Type=${format}`,
    ...options,
    "",
    "[Install]",
    "RequiredBy=local-fs.target",
    ""
  ]
  return { name: `${escapePath(path)}.mount`, enabled: true, contents: contents.join("\n") }
}

export const records = (of: Json | undefined): ReadonlyArray<JsonRecord> =>
  Array.isArray(of) ? of.filter((one): one is JsonRecord => isMapping(one)) : []

export const record = (of: Json | undefined): JsonRecord => (isJsonRecord(of) ? of : {})
const isJsonRecord = (value: Json | undefined): value is JsonRecord => isMapping(value)

/** `with_mount_unit` is Butane's own: a unit in Ignition. */
const withMountUnits = (config: JsonRecord): Read<JsonRecord> => {
  const storage = record(config["storage"])
  const filesystems = records(storage["filesystems"])
  const mounted = filesystems.filter((one) => one["withMountUnit"] === true)
  const bad = mounted.findIndex((one) => textOf(one, "format") !== "swap" && !textOf(one, "path").startsWith("/"))
  if (bad !== -1) return refuse("storage.filesystems", "has an entry with with_mount_unit and no absolute path")
  if (filesystems.length === 0) return Result.succeed(config)
  const plain = filesystems.map((one) =>
    Object.fromEntries(Object.entries(one).filter(([name]) => name !== "withMountUnit"))
  )
  const systemd = record(config["systemd"])
  const units = [...records(systemd["units"]), ...mounted.map(mountUnit)]
  return Result.succeed({
    ...config,
    storage: { ...storage, filesystems: plain },
    ...(units.length === 0 ? {} : { systemd: { ...systemd, units } })
  })
}

/** Without `ignition.version`, which is the caller's to know; `variant` and `version` are as given, if they are. */
export const parseButane = (yaml: string): Read<JsonRecord> => {
  // YAML 1.1: `0644` is octal, as Butane reads it.
  const document = parseDocument(yaml, { version: "1.1", prettyErrors: false, logLevel: "silent" })
  const [error] = document.errors
  if (error !== undefined) {
    const line = yaml.slice(0, error.pos[0]).split("\n").length
    return refuse("", `is not valid YAML in line ${line} (${error.code.toLowerCase().replaceAll("_", " ")})`)
  }
  const value = Result.try({
    try: (): unknown => document.toJS({ maxAliasCount: 100 }),
    catch: (): ButaneError => ({ at: "", why: "has bad or too many YAML aliases" })
  })
  return Result.flatMap(value, (config) =>
    config === null || config === undefined
      ? Result.succeed({})
      : Result.flatMap(mapping(BUTANE, config, ""), withMountUnits)
  )
}
