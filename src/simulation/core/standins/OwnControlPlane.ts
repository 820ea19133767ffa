/**
 * Owns what stand-ins of control planes do where workload clusters are real to their hosts (WorkloadFront.ts): a control
 * plane of the user's own, told by a kubeconfig Secret that no stand-in wrote, is left alone and only vouched for; else an
 * address is given, and it is said when nothing can be served there. Does not own the stand-ins themselves.
 */
import * as Effect from "effect/Effect"
import { parse } from "yaml"
import { Secrets, secretData, secretText } from "../../../api/Core.ts"
import * as Names from "../../../api/Names.ts"
import type { ConditionInput } from "../../../domain/Conditions.ts"
import { KubeError } from "../../../kube/KubeError.ts"
import type { WorkloadCluster } from "../../../kube/WorkloadClusters.ts"
import { arrayAt, type Json, stringAt } from "../../apiserver/Json.ts"
import type { Placement, WorkloadAccess } from "../KubeconfigSecret.ts"
import { STAND_IN_ANNOTATION } from "../Names.ts"
import type { Raw } from "../Raw.ts"
import { nonEmpty } from "../View.ts"
import type { Endpoint } from "../WorkloadFront.ts"
import type { Surroundings } from "./Surroundings.ts"

const HTTPS_PORT = 443

/** Where a control plane is that somebody else runs. */
export interface OwnControlPlane {
  readonly endpoint: Endpoint
  /** PEM; undefined: its kubeconfig has none. */
  readonly ca: string | undefined
}

const secretNamed = (around: Surroundings, namespace: string, name: string) =>
  around.kube.get(Secrets, { namespace, name }).pipe(
    Effect.catchIf(
      (error) => error.reason === "NotFound",
      () => Effect.succeed(undefined)
    )
  )

const unreadable = ({ name, namespace }: WorkloadCluster): KubeError =>
  new KubeError({
    reason: "BadRequest",
    verb: "configure",
    kind: "Kubeconfig",
    namespace,
    name: Names.kubeconfigSecretName(name),
    message: "this is no kubeconfig: its first cluster has no https:// server"
  })

const readOwn = (cluster: WorkloadCluster, kubeconfig: string): Effect.Effect<OwnControlPlane, KubeError> =>
  Effect.try({
    try: (): OwnControlPlane => {
      const config: Json = JSON.parse(JSON.stringify(parse(kubeconfig, { logLevel: "silent" })))
      const [first] = arrayAt(config, "clusters")
      const url = new URL(stringAt(first, "cluster", "server") ?? "")
      const ca = nonEmpty(stringAt(first, "cluster", "certificate-authority-data"))
      return {
        endpoint: {
          host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
          port: url.port === "" ? HTTPS_PORT : Number(url.port)
        },
        ca: ca === undefined ? undefined : Buffer.from(ca, "base64").toString("utf8")
      }
    },
    catch: () => unreadable(cluster)
  })

/** Only where it can be reached: a simulation in memory alone knows no cluster but its own. */
export const findOwn = Effect.fnUntraced(function* (
  around: Surroundings,
  cluster: WorkloadCluster
): Effect.fn.Return<OwnControlPlane | undefined, KubeError> {
  if (around.workloads.front === undefined) return undefined
  const secret = yield* secretNamed(around, cluster.namespace, Names.kubeconfigSecretName(cluster.name))
  if (secret === undefined || secret.metadata.annotations?.[STAND_IN_ANNOTATION] !== undefined) return undefined
  return yield* readOwn(cluster, secretText(secret, Names.SECRET_VALUE_KEY) ?? "")
})

/** Join tokens name the authority by Secret `<cluster>-ca`: where the user gave none, it is the kubeconfig's. */
export const ensureOwnAuthority = Effect.fnUntraced(function* (
  around: Surroundings,
  controlPlane: Raw,
  { name, namespace }: WorkloadCluster,
  own: OwnControlPlane
): Effect.fn.Return<void, KubeError> {
  const secret = Names.certificateSecretName(name, "ca")
  if (own.ca === undefined || (yield* secretNamed(around, namespace, secret)) !== undefined) return
  yield* around.kube.create(Secrets, {
    metadata: {
      name: secret,
      namespace,
      labels: { [Names.CLUSTER_NAME_LABEL]: name },
      annotations: { [STAND_IN_ANNOTATION]: controlPlane.metadata.name }
    },
    type: Names.CLUSTER_SECRET_TYPE,
    data: secretData({ "tls.crt": own.ca })
  })
})

/** For a cluster that says no address of its own; undefined where clusters are in memory alone. */
export const servedEndpoint = (
  around: Surroundings,
  namespace: string
): Effect.Effect<Endpoint | undefined, KubeError> =>
  around.workloads.front?.endpoint.pipe(
    Effect.mapError(
      ({ message }) => new KubeError({ reason: "Unavailable", verb: "configure", kind: "Cluster", namespace, message })
    )
  ) ?? Effect.succeed(undefined)

const both = (condition: Omit<ConditionInput, "type">): ReadonlyArray<ConditionInput> =>
  ["Available", "Ready"].map((type) => ({ ...condition, type }))

export const notServed = (message: string): ReadonlyArray<ConditionInput> =>
  both({ status: "False", reason: "EndpointNotServed", message })

export const available = (own: OwnControlPlane | undefined): ReadonlyArray<ConditionInput> =>
  ["Available", "Ready"].map((type) => ({
    type,
    status: "True",
    reason: type,
    ...(own === undefined
      ? {}
      : {
          message: "The control plane is the one that the kubeconfig Secret leads to; nobody looked whether it answers."
        })
  }))

/** Why the cluster can't be served at its address; undefined: it is. */
export const refusalOf = (
  around: Surroundings,
  cluster: WorkloadCluster,
  access: WorkloadAccess,
  placement: Placement = "hosted"
): Effect.Effect<string | undefined> =>
  around.workloads.open(cluster, access, placement).pipe(
    Effect.as(undefined),
    Effect.catch(({ message }) => Effect.succeed(message))
  )
