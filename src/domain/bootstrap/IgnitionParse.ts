/**
 * Owns reading an Ignition config (spec 3.x, and the 2.x that kubeadm's provider still makes) for a host run: files,
 * directories, links and systemd units. What only a machine's first boot can do (disks, accounts, kernel arguments) and
 * what would have to be fetched is refused by name, all of it at once. The steps' shell is IgnitionSteps.ts's.
 *
 * Two differences from Ignition, on purpose: a file that exists is replaced, `overwrite` or not, since the host has an
 * operating system; and an enabled unit is started, since its boot is over.
 */
import { createHash } from "node:crypto"
import { posix } from "node:path"
import * as Result from "effect/Result"
import { type BootstrapDataError, type BootstrapDataErrorReason, dataError } from "./BootstrapDataError.ts"
import { type Config, isRecord } from "./CloudConfigMerge.ts"
import { unsupportedError } from "./CloudConfigParse.ts"
import { decodeBase64, gunzip } from "./Gzip.ts"
import { BOOTSTRAP_DIR, BOOTSTRAP_UNIT, RUNNER } from "./Ignition.ts"
import { type Directory, ignitionSteps, type Link, type Unit } from "./IgnitionSteps.ts"
import { type BootstrapFile, hasControlCharacters, type Payload, type Step, stepNameOf } from "./Payload.ts"

type Read<A> = Result.Result<A, BootstrapDataError>

const error = (reason: BootstrapDataErrorReason, message: string): Read<never> =>
  Result.fail(dataError(reason, message))

interface Entry {
  readonly value: Config
  /** For messages: where it stands. */
  readonly where: string
}

const listOf = (parent: Config, key: string, where: string): Read<ReadonlyArray<Entry>> => {
  const value = parent[key]
  if (value === undefined || value === null) return Result.succeed([])
  if (!Array.isArray(value)) return error("BadField", `${where} is not a list`)
  const entries = value.map((one, index) => ({ value: one, where: `${where}[${index}]` }))
  const bad = entries.find((entry) => !isRecord(entry.value))
  return bad === undefined ? Result.succeed(entries) : error("BadField", `${bad.where} is not an object`)
}

const recordAt = (parent: Config, key: string): Config => {
  const value = parent[key]
  return isRecord(value) ? value : {}
}

const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  (Array.isArray(value) && value.length === 0) ||
  (isRecord(value) && Object.values(value).every(isEmpty))

// ------------------------------------------------------------------------------------------------ unsupported

const SUPPORTED = "ignition 3.0 to 3.5 and 2.0 to 2.3"

const majorOf = (ignition: Config): Read<2 | 3> => {
  const version = ignition["version"]
  const found = typeof version === "string" ? /^(\d+)\.(\d+)\.\d+(-experimental)?$/.exec(version) : null
  if (found === null) return error("BadField", `ignition.version is missing, or no version: ${SUPPORTED} can be read`)
  const [major, minor] = [Number(found[1]), Number(found[2])]
  if (major === 3 && minor <= 5) return Result.succeed(3)
  if (major === 2 && minor <= 3) return Result.succeed(2)
  return error("BadField", `ignition.version ${found[1]}.${found[2]} is not supported: ${SUPPORTED} can be read`)
}

const SECTIONS: Readonly<Record<string, ReadonlyArray<string>>> = {
  ignition: ["config.merge", "config.replace", "config.append"],
  storage: ["disks", "raid", "filesystems", "luks"],
  passwd: ["users", "groups"],
  networkd: ["units"],
  kernelArguments: ["shouldExist", "shouldNotExist"]
}

const at = (parent: Config, path: string): unknown =>
  path.split(".").reduce<unknown>((value, key) => (isRecord(value) ? value[key] : undefined), parent)

const unsupportedSections = (config: Config): ReadonlyArray<string> =>
  Object.entries(SECTIONS).flatMap(([section, keys]) =>
    keys.filter((key) => !isEmpty(at(recordAt(config, section), key))).map((key) => `${section}.${key}`)
  )

const isFetched = (contents: unknown): boolean => {
  const source = isRecord(contents) ? contents["source"] : undefined
  return typeof source === "string" && source !== "" && !source.startsWith("data:")
}

const unsupportedSources = (entry: Entry): ReadonlyArray<string> => {
  const { contents, append } = entry.value
  return [
    ...(isFetched(contents) ? [`${entry.where}.contents.source`] : []),
    ...(Array.isArray(append) && append.some(isFetched) ? [`${entry.where}.append`] : []),
    ...(entry.value["filesystem"] !== undefined && entry.value["filesystem"] !== "root"
      ? [`${entry.where}.filesystem`]
      : [])
  ]
}

// ------------------------------------------------------------------------------------------------------ fields

const pathOf = ({ value, where }: Entry): Read<string> => {
  const path = value["path"]
  return typeof path === "string" && path.startsWith("/") && path !== "/" && !hasControlCharacters(path)
    ? Result.succeed(posix.normalize(path).replace(/\/$/, ""))
    : error("BadPath", `${where}.path must be an absolute path`)
}

