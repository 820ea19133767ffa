/**
 * Owns what a K0sControllerConfig makes a host do: the files and the named steps of a k0s controller, the cluster's first
 * one (it brings the certificates) or one that joins (it brings a token). CONTRACT section 3. Which of the two a machine
 * is, is ControllerRole.ts's; the format they travel in CloudConfig.ts's.
 */
import { posix } from "node:path"
import * as Result from "effect/Result"
import { stringify } from "yaml"
import {
  ADMIN_KUBECONFIG,
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
import { type BootstrapFile, namedStep, type Payload, type Step } from "./bootstrap/Payload.ts"
import { quote } from "./bootstrap/ShellWords.ts"

export const K0S_CONFIG_FILE = "/etc/k0s.yaml"

/** PEM. */
export interface CertificatePair {
  readonly cert: string
  readonly key: string
}

/** What is in Secrets `<cluster>-{ca,sa,proxy,etcd}`; of `sa` the certificate is a public key. */
export interface ClusterCertificates {
  readonly ca: CertificatePair
  readonly sa: CertificatePair
  readonly proxy: CertificatePair
  readonly etcd: CertificatePair
}

export type ControllerJoin =
  | { readonly as: "first"; readonly certificates: ClusterCertificates }
  /** base64(gzip(kubeconfig)) of user `controller-bootstrap`, JoinToken.ts. */
  | { readonly as: "joining"; readonly joinToken: string }

export interface ControllerBootstrapInput extends CommonInput {
  readonly machineName: string
  readonly join: ControllerJoin
  /** A k0s ClusterConfig; written as it is. */
  readonly k0sConfig?: unknown
}

const text = (path: string, content: string, mode: string): BootstrapFile => ({
  path,
  content: Buffer.from(content, "utf8"),
  mode
})

/** Where k0s looks for them before it makes its own; it gives the keys to the users that its components run as. */
const certificateFiles = (pki: string, { ca, etcd, proxy, sa }: ClusterCertificates): ReadonlyArray<BootstrapFile> => {
  const pair = (cert: string, key: string, of: CertificatePair) => [
    text(posix.join(pki, cert), of.cert, "0644"),
    text(posix.join(pki, key), of.key, "0600")
  ]
  return [
    ...pair("ca.crt", "ca.key", ca),
    ...pair("etcd/ca.crt", "etcd/ca.key", etcd),
    ...pair("front-proxy-ca.crt", "front-proxy-ca.key", proxy),
    ...pair("sa.pub", "sa.key", sa)
  ]
}

const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value)

interface Checked extends Common {
  readonly input: ControllerBootstrapInput
}

const checked = (input: ControllerBootstrapInput): Result.Result<Checked, InvalidBootstrap> => {
  const { join, k0sConfig } = input
  if (k0sConfig !== undefined && !isObject(k0sConfig)) return invalid("spec.k0s", "must be a k0s ClusterConfig")
  const common = checkedCommon(input, { role: "controller", staticPods: false }, ({ install, tokenFile }) => [
    // May hold what opens an external etcd; k0s reads it as root.
    ...(k0sConfig === undefined ? [] : [text(K0S_CONFIG_FILE, stringify(k0sConfig, { lineWidth: 0 }), "0600")]),
    ...(join.as === "first"
      ? certificateFiles(posix.join(install.dataDir ?? "/var/lib/k0s", "pki"), join.certificates)
      : [text(tokenFile, join.joinToken, "0600")])
  ])
  return Result.map(common, (c) => ({ ...c, input }))
}

/** Forced, as k0smotron has it: a try that was cut off may have installed the service already. */
const install = (c: Checked): Step =>
  namedStep(
    "install k0s",
    lines(
      "set -eu",
      [
        quote(c.k0s),
        "install controller --force --enable-dynamic-config --env",
        quote(`AUTOPILOT_HOSTNAME=${c.input.machineName}`),
        ...c.install.words,
        ...(c.input.k0sConfig === undefined ? [] : ["--config", K0S_CONFIG_FILE]),
        ...(c.input.join.as === "joining" ? ["--token-file", quote(c.tokenFile)] : [])
      ].join(" ")
    )
  )

const adminConf = (c: Common): string => posix.join(dataDirOf(c), "pki/admin.conf")

const SERVICE = "k0scontroller"

/** Until this host's own API server is ready, and where the controller is a node too, shows that. */
const wait = (c: Checked): Step => {
  const { isNode } = c.install
  const doubt =
    c.input.join.as === "first"
      ? "is its configuration valid?"
      : "can this host reach the first controller, and is the join token still valid?"
  return waitForK0s(c, {
    service: SERVICE,
    kubeconfig: adminConf(c),
    probe: "serving",
    asked: "the API server; a k0s without kubectl says at least that it runs",
    withKubectl: [
      `    kubectl get --raw /readyz >/dev/null 2>&1${isNode ? ' && kubectl get node "$node" >/dev/null 2>&1' : ""}`
    ],
    withoutKubectl: [`    bounded "$k0s" status --out json${statusSocket(c)} >/dev/null 2>&1`],
    noCredentials: `'k0s has made no credentials yet: ${doubt}'`,
    notYet: `'the API server of this host is not ready${isNode ? ", or does not show its node" : ""}'`,
    failed: "start serving"
  })
}

/** What post-start commands were promised: the node is ready where there is one, and the kubeconfig is in its place. */
const promised = (c: Checked): ReadonlyArray<Step> => [
  ...(adminConf(c) === ADMIN_KUBECONFIG ? [] : [linkKubeconfig(adminConf(c))]),
  ...(c.install.isNode ? [waitForNode(c, adminConf(c))] : [])
]

/** Names and order: inOrder. */
export const controllerBootstrap = (input: ControllerBootstrapInput): Result.Result<Payload, InvalidBootstrap> =>
  Result.map(checked(input), (c) => ({
    files: c.files,
    steps: inOrder(c, { install: install(c), start: start(SERVICE), wait: wait(c), promised: promised(c) })
  }))
