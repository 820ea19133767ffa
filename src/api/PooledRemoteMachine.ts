/**
 * Owns PooledRemoteMachine: one host of a pool, and who holds it.
 * Does not own who may take it (domain/Pool.ts): the claim is an annotation, the status only shows it.
 */
import * as Schema from "effect/Schema"
import { ageColumn, type Definition, messageColumn, reasonColumn } from "./Definition.ts"
import { field, MAX_NAME_LENGTH, optional, status } from "./Field.ts"
import { conditionsField, objectFields, observedGenerationField, SecretRefSchema } from "./Meta.ts"
import { API_VERSION, INFRASTRUCTURE_GROUP, MOVE_LABEL } from "./Names.ts"
import { hostFields, MAX_ADDRESS_LENGTH } from "./RemoteMachine.ts"

const PooledRemoteMachineSpecSchema = Schema.Struct({
  pool: field(Schema.String, "Pool that the host belongs to.", { minLength: 1, maxLength: MAX_NAME_LENGTH }),
  machine: field(
    Schema.Struct({
      address: field(Schema.String, "IP address or DNS name of the host.", {
        minLength: 1,
        maxLength: MAX_ADDRESS_LENGTH
      }),
      ...hostFields,
      sshKeyRef: field(SecretRefSchema, "Secret with the SSH private key, in the namespace of this object.")
    }),
    "The host: how it is reached and used."
  )
})
export interface PooledRemoteMachineSpec extends Schema.Schema.Type<typeof PooledRemoteMachineSpecSchema> {}

export const PooledRemoteMachinePhase = Schema.Literals([
  "Free",
  "Reserved",
  "Orphaned",
  "Suspect",
  "Unclean",
  "Quarantined",
  "Maintenance",
  "Refused"
])
export type PooledRemoteMachinePhase = typeof PooledRemoteMachinePhase.Type

const PooledRemoteMachineStatusSchema = Schema.Struct({
  reserved: optional(Schema.Boolean, "Whether a RemoteMachine holds the host.", { default: false }),
  machineRef: optional(
    Schema.Struct({
      name: optional(Schema.String, "Name of the RemoteMachine.", { maxLength: MAX_NAME_LENGTH }),
      namespace: optional(Schema.String, "Namespace of the RemoteMachine.", { maxLength: MAX_NAME_LENGTH })
    }),
    "The RemoteMachine that holds the host."
  ),
  conditions: conditionsField,
  phase: optional(
    PooledRemoteMachinePhase,
    "What the host can be used for. Free can be claimed. Reserved is held. Orphaned is held by a claim whose machine isn't here. Suspect could not be reached, or not be used. Unclean carries a tenant that nobody here knows of. Quarantined could not be cleaned. Maintenance is set aside by a person. Refused has the address of another object."
  ),
  observedGeneration: observedGenerationField
})
export interface PooledRemoteMachineStatus extends Schema.Schema.Type<typeof PooledRemoteMachineStatusSchema> {}

export const PooledRemoteMachineSchema = Schema.Struct({
  ...objectFields,
  spec: field(PooledRemoteMachineSpecSchema, "Desired state of the PooledRemoteMachine."),
  status: status(field(PooledRemoteMachineStatusSchema, "Observed state of the PooledRemoteMachine."))
})
export interface PooledRemoteMachine extends Schema.Schema.Type<typeof PooledRemoteMachineSchema> {}

export const PooledRemoteMachines: Definition<PooledRemoteMachine> = {
  group: INFRASTRUCTURE_GROUP,
  versions: [API_VERSION],
  kind: "PooledRemoteMachine",
  plural: "pooledremotemachines",
  namespaced: true,
  schema: PooledRemoteMachineSchema,
  description:
    "PooledRemoteMachine is one existing host of a pool, for RemoteMachines that name the pool and no address.",
  provider: "infrastructure",
  shortNames: ["prm"],
  hasStatus: true,
  // No Cluster owns a host of a pool, so clusterctl has to be told.
  labels: { [MOVE_LABEL]: "" },
  columns: [
    { name: "Pool", type: "string", jsonPath: ".spec.pool", description: "Pool that the host belongs to." },
    { name: "Address", type: "string", jsonPath: ".spec.machine.address", description: "Address of the host." },
    { name: "Phase", type: "string", jsonPath: ".status.phase", description: "What the host can be used for." },
    {
      name: "Machine",
      type: "string",
      jsonPath: ".status.machineRef.name",
      description: "RemoteMachine that holds the host."
    },
    {
      name: "Reachable",
      type: "string",
      jsonPath: '.status.conditions[?(@.type=="Reachable")].status',
      description: "Whether a machine could log in and become root, when it was last tried."
    },
    {
      name: "Clean",
      type: "string",
      jsonPath: '.status.conditions[?(@.type=="Clean")].status',
      description: "Whether the host's own record names nobody, when it was last looked at."
    },
    { ...reasonColumn, priority: 1 },
    {
      name: "Zone",
      type: "string",
      jsonPath: ".metadata.labels['topology\\.kubernetes\\.io/zone']",
      description: "Failure domain of the host.",
      priority: 1
    },
    { name: "Port", type: "integer", jsonPath: ".spec.machine.port", description: "Port of SSH.", priority: 1 },
    { name: "User", type: "string", jsonPath: ".spec.machine.user", description: "User to log in as.", priority: 1 },
    messageColumn,
    ageColumn
  ]
}