const modeOf = ({ value, where }: Entry, otherwise: string): Read<string> => {
  const mode = value["mode"]
  if (mode === undefined || mode === null) return Result.succeed(otherwise)
  return typeof mode === "number" && Number.isInteger(mode) && mode >= 0 && mode <= 0o7777
    ? Result.succeed(mode.toString(8).padStart(4, "0"))
    : error("BadField", `${where}.mode is not a decimal number like 420 (0644)`)
}

const account = (value: unknown, where: string): Read<string | undefined> => {
  if (isEmpty(value)) return Result.succeed(undefined)
  const { id, name } = isRecord(value) ? value : {}
  if (typeof id === "number" && Number.isInteger(id) && id >= 0) return Result.succeed(String(id))
  return typeof name === "string" && /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name)
    ? Result.succeed(name)
    : error("BadField", `${where} has neither an id nor a name`)
}

const ownerOf = ({ value, where }: Entry): Read<string | undefined> =>
  Result.gen(function* () {
    const user = yield* account(value["user"], `${where}.user`)
    const group = yield* account(value["group"], `${where}.group`)
    return user === undefined && group === undefined ? undefined : `${user ?? "root"}:${group ?? "root"}`
  })

/** RFC 2397; Ignition's only source that needs no network. */
const dataUrl = (source: string): Uint8Array | undefined => {
  const found = /^data:([^,]*),([\s\S]*)$/.exec(source)
  if (found === null) return undefined
  const bytes = Buffer.from(
    Buffer.from(found[2] ?? "", "utf8")
      .toString("latin1")
      .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    "latin1"
  )
  if (!/;\s*base64\s*$/i.test(found[1] ?? "")) return bytes
  const decoded = decodeBase64(bytes.toString("latin1"))
  return Result.isSuccess(decoded) ? decoded.success : undefined
}

const verified = (contents: Config, content: Uint8Array, where: string): Read<Uint8Array> => {
  const hash = recordAt(contents, "verification")["hash"]
  if (hash === undefined || hash === null || hash === "") return Result.succeed(content)
  const [, kind, sum] = (typeof hash === "string" ? /^(sha256|sha512)-([0-9a-f]+)$/i.exec(hash) : null) ?? []
  if (kind === undefined) return error("BadField", `${where}.verification.hash is not sha256-… or sha512-…`)
  return createHash(kind.toLowerCase()).update(content).digest("hex") === sum?.toLowerCase()
    ? Result.succeed(content)
    : error("BadEncoding", `${where} does not have the hash that it says`)
}

/** As Ignition does: unzipped, then compared with the hash. */
const contentOf = (contents: unknown, where: string): Read<Uint8Array> =>
  Result.gen(function* () {
    if (!isRecord(contents)) return yield* error("BadField", `${where} is not an object`)
    const source = contents["source"] ?? ""
    if (typeof source !== "string") return yield* error("BadField", `${where}.source is not text`)
    const bytes = source === "" ? new Uint8Array() : dataUrl(source)
    if (bytes === undefined) return yield* error("BadEncoding", `${where}.source is not a data URL`)
    const compression = contents["compression"] ?? ""
    if (compression !== "" && compression !== "gzip")
      return yield* error("BadEncoding", `${where}.compression is unknown: gzip is possible`)
    const plain = compression === "gzip" ? gunzip(bytes) : Result.succeed(bytes)
    if (Result.isFailure(plain)) return yield* error("BadEncoding", `${where} is not gzip`)
    return yield* verified(contents, plain.success, where)
  })

// --------------------------------------------------------------------------------------------- what is on disk

/** What replaces comes first, then what is appended, in order. */
const filesOf = (entry: Entry): Read<ReadonlyArray<BootstrapFile>> =>
  Result.gen(function* () {
    const { value, where } = entry
    const path = yield* pathOf(entry)
    const owner = yield* ownerOf(entry)
    const mode = yield* modeOf(entry, "0644")
    const common = { path, mode, ...(owner === undefined ? {} : { owner }) }
    // Spec 2: `append: true` says it of `contents`; spec 3 has a list.
    const whole = value["append"] === true
    const found: Array<BootstrapFile> = []
    if (!isEmpty(value["contents"]) || !Array.isArray(value["append"])) {
      const content = yield* contentOf(value["contents"] ?? {}, `${where}.contents`)
      found.push({ ...common, content, ...(whole ? { append: true } : {}) })
    }
    const pieces: ReadonlyArray<unknown> = Array.isArray(value["append"]) ? value["append"] : []
    for (const [index, piece] of pieces.entries())
      found.push({ ...common, content: yield* contentOf(piece, `${where}.append[${index}]`), append: true })
    return found
  })

const directoryOf = (entry: Entry): Read<Directory> =>
  Result.gen(function* () {
    return { path: yield* pathOf(entry), mode: yield* modeOf(entry, "0755"), owner: yield* ownerOf(entry) }
  })

