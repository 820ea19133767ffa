/**
 * Owns the workload clusters of control planes that stand-ins play: a real kube-apiserver each, where the Cluster's
 * kubeconfig says, certified by the Cluster's own authority. Who is let in is K0sAdmission.ts's, as in simulations. Runs
 * from the moment it is opened, also when no controller does yet.
 */
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { KubeClientShape } from "../../../src/kube/KubeClient.ts"
import { KubeError } from "../../../src/kube/KubeError.ts"
import { makeKubeClient } from "../../../src/kube/LiveKubeClient.ts"
import { type WorkloadCluster, WorkloadClusters } from "../../../src/kube/WorkloadClusters.ts"
import type { WorkloadServer } from "../../../src/simulation/core/K0sAdmission.ts"
import type { WorkloadAccess } from "../../../src/simulation/core/KubeconfigSecret.ts"
import * as SimulatedWorkloads from "../../../src/simulation/core/SimulatedWorkloads.ts"
import * as WorkloadFront from "../../../src/simulation/core/WorkloadFront.ts"
import { FrontError } from "../../../src/simulation/http/HttpsFront.ts"
import { installCrd, startWith } from "../apiserver/ApiServer.ts"
import { freePorts } from "../apiserver/Processes.ts"

export type Workloads = SimulatedWorkloads.SimulatedWorkloads<WorkloadServer>

const LOOPBACK = "127.0.0.1"

/** Which k0s brings along. */
const controlNodes = {
  metadata: { name: "controlnodes.autopilot.k0sproject.io" },
  spec: {
    group: "autopilot.k0sproject.io",
    scope: "Cluster",
    names: { kind: "ControlNode", plural: "controlnodes", singular: "controlnode", listKind: "ControlNodeList" },
    versions: [
      {
        name: "v1beta2",
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } }
      }
    ]
  }
}

const apiServer = Effect.fnUntraced(function* (access: WorkloadAccess) {
  const { hostname: host, port } = new URL(access.server)
  const { certificate, privateKey } = yield* WorkloadFront.certificate(access, host)
  const { ca: caPem, token } = access
  const server = yield* startWith({ as: { host, port: Number(port), caPem, certificate, privateKey, token } })
  const kube = yield* makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
  yield* installCrd(kube, controlNodes)
  return kube
})

/** Has a client once it is served. */
interface Server extends WorkloadServer {
  kube: KubeClientShape | undefined
}

const served = (server: Server): KubeClientShape => {
  if (server.kube === undefined) throw new Error("asked before it is served")
  return server.kube
}

const unserved = ({ name, namespace }: WorkloadCluster, error: { readonly message: string }) =>
  new KubeError({ reason: "Unavailable", verb: "serve", kind: "Cluster", namespace, name, message: error.message })

/** All of them are gone with the scope. */
export const make: Effect.Effect<Workloads, never, Scope.Scope | SecureRandom.SecureRandom> = Effect.gen(function* () {
  const context = yield* Effect.context<SecureRandom.SecureRandom>()
  return yield* SimulatedWorkloads.over<Server>({
    front: {
      endpoint: Effect.mapBoth(freePorts(1), {
        onSuccess: ([port = 0]) => ({ host: LOOPBACK, port }),
        onFailure: ({ message }) => new FrontError({ message })
      })
    },
    // They ask by their mailbox.
    controllers: "machines",
    make: () =>
      Effect.sync(() => {
        const server: Server = {
          kube: undefined,
          get kubeClient() {
            return served(server)
          },
          client: () => served(server)
        }
        return server
      }),
    serve: (cluster, access, server) =>
      apiServer(access).pipe(
        Effect.provideContext(context),
        Effect.mapError((error) => unserved(cluster, error)),
        Effect.flatMap((kube) =>
          Effect.sync(() => {
            server.kube = kube
          })
        )
      ),
    clusters: () => WorkloadClusters.layer
  })
})
