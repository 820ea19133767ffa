/**
 * Owns the scale subresource of custom kinds whose definition has one: `kubectl scale` reads and writes it without
 * knowing the kind. Does not own which fields are meant (Subresources.ts).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { type Json, type JsonObject, jsonAt, type StoredObject, stringAt } from "../apiserver/Json.ts"
import { type ApiStatus, invalid, invalidValue, required } from "../apiserver/Status.ts"
import { type Call, type Handled, methodRefused } from "./Api.ts"
import { anyNode } from "./fields/Schema.ts"
import { decodePatch, patchedBy } from "./Patching.ts"
import { json } from "./Reply.ts"
import { objectBody, writeOptions } from "./Request.ts"
import { type ScalePaths, withAt } from "./Subresources.ts"
import { targetOf } from "./Writing.ts"

const scaleOf = (object: StoredObject, paths: ScalePaths): JsonObject => {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata
  const selector = paths.selector === undefined ? undefined : stringAt(object, ...paths.selector)
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: { name, ...(namespace === undefined ? {} : { namespace }), uid, resourceVersion, creationTimestamp },
    spec: { replicas: jsonAt(object, paths.spec) ?? 0 },
    status: { replicas: jsonAt(object, paths.status) ?? 0, ...(selector === undefined ? {} : { selector }) }
  }
}

/** The object with the replicas that the asked Scale wants. */
const scaled = (
  call: Call,
  current: JsonObject,
  name: string,
  paths: ScalePaths,
  asked: Json
): Result.Result<Json, ApiStatus> => {
  const replicas = jsonAt(asked, ["spec", "replicas"]) ?? 0
  const field = `.${paths.spec.join(".")}`
  if (typeof replicas !== "number" || !Number.isInteger(replicas)) {
    return Result.fail(invalid(call.type, name, [required(field, "must be a whole number")]))
  }
  if (replicas < 0) {
    return Result.fail(invalid(call.type, name, [invalidValue(field, replicas, "should be a non-negative integer")]))
  }
  const next = withAt(current, paths.spec, replicas)
  const version = stringAt(asked, "metadata", "resourceVersion")
  return Result.succeed(
    version === undefined || version === "" ? next : withAt(next, ["metadata", "resourceVersion"], version)
  )
}

const write = (
  call: Call,
  name: string,
  paths: ScalePaths,
  ask: (current: JsonObject) => Result.Result<Json, ApiStatus>,
  options: "UpdateOptions" | "PatchOptions"
): Handled =>
  Effect.gen(function* () {
    const writing = yield* Effect.fromResult(writeOptions(call.request, options, false))
    const nowMillis = yield* Clock.currentTimeMillis
    const { store } = call.api.server
    const outcome = store.patch({
      ...targetOf(call, writing, name, nowMillis),
      fieldSubresource: "scale",
      patch: {
        type: "computed",
        compute: (current) => {
          const object = store.storage.get({ type: call.type, namespace: call.namespace, name })
          const scale = object === undefined ? Result.succeed<Json>({}) : ask(scaleOf(object, paths))
          return Result.flatMap(scale, (asked) => scaled(call, current, name, paths, asked))
        }
      }
    })
    return json(scaleOf(yield* Effect.fromResult(outcome), paths))
  })

export const scale = (call: Call, name: string, paths: ScalePaths): Handled => {
  const { request, type, version, namespace } = call
  switch (request.method) {
    case "GET":
      return Effect.map(Effect.fromResult(call.api.server.reads.get({ type, version, namespace, name })), (object) =>
        json(scaleOf(object, paths))
      )
    case "PUT":
      return Effect.flatMap(objectBody(request, "Scale"), (asked) =>
        write(call, name, paths, () => Result.succeed(asked), "UpdateOptions")
      )
    case "PATCH":
      return Effect.gen(function* () {
        const body = yield* Effect.fromResult(decodePatch(request, (yield* request.body).toString("utf8")))
        const patched = patchedBy(request.contentType, body, anyNode)
        return yield* write(call, name, paths, patched, "PatchOptions")
      })
    default:
      return Effect.fail(methodRefused)
  }
}
