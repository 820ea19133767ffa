/**
 * Owns RemoteMachine and RemoteMachineTemplate: one host that is, or becomes, a machine of a cluster.
 * Does not own the pool's side of a claim (PooledRemoteMachine.ts) nor any behaviour (domain/Machine.ts).
 */
import * as Schema from "effect/Schema"
import {
  ageColumn,
  clusterColumn,
  type Definition,
  machineOwnerColumn,
  messageColumn,
  reasonColumn
} from "./Definition.ts"
import {
  ABSOLUTE_DIRECTORY,
  type CelRule,
  field,
  MAX_NAME_LENGTH,
  MAX_PATH_LENGTH,
  opaque,
  optional,
  status,
  strings
} from "./Field.ts"
import { conditionsField, objectFields, observedGenerationField, SecretRefSchema, TemplateMetaSchema } from "./Meta.ts"
import { API_VERSION, INFRASTRUCTURE_GROUP } from "./Names.ts"

/** What the API server fills in; also what an absent field means where an object never passed one. */
export const HOST_DEFAULTS = {
  port: 22,
  user: "root",
  useSudo: false,
  commandsAsScript: false,
  workingDir: "/etc/k0smotron"
} as const

/** Characters: the longest DNS name, with room for an IPv6 address with a zone. */
export const MAX_ADDRESS_LENGTH = 253
/** Characters: CAPI's limit. */
export const MAX_PROVIDER_ID_LENGTH = 512

/** Hops of a chain of jump hosts: each costs a login, and more than two are rare. */
export const MAX_JUMP_HOSTS = 8
/** Characters: public keys of RSA are the longest. */
const MAX_HOST_KEY_LENGTH = 8192

const JumpHostSchema = Schema.Struct({
  address: field(Schema.String, "IP address or DNS name of the jump host, as the one before it reaches it.", {
    minLength: 1,
    maxLength: MAX_ADDRESS_LENGTH
  }),
  port: optional(Schema.Int, "Port of the jump host's SSH server.", {
    default: HOST_DEFAULTS.port,
    format: "int32",
    minimum: 1,
    maximum: 65535
  }),
  user: optional(Schema.String, "User to log in as.", { default: HOST_DEFAULTS.user, minLength: 1, maxLength: 256 }),
  sshKeyRef: optional(
    SecretRefSchema,
    "Secret with the SSH private key for the jump host, in the namespace of this object; the host's own where absent."
  ),
  hostKey: optional(
    Schema.String,
    "The jump host's key: a fingerprint (SHA256:…) or a public key, several with commas between. Where absent, knownHosts of the Secret decides; without that, the key seen first is pinned in annotation machinist.dev/jump-host-keys.",
    { maxLength: MAX_HOST_KEY_LENGTH }
  )
})
export interface JumpHost extends Schema.Schema.Type<typeof JumpHostSchema> {}

/** How a host is reached and used: the same in RemoteMachine.spec and in PooledRemoteMachine.spec.machine. */
export const hostFields = {
  port: optional(Schema.Int, "Port of the host's SSH server.", {
    default: HOST_DEFAULTS.port,
    format: "int32",
    minimum: 1,
    maximum: 65535
  }),
  user: optional(Schema.String, "User to log in as.", { default: HOST_DEFAULTS.user, minLength: 1, maxLength: 256 }),
  useSudo: optional(
    Schema.Boolean,
    "Run everything on the host with sudo, for a user that isn't root. The user must be allowed to without a password.",
    { default: HOST_DEFAULTS.useSudo }
  ),
  commandsAsScript: optional(
    Schema.Boolean,
    "Run all commands as one script in one shell, instead of each in a shell of its own.",
    { default: HOST_DEFAULTS.commandsAsScript }
  ),
  workingDir: optional(Schema.String, "Directory on the host that the commands run in; made if it does not exist.", {
    default: HOST_DEFAULTS.workingDir,
    maxLength: MAX_PATH_LENGTH,
    pattern: ABSOLUTE_DIRECTORY
  }),
  jumpHosts: optional(
    Schema.Array(JumpHostSchema),
    "SSH servers to go through on the way to the host, the first one connected to from the controller.",
    { maxItems: MAX_JUMP_HOSTS, "x-kubernetes-list-type": "atomic" }
  ),
  customCleanUpCommands: optional(
    strings,
    "Commands that clean the host when the machine is deleted, in place of the cleaning of k0s that would be done otherwise.",
    { "x-kubernetes-list-type": "atomic" }
  )
}

