/**
 * Owns how a field of an API object is declared once, for both readers: the decoder (Effect Schema) and the CRD
 * (OpenAPI hints kept as an annotation). Does not own the OpenAPI text itself (crd/Structural.ts).
 *
 * Hints bind in the API server only. A decoder that refused a too-long string would make a stored object invisible to
 * us, and an invisible machine is worse than an odd one.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"

/** A CEL rule of `x-kubernetes-validations`. A rule that reads `oldSelf` is checked on updates only. */
export interface CelRule {
  readonly rule: string
  readonly message: string
  /** Where the error is shown, relative to the rule's schema: `.address`. */
  readonly fieldPath?: string
}

/** Keywords of a structural schema that the Effect Schema does not know; copied verbatim into the CRD. */
export interface CrdHints {
  readonly format?: "int32" | "int64" | "date-time"
  readonly minimum?: number
  readonly maximum?: number
  readonly minLength?: number
  readonly maxLength?: number
  /** RE2 and ECMAScript must agree on it. */
  readonly pattern?: string
  readonly minItems?: number
  readonly maxItems?: number
  readonly "x-kubernetes-list-type"?: "atomic" | "set" | "map"
  readonly "x-kubernetes-list-map-keys"?: ReadonlyArray<string>
  readonly "x-kubernetes-map-type"?: "atomic"
  readonly "x-kubernetes-preserve-unknown-fields"?: true
  readonly "x-kubernetes-validations"?: ReadonlyArray<CelRule>
}

/** Annotation key of the hints on a Schema. */
export const CRD_HINTS = "machinist/crd"

type Hints<S extends Schema.Top> = CrdHints & {
  /** The API server fills it in; a decoder does not. */
  readonly default?: S["Type"]
}

/** A required field. */
export const field = <S extends Schema.Top>(schema: S, description: string, hints: Hints<S> = {}): S["Rebuild"] => {
  const { default: defaultValue, ...crd } = hints
  return schema.annotate({
    description,
    [CRD_HINTS]: crd,
    ...(defaultValue === undefined ? {} : { default: defaultValue })
  })
}

/** An optional field: absent, or `null`, which a `spec:` with nothing below it is in YAML, and Go's nil slices in JSON. */
export const nullable = <S extends Schema.Constraint & { readonly EncodingServices: never }>(schema: S) =>
  Schema.optionalKey(Schema.NullOr(Schema.toEncoded(schema))).pipe(
    Schema.decodeTo(Schema.optionalKey(schema), {
      decode: SchemaGetter.transformOptional<S["Encoded"], S["Encoded"] | null>(
        Option.filter((value): value is S["Encoded"] => value !== null)
      ),
      encode: SchemaGetter.passthroughSupertype()
    })
  )

export const optional = <S extends Schema.Top & { readonly Rebuild: { readonly EncodingServices: never } }>(
  schema: S,
  description: string,
  hints: Hints<S> = {}
) => nullable<S["Rebuild"]>(field(schema, description, hints))

/**
 * A status of ours that does not decode (another provider's conditions, a newer version's phase) counts as absent:
 * nothing durable lives in a status, and the object must not become invisible for it.
 */
export const status = <S extends Schema.Top & { readonly DecodingServices: never; readonly EncodingServices: never }>(
  schema: S
) =>
  nullable<Schema.middlewareDecoding<S, never>>(
    schema.pipe(Schema.catchDecoding(() => Effect.succeed(Option.none<S["Type"]>())))
  )

export const strings = Schema.Array(Schema.String)
export const stringMap = Schema.Record(Schema.String, Schema.String)
/** An object of which nothing is known: kept as it is, `null`s included. */
export const opaque = Schema.Record(Schema.String, Schema.Unknown)

/** Hint of a path on a host: absolute, and not a directory by its spelling. */
export const ABSOLUTE_PATH = "^/([^\\x00\\n]*[^/\\x00\\n])$"
/** Hint of a directory on a host: absolute, or empty, as k0smotron's users may have it, for the default. */
export const ABSOLUTE_DIRECTORY = "^(/[^\\x00\\n]*)?$"
/** Characters: PATH_MAX of Linux. */
export const MAX_PATH_LENGTH = 4096
/** Characters: Kubernetes object names. */
export const MAX_NAME_LENGTH = 253
