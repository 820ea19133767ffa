/**
 * Owns the Kubernetes objects that are read from files instead of from a cluster: YAML (or JSON) in, objects by kind and
 * name out, with the file that each came from. Errors name file, object and field, and quote no value: Secrets are among
 * them. What is made of the objects is Offline.ts's.
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { parseAllDocuments } from "yaml"
import { groupOf } from "../../api/ClusterApiView.ts"
import type { Kind, KubeObject } from "../../api/Kind.ts"

export class FileError extends Data.TaggedError("FileError")<{ readonly message: string }> {}

type JsonRecord = Readonly<Record<string, unknown>>

export interface FileObject {
  /** `worker.yaml`, or `worker.yaml, document 2`. */
  readonly origin: string
  readonly group: string
  readonly kind: string
  readonly namespace: string
  readonly name: string
  readonly value: JsonRecord
}

/** Of objects that name none, as kubectl has it. */
export const DEFAULT_NAMESPACE = "default"

const isRecord = (value: unknown): value is JsonRecord =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const textAt = (value: unknown, key: string): string | undefined => {
  const found = isRecord(value) ? value[key] : undefined
  return typeof found === "string" && found !== "" ? found : undefined
}

const fail = (message: string): Result.Result<never, FileError> => Result.fail(new FileError({ message }))

/** The API server turns `stringData` into `data`. */
const withData = (kind: string, value: JsonRecord): JsonRecord => {
  const plain = value["stringData"]
  if (kind !== "Secret" || !isRecord(plain)) return value
  const data = Object.entries(plain).map(([key, text]) => [key, Buffer.from(String(text)).toString("base64")] as const)
  return { ...value, data: { ...(isRecord(value["data"]) ? value["data"] : {}), ...Object.fromEntries(data) } }
}

const objectOf = (value: unknown, origin: string): Result.Result<FileObject, FileError> => {
  const apiVersion = textAt(value, "apiVersion")
  const kind = textAt(value, "kind")
  if (!isRecord(value) || apiVersion === undefined || kind === undefined)
    return fail(`${origin}: not a Kubernetes object, it lacks apiVersion or kind`)
  const name = textAt(value["metadata"], "name")
  if (name === undefined) return fail(`${origin}: ${kind} lacks metadata.name`)
  const namespace = textAt(value["metadata"], "namespace") ?? DEFAULT_NAMESPACE
  const metadata = { ...(isRecord(value["metadata"]) ? value["metadata"] : {}), namespace }
  // `spec:` with nothing below it is how the pages write an empty one.
  const spec = value["spec"] === null ? { spec: {} } : {}
  return Result.succeed({
    origin,
    group: groupOf(apiVersion),
    kind,
    namespace,
    name,
    value: withData(kind, { ...value, ...spec, metadata })
  })
}

export const parseObjects = (text: string, file: string): Result.Result<ReadonlyArray<FileObject>, FileError> => {
  const found: Array<FileObject> = []
  // YAML 1.1, as kubectl reads it.
  const documents = parseAllDocuments(text, { version: "1.1", prettyErrors: false, logLevel: "silent" })
  for (const [index, document] of documents.entries()) {
    if (!("errors" in document)) continue
    const origin = documents.length === 1 ? file : `${file}, document ${index + 1}`
    const [error] = document.errors
    if (error !== undefined) {
      const line = text.slice(0, error.pos[0]).split("\n").length
      return fail(`${origin}: line ${line} is not valid YAML (${error.code.toLowerCase().replaceAll("_", " ")})`)
    }
    const value: unknown = document.toJS()
    if (value === null || value === undefined) continue
    const items = textAt(value, "kind") === "List" && isRecord(value) ? value["items"] : undefined
    for (const one of Array.isArray(items) ? items : [value]) {
      const object = objectOf(one, origin)
      if (Result.isFailure(object)) return Result.fail(object.failure)
      found.push(object.success)
    }
  }
  return Result.succeed(found)
}

export const describeObject = ({ kind, name, namespace, origin }: FileObject): string =>
  `${origin}: ${kind} ${namespace}/${name}`

const pathOf = (path: ReadonlyArray<unknown>): string =>
  path
    .map((part, index) => (typeof part === "number" ? `[${part}]` : `${index === 0 ? "" : "."}${String(part)}`))
    .join("")

const formatted = SchemaIssue.makeFormatterStandardSchemaV1()

/** YAML takes 0644 for a number and yes for true where a text was meant. */
const slip = (value: unknown, keys: ReadonlyArray<PropertyKey>, message: string): string => {
  const found = keys.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined),
    value
  )
  const isBare = typeof found === "number" || typeof found === "boolean"
  return isBare && /^Expected string/.test(message)
    ? `${message}; this is a ${typeof found}, so put it in quotes`
    : message
}

/** Where it does not fit, and how; never the value. */
const complaints = (error: Schema.SchemaError, value: unknown): ReadonlyArray<string> =>
  formatted(error.issue).issues.map(({ message, path = [] }) => {
    const keys = path.map((segment) => (typeof segment === "object" ? segment.key : segment))
    return `${pathOf(keys)}: ${slip(value, keys, message)}`
  })

/** Misspelled fields are lost in silence otherwise; what is in metadata and status is the API server's. */
const UNKNOWN_IN_SPEC = /^spec\./

/** `strict`: a field of the spec that the kind does not have is an error, as for `kubectl apply --validate=strict`. */
export const decodeAs = <A extends KubeObject>(
  kind: Kind<A>,
  object: FileObject,
  strict = false
): Result.Result<A, FileError> => {
  const bad = (first: string) => fail(`${describeObject(object)}: ${first}`)
  const decode = Schema.decodeUnknownResult(kind.schema, { errors: "all" })
  const decoded = decode(object.value)
  if (Result.isFailure(decoded)) return bad(complaints(decoded.failure, object.value)[0] ?? "does not fit its kind")
  if (!strict) return Result.succeed(decoded.success)
  const closed = Schema.decodeUnknownResult(kind.schema, { errors: "all", onExcessProperty: "error" })(object.value)
  const unknown = Result.isFailure(closed)
    ? complaints(closed.failure, object.value).find((one) => UNKNOWN_IN_SPEC.test(one))
    : undefined
  return unknown === undefined
    ? Result.succeed(decoded.success)
    : bad(unknown.replace(/: .*$/s, ": there is no such field"))
}
