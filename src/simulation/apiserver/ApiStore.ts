/**
 * Owns the verbs of the simulated API server on untyped objects: what create, update, patch and delete mean, with every
 * precondition. Synchronous: one request is one step nothing can come between. Does not own types' own rules (admission
 * is ResourceType.admit), reading (Reads.ts), nor what follows a deletion (controllers).
 */
import * as Result from "effect/Result"
import type { Json, JsonObject, StoredMeta, StoredObject } from "./Json.ts"
import { emptyObject, isJsonObject, jsonEqual, ownObject, stringAt } from "./Json.ts"
import { refuseCreation } from "./Lifecycle.ts"
import {
  type IncomingMeta,
  nameErrors,
  parseMeta,
  updatedMeta,
  validateMeta,
  validateMetaUpdate,
  withFinalizers,
  writableOf
} from "./Metadata.ts"
import { jsonPatch, mergePatch } from "./Patch.ts"
import { withType } from "./PatchedType.ts"
import {
  apiVersion,
  type DeleteBody,
  deletionFinalizers,
  type FieldTracker,
  failedPrecondition,
  NAMESPACE_MISMATCH,
  type Outcome,
  type Patch,
  type Request,
  staleVersion,
  type Target,
  uidMismatch,
  unreadablePatch
} from "./Requests.ts"
import { admit, Registry, type ResourceType, type Write } from "./ResourceType.ts"
import {
  type ApiStatus,
  alreadyExists,
  badRequest,
  conflict,
  forbidden,
  internalError,
  invalid,
  invalidValue,
  notFound
} from "./Status.ts"
import { type Place, Storage } from "./Storage.ts"
import { SUFFIX_LENGTH, Uids } from "./Uids.ts"
import { WriteLog, type WriteVerb } from "./WriteLog.ts"

/** Tries at a free generated name before AlreadyExists is the answer, as upstream. */
const MAX_GENERATED_NAME_TRIES = 8
/** Room for the suffix within a DNS label. */
const MAX_GENERATED_BASE_LENGTH = 63 - SUFFIX_LENGTH

/** What the NamespaceLifecycle admission protects. */
const ETERNAL_NAMESPACES: ReadonlySet<string> = new Set(["default", "kube-system", "kube-public"])

export interface StoreOptions {
  readonly seed: number
  readonly historyEvents: number
  readonly writeLogEntries: number
  /** RFC 3339, seconds. */
  readonly formatTime: (millis: number) => string
}

export class ApiStore {
  readonly registry = new Registry()
  readonly storage: Storage
  readonly uids: Uids
  readonly writeLog: WriteLog
  /** Set by a front that keeps managedFields. Without one they are kept as clients send them. */
  fieldTracker: FieldTracker | undefined
  readonly #formatTime: (millis: number) => string

  constructor(options: StoreOptions) {
    this.storage = new Storage(options.historyEvents)
    this.uids = new Uids(options.seed)
    this.writeLog = new WriteLog(options.writeLogEntries)
    this.#formatTime = options.formatTime
  }

