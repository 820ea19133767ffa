/**
 * Owns the fields that K0sWorkerConfig and K0sControllerConfig share, and their one status.
 * Does not own what is rendered from them (domain/BootstrapScript.ts).
 */
import * as Schema from "effect/Schema"
import {
  ABSOLUTE_DIRECTORY,
  ABSOLUTE_PATH,
  type CelRule,
  type CrdHints,
  field,
  MAX_NAME_LENGTH,
  MAX_PATH_LENGTH,
  optional,
  stringMap,
  strings
} from "./Field.ts"
import { IGNITION_VERSIONS } from "./IgnitionVersions.ts"
import { conditionsField, observedGenerationField } from "./Meta.ts"

/** What the API server fills in; also what an absent field means where an object never passed one. */
export const BOOTSTRAP_DEFAULTS = { k0sInstallDir: "/usr/local/bin", useSystemHostname: false } as const

/** Bounds the cost of the CEL rules; etcd's limit on an object is met long before. */
const MAX_FILES = 512
/** Characters. */
const MAX_VERSION_LENGTH = 256
/** Characters, of at least a byte each. */
const MAX_COMMAND_CHARACTERS = 120 * 1024

const atomic: CrdHints = { "x-kubernetes-list-type": "atomic" }

const contentSourceRef = (what: string) =>
  Schema.Struct({
    name: field(Schema.String, `Name of the ${what}.`, { minLength: 1, maxLength: MAX_NAME_LENGTH }),
    key: field(Schema.String, `Key in the ${what} that holds the content.`, {
      minLength: 1,
      maxLength: MAX_NAME_LENGTH
    })
  })

const oneSource: CelRule = {
  rule: "has(self.secretRef) != has(self.configMapRef)",
  message: "exactly one of secretRef and configMapRef is required"
}
const oneSourceHints: CrdHints = { "x-kubernetes-validations": [oneSource] }

export const ContentSourceSchema = Schema.Struct({
  secretRef: optional(contentSourceRef("Secret"), "Key of a Secret, in the namespace of this object."),
  configMapRef: optional(contentSourceRef("ConfigMap"), "Key of a ConfigMap, in the namespace of this object.")
})
export interface ContentSource extends Schema.Schema.Type<typeof ContentSourceSchema> {}

export const FileSchema = Schema.Struct({
  path: field(Schema.String, "Absolute path of the file on the host.", {
    maxLength: MAX_PATH_LENGTH,
    pattern: ABSOLUTE_PATH
  }),
  content: optional(Schema.String, "Content of the file."),
  contentFrom: optional(ContentSourceSchema, "Where the content of the file is taken from.", oneSourceHints),
  permissions: optional(
    Schema.String,
    "Permissions of the file, as octal digits: 0644, which is also the default, and what an empty text means.",
    {
      pattern: "^(0?[0-7]{3,4})?$"
    }
  )
})
export interface BootstrapFile extends Schema.Schema.Type<typeof FileSchema> {}

/** k0smotron's Go client drops an empty `content`, so a control plane's file may arrive with neither. */
const fileRule = (presence: "exactlyOne" | "atMostOne"): CelRule =>
  presence === "exactlyOne"
    ? {
        rule: "has(self.content) != has(self.contentFrom)",
        message: "exactly one of content and contentFrom is required"
      }
    : {
        rule: "!(has(self.content) && has(self.contentFrom))",
        message: "content and contentFrom exclude each other"
      }

const filesField = (presence: "exactlyOne" | "atMostOne") =>
  optional(
    Schema.Array(
      field(FileSchema, "A file to be written to the host.", { "x-kubernetes-validations": [fileRule(presence)] })
    ),
    "Files to be written to the host before any command runs.",
    { maxItems: MAX_FILES, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["path"] }
  )

/** `-k0s.` is how OCI tags spell `+k0s.`; the owner's version may have it, a config's own may not. */
const noTagVersion: CelRule = {
  rule: "!self.contains('-k0s.')",
  message: "write the version with +k0s. (v1.27.2+k0s.0), not with -k0s."
}

/** What can stand in a URL and a git tag; empty is what Go clients write for none. */
const VERSION = "^([0-9A-Za-z][0-9A-Za-z.+_-]*)?$"

export const versionHints = {
  worker: { maxLength: MAX_VERSION_LENGTH, pattern: VERSION, "x-kubernetes-validations": [noTagVersion] },
  controller: { minLength: 1, maxLength: MAX_VERSION_LENGTH, pattern: VERSION }
} satisfies Record<string, CrdHints>

const celList = (texts: ReadonlyArray<string>): string => `[${texts.map((text) => `'${text}'`).join(", ")}]`

