/**
 * Owns what K0sWorkerConfig and K0sControllerConfig share before anything is rendered: their common fields, where k0s
 * keeps what, and the checks after which rendering can't fail. Not the steps (CommonSteps.ts, BootstrapScript.ts,
 * ControllerScript.ts).
 */
import { posix } from "node:path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { DownloadSource, downloadSource } from "../DownloadUrl.ts"
import { type InstallArgs, type InstallArgsInput, installArgs } from "./InstallArgs.ts"
import { type BootstrapFile, hasControlCharacters } from "./Payload.ts"

export const DEFAULT_K0S_INSTALL_DIR = "/usr/local/bin"
export const DEFAULT_DATA_DIR = "/var/lib/k0s"
export const SENTINEL_PATH = "/run/cluster-api/bootstrap-success.complete"
export const DEFAULT_TOKEN_FILE = "/etc/k0s.token"
/** Where postStart commands were promised a kubeconfig (the bootstrap page); k0s itself has it on controllers only. */
export const ADMIN_KUBECONFIG = `${DEFAULT_DATA_DIR}/pki/admin.conf`

/** Bytes. Linux takes no longer argument (128 KiB), and cloud-init hands each command to `sh -c`. */
export const MAX_COMMAND_BYTES = 120 * 1024
/** Characters: the machine's name becomes the value of a node label. */
const MAX_LABEL_LENGTH = 63

export interface CommonInput {
  /** Name of the owner Machine; undefined: many machines share the data (a MachinePool). */
  readonly machineName: string | undefined
  /** Normalised (K0sVersion.ts); undefined: the latest. */
  readonly version?: string | undefined
  readonly args?: ReadonlyArray<string> | undefined
  /** With contents already fetched. */
  readonly files?: ReadonlyArray<FileInput> | undefined
  readonly preStartCommands?: ReadonlyArray<string> | undefined
  readonly postStartCommands?: ReadonlyArray<string> | undefined
  readonly preInstalledK0s?: boolean | undefined
  readonly downloadURL?: string | undefined
  readonly k0sInstallDir?: string | undefined
  readonly useSystemHostname?: boolean | undefined
  readonly workingDir?: string | undefined
  /** Absent: K0S_WAIT_SECONDS and NODE_READY_WAIT_SECONDS. */
  readonly waits?: Waits | undefined
}

export interface Waits {
  readonly k0sSeconds: number
  readonly nodeReadySeconds: number
}

export interface FileInput {
  readonly path: string
  readonly content: string | Uint8Array
  /** Octal; absent or empty: 0644. */
  readonly permissions?: string | undefined
}

/** `field` is where in the config, e.g. `spec.files[2].permissions`; no value of a field is in the message. */
export class InvalidBootstrap extends Schema.TaggedError<InvalidBootstrap>()("InvalidBootstrap", {
  field: Schema.String,
  /** Condition reason; absent: InvalidConfig. */
  reason: Schema.optionalKey(Schema.String),
  message: Schema.String
}) {
  readonly retry = "waitForChange" as const
}

export const invalid = (field: string, why: string): Result.Result<never, InvalidBootstrap> =>
  Result.fail(new InvalidBootstrap({ field, message: `${field} ${why}` }))

/** `<workingDir>/k0s.token` when a working directory is given. */
export const tokenFileOf = (workingDir: string | undefined): string =>
  workingDir === undefined || workingDir === "" ? DEFAULT_TOKEN_FILE : posix.join(workingDir, "k0s.token")

/** Beside the token, where a URL that carries a credential or signature waits for the download: no argument list has it. */
export const urlFileOf = (tokenFile: string): string => posix.join(posix.dirname(tokenFile), "k0s.download")

/** As curl's --config reads it. */
const urlFile = (source: DownloadSource, tokenFile: string): ReadonlyArray<BootstrapFile> =>
  DownloadSource.$is("Http")(source) && source.secret
    ? [
        {
          path: urlFileOf(tokenFile),
          content: Buffer.from(`url = "${source.url.replace(/[\\"]/g, "\\$&")}"\n`, "utf8"),
          mode: "0600"
        }
      ]
    : []

/** Checked once, so that rendering can't fail. */
export interface Common {
  readonly k0s: string
  readonly installDir: string
  readonly tokenFile: string
  readonly source: DownloadSource
  readonly install: InstallArgs
  readonly files: ReadonlyArray<BootstrapFile>
  readonly preStart: ReadonlyArray<string>
  readonly postStart: ReadonlyArray<string>
  readonly waits: Waits | undefined
}

