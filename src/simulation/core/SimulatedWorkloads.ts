/**
 * Owns the workload clusters of a simulation: an API server for each Cluster, in memory unless told otherwise, the way in
 * with the contents of its kubeconfig Secret. A hosted one answers at once, one on machines while a controller of its runs.
 * Who is let in is K0sAdmission.ts's.
 *
 * Unlike a real one:
 * - no-pods: no scheduler, kubelet or CNI; a Node is Ready as soon as it is let in
 * - no-token-cleaner: an expired join token opens nothing, and stays until somebody deletes it
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ControlNodes } from "../../api/K0s.ts"
import type { KubeClientShape } from "../../kube/KubeClient.ts"
import { KubeError } from "../../kube/KubeError.ts"
import { type WorkloadCluster, WorkloadClusters } from "../../kube/WorkloadClusters.ts"
import type { K0sWorld } from "../hosts/K0s.ts"
import * as SimulatedApiServer from "../SimulatedApiServer.ts"
import * as K0sAdmission from "./K0sAdmission.ts"
import { accessIn, type Placement, type WorkloadAccess } from "./KubeconfigSecret.ts"
import type { WorkloadFront } from "./WorkloadFront.ts"

export interface SimulatedWorkloads<
  S extends K0sAdmission.WorkloadServer = SimulatedApiServer.SimulatedApiServerShape
> {
  /** The cluster's API server, made when it is asked for the first time. Fails when it can't be served there. */
  readonly open: (
    cluster: WorkloadCluster,
    access: WorkloadAccess,
    placement?: Placement
  ) => Effect.Effect<S, KubeError>
  /** Whether it answers. */
  readonly isUp: (cluster: WorkloadCluster) => boolean
  /** Its controllers, oldest first: those that stopped without leaving etcd, too. */
  readonly members: (cluster: WorkloadCluster) => ReadonlyArray<K0sAdmission.Member>
  /** Where clusters are served that say no address of their own; undefined: nowhere, they are in memory alone. */
  readonly front: Pick<WorkloadFront, "endpoint"> | undefined
  /** Of control planes on machines: as good as hosted where nobody tells of their controllers. */
  readonly controllers: Placement
  readonly server: (cluster: WorkloadCluster) => S | undefined
  /** The cluster and all that is in it is gone. */
  readonly close: (cluster: WorkloadCluster) => Effect.Effect<void>
  readonly clusters: Layer.Layer<WorkloadClusters>
  readonly k0s: K0sWorld
  /** The last ones, oldest first. */
  readonly refusals: () => ReadonlyArray<K0sAdmission.Refusal>
}

/** How the API servers of workload clusters come to be. */
export interface WorkloadServers<S extends K0sAdmission.WorkloadServer>
  extends Pick<SimulatedWorkloads, "controllers" | "front"> {
  readonly make: (cluster: WorkloadCluster) => Effect.Effect<S, never, Scope.Scope>
  /** At the address that its kubeconfig says, until the scope ends; from then on it can be talked to. */
  readonly serve: (
    cluster: WorkloadCluster,
    access: WorkloadAccess,
    server: S
  ) => Effect.Effect<void, KubeError, Scope.Scope>
  readonly clusters: (workloads: ReadonlyMap<string, K0sAdmission.Workload>) => Layer.Layer<WorkloadClusters>
  /** After a cluster is gone for good. */
  readonly forget?: ((cluster: WorkloadCluster) => Effect.Effect<void>) | undefined
}

interface Workload<S extends K0sAdmission.WorkloadServer> extends K0sAdmission.Workload {
  readonly server: S
  /** Of its address: closed alone when the cluster gets another one. */
  readonly served: Scope.Closeable
  readonly scope: Scope.Closeable
}

const MAX_REFUSALS = 1_000
const keyOf = ({ name, namespace }: WorkloadCluster): string => `${namespace}/${name}`

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

export interface SimulatedWorkloadsOptions extends SimulatedApiServer.SimulatedApiServerOptions {
  /** Before anyone talks to a new cluster: restores what it held, and keeps what it will. */
  readonly prepare?: (
    cluster: WorkloadCluster,
    server: SimulatedApiServer.SimulatedApiServerShape
  ) => Effect.Effect<void, never, Scope.Scope>
  /** After a cluster is gone for good: one of the same name shall not begin with its Nodes. */
  readonly forget?: (cluster: WorkloadCluster) => Effect.Effect<void>
  /** Serves them to others than this process; the way in is then a kubeconfig as any other. */
  readonly front?: WorkloadFront
}

const isSame = (one: WorkloadAccess, other: WorkloadAccess): boolean =>
  one.server === other.server && one.ca === other.ca && one.token === other.token

