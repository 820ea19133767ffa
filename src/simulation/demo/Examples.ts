/**
 * Owns which examples there are (the directories of examples/), what stands in for what they leave to the reader, and the
 * pooled workers that are scaled to a number. Does not own their text, nor the hosts.
 */
import { readdirSync, readFileSync } from "node:fs"
import * as Result from "effect/Result"
import type { Json, JsonObject } from "../../kube/KubeClient.ts"
import { isJsonArray, isJsonObject, stringAt } from "../apiserver/Json.ts"
import type { FarmHost } from "./Farm.ts"
import { type Manifest, type ManifestError, parseManifests } from "./Manifests.ts"
import { pooledHost } from "./Pools.ts"

const DIRECTORY = new URL("../../../examples/", import.meta.url)
/** Its machines are counted by `--machines`. */
export const POOLED = "pooled-workers"
const POOL = "default"
/** Name of the Secret with the key of the pool's hosts. */
export const POOL_KEY = "pool-key"

export interface Example {
  /** Also the namespace it is applied to. */
  readonly name: string
  readonly manifests: ReadonlyArray<Manifest>
}

/**
 * The page leaves the script's inside to the reader ("Add your custom cleanup logic here"), and says that whoever gives
 * custom commands is responsible for all of the cleanup: as it stands its host would rightly be quarantined.
 */
const PLACEHOLDER = "# Add your custom cleanup logic here"
const CLEANUP = "/usr/local/bin/k0s stop\n/usr/local/bin/k0s reset"

const filledIn = (value: Json | undefined): Json | undefined => {
  if (typeof value === "string") return value.replace(PLACEHOLDER, CLEANUP)
  if (isJsonArray(value)) return value.map((one) => filledIn(one) ?? null)
  if (!isJsonObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, filledIn(one)]))
}

const filled = (manifest: Manifest): Manifest => {
  const object = filledIn(manifest.object)
  return isJsonObject(object) ? { ...manifest, object } : manifest
}

const exampleOf = (name: string): Result.Result<Example, ManifestError> =>
  Result.gen(function* () {
    const manifests: Array<Manifest> = []
    const directory = new URL(`${name}/`, DIRECTORY)
    for (const file of readdirSync(directory).sort()) {
      if (!file.endsWith(".yaml")) continue
      const text = readFileSync(new URL(file, directory), "utf8")
      manifests.push(...(yield* parseManifests(text, `examples/${name}/${file}`)))
    }
    return { name, manifests }
  })

/** Directories of examples/ with YAML in them, which are namespaces of the demo. */
export const exampleNames = (): ReadonlyArray<string> =>
  readdirSync(DIRECTORY, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .filter((name) => readdirSync(new URL(`${name}/`, DIRECTORY)).some((file) => file.endsWith(".yaml")))
    .sort()

/** As the files have them, by name. */
export const readExamples: () => Result.Result<ReadonlyArray<Example>, ManifestError> = () =>
  Result.all(exampleNames().map(exampleOf))

/** What the demo applies of them. */
export const examples: () => Result.Result<ReadonlyArray<Example>, ManifestError> = () =>
  Result.map(readExamples(), (all) => all.map((example) => ({ ...example, manifests: example.manifests.map(filled) })))

const withReplicas = (object: JsonObject, replicas: number): JsonObject => {
  const spec = object["spec"]
  return stringAt(object, "kind") === "MachineDeployment" && isJsonObject(spec)
    ? { ...object, spec: { ...spec, replicas } }
    : object
}

/** The pooled workers with a replica for each of these hosts, which are in their pool. */
export const scaled = (
  example: Example,
  hosts: ReadonlyArray<FarmHost>,
  keyName: (host: FarmHost) => string = () => POOL_KEY
): Example => ({
  ...example,
  manifests: [
    ...example.manifests.map((manifest) => ({ ...manifest, object: withReplicas(manifest.object, hosts.length) })),
    ...hosts.map((host, index) => pooledHost(POOL, host, keyName(host), [index, hosts.length]))
  ]
})