  /** `applied`: made by server-side apply, its managedFields as they should be. */
  create(
    request: Request & { readonly namespace: string; readonly object: JsonObject; readonly applied?: boolean }
  ): Outcome {
    const asked = ownObject(request.object)
    const outcome = Result.flatMap(this.#incoming(request, asked), (meta) => this.#create(request, asked, meta))
    const name = stringAt(asked, "metadata", "name") ?? stringAt(asked, "metadata", "generateName") ?? ""
    return this.#record(request, "create", undefined, { namespace: request.namespace, name }, undefined, outcome)
  }

  /** A PUT: the whole object. */
  update(target: Target & { readonly object: JsonObject; readonly subresource?: "status" | undefined }): Outcome {
    const old = this.storage.get(target)
    const change = (before: StoredObject): Outcome => {
      const object = ownObject(target.object)
      const uid = stringAt(object, "metadata", "uid")
      if (uid !== undefined && uid !== "" && uid !== before.metadata.uid) {
        return Result.fail(conflict(target.type, target.name, uidMismatch(uid, before.metadata.uid)))
      }
      const version = stringAt(object, "metadata", "resourceVersion") ?? ""
      if (version === "" && !target.type.strategy.unconditionalUpdate) {
        return Result.fail(
          invalid(target.type, target.name, [
            invalidValue("metadata.resourceVersion", 0, "must be specified for an update")
          ])
        )
      }
      return this.#change(target, before, object, target.subresource)
    }
    const outcome = old === undefined ? Result.fail(notFound(target.type, target.name)) : change(old)
    return this.#record(target, "update", target.subresource, target, old, outcome)
  }

  patch(target: Target & { readonly patch: Patch; readonly subresource?: "status" | undefined }): Outcome {
    const old = this.storage.get(target)
    const outcome =
      old === undefined
        ? Result.fail(notFound(target.type, target.name))
        : Result.mapError(this.#patch(target, old), unreadablePatch)
    return this.#record(target, "patch", target.subresource, target, old, outcome)
  }

  delete(target: Target & { readonly options?: DeleteBody | undefined }): Outcome {
    const old = this.storage.get(target)
    const outcome =
      old === undefined
        ? Result.fail(notFound(target.type, target.name))
        : this.#delete(target, old, target.options ?? {})
    return this.#record(target, "delete", undefined, target, old, outcome)
  }

  /** What holds a namespace besides metadata.finalizers: only the namespace controller takes it away. */
  finalizeNamespace(target: Target): void {
    const old = this.storage.get(target)
    if (old === undefined) return
    const spec = isJsonObject(old["spec"]) ? old["spec"] : emptyObject
    const { finalizers: _held, ...rest } = spec
    const outcome = this.#settle(target, old, { ...old, spec: ownObject(rest) })
    this.#record(target, "update", undefined, target, old, Result.succeed(outcome))
  }

  #patch(
    target: Target & { readonly patch: Patch; readonly subresource?: "status" | undefined },
    old: StoredObject
  ): Outcome {
    const shown = old.apiVersion === apiVersion(target) ? old : { ...old, apiVersion: apiVersion(target) }
    const { patch } = target
    const patched =
      patch.type === "computed"
        ? patch.compute(shown)
        : patch.type === "merge"
          ? Result.succeed(mergePatch(shown, patch.body))
          : jsonPatch(shown, patch.operations)
    const typed = Result.flatMap(patched, (next) => withType(target, patch, next))
    return Result.flatMap(typed, (next) => {
      const metadata = next["metadata"]
      // `resourceVersion: null` in a patch takes the precondition away, it does not ask for version "".
      const asked = metadata === undefined ? { ...next, metadata: {} } : next
      return this.#change(target, old, asked, target.subresource, patch.type === "computed" && patch.applies === true)
    })
  }

  /** Type and version as the request's URL says, metadata readable. */
  #incoming(request: Request, object: JsonObject): Result.Result<IncomingMeta, ApiStatus> {
    const kind = object["kind"] ?? request.type.kind
    const version = object["apiVersion"] ?? apiVersion(request)
    if (kind !== request.type.kind || version !== apiVersion(request)) {
      return Result.fail(
        badRequest(
          `the API version in the data (${String(version)}, ${String(kind)}) does not match the expected API version (${apiVersion(request)}, ${request.type.kind})`
        )
      )
    }
    return parseMeta(object["metadata"])
  }

