/**
 * Owns what a stand-in k0s has to show to be let into a simulated workload cluster (K0sWorld), and what there is of it
 * then. A worker: its join token, checked against the bootstrap-token Secret in `kube-system` as kube-apiserver's
 * authenticator does; then its Node. The first controller: the cluster's own certificate authority; the others: a
 * controller's token, and a controller that runs; then a ControlNode and a member of etcd, until it leaves. Nodes get Ready
 * when their kubelet is let in and Unknown when k0s is stopped. Does not own the clusters (SimulatedWorkloads.ts).
 *
 * Unlike k0s:
 * - no-heartbeats: a Node stays Ready, and a controller a member that answers, while its host has no power
 * - no-quorum: one running member is enough for etcd
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type Node, Nodes, Secrets } from "../../api/Core.ts"
import { ControlNodes } from "../../api/K0s.ts"
import { decodeJoinToken, type JoinToken, TOKEN_NAMESPACE, tokenSecretName } from "../../domain/JoinToken.ts"
import { rfc3339 } from "../../domain/Rfc3339.ts"
import type { JsonObject, KubeClientShape } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import type { K0sStart, K0sWorld } from "../hosts/K0s.ts"
import type { Placement, WorkloadAccess } from "./KubeconfigSecret.ts"
import { type JoinUsage, judgeToken } from "./TokenJudge.ts"

/** Someone was not let in; for tests and for people who wonder. */
export interface Refusal {
  readonly host: string
  readonly why: string
}

/** Of etcd. */
export interface Member {
  /** AUTOPILOT_HOSTNAME, which is the Machine's name. */
  readonly name: string
  readonly host: string
  readonly running: boolean
}

/** A workload cluster's API server, wherever it runs. */
export interface WorkloadServer {
  readonly kubeClient: KubeClientShape
  /** For each who writes, where they are told apart. */
  readonly client: (name: string) => KubeClientShape
}

export interface Workload {
  readonly access: WorkloadAccess
  readonly server: WorkloadServer
  readonly placement: Placement
  /** By host; touched by nobody but this file. */
  readonly members: Map<string, Member>
}

/** On ControlNodes: where it runs, so that a simulation that starts again knows its members. */
const HOST_ANNOTATION = "machinist.dev/stand-in-host"

const running = (workload: Workload): ReadonlyArray<Member> =>
  [...workload.members.values()].filter((member) => member.running)

export const isUp = (workload: Workload): boolean => workload.placement === "hosted" || running(workload).length > 0

/** As far as the objects of a restored cluster say; they ran when they were last seen. */
export const membersOf = (server: WorkloadServer): Effect.Effect<Map<string, Member>> =>
  server.kubeClient.list(ControlNodes).pipe(
    Effect.map(
      ({ items }) =>
        new Map(
          items.flatMap(({ metadata }) => {
            const host = metadata.annotations?.[HOST_ANNOTATION]
            return host === undefined ? [] : [[host, { name: metadata.name, host, running: true }] as const]
          })
        )
    ),
    Effect.orDie
  )

const hostIn = (url: string): string => (URL.canParse(url) ? new URL(url).hostname : "")

/** The endpoint knows the way to the controllers while one runs. */
export const answers = (workloads: Iterable<Workload>, url: string, ca: string): boolean =>
  [...workloads].some(
    (workload) =>
      workload.access.ca.trim() === ca.trim() &&
      hostIn(workload.access.server) === hostIn(url) &&
      running(workload).length > 0
  )

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
  readonly workload: Workload
  /** Undefined: a controller that is none. */
  readonly node: string | undefined
}

const refuse = (start: K0sStart, why: string): Effect.Effect<never, Refusal> => Effect.fail({ host: start.host, why })

/** Whose token it is, and that it is good. */
const withToken = Effect.fnUntraced(function* (
  workloads: Iterable<Workload>,
  start: K0sStart,
  text: string
): Effect.fn.Return<Workload, Refusal | KubeError> {
  const decoded = decodeJoinToken(text.trim())
  if (Result.isFailure(decoded)) return yield* refuse(start, decoded.failure.message)
  const { ca, server, token, user } = decoded.success
  const sameCa = [...workloads].filter(({ access }) => access.ca.trim() === ca.trim())
  // An ingress or a controllers' port is another address of the same cluster: its CA is what tells it apart.
  const workload = sameCa.find(({ access }) => access.server === server) ?? sameCa[0]
  if (workload === undefined) return yield* refuse(start, `no cluster at ${server} has this certificate authority`)
  if (!isUp(workload)) return yield* refuse(start, `nobody answers at ${server}`)
  const secret = yield* workload.server.kubeClient
    .get(Secrets, { namespace: TOKEN_NAMESPACE, name: tokenSecretName(token.id) })
    .pipe(
      Effect.catchIf(
        (error) => error.reason === "NotFound",
        () => Effect.succeed(undefined)
      )
    )
  if (secret === undefined) return yield* refuse(start, `there is no token ${token.id}`)
  const why = judgeToken(secret, token, USAGE[user], yield* Clock.currentTimeMillis)
  return why === undefined ? workload : yield* refuse(start, why)
})

