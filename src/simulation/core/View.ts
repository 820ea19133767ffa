/**
 * Owns how the objects of CAPI, and of its providers, are read in either API version, and how a status is written in the
 * version that is served (CONTRACT section 1). Objects are stored as they came: one read as v1beta2 may have been written
 * by hand as v1beta1, so every reader takes both shapes. Does not own what a controller makes of it.
 */
import type { KubeObject } from "../../api/Kind.ts"
import { type Condition, type ConditionInput, setConditions } from "../../domain/Conditions.ts"
import type { Json, JsonObject } from "../../kube/KubeClient.ts"
import { arrayAt, jsonAt, objectAt, stringAt } from "../apiserver/Json.ts"
import type { Contract, Reference } from "./Foreign.ts"
import { groupOf, namespaceOf, type Raw } from "./Raw.ts"

/** Which shape to write: the version the server gave the object in. */
export const isV1Beta2 = (object: KubeObject): boolean => object.apiVersion?.endsWith("/v1beta2") ?? false

export const nonEmpty = (text: string | undefined): string | undefined => (text === "" ? undefined : text)

const numberAt = (value: Json | undefined, ...path: ReadonlyArray<string>): number | undefined => {
  const found = jsonAt(value, path)
  return typeof found === "number" ? found : undefined
}
const isTrueAt = (value: Json | undefined, ...path: ReadonlyArray<string>): boolean => jsonAt(value, path) === true

/** v1beta1 has `apiVersion` and `namespace`, v1beta2 `apiGroup` and always the object's own namespace. */
export const referenceAt = (object: Raw, ...path: ReadonlyArray<string>): Reference | undefined => {
  const json = objectAt(object.spec, ...path)
  const kind = nonEmpty(stringAt(json, "kind"))
  const name = nonEmpty(stringAt(json, "name"))
  if (kind === undefined || name === undefined) return undefined
  const apiVersion = stringAt(json, "apiVersion")
  return {
    group: stringAt(json, "apiGroup") ?? groupOf(apiVersion ?? ""),
    kind,
    name,
    namespace: nonEmpty(stringAt(json, "namespace")) ?? namespaceOf(object),
    version: apiVersion === undefined ? undefined : apiVersion.slice(apiVersion.indexOf("/") + 1)
  }
}

export const referenceKey = (group: string, kind: string, namespace: string, name: string): string =>
  `${group}/${kind}/${namespace}/${name}`

/** As the `referrer`'s version has references. */
export const referenceJson = (referrer: Raw, object: Raw): JsonObject => {
  const { name } = object.metadata
  const kind = object.kind ?? ""
  const apiVersion = object.apiVersion ?? ""
  return isV1Beta2(referrer)
    ? { apiGroup: groupOf(apiVersion), kind, name }
    : { apiVersion, kind, name, namespace: namespaceOf(object), uid: object.metadata.uid }
}

export const replicasOf = (object: Raw): number | undefined => numberAt(object.spec, "replicas")
export const statusCount = (object: Raw, field: string): number => numberAt(object.status, field) ?? 0
export const observedGeneration = (object: Raw): number => numberAt(object.status, "observedGeneration") ?? 0
export const clusterNameOf = (object: Raw): string | undefined => nonEmpty(stringAt(object.spec, "clusterName"))

export const endpointOf = (object: Raw): { readonly host: string; readonly port: number } | undefined => {
  const host = nonEmpty(stringAt(object.spec, "controlPlaneEndpoint", "host"))
  const port = numberAt(object.spec, "controlPlaneEndpoint", "port")
  return host === undefined || port === undefined || port === 0 ? undefined : { host, port }
}

// ------------------------------------------------------------------------------------------------ what providers say

/** Of a provider's object: the contract says where the answer stands. */
const said = (contract: Contract, object: Raw, current: ReadonlyArray<string>, old: ReadonlyArray<string>): boolean => {
  const now = isTrueAt(object.status, ...current)
  const before = old.some((field) => isTrueAt(object.status, field))
  return contract === "v1beta2" ? now : contract === "v1beta1" ? before : now || before
}

export const infrastructureProvisioned = (contract: Contract, object: Raw): boolean =>
  said(contract, object, ["initialization", "provisioned"], ["ready"])
export const dataSecretCreated = (contract: Contract, object: Raw): boolean =>
  said(contract, object, ["initialization", "dataSecretCreated"], ["ready"])
export const saysInitialized = (contract: Contract, object: Raw): boolean =>
  said(contract, object, ["initialization", "controlPlaneInitialized"], ["initialized"])

// ------------------------------------------------------------------------------------------------ what core has said

export const clusterProvisioned = (cluster: Raw): boolean =>
  isTrueAt(cluster.status, "initialization", "infrastructureProvisioned") ||
  isTrueAt(cluster.status, "infrastructureReady")
export const clusterInitialized = (cluster: Raw): boolean =>
  isTrueAt(cluster.status, "initialization", "controlPlaneInitialized") ||
  isConditionTrue(cluster, "ControlPlaneInitialized")
export const isPausedCluster = (cluster: Raw): boolean => isTrueAt(cluster.spec, "paused")
export const machineDataCreated = (machine: Raw): boolean =>
  isTrueAt(machine.status, "initialization", "bootstrapDataSecretCreated") || isTrueAt(machine.status, "bootstrapReady")
export const machineProvisioned = (machine: Raw): boolean =>
  isTrueAt(machine.status, "initialization", "infrastructureProvisioned") ||
  isTrueAt(machine.status, "infrastructureReady")
export const nodeNameOf = (machine: Raw): string | undefined => nonEmpty(stringAt(machine.status, "nodeRef", "name"))
export const providerIdOf = (object: Raw): string | undefined => nonEmpty(stringAt(object.spec, "providerID"))