const linkOf = (entry: Entry): Read<Link> =>
  Result.gen(function* () {
    const { target, hard } = entry.value
    if (typeof target !== "string" || target === "" || hasControlCharacters(target))
      return yield* error("BadPath", `${entry.where}.target is not a path`)
    return { path: yield* pathOf(entry), target, hard: hard === true, owner: yield* ownerOf(entry) }
  })

// ------------------------------------------------------------------------------------------------------- units

const UNIT_NAME = /^[\w:.\\@-]+\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$/
const UNIT_DIRECTORY = "/etc/systemd/system"

const text = (value: unknown, where: string): Read<string | undefined> => {
  if (value === undefined || value === null || value === "") return Result.succeed(undefined)
  return typeof value === "string" ? Result.succeed(value) : error("BadField", `${where} is not text`)
}

const unitFile = (path: string, content: string): BootstrapFile => ({
  path: `${UNIT_DIRECTORY}/${path}`,
  content: Buffer.from(content, "utf8"),
  mode: "0644"
})

const unitOf = (entry: Entry): Read<{ readonly unit: Unit; readonly files: ReadonlyArray<BootstrapFile> }> =>
  Result.gen(function* () {
    const { value, where } = entry
    const name = value["name"]
    if (typeof name !== "string" || !UNIT_NAME.test(name)) return yield* error("BadField", `${where}.name is no unit`)
    const contents = yield* text(value["contents"], `${where}.contents`)
    const files = contents === undefined ? [] : [unitFile(name, contents)]
    for (const dropin of yield* listOf(value, "dropins", `${where}.dropins`)) {
      const file = dropin.value["name"]
      if (typeof file !== "string" || !/^[\w:.\\@-]+\.conf$/.test(file))
        return yield* error("BadField", `${dropin.where}.name does not end in .conf`)
      const inner = yield* text(dropin.value["contents"], `${dropin.where}.contents`)
      if (inner !== undefined) files.push(unitFile(`${name}.d/${file}`, inner))
    }
    // Spec 2.0 said `enable`.
    const enabled = value["enabled"] ?? (value["enable"] === true ? true : undefined)
    return {
      files,
      unit: { name, mask: value["mask"] === true, enabled: typeof enabled === "boolean" ? enabled : undefined }
    }
  })

// -------------------------------------------------------------------------------------------------------- ours

const STEP_FILE = new RegExp(`^${BOOTSTRAP_DIR}/step-(\\d+)$`)

interface Sorted {
  readonly own: boolean
  readonly others: ReadonlyArray<BootstrapFile>
  readonly steps: ReadonlyArray<Step>
}

/** What we rendered for a first boot is run step by step, journaled, as its cloud-config would be: not by its unit. */
const ours = (files: ReadonlyArray<BootstrapFile>): Sorted => {
  if (!files.some((file) => file.path === RUNNER)) return { own: false, others: files, steps: [] }
  const steps = files.flatMap((file) => {
    const number = STEP_FILE.exec(file.path)?.[1]
    if (number === undefined) return []
    const script = Buffer.from(file.content).toString("utf8")
    return [{ number: Number(number), script, name: stepNameOf(script) ?? `step ${number}` }]
  })
  return {
    own: true,
    others: files.filter((file) => file.path !== RUNNER && !STEP_FILE.test(file.path)),
    steps: steps.sort((a, b) => a.number - b.number).map(({ name, script }) => ({ name, script }))
  }
}

// ----------------------------------------------------------------------------------------------------- the whole

const parseJson = (data: Uint8Array): Read<Config> =>
  Result.flatMap(
    Result.try({
      try: (): unknown => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data)),
      // The parser's own message quotes the text.
      catch: () => dataError("BadJson", "it is not JSON, which Ignition is: butane and container linux configs are not")
    }),
    (value) => (isRecord(value) ? Result.succeed(value) : error("BadJson", "the JSON is not an object"))
  )

export const parseIgnition = (data: Uint8Array): Read<Payload> =>
  Result.gen(function* () {
    const config = yield* parseJson(data)
    yield* majorOf(recordAt(config, "ignition"))
    const storage = recordAt(config, "storage")
    const files = yield* listOf(storage, "files", "storage.files")
    const directories = yield* listOf(storage, "directories", "storage.directories")
    const links = yield* listOf(storage, "links", "storage.links")
    const refused = [
      ...unsupportedSections(config),
      ...[...files, ...directories, ...links].flatMap(unsupportedSources)
    ]
    if (refused.length > 0) return yield* Result.fail(unsupportedError(refused))
    const units = yield* Result.all((yield* listOf(recordAt(config, "systemd"), "units", "systemd.units")).map(unitOf))
    const { own, others, steps } = ours((yield* Result.all(files.map(filesOf))).flat())
    const theirs = own ? units.filter((one) => one.unit.name !== BOOTSTRAP_UNIT) : units
    const before = ignitionSteps({
      directories: yield* Result.all(directories.map(directoryOf)),
      links: yield* Result.all(links.map(linkOf)),
      units: theirs.map((one) => one.unit),
      endsByUnits: !own
    })
    return { files: [...others, ...theirs.flatMap((one) => one.files)], steps: [...before, ...steps] }
  })
