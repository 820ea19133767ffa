/**
 * Owns how the simulation's hand-written CRDs are put together: columns, loose schemas that name what matters and keep
 * the rest, versions. Does not own any kind (crds.ts, standins/crds.ts).
 */
import type { JsonObject } from "../../kube/KubeClient.ts"

export type Column = JsonObject

export const column = (name: string, jsonPath: string, type = "string", priority?: number): Column => ({
  name,
  type,
  jsonPath,
  ...(priority === undefined ? {} : { priority })
})
/** Shows in `-o wide` only. */
export const wide = (name: string, jsonPath: string, type = "string"): Column => column(name, jsonPath, type, 10)
export const age = column("Age", ".metadata.creationTimestamp", "date")
export const clusterName = column("Cluster", ".spec.clusterName")
export const isTrue = (type: string): string => `.status.conditions[?(@.type=="${type}")].status`
export const ofCluster = column("Cluster", ".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']")

export const text = (description: string): JsonObject => ({ type: "string", description })
export const flag = (description: string): JsonObject => ({ type: "boolean", description })
export const count = (description: string): JsonObject => ({
  type: "integer",
  format: "int32",
  minimum: 0,
  description
})
export const open = (description: string, properties: JsonObject = {}): JsonObject => ({
  type: "object",
  description,
  "x-kubernetes-preserve-unknown-fields": true,
  ...(Object.keys(properties).length === 0 ? {} : { properties })
})

export const reference = (description: string): JsonObject =>
  open(description, {
    apiGroup: text("API group of the object (v1beta2)."),
    apiVersion: text("API group and version of the object (v1beta1)."),
    kind: text("Kind of the object."),
    name: text("Name of the object.")
  })

export const endpoint = open("Where the API server answers.", {
  host: text("Hostname or IP address."),
  port: { type: "integer", format: "int32", minimum: 0, maximum: 65535, description: "Port." }
})

export const conditions: JsonObject = {
  type: "array",
  description: "What the controllers have found.",
  items: open("One condition.", {
    type: text("Type of the condition."),
    status: text("True, False or Unknown."),
    reason: text("Why, in one word."),
    message: text("Why, for people."),
    lastTransitionTime: { type: "string", format: "date-time", description: "When the status changed last." }
  })
}

export const status = (properties: JsonObject): JsonObject =>
  open("Observed state.", {
    conditions,
    observedGeneration: { type: "integer", format: "int64", description: "The generation this was computed from." },
    ...properties
  })

export interface Version {
  readonly name: string
  readonly columns: ReadonlyArray<Column>
  readonly deprecated?: boolean
}

export interface Definition {
  readonly group: string
  readonly kind: string
  readonly plural: string
  readonly description: string
  readonly shortNames?: ReadonlyArray<string>
  /** The last one is stored. */
  readonly versions: ReadonlyArray<Version>
  readonly labels: JsonObject
  readonly spec: JsonObject
  /** Absent: a template. */
  readonly status?: JsonObject
  readonly scale?: boolean
}

const SCALE = {
  specReplicasPath: ".spec.replicas",
  statusReplicasPath: ".status.replicas",
  labelSelectorPath: ".status.selector"
} as const

const versionJson = (definition: Definition, version: Version, storage: boolean): JsonObject => ({
  name: version.name,
  served: true,
  storage,
  ...(version.deprecated === true ? { deprecated: true } : {}),
  ...(definition.status === undefined
    ? {}
    : { subresources: { status: {}, ...(definition.scale === true ? { scale: SCALE } : {}) } }),
  additionalPrinterColumns: version.columns,
  schema: {
    openAPIV3Schema: {
      type: "object",
      description: definition.description,
      properties: {
        apiVersion: text("API group and version of this object's schema."),
        kind: text("Kind of this object."),
        metadata: { type: "object" },
        spec: definition.spec,
        ...(definition.status === undefined ? {} : { status: definition.status })
      }
    }
  }
})

export const crd = (definition: Definition): JsonObject => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `${definition.plural}.${definition.group}`, labels: definition.labels },
  spec: {
    group: definition.group,
    names: {
      kind: definition.kind,
      listKind: `${definition.kind}List`,
      plural: definition.plural,
      singular: definition.kind.toLowerCase(),
      shortNames: definition.shortNames ?? [],
      categories: ["cluster-api"]
    },
    scope: "Namespaced",
    versions: definition.versions.map((version, index) =>
      versionJson(definition, version, index === definition.versions.length - 1)
    )
  }
})
