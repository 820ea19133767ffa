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
  inOrder,
  lines,
  linkKubeconfig,
  start,
  statusSocket,
  waitForK0s,
  waitForNode
} from "./bootstrap/CommonSteps.ts"
import { type Ingress, ingressFiles } from "./bootstrap/Ingress.ts"
import { namedStep, type Payload, type Step } from "./bootstrap/Payload.ts"
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

/** kubelet's own credentials may read its own Node. */
const kubeletConf = (c: Common): string => posix.join(dataDirOf(c), "kubelet.conf")

const SERVICE = "k0sworker"

/** Until kubelet has credentials, and the API server shows its Node. */
const wait = (c: Common): Step =>
  waitForK0s(c, {
    service: SERVICE,
    kubeconfig: kubeletConf(c),
    probe: "registered",
    asked: "for the Node; a k0s without kubectl says at least whether kubelet's credentials work",
    withKubectl: ['    kubectl get node "$node" >/dev/null 2>&1'],
    withoutKubectl: [
      `    bounded "$k0s" status --out json${statusSocket(c)} 2>/dev/null | tr -d ' \\t\\r\\n' |`,
      `      grep -qE '"WorkerToAPIConnectionStatus":[{][^}]*"Success":true'`
    ],
    noCredentials: `'kubelet has no credentials yet: is the control plane reachable from this host, and the join token still valid?'`,
    notYet: '"the API server does not show the node $node"',
    failed: "join"
  })

/**
 * k0s has no admin.conf on workers, and admin credentials must not get there: postStart commands see what the kubelet
 * may see (its own Node, Services, what its pods need).
 */
const kubeconfigForCommands = (c: Common): Step => linkKubeconfig(kubeletConf(c))

/** Names and order: inOrder. */
export const workerBootstrap = (input: WorkerBootstrapInput): Result.Result<Payload, InvalidBootstrap> =>
  Result.map(checked(input), (c) => ({
    files: c.files,
    steps: inOrder(c, {
      install: install(c),
      start: start(SERVICE),
      wait: wait(c),
      promised: [kubeconfigForCommands(c), waitForNode(c, kubeletConf(c))]
    })
  }))
