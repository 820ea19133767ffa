/**
 * Owns discovery: which groups, versions and resources there are, in the old form (a request a version) and aggregated
 * (two requests in all), and the version of the server. Read from the registry each time: definitions come and go.
 */

import { apiVersionOf } from "../../api/Kind.ts"
import { byPreference } from "../apiserver/builtin/Definitions.ts"
import type { Json, JsonObject } from "../apiserver/Json.ts"
import type { Registry, ResourceType } from "../apiserver/ResourceType.ts"
import type { Discovered } from "./Discovered.ts"
import { mediaRanges } from "./Reply.ts"
import { reviewResources } from "./Reviews.ts"
import type { Subresources } from "./Subresources.ts"

/** Of the Kubernetes whose behaviour is followed; old enough for no client to expect what isn't there. */
export const KUBERNETES_VERSION = { major: "1", minor: "34", gitVersion: "v1.34.4" } as const

export const versionInfo: JsonObject = {
  ...KUBERNETES_VERSION,
  gitVersion: `${KUBERNETES_VERSION.gitVersion}+machinist`,
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: "",
  compiler: "",
  platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`
}

const VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"] as const
const SUBRESOURCE_VERBS = ["get", "patch", "update"] as const

export interface DiscoveredVersion {
  readonly version: string
  readonly resources: ReadonlyArray<Discovered>
}

export interface DiscoveredGroup {
  readonly group: string
  /** In order of preference. */
  readonly versions: ReadonlyArray<DiscoveredVersion>
}

const discovered = (type: ResourceType, version: string, { scaleOf }: Subresources): Discovered => ({
  plural: type.plural,
  singular: type.singular,
  kind: type.kind,
  namespaced: type.namespaced,
  verbs: VERBS,
  shortNames: type.shortNames,
  categories: type.categories,
  subresources: [
    ...(type.statusSubresource ? [{ name: "status", group: type.group, version, kind: type.kind }] : []),
    ...(scaleOf(type, version) === undefined
      ? []
      : [{ name: "scale", group: "autoscaling", version: "v1", kind: "Scale" }])
  ]
})

const byName =
  <A>(name: (item: A) => string) =>
  (a: A, b: A) =>
    name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : 0

/** Built-in groups first, as upstream; then by name. */
export const discoverAll = (registry: Registry, subresources: Subresources): ReadonlyArray<DiscoveredGroup> => {
  const groups = new Map<string, Map<string, Array<Discovered>>>()
  const add = (group: string, version: string, resource: Discovered) => {
    const versions = groups.get(group) ?? new Map<string, Array<Discovered>>()
    groups.set(group, versions)
    versions.set(version, [...(versions.get(version) ?? []), resource])
  }
  const types = [...registry.all()].sort(
    (a, b) => Number(a.definedBy !== undefined) - Number(b.definedBy !== undefined)
  )
  for (const type of types) {
    for (const { name, served } of type.versions)
      if (served) add(type.group, name, discovered(type, name, subresources))
  }
  for (const { group, version, resource } of reviewResources) add(group, version, resource)
  return [...groups].map(([group, versions]) => ({
    group,
    versions: [...versions]
      .sort(([a], [b]) => byPreference(a, b))
      .map(([version, resources]) => ({ version, resources: resources.sort(byName((each) => each.plural)) }))
  }))
}

const groupVersions = ({ group, versions }: DiscoveredGroup): ReadonlyArray<JsonObject> =>
  versions.map(({ version }) => ({ groupVersion: apiVersionOf(group, version), version }))

const groupBody = (group: DiscoveredGroup): JsonObject => {
  const versions = groupVersions(group)
  return { name: group.group, versions, preferredVersion: versions[0] ?? null }
}

export const coreVersions = (address: string): JsonObject => ({
  kind: "APIVersions",
  versions: ["v1"],
  serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: address }]
})

const named = (groups: ReadonlyArray<DiscoveredGroup>) => groups.filter(({ group }) => group !== "")

export const groupList = (groups: ReadonlyArray<DiscoveredGroup>): JsonObject => ({
  kind: "APIGroupList",
  apiVersion: "v1",
  groups: named(groups).map(groupBody)
})

export const oneGroup = (groups: ReadonlyArray<DiscoveredGroup>, name: string): JsonObject | undefined => {
  const found = named(groups).find(({ group }) => group === name)
  return found === undefined ? undefined : { kind: "APIGroup", apiVersion: "v1", ...groupBody(found) }
}

const listed = (list: ReadonlyArray<string>, key: string): JsonObject => (list.length === 0 ? {} : { [key]: list })

const resourceEntries = (resource: Discovered, group: string, version: string): ReadonlyArray<Json> => [
  {
    name: resource.plural,
    singularName: resource.singular,
    namespaced: resource.namespaced,
    kind: resource.kind,
    verbs: resource.verbs,
    ...listed(resource.shortNames, "shortNames"),
    ...listed(resource.categories, "categories")
  },
  ...resource.subresources.map((subresource) => ({
    name: `${resource.plural}/${subresource.name}`,
    singularName: "",
    namespaced: resource.namespaced,
    ...(subresource.group === group && subresource.version === version
      ? {}
      : { group: subresource.group, version: subresource.version }),
    kind: subresource.kind,
    verbs: SUBRESOURCE_VERBS
  }))
]

export const resourceList = (
  groups: ReadonlyArray<DiscoveredGroup>,
  name: string,
  version: string
): JsonObject | undefined => {
  const found = groups.find(({ group }) => group === name)?.versions.find((each) => each.version === version)
  if (found === undefined) return undefined
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: apiVersionOf(name, version),
    resources: found.resources.flatMap((resource) => resourceEntries(resource, name, version))
  }
}

const responseKind = (group: string, version: string, kind: string): JsonObject => ({ group, version, kind })

const aggregatedResource = (resource: Discovered, group: string, version: string): JsonObject => ({
  resource: resource.plural,
  responseKind: responseKind(group, version, resource.kind),
  scope: resource.namespaced ? "Namespaced" : "Cluster",
  singularResource: resource.singular,
  verbs: resource.verbs,
  ...listed(resource.shortNames, "shortNames"),
  ...listed(resource.categories, "categories"),
  ...(resource.subresources.length === 0
    ? {}
    : {
        subresources: resource.subresources.map((subresource) => ({
          subresource: subresource.name,
          responseKind: responseKind(subresource.group, subresource.version, subresource.kind),
          verbs: SUBRESOURCE_VERBS
        }))
      })
})

export interface Aggregated {
  readonly version: "v2" | "v2beta1"
  readonly contentType: string
}

/** Set when the client would rather have everything at once, as kubectl does. */
export const wantsAggregated = (accept: string): Aggregated | undefined => {
  for (const { type, parameters } of mediaRanges(accept)) {
    if (type !== "application/json") continue
    const version = parameters.get("v")
    if (parameters.get("as") !== "APIGroupDiscoveryList") return undefined
    if (parameters.get("g") === "apidiscovery.k8s.io" && (version === "v2" || version === "v2beta1")) {
      return { version, contentType: `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList` }
    }
  }
  return undefined
}

/** `core`: what /api answers; else what /apis does. */
export const aggregated = (
  groups: ReadonlyArray<DiscoveredGroup>,
  { version: form }: Aggregated,
  core: boolean
): JsonObject => ({
  kind: "APIGroupDiscoveryList",
  apiVersion: `apidiscovery.k8s.io/${form}`,
  metadata: {},
  items: groups
    .filter(({ group }) => (group === "") === core)
    .map(({ group, versions }) => ({
      metadata: group === "" ? { creationTimestamp: null } : { name: group, creationTimestamp: null },
      versions: versions.map(({ version, resources }) => ({
        version,
        resources: resources.map((resource) => aggregatedResource(resource, group, version)),
        freshness: "Current"
      }))
    }))
})