// ------------------------------------------------------------------------------------------------ conditions

const conditionOf = (json: Json): ReadonlyArray<Condition> => {
  const type = stringAt(json, "type")
  const status = stringAt(json, "status")
  if (type === undefined || (status !== "True" && status !== "False" && status !== "Unknown")) return []
  const generation = numberAt(json, "observedGeneration")
  return [
    {
      type,
      status,
      reason: stringAt(json, "reason") ?? "",
      message: stringAt(json, "message") ?? "",
      lastTransitionTime: stringAt(json, "lastTransitionTime") ?? "",
      ...(generation === undefined ? {} : { observedGeneration: generation })
    }
  ]
}

/** Objects never change, and are read by everyone who counts them: parsed once. */
const known = new WeakMap<Raw, ReadonlyArray<Condition>>()

/** metav1.Conditions: in v1beta1 they are below `status.v1beta2`; objects of providers may have only the old kind. */
export const conditionsOf = (object: Raw): ReadonlyArray<Condition> => {
  const before = known.get(object)
  if (before !== undefined) return before
  const nested = arrayAt(object.status, "v1beta2", "conditions")
  const list = isV1Beta2(object) || nested.length === 0 ? arrayAt(object.status, "conditions") : nested
  const conditions = list.flatMap(conditionOf)
  known.set(object, conditions)
  return conditions
}

export const condition = (object: Raw, type: string): Condition | undefined =>
  conditionsOf(object).find((one) => one.type === type)

export const isConditionTrue = (object: Raw, type: string): boolean => condition(object, type)?.status === "True"

/** What the same thing is called among v1beta1's conditions; others have no counterpart there. */
const OLD_CONDITION_TYPES: Readonly<Record<string, string>> = {
  Ready: "Ready",
  InfrastructureReady: "InfrastructureReady",
  BootstrapConfigReady: "BootstrapReady",
  NodeHealthy: "NodeHealthy",
  ControlPlaneInitialized: "ControlPlaneInitialized",
  ControlPlaneAvailable: "ControlPlaneReady",
  Available: "Available",
  MachinesReady: "MachinesReady"
}

const oldCondition = (now: Condition): ReadonlyArray<JsonObject> => {
  const type = OLD_CONDITION_TYPES[now.type]
  if (type === undefined) return []
  const { status, lastTransitionTime } = now
  if (status === "True") return [{ type, status, lastTransitionTime }]
  return [{ type, status, lastTransitionTime, severity: "Info", reason: now.reason, message: now.message }]
}

/** metav1.Conditions with `inputs` among those there are. */
export const metaConditions = (
  object: Raw,
  inputs: ReadonlyArray<ConditionInput>,
  now: string
): ReadonlyArray<JsonObject> => merged(object, inputs, now).map((one): JsonObject => ({ ...one }))

const merged = (object: Raw, inputs: ReadonlyArray<ConditionInput>, now: string): ReadonlyArray<Condition> => {
  const { generation } = object.metadata
  return setConditions(
    conditionsOf(object),
    inputs.map((input) => (generation === undefined ? input : { ...input, observedGeneration: generation })),
    now
  )
}

/** A patch of the status: `inputs` among the conditions there are, in the shape of the object's version. */
export const conditionsJson = (object: Raw, inputs: ReadonlyArray<ConditionInput>, now: string): JsonObject => {
  const conditions = merged(object, inputs, now)
  const list = conditions.map((one): JsonObject => ({ ...one }))
  return isV1Beta2(object)
    ? { conditions: list }
    : { conditions: conditions.flatMap(oldCondition), v1beta2: { conditions: list } }
}

/** A provider's own condition under core's name, or what core knows by itself when the provider has none. */
export const mirrored = (
  object: Raw,
  from: string,
  type: string,
  fallback: Omit<ConditionInput, "type">
): ConditionInput => {
  const theirs = condition(object, from)
  if (theirs === undefined) return { type, ...fallback }
  const reason = theirs.reason === "" ? (theirs.status === "True" ? from : "NoReasonReported") : theirs.reason
  return { type, status: theirs.status, reason, message: theirs.message }
}

/**
 * True when all are. `negative` types count the other way round. What is False comes first in the message, then what is
 * unknown.
 */
export const summary = (
  type: string,
  parts: ReadonlyArray<ConditionInput>,
  negative: ReadonlyArray<string>,
  reasons: { readonly all: string; readonly no: string; readonly unknown: string }
): ConditionInput => {
  const bad = parts.filter((one) => one.status === (negative.includes(one.type) ? "True" : "False"))
  const unknown = parts.filter((one) => one.status === "Unknown")
  const issues = [...bad, ...unknown].map((one) => `* ${one.type}: ${one.message || one.reason}`).join("\n")
  if (bad.length > 0) return { type, status: "False", reason: reasons.no, message: issues }
  if (unknown.length > 0) return { type, status: "Unknown", reason: reasons.unknown, message: issues }
  return { type, status: "True", reason: reasons.all }
}

export const pausedCondition = (object: Raw, cluster: Raw | undefined, annotation: string): ConditionInput => {
  const messages = [
    ...(cluster !== undefined && isPausedCluster(cluster) ? ["Cluster spec.paused is set to true"] : []),
    ...(object.metadata.annotations?.[annotation] === undefined
      ? []
      : [`${object.kind ?? "Object"} has the ${annotation} annotation`])
  ]
  return messages.length === 0
    ? { type: "Paused", status: "False", reason: "NotPaused" }
    : { type: "Paused", status: "True", reason: "Paused", message: messages.join(", ") }
}
