/**
 * Owns create, update, delete and deletecollection over HTTP: what bodies and queries mean, and what is answered. Does
 * not own patches (Patching.ts) nor what a write does (apiserver/ApiStore.ts).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { apiVersionOf } from "../../api/Kind.ts"
import { isJsonObject, type JsonObject, type StoredObject, stringAt } from "../apiserver/Json.ts"
import type { DeleteBody, PropagationPolicy, Target } from "../apiserver/Requests.ts"
import { type ApiStatus, type FieldError, invalidValue, notSupported } from "../apiserver/Status.ts"
import { type Call, type Handled, methodRefused, objectReply } from "./Api.ts"
import { selectionOf, shownItems } from "./Reading.ts"
import { json } from "./Reply.ts"
import { objectBody, optionalBody, refuseOptions, type WriteOptions, writeOptions } from "./Request.ts"
import { builtinSchemaOf, nodeFor } from "./Schemas.ts"
import { kindProblem, refuseObject, validateFields } from "./Validation.ts"

/** The part of a store request that every write of this call has. */
export const targetOf = (call: Call, options: WriteOptions, name: string, nowMillis: number): Target => ({
  // Writes are counted by who made them.
  client: options.fieldManager,
  fieldManager: options.fieldManager,
  nowMillis,
  type: call.type,
  version: call.version,
  namespace: call.namespace,
  name,
  dryRun: options.dryRun
})

/** The body, judged by the schema. */
const readObject = (call: Call, options: WriteOptions) =>
  Effect.gen(function* () {
    const { type, version } = call
    const object = yield* objectBody(call.request, type.kind)
    const problem = kindProblem(type, version, object)
    if (problem !== undefined) return yield* Effect.fail(problem)
    const validated = yield* Effect.fromResult(
      validateFields(object, nodeFor(type, version), {
        validation: options.fieldValidation,
        prune: builtinSchemaOf(type, version) !== undefined,
        refuse: refuseObject(type, version)
      })
    )
    return { object: isJsonObject(validated.value) ? validated.value : object, warnings: validated.warnings }
  })

export const create = (call: Call): Handled =>
  Effect.gen(function* () {
    const options = yield* Effect.fromResult(writeOptions(call.request, "CreateOptions", false))
    const { object, warnings } = yield* readObject(call, options)
    const nowMillis = yield* Clock.currentTimeMillis
    const outcome = call.api.server.store.create({ ...targetOf(call, options, "", nowMillis), object })
    const created = yield* Effect.fromResult(outcome)
    return yield* objectReply(call, created, 201, warnings)
  })

export const update = (call: Call, name: string, subresource: "status" | undefined): Handled =>
  Effect.gen(function* () {
    const options = yield* Effect.fromResult(writeOptions(call.request, "UpdateOptions", false))
    const { object, warnings } = yield* readObject(call, options)
    const nowMillis = yield* Clock.currentTimeMillis
    const outcome = call.api.server.store.update({ ...targetOf(call, options, name, nowMillis), object, subresource })
    const updated = yield* Effect.fromResult(outcome)
    return yield* objectReply(call, updated, 200, warnings)
  })

interface Deletion extends DeleteBody {
  readonly dryRun: boolean
}

const POLICIES: ReadonlyArray<PropagationPolicy> = ["Foreground", "Background", "Orphan"]

const policyOf = (text: string | undefined): PropagationPolicy | undefined => POLICIES.find((policy) => policy === text)

