/**
 * Owns the way into other clusters: a kubeconfig, as it stands in a Secret, becomes a KubeClient. One client a cluster
 * and content is shared by all who ask, and kept for a while when idle. Does not own which Secret it is, nor what is done
 * over there. Live it is LiveKubeClient; a simulation maps clusters to in-memory clients.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import { answers } from "./HttpsProbe.ts"
import type { KubeClientShape } from "./KubeClient.ts"
import { KubeError } from "./KubeError.ts"
import { makeKubeClient } from "./LiveKubeClient.ts"

/** An unused client keeps its connections this long, milliseconds. */
export const IDLE_MILLIS = 300_000
/** Clients at one time, idle ones included. */
export const MAX_CLIENTS = 512

/** Whose kubeconfig it is: for messages, and so that equal texts of two clusters are two clients. */
export interface WorkloadCluster {
  readonly namespace: string
  readonly name: string
}

export interface WorkloadClustersShape {
  /** For as long as the scope is open. Fails when the kubeconfig can't be used, not when nobody answers. */
  readonly client: (
    cluster: WorkloadCluster,
    kubeconfig: string
  ) => Effect.Effect<KubeClientShape, KubeError, Scope.Scope>
  /** Whether anyone who is certified by this authority (PEM) answers there, with whatever; a bounded look. */
  readonly answers: (url: string, ca: string) => Effect.Effect<boolean>
}

type Connect = (cluster: WorkloadCluster, kubeconfig: string) => Effect.Effect<KubeClientShape, KubeError, Scope.Scope>

/** Nobody but who connects for real can look. */
const NOBODY: WorkloadClustersShape["answers"] = () => Effect.succeed(false)

const shared = (
  connect: Connect,
  answers: WorkloadClustersShape["answers"]
): Effect.Effect<WorkloadClustersShape, never, Scope.Scope> =>
  Effect.gen(function* () {
    // Clients by content: a rotated kubeconfig is another key, and the old client idles out.
    const clients = yield* RcMap.make({
      lookup: (key: string) => {
        const [namespace = "", name = "", kubeconfig = ""] = partsOf(key)
        return connect({ namespace, name }, kubeconfig)
      },
      idleTimeToLive: IDLE_MILLIS,
      capacity: MAX_CLIENTS
    })
    return {
      answers,
      client: (cluster, kubeconfig) =>
        RcMap.get(clients, [cluster.namespace, cluster.name, kubeconfig].join(SEPARATOR)).pipe(
          Effect.catchTag("ExceededCapacityError", () => Effect.fail(tooMany(cluster))),
          // A failed start must not be remembered: the next caller tries again.
          Effect.tapError(() =>
            RcMap.invalidate(clients, [cluster.namespace, cluster.name, kubeconfig].join(SEPARATOR))
          )
        )
    }
  })

/** In no name and no YAML. */
const SEPARATOR = "\0"
const partsOf = (key: string): ReadonlyArray<string> => key.split(SEPARATOR)

const tooMany = ({ namespace, name }: WorkloadCluster): KubeError =>
  new KubeError({
    reason: "Unavailable",
    verb: "configure",
    kind: "Kubeconfig",
    namespace,
    name,
    message: `more than ${MAX_CLIENTS} workload clusters are in use at one time`
  })

export class WorkloadClusters extends Context.Service<WorkloadClusters, WorkloadClustersShape>()(
  "machinist/kube/WorkloadClusters"
) {
  /** Kubeconfigs from Secrets are not trusted: exec plugins and references to files are refused (Credentials.ts). */
  static readonly layer = WorkloadClusters.layerOf(
    (_, kubeconfig) => makeKubeClient({ _tag: "Text", kubeconfig }),
    answers
  )

  /** Any other way of connecting. */
  static layerOf(connect: Connect, looks: WorkloadClustersShape["answers"] = NOBODY): Layer.Layer<WorkloadClusters> {
    return Layer.effect(WorkloadClusters, shared(connect, looks))
  }
}
