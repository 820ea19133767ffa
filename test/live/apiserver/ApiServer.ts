/**
 * Owns a real kube-apiserver with its etcd, on loopback, for as long as a scope is open; and what tests need of it: an
 * admin kubeconfig, tokens, our CRDs. Getting the binaries is scripts/build-kube-apiserver.sh's.
 *
 * There is no controller manager. So: nothing is garbage-collected (ownerReferences delete nothing), a deleted namespace
 * stays Terminating for ever, service accounts get no tokens, and ClusterRoles are not aggregated. Admission that needs
 * controllers (ServiceAccount) is off; namespace lifecycle, CRD validation and CEL are as in any cluster.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process"
import { generateKeyPairSync, randomBytes } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import * as Yaml from "yaml"
import { type CustomResourceDefinition, CustomResourceDefinitions } from "../../../src/api/Core.ts"
import type { KubeClientShape } from "../../../src/kube/KubeClient.ts"
import type { KubeError } from "../../../src/kube/KubeError.ts"
import { isRecord } from "../../../src/kube/Status.ts"

const ROOT = fileURLToPath(new URL("../../..", import.meta.url))
const SCRIPT = join(ROOT, "scripts", "build-kube-apiserver.sh")

/** The first start on a busy machine takes about 10 s. */
const READY_ATTEMPTS = 600
const READY_INTERVAL_MS = 100
/** Between SIGTERM and SIGKILL. */
const STOP_GRACE_MS = 5_000
/** Of a process's output, for the error that says why it did not start. */
const LOG_TAIL_CHARACTERS = 4_000

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

const binaries: Effect.Effect<string, Error> = Effect.callback((resume) => {
  const child = execFile(SCRIPT, { encoding: "utf8", maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) =>
    resume(
      error === null
        ? Effect.succeed(stdout.trim())
        : Effect.fail(new Error(`${SCRIPT}: ${stderr.slice(-LOG_TAIL_CHARACTERS)}`))
    )
  )
  return Effect.sync(() => child.kill())
})

/** Ports that are free now; taken together so that they differ. */
const freePorts = (count: number): Effect.Effect<ReadonlyArray<number>, Error> =>
  Effect.tryPromise({
    try: async () => {
      const servers = await Promise.all(
        Array.from(
          { length: count },
          () =>
            new Promise<{ readonly port: number; readonly close: () => Promise<void> }>((resolve, reject) => {
              const server = createServer()
              server.once("error", reject)
              server.listen(0, "127.0.0.1", () => {
                const address = server.address()
                if (address === null || typeof address === "string") return reject(new Error("no port"))
                resolve({ port: address.port, close: () => new Promise((done) => server.close(() => done())) })
              })
            })
        )
      )
      await Promise.all(servers.map((server) => server.close()))
      return servers.map((server) => server.port)
    },
    catch: (cause) => new Error("no free ports", { cause })
  })

interface Running {
  readonly pid: number
  readonly output: () => string
  readonly exited: () => boolean
  readonly stop: (first: NodeJS.Signals) => Promise<void>
}

/** `setpriv --pdeathsig` has the kernel end the child when a killed test runner can't. */
const hasSetpriv = spawnSync("setpriv", ["--version"]).status === 0

const startProcess = (command: string, args: ReadonlyArray<string>): Running => {
  const child: ChildProcess = hasSetpriv
    ? spawn("setpriv", ["--pdeathsig", "KILL", command, ...args], { stdio: ["ignore", "pipe", "pipe"] })
    : spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] })
  let tail = ""
  let exited = false
  const keep = (data: Buffer) => {
    tail = (tail + data.toString("utf8")).slice(-LOG_TAIL_CHARACTERS)
  }
  child.stdout?.on("data", keep)
  child.stderr?.on("data", keep)
  const gone = new Promise<void>((resolve) => {
    const done = () => {
      exited = true
      resolve()
    }
    child.once("exit", done)
    child.once("error", (error) => {
      tail += error.message
      done()
    })
  })
  return {
    pid: child.pid ?? -1,
    output: () => tail,
    exited: () => exited,
    stop: async (first) => {
      if (exited) return
      child.kill(first)
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS)
      await gone
      clearTimeout(timer)
    }
  }
}

const readyz = (url: string, token: string, path: string): Effect.Effect<void, Error> =>
  Effect.callback((resume) => {
    // curl and not fetch: the certificate is self-signed, and this must not depend on the client under test.
    const child = execFile(
      "curl",
      ["-sk", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", "@-", `${url}${path}`],
      { encoding: "utf8" },
      (error, stdout) =>
        resume(error === null && stdout === "200" ? Effect.void : Effect.fail(new Error(`${path} answered ${stdout}`)))
    )
    child.stdin?.end(`Authorization: Bearer ${token}\n`)
    return Effect.sync(() => child.kill())
  })

const waitReady = (process: Running, url: string, token: string, path: string): Effect.Effect<void, Error> =>
  Effect.suspend(() =>
    process.exited() ? Effect.die(new Error(`ended at once:\n${process.output()}`)) : readyz(url, token, path)
  ).pipe(
    Effect.retry(Schedule.max([Schedule.spaced(READY_INTERVAL_MS), Schedule.recurs(READY_ATTEMPTS)])),
    Effect.mapError((cause) => new Error(`${url}${path} did not become ready:\n${process.output()}`, { cause }))
  )

const apiServerArgs = (dir: string, port: number, etcdPort: number): ReadonlyArray<string> => [
  `--etcd-servers=http://127.0.0.1:${etcdPort}`,
  "--bind-address=127.0.0.1",
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

/** A directory of our own, removed at the end. */
const temporaryDirectory: Effect.Effect<string, never, Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "machinist-apiserver-"))),
  (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
)

const scopedProcess = (make: () => Running): Effect.Effect<{ current: Running }, never, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => ({ current: make() })),
    (held) => Effect.promise(() => held.current.stop("SIGTERM"))
  )

/** Starts both, waits for /readyz, and ends exactly these two with the scope. */
export const start: Effect.Effect<ApiServer, Error, Scope> = Effect.gen(function* () {
  const bin = yield* binaries
  const dir = yield* temporaryDirectory
  const [port = 0, etcdPort = 0, peerPort = 0] = yield* freePorts(3)
  const url = `https://127.0.0.1:${port}`
  const token = randomBytes(16).toString("hex")
  const powerlessToken = randomBytes(16).toString("hex")
  writeFileSync(
    join(dir, "tokens.csv"),
    `${token},admin,admin-uid,system:masters\n${powerlessToken},nobody,nobody-uid\n`,
    { mode: 0o600 }
  )
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
  const args = apiServerArgs(dir, port, etcdPort)
  const server = yield* scopedProcess(() => startProcess(join(bin, "kube-apiserver"), args))
  yield* waitReady(server.current, url, token, "/readyz")
  // Made by the server itself after it is ready; most tests want it at once.
  yield* waitReady(server.current, url, token, "/api/v1/namespaces/default")

  const caPem = readFileSync(join(dir, "certs", "apiserver.crt"), "utf8")
  const kubeconfig = kubeconfigOf(url, caPem, token)
  const kubeconfigPath = join(dir, "admin.kubeconfig")
  writeFileSync(kubeconfigPath, kubeconfig, { mode: 0o600 })
  return {
    url,
    token,
    powerlessToken,
    caPem,
    kubeconfig,
    kubeconfigPath,
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
      Effect.retry(Schedule.max([Schedule.spaced(READY_INTERVAL_MS), Schedule.recurs(READY_ATTEMPTS)]))
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
