/**
 * Owns the way from the management cluster into a workload cluster, or into the one that hosts its control plane: which
 * Secrets say how, what is wrong with them in words, and one bounded conversation. Writes nothing. Clients are shared and
 * kept by kube/WorkloadClusters.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Cluster } from "../api/ClusterApi.ts"
import { clusterControlPlaneRef, isDeleting } from "../api/ClusterApiView.ts"
import { hostingKubeconfig, type K0smotronControlPlane, K0smotronControlPlanes } from "../api/ControlPlanes.ts"
import { type Secret, Secrets, secretText } from "../api/Core.ts"
import * as Names from "../api/Names.ts"
import type { Awaited, Failure } from "../domain/Bootstrap.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import type { WorkloadClustersShape } from "../kube/WorkloadClusters.ts"
import { keyOf } from "./Objects.ts"

/** One conversation with a workload cluster may take this long, milliseconds. */
export const WORKLOAD_TIMEOUT_MILLIS = 30_000

/** Reason of whatever only a change of the config itself can help. */
export const INVALID = "InvalidConfig"

export const inputFailure = (reason: string, message: string, awaited?: Awaited): Failure => ({
  reason,
  message,
  retry: "waitForChange",
  ...(awaited === undefined ? {} : { awaited })
})

/** The management cluster's own trouble: it passes, unless it says that it won't. */
export const apiFailure = (error: KubeError): Failure => {
  switch (error.reason) {
    case "Forbidden":
    case "Invalid":
    case "BadRequest":
    case "Decode":
      return inputFailure(`APIServer${error.reason}`, error.message)
    case "Conflict":
    case "AlreadyExists":
      return { reason: "Conflict", message: error.message, retry: "backoff" }
    case "NotFound":
    case "Unauthorized":
    case "Gone":
    case "TooManyRequests":
    case "Unavailable":
      return { reason: "APIServerUnavailable", message: error.message, retry: "backoff" }
  }
}

/** Whose workload cluster is meant: also known when its Cluster is gone. */
export interface Target {
  readonly namespace: string
  /** Name of the Cluster. */
  readonly name: string
  readonly cluster: Cluster | undefined
}

/** The cluster that the control plane's Secrets are in, and what the objects say about the way there. */
export interface Hosting {
  readonly kube: KubeClientShape
  /** The management cluster itself. */
  readonly local: boolean
  /** The config's own namespace there: what is missing can be watched for. */
  readonly near: boolean
  readonly namespace: string
  readonly cluster: string
  readonly controlPlane: K0smotronControlPlane | undefined
}

const awaitedSecret = (hosting: Hosting, name: string): Awaited | undefined =>
  hosting.near ? { kind: "Secret", name } : undefined

export const readSecret = (
  hosting: Hosting,
  name: string,
  reason: string,
  whose: string
): Effect.Effect<Secret, Failure> =>
  hosting.kube
    .get(Secrets, { namespace: hosting.namespace, name })
    .pipe(
      Effect.mapError((error) =>
        error.reason === "NotFound"
          ? inputFailure(
              `${reason}NotFound`,
              `Secret ${hosting.namespace}/${name} (${whose}) is not there${hosting.local ? "" : " in the cluster that hosts the control plane"}. The control plane provider makes it.`,
              awaitedSecret(hosting, name)
            )
          : hosting.local
            ? apiFailure(error)
            : { reason: "HostingClusterUnreachable", message: error.message, retry: "backoff" }
      )
    )

export const textOf = (
  hosting: Hosting,
  secret: Secret,
  key: string,
  reason: string
): Effect.Effect<string, Failure> => {
  const text = secretText(secret, key)
  return text !== undefined && text.trim() !== ""
    ? Effect.succeed(text)
    : Effect.fail(
        inputFailure(
          `${reason}Invalid`,
          `Secret ${keyOf(secret)} has nothing under key "${key}".`,
          awaitedSecret(hosting, secret.metadata.name)
        )
      )
}

/** Errors of making a client may quote the kubeconfig past their first line. */
const firstLine = (text: string): string => text.split("\n", 1)[0] ?? ""

const kubeconfigInvalid = (hosting: Hosting, name: string, error: KubeError): Failure =>
  inputFailure(
    "KubeconfigInvalid",
    `Secret ${hosting.namespace}/${name} has no usable kubeconfig: ${firstLine(error.message)}`,
    awaitedSecret(hosting, name)
  )

export interface Reader {
  readonly kube: KubeClientShape
  readonly clusters: WorkloadClustersShape
}

