/**
 * Owns what a K0sWorkerConfig makes a host do: the files and the named steps, in CONTRACT's order (section 3). Not the
 * format they travel in (CloudConfig.ts), nor how they are run (hosts/). Secrets are only ever in files.
 */
import { posix } from "node:path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { type Ingress, ingressFiles } from "./bootstrap/Ingress.ts"
import { type InstallArgs, installArgs } from "./bootstrap/InstallArgs.ts"
import { type BootstrapFile, hasControlCharacters, namedStep, type Payload, type Step } from "./bootstrap/Payload.ts"
import { ACTIVE, BOUNDED, SERVICE_FUNCTIONS, UPTIME } from "./bootstrap/Shell.ts"
import { quote } from "./bootstrap/ShellWords.ts"
import { DownloadSource, downloadSource, INSTALLER_URL } from "./DownloadUrl.ts"

export const DEFAULT_K0S_INSTALL_DIR = "/usr/local/bin"
export const DEFAULT_DATA_DIR = "/var/lib/k0s"
export const SENTINEL_PATH = "/run/cluster-api/bootstrap-success.complete"
export const DEFAULT_TOKEN_FILE = "/etc/k0s.token"
/** Where postStart commands were promised a kubeconfig (the bootstrap page); k0s itself has it on controllers only. */
export const ADMIN_KUBECONFIG = `${DEFAULT_DATA_DIR}/pki/admin.conf`

/** Seconds for the service to be active and kubelet to have registered the node: images of k0s are pulled meanwhile. */
export const K0S_WAIT_SECONDS = 300
/** Seconds for the node to be Ready before postStart runs anyway: it may be what brings the CNI. */
export const NODE_READY_WAIT_SECONDS = 120
/** Seconds between two looks. */
const POLL_SECONDS = 1

/** Bytes. Linux takes no longer argument (128 KiB), and cloud-init hands each command to `sh -c`. */
export const MAX_COMMAND_BYTES = 120 * 1024
/** Characters: the machine's name becomes the value of a node label. */
const MAX_LABEL_LENGTH = 63

export interface WorkerBootstrapInput {
  /** Name of the owner Machine. */
  readonly machineName: string
  /** Normalised (K0sVersion.ts); undefined: the latest. */
  readonly version?: string | undefined
  /** base64(gzip(kubeconfig)), JoinToken.ts. */
  readonly joinToken: string
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
  readonly ingress?: Ingress | undefined
  /** Absent: K0S_WAIT_SECONDS and NODE_READY_WAIT_SECONDS. */
  readonly waits?: { readonly k0sSeconds: number; readonly nodeReadySeconds: number } | undefined
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
  message: Schema.String
}) {
  readonly retry = "waitForChange" as const
}

const invalid = (field: string, why: string): Result.Result<never, InvalidBootstrap> =>
  Result.fail(new InvalidBootstrap({ field, message: `${field} ${why}` }))

/** `<workingDir>/k0s.token` when a working directory is given. */
export const tokenFileOf = (workingDir: string | undefined): string =>
  workingDir === undefined || workingDir === "" ? DEFAULT_TOKEN_FILE : posix.join(workingDir, "k0s.token")

// Everything below is checked once in `checked`, so that rendering can't fail.
interface Checked {
  readonly input: WorkerBootstrapInput
  readonly k0s: string
  readonly installDir: string
  readonly tokenFile: string
  readonly source: DownloadSource
  readonly install: InstallArgs
  readonly files: ReadonlyArray<BootstrapFile>
  readonly preStart: ReadonlyArray<string>
  readonly postStart: ReadonlyArray<string>
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
  if (!/^[0-7]{3,4}$/.test(permissions)) return invalid(`${field}.permissions`, "must be octal, like 0644")
  if (file.path.endsWith("/")) return invalid(`${field}.path`, "names a directory")
  return Result.map(absolutePath(`${field}.path`, file.path), (path) => ({
    path,
    content: typeof file.content === "string" ? Buffer.from(file.content, "utf8") : file.content,
    mode: permissions.padStart(4, "0")
  }))
}

