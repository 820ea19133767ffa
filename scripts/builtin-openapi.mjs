/**
 * Owns the making of src/simulation/http/openapi/builtin.json: the schemas of the built-in kinds that the simulated API
 * server serves, cut out of Kubernetes' own OpenAPI documents (Apache-2.0). Does not own what is done with them.
 *
 *   node scripts/builtin-openapi.mjs DIRECTORY   (api/openapi-spec/v3 of the Go module k8s.io/kubernetes)
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const CORE = "io.k8s.api.core.v1"
const META = "io.k8s.apimachinery.pkg.apis.meta.v1"
const DEFINITIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
const ROOTS = [
  ...["Namespace", "Secret", "ConfigMap", "Node", "Event", "ServiceAccount"].map((kind) => `${CORE}.${kind}`),
  "io.k8s.api.coordination.v1.Lease",
  `${DEFINITIONS}.CustomResourceDefinition`,
  ...["ObjectMeta", "ListMeta", "Status", "DeleteOptions"].map((kind) => `${META}.${kind}`)
]
const DOCUMENTS = ["api__v1", "apis__coordination.k8s.io__v1", "apis__apiextensions.k8s.io__v1"]

const directory = process.argv[2]
if (directory === undefined) throw new Error("usage: node scripts/builtin-openapi.mjs DIRECTORY")

const schemas = {}
for (const name of DOCUMENTS) {
  const document = JSON.parse(readFileSync(join(directory, `${name}_openapi.json`), "utf8"))
  Object.assign(schemas, document.components.schemas)
}

const wanted = new Set()
const follow = (name) => {
  if (wanted.has(name)) return
  wanted.add(name)
  JSON.stringify(schemas[name], (key, value) => {
    if (key === "$ref" && typeof value === "string") follow(value.slice(value.lastIndexOf("/") + 1))
    return value
  })
}
for (const root of ROOTS) follow(root)

// Kinds of every group share these two; the long lists of groups say nothing here.
const { [`${META}.Status`]: status, [`${META}.DeleteOptions`]: deletion, ...rest } = schemas
const known = { ...rest, [`${META}.Status`]: strip(status), [`${META}.DeleteOptions`]: strip(deletion) }

function strip(schema) {
  const { "x-kubernetes-group-version-kind": kinds, ...others } = schema
  return { ...others, "x-kubernetes-group-version-kind": kinds.filter(({ group }) => group === "") }
}

const cut = Object.fromEntries([...wanted].sort().map((name) => [name, known[name]]))
const target = fileURLToPath(new URL("../src/simulation/http/openapi/builtin.json", import.meta.url))
writeFileSync(target, `${JSON.stringify(cut, null, 2)}\n`)
