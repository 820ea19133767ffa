/**
 * Owns the steps that workers and controllers share: getting k0s, starting it, waiting for it and for their node, the sentinel,
 * and the order of them all. What is theirs alone is in BootstrapScript.ts and ControllerScript.ts.
 */
import { posix } from "node:path"
import { DownloadSource, INSTALLER_URL } from "../DownloadUrl.ts"
import { ADMIN_KUBECONFIG, type Common, DEFAULT_DATA_DIR, SENTINEL_PATH, urlFileOf } from "./CommonInput.ts"
import { namedStep, type Step } from "./Payload.ts"
import { ACTIVE, BOUNDED, SERVICE_FUNCTIONS, UPTIME } from "./Shell.ts"
import { hasExpansion, insideDoubleQuotes, plainText, quote, type Word } from "./ShellWords.ts"

/** Seconds for the service to be active and kubelet to have registered the node: images of k0s are pulled meanwhile. */
export const K0S_WAIT_SECONDS = 300
/** Seconds for the node to be Ready before postStart runs anyway: it may be what brings the CNI. */
export const NODE_READY_WAIT_SECONDS = 120
/** Seconds between two looks. */
const POLL_SECONDS = 1

export const lines = (...parts: ReadonlyArray<string>): string => parts.join("\n")

/** Fetches into a file beside the target, then renames: a k0s that runs from there is never written to (ETXTBSY). */
const fetchAndReplace = (c: Common, fetch: ReadonlyArray<string>): string =>
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

const download = (c: Common): Step | undefined =>
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
        // -g: brackets and braces of a URL are its own, no list of URLs.
        secret
          ? lines(
              fetchAndReplace(c, [`curl -gsSfL --retry 5 -o "$new" -K ${quote(urlFileOf(c.tokenFile))}`]),
              `rm -f ${quote(urlFileOf(c.tokenFile))}`
            )
          : fetchAndReplace(c, [`curl -gsSfL --retry 5 -o "$new" ${quote(url)}`])
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

/** Where this k0s keeps its data. */
export const dataDirOf = (c: Common): string => c.install.dataDir ?? DEFAULT_DATA_DIR

const LOWER = "tr '[:upper:]' '[:lower:]'"

/** The node's name as kubelet spells it: the host's own, or what was given; what only the host knows is asked of it again. */
const nodeName = (word: Word | undefined): string => {
  if (word === undefined) return `$(uname -n | ${LOWER})`
  return hasExpansion(word)
    ? `$(printf '%s' "${insideDoubleQuotes(word)}" | ${LOWER})`
    : quote(plainText(word).toLowerCase())
}

/** Assignments that the waiting steps share. */
const nodeVariables = (c: Common, kubeconfig: string): ReadonlyArray<string> => [
  `k0s=${quote(c.k0s)}`,
  `kubeconfig=${quote(kubeconfig)}`,
  `node=${nodeName(c.install.nodeName)}`
]

/** As whoever `$kubeconfig` is for; k0s carries kubectl. */
const KUBECTL = `kubectl() { KUBECONFIG="$kubeconfig" bounded "$k0s" kubectl "$@"; }`

/** Where postStart commands were promised it; one that k0s itself put there is left alone. */
export const linkKubeconfig = (kubeconfig: string): Step =>
  namedStep(
    "link kubeconfig",
    lines(
      "set -eu",
      `kubeconfig=${quote(kubeconfig)}`,
      `admin=${quote(ADMIN_KUBECONFIG)}`,
      'if [ -e "$admin" ] || ! [ -e "$kubeconfig" ]; then exit 0; fi',
      `mkdir -p "\${admin%/*}"`,
      'ln -sf "$kubeconfig" "$admin"'
    )
  )

/** How one of the two is waited for: shell code, and words for a person. */
export interface Awaited {
  readonly service: "k0sworker" | "k0scontroller"
  /** Of this host: there once k0s has made it. */
  readonly kubeconfig: string
  /** A function's name; it holds when the rest is there, asked with kubectl, or of a k0s without one. */
  readonly probe: string
  /** What the probe asks, for whoever reads the script. */
  readonly asked: string
  readonly withKubectl: ReadonlyArray<string>
  readonly withoutKubectl: ReadonlyArray<string>
  /** Quoted for the shell. */
  readonly noCredentials: string
  readonly notYet: string
  /** `k0s did not … within N seconds`. */
  readonly failed: string
}

export const start = (service: Awaited["service"]): Step =>
  namedStep("start k0s", lines("set -eu", SERVICE_FUNCTIONS, `service_do start ${service}`))

/** Until the service is active and its probe holds; bounded, and then it fails with what is missing. */
export const waitForK0s = (c: Common, { kubeconfig, probe, service, ...a }: Awaited): Step => {
  const seconds = c.waits?.k0sSeconds ?? K0S_WAIT_SECONDS
  return namedStep(
    "wait for k0s",
    lines(
      "set -eu",
      ...nodeVariables(c, kubeconfig),
      SERVICE_FUNCTIONS,
      ACTIVE,
      BOUNDED,
      UPTIME,
      KUBECTL,
      `# Asks ${a.asked}.`,
      `${probe}() {`,
      '  [ -s "$kubeconfig" ] || return 1',
      "  if kubectl version --client >/dev/null 2>&1; then",
      ...a.withKubectl,
      "  else",
      ...a.withoutKubectl,
      "  fi",
      "}",
      "explain() {",
      `  if ! active ${service}; then echo 'the service ${service} is not active'`,
      `  elif ! [ -s "$kubeconfig" ]; then echo ${a.noCredentials}`,
      `  else echo ${a.notYet}; fi`,
      `  if [ -d /run/systemd/system ] && has journalctl; then journalctl -u ${service} -n 10 --no-pager -o cat || true; fi`,
      "}",
      `end=$(( $(uptime_seconds) + ${seconds} ))`,
      `until active ${service} && ${probe}; do`,
      '  if [ "$(uptime_seconds)" -ge "$end" ]; then',
      `    { echo 'k0s did not ${a.failed} within ${seconds} seconds:'; explain; } >&2`,
      "    exit 1",
      "  fi",
      `  sleep ${POLL_SECONDS}`,
      "done"
    )
  )
}

/** `--status-socket` where k0s has another one than by default, for `k0s status`. */
export const statusSocket = (c: Common): string =>
  c.install.statusSocket === undefined ? "" : ` --status-socket ${quote(c.install.statusSocket)}`

/** A bounded time, and then on: what runs next may be what the node waits for. */
export const waitForNode = (c: Common, kubeconfig: string): Step => {
  const seconds = c.waits?.nodeReadySeconds ?? NODE_READY_WAIT_SECONDS
  return namedStep(
    "wait for node",
    lines(
      "set -eu",
      ...nodeVariables(c, kubeconfig),
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

/**
 * A node's steps by name, in order (CONTRACT section 3): pre-start 1…, download k0s, install k0s, start k0s, wait for k0s,
 * then with post-start commands what these were promised (link kubeconfig, wait for node) and post-start 1…; mark success.
 */
export const inOrder = (
  c: Common,
  own: {
    readonly install: Step
    readonly start: Step
    readonly wait: Step
    readonly promised: ReadonlyArray<Step>
  }
): ReadonlyArray<Step> => {
  const fetch = download(c)
  return [
    ...numbered("pre-start", c.preStart),
    ...(fetch === undefined ? [] : [fetch]),
    own.install,
    own.start,
    own.wait,
    ...(c.postStart.length === 0 ? [] : [...own.promised, ...numbered("post-start", c.postStart)]),
    markSuccess()
  ]
}
