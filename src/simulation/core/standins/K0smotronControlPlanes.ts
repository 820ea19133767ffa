/**
 * Owns the stand-in for K0smotronControlPlane: it gives the Cluster an endpoint, its Secrets and an API server in memory,
 * and says so. Endpoint: the Cluster's, else `spec.externalAddress` or the
 * simulation's host, port `spec.service.apiPort`, written into the infrastructure object as k0smotron does.
 *
 * Unlike k0smotron:
 * - nothing-hosted: no Pods of a control plane run in the management cluster
 */
import * as Effect from "effect/Effect"
import { Secrets, secretText } from "../../../api/Core.ts"
import { CLUSTER_NAME_LABEL, CONTROL_PLANE_GROUP } from "../../../api/Names.ts"
import type { KubeError } from "../../../kube/KubeError.ts"
import { jsonAt, objectAt, stringAt } from "../../apiserver/Json.ts"
import { ensureFinalizer, LOOK_AGAIN_MILLIS } from "../Core.ts"
import { hasFinalizer, isDeleting, namespaceOf, type Raw, rawKind, refOfKey, withoutFinalizer } from "../Raw.ts"
import type { Tracked } from "../Tracked.ts"
import * as View from "../View.ts"
import type { Again } from "../WorkQueue.ts"
import { ensureAccess } from "./ControlPlaneAccess.ts"
import { available, ensureOwnAuthority, findOwn, notServed, refusalOf, servedEndpoint } from "./OwnControlPlane.ts"
import { ensureLabelled, isHeld, ownerCluster, type Surroundings, writeStatus } from "./Surroundings.ts"

export const K0smotronControlPlanes = rawKind({
  group: CONTROL_PLANE_GROUP,
  kind: "K0smotronControlPlane",
  plural: "k0smotroncontrolplanes",
  versions: ["v1beta1"]
})

export const CONTROL_PLANE_FINALIZER = "machinist.dev/stand-in"
/** k0smotron's own default of `spec.service.apiPort`. */
const DEFAULT_API_PORT = 30443

interface Endpoint {
  readonly host: string
  readonly port: number
}

const ownEndpoint = Effect.fnUntraced(function* (around: Surroundings, controlPlane: Raw) {
  const asked = jsonAt(controlPlane.spec, ["service", "apiPort"])
  const port = typeof asked === "number" && asked > 0 ? asked : undefined
  const external = View.nonEmpty(stringAt(controlPlane.spec, "externalAddress"))
  const served = yield* servedEndpoint(around, namespaceOf(controlPlane))
  const endpoint: Endpoint = {
    host: external ?? served?.host ?? around.controlPlaneHost,
    port: port ?? served?.port ?? DEFAULT_API_PORT
  }
  return endpoint
})

/** Core copies it from there to the Cluster. */
const announce = Effect.fnUntraced(function* (
  around: Surroundings,
  planes: Tracked,
  controlPlane: Raw,
  cluster: Raw,
  own: Endpoint | undefined
): Effect.fn.Return<readonly [Raw, Endpoint], KubeError> {
  const known = View.endpointOf(cluster)
  if (known !== undefined) return [controlPlane, known]
  const reference = View.referenceAt(cluster, "infrastructureRef")
  const found = reference === undefined ? undefined : yield* around.foreign.get(reference)
  const given = found?.object === undefined ? undefined : View.endpointOf(found.object)
  if (given !== undefined) return [controlPlane, given]
  const endpoint = own ?? (yield* ownEndpoint(around, controlPlane))
  const patch = { spec: { controlPlaneEndpoint: { ...endpoint } } }
  if (found?.object === undefined) return [yield* planes.patch(controlPlane, patch), endpoint]
  yield* found.tracked.patch(found.object, patch)
  return [controlPlane, endpoint]
})

/** `spec.remoteHostCluster.kubeconfigRef`, in v1beta1 `spec.kubeconfigRef`. */
const hostingOf = Effect.fnUntraced(function* (around: Surroundings, controlPlane: Raw) {
  const remote = objectAt(controlPlane.spec, "remoteHostCluster", "kubeconfigRef")
  const reference = Object.keys(remote).length > 0 ? remote : objectAt(controlPlane.spec, "kubeconfigRef")
  const name = View.nonEmpty(stringAt(reference, "name"))
  if (name === undefined) return {}
  const namespace = View.nonEmpty(stringAt(reference, "namespace")) ?? namespaceOf(controlPlane)
  const secret = yield* around.kube.get(Secrets, { namespace, name })
  const kubeconfig = secretText(secret, View.nonEmpty(stringAt(reference, "key")) ?? "value") ?? ""
  const kube = yield* around.workloadClusters.client({ namespace, name }, kubeconfig)
  return { hosting: { kube, namespace: namespaceOf(controlPlane) } }
})

const accessOf = (around: Surroundings, controlPlane: Raw, cluster: Raw, endpoint: Endpoint) =>
  Effect.scoped(
    Effect.gen(function* () {
      return yield* ensureAccess(around, {
        controlPlane,
        cluster: cluster.metadata.name,
        endpoint,
        ingressHost: View.nonEmpty(stringAt(controlPlane.spec, "ingress", "apiHost")),
        ...(yield* hostingOf(around, controlPlane))
      })
    })
  )

export const reconcile = Effect.fnUntraced(function* (
  around: Surroundings,
  planes: Tracked,
  key: string
): Effect.fn.Return<Again, KubeError> {
  const found = yield* planes.get(refOfKey(key))
  if (found === undefined) return undefined
  const cluster = yield* ownerCluster(around, found)
  if (isDeleting(found)) {
    if (!hasFinalizer(found, CONTROL_PLANE_FINALIZER)) return undefined
    yield* around.workloads.close(workloadOf(found))
    yield* planes.patch(found, { metadata: { finalizers: withoutFinalizer(found, CONTROL_PLANE_FINALIZER) } })
    return undefined
  }
  if (cluster === undefined || isHeld(found, cluster)) return undefined
  let controlPlane = yield* ensureFinalizer(planes, found, CONTROL_PLANE_FINALIZER)
  controlPlane = yield* ensureLabelled(planes, controlPlane)
  const own = yield* findOwn(around, at(cluster))
  const [announced, endpoint] = yield* announce(around, planes, controlPlane, cluster, own?.endpoint)
  if (own !== undefined) yield* ensureOwnAuthority(around, announced, at(cluster), own)
  else {
    const access = yield* accessOf(around, announced, cluster, endpoint)
    const refusal = yield* refusalOf(around, at(cluster), access)
    if (refusal !== undefined) {
      yield* writeStatus(planes, announced, { ready: false }, notServed(refusal))
      return LOOK_AGAIN_MILLIS
    }
  }
  const replicas = View.replicasOf(announced) ?? 1
  yield* writeStatus(
    planes,
    announced,
    {
      ready: true,
      initialized: true,
      externalManagedControlPlane: true,
      initialization: { controlPlaneInitialized: true },
      version: stringAt(announced.spec, "version"),
      replicas,
      readyReplicas: replicas,
      availableReplicas: replicas,
      upToDateReplicas: replicas
    },
    available(own)
  )
  return undefined
})

/** Also when the Cluster is gone already: core's label says which it was. */
export const workloadOf = (controlPlane: Raw) => ({
  namespace: namespaceOf(controlPlane),
  name: controlPlane.metadata.labels?.[CLUSTER_NAME_LABEL] ?? ""
})

export const at = (cluster: Raw) => ({ namespace: namespaceOf(cluster), name: cluster.metadata.name })
