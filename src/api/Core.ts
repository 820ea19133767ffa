/**
 * Owns the subset of Kubernetes' own kinds that we read or write: Secret, ConfigMap, Node, Namespace, Event, Lease,
 * CustomResourceDefinition. Does not own any of their meaning.
 */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { nullable, opaque, stringMap } from "./Field.ts"
import type { Kind } from "./Kind.ts"
import { objectFields } from "./Meta.ts"

/** Values of `data` are base64: read them with `secretBytes` or `secretText`. */
export const SecretSchema = Schema.Struct({
  ...objectFields,
  type: nullable(Schema.String),
  data: nullable(stringMap),
  immutable: nullable(Schema.Boolean)
})
export interface Secret extends Schema.Schema.Type<typeof SecretSchema> {}

/** Absent also when the value isn't base64 (a real API server never stores such a one). */
export const secretBytes = (secret: Secret, key: string): Uint8Array | undefined => {
  const encoded = secret.data?.[key]
  if (encoded === undefined) return undefined
  const decoded = Base64.decode(encoded)
  return Result.isSuccess(decoded) ? decoded.success : undefined
}

/** The value read as UTF-8. */
export const secretText = (secret: Secret, key: string): string | undefined => {
  const bytes = secretBytes(secret, key)
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes)
}

/** `data` of a Secret to be written. */
export const secretData = (values: Readonly<Record<string, string | Uint8Array>>): Record<string, string> =>
  Object.fromEntries(Object.entries(values).map(([key, value]) => [key, Base64.encode(value)]))

export const ConfigMapSchema = Schema.Struct({
  ...objectFields,
  data: nullable(stringMap),
  binaryData: nullable(stringMap),
  immutable: nullable(Schema.Boolean)
})
export interface ConfigMap extends Schema.Schema.Type<typeof ConfigMapSchema> {}

/** From `data` (text), else from `binaryData` (base64). */
export const configMapBytes = (configMap: ConfigMap, key: string): Uint8Array | undefined => {
  const text = configMap.data?.[key]
  if (text !== undefined) return new TextEncoder().encode(text)
  const encoded = configMap.binaryData?.[key]
  if (encoded === undefined) return undefined
  const decoded = Base64.decode(encoded)
  return Result.isSuccess(decoded) ? decoded.success : undefined
}

export const NodeSchema = Schema.Struct({
  ...objectFields,
  spec: nullable(
    Schema.Struct({
      providerID: nullable(Schema.String),
      unschedulable: nullable(Schema.Boolean),
      taints: nullable(
        Schema.Array(
          Schema.Struct({ key: Schema.String, value: nullable(Schema.String), effect: nullable(Schema.String) })
        )
      )
    })
  ),
  status: nullable(
    Schema.Struct({
      conditions: nullable(
        Schema.Array(
          Schema.Struct({
            type: Schema.String,
            status: Schema.String,
            reason: nullable(Schema.String),
            message: nullable(Schema.String)
          })
        )
      ),
      addresses: nullable(Schema.Array(Schema.Struct({ type: Schema.String, address: Schema.String }))),
      nodeInfo: nullable(
        Schema.Struct({
          kubeletVersion: nullable(Schema.String),
          bootID: nullable(Schema.String),
          machineID: nullable(Schema.String)
        })
      )
    })
  )
})
export interface Node extends Schema.Schema.Type<typeof NodeSchema> {}

export const nodeIsReady = (node: Node): boolean =>
  node.status?.conditions?.some((condition) => condition.type === "Ready" && condition.status === "True") ?? false

export const NamespaceSchema = Schema.Struct({
  ...objectFields,
  status: nullable(Schema.Struct({ phase: nullable(Schema.String) }))
})
export interface Namespace extends Schema.Schema.Type<typeof NamespaceSchema> {}

export const EventSchema = Schema.Struct({
  ...objectFields,
  involvedObject: nullable(
    Schema.Struct({
      apiVersion: nullable(Schema.String),
      kind: nullable(Schema.String),
      namespace: nullable(Schema.String),
      name: nullable(Schema.String),
      uid: nullable(Schema.String),
      resourceVersion: nullable(Schema.String),
      fieldPath: nullable(Schema.String)
    })
  ),
  type: nullable(Schema.String),
  reason: nullable(Schema.String),
  message: nullable(Schema.String),
  action: nullable(Schema.String),
  count: nullable(Schema.Number),
  firstTimestamp: nullable(Schema.String),
  lastTimestamp: nullable(Schema.String),
  eventTime: nullable(Schema.String),
  source: nullable(Schema.Struct({ component: nullable(Schema.String), host: nullable(Schema.String) })),
  reportingComponent: nullable(Schema.String),
  reportingInstance: nullable(Schema.String)
})
/** Named so as not to be taken for the events of an actor. */
export interface KubeEvent extends Schema.Schema.Type<typeof EventSchema> {}

export const LeaseSchema = Schema.Struct({
  ...objectFields,
  spec: nullable(
    Schema.Struct({
      holderIdentity: nullable(Schema.String),
      /** Seconds. */
      leaseDurationSeconds: nullable(Schema.Number),
      /** RFC 3339 with microseconds (metav1.MicroTime). */
      acquireTime: nullable(Schema.String),
      renewTime: nullable(Schema.String),
      leaseTransitions: nullable(Schema.Number)
    })
  )
})
export interface Lease extends Schema.Schema.Type<typeof LeaseSchema> {}

/** Installed and waited for as a whole: spec and status stay opaque. */
export const CustomResourceDefinitionSchema = Schema.Struct({
  ...objectFields,
  spec: nullable(opaque),
  status: nullable(
    Schema.Struct({
      conditions: nullable(
        Schema.Array(Schema.Struct({ type: Schema.String, status: Schema.String, message: nullable(Schema.String) }))
      )
    })
  )
})
export interface CustomResourceDefinition extends Schema.Schema.Type<typeof CustomResourceDefinitionSchema> {}

const core = { group: "", versions: ["v1"] } as const

export const Secrets: Kind<Secret> = {
  ...core,
  kind: "Secret",
  plural: "secrets",
  namespaced: true,
  schema: SecretSchema
}
export const ConfigMaps: Kind<ConfigMap> = {
  ...core,
  kind: "ConfigMap",
  plural: "configmaps",
  namespaced: true,
  schema: ConfigMapSchema
}
export const Nodes: Kind<Node> = { ...core, kind: "Node", plural: "nodes", namespaced: false, schema: NodeSchema }
export const Namespaces: Kind<Namespace> = {
  ...core,
  kind: "Namespace",
  plural: "namespaces",
  namespaced: false,
  schema: NamespaceSchema
}
export const Events: Kind<KubeEvent> = {
  ...core,
  kind: "Event",
  plural: "events",
  namespaced: true,
  schema: EventSchema
}
export const Leases: Kind<Lease> = {
  group: "coordination.k8s.io",
  versions: ["v1"],
  kind: "Lease",
  plural: "leases",
  namespaced: true,
  schema: LeaseSchema
}
export const CustomResourceDefinitions: Kind<CustomResourceDefinition> = {
  group: "apiextensions.k8s.io",
  versions: ["v1"],
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  namespaced: false,
  schema: CustomResourceDefinitionSchema
}
