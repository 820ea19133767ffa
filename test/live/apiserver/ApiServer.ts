/**
 * Owns a real kube-apiserver with its etcd, on loopback, for as long as a scope is open; and what tests need of it: an
 * admin kubeconfig, tokens, our CRDs. Getting the binaries is scripts/build-kube-apiserver.sh's.
 *
 * There is no controller manager. So: nothing is garbage-collected (ownerReferences delete nothing), a deleted namespace
 * stays Terminating for ever, service accounts get no tokens, and ClusterRoles are not aggregated. Admission that needs
 * controllers (ServiceAccount) is off; namespace lifecycle, CRD validation and CEL are as in any cluster.
 */
import { spawnSync } from "node:child_process"
import { generateKeyPairSync, randomBytes } from "node:crypto"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import * as Yaml from "yaml"
import { type CustomResourceDefinition, CustomResourceDefinitions } from "../../../src/api/Core.ts"
import type { KubeClientShape } from "../../../src/kube/KubeClient.ts"
import type { KubeError } from "../../../src/kube/KubeError.ts"
import { isRecord } from "../../../src/kube/Status.ts"
import {
  freePorts,
  READY,
  scopedProcess,
  scriptOutput,
  startProcess,
  temporaryDirectory,
  waitReady
} from "./Processes.ts"

const ROOT = fileURLToPath(new URL("../../..", import.meta.url))
const SCRIPT = join(ROOT, "scripts", "build-kube-apiserver.sh")

export interface ApiServer {
  readonly url: string
  /** Of the admin, in group system:masters. */
  readonly token: string
  readonly caPem: string
  readonly kubeconfigPath: string
  readonly kubeconfig: string
  readonly pid: number
  readonly etcdPid: number
  /** A token of a user without any rights (RBAC), for tests of Forbidden. */
  readonly powerlessToken: string
  /** Kubeconfig files of the users that were asked for, by name. */
  readonly userKubeconfigs: ReadonlyMap<string, string>
  /** Kills the API server (SIGKILL) and starts it again on the same port and data: every watch breaks. */
  readonly restart: Effect.Effect<void, Error>
}

/**
 * Undefined when the suites can run; otherwise the one line that says why they are skipped. Building is left to
 * `start`: it takes minutes, and belongs under the hook's timeout.
 */
export const unavailable: string | undefined = (() => {
  const ready = spawnSync(SCRIPT, ["--check"], { encoding: "utf8" })
  if (ready.status === 0) return undefined
  const has = (command: string) => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0
  if (!has("go")) return "live kube tests skipped: no kube-apiserver (KUBEBUILDER_ASSETS) and no Go to build it with"
  if (!has("etcd") && process.getuid?.() !== 0) return "live kube tests skipped: no etcd, and not root to install it"
  return undefined
})()

export const available = unavailable === undefined
if (unavailable !== undefined) console.warn(unavailable)

const apiServerArgs = (dir: string, host: string, port: number, etcdPort: number): ReadonlyArray<string> => [
  `--etcd-servers=http://127.0.0.1:${etcdPort}`,
  `--bind-address=${host}`,
  "--advertise-address=127.0.0.1",
  `--secure-port=${port}`,
  `--cert-dir=${dir}/certs`,
  `--token-auth-file=${dir}/tokens.csv`,
  "--authorization-mode=RBAC",
  `--service-account-key-file=${dir}/sa.pem`,
  `--service-account-signing-key-file=${dir}/sa.pem`,
  "--service-account-issuer=https://kubernetes.default.svc",
  "--service-cluster-ip-range=10.0.0.0/24",
  "--allow-privileged=true",
  "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,PodSecurity,DefaultStorageClass,StorageObjectInUseProtection,RuntimeClass,PersistentVolumeClaimResize,DefaultIngressClass,ResourceQuota,LimitRanger",
  // The `kubernetes` Service has no endpoints here, and peers to agree with there are none.
  "--endpoint-reconciler-type=none",
  "--enable-priority-and-fairness=false",
  "--profiling=false",
  "--shutdown-delay-duration=0s",
  "--v=1"
]

