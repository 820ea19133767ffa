/**
 * Owns where a cluster is and who we are there: kubeconfig files (KUBECONFIG, --kubeconfig), a kubeconfig in a string
 * (workload clusters), the pod's own service account. Exec plugins, client certificates, token files, tls-server-name
 * and proxy-url are @kubernetes/client-node's; the rules of merging and of trust are here. Does not own connections
 * (Connection.ts).
 */
import { createHash } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import type { RequestOptions } from "node:https"
import { homedir } from "node:os"
import { delimiter, dirname, isAbsolute, join } from "node:path"
import type { DispatcherOptions, KubeConfig } from "@kubernetes/client-node/dist/config.js"
import * as Effect from "effect/Effect"
import * as Yaml from "yaml"
import type { KubeError } from "./KubeError.ts"
import { arrayAt, fail, isRecord, type JsonRecord, recordAt, type Subject, stringAt } from "./Status.ts"

export type CredentialsSource =
  /** `path` absent: KUBECONFIG (a list of files), else ~/.kube/config. */
  | { readonly _tag: "Files"; readonly path?: string | undefined; readonly context?: string | undefined }
  /**
   * A kubeconfig out of a Secret. Whoever may write that Secret must not gain the controller's rights by it: exec
   * plugins, auth providers and references to files are refused unless `trusted`.
   */
  | {
      readonly _tag: "Text"
      readonly kubeconfig: string
      readonly context?: string | undefined
      readonly trusted?: boolean | undefined
    }
  /** The pod's service account; `root` is what the well-known paths are under (tests). */
  | { readonly _tag: "InCluster"; readonly root?: string | undefined }

/** Everything a connection needs. `fingerprint` changes exactly when sockets have to be opened anew. */
export interface Credentials {
  /** Base URL without a trailing slash; may have a path. */
  readonly server: string
  /** The context's namespace, or the pod's own. */
  readonly namespace: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly dispatcher: DispatcherOptions
  readonly fingerprint: string
}

/** Bounds an exec plugin (a login that waits for a person must not hang the controller), in milliseconds. */
const RESOLVE_TIMEOUT_MS = 60_000

const subject: Subject = { verb: "configure", kind: "Kubeconfig" }
const refuse = (message: string): KubeError => fail(subject, "BadRequest", message)
const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

/** Effect.try for the synchronous, throwing readers below. */
const attempt = <A>(what: string, read: () => A): Effect.Effect<A, KubeError> =>
  Effect.try({ try: read, catch: (cause) => refuse(`${what}: ${messageOf(cause)}`) })

/** Whether the pod's service account is there: what decides between in-cluster and ~/.kube/config. */
export const runsInCluster = (root = ""): boolean =>
  process.env["KUBERNETES_SERVICE_HOST"] !== undefined &&
  existsSync(`${root}/var/run/secrets/kubernetes.io/serviceaccount/token`)

/** controller-runtime's order: explicit path, KUBECONFIG, in-cluster, ~/.kube/config. */
export const defaultSource = (path?: string, context?: string): CredentialsSource =>
  path === undefined && process.env["KUBECONFIG"] === undefined && runsInCluster()
    ? { _tag: "InCluster" }
    : { _tag: "Files", path, context }

const kubeconfigFiles = (path: string | undefined): ReadonlyArray<string> => {
  if (path !== undefined && path !== "") return [path]
  const listed = (process.env["KUBECONFIG"] ?? "").split(delimiter).filter((file) => file !== "")
  // As kubectl does, a listed file that is not there is passed over.
  return listed.length > 0 ? listed.filter((file) => existsSync(file)) : [join(homedir(), ".kube", "config")]
}

/** One document with the paths made absolute, by the directory of the file they stand in. */
const parseDocument = (text: string, directory: string | undefined): JsonRecord => {
  const document: unknown = Yaml.parse(text)
  if (!isRecord(document)) throw new Error("is not a kubeconfig")
  const absolute = (record: JsonRecord, ...keys: ReadonlyArray<string>): JsonRecord => {
    const copy: Record<string, unknown> = { ...record }
    for (const key of keys) {
      const value = copy[key]
      if (directory !== undefined && typeof value === "string" && value !== "" && !isAbsolute(value)) {
        copy[key] = join(directory, value)
      }
    }
    return copy
  }
  return {
    ...document,
    clusters: arrayAt(document, "clusters").map((entry) => ({
      name: stringAt(entry, "name"),
      cluster: absolute(recordAt(entry, "cluster") ?? {}, "certificate-authority")
    })),
    users: arrayAt(document, "users").map((entry) => {
      const user = absolute(recordAt(entry, "user") ?? {}, "client-certificate", "client-key", "tokenFile")
      const exec = recordAt(user, "exec")
      // As client-go: a command with a slash in it is relative to the file, one without is looked up on PATH.
      const relative = stringAt(exec, "command")?.includes("/") === true
      return {
        name: stringAt(entry, "name"),
        user: exec === undefined ? user : { ...user, exec: relative ? absolute(exec, "command") : exec }
      }
    })
  }
}