const ProvisionJobSchema = Schema.Struct({
  sshCommand: optional(Schema.String, "The ssh command of the Job's image.", { default: "ssh", maxLength: 4096 }),
  scpCommand: optional(Schema.String, "The scp command of the Job's image.", { default: "scp", maxLength: 4096 }),
  jobSpecTemplate: optional(opaque, "Template of the Job (batch/v1 JobTemplateSpec); kept as it is.", {
    "x-kubernetes-preserve-unknown-fields": true
  })
})

const provisionJobField = optional(
  ProvisionJobSchema,
  "Provisioning by a Kubernetes Job. Accepted for compatibility, and refused by a condition: this provider connects by itself."
)

/**
 * `address` is absent on a machine that waits for a host of its pool, is set when it gets one, and may be removed again
 * as long as the host was never provisioned (a host that didn't answer goes back untouched). It is never overwritten:
 * an address that changes under a claim is the way to two tenants on one host. `port` is defaulted before there is an
 * address, so it is fixed by the address, not by itself. An object made by `clusterctl move` carries pool and address.
 */
const remoteMachineRules: ReadonlyArray<CelRule> = [
  { rule: "has(self.pool) || has(self.address)", message: "one of pool and address is required" },
  {
    rule: "has(self.pool) == has(oldSelf.pool) && (!has(self.pool) || self.pool == oldSelf.pool)",
    message: "pool is immutable",
    fieldPath: ".pool"
  },
  {
    rule: "!has(oldSelf.address) || (has(self.address) ? self.address == oldSelf.address : has(oldSelf.pool) && !has(oldSelf.providerID))",
    message: "address is immutable once set",
    fieldPath: ".address"
  },
  {
    rule: "!has(oldSelf.address) || !has(self.address) || (has(self.port) == has(oldSelf.port) && (!has(self.port) || self.port == oldSelf.port))",
    message: "port is immutable once address is set",
    fieldPath: ".port"
  },
  {
    rule: "!has(oldSelf.providerID) || (has(self.providerID) && self.providerID == oldSelf.providerID)",
    message: "providerID is immutable once set",
    fieldPath: ".providerID"
  }
]

const RemoteMachineSpecSchema = Schema.Struct({
  pool: optional(Schema.String, "Pool to take a host from, when no address is given.", {
    minLength: 1,
    maxLength: MAX_NAME_LENGTH
  }),
  providerID: optional(Schema.String, "Identity of the machine in Cluster API: remote-machine://<address>:<port>.", {
    maxLength: MAX_PROVIDER_ID_LENGTH
  }),
  address: optional(Schema.String, "IP address or DNS name of the host. Filled in when the host comes from a pool.", {
    minLength: 1,
    maxLength: MAX_ADDRESS_LENGTH
  }),
  ...hostFields,
  sshKeyRef: optional(SecretRefSchema, "Secret with the SSH private key, in the namespace of this object."),
  provisionJob: provisionJobField
})
export interface RemoteMachineSpec extends Schema.Schema.Type<typeof RemoteMachineSpecSchema> {}

export const RemoteMachinePhase = Schema.Literals([
  "Pending",
  "Claimed",
  "Provisioning",
  "Ready",
  "Cleaning",
  "Deleted"
])
export type RemoteMachinePhase = typeof RemoteMachinePhase.Type

export const MachineAddressSchema = Schema.Struct({
  type: field(
    Schema.Literals(["Hostname", "ExternalIP", "InternalIP", "ExternalDNS", "InternalDNS"]),
    "What kind of address it is."
  ),
  address: field(Schema.String, "The address.", { minLength: 1, maxLength: 256 })
})
export interface MachineAddress extends Schema.Schema.Type<typeof MachineAddressSchema> {}

const int32 = { format: "int32", minimum: 0 } as const

const RunStatusSchema = Schema.Struct({
  step: optional(Schema.Int, "Number of the step that runs or ran last, from 1.", int32),
  of: optional(Schema.Int, "How many steps there are.", int32),
  progress: optional(Schema.String, "step and of, as people read them: 3/7."),
  name: optional(Schema.String, "Name of the step; never its text, which may hold secrets."),
  startedAt: optional(Schema.String, "When the step began, as the provider heard of it (RFC 3339).", {
    format: "date-time"
  }),
  attempt: optional(Schema.Int, "Number of the attempt, from 1.", int32)
})

