/**
 * Owns the workload clusters of a simulation: an API server in memory for each Cluster, the way in with the contents of
 * its kubeconfig Secret, and what a stand-in k0s has to show to be let in (K0sWorld): its join token, checked against the
 * bootstrap-token Secret in `kube-system` as kube-apiserver's authenticator does. Only then a Node appears. There are no
 * Pods, no scheduler, no CNI; Nodes get Ready when their kubelet is let in and Unknown when k0s is stopped. A controller
 * without a join token (the first one) has nobody to show it to, and is let in without a Node.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { parse } from "yaml"
import { type Node, Nodes, Secrets } from "../../api/Core.ts"
import type { JoinToken } from "../../domain/JoinToken.ts"
import { decodeJoinToken, TOKEN_NAMESPACE, tokenSecretName } from "../../domain/JoinToken.ts"
import { rfc3339 } from "../../domain/Rfc3339.ts"
import type { JsonObject, KubeClientShape } from "../../kube/KubeClient.ts"
import { KubeError } from "../../kube/KubeError.ts"
import { type WorkloadCluster, WorkloadClusters } from "../../kube/WorkloadClusters.ts"
import { arrayAt, type Json, stringAt } from "../apiserver/Json.ts"
import type { K0sStart, K0sWorld } from "../hosts/K0s.ts"
import * as SimulatedApiServer from "../SimulatedApiServer.ts"
import { type JoinUsage, judgeToken } from "./TokenJudge.ts"
import type { WorkloadFront } from "./WorkloadFront.ts"

/** What the kubeconfig Secret of a Cluster says; it is the Secret that lasts, so that a restart finds the same. */
export interface WorkloadAccess {
  /** `https://host:port`. */
  readonly server: string
  /** PEM. */
  readonly ca: string
  /** Bearer token of the administrator. */
  readonly token: string
  /** PEM; what a front's certificate is signed with. Never in a kubeconfig. */
  readonly authorityKey?: string | undefined
}

/** Someone was not let in; for tests and for people who wonder. */
export interface Refusal {
  readonly host: string
  readonly why: string
}

export interface SimulatedWorkloads {
  /** The cluster's API server, made when it is asked for the first time. Fails when it can't be served there. */
  readonly open: (
    cluster: WorkloadCluster,
    access: WorkloadAccess
  ) => Effect.Effect<SimulatedApiServer.SimulatedApiServerShape, KubeError>
  /** Where clusters are served that say no address of their own; undefined: nowhere, they are in memory alone. */
  readonly front: WorkloadFront | undefined
  readonly server: (cluster: WorkloadCluster) => SimulatedApiServer.SimulatedApiServerShape | undefined
  /** The cluster and all that is in it is gone. */
  readonly close: (cluster: WorkloadCluster) => Effect.Effect<void>
  readonly clusters: Layer.Layer<WorkloadClusters>
  readonly k0s: K0sWorld
  /** The last ones, oldest first. */
  readonly refusals: () => ReadonlyArray<Refusal>
}

interface Workload {
  readonly access: WorkloadAccess
  /** Of the front: closed alone when the cluster gets another address. */
  readonly served: Scope.Closeable
  readonly server: SimulatedApiServer.SimulatedApiServerShape
  readonly scope: Scope.Closeable
}

const MAX_REFUSALS = 1_000
const keyOf = ({ name, namespace }: WorkloadCluster): string => `${namespace}/${name}`

export const kubeconfigText = (cluster: string, access: WorkloadAccess): string =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: cluster,
        cluster: { server: access.server, "certificate-authority-data": Buffer.from(access.ca).toString("base64") }
      }
    ],
    users: [{ name: `${cluster}-admin`, user: { token: access.token } }],
    contexts: [{ name: cluster, context: { cluster, user: `${cluster}-admin` } }],
    "current-context": cluster
  })

const parsed = (kubeconfig: string): Json | undefined =>
  Result.getOrElse(
    // YAML of plain data is JSON; what is not is no kubeconfig either.
    Result.try((): Json => JSON.parse(JSON.stringify(parse(kubeconfig, { logLevel: "silent" })))),
    () => undefined
  )

/** The other way round: what a kubeconfig Secret written earlier says. */
export const accessIn = (kubeconfig: string): WorkloadAccess | undefined => {
  const config = parsed(kubeconfig)
  const [cluster] = arrayAt(config, "clusters")
  const [user] = arrayAt(config, "users")
  const server = stringAt(cluster, "cluster", "server")
  const token = stringAt(user, "user", "token")
  const ca = stringAt(cluster, "cluster", "certificate-authority-data")
  if (server === undefined || token === undefined || ca === undefined) return undefined
  return { server, token, ca: Buffer.from(ca, "base64").toString("utf8") }
}

const USAGE: Readonly<Record<JoinToken["user"], JoinUsage>> = {
  "kubelet-bootstrap": "usage-bootstrap-authentication",
  "controller-bootstrap": "usage-controller-join"
}

const flag = (text: string, name: string): string | undefined =>
  new RegExp(`--${name}[= ]["']?([^\\s"']+)`).exec(text)?.[1]

