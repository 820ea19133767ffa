/**
 * Owns the Secrets by which a stand-in control plane is reached and joined: `<cluster>-{ca,proxy,etcd,sa}`,
 * `<cluster>-kubeconfig`, and `<cluster>-ingress-haproxy` where it has an ingress. What is there is kept, whoever made it.
 * Does not own the API server that they lead to (SimulatedWorkloads.ts).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"
import { type Secret, Secrets, secretData, secretText } from "../../../api/Core.ts"
import * as Names from "../../../api/Names.ts"
import type { KubeClientShape } from "../../../kube/KubeClient.ts"
import type { KubeError } from "../../../kube/KubeError.ts"
import { accessIn, kubeconfigText, type WorkloadAccess } from "../KubeconfigSecret.ts"
import { STAND_IN_ANNOTATION } from "../Names.ts"
import { namespaceOf, ownerJson, type Raw } from "../Raw.ts"
import * as Certificates from "./Certificates.ts"
import type { Surroundings } from "./Surroundings.ts"

const TOKEN_BYTES = 16

export interface AccessInput {
  readonly controlPlane: Raw
  readonly cluster: string
  readonly endpoint: { readonly host: string; readonly port: number }
  /** Where else the Secrets are wanted: in the cluster that hosts the control plane. */
  readonly hosting?: { readonly kube: KubeClientShape; readonly namespace: string }
  readonly ingressHost?: string | undefined
}

interface Place {
  readonly kube: KubeClientShape
  readonly namespace: string
  /** Owners don't reach across clusters. */
  readonly owner: Raw | undefined
  readonly cluster: string
}

const read = ({ kube, namespace }: Place, name: string): Effect.Effect<Secret | undefined, KubeError> =>
  kube.get(Secrets, { namespace, name }).pipe(
    Effect.catchIf(
      (error) => error.reason === "NotFound",
      () => Effect.succeed(undefined)
    )
  )

const write = (
  place: Place,
  name: string,
  values: Readonly<Record<string, string>>
): Effect.Effect<Secret, KubeError> =>
  place.kube.create(Secrets, {
    metadata: {
      name,
      namespace: place.namespace,
      labels: { [Names.CLUSTER_NAME_LABEL]: place.cluster },
      annotations: { [STAND_IN_ANNOTATION]: "true" },
      ...(place.owner === undefined ? {} : { ownerReferences: [ownerJson(place.owner, "controller")] })
    },
    type: Names.CLUSTER_SECRET_TYPE,
    data: secretData(values)
  })

/** Bytes of a PEM are those of the Secret: one that is there wins over one just made. */
const ensure = Effect.fnUntraced(function* (
  place: Place,
  name: string,
  make: Effect.Effect<Readonly<Record<string, string>>>
): Effect.fn.Return<Secret, KubeError> {
  return (yield* read(place, name)) ?? (yield* write(place, name, yield* make))
})

const PURPOSES = ["ca", "proxy", "etcd"] as const

const certificates = Effect.fnUntraced(function* (around: Surroundings, place: Place) {
  const seed = around.random.randomBytes(Certificates.KEY_SEED_BYTES)
  const authority = (purpose: (typeof PURPOSES)[number]) =>
    Effect.gen(function* () {
      const made = Certificates.selfSigned(commonName(place, purpose), yield* seed, yield* Clock.currentTimeMillis)
      return { "tls.crt": made.certificate, "tls.key": made.privateKey }
    })
  for (const purpose of PURPOSES) {
    yield* ensure(place, Names.certificateSecretName(place.cluster, purpose), authority(purpose))
  }
  const account = Effect.map(Effect.map(seed, Certificates.keyPair), (keys) => ({
    "tls.crt": keys.publicKey,
    "tls.key": keys.privateKey
  }))
  yield* ensure(place, Names.certificateSecretName(place.cluster, "sa"), account)
})

const commonName = (place: Place, purpose: string): string => `${place.cluster}-${purpose}`

const ingress = (around: Surroundings, place: Place, authority: Secret, host: string) =>
  ensure(
    place,
    `${place.cluster}-ingress-haproxy`,
    Effect.gen(function* () {
      const seed = yield* around.random.randomBytes(Certificates.KEY_SEED_BYTES)
      const ca = { commonName: commonName(place, "ca"), privateKey: secretText(authority, "tls.key") ?? "" }
      const made = Certificates.serverCertificate(ca, host, seed, yield* Clock.currentTimeMillis)
      return { "tls.crt": made.certificate, "tls.key": made.privateKey }
    })
  )

const kubeconfig = Effect.fnUntraced(function* (
  around: Surroundings,
  place: Place,
  server: string,
  ca: string
): Effect.fn.Return<WorkloadAccess, KubeError> {
  const name = Names.kubeconfigSecretName(place.cluster)
  const there = yield* read(place, name)
  const known = there === undefined ? undefined : accessIn(secretText(there, Names.SECRET_VALUE_KEY) ?? "")
  if (known !== undefined && known.server === server && known.ca === ca) return known
  const token = known?.token ?? Hex.encode(yield* around.random.randomBytes(TOKEN_BYTES))
  const access = { server, ca, token }
  const values = { [Names.SECRET_VALUE_KEY]: kubeconfigText(place.cluster, access) }
  if (there === undefined) yield* write(place, name, values)
  else yield* place.kube.patch(Secrets, { namespace: place.namespace, name }, { data: secretData(values) })
  return access
})

/** Both places get the same bytes: what is in the hosting cluster is read from there. */
export const ensureAccess = Effect.fnUntraced(function* (
  around: Surroundings,
  input: AccessInput
): Effect.fn.Return<WorkloadAccess, KubeError> {
  const { cluster, controlPlane, endpoint, hosting, ingressHost } = input
  const here: Place = { kube: around.kube, namespace: namespaceOf(controlPlane), owner: controlPlane, cluster }
  const place: Place = hosting === undefined ? here : { ...hosting, owner: undefined, cluster }
  yield* certificates(around, place)
  const name = Names.certificateSecretName(cluster, "ca")
  const authority = yield* read(place, name)
  const ca = authority === undefined ? undefined : secretText(authority, "tls.crt")
  if (authority !== undefined && ingressHost !== undefined) yield* ingress(around, place, authority, ingressHost)
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host
  const access = yield* kubeconfig(around, place, `https://${host}:${endpoint.port}`, ca ?? "")
  if (hosting !== undefined) {
    const values = { [Names.SECRET_VALUE_KEY]: kubeconfigText(cluster, access) }
    yield* ensure(here, Names.kubeconfigSecretName(cluster), Effect.succeed(values))
  }
  return { ...access, authorityKey: authority === undefined ? undefined : secretText(authority, "tls.key") }
})
