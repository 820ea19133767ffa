/**
 * Owns the `write_files` module of a cloud-config as files of a payload: encodings, modes, owners, order. What is on the
 * host already is the driver's.
 */
import { posix } from "node:path"
import * as Result from "effect/Result"
import { type BootstrapDataError, type BootstrapDataErrorReason, dataError } from "./BootstrapDataError.ts"
import { type Config, isRecord } from "./CloudConfigMerge.ts"
import { decodeBase64, gunzip } from "./Gzip.ts"
import { type BootstrapFile, hasControlCharacters } from "./Payload.ts"

type Read<A> = Result.Result<A, BootstrapDataError>

const error = (reason: BootstrapDataErrorReason, message: string): Read<never> =>
  Result.fail(dataError(reason, message))

const contentOf = (file: Config, where: string): Read<Uint8Array> => {
  const raw = file["content"] ?? ""
  if (typeof raw !== "string" && !(raw instanceof Uint8Array)) {
    return error("BadField", `${where}.content is not text: quote it`)
  }
  const bytes = typeof raw === "string" ? Buffer.from(raw, "utf8") : raw
  const encoding = file["encoding"] ?? ""
  const kind = typeof encoding === "string" ? encoding.toLowerCase().trim() : "?"
  const unzip = (zipped: Uint8Array): Read<Uint8Array> => {
    const plain = gunzip(zipped)
    return Result.isSuccess(plain)
      ? Result.succeed(plain.success)
      : error("BadEncoding", `${where}.content is not gzip`)
  }
  const fromBase64 = (): Read<Uint8Array> => {
    const plain = decodeBase64(Buffer.from(bytes).toString("latin1"))
    return Result.isSuccess(plain)
      ? Result.succeed(plain.success)
      : error("BadEncoding", `${where}.content is not base64`)
  }
  switch (kind) {
    case "":
    case "text/plain":
      return Result.succeed(bytes)
    case "b64":
    case "base64":
      return fromBase64()
    case "gz":
    case "gzip":
      return unzip(bytes)
    case "gz+b64":
    case "gz+base64":
    case "gzip+b64":
    case "gzip+base64":
      return Result.flatMap(fromBase64(), unzip)
    default:
      return error("BadEncoding", `${where}.encoding is unknown: b64, gzip and gz+b64 are possible`)
  }
}

const DEFAULT_MODE = "0644"

const modeOf = (value: unknown, where: string): Read<string> => {
  if (value === undefined || value === null) return Result.succeed(DEFAULT_MODE)
  const octal =
    typeof value === "number" && Number.isInteger(value) && value >= 0
      ? value.toString(8)
      : typeof value === "string"
        ? value.trim().replace(/^0o/i, "")
        : ""
  return /^[0-7]{1,5}$/.test(octal) && Number.parseInt(octal, 8) <= 0o7777
    ? Result.succeed(octal.replace(/^0+/, "").padStart(4, "0"))
    : error("BadField", `${where}.permissions is not octal, like "0644"`)
}

const ownerOf = (value: unknown, where: string): Read<string | undefined> => {
  if (value === undefined || value === null || value === "" || value === "root:root" || value === "root") {
    return Result.succeed(undefined)
  }
  return typeof value === "string" && /^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$/.test(value)
    ? Result.succeed(value)
    : error("BadField", `${where}.owner is not user or user:group`)
}

/** As cloud-init takes a switch. */
export const isOn = (value: unknown): boolean =>
  value === true ||
  value === 1 ||
  (typeof value === "string" && ["true", "1", "on", "yes"].includes(value.toLowerCase().trim()))

const pathOf = (value: unknown, where: string): Read<string> => {
  if (typeof value !== "string" || !value.startsWith("/") || hasControlCharacters(value)) {
    return error("BadPath", `${where}.path must be an absolute path`)
  }
  return value.endsWith("/")
    ? error("BadPath", `${where}.path names a directory`)
    : Result.succeed(posix.normalize(value))
}

const oneFile = (entry: unknown, where: string): Read<BootstrapFile> =>
  Result.gen(function* () {
    if (!isRecord(entry)) return yield* error("BadField", `${where} is not a mapping`)
    const owner = yield* ownerOf(entry["owner"], where)
    return {
      path: yield* pathOf(entry["path"], where),
      content: yield* contentOf(entry, where),
      mode: yield* modeOf(entry["permissions"], where),
      ...(owner === undefined ? {} : { owner }),
      ...(isOn(entry["append"]) ? { append: true } : {})
    }
  })

/** What of the entries would have to be fetched from elsewhere. */
export const fetched = (entries: ReadonlyArray<unknown>): ReadonlyArray<string> =>
  entries.flatMap((entry, index) =>
    isRecord(entry) && entry["source"] !== undefined && entry["source"] !== null ? [`write_files[${index}].source`] : []
  )

/** cloud-init writes `defer: true` files last, and so do we. */
export const writeFiles = (list: ReadonlyArray<unknown>): Read<ReadonlyArray<BootstrapFile>> =>
  Result.gen(function* () {
    const entries = list.map((entry, index) => ({ entry, where: `write_files[${index}]` }))
    const deferred = (entry: unknown): boolean => isRecord(entry) && isOn(entry["defer"])
    const ordered = [...entries.filter((e) => !deferred(e.entry)), ...entries.filter((e) => deferred(e.entry))]
    const found: Array<BootstrapFile> = []
    for (const { entry, where } of ordered) found.push(yield* oneFile(entry, where))
    return found
  })
