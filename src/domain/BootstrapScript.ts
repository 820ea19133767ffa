/**
 * Owns what a K0sWorkerConfig makes a host do: the files and the named steps, in CONTRACT's order (section 3). Not the
 * format they travel in (CloudConfig.ts), nor how they are run (hosts/). Secrets are only ever in files.
 */
import { posix } from "node:path"
import * as Result from "effect/Result"
import {
  type Common,
  type CommonInput,
  checkedCommon,
  type InvalidBootstrap,
  invalid
} from "./bootstrap/CommonInput.ts"
import {
  dataDirOf,
  download,
  K0S_WAIT_SECONDS,
  KUBECTL,
  lines,
  linkKubeconfig,
  markSuccess,
  nodeVariables,
  numbered,
  POLL_SECONDS,
  waitForNode
} from "./bootstrap/CommonSteps.ts"
import { type Ingress, ingressFiles } from "./bootstrap/Ingress.ts"
import { namedStep, type Payload, type Step } from "./bootstrap/Payload.ts"
import { ACTIVE, BOUNDED, SERVICE_FUNCTIONS, UPTIME } from "./bootstrap/Shell.ts"
import { quote } from "./bootstrap/ShellWords.ts"

export interface WorkerBootstrapInput extends CommonInput {
  /** base64(gzip(kubeconfig)), JoinToken.ts. */
  readonly joinToken: string
  readonly ingress?: Ingress | undefined
}

const HOST = /^[A-Za-z0-9.:[\]-]+$/

const checked = (input: WorkerBootstrapInput): Result.Result<Common, InvalidBootstrap> => {
  for (const host of [input.ingress?.apiHost, input.ingress?.konnectivityHost]) {
    if (host !== undefined && !HOST.test(host)) return invalid("spec.ingress of the control plane", "has a bad host")
  }
  const { ingress, joinToken } = input
  return checkedCommon(input, { role: "worker", staticPods: ingress !== undefined }, ({ tokenFile }) => [
    { path: tokenFile, content: Buffer.from(joinToken, "utf8"), mode: "0600" },
    ...(ingress === undefined ? [] : ingressFiles(ingress))
  ])
}

const install = (c: Common): Step => {
  // A pool's machines have nothing of their own; its token file is the next best.
  const mark = c.install.words.find((word) => word.startsWith("--labels=")) ?? c.tokenFile
  return namedStep(
    "install k0s",
    lines(
      "set -eu",
      "# Installed for this machine by a run that was cut off: again, else k0s refuses.",
      "force=",
      "for service in /etc/systemd/system/k0sworker.service /etc/init.d/k0sworker; do",
      '  [ -f "$service" ] || continue',
      "  # A file without a token was cut off while it was written: no worker does without.",
      `  if grep -qF -e ${quote(mark)} "$service" || ! grep -qF -e --token-file "$service"; then force=--force; fi`,
      "done",
      `${quote(c.k0s)} install worker --token-file ${quote(c.tokenFile)} ${c.install.words.join(" ")} $force`
    )
  )
}

const start = (): Step => namedStep("start k0s", lines("set -eu", SERVICE_FUNCTIONS, "service_do start k0sworker"))

/** kubelet's own credentials may read its own Node. */
const kubeletConf = (c: Common): string => posix.join(dataDirOf(c), "kubelet.conf")

const waitForK0s = (c: Common): Step => {
  const seconds = c.waits?.k0sSeconds ?? K0S_WAIT_SECONDS
  const socket = c.install.statusSocket === undefined ? "" : ` --status-socket ${quote(c.install.statusSocket)}`
  return namedStep(
    "wait for k0s",
    lines(
      "set -eu",
      ...nodeVariables(c, kubeletConf(c)),
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
 * may see (its own Node, Services, what its pods need).
 */
const kubeconfigForCommands = (c: Common): Step => linkKubeconfig(kubeletConf(c))

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
          : [kubeconfigForCommands(c), waitForNode(c, kubeletConf(c)), ...numbered("post-start", c.postStart)]),
        markSuccess()
      ]
    }
  })