const kubeconfigOf = (url: string, caPem: string, token: string): string =>
  Yaml.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: "live",
        cluster: { server: url, "certificate-authority-data": Buffer.from(caPem).toString("base64") }
      }
    ],
    users: [{ name: "admin", user: { token } }],
    contexts: [{ name: "live", context: { cluster: "live", user: "admin", namespace: "default" } }],
    "current-context": "live"
  })

/** Someone besides the admin, with the rights that RBAC gives this name and these groups. */
export interface User {
  readonly name: string
  readonly groups: ReadonlyArray<string>
}

/** As a pod of this ServiceAccount would be known to the API server. */
export const serviceAccount = (namespace: string, name: string): User => ({
  name: `system:serviceaccount:${namespace}:${name}`,
  groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`]
})

export interface ApiServerOptions {
  readonly users?: ReadonlyArray<User>
  /** Secrets of type bootstrap.kubernetes.io/token let in whoever shows their token. */
  readonly bootstrapTokens?: boolean
  /** Where it is to be, and as whom. Absent: on loopback, self-signed, with a token of its own. */
  readonly as?: Identity
}

export interface Identity {
  /** An address of this machine. */
  readonly host: string
  readonly port: number
  /** PEM, all three. */
  readonly caPem: string
  readonly certificate: string
  readonly privateKey: string
  /** The admin's. */
  readonly token: string
}

const writeIdentity = (dir: string, { certificate, privateKey }: Identity): ReadonlyArray<string> => {
  writeFileSync(join(dir, "tls.crt"), certificate)
  writeFileSync(join(dir, "tls.key"), privateKey, { mode: 0o600 })
  return [`--tls-cert-file=${dir}/tls.crt`, `--tls-private-key-file=${dir}/tls.key`]
}

const tokenLine = (token: string, { groups, name }: User): string =>
  [token, name, `${name}-uid`, ...(groups.length === 0 ? [] : [`"${groups.join(",")}"`])].join(",")

/** Starts both, waits for /readyz, and ends exactly these two with the scope. */
export const startWith = Effect.fnUntraced(function* (
  options: ApiServerOptions = {}
): Effect.fn.Return<ApiServer, Error, Scope> {
  const bin = yield* scriptOutput(SCRIPT)
  const dir = yield* temporaryDirectory
  const [freePort = 0, etcdPort = 0, peerPort = 0] = yield* freePorts(3)
  const { host, port, token } = options.as ?? {
    host: "127.0.0.1",
    port: freePort,
    token: randomBytes(16).toString("hex")
  }
  const url = `https://${host}:${port}`
  const powerlessToken = randomBytes(16).toString("hex")
  const users = (options.users ?? []).map((user) => ({ user, token: randomBytes(16).toString("hex") }))
  const tokens = [
    tokenLine(token, { name: "admin", groups: ["system:masters"] }),
    tokenLine(powerlessToken, { name: "nobody", groups: [] }),
    ...users.map((one) => tokenLine(one.token, one.user))
  ]
  writeFileSync(join(dir, "tokens.csv"), `${tokens.join("\n")}\n`, { mode: 0o600 })
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 })
  writeFileSync(join(dir, "sa.pem"), privateKey.export({ type: "pkcs1", format: "pem" }), { mode: 0o600 })

  const etcd = yield* scopedProcess(() =>
    startProcess(join(bin, "etcd"), [
      `--data-dir=${dir}/etcd`,
      `--listen-client-urls=http://127.0.0.1:${etcdPort}`,
      `--advertise-client-urls=http://127.0.0.1:${etcdPort}`,
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
      "--unsafe-no-fsync",
      "--log-level=warn"
    ])
  )
  const args = [
    ...apiServerArgs(dir, host, port, etcdPort),
    ...(options.as === undefined ? [] : writeIdentity(dir, options.as)),
    ...(options.bootstrapTokens === true ? ["--enable-bootstrap-token-auth"] : [])
  ]
  const server = yield* scopedProcess(() => startProcess(join(bin, "kube-apiserver"), args))
  yield* waitReady(server.current, url, token, "/readyz")
  // Made by the server itself after it is ready; most tests want it at once.
  yield* waitReady(server.current, url, token, "/api/v1/namespaces/default")

  const caPem = options.as?.caPem ?? readFileSync(join(dir, "certs", "apiserver.crt"), "utf8")
  const kubeconfig = kubeconfigOf(url, caPem, token)
  const kubeconfigPath = join(dir, "admin.kubeconfig")
  writeFileSync(kubeconfigPath, kubeconfig, { mode: 0o600 })
  const userKubeconfigs = users.map(({ user, token }, index) => {
    const path = join(dir, `user-${index}.kubeconfig`)
    writeFileSync(path, kubeconfigOf(url, caPem, token), { mode: 0o600 })
    return [user.name, path] as const
  })
  return {
    url,
    token,
    powerlessToken,
    caPem,
    kubeconfig,
    kubeconfigPath,
    userKubeconfigs: new Map(userKubeconfigs),
    get pid() {
      return server.current.pid
    },
    etcdPid: etcd.current.pid,
    restart: Effect.gen(function* () {
      yield* Effect.promise(() => server.current.stop("SIGKILL"))
      server.current = startProcess(join(bin, "kube-apiserver"), args)
      yield* waitReady(server.current, url, token, "/readyz")
    })
  }
})