  #create(
    request: Request & { readonly namespace: string; readonly applied?: boolean },
    asked: JsonObject,
    meta: IncomingMeta
  ): Outcome {
    const { type, namespace } = request
    if (meta.resourceVersion !== undefined) {
      return Result.fail(internalError("resourceVersion should not be set on objects to be created"))
    }
    if (meta.namespace !== undefined && meta.namespace !== namespace) {
      return Result.fail(badRequest(NAMESPACE_MISMATCH))
    }
    const refusal = refuseCreation(this.registry, this.storage, type, namespace, meta)
    if (refusal !== undefined) return Result.fail(refusal)
    const name = meta.name ?? this.#generateName(type, namespace, meta.generateName)
    const named: IncomingMeta = name === undefined ? meta : { ...meta, name }
    const metadata: StoredMeta = {
      name: name ?? "",
      ...(meta.generateName === undefined ? {} : { generateName: meta.generateName }),
      ...(type.namespaced ? { namespace } : {}),
      uid: this.uids.uid(),
      resourceVersion: "0",
      ...(type.strategy.generation ? { generation: 1 } : {}),
      creationTimestamp: this.#formatTime(request.nowMillis),
      ...writableOf(meta),
      ...(meta.managedFields === undefined ? {} : { managedFields: meta.managedFields })
    }
    const { status, ...body } = asked
    const keepStatus = status !== undefined && (!type.statusSubresource || type.strategy.statusAtCreation)
    const object: StoredObject = {
      ...body,
      ...(keepStatus ? { status } : {}),
      apiVersion: apiVersion(request),
      kind: type.kind,
      metadata
    }
    const write: Write = { version: request.version, object, old: undefined, subresource: undefined }
    return Result.flatMap(
      admit(type, write, [...nameErrors(named, type.strategy.nameRule), ...validateMeta(metadata)]),
      (admitted) => {
        const place: Place = { type, namespace, name: metadata.name }
        if (this.storage.get(place) !== undefined) return Result.fail(alreadyExists(type, metadata.name))
        const object =
          request.applied === true
            ? admitted
            : this.#tracked(request, undefined, admitted, meta.managedFields, undefined)
        return Result.succeed(request.dryRun === true ? object : this.storage.put(place, object))
      }
    )
  }

  #generateName(type: ResourceType, namespace: string, base: string | undefined): string | undefined {
    if (base === undefined) return undefined
    let name = ""
    for (let tries = 0; tries < MAX_GENERATED_NAME_TRIES; tries++) {
      name = base.slice(0, MAX_GENERATED_BASE_LENGTH) + this.uids.suffix()
      if (this.storage.get({ type, namespace, name }) === undefined) break
    }
    return name
  }

  /** Update and patch meet here: `asked` is the whole object as the client wants it. */
  #change(
    target: Target,
    old: StoredObject,
    asked: JsonObject,
    subresource: "status" | undefined,
    applied = false
  ): Outcome {
    return Result.flatMap(this.#incoming(target, asked), (meta) => {
      const { type, name, namespace } = target
      if (meta.name === undefined) {
        return Result.fail(
          badRequest(`the name of the object (${name} based on URL) was undeterminable: name must be provided`)
        )
      }
      if (meta.name !== name) {
        return Result.fail(
          badRequest(`the name of the object (${meta.name}) does not match the name on the URL (${name})`)
        )
      }
      if (type.namespaced && meta.namespace !== undefined && meta.namespace !== namespace) {
        return Result.fail(badRequest(NAMESPACE_MISMATCH))
      }
      const stale = staleVersion(type, old, meta.resourceVersion)
      if (stale !== undefined) return Result.fail(stale)
      const next = this.#separated(target, old, asked, meta, subresource)
      const write: Write = { version: target.version, object: next, old, subresource }
      const errors = [...validateMetaUpdate(old.metadata, meta, next.metadata), ...validateMeta(next.metadata)]
      return Result.map(admit(type, write, errors), (admitted) => {
        const given = meta.managedFields
        const owned = applied
          ? {
              ...admitted,
              metadata: { ...admitted.metadata, ...(given === undefined ? {} : { managedFields: given }) }
            }
          : this.#tracked(target, old, admitted, given, subresource)
        const counted = this.#counted(type, old, owned)
        return target.dryRun === true ? counted : this.#settle(target, old, counted)
      })
    })
  }

  #tracked(
    request: Request,
    old: StoredObject | undefined,
    next: StoredObject,
    given: ReadonlyArray<Json> | undefined,
    subresource: "status" | undefined
  ): StoredObject {
    const time = this.#formatTime(request.nowMillis)
    return this.fieldTracker?.({ request, old, next, given, subresource, time }) ?? next
  }

  /** What of the request counts: /status writes the status alone, everything else all but the status. */
  #separated(
    target: Target,
    old: StoredObject,
    asked: JsonObject,
    meta: IncomingMeta,
    subresource: "status" | undefined
  ): StoredObject {
    const { type } = target
    const head = { apiVersion: apiVersion(target), kind: type.kind }
    if (subresource === "status") {
      const { status: _before, ...rest } = old
      const metadata = type.strategy.metadataThroughStatus ? updatedMeta(old.metadata, meta) : old.metadata
      const status = asked["status"]
      return { ...rest, ...head, metadata, ...(status === undefined ? {} : { status }) }
    }
    const metadata = updatedMeta(old.metadata, meta)
    if (!type.statusSubresource) return { ...asked, ...head, metadata }
    const { status: _ignored, ...rest } = asked
    return { ...rest, ...head, metadata, ...(old["status"] === undefined ? {} : { status: old["status"] }) }
  }

  /** The generation counts what is desired: anything but metadata, and status where that is a subresource. */
  #counted(type: ResourceType, old: StoredObject, next: StoredObject): StoredObject {
    if (!type.strategy.generation) return next
    const desired = (object: StoredObject): JsonObject => {
      const { metadata: _m, apiVersion: _v, kind: _k, status, ...rest } = object
      return type.statusSubresource || status === undefined ? rest : { ...rest, status }
    }
    if (jsonEqual(desired(old), desired(next))) return next
    return { ...next, metadata: { ...next.metadata, generation: (old.metadata.generation ?? 0) + 1 } }
  }

  /** Stores a change, or finishes a deletion whose last finalizer it took away. */
  #settle(place: Place, old: StoredObject, next: StoredObject): StoredObject {
    // An object presented in another version is not thereby changed.
    const stored = old.apiVersion === next.apiVersion ? next : { ...next, apiVersion: old.apiVersion }
    const done =
      stored.metadata.deletionTimestamp !== undefined &&
      (stored.metadata.finalizers ?? []).length === 0 &&
      place.type.strategy.releasable(stored)
    if (!done) return this.storage.put(place, stored)
    // As upstream: the event tells the last state that was stored, which still has the finalizer.
    const gone = this.storage.remove(place, old)
    return { ...stored, metadata: { ...stored.metadata, resourceVersion: gone.metadata.resourceVersion } }
  }

  #delete(target: Target, old: StoredObject, options: DeleteBody): Outcome {
    const { type, name } = target
    if (type.kind === "Namespace" && type.group === "" && ETERNAL_NAMESPACES.has(name)) {
      return Result.fail(forbidden(type, name, "this namespace may not be deleted"))
    }
    const failed = failedPrecondition(type, old, options)
    if (failed !== undefined) return Result.fail(failed)
    const metadata = withFinalizers(old.metadata, deletionFinalizers(old.metadata, options.propagationPolicy))
    const marked: StoredMeta =
      metadata.deletionTimestamp === undefined
        ? {
            ...metadata,
            ...(metadata.generation === undefined ? {} : { generation: metadata.generation + 1 }),
            deletionTimestamp: this.#formatTime(target.nowMillis),
            deletionGracePeriodSeconds: 0
          }
        : metadata
    const next = type.strategy.markDeleted({ ...old, metadata: marked })
    if (target.dryRun === true) return Result.succeed(next)
    // Gone at once: the event shows the object as it was, not as one that is being deleted.
    const immediate = (next.metadata.finalizers ?? []).length === 0 && type.strategy.releasable(next)
    return Result.succeed(immediate ? this.storage.remove(target, old) : this.#settle(target, old, next))
  }

  #record(
    request: Request,
    verb: WriteVerb,
    subresource: "status" | undefined,
    at: { readonly namespace: string; readonly name: string },
    old: StoredObject | undefined,
    outcome: Outcome
  ): Outcome {
    if (request.dryRun === true) return outcome
    const written = Result.isSuccess(outcome) ? outcome.success : undefined
    this.writeLog.add({
      timeMillis: request.nowMillis,
      client: request.client,
      verb,
      subresource,
      group: request.type.group,
      kind: request.type.kind,
      namespace: request.type.namespaced ? at.namespace : undefined,
      name: written?.metadata.name ?? at.name,
      uid: (written ?? old)?.metadata.uid,
      revision: this.storage.revision,
      outcome:
        written === undefined
          ? "refused"
          : written.metadata.resourceVersion === old?.metadata.resourceVersion
            ? "unchanged"
            : "changed",
      ...(Result.isFailure(outcome) ? { reason: outcome.failure.reason } : {})
    })
    return outcome
  }
}
