/**
 * Owns the addresses of the API: which path is what. Does not own whether there is such a resource.
 */

export interface ResourceRoute {
  readonly _tag: "Resource"
  readonly group: string
  readonly version: string
  readonly namespace: string | undefined
  readonly plural: string
  readonly name: string | undefined
  readonly subresource: string | undefined
}

export type Route =
  | { readonly _tag: "Root" }
  | { readonly _tag: "Health"; readonly path: string }
  | { readonly _tag: "Version" }
  | { readonly _tag: "CoreVersions" }
  | { readonly _tag: "Groups" }
  | { readonly _tag: "Group"; readonly group: string }
  | { readonly _tag: "Resources"; readonly group: string; readonly version: string }
  | { readonly _tag: "OpenApiV2" }
  | { readonly _tag: "OpenApiV3" }
  | { readonly _tag: "OpenApiV3Document"; readonly name: string }
  | ResourceRoute
  | { readonly _tag: "Unknown" }

const unknown: Route = { _tag: "Unknown" }

/** Percent-decoding that refuses what is malformed, or would smuggle a slash. */
const decoded = (segment: string): string | undefined => {
  if (!segment.includes("%")) return segment
  try {
    const text = decodeURIComponent(segment)
    return text.includes("/") ? undefined : text
  } catch {
    return undefined
  }
}

/** `/namespaces/x/status` is about a namespace, `/namespaces/x/secrets` about what is in it. */
const NAMESPACE_SUBRESOURCES: ReadonlySet<string> = new Set(["status", "finalize"])

const resource = (group: string, version: string, parts: ReadonlyArray<string>): Route => {
  const [first, second, third] = parts
  const inside = first === "namespaces" && third !== undefined && !NAMESPACE_SUBRESOURCES.has(third)
  const [plural = "", name, subresource, ...more] = inside ? parts.slice(2) : parts
  if (more.length > 0 || name === "" || subresource === "") return unknown
  return { _tag: "Resource", group, version, namespace: inside ? second : undefined, plural, name, subresource }
}

const HEALTH: ReadonlySet<string> = new Set(["healthz", "livez", "readyz"])

export const routeOf = (path: string): Route => {
  // One slash at the end means nothing, as upstream.
  const segments = path.replace(/^\//, "").replace(/\/$/, "").split("/").map(decoded)
  const parts = segments.filter((segment) => segment !== undefined)
  if (parts.length !== segments.length) return unknown
  const [root = "", a, b, ...rest] = parts
  if (root === "") return { _tag: "Root" }
  if (HEALTH.has(root)) return { _tag: "Health", path: root }
  if (root === "version" && a === undefined) return { _tag: "Version" }
  if (root === "openapi") return openApi(parts.slice(1))
  if (root === "api") {
    if (a === undefined) return { _tag: "CoreVersions" }
    return b === undefined ? { _tag: "Resources", group: "", version: a } : resource("", a, [b, ...rest])
  }
  if (root !== "apis") return unknown
  if (a === undefined) return { _tag: "Groups" }
  if (b === undefined) return { _tag: "Group", group: a }
  return rest.length === 0 ? { _tag: "Resources", group: a, version: b } : resource(a, b, rest)
}

const openApi = ([version, ...rest]: ReadonlyArray<string>): Route => {
  if (version === "v2" && rest.length === 0) return { _tag: "OpenApiV2" }
  if (version !== "v3") return unknown
  return rest.length === 0 ? { _tag: "OpenApiV3" } : { _tag: "OpenApiV3Document", name: rest.join("/") }
}