export const start: Effect.Effect<ApiServer, Error, Scope> = startWith()

const JsonRecord = Schema.Record(Schema.String, Schema.Json)
const CrdDocument = Schema.Struct({
  metadata: Schema.StructWithRest(Schema.Struct({ name: Schema.String }), [JsonRecord]),
  spec: JsonRecord
})

const isEstablished = (crd: CustomResourceDefinition): boolean =>
  crd.status?.conditions?.some(({ type, status }) => type === "Established" && status === "True") ?? false

/** Creates one CRD (or finds it there) and waits until the server serves it. */
export const installCrd = (
  client: KubeClientShape,
  definition: { readonly [key: string]: unknown }
): Effect.Effect<void, KubeError | Error> =>
  Effect.gen(function* () {
    // Through JSON: what YAML gives is plain data, and the port wants JSON.
    const { metadata, spec } = yield* Schema.decodeUnknownEffect(CrdDocument)(definition).pipe(
      Effect.mapError((cause) => new Error("not a CustomResourceDefinition", { cause }))
    )
    yield* client.create(CustomResourceDefinitions, { metadata, spec }).pipe(
      Effect.catchIf(
        (error) => error.reason === "AlreadyExists",
        () => Effect.void
      )
    )
    yield* client.get(CustomResourceDefinitions, { name: metadata.name }).pipe(
      Effect.filterOrFail(isEstablished, () => new Error(`CRD ${metadata.name} was not established`)),
      Effect.retry(READY)
    )
  })

/** Installs manifests/crds/*.yaml; an empty or absent directory installs nothing. Returns the names. */
export const applyCrds = (
  client: KubeClientShape,
  directory = join(ROOT, "manifests", "crds")
): Effect.Effect<ReadonlyArray<string>, KubeError | Error> =>
  Effect.gen(function* () {
    const files = yield* Effect.try({
      try: () => readdirSync(directory).filter((file) => /\.ya?ml$/.test(file)),
      catch: (cause) => new Error(`${directory} can't be read`, { cause })
    }).pipe(Effect.orElseSucceed((): Array<string> => []))
    const installed: Array<string> = []
    for (const file of files.sort()) {
      for (const document of Yaml.parseAllDocuments(readFileSync(join(directory, file), "utf8"))) {
        const definition: unknown = document.toJS()
        if (!isRecord(definition) || definition["kind"] !== "CustomResourceDefinition") continue
        yield* installCrd(client, definition)
        installed.push(file)
      }
    }
    return installed
  })