const allFiles = (
  input: WorkerBootstrapInput,
  tokenFile: string
): Result.Result<ReadonlyArray<BootstrapFile>, InvalidBootstrap> => {
  const files: Array<BootstrapFile> = [
    { path: tokenFile, content: Buffer.from(input.joinToken, "utf8"), mode: "0600" },
    ...(input.ingress === undefined ? [] : ingressFiles(input.ingress))
  ]
  const paths = new Set(files.map((file) => file.path))
  for (const [index, given] of (input.files ?? []).entries()) {
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

const HOST = /^[A-Za-z0-9.:[\]-]+$/

const checked = (input: WorkerBootstrapInput): Result.Result<Checked, InvalidBootstrap> =>
  Result.gen(function* () {
    const name = input.machineName
    if (name.length > MAX_LABEL_LENGTH || !/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name)) {
      return yield* invalid(
        "metadata.name of the Machine",
        `must fit a label (${MAX_LABEL_LENGTH} characters) and a host name`
      )
    }
    for (const host of [input.ingress?.apiHost, input.ingress?.konnectivityHost]) {
      if (host !== undefined && !HOST.test(host))
        return yield* invalid("spec.ingress of the control plane", "has a bad host")
    }
    const installDir = yield* directory("spec.k0sInstallDir", input.k0sInstallDir, DEFAULT_K0S_INSTALL_DIR)
    const workingDir = yield* directory("spec.workingDir", input.workingDir, "")
    const tokenFile = tokenFileOf(workingDir)
    const source = yield* Result.mapError(
      downloadSource(input),
      (error) => new InvalidBootstrap({ field: "spec.downloadURL", message: error.message })
    )
    const install = yield* Result.mapError(
      installArgs({
        machineName: name,
        args: input.args ?? [],
        useSystemHostname: input.useSystemHostname ?? false,
        staticPods: input.ingress !== undefined
      }),
      ({ index, why }) =>
        new InvalidBootstrap({ field: `spec.args[${index}]`, message: `spec.args[${index}] can't be read: ${why}` })
    )
    const files = yield* allFiles(input, tokenFile)
    const preStart = yield* commands("preStartCommands", input.preStartCommands)
    const postStart = yield* commands("postStartCommands", input.postStartCommands)
    const k0s = posix.join(installDir, "k0s")
    return { input, k0s, installDir, tokenFile, source, install, files, preStart, postStart }
  })

const lines = (...parts: ReadonlyArray<string>): string => parts.join("\n")

/** Fetches into a file beside the target, then renames: a k0s that runs from there is never written to (ETXTBSY). */
const fetchAndReplace = (c: Checked, fetch: ReadonlyArray<string>): string =>
  lines(
    "set -eu",
    `dir=${quote(c.installDir)}`,
    'mkdir -p "$dir"',
    'new=$(mktemp "$dir/.k0s.XXXXXX")',
    `trap 'rm -f "$new"' EXIT`,
    ...fetch,
    'chmod 0755 "$new"',
    'mv -f "$new" "$dir/k0s"'
  )

const download = (c: Checked): Step | undefined =>
  DownloadSource.$match(c.source, {
    PreInstalled: () => undefined,
    Installer: ({ version }) =>
      namedStep(
        "download k0s",
        lines(
          "set -eu",
          "installer=$(mktemp)",
          `trap 'rm -f "$installer"' EXIT`,
          "# Into a file, not into a pipe: a download that fails must fail this step.",
          `curl -sSfL --retry 5 -o "$installer" ${INSTALLER_URL}`,
          `mkdir -p ${quote(c.installDir)}`,
          "# The installer writes in place, which a running k0s would refuse (Text file busy).",
          `rm -f ${quote(c.k0s)}`,
          `K0S_INSTALL_PATH=${quote(c.installDir)}${version === undefined ? "" : ` K0S_VERSION=${quote(version)}`} sh "$installer"`,
          `test -x ${quote(c.k0s)}`
        )
      ),
    Http: ({ url, secret }) =>
      namedStep(
        "download k0s",
        fetchAndReplace(
          c,
          secret
            ? [
                "# The URL carries a credential or signature: not into an argument list.",
                `curl -sSfL --retry 5 -o "$new" -K - <<'END_OF_URL'`,
                `url = "${url.replace(/[\\"]/g, "\\$&")}"`,
                "END_OF_URL"
              ]
            : [`curl -sSfL --retry 5 -o "$new" ${quote(url)}`]
        )
      ),
    Oci: ({ reference }) =>
      namedStep(
        "download k0s",
        fetchAndReplace(c, [
          "# oras looks for credentials in HOME, which services don't have.",
          `export HOME="\${HOME:-/root}"`,
          `oras blob fetch --output "$new" ${quote(reference)}`
        ])
      )
  })

const install = (c: Checked): Step => {
  const label = c.install.words[0] ?? ""
  return namedStep(
    "install k0s",
    lines(
      "set -eu",
      "# Installed for this machine by a run that was cut off: again, else k0s refuses.",
      "force=",
      "for service in /etc/systemd/system/k0sworker.service /etc/init.d/k0sworker; do",
      `  if [ -f "$service" ] && grep -qF -e ${quote(label)} "$service"; then force=--force; fi`,
      "done",
      `${quote(c.k0s)} install worker --token-file ${quote(c.tokenFile)} ${c.install.words.join(" ")} $force`
    )
  )
}

const start = (): Step => namedStep("start k0s", lines("set -eu", SERVICE_FUNCTIONS, "service_do start k0sworker"))

/** Assignments that the waiting steps share. The node's name is the host's own, as kubelet spells it, unless known. */
const nodeVariables = (c: Checked): ReadonlyArray<string> => [
  `k0s=${quote(c.k0s)}`,
  `kubeconfig=${quote(posix.join(c.install.dataDir ?? DEFAULT_DATA_DIR, "kubelet.conf"))}`,
  c.install.nodeName === undefined
    ? "node=$(uname -n | tr '[:upper:]' '[:lower:]')"
    : `node=${quote(c.install.nodeName)}`
]

/** kubelet's own credentials may read its own Node; k0s carries kubectl. */
const KUBECTL = `kubectl() { KUBECONFIG="$kubeconfig" bounded "$k0s" kubectl "$@"; }`

const waitForK0s = (c: Checked): Step => {
  const seconds = c.input.waits?.k0sSeconds ?? K0S_WAIT_SECONDS
  const socket = c.install.statusSocket === undefined ? "" : ` --status-socket ${quote(c.install.statusSocket)}`
  return namedStep(
    "wait for k0s",
    lines(
      "set -eu",
      ...nodeVariables(c),
      SERVICE_FUNCTIONS,
      ACTIVE,
      BOUNDED,
      UPTIME,
      KUBECTL,
      "# Asks for the Node; a k0s without kubectl says at least whether kubelet's credentials work.",
      "registered() {",
      '  [ -s "$kubeconfig" ] || return 1',
      "  if kubectl version --client >/dev/null 2>&1; then",
      '    kubectl get node "$node" >/dev/null 2>&1',
      "  else",
      `    bounded "$k0s" status --out json${socket} 2>/dev/null | tr -d ' \\t\\r\\n' |`,
      `      grep -qE '"WorkerToAPIConnectionStatus":[{][^}]*"Success":true'`,
      "  fi",
      "}",
      "explain() {",
      "  if ! active k0sworker; then echo 'the service k0sworker is not active'",
      `  elif ! [ -s "$kubeconfig" ]; then echo 'kubelet has no credentials yet: is the control plane reachable from this host, and the join token still valid?'`,
      '  else echo "the API server does not show the node $node"; fi',
      "  if [ -d /run/systemd/system ] && has journalctl; then journalctl -u k0sworker -n 10 --no-pager -o cat || true; fi",
      "}",
      `end=$(( $(uptime_seconds) + ${seconds} ))`,
      "until active k0sworker && registered; do",
      '  if [ "$(uptime_seconds)" -ge "$end" ]; then',
      `    { echo 'k0s did not join within ${seconds} seconds:'; explain; } >&2`,
      "    exit 1",
      "  fi",
      `  sleep ${POLL_SECONDS}`,
      "done"
    )
  )
}

/**
 * k0s has no admin.conf on workers, and admin credentials must not get there: postStart commands see what the kubelet
 * may see (its own Node, Services, what its pods need). A real admin.conf is left alone.
 */
const linkKubeconfig = (c: Checked): Step =>
  namedStep(
    "link kubeconfig",
    lines(
      "set -eu",
      ...nodeVariables(c).slice(1, 2),
      `admin=${quote(ADMIN_KUBECONFIG)}`,
      'if [ -e "$admin" ] || ! [ -e "$kubeconfig" ]; then exit 0; fi',
      `mkdir -p "\${admin%/*}"`,
      'ln -sf "$kubeconfig" "$admin"'
    )
  )

const waitForNode = (c: Checked): Step => {
  const seconds = c.input.waits?.nodeReadySeconds ?? NODE_READY_WAIT_SECONDS
  return namedStep(
    "wait for node",
    lines(
      "set -eu",
      ...nodeVariables(c),
      'has() { command -v "$1" >/dev/null 2>&1; }',
      BOUNDED,
      UPTIME,
      KUBECTL,
      "if ! kubectl version --client >/dev/null 2>&1; then",
      "  echo 'this k0s has no kubectl: going on without knowing whether the node is ready' >&2",
      "  exit 0",
      "fi",
      "ready() {",
      `  [ "$(kubectl get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]`,
      "}",
      `end=$(( $(uptime_seconds) + ${seconds} ))`,
      "until ready; do",
      '  if [ "$(uptime_seconds)" -ge "$end" ]; then',
      `    echo 'the node is not Ready after ${seconds} seconds: going on, for a post-start command may be what it waits for' >&2`,
      "    exit 0",
      "  fi",
      `  sleep ${POLL_SECONDS}`,
      "done"
    )
  )
}

const markSuccess = (): Step =>
  namedStep("mark success", lines("set -eu", `mkdir -p ${posix.dirname(SENTINEL_PATH)}`, `touch ${SENTINEL_PATH}`))

const numbered = (prefix: string, list: ReadonlyArray<string>): ReadonlyArray<Step> =>
  list.map((command, index) => namedStep(`${prefix} ${index + 1}`, command))

/** Names, in order: pre-start 1…, download k0s, install k0s, start k0s, wait for k0s, link kubeconfig, wait for node, post-start 1…, mark success. */
export const workerBootstrap = (input: WorkerBootstrapInput): Result.Result<Payload, InvalidBootstrap> =>
  Result.map(checked(input), (c) => {
    const fetch = download(c)
    return {
      files: c.files,
      steps: [
        ...numbered("pre-start", c.preStart),
        ...(fetch === undefined ? [] : [fetch]),
        install(c),
        start(),
        waitForK0s(c),
        ...(c.postStart.length === 0
          ? []
          : [linkKubeconfig(c), waitForNode(c), ...numbered("post-start", c.postStart)]),
        markSuccess()
      ]
    }
  })
