/**
 * Owns the columns of `kubectl get`: those of the built-in kinds, and those that CustomResourceDefinitions ask for.
 * Does not own the Table object (Table.ts).
 */
import {
  arrayAt,
  isJsonObject,
  type Json,
  type JsonObject,
  objectAt,
  type StoredObject,
  stringAt
} from "../../apiserver/Json.ts"
import type { ResourceType } from "../../apiserver/ResourceType.ts"
import type { Subresources } from "../Subresources.ts"
import { sinceText } from "./Duration.ts"
import { firstAt } from "./JsonPath.ts"

export interface Column {
  readonly name: string
  readonly type: string
  readonly format?: string
  readonly description: string
  /** 0 always shows, 1 with `-o wide`. */
  readonly priority: number
  readonly cell: (object: StoredObject, nowMillis: number) => Json
}

type Cell = Column["cell"]

const column = (name: string, cell: Cell, options: Partial<Column> = {}): Column => ({
  name,
  type: "string",
  description: "",
  priority: 0,
  cell,
  ...options
})
const wide = { priority: 1 } as const

const nameColumn = column("Name", (object) => object.metadata.name, {
  format: "name",
  description: "Name of the object, unique within its namespace."
})
const ageColumn = column("Age", (object, now) => sinceText(object.metadata.creationTimestamp, now), {
  description: "Time since the object was created."
})

const textAt =
  (...path: ReadonlyArray<string>): Cell =>
  (object) =>
    stringAt(object, ...path) ?? ""

const sizeOf =
  (...fields: ReadonlyArray<string>): Cell =>
  (object) =>
    fields.reduce((total, field) => total + Object.keys(objectAt(object, field)).length, 0)

const conditionOf = (object: StoredObject, type: string): string | undefined =>
  stringAt(
    arrayAt(object, "status", "conditions").find((condition) => stringAt(condition, "type") === type),
    "status"
  )

const nodeStatus: Cell = (object) => {
  const ready = conditionOf(object, "Ready")
  const status = ready === undefined ? "Unknown" : ready === "True" ? "Ready" : "NotReady"
  return objectAt(object, "spec")["unschedulable"] === true ? `${status},SchedulingDisabled` : status
}

const ROLE_LABEL = "node-role.kubernetes.io/"

const nodeRoles: Cell = (object) => {
  const labels = Object.entries(object.metadata.labels ?? {})
  const roles = labels.flatMap(([key, value]) =>
    key.startsWith(ROLE_LABEL) ? [key.slice(ROLE_LABEL.length)] : key === "kubernetes.io/role" ? [value] : []
  )
  const named = roles.filter((role) => role !== "")
  return named.length === 0 ? "<none>" : [...new Set(named)].sort().join(",")
}

const nodeAddress =
  (type: string): Cell =>
  (object) =>
    stringAt(
      arrayAt(object, "status", "addresses").find((address) => stringAt(address, "type") === type),
      "address"
    ) ?? "<none>"

const nodeInfo =
  (field: string): Cell =>
  (object) =>
    stringAt(object, "status", "nodeInfo", field) ?? "<unknown>"

const eventTimes = (object: StoredObject, now: number): { readonly first: string; readonly last: string } => {
  const eventTime = stringAt(object, "eventTime")
  const first = sinceText(stringAt(object, "firstTimestamp") ?? eventTime, now)
  const series = stringAt(object, "series", "lastObservedTime")
  const last = stringAt(object, "lastTimestamp")
  return {
    first,
    last: series !== undefined ? sinceText(series, now) : last === undefined ? first : sinceText(last, now)
  }
}

const eventObject: Cell = (object) => {
  const kind = (stringAt(object, "involvedObject", "kind") ?? "").toLowerCase()
  const name = stringAt(object, "involvedObject", "name") ?? ""
  return name === "" ? kind : `${kind}/${name}`
}

const eventSource: Cell = (object) => {
  const component = stringAt(object, "source", "component") || stringAt(object, "reportingComponent") || ""
  const host = stringAt(object, "source", "host") || stringAt(object, "reportingInstance") || ""
  return [component, host].filter((part) => part !== "").join(", ")
}

const eventCount: Cell = (object) => {
  const count = objectAt(object, "series")["count"] ?? object["count"]
  return typeof count === "number" && count > 0 ? count : 1
}

const podReady: Cell = (object) => {
  const statuses = arrayAt(object, "status", "containerStatuses")
  const ready = statuses.filter((status) => isJsonObject(status) && status["ready"] === true).length
  return `${ready}/${arrayAt(object, "spec", "containers").length}`
}

