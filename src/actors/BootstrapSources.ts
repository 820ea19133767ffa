/**
 * Owns what a bootstrap config is rendered from, read through the Kubernetes port: control plane, certificates, the way
 * into the workload cluster, contents of files. Every failure names the object, the cause and the remedy. Writes nothing.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { ContentSource } from "../api/BootstrapParts.ts"
import type { Cluster, Machine } from "../api/ClusterApi.ts"
import { clusterControlPlaneRef, controlPlaneEndpoint, isDeleting, machineVersion } from "../api/ClusterApiView.ts"
import {
  hostingKubeconfig,
  ingressEndpoint,
  type K0smotronControlPlane,
  K0smotronControlPlanes
} from "../api/ControlPlanes.ts"
import { ConfigMaps, configMapBytes, type Secret, Secrets, secretBytes, secretText } from "../api/Core.ts"
import * as Names from "../api/Names.ts"
import type { Awaited, Failure } from "../domain/Bootstrap.ts"
import type { FileInput } from "../domain/bootstrap/CommonInput.ts"
import type { Ingress } from "../domain/bootstrap/Ingress.ts"
import { workerJoinServer } from "../domain/JoinToken.ts"
import { k0sVersion, validateSpecVersion } from "../domain/K0sVersion.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import type { WorkloadClustersShape } from "../kube/WorkloadClusters.ts"
import { clusterName } from "./BootstrapInputs.ts"
import type { BootstrapConfig, Inputs } from "./BootstrapRenderers.ts"
import type { Surroundings } from "./MachineInputs.ts"
import { keyOf } from "./Objects.ts"

/** One conversation with a workload cluster may take this long, milliseconds. */
export const WORKLOAD_TIMEOUT_MILLIS = 30_000

export const INVALID = "InvalidConfig"
const TLS_CERT = "tls.crt"
const TLS_KEY = "tls.key"

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