const labelsIn = (text: string): JsonObject =>
  Object.fromEntries(
    (flag(text, "labels") ?? "").split(",").flatMap((pair) => {
      const at = pair.indexOf("=")
      return at < 1 ? [] : [[pair.slice(0, at), pair.slice(at + 1)]]
    })
  )

const readiness = (status: "True" | "Unknown", now: string): JsonObject => ({
  type: "Ready",
  status,
  reason: status === "True" ? "KubeletReady" : "NodeStatusUnknown",
  message: status === "True" ? "a stand-in kubelet was let in" : "k0s was stopped",
  lastHeartbeatTime: now,
  lastTransitionTime: now
})

const PRESSURES = ["MemoryPressure", "DiskPressure", "PIDPressure"] as const

const nodeStatus = (host: string, ready: "True" | "Unknown", now: string): JsonObject => ({
  addresses: [{ type: "Hostname", address: host }],
  conditions: [
    ...PRESSURES.map((type) => ({ type, status: "False", reason: "Simulated", message: "", lastTransitionTime: now })),
    readiness(ready, now)
  ],
  nodeInfo: { osImage: "simulated host", architecture: "amd64", operatingSystem: "linux", kubeletVersion: "simulated" }
})

/** A kubelet that comes back takes its Node over again. */
const register = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  start: K0sStart,
  nowMillis: number
): Effect.fn.Return<Node, KubeError> {
  const name = flag(start.arguments, "hostname-override") ?? start.host
  const now = rfc3339(nowMillis)
  const labels: JsonObject = {
    "kubernetes.io/hostname": name,
    "kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    ...labelsIn(start.arguments)
  }
  const status = nodeStatus(start.host, "True", now)
  return yield* kube.create(Nodes, { metadata: { name, labels }, spec: {}, status }).pipe(
    Effect.catchIf(
      (error) => error.reason === "AlreadyExists",
      () =>
        Effect.andThen(
          kube.patch(Nodes, { name }, { metadata: { labels } }),
          kube.patch(Nodes, { name }, { status }, { subresource: "status" })
        )
    )
  )
})

const isNode = (start: K0sStart): boolean =>
  start.role === "worker" || /(?:^|\s)--(?:enable-worker|single)(?:[=\s]|$)/.test(start.arguments)

interface Registered {
  readonly server: SimulatedApiServer.SimulatedApiServerShape
  readonly node: string
}

/** Why nobody is let in with this, or the Node that there is now (undefined: a controller that is none). */
const join = Effect.fnUntraced(function* (
  workloads: Iterable<Workload>,
  start: K0sStart
): Effect.fn.Return<Registered | undefined, Refusal | KubeError> {
  const refuse = (why: string): Effect.Effect<never, Refusal> => Effect.fail({ host: start.host, why })
  if (start.token === undefined) {
    return start.role === "controller" ? undefined : yield* refuse("there is no token file")
  }
  const decoded = decodeJoinToken(start.token.trim())
  if (Result.isFailure(decoded)) return yield* refuse(decoded.failure.message)
  const { ca, server, token, user } = decoded.success
  const sameCa = [...workloads].filter(({ access }) => access.ca.trim() === ca.trim())
  // An ingress or a controllers' port is another address of the same cluster: its CA is what tells it apart.
  const workload = sameCa.find(({ access }) => access.server === server) ?? sameCa[0]
  if (workload === undefined) return yield* refuse(`no cluster at ${server} has this certificate authority`)
  const nowMillis = yield* Clock.currentTimeMillis
  const secret = yield* workload.server.kubeClient
    .get(Secrets, { namespace: TOKEN_NAMESPACE, name: tokenSecretName(token.id) })
    .pipe(
      Effect.catchIf(
        (error) => error.reason === "NotFound",
        () => Effect.succeed(undefined)
      )
    )
  if (secret === undefined) return yield* refuse(`there is no token ${token.id}`)
  const why = judgeToken(secret, token, USAGE[user], nowMillis)
  if (why !== undefined) return yield* refuse(why)
  if (!isNode(start)) return undefined
  const kube = workload.server.client(`kubelet ${start.host}`)
  const node = yield* register(kube, start, nowMillis)
  return { server: workload.server, node: node.metadata.name }
})

const unreachable = (cluster: WorkloadCluster, reason: "BadRequest" | "Unavailable", message: string): KubeError =>
  new KubeError({
    reason,
    verb: "configure",
    kind: "Kubeconfig",
    namespace: cluster.namespace,
    name: cluster.name,
    message
  })

/** As live clients: to be made it takes a kubeconfig, to be answered a cluster, which may come later. */
const whenItAnswers = (find: () => KubeClientShape | undefined, silent: KubeError): KubeClientShape => {
  const ask = <A>(question: (kube: KubeClientShape) => Effect.Effect<A, KubeError>) =>
    Effect.suspend(() => {
      const kube = find()
      return kube === undefined ? Effect.fail(silent) : question(kube)
    })
  return {
    get: (kind, ref) => ask((kube) => kube.get(kind, ref)),
    list: (kind, options) => ask((kube) => kube.list(kind, options)),
    watch: (kind, options) => Stream.suspend(() => find()?.watch(kind, options) ?? Stream.fail(silent)),
    create: (kind, object) => ask((kube) => kube.create(kind, object)),
    patch: (kind, ref, patch, options) => ask((kube) => kube.patch(kind, ref, patch, options)),
    delete: (kind, ref, options) => ask((kube) => kube.delete(kind, ref, options))
  }
}