/** Those in memory, found by what their kubeconfigs say; with a front that is a kubeconfig as any other. */
const connected = (workloads: ReadonlyMap<string, K0sAdmission.Workload>): Layer.Layer<WorkloadClusters> =>
  WorkloadClusters.layerOf(
    (cluster, kubeconfig) =>
      Effect.suspend(() => {
        const access = accessIn(kubeconfig)
        if (access === undefined)
          return Effect.fail(unreachable(cluster, "BadRequest", "this is no kubeconfig of a simulated cluster"))
        const find = () =>
          [...workloads.values()].find((one) => one.access.token === access.token && K0sAdmission.isUp(one))
        const silent = unreachable(cluster, "Unavailable", `no simulated cluster answers at ${access.server}`)
        return Effect.succeed(whenItAnswers(() => find()?.server.client(`admin of ${keyOf(cluster)}`), silent))
      }),
    (url, ca) => Effect.sync(() => K0sAdmission.answers(workloads.values(), url, ca))
  )

const inMemory = (options: SimulatedWorkloadsOptions): WorkloadServers<SimulatedApiServer.SimulatedApiServerShape> => {
  const { forget, front, prepare } = options
  return {
    front,
    controllers: front === undefined ? "machines" : "hosted",
    make: (cluster) =>
      SimulatedApiServer.make(options).pipe(
        Effect.tap((made) => made.registerKind(ControlNodes)),
        Effect.tap((made) => prepare?.(cluster, made) ?? Effect.void)
      ),
    serve: (cluster, access, server) =>
      front === undefined
        ? Effect.void
        : front
            .serve(access, server)
            .pipe(Effect.mapError((error) => unreachable(cluster, "Unavailable", error.message))),
    clusters: (workloads) => (front === undefined ? connected(workloads) : WorkloadClusters.layer),
    forget
  }
}

/** All of it is gone with the scope. */
export const make = (options: SimulatedWorkloadsOptions = {}): Effect.Effect<SimulatedWorkloads, never, Scope.Scope> =>
  over(inMemory(options))

/** The same with API servers of another kind. */
export const over = Effect.fnUntraced(function* <S extends K0sAdmission.WorkloadServer>(
  servers: WorkloadServers<S>
): Effect.fn.Return<SimulatedWorkloads<S>, never, Scope.Scope> {
  const parent = yield* Effect.scope
  const workloads = new Map<string, Workload<S>>()
  const refusals: Array<K0sAdmission.Refusal> = []
  const refused = (refusal: K0sAdmission.Refusal): void => {
    refusals.push(refusal)
    if (refusals.length > MAX_REFUSALS) refusals.shift()
  }
  const serve = Effect.fnUntraced(function* (
    cluster: WorkloadCluster,
    access: WorkloadAccess,
    { scope, server }: Pick<Workload<S>, "scope" | "server">
  ) {
    const served = yield* Scope.fork(scope)
    yield* servers.serve(cluster, access, server).pipe(
      Scope.provide(served),
      Effect.tapError(() => Scope.close(served, Exit.void))
    )
    return served
  })
  return {
    front: servers.front,
    controllers: servers.controllers,
    open: Effect.fnUntraced(function* (cluster, access, placement = "hosted") {
      const key = keyOf(cluster)
      const known = workloads.get(key)
      if (known !== undefined) {
        if (!isSame(known.access, access)) yield* Scope.close(known.served, Exit.void)
        const served = isSame(known.access, access) ? known.served : yield* serve(cluster, access, known)
        workloads.set(key, { ...known, access, served })
        return known.server
      }
      const scope = yield* Scope.fork(parent)
      const server = yield* servers.make(cluster).pipe(Scope.provide(scope))
      const served = yield* serve(cluster, access, { server, scope }).pipe(
        Effect.tapError(() => Scope.close(scope, Exit.void))
      )
      const members = yield* K0sAdmission.membersOf(server)
      workloads.set(key, { access, server, scope, served, placement, members })
      return server
    }),
    server: (cluster) => workloads.get(keyOf(cluster))?.server,
    isUp: (cluster) => {
      const known = workloads.get(keyOf(cluster))
      return known !== undefined && K0sAdmission.isUp(known)
    },
    members: (cluster) => [...(workloads.get(keyOf(cluster))?.members.values() ?? [])],
    close: (cluster) =>
      Effect.suspend(() => {
        const known = workloads.get(keyOf(cluster))
        workloads.delete(keyOf(cluster))
        return known === undefined ? Effect.void : Scope.close(known.scope, Exit.void)
      }).pipe(Effect.andThen(servers.forget?.(cluster) ?? Effect.void)),
    clusters: servers.clusters(workloads),
    k0s: K0sAdmission.make(workloads, refused),
    refusals: () => [...refusals]
  }
})
