/**
 * Owns telling, for each file and step of rendered bootstrap data, which field or object it came from: as comments in a
 * cloud-config, which stays one, or as a list. Pure; nothing is rendered here.
 */
import * as Result from "effect/Result"
import type { BootstrapConfig } from "../../actors/BootstrapRenderers.ts"
import { urlFileOf } from "../../domain/bootstrap/CommonInput.ts"
import { isMultipart, parseMultipart } from "../../domain/bootstrap/Multipart.ts"
import type { Payload } from "../../domain/CloudConfig.ts"

export interface Origins {
  /** As long as the payload's lists. */
  readonly files: ReadonlyArray<string>
  readonly steps: ReadonlyArray<string>
}

const OWN_FILES: ReadonlyArray<readonly [RegExp, string]> = [
  [/\/k0s\.yaml$/, "spec.k0s"],
  [/\/pki\/ca\.(crt|key)$/, "Secret <cluster>-ca"],
  [/\/pki\/etcd\//, "Secret <cluster>-etcd"],
  [/\/pki\/front-proxy-ca\./, "Secret <cluster>-proxy"],
  [/\/pki\/sa\./, "Secret <cluster>-sa"],
  [/^\/etc\/haproxy\/certs\/ca\.crt$/, "spec.ingress of the K0smotronControlPlane: Secret <cluster>-ca"],
  [/^\/etc\/haproxy\/certs\//, "spec.ingress of the K0smotronControlPlane: Secret <cluster>-ingress-haproxy"],
  [/haproxy/, "spec.ingress of the K0smotronControlPlane"],
  [/\.token$/, "join token, minted in the workload cluster (spec.workingDir says where it is kept)"]
]

const fileOrigin = (path: string): string => {
  if (path.endsWith(urlFileOf("/k0s.token"))) return "spec.downloadURL, which carries a credential"
  return OWN_FILES.find(([pattern]) => pattern.test(path))?.[1] ?? "the bootstrap itself"
}

const fileOrigins = ({ spec }: BootstrapConfig, { files }: Payload): ReadonlyArray<string> => {
  const users = spec?.files ?? []
  const first = files.length - users.length
  return files.map(({ path }, index) => {
    const user = users[index - first]
    if (user === undefined) return fileOrigin(path)
    const { configMapRef, secretRef } = user.contentFrom ?? {}
    const from =
      secretRef !== undefined
        ? `, from key ${secretRef.key} of Secret ${secretRef.name}`
        : configMapRef !== undefined
          ? `, from key ${configMapRef.key} of ConfigMap ${configMapRef.name}`
          : ""
    return `spec.files[${index - first}]${from}`
  })
}

const STEPS: Readonly<Record<string, string>> = {
  "install k0s": "spec.args, spec.k0sInstallDir, spec.useSystemHostname, and the Machine's name",
  "start k0s": "the bootstrap itself",
  "wait for k0s": "the bootstrap itself: a bounded time until it runs and, on a worker, has joined",
  "link kubeconfig": "there are spec.postStartCommands, which find a kubeconfig at /var/lib/k0s/pki/admin.conf",
  "wait for node": "there are spec.postStartCommands, which run when the node is Ready, or a bounded time later",
  "mark success": "Cluster API's contract: the sentinel file"
}

const downloadOrigin = ({ spec }: BootstrapConfig): string => {
  if (spec?.downloadURL !== undefined) return "spec.downloadURL"
  return spec?.version === undefined
    ? "the Machine's version, else the latest (https://get.k0s.sh)"
    : "spec.version (https://get.k0s.sh)"
}

const stepOrigin = (config: BootstrapConfig, name: string): string => {
  const [, phase, number] = /^(pre|post)-start (\d+)$/.exec(name) ?? []
  if (phase !== undefined) return `spec.${phase}StartCommands[${Number(number) - 1}]`
  return name === "download k0s" ? downloadOrigin(config) : (STEPS[name] ?? "the bootstrap itself")
}

export const originsOf = (config: BootstrapConfig, payload: Payload): Origins => ({
  files: fileOrigins(config, payload),
  steps: payload.steps.map(({ name }) => stepOrigin(config, name))
})

/** An entry of a list that is the value of one of our two keys: contents are indented deeper. */
const ENTRY = /^ {2}- /
const FRAME = "around the steps: environment, log, and where it stopped"

/** One part of ours, from `commandsFrom` of the steps on. Gives the text, and how many steps it held. */
const annotatePart = (text: string, origins: Origins, commandsFrom: number): readonly [string, number] => {
  let key = ""
  let files = 0
  let steps = commandsFrom
  const lines = text.split("\n").flatMap((line) => {
    const found = /^(write_files|runcmd):/.exec(line)
    if (found !== null) key = found[1] ?? ""
    if (!ENTRY.test(line)) return [line]
    if (key === "write_files") return [`  # <- ${origins.files[files++]}`, line]
    // A command of ours is a list in the list.
    return line.startsWith("  - - ")
      ? [`  # <- ${origins.steps[steps++]}`, line]
      : line === "  - set -e"
        ? [`  # <- ${FRAME}`, line]
        : [line]
  })
  return [lines.join("\n"), steps]
}

/** The same cloud-config, with comments; of a multipart each part, decoded, after a line that says what it is. */
export const annotate = (text: string, origins: Origins): string => {
  if (!isMultipart(text)) return annotatePart(text, origins, 0)[0]
  const parts = Result.getOrElse(parseMultipart(text), () => [])
  let steps = 0
  return parts
    .map(({ body, type }, index) => {
      const title = `# ---- part ${index + 1} of ${parts.length}, ${type}`
      if (index !== 0 && index !== parts.length - 1) return `${title} <- spec.customUserDataRef\n${body}`
      const [ours, next] = annotatePart(body, origins, steps)
      steps = next
      return `${title} <- the bootstrap itself\n${ours}`
    })
    .join("\n")
}

/** For a format that has no place for comments. */
export const listed = ({ files, steps }: Payload, origins: Origins): string =>
  [
    ...files.map(
      (file, index) => `file ${file.path} (${file.mode}, ${file.content.length} bytes) <- ${origins.files[index]}`
    ),
    ...steps.map((step, index) => `step ${index + 1} ${step.name} <- ${origins.steps[index]}`),
    ""
  ].join("\n")
