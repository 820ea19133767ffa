/**
 * Owns what the bootstrap provider finds in a cluster, made of files: a reader that knows nothing but them, the objects
 * around a config, and stand-ins for what the files leave open (owner, Cluster, certificates, token), each of which is
 * told. The rendering itself is the provider's own (actors/).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Around } from "../../actors/BootstrapInputs.ts"
import { type BootstrapConfig, type BootstrapKind, renderers } from "../../actors/BootstrapRenderers.ts"
import type { Reader } from "../../actors/WorkloadAccess.ts"
import {
  type Cluster,
  Clusters,
  type Machine,
  MachineDeployments,
  MachinePools,
  MachineSets,
  type MachineSpec,
  Machines
} from "../../api/ClusterApi.ts"
import { clusterNameOf, controlPlaneEndpoint, machineClusterName } from "../../api/ClusterApiView.ts"
import { Secrets, secretData } from "../../api/Core.ts"
import {
  K0sControllerConfigs,
  K0sWorkerConfigs,
  type K0sWorkerConfigTemplate,
  K0sWorkerConfigTemplates
} from "../../api/K0sConfigs.ts"
import type { Kind, KubeObject } from "../../api/Kind.ts"
import * as Names from "../../api/Names.ts"
import type { KubeClientShape } from "../../kube/KubeClient.ts"
import { KubeError } from "../../kube/KubeError.ts"
import { decodeAs, type FileError, type FileObject } from "./Objects.ts"

export interface OfflineConfig {
  readonly source: FileObject
  readonly kind: BootstrapKind
  readonly config: BootstrapConfig
}

const fromTemplate = (template: K0sWorkerConfigTemplate): BootstrapConfig => {
  const { metadata, spec = {} } = template.spec.template
  return {
    metadata: {
      name: template.metadata.name,
      ...(template.metadata.namespace === undefined ? {} : { namespace: template.metadata.namespace }),
      ...(metadata?.labels === undefined ? {} : { labels: metadata.labels }),
      ...(metadata?.annotations === undefined ? {} : { annotations: metadata.annotations })
    },
    spec
  }
}

/** The bootstrap configs among the objects; a template stands for one that is made from it. */
export const configsOf = (objects: ReadonlyArray<FileObject>): Result.Result<ReadonlyArray<OfflineConfig>, FileError> =>
  Result.all(
    objects.flatMap((source): ReadonlyArray<Result.Result<OfflineConfig, FileError>> => {
      if (source.group !== Names.BOOTSTRAP_GROUP) return []
      const found = (kind: BootstrapKind) => (config: BootstrapConfig) => ({ source, kind, config })
      switch (source.kind) {
        case "K0sWorkerConfig":
          return [Result.map(decodeAs(K0sWorkerConfigs, source, true), found("K0sWorkerConfig"))]
        case "K0sControllerConfig":
          return [Result.map(decodeAs(K0sControllerConfigs, source, true), found("K0sControllerConfig"))]
        case "K0sWorkerConfigTemplate":
          return [
            Result.map(decodeAs(K0sWorkerConfigTemplates, source, true), (template) =>
              found("K0sWorkerConfig")(fromTemplate(template))
            )
          ]
        default:
          return []
      }
    })
  )

// ---------------------------------------------------------------------------------------------------- the reader

const refusal = (verb: string) => (kind: Kind<KubeObject>) =>
  Effect.fail(new KubeError({ reason: "Unavailable", verb, kind: kind.kind, message: "there is no cluster here" }))

const isOf = (kind: Kind<KubeObject>, object: FileObject): boolean =>
  object.kind === kind.kind && object.group === kind.group

const clientOf = (objects: ReadonlyArray<FileObject>): KubeClientShape => ({
  get: (kind, { name, namespace = "" }) => {
    const found = objects.find((one) => isOf(kind, one) && one.name === name && one.namespace === namespace)
    const about = { verb: "get", kind: kind.kind, namespace, name }
    if (found === undefined)
      return Effect.fail(new KubeError({ reason: "NotFound", ...about, message: "it is in none of the files" }))
    return Effect.fromResult(
      Result.mapError(decodeAs(kind, found), ({ message }) => new KubeError({ reason: "Decode", ...about, message }))
    )
  },
  list: refusal("list"),
  watch: (kind) => Stream.fromEffect(refusal("watch")(kind)),
  create: refusal("create"),
  patch: refusal("patch"),
  delete: refusal("delete")
})

/** Nobody is asked: no workload cluster, no load balancer. */
export const readerOf = (objects: ReadonlyArray<FileObject>): Reader => ({
  kube: clientOf(objects),
  clusters: {
    client: (cluster) => refusal("configure")({ ...Clusters, kind: cluster.name }),
    answers: () => Effect.succeed(false)
  }
})

// ---------------------------------------------------------------------------------------------------- surroundings

export interface Choices {
  /** Name of the Machine, if no file has one for the config. */
  readonly machine: string | undefined
  /** A controller that runs: those of the files join through it. */
  readonly joinAddress: string | undefined
}

export interface Surrounded {
  readonly around: Around
  readonly objects: ReadonlyArray<FileObject>
  /** What the files leave open, for people. */
  readonly placeholders: ReadonlyArray<string>
}

const PLACEHOLDER_CLUSTER = "cluster"
export const PLACEHOLDER_ENDPOINT = { host: "control-plane.invalid", port: 6443 } as const
const PLACEHOLDER_PEM = "-----BEGIN CERTIFICATE-----\nPLACEHOLDER\n-----END CERTIFICATE-----\n"
const PLACEHOLDER_KEY = "-----BEGIN PRIVATE KEY-----\nPLACEHOLDER\n-----END PRIVATE KEY-----\n"