const RemoteMachineStatusSchema = Schema.Struct({
  ready: optional(Schema.Boolean, "True once the host is provisioned (contract v1beta1).", { default: false }),
  initialization: optional(
    Schema.Struct({
      provisioned: optional(Schema.Boolean, "True once the host was provisioned; never goes back (contract v1beta2).")
    }),
    "What has been reached once and for all."
  ),
  addresses: optional(Schema.Array(MachineAddressSchema), "Addresses of the host.", {
    maxItems: 32,
    "x-kubernetes-list-type": "atomic"
  }),
  failureDomain: optional(Schema.String, "Failure domain that the host is in."),
  failureReason: optional(
    Schema.String,
    "Of k0smotron, and terminal in Cluster API up to v1.10. Never set, as every failure can be mended in place: conditions say how. Taken away where k0smotron left it."
  ),
  failureMessage: optional(Schema.String, "As failureReason."),
  conditions: conditionsField,
  phase: optional(RemoteMachinePhase, "State that the machine is in."),
  host: optional(Schema.String, "Host of the machine, as address:port."),
  bootstrap: optional(RunStatusSchema, "How far the run on the host is."),
  observedGeneration: observedGenerationField
})
export interface RemoteMachineStatus extends Schema.Schema.Type<typeof RemoteMachineStatusSchema> {}

export const RemoteMachineSchema = Schema.Struct({
  ...objectFields,
  spec: field(RemoteMachineSpecSchema, "Desired state of the RemoteMachine.", {
    "x-kubernetes-validations": remoteMachineRules
  }),
  status: status(field(RemoteMachineStatusSchema, "Observed state of the RemoteMachine."))
})
export interface RemoteMachine extends Schema.Schema.Type<typeof RemoteMachineSchema> {}

export const RemoteMachines: Definition<RemoteMachine> = {
  group: INFRASTRUCTURE_GROUP,
  versions: [API_VERSION],
  kind: "RemoteMachine",
  plural: "remotemachines",
  namespaced: true,
  schema: RemoteMachineSchema,
  description:
    "RemoteMachine is one existing host, reached by SSH, that becomes a machine of a cluster: given by its address, or taken from a pool.",
  provider: "infrastructure",
  shortNames: ["rm"],
  hasStatus: true,
  columns: [
    clusterColumn,
    machineOwnerColumn,
    { name: "Phase", type: "string", jsonPath: ".status.phase", description: "State that the machine is in." },
    { name: "Host", type: "string", jsonPath: ".status.host", description: "Host of the machine." },
    { name: "Step", type: "string", jsonPath: ".status.bootstrap.progress", description: "How far the run is." },
    reasonColumn,
    {
      name: "Step Name",
      type: "string",
      jsonPath: ".status.bootstrap.name",
      description: "Step that runs or ran last.",
      priority: 1
    },
    { name: "Pool", type: "string", jsonPath: ".spec.pool", description: "Pool of the host.", priority: 1 },
    {
      name: "ProviderID",
      type: "string",
      jsonPath: ".spec.providerID",
      description: "Identity of the machine in Cluster API.",
      priority: 1
    },
    messageColumn,
    ageColumn
  ]
}

const RemoteMachineTemplateResourceSpecSchema = Schema.Struct({
  pool: field(Schema.String, "Pool that the machines take their hosts from.", {
    minLength: 1,
    maxLength: MAX_NAME_LENGTH
  }),
  provisionJob: provisionJobField
})

export const RemoteMachineTemplateSchema = Schema.Struct({
  ...objectFields,
  spec: field(
    Schema.Struct({
      template: field(
        Schema.Struct({
          metadata: optional(TemplateMetaSchema, "Metadata of the RemoteMachines made from the template."),
          spec: field(RemoteMachineTemplateResourceSpecSchema, "Spec of the RemoteMachines made from the template.")
        }),
        "What a RemoteMachine made from this template looks like."
      )
    }),
    "Desired state of the RemoteMachineTemplate."
  )
})
export interface RemoteMachineTemplate extends Schema.Schema.Type<typeof RemoteMachineTemplateSchema> {}

export const RemoteMachineTemplates: Definition<RemoteMachineTemplate> = {
  group: INFRASTRUCTURE_GROUP,
  versions: [API_VERSION],
  kind: "RemoteMachineTemplate",
  plural: "remotemachinetemplates",
  namespaced: true,
  schema: RemoteMachineTemplateSchema,
  description:
    "RemoteMachineTemplate is what a MachineDeployment or a control plane makes RemoteMachines from. It names a pool: machines made from a template are all alike, hosts are not.",
  provider: "infrastructure",
  shortNames: ["rmt"],
  hasStatus: false,
  columns: [
    {
      name: "Pool",
      type: "string",
      jsonPath: ".spec.template.spec.pool",
      description: "Pool that the machines take their hosts from."
    },
    ageColumn
  ]
}
