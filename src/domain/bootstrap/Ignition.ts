/**
 * Owns writing a bootstrap as an Ignition config (JSON): files, the steps as files of their own, and a unit that runs
 * them once, in order, until one fails; the user's Butane configuration beside it. Bytes depend on nothing but the input.
 * Reading Ignition for a host run is IgnitionParse.ts'; here is only finding the files of ours again.
 */
import * as Result from "effect/Result"
import { IGNITION_VERSIONS } from "../../api/IgnitionVersions.ts"
import { dataUrl, type Json, type JsonRecord, parseButane, record, records } from "./Butane.ts"
import { CLOSE_FRAME, filesFrame, OPEN_FRAME, STOP_AT_FAILURE, stepFrame, stepLabel } from "./Frame.ts"
import { compressed, gunzip, isGzip } from "./Gzip.ts"
import type { BootstrapFile, Payload } from "./Payload.ts"
import { quote } from "./ShellWords.ts"

export interface IgnitionOptions {
  /** A Butane variant: fcos, flatcar, openshift, r4e, fiot. */
  readonly variant: string
  /** Of the Butane specification. */
  readonly version: string
  /** Butane YAML. */
  readonly additionalConfig?: string | undefined
}

/** `field`: below spec.ignition. */
export interface IgnitionError {
  readonly field: "variant" | "version" | "additionalConfig"
  readonly why: string
}

export const BOOTSTRAP_DIR = "/etc/machinist/bootstrap"
export const BOOTSTRAP_UNIT = "k0s-bootstrap.service"
export const RUNNER = `${BOOTSTRAP_DIR}/run`
/** Outlives reboots: as under cloud-init, a bootstrap that was begun is never begun again. */
const BEGUN = "/var/lib/machinist-bootstrap-begun"

const UNIT = `[Unit]
Description=Bootstrap of a k0s node
Wants=network-online.target
After=network-online.target
ConditionPathExists=!${BEGUN}

[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=-/etc/environment
ExecStart=/bin/sh ${RUNNER}
KillMode=process

[Install]
WantedBy=multi-user.target
`

const stepPath = (index: number): string => `${BOOTSTRAP_DIR}/step-${index + 1}`

const runner = ({ files, steps }: Payload): string =>
  [
    "#!/bin/sh",
    STOP_AT_FAILURE,
    `mkdir -p ${BEGUN.slice(0, BEGUN.lastIndexOf("/"))}`,
    `: >${BEGUN}`,
    OPEN_FRAME,
    ...(files.length === 0 ? [] : [filesFrame(files.map((file) => file.path))]),
    ...steps.flatMap((step, index) => [
      stepFrame(stepLabel(index, steps.length, step.name)),
      `/bin/sh ${quote(stepPath(index))}`
    ]),
    CLOSE_FRAME,
    ""
  ].join("\n")

const contents = (content: Uint8Array, compressFrom: number): JsonRecord => {
  const small = compressed(content, compressFrom)
  return small === undefined ? { source: dataUrl(content) } : { compression: "gzip", source: dataUrl(small) }
}

const ownerOf = (owner: string | undefined): JsonRecord => {
  const [user = "", group = ""] = (owner ?? "").split(":")
  return { ...(user === "" ? {} : { user: { name: user } }), ...(group === "" ? {} : { group: { name: group } }) }
}

const fileOf = (file: BootstrapFile, compressFrom: number): JsonRecord => {
  const content = contents(file.content, compressFrom)
  return {
    path: file.path,
    mode: Number.parseInt(file.mode, 8),
    ...ownerOf(file.owner),
    ...(file.append === true ? { append: [content] } : { overwrite: true, contents: content })
  }
}

const ourFiles = (payload: Payload): ReadonlyArray<BootstrapFile> => [
  ...payload.files,
  ...payload.steps.map((step, index) => ({ path: stepPath(index), content: Buffer.from(step.script), mode: "0700" })),
  { path: RUNNER, content: Buffer.from(runner(payload)), mode: "0700" }
]

const additional = (options: IgnitionOptions, ours: ReadonlySet<string>): Result.Result<JsonRecord, IgnitionError> => {
  const bad = (why: string): Result.Result<never, IgnitionError> => Result.fail({ field: "additionalConfig", why })
  const parsed = parseButane(options.additionalConfig ?? "")
  if (Result.isFailure(parsed)) {
    const { at, why } = parsed.failure
    return bad(at === "" ? why : `has ${at}, which ${why}`)
  }
  const config = parsed.success
  for (const name of ["variant", "version"] as const)
    if (config[name] !== undefined && config[name] !== options[name])
      return bad(`has another ${name} than spec.ignition.${name}`)
  const { files, directories, links } = record(config["storage"])
  const paths = new Set(ours)
  for (const node of [files, directories, links].flatMap(records)) {
    const path = node["path"]
    if (typeof path !== "string" || !path.startsWith("/"))
      return bad("has a file, directory or link without an absolute path")
    if (paths.has(path)) return bad(`has ${path}, which is written twice, by another entry or by the bootstrap itself`)
    paths.add(path)
  }
  const units = new Set([BOOTSTRAP_UNIT])
  for (const unit of records(record(config["systemd"])["units"])) {
    const name = unit["name"]
    if (typeof name !== "string" || units.has(name))
      return bad("has a unit without a name, or one that is there twice, or is the bootstrap's")
    units.add(name)
  }
  return Result.succeed(config)
}

