/**
 * Owns the CustomResourceDefinition of a kind of ours: labels of the contracts, names, columns, the one version.
 * Does not own schemas (Structural.ts) nor files (cli/crds.ts).
 */
import type { Column, Definition } from "../Definition.ts"
import { CONTRACT_V1BETA1_LABEL, CONTRACT_V1BETA2_LABEL, PROVIDER_LABEL } from "../Names.ts"
import { type StructuralSchema, toStructural } from "./Structural.ts"

export interface Crd {
  readonly apiVersion: "apiextensions.k8s.io/v1"
  readonly kind: "CustomResourceDefinition"
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> }
  readonly spec: {
    readonly group: string
    readonly names: {
      readonly kind: string
      readonly listKind: string
      readonly plural: string
      readonly singular: string
      readonly shortNames: ReadonlyArray<string>
      readonly categories: ReadonlyArray<string>
    }
    readonly scope: "Namespaced" | "Cluster"
    readonly versions: ReadonlyArray<CrdVersion>
  }
}

export interface CrdVersion {
  readonly name: string
  readonly served: boolean
  readonly storage: boolean
  readonly schema: { readonly openAPIV3Schema: StructuralSchema }
  readonly subresources?: { readonly status: Readonly<Record<string, never>> }
  readonly additionalPrinterColumns: ReadonlyArray<Column>
}

/** The fields that every kind has. Of metadata nothing but its type may be said: more is refused as not structural. */
const commonProperties: Readonly<Record<string, StructuralSchema>> = {
  apiVersion: { description: "API group and version of this object's schema.", type: "string" },
  kind: { description: "Kind of this object.", type: "string" },
  metadata: { type: "object" }
}

const rootSchema = (definition: Definition): StructuralSchema => {
  const schema = toStructural(definition.schema, definition.kind)
  return {
    description: definition.description,
    type: "object",
    ...required(schema),
    properties: { ...schema.properties, ...commonProperties }
  }
}

/** metadata is there by itself; listing it would only worry `kubectl create --dry-run=client`. */
const required = (schema: StructuralSchema): Pick<StructuralSchema, "required"> => {
  const names = (schema.required ?? []).filter((name) => name !== "metadata")
  return names.length === 0 ? {} : { required: names }
}

/** `v1beta1` joined by `_` would be several of our versions that satisfy the contract. */
const contractLabels = (versions: ReadonlyArray<string>): Record<string, string> => ({
  [CONTRACT_V1BETA1_LABEL]: versions.join("_"),
  [CONTRACT_V1BETA2_LABEL]: versions.join("_")
})

export const crdOf = (definition: Definition): Crd => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: {
    name: `${definition.plural}.${definition.group}`,
    labels: {
      ...contractLabels(definition.versions),
      [PROVIDER_LABEL]: `${definition.provider}-machinist`,
      ...definition.labels
    }
  },
  spec: {
    group: definition.group,
    names: {
      kind: definition.kind,
      listKind: `${definition.kind}List`,
      plural: definition.plural,
      singular: definition.kind.toLowerCase(),
      shortNames: definition.shortNames,
      categories: ["cluster-api"]
    },
    scope: definition.namespaced ? "Namespaced" : "Cluster",
    versions: definition.versions.map((name, index) => ({
      name,
      served: true,
      storage: index === 0,
      schema: { openAPIV3Schema: rootSchema(definition) },
      ...(definition.hasStatus ? { subresources: { status: {} } } : {}),
      additionalPrinterColumns: definition.columns
    }))
  }
})
