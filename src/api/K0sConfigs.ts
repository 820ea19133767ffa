/**
 * Owns the bootstrap configurations: K0sWorkerConfig, K0sWorkerConfigTemplate and K0sControllerConfig.
 * Does not own what they become (domain/BootstrapScript.ts) nor when (domain/Bootstrap.ts).
 */
import * as Schema from "effect/Schema"
import { BootstrapStatusSchema, bootstrapFields, userDataRule, versionHints } from "./BootstrapParts.ts"
import {
  ageColumn,
  type Column,
  clusterColumn,
  type Definition,
  machineOwnerColumn,
  messageColumn,
  reasonColumn
} from "./Definition.ts"
import { type CrdHints, field, opaque, optional, status } from "./Field.ts"
import { objectFields, TemplateMetaSchema } from "./Meta.ts"
import { API_VERSION, BOOTSTRAP_GROUP } from "./Names.ts"

const K0sWorkerConfigSpecSchema = Schema.Struct({
  version: optional(
    Schema.String,
    "Version of k0s, such as v1.27.2+k0s.0. Default: the Machine's version, else the latest. It must suit the control plane's.",
    versionHints.worker
  ),
  ...bootstrapFields("worker", "exactlyOne")
})
export interface K0sWorkerConfigSpec extends Schema.Schema.Type<typeof K0sWorkerConfigSpecSchema> {}

const specHints: CrdHints = { "x-kubernetes-validations": [userDataRule] }

export const K0sWorkerConfigSchema = Schema.Struct({
  ...objectFields,
  spec: optional(K0sWorkerConfigSpecSchema, "Desired state of the K0sWorkerConfig; may be empty.", specHints),
  status: status(field(BootstrapStatusSchema, "Observed state of the K0sWorkerConfig."))
})
export interface K0sWorkerConfig extends Schema.Schema.Type<typeof K0sWorkerConfigSchema> {}

const configColumns: ReadonlyArray<Column> = [
  clusterColumn,
  machineOwnerColumn,
  { name: "Phase", type: "string", jsonPath: ".status.phase", description: "State that the configuration is in." },
  { name: "Ready", type: "boolean", jsonPath: ".status.ready", description: "Whether the bootstrap data is there." },
  reasonColumn,
  { name: "Version", type: "string", jsonPath: ".spec.version", description: "Version of k0s.", priority: 1 },
  {
    name: "Secret",
    type: "string",
    jsonPath: ".status.dataSecretName",
    description: "Secret with the bootstrap data.",
    priority: 1
  },
  messageColumn,
  ageColumn
]

export const K0sWorkerConfigs: Definition<K0sWorkerConfig> = {
  group: BOOTSTRAP_GROUP,
  versions: [API_VERSION],
  kind: "K0sWorkerConfig",
  plural: "k0sworkerconfigs",
  namespaced: true,
  schema: K0sWorkerConfigSchema,
  description: "K0sWorkerConfig is how a machine becomes a k0s worker. It ends as a Secret with bootstrap data.",
  provider: "bootstrap",
  shortNames: ["kwc"],
  hasStatus: true,
  columns: configColumns
}

export const K0sWorkerConfigTemplateSchema = Schema.Struct({
  ...objectFields,
  spec: field(
    Schema.Struct({
      template: field(
        Schema.Struct({
          metadata: optional(TemplateMetaSchema, "Metadata of the K0sWorkerConfigs made from the template."),
          spec: optional(
            K0sWorkerConfigSpecSchema,
            "Spec of the K0sWorkerConfigs made from the template; may be empty.",
            specHints
          )
        }),
        "What a K0sWorkerConfig made from this template looks like."
      )
    }),
    "Desired state of the K0sWorkerConfigTemplate."
  )
})
export interface K0sWorkerConfigTemplate extends Schema.Schema.Type<typeof K0sWorkerConfigTemplateSchema> {}

export const K0sWorkerConfigTemplates: Definition<K0sWorkerConfigTemplate> = {
  group: BOOTSTRAP_GROUP,
  versions: [API_VERSION],
  kind: "K0sWorkerConfigTemplate",
  plural: "k0sworkerconfigtemplates",
  namespaced: true,
  schema: K0sWorkerConfigTemplateSchema,
  description: "K0sWorkerConfigTemplate is what a MachineDeployment makes K0sWorkerConfigs from.",
  provider: "bootstrap",
  shortNames: ["kwct"],
  hasStatus: false,
  columns: [
    {
      name: "Version",
      type: "string",
      jsonPath: ".spec.template.spec.version",
      description: "Version of k0s.",
      priority: 1
    },
    ageColumn
  ]
}

const nodePort = { format: "int32", minimum: 0, maximum: 65535 } as const

const TunnelingSchema = Schema.Struct({
  enabled: optional(Schema.Boolean, "Whether the control plane is reached through a tunnel.", { default: false }),
  serverAddress: optional(Schema.String, "Address of the tunnel's server.", { maxLength: 512 }),
  serverNodePort: optional(Schema.Int, "Node port of the tunnel's server.", { default: 31700, ...nodePort }),
  tunnelingNodePort: optional(Schema.Int, "Node port of the tunnelled API server.", { default: 31443, ...nodePort }),
  mode: optional(Schema.Literals(["tunnel", "proxy"]), "How the tunnel is used.", { default: "tunnel" })
})

const K0sControllerConfigSpecSchema = Schema.Struct({
  version: field(
    Schema.String,
    "Version of k0s, such as v1.27.2+k0s.0. Set by the control plane provider.",
    versionHints.controller
  ),
  k0s: optional(
    opaque,
    "Configuration of k0s (k0s.k0sproject.io/v1beta1 ClusterConfig), written to the host as /etc/k0s.yaml.",
    { "x-kubernetes-preserve-unknown-fields": true }
  ),
  ...bootstrapFields("controller", "atMostOne"),
  tunneling: optional(
    TunnelingSchema,
    "Tunnel to the control plane. Accepted for compatibility, and refused by a condition when enabled."
  )
})
export interface K0sControllerConfigSpec extends Schema.Schema.Type<typeof K0sControllerConfigSpecSchema> {}

export const K0sControllerConfigSchema = Schema.Struct({
  ...objectFields,
  spec: field(K0sControllerConfigSpecSchema, "Desired state of the K0sControllerConfig.", specHints),
  status: status(field(BootstrapStatusSchema, "Observed state of the K0sControllerConfig."))
})
export interface K0sControllerConfig extends Schema.Schema.Type<typeof K0sControllerConfigSchema> {}

export const K0sControllerConfigs: Definition<K0sControllerConfig> = {
  group: BOOTSTRAP_GROUP,
  versions: [API_VERSION],
  kind: "K0sControllerConfig",
  plural: "k0scontrollerconfigs",
  namespaced: true,
  schema: K0sControllerConfigSchema,
  description:
    "K0sControllerConfig is how a machine becomes a k0s controller. K0sControlPlane makes one for each of its machines.",
  provider: "bootstrap",
  shortNames: ["kcc"],
  hasStatus: true,
  columns: configColumns
}