const controlPlaneOf = (
  { kube }: Reader,
  cluster: Cluster | undefined
): Effect.Effect<K0smotronControlPlane | undefined, Failure> => {
  const reference = cluster === undefined ? undefined : clusterControlPlaneRef(cluster)
  const { group, kind } = K0smotronControlPlanes
  if (reference === undefined || reference.kind !== kind || reference.group !== group) return Effect.succeed(undefined)
  const { name, namespace = "" } = reference
  return kube.get(K0smotronControlPlanes, { namespace, name }).pipe(
    Effect.catch((error) => {
      if (error.reason !== "NotFound") return Effect.fail(apiFailure(error))
      // While a Cluster goes, its control plane may be gone already; what it hosted is gone with it.
      if (cluster !== undefined && isDeleting(cluster)) return Effect.succeed(undefined)
      return Effect.fail(inputFailure("ControlPlaneNotFound", `${kind} ${namespace}/${name} is not there.`))
    })
  )
}

/** Where the control plane's Secrets are: here, or where K0smotronControlPlane's remoteHostCluster says. */
export const hostingOf = Effect.fnUntraced(function* (
  reader: Reader,
  { cluster, name, namespace }: Target
): Effect.fn.Return<Hosting, Failure, Scope.Scope> {
  const controlPlane = yield* controlPlaneOf(reader, cluster)
  const here: Hosting = { kube: reader.kube, local: true, near: true, namespace, cluster: name, controlPlane }
  const reference = controlPlane === undefined ? undefined : hostingKubeconfig(controlPlane)
  if (reference === undefined) return here
  const at = reference.namespace ?? namespace
  const there: Hosting = { ...here, namespace: at, near: at === namespace }
  const secret = yield* readSecret(
    there,
    reference.name,
    "HostingKubeconfig",
    "the cluster that hosts the control plane"
  )
  const kubeconfig = yield* textOf(there, secret, reference.key, "HostingKubeconfig")
  const kube = yield* reader.clusters
    .client({ namespace: there.namespace, name: reference.name }, kubeconfig)
    .pipe(Effect.mapError((error) => kubeconfigInvalid(there, reference.name, error)))
  return { ...here, kube, local: false, near: false }
})

export interface Workload {
  readonly kube: KubeClientShape
  /** Every error of the workload cluster as the failure that it is for the config. */
  readonly failure: (error: KubeError) => Failure
}

export const openWorkload = Effect.fnUntraced(function* (
  reader: Reader,
  hosting: Hosting
): Effect.fn.Return<Workload, Failure, Scope.Scope> {
  const name = Names.kubeconfigSecretName(hosting.cluster)
  const secret = yield* readSecret(hosting, name, "Kubeconfig", "the way into the workload cluster")
  const kubeconfig = yield* textOf(hosting, secret, Names.SECRET_VALUE_KEY, "Kubeconfig")
  const kube = yield* reader.clusters
    .client({ namespace: hosting.namespace, name: hosting.cluster }, kubeconfig)
    .pipe(Effect.mapError((error) => kubeconfigInvalid(hosting, name, error)))
  const awaited = awaitedSecret(hosting, name)
  return {
    kube,
    failure: (error) => {
      const message = `Workload cluster ${hosting.cluster}: ${error.message}`
      if (error.reason === "Unauthorized" || error.reason === "Forbidden")
        return inputFailure(
          "WorkloadClusterRefused",
          `${message}. Secret ${hosting.namespace}/${name} must hold credentials that may write Secrets in kube-system.`,
          awaited
        )
      return { reason: "WorkloadClusterUnreachable", message, retry: "backoff" }
    }
  }
})

/** From whatever objects are still there. */
export const workload = Effect.fnUntraced(function* (reader: Reader, target: Target) {
  return yield* openWorkload(reader, yield* hostingOf(reader, target))
})

/** One conversation, bounded. */
export const converse = <A>(
  { kube, failure }: Workload,
  talk: (kube: KubeClientShape) => Effect.Effect<A, KubeError>
): Effect.Effect<A, Failure> =>
  talk(kube).pipe(
    Effect.mapError(failure),
    Effect.timeoutOrElse({
      duration: WORKLOAD_TIMEOUT_MILLIS,
      orElse: () =>
        Effect.fail<Failure>({
          reason: "WorkloadClusterUnreachable",
          message: `The workload cluster did not answer within ${WORKLOAD_TIMEOUT_MILLIS / 1000} seconds`,
          retry: "backoff"
        })
    })
  )