const podRestarts: Cell = (object) =>
  arrayAt(object, "status", "containerStatuses").reduce<number>((total, status) => {
    const count = isJsonObject(status) ? status["restartCount"] : undefined
    return total + (typeof count === "number" ? count : 0)
  }, 0)

const integer = { type: "integer" } as const

const builtin: Readonly<Record<string, ReadonlyArray<Column>>> = {
  Namespace: [nameColumn, column("Status", textAt("status", "phase")), ageColumn],
  Secret: [nameColumn, column("Type", textAt("type")), column("Data", sizeOf("data"), integer), ageColumn],
  ConfigMap: [nameColumn, column("Data", sizeOf("data", "binaryData"), integer), ageColumn],
  ServiceAccount: [nameColumn, column("Secrets", (object) => arrayAt(object, "secrets").length, integer), ageColumn],
  Node: [
    nameColumn,
    column("Status", nodeStatus),
    column("Roles", nodeRoles),
    ageColumn,
    column("Version", (object) => stringAt(object, "status", "nodeInfo", "kubeletVersion") ?? ""),
    column("Internal-IP", nodeAddress("InternalIP"), wide),
    column("External-IP", nodeAddress("ExternalIP"), wide),
    column("OS-Image", nodeInfo("osImage"), wide),
    column("Kernel-Version", nodeInfo("kernelVersion"), wide),
    column("Container-Runtime", nodeInfo("containerRuntimeVersion"), wide)
  ],
  Event: [
    column("Last Seen", (object, now) => eventTimes(object, now).last),
    column("Type", textAt("type")),
    column("Reason", textAt("reason")),
    column("Object", eventObject),
    column("Subobject", textAt("involvedObject", "fieldPath"), wide),
    column("Source", eventSource, wide),
    column("Message", (object) => (stringAt(object, "message") ?? "").trim()),
    column("First Seen", (object, now) => eventTimes(object, now).first, wide),
    column("Count", eventCount, { ...integer, ...wide }),
    column("Name", (object) => object.metadata.name, { format: "name", ...wide })
  ],
  Pod: [
    nameColumn,
    column("Ready", podReady),
    column("Status", (object) =>
      object.metadata.deletionTimestamp === undefined ? (stringAt(object, "status", "phase") ?? "") : "Terminating"
    ),
    column("Restarts", podRestarts, integer),
    ageColumn,
    column("IP", (object) => stringAt(object, "status", "podIP") ?? "<none>", wide),
    column("Node", (object) => stringAt(object, "spec", "nodeName") ?? "<none>", wide)
  ],
  "Lease.coordination.k8s.io": [nameColumn, column("Holder", textAt("spec", "holderIdentity")), ageColumn],
  "CustomResourceDefinition.apiextensions.k8s.io": [
    nameColumn,
    column("Created At", (object) => object.metadata.creationTimestamp, { type: "date" })
  ]
}

const cellText = (value: Json): string => (typeof value === "string" ? value : JSON.stringify(value))

/** A value that is not of the column's type shows as nothing, as does none. */
const customCell = (type: string, path: string): Cell => {
  const convert = (value: Json, now: number): Json => {
    switch (type) {
      case "integer":
        return typeof value === "number" ? Math.trunc(value) : null
      case "number":
        return typeof value === "number" ? value : null
      case "boolean":
        return typeof value === "boolean" ? value : null
      case "date":
        return typeof value === "string" ? sinceText(value, now) : null
      default:
        return value === null ? null : cellText(value)
    }
  }
  return (object, now) => {
    const value = firstAt(object, path)
    return value === undefined ? null : convert(value, now)
  }
}

const customColumn = (raw: JsonObject): Column => {
  const type = stringAt(raw, "type") ?? "string"
  const format = stringAt(raw, "format")
  const priority = raw["priority"]
  return {
    name: stringAt(raw, "name") ?? "",
    type,
    ...(format === undefined ? {} : { format }),
    description: stringAt(raw, "description") ?? "",
    priority: typeof priority === "number" ? priority : 0,
    cell: customCell(type, stringAt(raw, "jsonPath") ?? "")
  }
}

export const columnsFor = (type: ResourceType, version: string, subresources: Subresources): ReadonlyArray<Column> => {
  const known =
    type.definedBy === undefined ? builtin[type.group === "" ? type.kind : `${type.kind}.${type.group}`] : undefined
  if (known !== undefined) return known
  const custom = subresources.columnsOf(type, version)?.map(customColumn)
  return [nameColumn, ...(custom ?? [ageColumn])]
}
