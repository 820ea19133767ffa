/**
 * Owns what a bootstrap config is rendered from, put together: contents, certificates, and where the machine joins. Every
 * failure names the object, the cause and the remedy. The way to other clusters is WorkloadAccess.ts's; writes nothing.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { controlPlaneEndpoint } from "../api/ClusterApiView.ts"
import { ingressEndpoint } from "../api/ControlPlanes.ts"
import * as Names from "../api/Names.ts"
import type { Failure } from "../domain/Bootstrap.ts"
import type { Ingress } from "../domain/bootstrap/Ingress.ts"
import { controllerRole } from "../domain/ControllerRole.ts"
import type { CertificatePair, ClusterCertificates } from "../domain/ControllerScript.ts"
import { controllerJoinServer, workerJoinServer } from "../domain/JoinToken.ts"
import { k0sVersion, validateSpecVersion } from "../domain/K0sVersion.ts"
import { customUserDataOf, filesOf } from "./BootstrapContents.ts"
import { type Around, clusterName, k0sApiPort, type Owner, ownerOf } from "./BootstrapInputs.ts"
import type { BootstrapConfig, BootstrapRole, ControllerInputs, Inputs } from "./BootstrapRenderers.ts"
import { keyOf } from "./Objects.ts"
import {
  type Hosting,
  hostingOf,
  INVALID,
  inputFailure,
  openWorkload,
  type Reader,
  readSecret,
  type Target,
  textOf,
  type Workload
} from "./WorkloadAccess.ts"

const TLS_CERT = "tls.crt"
const TLS_KEY = "tls.key"

/** Whose workload cluster a config's machine belongs to. */
export const targetOf = (config: BootstrapConfig, around: Around): Effect.Effect<Target, Failure> => {
  const name = clusterName(config, around)
  return name === undefined
    ? Effect.fail(
        inputFailure("ClusterUnknown", `${keyOf(config)} has neither a Cluster nor label ${Names.CLUSTER_NAME_LABEL}.`)
      )
    : Effect.succeed({ namespace: config.metadata.namespace ?? "", name, cluster: around.cluster })
}

/** A worker's own version is as people write it; a controller's comes from its control plane, like an owner's. */
const versionOf = (
  config: BootstrapConfig,
  role: BootstrapRole,
  owner: Owner
): Effect.Effect<string | undefined, Failure> => {
  const own = config.spec?.version
  const checked = role === "controller" ? Result.succeed(own ?? "") : validateSpecVersion(own ?? "")
  const version = Result.flatMap(checked, () => k0sVersion(own, owner.version))
  return Result.isSuccess(version)
    ? Effect.succeed(version.success)
    : Effect.fail(inputFailure(INVALID, version.failure.message))
}

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

// ---------------------------------------------------------------------------------------------------- controllers

/** What each of them guards, for whoever finds that it is missing. */
const PURPOSES = {
  ca: ["CertificateAuthority", "certificate authority of the cluster"],
  sa: ["ServiceAccountKey", "key that service account tokens are signed with"],
  proxy: ["FrontProxyAuthority", "certificate authority of the front proxy"],
  etcd: ["EtcdAuthority", "certificate authority of etcd"]
} as const

const certificatePair = Effect.fnUntraced(function* (
  hosting: Hosting,
  purpose: keyof typeof PURPOSES
): Effect.fn.Return<CertificatePair, Failure> {
  const [reason, whose] = PURPOSES[purpose]
  const secret = yield* readSecret(hosting, Names.certificateSecretName(hosting.cluster, purpose), reason, whose)
  return {
    cert: yield* textOf(hosting, secret, TLS_CERT, reason),
    key: yield* textOf(hosting, secret, TLS_KEY, reason)
  }
})

const certificatesOf = (hosting: Hosting): Effect.Effect<ClusterCertificates, Failure> =>
  Effect.all({
    ca: certificatePair(hosting, "ca"),
    sa: certificatePair(hosting, "sa"),
    proxy: certificatePair(hosting, "proxy"),
    etcd: certificatePair(hosting, "etcd")
  })

/** Where the others ask for the cluster's certificates: a load balancer that knows the way, else a controller itself. */
const joinServer = Effect.fnUntraced(function* (
  reader: Reader,
  config: BootstrapConfig,
  endpointHost: string,
  address: string,
  ca: string
): Effect.fn.Return<string> {
  const port = k0sApiPort(config)
  const shared = controllerJoinServer(endpointHost, port)
  return (yield* reader.clusters.answers(`${shared}/v1beta1/ca`, ca)) ? shared : controllerJoinServer(address, port)
})

const controllerJoin = Effect.fnUntraced(function* (
  reader: Reader,
  config: BootstrapConfig,
  { controllers = [], owner }: Around,
  endpointHost: string,
  hosting: Hosting,
  ca: string
): Effect.fn.Return<ControllerInputs["join"], Failure> {
  const role = owner === undefined ? undefined : controllerRole(owner, controllers)
  switch (role?.as) {
    case "first":
      return { as: "first", certificates: yield* certificatesOf(hosting) }
    case "joining":
      return { as: "joining", server: yield* joinServer(reader, config, endpointHost, role.address, ca) }
    default:
      return yield* Effect.fail(wentAway(config))
  }
})

// ---------------------------------------------------------------------------------------------------- all of it

const wentAway = (config: BootstrapConfig): Failure => ({
  reason: "OwnerUnknown",
  message: `What ${keyOf(config)} needs (its owner, the Cluster with its endpoint, a running controller) went away.`,
  retry: "backoff"
})

export interface Gathered {
  readonly inputs: Inputs
  readonly cluster: string
  /** Opened when it is asked for: the first controller's is not there yet. Lives as long as the scope. */
  readonly workload: Effect.Effect<Workload, Failure, Scope.Scope>
}

/** Everything the data is rendered from. */
export const gather = Effect.fnUntraced(function* (
  reader: Reader,
  role: BootstrapRole,
  config: BootstrapConfig,
  around: Around
): Effect.fn.Return<Gathered, Failure, Scope.Scope> {
  const { cluster } = around
  const owner = ownerOf(around)
  const endpoint = cluster === undefined ? undefined : controlPlaneEndpoint(cluster)
  if (owner === undefined || cluster === undefined || endpoint === undefined)
    return yield* Effect.fail(wentAway(config))
  // What the config itself has wrong comes first: a person can mend it at once.
  const version = yield* versionOf(config, role, owner)
  const files = yield* filesOf(reader.kube, config, role)
  const customUserData = yield* customUserDataOf(reader.kube, config)
  const hosting = yield* hostingOf(reader, yield* targetOf(config, around))
  const authority = yield* readSecret(hosting, Names.certificateSecretName(hosting.cluster, "ca"), ...PURPOSES.ca)
  const ca = yield* textOf(hosting, authority, TLS_CERT, PURPOSES.ca[0])
  const common = { machineName: owner.machineName, version, ca, files, customUserData }
  const workload = openWorkload(reader, hosting)
  if (role === "controller") {
    const join = yield* controllerJoin(reader, config, around, endpoint.host, hosting, ca)
    return { inputs: { role, ...common, join }, cluster: hosting.cluster, workload }
  }
  const ingress = yield* ingressOf(hosting, ca)
  const server = workerJoinServer(endpoint, ingress)
  return { inputs: { role, ...common, server, ingress }, cluster: hosting.cluster, workload }
})
