/**
 * Owns the Schemas that all kinds share: object metadata, owner references, conditions, small references.
 * Does not own kinds, nor how conditions are computed (domain/Conditions.ts).
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { field, MAX_NAME_LENGTH, nullable, optional, stringMap, strings } from "./Field.ts"

export const OwnerReferenceSchema = Schema.Struct({
  apiVersion: Schema.String,
  kind: Schema.String,
  name: Schema.String,
  uid: Schema.String,
  controller: nullable(Schema.Boolean),
  blockOwnerDeletion: nullable(Schema.Boolean)
})

export const ObjectMetaSchema = Schema.Struct({
  name: Schema.String,
  namespace: nullable(Schema.String),
  generateName: nullable(Schema.String),
  uid: nullable(Schema.String),
  resourceVersion: nullable(Schema.String),
  generation: nullable(Schema.Number),
  creationTimestamp: nullable(Schema.String),
  deletionTimestamp: nullable(Schema.String),
  labels: nullable(stringMap),
  annotations: nullable(stringMap),
  finalizers: nullable(strings),
  ownerReferences: nullable(Schema.Array(OwnerReferenceSchema))
})

/** What every kind starts with. `apiVersion` and `kind` are absent in the items of some lists. */
export const objectFields = {
  apiVersion: nullable(Schema.String),
  kind: nullable(Schema.String),
  metadata: ObjectMetaSchema
}

/** `metadata` inside a template: only labels and annotations reach the clones. */
export const TemplateMetaSchema = Schema.Struct({
  labels: optional(stringMap, "Labels for the objects made from the template."),
  annotations: optional(stringMap, "Annotations for the objects made from the template.")
})

/** metav1.Condition. Older CAPI conditions lack reason and message: they read as empty. */
export const ConditionSchema = Schema.Struct({
  type: field(Schema.String, "Type of the condition, in CamelCase.", {
    maxLength: 316,
    pattern:
      "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
  }),
  status: field(Schema.Literals(["True", "False", "Unknown"]), "Whether the condition holds."),
  reason: field(Schema.String, "Why the condition has this status, as one word in CamelCase.", {
    minLength: 1,
    maxLength: 1024,
    pattern: "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
  }).pipe(Schema.withDecodingDefaultTypeKey(Effect.succeed(""))),
  message: field(Schema.String, "What a person should know about it: the cause, and what would change it.", {
    maxLength: 32768
  }).pipe(Schema.withDecodingDefaultTypeKey(Effect.succeed(""))),
  lastTransitionTime: field(Schema.String, "When the status last changed (RFC 3339).", {
    format: "date-time"
  }).pipe(Schema.withDecodingDefaultTypeKey(Effect.succeed(""))),
  observedGeneration: optional(Schema.Int, "The metadata.generation that the condition was computed from.", {
    format: "int64",
    minimum: 0
  })
})
export interface Condition extends Schema.Schema.Type<typeof ConditionSchema> {}

export const conditionsField = optional(
  Schema.Array(ConditionSchema),
  "What the provider has found; Ready is mirrored to the owner in Cluster API.",
  { maxItems: 32, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"] }
)

/** Reference to a Secret of the same namespace. */
export const SecretRefSchema = Schema.Struct({
  name: field(
    Schema.String,
    "Name of the Secret. Its key 'value' holds the private key; 'passphrase' what decrypts it, and 'knownHosts' a known_hosts file, where they are needed.",
    // No minLength: Go clients of k0smotron write an empty reference where none was given.
    { maxLength: MAX_NAME_LENGTH }
  )
})
export interface SecretRef extends Schema.Schema.Type<typeof SecretRefSchema> {}

/** CAPI's APIEndpoint; host "" and port 0 mean that it isn't set yet. */
export const EndpointSchema = Schema.Struct({
  host: optional(Schema.String, "Hostname or IP address the API server answers on.", { maxLength: 512 }),
  port: optional(Schema.Int, "Port the API server answers on.", { format: "int32", minimum: 0, maximum: 65535 })
})

export const observedGenerationField = optional(
  Schema.Int,
  "The metadata.generation that this status was computed from.",
  { format: "int64", minimum: 0 }
)
