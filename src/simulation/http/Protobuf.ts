/**
 * Owns reading what typed clients send: `kubectl create namespace` and controllers write built-in kinds as Kubernetes'
 * protobuf, whatever the server would rather have. Decodes them into the JSON they stand for. Nothing is ever sent as
 * protobuf. Field numbers are those of Kubernetes' generated.proto files; what is not listed is passed over.
 */
import * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import { isJsonObject, type Json, type JsonObject, setKey } from "../apiserver/Json.ts"
import { type ApiStatus, badRequest } from "../apiserver/Status.ts"

export const PROTOBUF = "application/vnd.kubernetes.protobuf"

/** `k8s` and a zero byte stand before the envelope. */
const MAGIC = Buffer.from("6b387300", "hex")
/** Deeper than any kind is; a body that nests further is no object. */
const MAX_DEPTH = 32

/**
 * A field is its JSON name, then its type where it is not text: `int`, `flag`, `bytes`, `json`, `map` (text to text),
 * `bytesMap`, `quantities`, a message, or any of them in brackets: a list. `!`: also a zero or false is told (pointers).
 */
type Message = Readonly<Record<number, string>>

const METADATA = "metadata:ObjectMeta"

const messages: Readonly<Record<string, Message>> = {
  ObjectMeta: {
    1: "name",
    2: "generateName",
    3: "namespace",
    5: "uid",
    6: "resourceVersion",
    7: "generation:int",
    8: "creationTimestamp:Time",
    9: "deletionTimestamp:Time",
    10: "deletionGracePeriodSeconds:int!",
    11: "labels:map",
    12: "annotations:map",
    13: "ownerReferences:[OwnerReference]",
    14: "finalizers:[text]",
    17: "managedFields:[ManagedFieldsEntry]"
  },
  OwnerReference: {
    1: "kind",
    3: "name",
    4: "uid",
    5: "apiVersion",
    6: "controller:flag!",
    7: "blockOwnerDeletion:flag!"
  },
  ManagedFieldsEntry: {
    1: "manager",
    2: "operation",
    3: "apiVersion",
    4: "time:Time",
    6: "fieldsType",
    7: "fieldsV1:FieldsV1",
    8: "subresource"
  },
  DeleteOptions: {
    1: "gracePeriodSeconds:int!",
    2: "preconditions:Preconditions",
    3: "orphanDependents:flag!",
    4: "propagationPolicy",
    5: "dryRun:[text]"
  },
  Preconditions: { 1: "uid", 2: "resourceVersion" },
  Namespace: { 1: METADATA, 2: "spec:NamespaceSpec", 3: "status:NamespaceStatus" },
  NamespaceSpec: { 1: "finalizers:[text]" },
  NamespaceStatus: { 1: "phase", 2: "conditions:[NamespaceCondition]" },
  NamespaceCondition: { 1: "type", 2: "status", 4: "lastTransitionTime:Time", 5: "reason", 6: "message" },
  Secret: { 1: METADATA, 2: "data:bytesMap", 3: "type", 4: "stringData:map", 5: "immutable:flag!" },
  ConfigMap: { 1: METADATA, 2: "data:map", 3: "binaryData:bytesMap", 4: "immutable:flag!" },
  ServiceAccount: {
    1: METADATA,
    2: "secrets:[ObjectReference]",
    3: "imagePullSecrets:[LocalObjectReference]",
    4: "automountServiceAccountToken:flag!"
  },
  LocalObjectReference: { 1: "name" },
  ObjectReference: {
    1: "kind",
    2: "namespace",
    3: "name",
    4: "uid",
    5: "apiVersion",
    6: "resourceVersion",
    7: "fieldPath"
  },
  Event: {
    1: METADATA,
    2: "involvedObject:ObjectReference",
    3: "reason",
    4: "message",
    5: "source:EventSource",
    6: "firstTimestamp:Time",
    7: "lastTimestamp:Time",
    8: "count:int",
    9: "type",
    10: "eventTime:MicroTime",
    11: "series:EventSeries",
    12: "action",
    13: "related:ObjectReference",
    14: "reportingComponent",
    15: "reportingInstance"
  },
  EventSource: { 1: "component", 2: "host" },
  EventSeries: { 1: "count:int", 2: "lastObservedTime:MicroTime" },
  Node: { 1: METADATA, 2: "spec:NodeSpec", 3: "status:NodeStatus" },
  NodeSpec: { 1: "podCIDR", 3: "providerID", 4: "unschedulable:flag", 5: "taints:[Taint]", 7: "podCIDRs:[text]" },
  Taint: { 1: "key", 2: "value", 3: "effect", 4: "timeAdded:Time" },
  NodeStatus: {
    1: "capacity:quantities",
    2: "allocatable:quantities",
    3: "phase",
    4: "conditions:[NodeCondition]",
    5: "addresses:[NodeAddress]",
    6: "daemonEndpoints:NodeDaemonEndpoints",
    7: "nodeInfo:NodeSystemInfo",
    8: "images:[ContainerImage]",
    9: "volumesInUse:[text]"
  },
  NodeCondition: {
    1: "type",
    2: "status",
    3: "lastHeartbeatTime:Time",
    4: "lastTransitionTime:Time",
    5: "reason",
    6: "message"
  },
  NodeAddress: { 1: "type", 2: "address" },
  NodeDaemonEndpoints: { 1: "kubeletEndpoint:DaemonEndpoint" },
  DaemonEndpoint: { 1: "Port:int!" },
  NodeSystemInfo: {
    1: "machineID",
    2: "systemUUID",
    3: "bootID",
    4: "kernelVersion",
    5: "osImage",
    6: "containerRuntimeVersion",
    7: "kubeletVersion",
    8: "kubeProxyVersion",
    9: "operatingSystem",
    10: "architecture"
  },
  ContainerImage: { 1: "names:[text]", 2: "sizeBytes:int" },
  Lease: { 1: METADATA, 2: "spec:LeaseSpec" },
  LeaseSpec: {
    1: "holderIdentity",
    2: "leaseDurationSeconds:int!",
    3: "acquireTime:MicroTime",
    4: "renewTime:MicroTime",
    5: "leaseTransitions:int!"
  },
  SelfSubjectAccessReview: { 1: METADATA, 2: "spec:AccessReviewSpec" },
  SubjectAccessReview: { 1: METADATA, 2: "spec:AccessReviewSpec" },
  AccessReviewSpec: {
    1: "resourceAttributes:ResourceAttributes",
    2: "nonResourceAttributes:NonResourceAttributes",
    3: "user",
    4: "groups:[text]",
    6: "uid"
  },
  ResourceAttributes: {
    1: "namespace",
    2: "verb",
    3: "group",
    4: "version",
    5: "resource",
    6: "subresource",
    7: "name"
  },
  NonResourceAttributes: { 1: "path", 2: "verb" },
  SelfSubjectRulesReview: { 1: METADATA, 2: "spec:RulesReviewSpec" },
  RulesReviewSpec: { 1: "namespace" },
  SelfSubjectReview: { 1: METADATA }
}