/** The cluster that the control plane's Secrets are in, and what the objects say about the way there. */
interface Hosting {
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

const readSecret = (hosting: Hosting, name: string, reason: string, whose: string): Effect.Effect<Secret, Failure> =>
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

const textOf = (hosting: Hosting, secret: Secret, key: string, reason: string): Effect.Effect<string, Failure> => {
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
const hostingOf = Effect.fnUntraced(function* (
  reader: Reader,
  config: BootstrapConfig,
  around: Surroundings
): Effect.fn.Return<Hosting, Failure, Scope.Scope> {
  const cluster = clusterName(config, around)
  if (cluster === undefined)
    return yield* Effect.fail(
      inputFailure("ClusterUnknown", `${keyOf(config)} has neither a Cluster nor label ${Names.CLUSTER_NAME_LABEL}.`)
    )
  const namespace = config.metadata.namespace ?? ""
  const controlPlane = yield* controlPlaneOf(reader, around.cluster)
  const here: Hosting = { kube: reader.kube, local: true, near: true, namespace, cluster, controlPlane }
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

const openWorkload = Effect.fnUntraced(function* (
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

/** The workload cluster of a config, from whatever objects are still there. */
export const workload = Effect.fnUntraced(function* (reader: Reader, config: BootstrapConfig, around: Surroundings) {
  return yield* openWorkload(reader, yield* hostingOf(reader, config, around))
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

// ---------------------------------------------------------------------------------------------------- contents

const fetched = (
  kind: Awaited["kind"],
  name: string,
  key: string,
  namespace: string,
  field: string,
  read: Effect.Effect<Uint8Array | undefined, KubeError>
): Effect.Effect<Uint8Array, Failure> => {
  const awaited = { kind, name }
  return read.pipe(
    Effect.mapError((error) =>
      error.reason === "NotFound"
        ? inputFailure("ContentNotFound", `${field}: ${kind} ${namespace}/${name} is not there. Create it.`, awaited)
        : apiFailure(error)
    ),
    Effect.flatMap((bytes) =>
      bytes === undefined
        ? Effect.fail(
            inputFailure("ContentNotFound", `${field}: ${kind} ${namespace}/${name} has no key "${key}".`, awaited)
          )
        : Effect.succeed(bytes)
    )
  )
}

const contentFrom = (
  kube: KubeClientShape,
  namespace: string,
  field: string,
  { secretRef, configMapRef }: ContentSource
): Effect.Effect<Uint8Array, Failure> => {
  if (secretRef !== undefined && configMapRef === undefined) {
    const { name, key } = secretRef
    const read = Effect.map(kube.get(Secrets, { namespace, name }), (secret) => secretBytes(secret, key))
    return fetched("Secret", name, key, namespace, field, read)
  }
  if (configMapRef !== undefined && secretRef === undefined) {
    const { name, key } = configMapRef
    const read = Effect.map(kube.get(ConfigMaps, { namespace, name }), (map) => configMapBytes(map, key))
    return fetched("ConfigMap", name, key, namespace, field, read)
  }
  return Effect.fail(inputFailure(INVALID, `${field} needs exactly one of secretRef and configMapRef.`))
}

const filesOf = (kube: KubeClientShape, config: BootstrapConfig): Effect.Effect<ReadonlyArray<FileInput>, Failure> => {
  const namespace = config.metadata.namespace ?? ""
  return Effect.forEach(config.spec?.files ?? [], (file, index) => {
    const field = `spec.files[${index}]`
    const { path, content, permissions } = file
    if ((content === undefined) === (file.contentFrom === undefined))
      return Effect.fail(inputFailure(INVALID, `${field} needs exactly one of content and contentFrom.`))
    const bytes: Effect.Effect<string | Uint8Array, Failure> =
      file.contentFrom === undefined
        ? Effect.succeed(content ?? "")
        : contentFrom(kube, namespace, `${field}.contentFrom`, file.contentFrom)
    return Effect.map(bytes, (value): FileInput => ({ path, content: value, permissions }))
  })
}

const customUserDataOf = (
  kube: KubeClientShape,
  config: BootstrapConfig
): Effect.Effect<Uint8Array | undefined, Failure> => {
  const source = config.spec?.customUserDataRef
  return source === undefined
    ? Effect.succeed(undefined)
    : contentFrom(kube, config.metadata.namespace ?? "", "spec.customUserDataRef", source)
}

const versionOf = (config: BootstrapConfig, owner: Machine): Effect.Effect<string | undefined, Failure> => {
  const own = config.spec?.version
  const version = Result.flatMap(validateSpecVersion(own ?? ""), () => k0sVersion(own, machineVersion(owner)))
  return Result.isSuccess(version)
    ? Effect.succeed(version.success)
    : Effect.fail(inputFailure(INVALID, version.failure.message))
}

// ---------------------------------------------------------------------------------------------------- all of it

const ingressOf = Effect.fnUntraced(function* (
  hosting: Hosting,
  ca: string
): Effect.fn.Return<Ingress | undefined, Failure> {
  const endpoint = hosting.controlPlane === undefined ? undefined : ingressEndpoint(hosting.controlPlane)
  if (endpoint === undefined) return undefined
  const name = `${hosting.cluster}-ingress-haproxy`
  const secret = yield* readSecret(hosting, name, "IngressCertificate", "certificate of the control plane's ingress")
  return {
    apiHost: endpoint.host,
    konnectivityHost: endpoint.konnectivityHost,
    port: endpoint.port,
    caCert: ca,
    serverCert: yield* textOf(hosting, secret, TLS_CERT, "IngressCertificate"),
    serverKey: yield* textOf(hosting, secret, TLS_KEY, "IngressCertificate")
  }
})

export interface Gathered {
  readonly inputs: Inputs
  readonly cluster: string
  readonly workload: Workload
}

/** Everything the data is rendered from; the client of the workload cluster lives as long as the scope. */
export const gather = Effect.fnUntraced(function* (
  reader: Reader,
  config: BootstrapConfig,
  around: Surroundings
): Effect.fn.Return<Gathered, Failure, Scope.Scope> {
  const { owner, cluster } = around
  const endpoint = cluster === undefined ? undefined : controlPlaneEndpoint(cluster)
  if (owner === undefined || cluster === undefined || endpoint === undefined)
    return yield* Effect.fail<Failure>({
      reason: "OwnerUnknown",
      message: `The owner Machine of ${keyOf(config)}, its Cluster or the control plane endpoint went away.`,
      retry: "backoff"
    })
  // What the config itself has wrong comes first: a person can mend it at once.
  const version = yield* versionOf(config, owner)
  const files = yield* filesOf(reader.kube, config)
  const customUserData = yield* customUserDataOf(reader.kube, config)
  const hosting = yield* hostingOf(reader, config, around)
  const name = Names.certificateSecretName(hosting.cluster, "ca")
  const certificate = yield* readSecret(hosting, name, "CertificateAuthority", "certificate authority of the cluster")
  const ca = yield* textOf(hosting, certificate, TLS_CERT, "CertificateAuthority")
  const ingress = yield* ingressOf(hosting, ca)
  return {
    inputs: {
      machineName: owner.metadata.name,
      version,
      ca,
      server: workerJoinServer(endpoint, ingress),
      files,
      ingress,
      customUserData
    },
    cluster: hosting.cluster,
    workload: yield* openWorkload(reader, hosting)
  }
})