const absolutePath = (field: string, path: string): Result.Result<string, InvalidBootstrap> =>
  !path.startsWith("/") || hasControlCharacters(path)
    ? invalid(field, "must be an absolute path without control characters")
    : Result.succeed(posix.normalize(path))

const directory = (field: string, path: string | undefined, absent: string): Result.Result<string, InvalidBootstrap> =>
  path === undefined || path === ""
    ? Result.succeed(absent)
    : Result.map(absolutePath(field, path), (dir) => (dir.length > 1 && dir.endsWith("/") ? dir.slice(0, -1) : dir))

const userFile = (file: FileInput, index: number): Result.Result<BootstrapFile, InvalidBootstrap> => {
  const field = `spec.files[${index}]`
  const permissions = file.permissions === undefined || file.permissions === "" ? "0644" : file.permissions
  if (!/^0?[0-7]{3,4}$/.test(permissions)) return invalid(`${field}.permissions`, "must be octal, like 0644")
  if (file.path.endsWith("/")) return invalid(`${field}.path`, "names a directory")
  return Result.map(absolutePath(`${field}.path`, file.path), (path) => ({
    path,
    content: typeof file.content === "string" ? Buffer.from(file.content, "utf8") : file.content,
    mode: permissions.slice(-4).padStart(4, "0")
  }))
}

const allFiles = (
  own: ReadonlyArray<BootstrapFile>,
  users: ReadonlyArray<FileInput>
): Result.Result<ReadonlyArray<BootstrapFile>, InvalidBootstrap> => {
  const files = [...own]
  const paths = new Set(files.map((file) => file.path))
  for (const [index, given] of users.entries()) {
    const file = userFile(given, index)
    if (Result.isFailure(file)) return Result.fail(file.failure)
    if (paths.has(file.success.path)) {
      return invalid(`spec.files[${index}].path`, "is written twice, by another entry or by the bootstrap itself")
    }
    paths.add(file.success.path)
    files.push(file.success)
  }
  return Result.succeed(files)
}

const commands = (
  field: string,
  list: ReadonlyArray<string> | undefined
): Result.Result<ReadonlyArray<string>, InvalidBootstrap> => {
  const bad = (list ?? []).findIndex(
    (command) => command.includes("\0") || Buffer.byteLength(command, "utf8") > MAX_COMMAND_BYTES
  )
  return bad === -1
    ? Result.succeed(list ?? [])
    : invalid(`spec.${field}[${bad}]`, `must be at most ${MAX_COMMAND_BYTES} bytes of text: put it into spec.files`)
}

const machineName = (name: string | undefined): Result.Result<void, InvalidBootstrap> =>
  name !== undefined && (name.length > MAX_LABEL_LENGTH || !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name))
    ? invalid("metadata.name of the Machine", `must fit a label (${MAX_LABEL_LENGTH} characters) and a host name`)
    : Result.succeed(undefined)

/** `own`: the files that the bootstrap itself brings, given what was checked so far. */
export const checkedCommon = (
  input: CommonInput,
  role: Pick<InstallArgsInput, "role" | "staticPods">,
  own: (known: { readonly tokenFile: string; readonly install: InstallArgs }) => ReadonlyArray<BootstrapFile>
): Result.Result<Common, InvalidBootstrap> =>
  Result.gen(function* () {
    yield* machineName(input.machineName)
    const installDir = yield* directory("spec.k0sInstallDir", input.k0sInstallDir, DEFAULT_K0S_INSTALL_DIR)
    const workingDir = yield* directory("spec.workingDir", input.workingDir, "")
    const tokenFile = tokenFileOf(workingDir)
    const source = yield* Result.mapError(
      downloadSource(input),
      (error) => new InvalidBootstrap({ field: "spec.downloadURL", message: error.message })
    )
    const install = yield* Result.mapError(
      installArgs({
        machineName: input.machineName,
        args: input.args ?? [],
        useSystemHostname: input.useSystemHostname ?? false,
        ...role
      }),
      ({ index, why }) =>
        new InvalidBootstrap({ field: `spec.args[${index}]`, message: `spec.args[${index}] can't be read: ${why}` })
    )
    const files = yield* allFiles([...own({ tokenFile, install }), ...urlFile(source, tokenFile)], input.files ?? [])
    const preStart = yield* commands("preStartCommands", input.preStartCommands)
    const postStart = yield* commands("postStartCommands", input.postStartCommands)
    const k0s = posix.join(installDir, "k0s")
    return { k0s, installDir, tokenFile, source, install, files, preStart, postStart, waits: input.waits }
  })
