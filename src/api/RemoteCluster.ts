/**
 * Owns RemoteCluster and RemoteClusterTemplate: the placeholder that CAPI's contract wants where there is no
 * infrastructure to make. Does not own their behaviour (actors/ClusterActor.ts).
 */
import * as Schema from "effect/Schema"
import { ageColumn, clusterColumn, type Definition, messageColumn, reasonColumn } from "./Definition.ts"
import { field, optional, status } from "./Field.ts"
import { conditionsField, EndpointSchema, objectFields, observedGenerationField, TemplateMetaSchema } from "./Meta.ts"
import { API_VERSION, INFRASTRUCTURE_GROUP } from "./Names.ts"

const RemoteClusterSpecSchema = Schema.Struct({
  controlPlaneEndpoint: optional(
    EndpointSchema,
    "Endpoint of the control plane. Set by a person, or by the control plane provider; never by this one."
  )
})
export interface RemoteClusterSpec extends Schema.Schema.Type<typeof RemoteClusterSpecSchema> {}

const RemoteClusterStatusSchema = Schema.Struct({
  ready: optional(Schema.Boolean, "True once there is nothing to wait for (contract v1beta1).", { default: false }),
  initialization: optional(
    Schema.Struct({
      provisioned: optional(
        Schema.Boolean,
        "True once there was nothing to wait for; never goes back (contract v1beta2)."
      )
    }),
    "What has been reached once and for all."
  ),
  conditions: conditionsField,
  observedGeneration: observedGenerationField
})
export interface RemoteClusterStatus extends Schema.Schema.Type<typeof RemoteClusterStatusSchema> {}

export const RemoteClusterSchema = Schema.Struct({
  ...objectFields,
  spec: optional(RemoteClusterSpecSchema, "Desired state of the RemoteCluster; may be empty."),
  status: status(field(RemoteClusterStatusSchema, "Observed state of the RemoteCluster."))
})
export interface RemoteCluster extends Schema.Schema.Type<typeof RemoteClusterSchema> {}

export const RemoteClusters: Definition<RemoteCluster> = {
  group: INFRASTRUCTURE_GROUP,
  versions: [API_VERSION],
  kind: "RemoteCluster",
  plural: "remoteclusters",
  namespaced: true,
  schema: RemoteClusterSchema,
  description:
    "RemoteCluster is the infrastructure of a Cluster whose machines are existing hosts reached by SSH. There is nothing to make, so it is ready at once.",
  provider: "infrastructure",
  shortNames: ["rcl"],
  hasStatus: true,
  columns: [
    clusterColumn,
    { name: "Ready", type: "boolean", jsonPath: ".status.ready", description: "Whether the cluster may go on." },
    {
      name: "Endpoint",
      type: "string",
      jsonPath: ".spec.controlPlaneEndpoint.host",
      description: "Host of the control plane endpoint."
    },
    { ...reasonColumn, priority: 1 },
    messageColumn,
    ageColumn
  ]
}

export const RemoteClusterTemplateSchema = Schema.Struct({
  ...objectFields,
  spec: field(
    Schema.Struct({
      template: field(
        Schema.Struct({
          metadata: optional(TemplateMetaSchema, "Metadata of the RemoteClusters made from the template."),
          spec: optional(RemoteClusterSpecSchema, "Spec of the RemoteClusters made from the template; may be empty.")
        }),
        "What a RemoteCluster made from this template looks like."
      )
    }),
    "Desired state of the RemoteClusterTemplate."
  )
})
export interface RemoteClusterTemplate extends Schema.Schema.Type<typeof RemoteClusterTemplateSchema> {}

export const RemoteClusterTemplates: Definition<RemoteClusterTemplate> = {
  group: INFRASTRUCTURE_GROUP,
  versions: [API_VERSION],
  kind: "RemoteClusterTemplate",
  plural: "remoteclustertemplates",
  namespaced: true,
  schema: RemoteClusterTemplateSchema,
  description: "RemoteClusterTemplate is what a ClusterClass makes RemoteClusters from.",
  provider: "infrastructure",
  shortNames: ["rclt"],
  hasStatus: false,
  columns: [ageColumn]
}