/** One field as it stands on the wire. */
interface WireField {
  readonly number: number
  readonly value: bigint | Buffer
}

class Malformed extends Error {}

const fieldsOf = (bytes: Buffer): ReadonlyArray<WireField> => {
  const fields: Array<WireField> = []
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++]
      if (byte === undefined) throw new Malformed("it breaks off")
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asIntN(64, value)
    }
    throw new Malformed("a number is too long")
  }
  const take = (length: number): Buffer => {
    if (length < 0 || at + length > bytes.length) throw new Malformed("it breaks off")
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const tag = Number(varint())
    const number = tag >>> 3
    switch (tag & 7) {
      case 0:
        fields.push({ number, value: varint() })
        break
      case 1:
        fields.push({ number, value: take(8) })
        break
      case 2:
        fields.push({ number, value: take(Number(varint())) })
        break
      case 5:
        fields.push({ number, value: take(4) })
        break
      default:
        throw new Malformed("an unknown wire type")
    }
  }
  return fields
}

const bytesOf = (value: bigint | Buffer): Buffer => {
  if (typeof value === "bigint") throw new Malformed("a number where bytes belong")
  return value
}

const textOf = (value: bigint | Buffer): string => bytesOf(value).toString("utf8")

const member = (fields: ReadonlyArray<WireField>, number: number): bigint | Buffer | undefined =>
  fields.find((field) => field.number === number)?.value

const NANOS_A_MICRO = 1000n

