/** Holds: the CRDs are what the API server takes, what people read, and what is checked in. */
import * as fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Environment } from "@marcbachmann/cel-js"
import * as Yaml from "yaml"
import type { Crd } from "../../src/api/crd/Crd.ts"
import { crdFileName, crdYaml, ourCrds } from "../../src/api/crd/Render.ts"
import type { StructuralSchema } from "../../src/api/crd/Structural.ts"
import { ourKinds } from "../../src/api/OurKinds.ts"
import { admissionCases } from "./admissionCases.ts"

/** Bytes: what fits in kubectl's last-applied annotation. */
const MAX_CRD_BYTES = 262_144
const manifests = new URL("../../manifests/crds/", import.meta.url)

const versionOf = (crd: Crd) => {
  const version = crd.spec.versions[0]
  if (version === undefined) throw new Error(`${crd.metadata.name} has no version`)
  return version
}

interface Visited {
  readonly path: string
  readonly schema: StructuralSchema
}

const visit = (schema: StructuralSchema, path: string): ReadonlyArray<Visited> => [
  { path, schema },
  ...Object.entries(schema.properties ?? {}).flatMap(([name, property]) => visit(property, `${path}.${name}`)),
  ...(schema.items === undefined ? [] : visit(schema.items, `${path}[]`)),
  ...(schema.additionalProperties === undefined ? [] : visit(schema.additionalProperties, `${path}.*`))
]

const all = ourCrds.map((crd) => ({
  name: crd.spec.names.kind,
  crd,
  nodes: visit(versionOf(crd).schema.openAPIV3Schema, "")
}))

describe("the checked-in manifests", () => {
  it.each(all)("$name is what `npm run manifests` writes", ({ crd }) => {
    assert.strictEqual(fs.readFileSync(new URL(crdFileName(crd, "yaml"), manifests), "utf8"), crdYaml(crd))
  })

  it("hold nothing else", () => {
    const expected = ourCrds.map((crd) => crdFileName(crd, "yaml"))
    assert.sameMembers(fs.readdirSync(manifests), expected)
  })

  it.each(all)("$name reads back as the same object, by YAML 1.1 and 1.2", ({ crd }) => {
    assert.deepStrictEqual<unknown>(Yaml.parse(crdYaml(crd), { version: "1.1" }), crd)
    assert.deepStrictEqual<unknown>(Yaml.parse(crdYaml(crd), { version: "1.2" }), crd)
  })
})

describe("for people", () => {
  it.each(all)("$name: every property has a description", ({ nodes }) => {
    const bare = nodes
      // Of metadata the API server allows no description; items and map values are described by their list or map.
      .filter(
        ({ path, schema }) => schema.description === undefined && path !== ".metadata" && !/(\[\]|\.\*)$/.test(path)
      )
      .map(({ path }) => path)
    assert.deepStrictEqual(bare, [])
  })

  it.each(all)("$name: columns read fields that exist", ({ crd, nodes }) => {
    const paths = new Set(nodes.map(({ path }) => path))
    const columns = versionOf(crd).additionalPrinterColumns
    for (const { jsonPath } of columns) {
      const plain = jsonPath.replace(/\[\?\(.*?\)\]/g, "[]")
      assert.isTrue(plain.startsWith(".metadata.") || paths.has(plain), jsonPath)
    }
    assert.strictEqual(columns.at(-1)?.name, "Age")
    assert.strictEqual(new Set(columns.map(({ name }) => name)).size, columns.length)
  })

  it("the columns worth a look", () => {
    const narrow = (kind: string) =>
      ourKinds
        .find((definition) => definition.kind === kind)
        ?.columns.filter(({ priority }) => priority === undefined)
        .map(({ name }) => name)
    assert.deepStrictEqual(narrow("RemoteMachine"), ["Cluster", "Machine", "Phase", "Host", "Step", "Reason", "Age"])
    assert.deepStrictEqual(narrow("PooledRemoteMachine"), [
      "Pool",
      "Address",
      "Phase",
      "Machine",
      "Reachable",
      "Clean",
      "Age"
    ])
  })

  it("short names are no one else's", () => {
    const names = ourCrds.flatMap(({ spec }) => spec.names.shortNames)
    assert.strictEqual(new Set(names).size, names.length)
    // replicationcontrollers, replicasets, namespaces, configmaps, nodes, machines and clusters of CAPI.
    for (const taken of ["rc", "rs", "ns", "cm", "no", "ma", "cl", "ms", "md"]) assert.notInclude(names, taken)
  })
})

describe("for Cluster API and clusterctl", () => {
  it.each(all)("$name: labels, names, one stored version", ({ crd }) => {
    const { metadata, spec } = crd
    assert.strictEqual(metadata.name, `${spec.names.kind.toLowerCase()}s.${spec.group}`)
    assert.strictEqual(metadata.labels["cluster.x-k8s.io/v1beta1"], "v1beta1")
    assert.strictEqual(metadata.labels["cluster.x-k8s.io/v1beta2"], "v1beta1")
    const provider = spec.group.startsWith("bootstrap") ? "bootstrap-machinist" : "infrastructure-machinist"
    assert.strictEqual(metadata.labels["cluster.x-k8s.io/provider"], provider)
    assert.deepStrictEqual(spec.names.categories, ["cluster-api"])
    assert.strictEqual(spec.scope, "Namespaced")
    assert.deepStrictEqual(
      spec.versions.map(({ name, served, storage }) => ({ name, served, storage })),
      [{ name: "v1beta1", served: true, storage: true }]
    )
    assert.strictEqual("subresources" in versionOf(crd), !spec.names.kind.endsWith("Template"))
    assert.isBelow(JSON.stringify(crd).length, MAX_CRD_BYTES)
  })

  it("only hosts of a pool are moved by a label: no Cluster owns them", () => {
    const moved = ourCrds.filter(({ metadata }) => "clusterctl.cluster.x-k8s.io/move" in metadata.labels)
    assert.deepStrictEqual(
      moved.map(({ spec }) => spec.names.kind),
      ["PooledRemoteMachine"]
    )
  })
})