const without = (from: JsonRecord, ...names: ReadonlyArray<string>): JsonRecord =>
  Object.fromEntries(Object.entries(from).filter(([name]) => !names.includes(name)))

const merged = (version: string, files: ReadonlyArray<Json>, theirs: JsonRecord): JsonRecord => {
  const storage = record(theirs["storage"])
  const systemd = record(theirs["systemd"])
  return {
    ignition: { ...record(theirs["ignition"]), version },
    ...without(theirs, "variant", "version", "ignition", "storage", "systemd"),
    storage: { ...without(storage, "files"), files: [...files, ...records(storage["files"])] },
    systemd: {
      units: [{ name: BOOTSTRAP_UNIT, enabled: true, contents: UNIT }, ...records(systemd["units"])]
    }
  }
}

const ignitionVersion = ({ variant, version }: IgnitionOptions): Result.Result<string, IgnitionError> => {
  const versions = Object.hasOwn(IGNITION_VERSIONS, variant) ? IGNITION_VERSIONS[variant] : undefined
  if (versions === undefined)
    return Result.fail({ field: "variant", why: `must be one of ${Object.keys(IGNITION_VERSIONS).join(", ")}` })
  const found = Object.hasOwn(versions, version) ? versions[version] : undefined
  return found === undefined
    ? Result.fail({ field: "version", why: `of ${variant} must be one of ${Object.keys(versions).join(", ")}` })
    : Result.succeed(found)
}

/** Minor versions of Ignition's specification that first had it: older ones only warn, and go on without. */
const SPECIAL_BITS_SINCE = 4
const KERNEL_ARGUMENTS_SINCE = 3
const PLAIN_BITS = 0o777

const tooOld = (version: string, files: ReadonlyArray<BootstrapFile>, theirs: JsonRecord): string | undefined => {
  const minor = Number(version.split(".")[1])
  const storage = record(theirs["storage"])
  const nodes = [
    ...files.map((file) => ({ path: file.path, mode: Number.parseInt(file.mode, 8) })),
    ...["files", "directories"].flatMap((name) => records(storage[name]))
  ]
  const special = nodes.find(({ mode }) => typeof mode === "number" && mode > PLAIN_BITS)
  if (special !== undefined && minor < SPECIAL_BITS_SINCE)
    return `is too old for setuid, setgid and sticky bits (${special["path"]}), which Ignition has since 3.${SPECIAL_BITS_SINCE}.0`
  return theirs["kernelArguments"] !== undefined && minor < KERNEL_ARGUMENTS_SINCE
    ? `is too old for kernel_arguments, which Ignition has since 3.${KERNEL_ARGUMENTS_SINCE}.0`
    : undefined
}

/** Everything is checked; what is left is writing, with contents of `compressFrom` bytes or more compressed where shorter. */
export const renderIgnition = (
  payload: Payload,
  options: IgnitionOptions
): Result.Result<(compressFrom?: number) => Uint8Array, IgnitionError> =>
  Result.gen(function* () {
    const version = yield* ignitionVersion(options)
    const files = ourFiles(payload)
    const theirs = yield* additional(options, new Set(files.map((file) => file.path)))
    const why = tooOld(version, files, theirs)
    if (why !== undefined) return yield* Result.fail<IgnitionError>({ field: "version", why })
    return (compressFrom = Number.POSITIVE_INFINITY) => {
      const config = merged(
        version,
        files.map((file) => fileOf(file, compressFrom)),
        theirs
      )
      return Buffer.from(`${JSON.stringify(config)}\n`, "utf8")
    }
  })

const decoded = ({ compression, source }: JsonRecord): Uint8Array | undefined => {
  if (typeof source !== "string") return undefined
  const [, base64, text] = /^data:[^,]*?(;base64)?,(.*)$/s.exec(source) ?? []
  if (text === undefined) return undefined
  const plain = base64 === undefined ? Result.try(() => decodeURIComponent(text)) : undefined
  const bytes = Buffer.from(
    plain === undefined ? text : Result.getOrElse(plain, () => ""),
    plain === undefined ? "base64" : "utf8"
  )
  if (compression !== "gzip" || !isGzip(bytes)) return bytes
  return Result.getOrUndefined(gunzip(bytes))
}

/** Contents of the files in an Ignition config that we made, by path; of others' what is written in our way. */
export const ignitionContents = (data: Uint8Array): ReadonlyMap<string, Uint8Array> => {
  const parsed = Result.try((): Json => JSON.parse(Buffer.from(data).toString("utf8")))
  if (Result.isFailure(parsed)) return new Map()
  return new Map(
    records(record(record(parsed.success)["storage"])["files"]).flatMap((file) => {
      const content = decoded(record(file["contents"]))
      return typeof file["path"] === "string" && content !== undefined ? [[file["path"], content] as const] : []
    })
  )
}
