/**
 * Owns the built-in types and the rules of theirs that a provider can run into. Does not own CustomResourceDefinitions
 * (Definitions.ts). Types absent here answer 404, as on a server that lacks them.
 */
import * as Result from "effect/Result"
import {
  emptyObject,
  isJsonObject,
  type Json,
  type JsonObject,
  jsonEqual,
  objectAt,
  ownObject,
  type StoredObject,
  stringAt
} from "../Json.ts"
import { dataKeyName, dnsLabel } from "../Names.ts"
import type { ResourceType, Write } from "../ResourceType.ts"
import {
  type ApiStatus,
  badRequest,
  type FieldError,
  forbiddenField,
  immutableField,
  invalidValue,
  required,
  tooLong
} from "../Status.ts"
import { isBase64 } from "../schema/Formats.ts"
import { coreType } from "./CoreType.ts"
import { definitionType } from "./Definitions.ts"

/** Sum of the decoded values of a Secret or ConfigMap, as upstream. */
export const MAX_DATA_BYTES = 1024 * 1024

type Prepared = Result.Result<StoredObject, ApiStatus>

const field =
  (...path: ReadonlyArray<string>) =>
  (object: StoredObject) =>
    stringAt(object, ...path)

const decodedBytes = (base64: string): number => {
  const text = base64.replaceAll(/[\r\n]/g, "")
  return (text.length / 4) * 3 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0)
}

const wrongData = (kind: string, key: string, value: Json): ApiStatus =>
  badRequest(
    `${kind} in version "v1" cannot be handled as a ${kind}: json: cannot unmarshal ${typeof value} into Go struct field ${kind}.data of type ${kind === "Secret" ? "[]uint8" : "string"} (data.${key})`
  )

/** What goes in as text comes out as base64; stringData wins over data and is never stored. */
const prepareSecret = (write: Write): Prepared => {
  const { stringData, data, ...rest } = write.object
  const given = isJsonObject(data) ? data : emptyObject
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue
    if (typeof value !== "string") return Result.fail(wrongData("Secret", key, value))
    if (!isBase64(value)) {
      return Result.fail(
        badRequest(`Secret in version "v1" cannot be handled as a Secret: illegal base64 data in data.${key}`)
      )
    }
  }
  const texts: Record<string, string> = {}
  for (const [key, value] of Object.entries(isJsonObject(stringData) ? stringData : emptyObject)) {
    if (typeof value !== "string") return Result.fail(wrongData("Secret", key, value ?? null))
    texts[key] = Buffer.from(value, "utf8").toString("base64")
  }
  const merged = Object.keys(texts).length === 0 ? given : ownObject({ ...given, ...texts })
  return Result.succeed({
    ...rest,
    ...(Object.keys(merged).length === 0 ? {} : { data: merged }),
    type: stringAt(rest, "type") ?? "Opaque"
  })
}

/** Keys without which a Secret of the type is refused. */
const REQUIRED_KEYS: Readonly<Record<string, ReadonlyArray<string>>> = {
  "kubernetes.io/tls": ["tls.crt", "tls.key"],
  "kubernetes.io/ssh-auth": ["ssh-privatekey"],
  "kubernetes.io/dockerconfigjson": [".dockerconfigjson"],
  "kubernetes.io/dockercfg": [".dockercfg"]
}

const validateData = (data: JsonObject, path: string, size: (value: string) => number): ReadonlyArray<FieldError> => {
  const errors: Array<FieldError> = []
  let total = 0
  for (const [key, value] of Object.entries(data)) {
    const bad = dataKeyName(key)
    if (bad !== undefined) errors.push(invalidValue(`${path}[${key}]`, key, bad))
    if (typeof value === "string") total += size(value)
  }
  if (total > MAX_DATA_BYTES) errors.push(tooLong(path, MAX_DATA_BYTES))
  return errors
}

const validateImmutable = (write: Write, parts: ReadonlyArray<string>): ReadonlyArray<FieldError> => {
  if (write.old?.["immutable"] !== true) return []
  const errors: Array<FieldError> = []
  if (write.object["immutable"] !== true)
    errors.push(forbiddenField("immutable", "field is immutable when `immutable` is set"))
  for (const part of parts) {
    if (!jsonEqual(write.old[part], write.object[part])) {
      errors.push(forbiddenField(part, "field is immutable when `immutable` is set"))
    }
  }
  return errors
}

const validateSecret = (write: Write): ReadonlyArray<FieldError> => {
  const type = stringAt(write.object, "type") ?? ""
  const data = objectAt(write.object, "data")
  const errors = [...validateData(data, "data", decodedBytes), ...validateImmutable(write, ["data"])]
  if (write.old !== undefined && stringAt(write.old, "type") !== type) errors.push(immutableField("type", type))
  for (const key of REQUIRED_KEYS[type] ?? []) {
    if (data[key] === undefined) errors.push(required(`data[${key}]`))
  }
  return errors
}

const utf8 = new TextEncoder()

const validateConfigMap = (write: Write): ReadonlyArray<FieldError> => {
  const data = objectAt(write.object, "data")
  const binary = objectAt(write.object, "binaryData")
  const errors = [
    ...validateData(data, "data", (value) => utf8.encode(value).length),
    ...validateData(binary, "binaryData", decodedBytes),
    ...validateImmutable(write, ["data", "binaryData"])
  ]
  for (const key of Object.keys(binary)) {
    if (data[key] !== undefined)
      errors.push(invalidValue(`data[${key}]`, key, `duplicate of key present in binaryData`))
  }
  return errors
}

