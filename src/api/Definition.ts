/**
 * Owns what a kind of ours is, beyond its Schema: names and columns that its CRD shows to people.
 * Does not own the CRD's shape (crd/Crd.ts).
 */
import type { Kind, KubeObject } from "./Kind.ts"

/** A column of `kubectl get`; `priority` 1 shows in `-o wide` only. */
export interface Column {
  readonly name: string
  readonly type: "string" | "integer" | "boolean" | "date"
  readonly jsonPath: string
  readonly description: string
  readonly priority?: 1
}

export interface Definition<A extends KubeObject = KubeObject> extends Kind<A> {
  /** One paragraph, shown by `kubectl explain`. */
  readonly description: string
  readonly provider: "infrastructure" | "bootstrap"
  readonly shortNames: ReadonlyArray<string>
  /** False on templates. */
  readonly hasStatus: boolean
  readonly columns: ReadonlyArray<Column>
  /** Labels of the CRD object, besides the contract's. */
  readonly labels?: Readonly<Record<string, string>>
}

export const ageColumn: Column = {
  name: "Age",
  type: "date",
  jsonPath: ".metadata.creationTimestamp",
  description: "Time since the object was created."
}

export const clusterColumn: Column = {
  name: "Cluster",
  type: "string",
  jsonPath: ".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']",
  description: "Cluster that the object belongs to."
}

export const machineOwnerColumn: Column = {
  name: "Machine",
  type: "string",
  jsonPath: '.metadata.ownerReferences[?(@.kind=="Machine")].name',
  description: "Machine that owns the object."
}

export const reasonColumn: Column = {
  name: "Reason",
  type: "string",
  jsonPath: '.status.conditions[?(@.type=="Ready")].reason',
  description: "Why it is ready, or not."
}

export const messageColumn: Column = {
  name: "Message",
  type: "string",
  jsonPath: '.status.conditions[?(@.type=="Ready")].message',
  description: "What the Ready condition says.",
  priority: 1
}
