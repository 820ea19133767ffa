/**
 * Owns what every handler of the front is given: the server behind it, and the resource a request is about. Does not own
 * any verb.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { StoredObject } from "../apiserver/Json.ts"
import { present } from "../apiserver/Reads.ts"
import { isServed, type ResourceType } from "../apiserver/ResourceType.ts"
import { ApiStatus, noSuchResource } from "../apiserver/Status.ts"
import type { SimulatedApiServerShape } from "../SimulatedApiServer.ts"
import { json, negotiate, type Rendering, type Reply } from "./Reply.ts"
import type { ApiRequest } from "./Request.ts"
import type { ResourceRoute } from "./Route.ts"
import type { Subresources } from "./Subresources.ts"
import { columnsFor } from "./table/Columns.ts"
import { type Included, partial, table } from "./table/Table.ts"

export interface Api {
  /** `host:port`. */
  readonly address: string
  readonly server: SimulatedApiServerShape
  readonly subresources: Subresources
}

/** A request about a resource that is served, and the form its answer takes. */
export interface Call {
  readonly api: Api
  readonly request: ApiRequest
  readonly route: ResourceRoute
  readonly type: ResourceType
  readonly version: string
  /** "" for cluster scope. */
  readonly namespace: string
  readonly rendering: Rendering
}

export type Handled = Effect.Effect<Reply, ApiStatus>

export const methodRefused = new ApiStatus({
  code: 405,
  reason: "MethodNotAllowed",
  message: "the server does not allow this method on the requested resource",
  details: {}
})

const withDetails = (status: ApiStatus): ApiStatus =>
  new ApiStatus({ code: status.code, reason: status.reason, message: status.message, details: {} })

/** Undefined: there is not even such a group and version. */
export const callOf = (
  api: Api,
  request: ApiRequest,
  route: ResourceRoute
): Result.Result<Call, ApiStatus> | undefined => {
  const { registry } = api.server.store
  const type = registry.byResource(route.group, route.plural)
  if (type === undefined || !isServed(type, route.version)) {
    const known = registry.all().some((each) => each.group === route.group && isServed(each, route.version))
    return known ? Result.fail(withDetails(noSuchResource())) : undefined
  }
  if (!type.namespaced && route.namespace !== undefined) return Result.fail(withDetails(noSuchResource()))
  if (type.namespaced && route.namespace === undefined && route.name !== undefined) {
    return Result.fail(withDetails(noSuchResource()))
  }
  const rendering = negotiate(request.accept)
  if (rendering instanceof ApiStatus) return Result.fail(rendering)
  return Result.succeed({
    api,
    request,
    route,
    type,
    version: route.version,
    namespace: route.namespace ?? "",
    rendering
  })
}

const texts = new WeakMap<StoredObject, string>()

/** Objects are frozen, and each is sent to many: written out once. */
export const jsonText = (object: StoredObject): string => {
  const known = texts.get(object)
  if (known !== undefined) return known
  const fresh = JSON.stringify(object)
  texts.set(object, fresh)
  return fresh
}

export const includedIn = (request: ApiRequest): Included => {
  const asked = request.query.get("includeObject")
  return asked === "None" || asked === "Object" ? asked : "Metadata"
}

export const wantsPretty = (request: ApiRequest): boolean => {
  const asked = request.query.get("pretty")
  return asked === null ? /^(?:curl|Wget|Mozilla)\//.test(request.userAgent) : asked !== "false" && asked !== "0"
}

/** What a dry run would have created was never stored. */
const withoutVersion = (object: StoredObject): StoredObject => {
  if (object.metadata.resourceVersion !== "0") return object
  const { resourceVersion: _none, ...metadata } = object.metadata
  return { ...object, metadata: { ...metadata, resourceVersion: "" } }
}

/** One object, in the form the client asked for. */
export const objectReply = (
  call: Call,
  object: StoredObject,
  code: number,
  warnings: ReadonlyArray<string> = []
): Effect.Effect<Reply> => {
  const { type, version, rendering, request } = call
  const shown = withoutVersion(present(type, object, version))
  switch (rendering.as) {
    case "partial":
      return Effect.succeed(json(partial(shown), code, warnings))
    case "table":
      return Effect.map(Clock.currentTimeMillis, (nowMillis) => {
        const columns = columnsFor(type, version, call.api.subresources)
        const options = { include: includedIn(request), headers: true, nowMillis }
        return json(
          table(columns, [shown], { resourceVersion: shown.metadata.resourceVersion }, options),
          code,
          warnings
        )
      })
    case "object":
      if (rendering.format === "json" && warnings.length === 0 && !wantsPretty(request)) {
        return Effect.succeed({ _tag: "Raw", code, text: jsonText(shown) })
      }
      return Effect.succeed(json(shown, code, warnings))
  }
}