/** A controller without a token starts a cluster: with the certificates of one that nobody has started yet. */
const withCertificates = (workloads: Iterable<Workload>, start: K0sStart): Effect.Effect<Workload, Refusal> => {
  const ca = start.authority?.trim() ?? ""
  const workload = [...workloads].find(({ access }) => ca !== "" && access.ca.trim() === ca)
  if (workload === undefined) return refuse(start, "no cluster has the certificate authority of this controller")
  const others = running(workload).filter(({ host }) => host !== start.host)
  return others.length === 0
    ? Effect.succeed(workload)
    : refuse(start, `a second etcd beside that of ${others.map(({ name }) => name).join(", ")}`)
}

const becomeMember = Effect.fnUntraced(function* (
  workload: Workload,
  start: K0sStart
): Effect.fn.Return<void, KubeError> {
  const name = flag(start.arguments, "env")?.replace(/^AUTOPILOT_HOSTNAME=/, "") ?? start.host
  workload.members.set(start.host, { name, host: start.host, running: true })
  const annotations = { [HOST_ANNOTATION]: start.host }
  const kube = workload.server.client(`autopilot of ${name}`)
  yield* kube.create(ControlNodes, { metadata: { name, annotations } }).pipe(
    Effect.catchIf(
      (error) => error.reason === "AlreadyExists",
      () => kube.patch(ControlNodes, { name }, { metadata: { annotations } })
    )
  )
})

/** What there is of it now. */
const join = Effect.fnUntraced(function* (
  workloads: Iterable<Workload>,
  start: K0sStart
): Effect.fn.Return<Registered, Refusal | KubeError> {
  if (start.token === undefined && start.role === "worker") return yield* refuse(start, "there is no token file")
  const workload = yield* start.token === undefined
    ? withCertificates(workloads, start)
    : withToken(workloads, start, start.token)
  if (start.role === "controller") yield* becomeMember(workload, start)
  if (!isNode(start)) return { workload, node: undefined }
  const kube = workload.server.client(`kubelet ${start.host}`)
  const node = yield* register(kube, start, yield* Clock.currentTimeMillis)
  return { workload, node: node.metadata.name }
})

/** Who is in which cluster is remembered by host: `workloads` may come and go. */
export const make = (workloads: ReadonlyMap<string, Workload>, refused: (refusal: Refusal) => void): K0sWorld => {
  const registered = new Map<string, Registered>()
  const clusterOf = (host: string): Workload | undefined =>
    registered.get(host)?.workload ?? [...workloads.values()].find(({ members }) => members.has(host))
  return {
    started: (start) =>
      Effect.suspend(() => join(workloads.values(), start)).pipe(
        Effect.map((found) => {
          registered.set(start.host, found)
          return true
        }),
        Effect.catch((error) =>
          Effect.sync(() => {
            refused("why" in error ? error : { host: start.host, why: error.message })
            return false
          })
        )
      ),
    left: (host) =>
      Effect.suspend(() => {
        const workload = clusterOf(host)
        const member = workload?.members.get(host)
        if (workload === undefined || member === undefined) return Effect.succeed(false)
        workload.members.delete(host)
        return Effect.as(
          Effect.ignore(workload.server.client("etcd").delete(ControlNodes, { name: member.name })),
          true
        )
      }),
    stopped: Effect.fnUntraced(function* (host) {
      const workload = clusterOf(host)
      const member = workload?.members.get(host)
      if (member !== undefined) workload?.members.set(host, { ...member, running: false })
      const found = registered.get(host)
      registered.delete(host)
      if (found?.node === undefined) return
      const status = nodeStatus(host, "Unknown", rfc3339(yield* Clock.currentTimeMillis))
      yield* found.workload.server
        .client("node-lifecycle-controller")
        .patch(Nodes, { name: found.node }, { status }, { subresource: "status" })
        .pipe(Effect.ignore)
    })
  }
}