const prepareConfigMap = (write: Write): Prepared => {
  for (const [key, value] of Object.entries(objectAt(write.object, "data"))) {
    if (value !== null && typeof value !== "string") return Result.fail(wrongData("ConfigMap", key, value ?? null))
  }
  const { data, binaryData, ...rest } = write.object
  return Result.succeed({
    ...rest,
    ...(isJsonObject(data) && Object.keys(data).length > 0 ? { data } : {}),
    ...(isJsonObject(binaryData) && Object.keys(binaryData).length > 0 ? { binaryData } : {})
  })
}

const NAMESPACE_LABEL = "kubernetes.io/metadata.name"

/** The server keeps the label that selects a namespace by name, and the finalizer that its controller removes. */
const prepareNamespace = (write: Write): Prepared => {
  const { object, old } = write
  const labels = { ...object.metadata.labels, [NAMESPACE_LABEL]: object.metadata.name }
  const spec = old === undefined ? { finalizers: ["kubernetes"] } : old["spec"]
  const status = old === undefined ? { phase: "Active" } : object["status"]
  return Result.succeed({
    ...object,
    metadata: jsonEqual(object.metadata.labels, labels) ? object.metadata : { ...object.metadata, labels },
    ...(spec === undefined ? {} : { spec }),
    ...(status === undefined ? {} : { status })
  })
}

/** An Event about an object of a namespace lives there; one about a cluster-scoped object in `default`. */
const validateEvent = (write: Write): ReadonlyArray<FieldError> => {
  const { namespace = "" } = write.object.metadata
  const about = stringAt(write.object, "involvedObject", "namespace") ?? ""
  const fits = about === "" ? namespace === "default" : about === namespace
  return fits ? [] : [invalidValue("involvedObject.namespace", about, "does not match event.namespace")]
}

const emptyEvent: JsonObject = ownObject({
  involvedObject: {},
  source: {},
  firstTimestamp: null,
  lastTimestamp: null,
  eventTime: null,
  reportingComponent: "",
  reportingInstance: ""
})

/** A Node's providerID, once set, is its identity. */
const validateNode = (write: Write): ReadonlyArray<FieldError> => {
  const before = write.old === undefined ? undefined : stringAt(write.old, "spec", "providerID")
  const after = stringAt(write.object, "spec", "providerID")
  return before !== undefined && before !== "" && after !== before
    ? [forbiddenField("spec.providerID", 'node updates may not change providerID except from "" to valid')]
    : []
}

const validateLease = (write: Write): ReadonlyArray<FieldError> => {
  const { leaseDurationSeconds: seconds, leaseTransitions: transitions } = objectAt(write.object, "spec")
  return [
    ...(typeof seconds === "number" && seconds <= 0
      ? [invalidValue("spec.leaseDurationSeconds", seconds, "must be greater than 0")]
      : []),
    ...(typeof transitions === "number" && transitions < 0
      ? [invalidValue("spec.leaseTransitions", transitions, "must be greater than or equal to 0")]
      : [])
  ]
}

const eventFields = Object.fromEntries(
  ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"].map((part) => [
    `involvedObject.${part}`,
    field("involvedObject", part)
  ])
)

const namespaceType = coreType({
  kind: "Namespace",
  plural: "namespaces",
  namespaced: false,
  shortNames: ["ns"],
  statusSubresource: true,
  selectableFields: { "status.phase": field("status", "phase") },
  strategy: {
    nameRule: dnsLabel,
    prepare: prepareNamespace,
    markDeleted: (object) => ({
      ...object,
      status: ownObject({ ...objectAt(object, "status"), phase: "Terminating" })
    }),
    releasable: (object) => objectAt(object, "spec")["finalizers"] === undefined
  }
})

export const coreTypes: ReadonlyArray<ResourceType> = [
  namespaceType,
  coreType({
    kind: "Secret",
    plural: "secrets",
    namespaced: true,
    selectableFields: { type: field("type") },
    strategy: { prepare: prepareSecret, validate: validateSecret }
  }),
  coreType({
    kind: "ConfigMap",
    plural: "configmaps",
    namespaced: true,
    shortNames: ["cm"],
    strategy: { prepare: prepareConfigMap, validate: validateConfigMap }
  }),
  coreType({
    kind: "Node",
    plural: "nodes",
    namespaced: false,
    shortNames: ["no"],
    statusSubresource: true,
    strategy: {
      statusAtCreation: true,
      prepare: (write) => Result.succeed({ spec: emptyObject, ...write.object }),
      validate: validateNode
    }
  }),
  coreType({
    kind: "Event",
    plural: "events",
    namespaced: true,
    shortNames: ["ev"],
    selectableFields: { ...eventFields, reason: field("reason"), type: field("type") },
    strategy: {
      // Fields that are always there, empty or null.
      prepare: (write) => Result.succeed({ ...emptyEvent, ...write.object }),
      validate: validateEvent
    }
  }),
  // Nothing serves it; but `kubectl cluster-info` looks for some.
  coreType({ kind: "Service", plural: "services", namespaced: true, shortNames: ["svc"], statusSubresource: true }),
  coreType({ kind: "ServiceAccount", plural: "serviceaccounts", namespaced: true, shortNames: ["sa"] }),
  coreType({
    kind: "Pod",
    plural: "pods",
    namespaced: true,
    shortNames: ["po"],
    categories: ["all"],
    statusSubresource: true,
    selectableFields: { "spec.nodeName": field("spec", "nodeName"), "status.phase": field("status", "phase") }
  }),
  coreType({
    group: "coordination.k8s.io",
    kind: "Lease",
    plural: "leases",
    namespaced: true,
    strategy: { validate: validateLease }
  }),
  definitionType
]