const decodedAll = <A extends KubeObject>(kind: Kind<A>, objects: ReadonlyArray<FileObject>, namespace: string) =>
  Result.all(objects.filter((one) => isOf(kind, one) && one.namespace === namespace).map((one) => decodeAs(kind, one)))

const refersTo = (spec: MachineSpec | undefined | null, kind: string, name: string): boolean => {
  const reference = spec?.bootstrap?.configRef
  return reference?.kind === kind && reference.name === name
}

type Owners = Pick<Around, "owner" | "pool">

/** The Machine or MachinePool whose configRef names the config, or a Machine that a MachineDeployment makes of its template. */
const ownerOf = (
  { config, kind, source }: OfflineConfig,
  objects: ReadonlyArray<FileObject>,
  choices: Choices
): Result.Result<Owners, FileError> =>
  Result.gen(function* () {
    const { name, namespace = "" } = config.metadata
    const machines = yield* decodedAll(Machines, objects, namespace)
    const { machine = "" } = choices
    const own = machines.find(
      (one) => refersTo(one.spec, kind, name) && (machine || one.metadata.name) === one.metadata.name
    )
    if (own !== undefined) return { owner: own }
    const pools = yield* decodedAll(MachinePools, objects, namespace)
    const pool = pools.find((one) => refersTo(one.spec?.template?.spec, kind, name))
    if (pool !== undefined) return { owner: undefined, pool }
    const groups = [
      ...(yield* decodedAll(MachineDeployments, objects, namespace)),
      ...(yield* decodedAll(MachineSets, objects, namespace))
    ]
    const group = groups.find((one) => refersTo(one.spec?.template?.spec, source.kind, name))
    const spec = group?.spec?.template?.spec
    return group === undefined || spec === undefined
      ? { owner: undefined }
      : { owner: { metadata: { name: machine || `${group.metadata.name}-0`, namespace }, spec } }
  })

const placeholderMachine = (config: BootstrapConfig, cluster: string, name: string): Machine => ({
  metadata: { name, namespace: config.metadata.namespace ?? "" },
  spec: { clusterName: cluster, bootstrap: {}, infrastructureRef: { kind: "Machine", name } }
})

const withEndpoint = (cluster: Cluster): Cluster => ({
  ...cluster,
  spec: { ...cluster.spec, controlPlaneEndpoint: PLACEHOLDER_ENDPOINT }
})

/** A controller that is up already: the one that the others of the cluster join through. */
const runningController = (namespace: string, address: string): Machine => ({
  metadata: { name: "a-controller-that-runs", namespace },
  spec: { clusterName: PLACEHOLDER_CLUSTER, bootstrap: {}, infrastructureRef: { kind: "Machine", name: "it" } },
  status: { infrastructureReady: true, addresses: [{ type: "ExternalIP", address }] }
})

/** Secrets of the control plane that no file has. */
const certificates = (cluster: string, namespace: string, purposes: ReadonlyArray<string>): ReadonlyArray<FileObject> =>
  purposes.map((purpose) => {
    const name = `${cluster}-${purpose}`
    const data = secretData({ "tls.crt": PLACEHOLDER_PEM, "tls.key": PLACEHOLDER_KEY })
    const value = { metadata: { name, namespace }, data }
    return { origin: "placeholder", group: "", kind: Secrets.kind, namespace, name, value }
  })

export const surround = (
  one: OfflineConfig,
  objects: ReadonlyArray<FileObject>,
  choices: Choices
): Result.Result<Surrounded, FileError> =>
  Result.gen(function* () {
    const { config } = one
    const namespace = config.metadata.namespace ?? ""
    const placeholders: Array<string> = []
    const found = yield* ownerOf(one, objects, choices)
    const clusters = yield* decodedAll(Clusters, objects, namespace)
    const { owner: given, pool } = found
    const named =
      (given === undefined ? undefined : machineClusterName(given)) ?? pool?.spec?.clusterName ?? clusterNameOf(config)
    const clusterName = named ?? (clusters.length === 1 ? clusters[0]?.metadata.name : undefined) ?? PLACEHOLDER_CLUSTER
    const machine = choices.machine ?? config.metadata.name
    if (given === undefined && pool === undefined)
      placeholders.push(`no Machine in the files has this config: it is rendered for Machine ${machine}`)
    const owner = given ?? (pool === undefined ? placeholderMachine(config, clusterName, machine) : undefined)
    const cluster = clusters.find((each) => each.metadata.name === clusterName) ?? {
      metadata: { name: clusterName, namespace }
    }
    const isOpen = controlPlaneEndpoint(cluster) === undefined
    if (isOpen)
      placeholders.push(
        `Cluster ${clusterName} has no control plane endpoint in the files: ${PLACEHOLDER_ENDPOINT.host} stands for it`
      )
    const secrets = certificates(clusterName, namespace, ["ca", "sa", "proxy", "etcd", "ingress-haproxy"])
    const has = (name: string) =>
      objects.some((each) => isOf(Secrets, each) && each.namespace === namespace && each.name === name)
    if (!has(`${clusterName}-ca`))
      placeholders.push(`Secret ${clusterName}-ca is not in the files: certificates are placeholders`)
    const peers = choices.joinAddress === undefined ? [] : [runningController(namespace, choices.joinAddress)]
    const controllers =
      renderers[one.kind].role === "controller"
        ? { controllers: [...(owner === undefined ? [] : [owner]), ...peers] }
        : {}
    return {
      around: {
        owner,
        ...(pool === undefined ? {} : { pool }),
        cluster: isOpen ? withEndpoint(cluster) : cluster,
        ...controllers
      },
      objects: [...objects, ...secrets.filter((secret) => !has(secret.name))],
      placeholders
    }
  })