const ignitionRules: ReadonlyArray<CelRule> = Object.entries(IGNITION_VERSIONS).map(([variant, versions]) => ({
  rule: `self.variant != '${variant}' || self.version in ${celList(Object.keys(versions))}`,
  message: `version of ${variant} must be one of ${Object.keys(versions).join(", ")}`
}))

export const IgnitionSchema = Schema.Struct({
  variant: field(
    Schema.Literals(["fcos", "flatcar", "openshift", "r4e", "fiot"]),
    "Distribution that the configuration is for (a Butane variant)."
  ),
  version: field(Schema.String, "Version of the Butane specification.", { minLength: 1, maxLength: 32 }),
  additionalConfig: optional(Schema.String, "Butane configuration (YAML) to be merged with the generated one.")
})

export const SecretMetadataSchema = Schema.Struct({
  labels: optional(stringMap, "Labels for the Secret."),
  annotations: optional(stringMap, "Annotations for the Secret.")
})

/** Linux takes no argument of more than 128 KiB, and cloud-init gives each command to `sh -c`; NUL ends a C string. */
const command = field(Schema.String, "A command.", { maxLength: MAX_COMMAND_CHARACTERS, pattern: "^[^\\x00]*$" })
const commands = Schema.Array(command)

/** Ignition has no place for cloud-init's user data. */
export const userDataRule: CelRule = {
  rule: "!(has(self.ignition) && has(self.customUserDataRef))",
  message: "customUserDataRef is for cloud-init: with ignition use ignition.additionalConfig"
}

/** Everything but the version; `role` is how the fields' descriptions name the node. */
export const bootstrapFields = (role: "worker" | "controller", presence: "exactlyOne" | "atMostOne") => ({
  args: optional(strings, `Arguments for k0s ${role}.`, atomic),
  files: filesField(presence),
  preStartCommands: optional(commands, "Commands to be run, in order, before k0s is downloaded and installed.", atomic),
  postStartCommands: optional(commands, "Commands to be run, in order, after k0s has started.", atomic),
  preInstalledK0s: optional(Schema.Boolean, "The host has k0s already: nothing is downloaded.", { default: false }),
  downloadURL: optional(
    Schema.String,
    "Where k0s is downloaded from (http, https or oci); version is ignored then. By default https://get.k0s.sh is used.",
    { maxLength: 2048, pattern: "^((https?|oci)://[^\\s]+)?$" }
  ),
  k0sInstallDir: optional(Schema.String, "Directory that the k0s binary is in, or is installed to.", {
    default: BOOTSTRAP_DEFAULTS.k0sInstallDir,
    maxLength: MAX_PATH_LENGTH,
    pattern: ABSOLUTE_DIRECTORY
  }),
  useSystemHostname: optional(Schema.Boolean, "Name the node as the host calls itself, instead of after the Machine.", {
    default: BOOTSTRAP_DEFAULTS.useSystemHostname
  }),
  workingDir: optional(Schema.String, "Directory on the host for the join token; /etc by default.", {
    maxLength: MAX_PATH_LENGTH,
    pattern: ABSOLUTE_DIRECTORY
  }),
  customUserDataRef: optional(
    ContentSourceSchema,
    "User data of your own, given to cloud-init as a second part beside the generated one.",
    oneSourceHints
  ),
  secretMetadata: optional(SecretMetadataSchema, "Labels and annotations for the Secret with the bootstrap data."),
  ignition: optional(IgnitionSchema, "Render Ignition instead of cloud-config.", {
    "x-kubernetes-validations": ignitionRules
  })
})

export const BootstrapPhase = Schema.Literals(["Pending", "Claimed", "Provisioning", "Ready", "Cleaning", "Deleted"])
export type BootstrapPhase = typeof BootstrapPhase.Type

export const BootstrapStatusSchema = Schema.Struct({
  ready: optional(Schema.Boolean, "True once the bootstrap data is there (contract v1beta1).", { default: false }),
  dataSecretName: optional(Schema.String, "Name of the Secret with the bootstrap data.", {
    maxLength: MAX_NAME_LENGTH
  }),
  initialization: optional(
    Schema.Struct({
      dataSecretCreated: optional(
        Schema.Boolean,
        "True once the bootstrap data was there; never goes back (contract v1beta2)."
      )
    }),
    "What has been reached once and for all."
  ),
  conditions: conditionsField,
  phase: optional(BootstrapPhase, "State that the configuration is in."),
  failureReason: optional(
    Schema.String,
    "Terminal in Cluster API up to v1.10. Never set, as every failure can be mended in place: conditions say how."
  ),
  failureMessage: optional(Schema.String, "As failureReason."),
  observedGeneration: observedGenerationField
})
export interface BootstrapStatus extends Schema.Schema.Type<typeof BootstrapStatusSchema> {}
