/**
 * Owns what goes back to a client: the kinds of answers, refusals as Status objects, and the choice among the forms a
 * client accepts (JSON, YAML; objects, Tables, metadata alone). Does not own sockets (HttpsFront.ts).
 */
import type * as Stream from "effect/Stream"
import * as Yaml from "yaml"
import type { Json, JsonObject } from "../apiserver/Json.ts"
import { ApiStatus } from "../apiserver/Status.ts"

export type Reply =
  | {
      readonly _tag: "Json"
      readonly code: number
      readonly body: Json
      readonly warnings?: ReadonlyArray<string>
      readonly contentType?: string
      readonly retryAfterSeconds?: number | undefined
    }
  | { readonly _tag: "Text"; readonly code: number; readonly text: string }
  /** JSON that is text already. */
  | { readonly _tag: "Raw"; readonly code: number; readonly text: string; readonly contentType?: string }
  /** One JSON value a line, until the stream ends. */
  | { readonly _tag: "Watch"; readonly lines: Stream.Stream<string>; readonly contentType: string }

export const json = (body: Json, code = 200, warnings?: ReadonlyArray<string>): Reply => ({
  _tag: "Json",
  code,
  body,
  ...(warnings === undefined || warnings.length === 0 ? {} : { warnings })
})

export const text = (body: string, code = 200): Reply => ({ _tag: "Text", code, text: body })

/** What no handler knows, as upstream's mux says it. */
export const pageNotFound: Reply = text("404 page not found\n", 404)

const withoutEmpty = (record: { readonly [key: string]: Json | undefined }): JsonObject =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined && value !== ""))

export const statusJson = (status: ApiStatus): JsonObject => ({
  kind: "Status",
  apiVersion: "v1",
  metadata: {},
  status: "Failure",
  message: status.message,
  ...(status.reason === "" ? {} : { reason: status.reason }),
  ...(status.details === undefined
    ? {}
    : {
        details: withoutEmpty({
          ...status.details,
          causes: status.details.causes?.map((cause) => ({ ...cause }))
        })
      }),
  code: status.code
})

export const refusal = (status: ApiStatus): Reply => ({
  _tag: "Json",
  code: status.code,
  body: statusJson(status),
  retryAfterSeconds: status.details?.retryAfterSeconds
})

/** How objects are to be shown. */
export interface Rendering {
  readonly format: "json" | "yaml"
  readonly as: "object" | "partial" | "table"
}

interface MediaRange {
  readonly type: string
  readonly parameters: ReadonlyMap<string, string>
}

export const mediaRanges = (accept: string): ReadonlyArray<MediaRange> =>
  (accept === "" ? "*/*" : accept).split(",").map((range) => {
    const [type = "", ...parameters] = range.split(";").map((part) => part.trim())
    return {
      type: type.toLowerCase(),
      parameters: new Map(
        parameters.map((parameter) => {
          const equals = parameter.indexOf("=")
          return [parameter.slice(0, equals).trim(), parameter.slice(equals + 1).trim()] as const
        })
      )
    }
  })

const FORMATS: Readonly<Record<string, Rendering["format"]>> = {
  "application/json": "json",
  "application/*": "json",
  "*/*": "json",
  "application/yaml": "yaml"
}

const TRANSFORMS: Readonly<Record<string, Rendering["as"]>> = {
  Table: "table",
  PartialObjectMetadata: "partial",
  PartialObjectMetadataList: "partial"
}

const renderingOf = ({ type, parameters }: MediaRange): Rendering | undefined => {
  const format = Object.hasOwn(FORMATS, type) ? FORMATS[type] : undefined
  if (format === undefined) return undefined
  const as = parameters.get("as")
  if (as === undefined) return { format, as: "object" }
  const known = Object.hasOwn(TRANSFORMS, as) ? TRANSFORMS[as] : undefined
  const version = parameters.get("v") ?? ""
  if (known === undefined || parameters.get("g") !== "meta.k8s.io" || !["v1", "v1beta1"].includes(version)) {
    return undefined
  }
  return { format, as: known }
}

const notAcceptable = new ApiStatus({
  code: 406,
  reason: "NotAcceptable",
  message: "only the following media types are accepted: application/json, application/yaml"
})

/** The first form the client accepts that there is. */
export const negotiate = (accept: string): Rendering | ApiStatus =>
  mediaRanges(accept)
    .map(renderingOf)
    .find((rendering) => rendering !== undefined) ?? notAcceptable

export const yamlText = (body: Json): string => Yaml.stringify(body, { version: "1.1", aliasDuplicateObjects: false })
