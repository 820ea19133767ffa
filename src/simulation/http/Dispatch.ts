/**
 * Owns which handler answers which request: health, discovery, OpenAPI, reviews, and the verbs on resources. Does not
 * own authentication nor sockets (HttpsFront.ts).
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { notFound } from "../apiserver/Status.ts"
import { type Api, type Call, callOf, type Handled, methodRefused } from "./Api.ts"
import * as Discovery from "./Discovery.ts"
import { v2Document, v3Document, v3Index } from "./openapi/Documents.ts"
import { patch } from "./Patching.ts"
import { get, list } from "./Reading.ts"
import { json, pageNotFound, type Reply, text } from "./Reply.ts"
import { type ApiRequest, flag, objectBody } from "./Request.ts"
import { answerReview, reviewAt } from "./Reviews.ts"
import { type ResourceRoute, type Route, routeOf } from "./Route.ts"
import { scale } from "./Scaling.ts"
import { watch } from "./Watching.ts"
import { create, remove, removeAll, update } from "./Writing.ts"

/** Paths that tell nothing of what is stored: they need no token, as upstream. */
export const isPublic = (path: string): boolean => {
  const route = routeOf(path)
  return route._tag === "Health" || route._tag === "Version"
}

const found = (body: Parameters<typeof json>[0] | undefined): Reply => (body === undefined ? pageNotFound : json(body))

const onCollection = (call: Call): Handled => {
  const { request, type, route } = call
  // All namespaces at once can be read, but there is no such place to write to.
  const everywhere = type.namespaced && route.namespace === undefined
  switch (request.method) {
    case "GET":
      return flag(request.query, "watch") ? watch(call) : list(call)
    case "POST":
      return everywhere ? Effect.fail(methodRefused) : create(call)
    case "DELETE":
      return everywhere ? Effect.fail(methodRefused) : removeAll(call)
    default:
      return Effect.fail(methodRefused)
  }
}

const onObject = (call: Call, name: string, subresource: "status" | undefined): Handled => {
  const { request } = call
  switch (request.method) {
    case "GET":
      return subresource === undefined && flag(request.query, "watch") ? watch(call, name) : get(call, name)
    case "PUT":
      return update(call, name, subresource)
    case "PATCH":
      return patch(call, name, subresource)
    case "DELETE":
      return subresource === undefined ? remove(call, name) : Effect.fail(methodRefused)
    default:
      return Effect.fail(methodRefused)
  }
}

const onResource = (call: Call): Handled => {
  const { name, subresource } = call.route
  if (name === undefined) return onCollection(call)
  if (subresource === undefined) return onObject(call, name, undefined)
  if (subresource === "status" && call.type.statusSubresource) return onObject(call, name, "status")
  const paths = subresource === "scale" ? call.api.subresources.scaleOf(call.type, call.version) : undefined
  return paths === undefined ? Effect.fail(notFound(call.type, name)) : scale(call, name, paths)
}

const review = (request: ApiRequest, route: ResourceRoute): Handled | undefined => {
  const found = reviewAt(route.group, route.version, route.plural)
  if (found === undefined || route.name !== undefined || route.namespace !== undefined) return undefined
  if (request.method !== "POST") return Effect.fail(methodRefused)
  return Effect.map(objectBody(request, found.resource.kind), (asked) => json(answerReview(found, asked), 201))
}

const resource = (api: Api, request: ApiRequest, route: ResourceRoute): Handled => {
  const question = review(request, route)
  if (question !== undefined) return question
  const call = callOf(api, request, route)
  if (call === undefined) return Effect.succeed(pageNotFound)
  return Result.isSuccess(call) ? onResource(call.success) : Effect.fail(call.failure)
}

/** Old clients read v2 as protobuf only. They get a document that says nothing: what they look for they don't find. */
const V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
const wantsV2Protobuf = (accept: string): boolean => /proto-openapi\.spec\.v2/.test(accept.split(",")[0] ?? "")
const v2Protobuf: Reply = {
  _tag: "Raw",
  code: 200,
  // Field 1, swagger: "2.0"; field 2, info: title and version.
  text: "\n\x032.0\x12\x13\n\tmachinist\x12\x06v1.0.0",
  contentType: V2_PROTOBUF
}

const health = (request: ApiRequest, path: string): Reply =>
  flag(request.query, "verbose") ? text(`[+]ping ok\n${path} check passed\n`) : text("ok")

const discovery = (api: Api, request: ApiRequest, route: Route): Reply => {
  const { registry } = api.server.store
  const groups = Discovery.discoverAll(registry, api.subresources)
  const aggregated = Discovery.wantsAggregated(request.accept)
  if (aggregated !== undefined && (route._tag === "CoreVersions" || route._tag === "Groups")) {
    const body = Discovery.aggregated(groups, aggregated, route._tag === "CoreVersions")
    return { _tag: "Json", code: 200, body, contentType: aggregated.contentType }
  }
  switch (route._tag) {
    case "CoreVersions":
      return json(Discovery.coreVersions(api.address))
    case "Groups":
      return json(Discovery.groupList(groups))
    case "Group":
      return found(Discovery.oneGroup(groups, route.group))
    case "Resources":
      return found(Discovery.resourceList(groups, route.group, route.version))
    default:
      return json({
        paths: [
          "/api",
          "/api/v1",
          ...groups
            .filter(({ group }) => group !== "")
            .flatMap(({ group, versions }) => [
              `/apis/${group}`,
              ...versions.map(({ version }) => `/apis/${group}/${version}`)
            ]),
          "/healthz",
          "/livez",
          "/openapi/v2",
          "/openapi/v3",
          "/readyz",
          "/version"
        ]
      })
  }
}

export const dispatch = (api: Api, request: ApiRequest): Handled => {
  const route = routeOf(request.path)
  if (route._tag === "Resource") return resource(api, request, route)
  if (request.method !== "GET" && request.method !== "HEAD") return Effect.fail(methodRefused)
  const types = () => api.server.store.registry.all()
  switch (route._tag) {
    case "Unknown":
      return Effect.succeed(pageNotFound)
    case "Health":
      return Effect.succeed(health(request, route.path))
    case "Version":
      return Effect.succeed(json(Discovery.versionInfo))
    case "OpenApiV2":
      return Effect.sync(() => (wantsV2Protobuf(request.accept) ? v2Protobuf : json(v2Document(types()))))
    case "OpenApiV3":
      return Effect.sync(() => json(v3Index(types())))
    case "OpenApiV3Document":
      return Effect.sync(() => found(v3Document(types(), route.name)))
    default:
      return Effect.sync(() => discovery(api, request, route))
  }
}
