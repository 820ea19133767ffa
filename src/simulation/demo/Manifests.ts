/**
 * Owns the YAML that a demo applies: reading it from files, and placing it in a namespace of its own with other addresses.
 * Does not own the API server it goes to, nor which example needs which host (Examples.ts).
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Yaml from "yaml"
import type { Json, JsonObject } from "../../kube/KubeClient.ts"
import { isJsonArray, isJsonObject, stringAt } from "../apiserver/Json.ts"

export class ManifestError extends Data.TaggedError("ManifestError")<{ readonly message: string }> {}

/** One document of a file. */
export interface Manifest {
  /** Where it came from, for messages: `examples/sudo/rest.yaml, document 2`. */
  readonly origin: string
  readonly object: JsonObject
}

export interface Address {
  readonly address: string
  readonly port: number
}

const DEFAULT_PORT = 22

/** Every document of a YAML (or JSON) text; empty ones are left out, a `List` is taken apart. */
export const parseManifests = (text: string, file: string): Result.Result<ReadonlyArray<Manifest>, ManifestError> => {
  const found: Array<Manifest> = []
  let number = 0
  // YAML 1.1 is what kubectl reads: `y` and `on` are booleans there.
  for (const document of Yaml.parseAllDocuments(text, { version: "1.1" })) {
    number += 1
    const origin = `${file}, document ${number}`
    if (!("errors" in document)) continue
    const [error] = document.errors
    if (error !== undefined) return Result.fail(new ManifestError({ message: `${origin}: ${error.message}` }))
    const value: Json = document.toJS()
    if (value === null) continue
    if (!isJsonObject(value) || stringAt(value, "apiVersion") === undefined || stringAt(value, "kind") === undefined)
      return Result.fail(
        new ManifestError({ message: `${origin} is no Kubernetes object: it lacks apiVersion or kind` })
      )
    const items = value["items"]
    if (stringAt(value, "kind") === "List" && isJsonArray(items)) {
      for (const item of items) if (isJsonObject(item)) found.push({ origin, object: item })
    } else if (stringAt(value, "metadata", "name") === undefined) {
      return Result.fail(new ManifestError({ message: `${origin}: metadata.name is missing` }))
    } else found.push({ origin, object: value })
  }
  return Result.succeed(found)
}

const isReference = (key: string): boolean => key.endsWith("Ref")

/** `namespace` in metadata and in references; nowhere else does it mean one of ours. */
const inNamespace = (value: Json | undefined, key: string, namespace: string): Json | undefined => {
  if (isJsonArray(value)) return value.map((one) => inNamespace(one, key, namespace) ?? null)
  if (!isJsonObject(value)) return value
  const moved = Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, inNamespace(inner, name, namespace)])
  )
  return isReference(key) && typeof value["namespace"] === "string" ? { ...moved, namespace } : moved
}

/** An address that stands for another one, and the account there where that changes as well. */
export interface Stead extends Address {
  readonly user?: string
  readonly useSudo?: boolean
  readonly jumpHosts?: ReadonlyArray<JsonObject>
}

export interface Placement {
  readonly namespace: string
  readonly address: (from: Address) => Stead | undefined
  /** What endpoints of control planes become; absent: the host of that address. */
  readonly endpoint?: (from: Address) => Address | undefined
}

/** Every `{address, port}` and endpoint `{host, port}`; a host that nobody stands in for stays. */
const atAddress = (value: Json | undefined, placement: Placement): Json | undefined => {
  if (isJsonArray(value)) return value.map((one) => atAddress(one, placement) ?? null)
  if (!isJsonObject(value)) return value
  const inner = Object.fromEntries(Object.entries(value).map(([key, one]) => [key, atAddress(one, placement)]))
  const { address, host, port } = value
  if (typeof address === "string") {
    const found = placement.address({ address, port: typeof port === "number" ? port : DEFAULT_PORT })
    if (found !== undefined) return { ...inner, ...found }
  }
  if (typeof host === "string") {
    const served = placement.endpoint?.({ address: host, port: typeof port === "number" ? port : DEFAULT_PORT })
    if (served !== undefined) return { ...inner, host: served.address, port: served.port }
    const found = placement.address({ address: host, port: DEFAULT_PORT })
    if (found !== undefined) return { ...inner, host: found.address }
  }
  return inner
}

/** The object in a namespace of its own, and on hosts that stand in for those it names. */
export const place = (manifest: Manifest, placement: Placement): Manifest => {
  const moved = inNamespace(atAddress(manifest.object, placement), "", placement.namespace)
  const object = isJsonObject(moved) ? moved : manifest.object
  const metadata = object["metadata"]
  return {
    ...manifest,
    object: { ...object, metadata: { ...(isJsonObject(metadata) ? metadata : {}), namespace: placement.namespace } }
  }
}

export interface NamedHost extends Address {
  readonly user: string
  /** Secret with the key it is reached with, and the namespace of that. */
  readonly key: string | undefined
  /** The same of the jump hosts that have one of their own. */
  readonly jumpKeys: ReadonlyArray<string>
  readonly namespace: string
}

const jumpKeysOf = (chain: Json | undefined): ReadonlyArray<string> =>
  isJsonArray(chain) ? chain.flatMap((jump) => stringAt(jump, "sshKeyRef", "name") ?? []) : []

const hostOf = (part: Json | undefined, namespace: string): ReadonlyArray<NamedHost> => {
  const address = stringAt(part, "address")
  if (!isJsonObject(part) || address === undefined || address === "") return []
  const port = part["port"]
  return [
    {
      address,
      port: typeof port === "number" ? port : DEFAULT_PORT,
      user: stringAt(part, "user") ?? "root",
      key: stringAt(part, "sshKeyRef", "name"),
      jumpKeys: jumpKeysOf(part["jumpHosts"]),
      namespace
    }
  ]
}

export const namespaceOf = (object: JsonObject): string => stringAt(object, "metadata", "namespace") ?? "default"

/** The hosts that RemoteMachines and PooledRemoteMachines name. */
export const hostsOf = (manifests: ReadonlyArray<Manifest>): ReadonlyArray<NamedHost> =>
  manifests.flatMap(({ object }) => {
    const spec = object["spec"]
    switch (stringAt(object, "kind")) {
      case "RemoteMachine":
        return hostOf(spec, namespaceOf(object))
      case "PooledRemoteMachine":
        return hostOf(isJsonObject(spec) ? spec["machine"] : undefined, namespaceOf(object))
      default:
        return []
    }
  })