describe("structural", () => {
  it.each(all)("$name", ({ nodes }) => {
    for (const { path, schema } of nodes) {
      assert.isDefined(schema.type, path)
      assert.isFalse(schema.additionalProperties !== undefined && schema.properties !== undefined, path)
      for (const name of schema.required ?? []) assert.isDefined(schema.properties?.[name], `${path}.${name}`)
      // A default beside `required` would make the field optional in truth and mandatory in print.
      for (const name of schema.required ?? [])
        assert.isUndefined(schema.properties?.[name]?.default, `${path}.${name}`)
      for (const key of schema["x-kubernetes-list-map-keys"] ?? [])
        assert.include(schema.items?.required ?? [], key, path)
      if (schema.type === "array") assert.isDefined(schema["x-kubernetes-list-type"], path)
      if (schema.default !== undefined) {
        const type = schema.type === "integer" ? "number" : schema.type
        assert.strictEqual(typeof schema.default, type, path)
        if (schema.pattern !== undefined) assert.match(String(schema.default), new RegExp(schema.pattern), path)
      }
    }
  })

  it("metadata carries nothing but its type", () => {
    for (const { crd } of all) {
      assert.deepStrictEqual(versionOf(crd).schema.openAPIV3Schema.properties?.["metadata"], { type: "object" })
    }
  })

  it("a list whose items have rules is bounded, and so is a string that a rule reads", () => {
    const ruled = ({ schema }: Visited) => (schema["x-kubernetes-validations"] ?? []).length > 0
    for (const { nodes } of all) {
      for (const node of nodes) {
        const within = nodes.filter(({ path }) => path.startsWith(`${node.path}[]`))
        if (node.schema.type === "array" && within.some(ruled)) assert.isDefined(node.schema.maxItems, node.path)
        if (node.schema.type === "string" && ruled(node)) assert.isDefined(node.schema.maxLength, node.path)
      }
    }
  })
})

type Fields = Readonly<Record<string, unknown>>
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const merge = (target: unknown, patch: Fields): Fields => {
  const merged: Record<string, unknown> = isFields(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key]
    else merged[key] = isFields(value) ? merge(merged[key], value) : value
  }
  return merged
}

const cel = new Environment().registerVariable("self", "dyn").registerVariable("oldSelf", "dyn")

/** Messages of the rules that do not hold; transition rules only where there is an old value, as in the API server. */
const broken = (schema: StructuralSchema, value: unknown, old: unknown): ReadonlyArray<string> => {
  if (value === undefined || value === null) return []
  const own = (schema["x-kubernetes-validations"] ?? [])
    .filter(({ rule }) => !rule.includes("oldSelf") || old !== undefined)
    .filter(({ rule }) => cel.evaluate(rule, { self: value, oldSelf: old ?? null }) !== true)
    .map(({ message }) => message)
  const within = isFields(value)
    ? Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
        broken(property, value[name], isFields(old) ? old[name] : undefined)
      )
    : []
  const { items } = schema
  const elements =
    items !== undefined && Array.isArray(value) ? value.flatMap((item) => broken(items, item, undefined)) : []
  return [...own, ...within, ...elements]
}

describe("rules", () => {
  const cases = admissionCases.filter(({ by }) => by !== "schema")

  it.each(cases)("$plural: $name", ({ plural, spec, patches, refused }) => {
    const crd = ourCrds.find(({ spec: { names } }) => names.plural === plural)
    const schema = crd && versionOf(crd).schema.openAPIV3Schema.properties?.["spec"]
    assert.isDefined(schema)
    if (schema === undefined) return
    let current: unknown = spec
    let errors = broken(schema, current, undefined)
    for (const patch of patches ?? []) {
      assert.deepStrictEqual(errors, [], "only the last write may be refused")
      const next = merge(current, patch)
      errors = broken(schema, next, current)
      current = next
    }
    if (refused === undefined) assert.deepStrictEqual(errors, [])
    else
      assert.isTrue(
        errors.some((message) => message.includes(refused)),
        errors.join("; ")
      )
  })

  it("each is broken by some case: none is there for show", () => {
    const messages = new Set(
      all.flatMap(({ nodes }) =>
        nodes.flatMap(({ schema }) => (schema["x-kubernetes-validations"] ?? []).map(({ message }) => message))
      )
    )
    const refusals = admissionCases.flatMap(({ refused, by }) =>
      by === "rule" && refused !== undefined ? [refused] : []
    )
    for (const message of messages)
      assert.isTrue(
        refusals.some((refusal) => message.includes(refusal)),
        message
      )
  })
})