const named = (document: JsonRecord, list: string, name: string | undefined): JsonRecord | undefined =>
  arrayAt(document, list)
    .filter(isRecord)
    .find((entry) => stringAt(entry, "name") === name)

/** The first file to say something wins, as kubectl has it. */
const merge = (documents: ReadonlyArray<JsonRecord>): JsonRecord => ({
  clusters: documents.flatMap((document) => arrayAt(document, "clusters")),
  users: documents.flatMap((document) => arrayAt(document, "users")),
  contexts: documents.flatMap((document) => arrayAt(document, "contexts")),
  "current-context": documents
    .map((document) => stringAt(document, "current-context"))
    .find((name) => name !== undefined && name !== "")
})

const FILE_OR_COMMAND = ["exec", "auth-provider", "tokenFile", "client-certificate", "client-key"] as const

/** What client-node does not know, put in its words. */
const adaptUser = (user: JsonRecord, cluster: JsonRecord): JsonRecord => {
  const tokenFile = stringAt(user, "tokenFile")
  if (tokenFile !== undefined && stringAt(user, "token") === undefined) {
    return { ...user, "auth-provider": { name: "tokenFile", config: { tokenFile } } }
  }
  const exec = recordAt(user, "exec")
  if (exec === undefined) return user
  const info = {
    apiVersion: stringAt(exec, "apiVersion") ?? "client.authentication.k8s.io/v1",
    kind: "ExecCredential",
    spec: {
      interactive: false,
      ...(exec["provideClusterInfo"] === true
        ? {
            cluster: {
              server: cluster["server"],
              "tls-server-name": cluster["tls-server-name"],
              "certificate-authority-data": cluster["certificate-authority-data"],
              "insecure-skip-tls-verify": cluster["insecure-skip-tls-verify"]
            }
          }
        : {})
    }
  }
  // Plugins refuse to run without it (client-go's contract); client-node does not set it.
  const env = [...arrayAt(exec, "env"), { name: "KUBERNETES_EXEC_INFO", value: JSON.stringify(info) }]
  return { ...user, exec: { ...exec, args: arrayAt(exec, "args"), env } }
}

/** The document of one context: its cluster and user, everything else left out. */
const select = (document: JsonRecord, context: string | undefined, trusted: boolean): string => {
  const name = context ?? stringAt(document, "current-context")
  if (name === undefined || name === "") throw new Error("no current-context: name one with --context")
  const chosen = recordAt(named(document, "contexts", name), "context")
  if (chosen === undefined) throw new Error(`no context ${JSON.stringify(name)}`)
  const cluster = recordAt(named(document, "clusters", stringAt(chosen, "cluster")), "cluster")
  const server = stringAt(cluster, "server")
  if (cluster === undefined || server === undefined) throw new Error(`context ${JSON.stringify(name)} has no cluster`)
  const userName = stringAt(chosen, "user")
  const user = recordAt(named(document, "users", userName), "user")
  if (user === undefined && userName !== undefined && userName !== "") {
    throw new Error(`context ${JSON.stringify(name)} has no user`)
  }
  if (!trusted) {
    const refused = FILE_OR_COMMAND.filter((key) => user?.[key] !== undefined && user[key] !== null)
    if (stringAt(cluster, "certificate-authority") !== undefined) {
      throw new Error("certificate-authority refers to a file: not allowed in a kubeconfig from a Secret")
    }
    if (refused.length > 0) throw new Error(`${refused.join(", ")}: not allowed in a kubeconfig from a Secret`)
  }
  if (arrayAt(user, "as-groups").length > 0 || user?.["as-uid"] !== undefined) {
    throw new Error("impersonation by as-groups or as-uid is not supported")
  }
  return JSON.stringify({
    // client-node refuses plain http without this; TLS has no say there.
    clusters: [
      { name: "c", cluster: server.startsWith("http:") ? { ...cluster, "insecure-skip-tls-verify": true } : cluster }
    ],
    users: [{ name: "u", user: adaptUser(user ?? {}, cluster) }],
    contexts: [{ name: "x", context: { ...chosen, cluster: "c", user: "u" } }],
    "current-context": "x"
  })
}