/** DeleteOptions of the body; of the query where there is no body, as upstream. */
const deletionOf = (body: JsonObject, query: URLSearchParams): Result.Result<Deletion, ApiStatus> => {
  const whole = Object.keys(body).length > 0
  const policy = whole ? stringAt(body, "propagationPolicy") : (query.get("propagationPolicy") ?? undefined)
  const orphan = whole ? body["orphanDependents"] : query.get("orphanDependents") === "true" ? true : undefined
  const given = whole ? body["dryRun"] : undefined
  const dryRun = Array.isArray(given) ? given : query.getAll("dryRun").filter((value) => value !== "")
  const errors: Array<FieldError> = []
  if (policy !== undefined && policy !== "" && policyOf(policy) === undefined) {
    errors.push(notSupported("propagationPolicy", policy, [...POLICIES, "nil"]))
  }
  if (policy !== undefined && policy !== "" && typeof orphan === "boolean") {
    errors.push(
      invalidValue("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set")
    )
  }
  for (const value of dryRun) if (value !== "All") errors.push(notSupported("dryRun", value, ["All"]))
  if (errors.length > 0) return Result.fail(refuseOptions("DeleteOptions", errors))
  return Result.succeed({
    dryRun: dryRun.length > 0,
    uid: stringAt(body, "preconditions", "uid"),
    resourceVersion: stringAt(body, "preconditions", "resourceVersion"),
    propagationPolicy: orphan === true ? "Orphan" : orphan === false ? "Background" : policyOf(policy)
  })
}

const readDeletion = (call: Call): Effect.Effect<Deletion, ApiStatus> =>
  Effect.flatMap(optionalBody(call.request), (body) => Effect.fromResult(deletionOf(body, call.request.query)))

const deletionTarget = (call: Call, deletion: Deletion, name: string, namespace: string, nowMillis: number) => ({
  client: clientOf(call),
  nowMillis,
  type: call.type,
  version: call.version,
  namespace,
  name,
  dryRun: deletion.dryRun,
  options: deletion
})

/** A deletion has no field manager. */
const clientOf = (call: Call): string => {
  const options = writeOptions(call.request, "DeleteOptions", false)
  return Result.isSuccess(options) ? options.success.fieldManager : "unknown"
}

/** Whether the deletion is done: the object was neither kept by finalizers nor (dry run) left alone. */
const isGone = (call: Call, object: StoredObject, deletion: Deletion): boolean => {
  if (deletion.dryRun) return (object.metadata.finalizers ?? []).length === 0 && call.type.strategy.releasable(object)
  const place = { type: call.type, namespace: object.metadata.namespace ?? "", name: object.metadata.name }
  return call.api.server.store.storage.get(place)?.metadata.uid !== object.metadata.uid
}

export const remove = (call: Call, name: string): Handled =>
  Effect.gen(function* () {
    const deletion = yield* readDeletion(call)
    const nowMillis = yield* Clock.currentTimeMillis
    const outcome = call.api.server.store.delete(deletionTarget(call, deletion, name, call.namespace, nowMillis))
    const object = yield* Effect.fromResult(outcome)
    if (!isGone(call, object, deletion)) return yield* objectReply(call, object, 200)
    const { group, plural } = call.type
    return json({
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Success",
      details: { name, ...(group === "" ? {} : { group }), kind: plural, uid: object.metadata.uid }
    })
  })

export const removeAll = (call: Call): Handled =>
  Effect.gen(function* () {
    if (call.type.kind === "Namespace" && call.type.group === "") return yield* Effect.fail(methodRefused)
    const deletion = yield* readDeletion(call)
    const listed = yield* Effect.fromResult(
      call.api.server.reads.list({ ...selectionOf(call), type: call.type, version: call.version })
    )
    const nowMillis = yield* Clock.currentTimeMillis
    for (const object of listed.items) {
      const { name, namespace = "" } = object.metadata
      const outcome = call.api.server.store.delete(deletionTarget(call, deletion, name, namespace, nowMillis))
      if (Result.isFailure(outcome) && outcome.failure.reason !== "NotFound") return yield* Effect.fail(outcome.failure)
    }
    return json({
      kind: call.type.listKind,
      apiVersion: apiVersionOf(call.type.group, call.version),
      metadata: { resourceVersion: listed.resourceVersion },
      items: shownItems(call, listed.items)
    })
  })