const k0sWorld = (workloads: ReadonlyMap<string, Workload>, refused: (refusal: Refusal) => void): K0sWorld => {
  const registered = new Map<string, Registered>()
  return {
    started: (start) =>
      Effect.suspend(() => join(workloads.values(), start)).pipe(
        Effect.map((found) => {
          if (found !== undefined) registered.set(start.host, found)
          return true
        }),
        Effect.catch((error) =>
          Effect.sync(() => {
            refused("why" in error ? error : { host: start.host, why: error.message })
            return false
          })
        )
      ),
    stopped: Effect.fnUntraced(function* (host) {
      const found = registered.get(host)
      if (found === undefined) return
      registered.delete(host)
      const status = nodeStatus(host, "Unknown", rfc3339(yield* Clock.currentTimeMillis))
      yield* found.server
        .client("node-lifecycle-controller")
        .patch(Nodes, { name: found.node }, { status }, { subresource: "status" })
        .pipe(Effect.ignore)
    })
  }
}

export interface SimulatedWorkloadsOptions extends SimulatedApiServer.SimulatedApiServerOptions {
  /** Before anyone talks to a new cluster: restores what it held, and keeps what it will. */
  readonly prepare?: (
    cluster: WorkloadCluster,
    server: SimulatedApiServer.SimulatedApiServerShape
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Serves them to others than this process; the way in is then a kubeconfig as any other. */
  readonly front?: WorkloadFront
}

const isSame = (one: WorkloadAccess, other: WorkloadAccess): boolean =>
  one.server === other.server && one.ca === other.ca && one.token === other.token

/** All of it is gone with the scope. */
export const make = Effect.fnUntraced(function* (
  options: SimulatedWorkloadsOptions = {}
): Effect.fn.Return<SimulatedWorkloads, never, Scope.Scope> {
  const parent = yield* Effect.scope
  const workloads = new Map<string, Workload>()
  const refusals: Array<Refusal> = []
  const refused = (refusal: Refusal): void => {
    refusals.push(refusal)
    if (refusals.length > MAX_REFUSALS) refusals.shift()
  }
  const { front } = options
  const serve = Effect.fnUntraced(function* (
    cluster: WorkloadCluster,
    access: WorkloadAccess,
    { scope, server }: Pick<Workload, "scope" | "server">
  ) {
    const served = yield* Scope.fork(scope)
    if (front === undefined) return served
    yield* front.serve(access, server).pipe(
      Scope.provide(served),
      Effect.tapError(() => Scope.close(served, Exit.void)),
      Effect.mapError((error) => unreachable(cluster, "Unavailable", error.message))
    )
    return served
  })
  return {
    front,
    open: Effect.fnUntraced(function* (cluster, access) {
      const key = keyOf(cluster)
      const known = workloads.get(key)
      if (known !== undefined) {
        if (!isSame(known.access, access)) yield* Scope.close(known.served, Exit.void)
        const served = isSame(known.access, access) ? known.served : yield* serve(cluster, access, known)
        workloads.set(key, { ...known, access, served })
        return known.server
      }
      const scope = yield* Scope.fork(parent)
      const server = yield* SimulatedApiServer.make(options).pipe(
        Effect.tap((made) => options.prepare?.(cluster, made) ?? Effect.void),
        Scope.provide(scope)
      )
      const served = yield* serve(cluster, access, { server, scope }).pipe(
        Effect.tapError(() => Scope.close(scope, Exit.void))
      )
      workloads.set(key, { access, server, scope, served })
      return server
    }),
    server: (cluster) => workloads.get(keyOf(cluster))?.server,
    close: (cluster) =>
      Effect.suspend(() => {
        const known = workloads.get(keyOf(cluster))
        workloads.delete(keyOf(cluster))
        return known === undefined ? Effect.void : Scope.close(known.scope, Exit.void)
      }),
    clusters:
      front !== undefined
        ? WorkloadClusters.layer
        : WorkloadClusters.layerOf((cluster, kubeconfig) =>
            Effect.suspend(() => {
              const access = accessIn(kubeconfig)
              if (access === undefined)
                return Effect.fail(unreachable(cluster, "BadRequest", "this is no kubeconfig of a simulated cluster"))
              const find = () => [...workloads.values()].find((one) => one.access.token === access.token)
              const silent = unreachable(cluster, "Unavailable", `no simulated cluster answers at ${access.server}`)
              return Effect.succeed(whenItAnswers(() => find()?.server.client(`admin of ${keyOf(cluster)}`), silent))
            })
          ),
    k0s: k0sWorld(workloads, refused),
    refusals: () => [...refusals]
  }
})