const readFiles = (path: string | undefined): JsonRecord => {
  const files = kubeconfigFiles(path)
  if (files.length === 0) throw new Error("no file of KUBECONFIG exists")
  return merge(files.map((file) => parseDocument(readFileSync(file, "utf8"), dirname(file))))
}

const fill = (config: KubeConfig, source: CredentialsSource): void => {
  switch (source._tag) {
    case "Files":
      config.loadFromString(select(readFiles(source.path), source.context, true))
      return
    case "Text":
      config.loadFromString(
        select(parseDocument(source.kubeconfig, undefined), source.context, source.trusted ?? false)
      )
      return
    case "InCluster":
      if (process.env["KUBERNETES_SERVICE_HOST"] === undefined) throw new Error("KUBERNETES_SERVICE_HOST is not set")
      config.loadFromCluster(source.root)
  }
}

const describe = (source: CredentialsSource): string => {
  switch (source._tag) {
    case "Files":
      return source.path === undefined ? "kubeconfig" : `kubeconfig ${source.path}`
    case "Text":
      return "kubeconfig of the cluster"
    case "InCluster":
      return "in-cluster configuration"
  }
}

/**
 * Reads the source anew: rotated files and Secrets count, and cached plugin tokens are forgotten. The parser's own
 * messages quote the line they stumble over, which may be a credential: for text they are dropped.
 */
export const load = (source: CredentialsSource): Effect.Effect<KubeConfig, KubeError> =>
  // Loaded on first use: it takes half a second, and `--help` must not wait for it.
  Effect.promise(() => import("@kubernetes/client-node/dist/config.js")).pipe(
    Effect.flatMap(({ KubeConfig }) =>
      Effect.try({
        try: () => {
          const config = new KubeConfig()
          fill(config, source)
          return config
        },
        catch: (cause) =>
          refuse(
            `${describe(source)}: ${cause instanceof Yaml.YAMLParseError ? `is not YAML (${cause.code})` : messageOf(cause)}`
          )
      })
    )
  )

const textHeaders = (headers: RequestOptions["headers"]): Record<string, string> => {
  const out: Record<string, string> = {}
  if (headers === undefined || Array.isArray(headers)) return out
  for (const [name, value] of Object.entries(headers)) {
    // A token file written with `echo` ends in a newline, which no header may hold.
    if (typeof value === "string") out[name.toLowerCase()] = value.trim()
  }
  return out
}

/** Runs plugins and reads token files as needed; client-node keeps plugin tokens until they expire. */
export const resolve = (config: KubeConfig): Effect.Effect<Credentials, KubeError> =>
  Effect.gen(function* () {
    const options: RequestOptions = {}
    yield* Effect.tryPromise({
      try: () => config.applyToHTTPSOptions(options),
      catch: (cause) => fail(subject, "Unavailable", `credentials: ${messageOf(cause)}`)
    }).pipe(
      Effect.timeoutOrElse({
        duration: RESOLVE_TIMEOUT_MS,
        orElse: () =>
          Effect.fail(fail(subject, "Unavailable", `credentials: no answer in ${RESOLVE_TIMEOUT_MS / 1000} s`))
      })
    )
    const cluster = config.getCurrentCluster()
    if (cluster === null) return yield* Effect.fail(refuse("kubeconfig: no cluster"))
    const { ca, cert, key, rejectUnauthorized, servername } = options
    const dispatcher = yield* attempt("kubeconfig", () =>
      config.createDispatcherOptions(cluster, {
        ca,
        cert,
        key,
        ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
        servername
      })
    )
    const headers = textHeaders(options.headers)
    if (typeof options.auth === "string" && headers["authorization"] === undefined) {
      headers["authorization"] = `Basic ${Buffer.from(options.auth).toString("base64")}`
    }
    return {
      server: cluster.server.replace(/\/+$/, ""),
      namespace: config.getContextObject(config.getCurrentContext())?.namespace,
      headers,
      dispatcher,
      fingerprint: createHash("sha256")
        .update(JSON.stringify([cluster.server, dispatcher]))
        .digest("hex")
    }
  })
