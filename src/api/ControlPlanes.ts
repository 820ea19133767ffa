/**
 * Owns the read-only subset of k0smotron's control planes that bootstrapping needs: K0smotronControlPlane (runs in a
 * management or hosting cluster) and K0sControlPlane (runs on machines). Does not own, write or install them.
 */
import * as Schema from "effect/Schema"
import { nullable } from "./Field.ts"
import type { Kind } from "./Kind.ts"
import { objectFields } from "./Meta.ts"
import { CONTROL_PLANE_GROUP, SECRET_VALUE_KEY } from "./Names.ts"

const KubeconfigRefSchema = Schema.Struct({
  name: nullable(Schema.String),
  namespace: nullable(Schema.String),
  key: nullable(Schema.String)
})

export const K0smotronControlPlaneSchema = Schema.Struct({
  ...objectFields,
  spec: nullable(
    Schema.Struct({
      version: nullable(Schema.String),
      /** Where k0smotron's v1beta1 has it. */
      kubeconfigRef: nullable(KubeconfigRefSchema),
      /** Where its v1beta2 has it. */
      remoteHostCluster: nullable(Schema.Struct({ kubeconfigRef: nullable(KubeconfigRefSchema) })),
      ingress: nullable(
        Schema.Struct({
          apiHost: nullable(Schema.String),
          konnectivityHost: nullable(Schema.String),
          port: nullable(Schema.Number)
        })
      )
    })
  )
})
export interface K0smotronControlPlane extends Schema.Schema.Type<typeof K0smotronControlPlaneSchema> {}

export const K0sControlPlaneSchema = Schema.Struct({
  ...objectFields,
  spec: nullable(Schema.Struct({ version: nullable(Schema.String), replicas: nullable(Schema.Number) }))
})
export interface K0sControlPlane extends Schema.Schema.Type<typeof K0sControlPlaneSchema> {}

/** k0smotron's own default. */
export const DEFAULT_INGRESS_PORT = 443

/** The Secret with the kubeconfig of the cluster that hosts the control plane; absent: the management cluster does. */
export const hostingKubeconfig = (
  controlPlane: K0smotronControlPlane
): { readonly name: string; readonly namespace: string | undefined; readonly key: string } | undefined => {
  const reference = controlPlane.spec?.remoteHostCluster?.kubeconfigRef ?? controlPlane.spec?.kubeconfigRef
  if (reference?.name === undefined || reference.name === "") return undefined
  return {
    name: reference.name,
    namespace: reference.namespace ?? controlPlane.metadata.namespace,
    key: reference.key ?? SECRET_VALUE_KEY
  }
}

/** Where workers reach the API server through an ingress. */
export const ingressEndpoint = (
  controlPlane: K0smotronControlPlane
): { readonly host: string; readonly port: number; readonly konnectivityHost?: string } | undefined => {
  const ingress = controlPlane.spec?.ingress
  if (ingress?.apiHost === undefined || ingress.apiHost === "") return undefined
  const { apiHost: host, konnectivityHost, port } = ingress
  return {
    host,
    // Go writes an unset port as 0.
    port: port === undefined || port === 0 ? DEFAULT_INGRESS_PORT : port,
    ...(konnectivityHost === undefined || konnectivityHost === "" ? {} : { konnectivityHost })
  }
}

const k0smotron = { group: CONTROL_PLANE_GROUP, versions: ["v1beta1"], namespaced: true } as const

export const K0smotronControlPlanes: Kind<K0smotronControlPlane> = {
  ...k0smotron,
  kind: "K0smotronControlPlane",
  plural: "k0smotroncontrolplanes",
  schema: K0smotronControlPlaneSchema
}
export const K0sControlPlanes: Kind<K0sControlPlane> = {
  ...k0smotron,
  kind: "K0sControlPlane",
  plural: "k0scontrolplanes",
  schema: K0sControlPlaneSchema
}