/** Empty where nothing was set: a zero time is no time. */
const timeOf = (value: bigint | Buffer, micro: boolean): string | undefined => {
  const fields = fieldsOf(bytesOf(value))
  const seconds = member(fields, 1)
  if (typeof seconds !== "bigint") return undefined
  const text = DateTime.formatIso(DateTime.makeUnsafe(Number(seconds) * 1000)).slice(0, 19)
  const nanos = member(fields, 2)
  const micros = typeof nanos === "bigint" ? nanos / NANOS_A_MICRO : 0n
  return micro ? `${text}.${String(micros).padStart(6, "0")}Z` : `${text}Z`
}

const scalar = (type: string, value: bigint | Buffer, depth: number): Json | undefined => {
  switch (type) {
    case "text":
      return textOf(value)
    case "int":
      return typeof value === "bigint" ? Number(value) : undefined
    case "flag":
      return value !== 0n
    case "Time":
      return timeOf(value, false)
    case "MicroTime":
      return timeOf(value, true)
    case "FieldsV1":
      return JSON.parse(textOf(member(fieldsOf(bytesOf(value)), 1) ?? Buffer.from("{}")))
    default:
      return decodeMessage(type, bytesOf(value), depth + 1)
  }
}

const MAPS: Readonly<Record<string, (value: Buffer) => string>> = {
  map: (value) => value.toString("utf8"),
  bytesMap: (value) => value.toString("base64"),
  quantities: (value) => textOf(member(fieldsOf(value), 1) ?? Buffer.alloc(0))
}

const put = (target: Record<string, Json>, spec: string, value: bigint | Buffer, depth: number): void => {
  const [name = "", typeText = "text"] = spec.split(":")
  const told = typeText.endsWith("!")
  const type = told ? typeText.slice(0, -1) : typeText
  const mapValue = Object.hasOwn(MAPS, type) ? MAPS[type] : undefined
  if (mapValue !== undefined) {
    const entry = fieldsOf(bytesOf(value))
    const known = target[name]
    const map: Record<string, Json> = { ...(isJsonObject(known) ? definedIn(known) : {}) }
    setKey(map, textOf(member(entry, 1) ?? Buffer.alloc(0)), mapValue(bytesOf(member(entry, 2) ?? Buffer.alloc(0))))
    target[name] = map
    return
  }
  if (type.startsWith("[")) {
    const item = scalar(type.slice(1, -1), value, depth)
    const known = target[name]
    if (item !== undefined) target[name] = [...(Array.isArray(known) ? known : []), item]
    return
  }
  const decoded = scalar(type, value, depth)
  // Go writes zeros too where JSON leaves them out.
  if (decoded === undefined || (!told && (decoded === "" || decoded === 0 || decoded === false))) return
  target[name] = decoded
}

const definedIn = (object: JsonObject): Record<string, Json> => {
  const copy: Record<string, Json> = {}
  for (const [key, value] of Object.entries(object)) if (value !== undefined) setKey(copy, key, value)
  return copy
}

const decodeMessage = (type: string, bytes: Buffer, depth: number): JsonObject => {
  const message = messages[type]
  if (message === undefined || depth > MAX_DEPTH) throw new Malformed(`${type} is not known here`)
  const decoded: Record<string, Json> = {}
  for (const { number, value } of fieldsOf(bytes)) {
    const spec = message[number]
    if (spec !== undefined) put(decoded, spec, value, depth)
  }
  return decoded
}

const decodeEnvelope = (body: Buffer): JsonObject | undefined => {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw new Malformed("it does not begin as one")
  const envelope = fieldsOf(body.subarray(MAGIC.length))
  const typeMeta = fieldsOf(bytesOf(member(envelope, 1) ?? Buffer.alloc(0)))
  const apiVersion = textOf(member(typeMeta, 1) ?? Buffer.alloc(0))
  const kind = textOf(member(typeMeta, 2) ?? Buffer.alloc(0))
  if (!Object.hasOwn(messages, kind)) return undefined
  return { kind, apiVersion, ...decodeMessage(kind, bytesOf(member(envelope, 2) ?? Buffer.alloc(0)), 0) }
}

/** Undefined: a kind that is not read as protobuf here. */
export const decodeProtobuf = (body: Buffer): Result.Result<JsonObject | undefined, ApiStatus> =>
  Result.try({
    try: () => decodeEnvelope(body),
    catch: (error) => badRequest(`the body is no Kubernetes protobuf: ${error instanceof Error ? error.message : "?"}`)
  })
