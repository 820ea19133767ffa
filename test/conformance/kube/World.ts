/**
 * Owns the words the conformance scenarios are written in: a client, fresh namespaces, refusals, watches, and the kind
 * `Gadget` with its CustomResourceDefinition. Does not own scenarios nor any server.
 */
import { assert, type Vitest } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CustomResourceDefinitions, Namespaces } from "../../../src/api/Core.ts"
import { nullable, opaque } from "../../../src/api/Field.ts"
import type { Kind, KubeObject } from "../../../src/api/Kind.ts"
import { objectFields } from "../../../src/api/Meta.ts"
import type { KubeClientShape, ListOptions, WatchEvent } from "../../../src/kube/KubeClient.ts"
import type { KubeError } from "../../../src/kube/KubeError.ts"

/** A real server takes a moment until a new kind is served everywhere. */
const SERVED_ATTEMPTS = 100
const SERVED_INTERVAL_MILLIS = 100

const Gadget = Schema.Struct({
  ...objectFields,
  spec: nullable(opaque),
  status: nullable(opaque)
})
export interface Gadget extends Schema.Schema.Type<typeof Gadget> {}

export const Gadgets: Kind<Gadget> = {
  group: "conformance.machinist.dev",
  versions: ["v1"],
  kind: "Gadget",
  plural: "gadgets",
  namespaced: true,
  schema: Gadget
}

/** As Gadgets, by the other version the definition serves. */
export const OldGadgets: Kind<Gadget> = { ...Gadgets, versions: ["v2", "v1beta1"] }

const gadgetSpec = {
  type: "object",
  "x-kubernetes-validations": [
    { rule: "!has(self.size) || !has(self.limit) || self.size <= self.limit", message: "size is above the limit" },
    { rule: "!has(oldSelf.id) || (has(self.id) && self.id == oldSelf.id)", message: "id is immutable once set" }
  ],
  properties: {
    id: { type: "string", maxLength: 64 },
    size: { type: "integer", format: "int32", minimum: 1, maximum: 10, default: 3 },
    limit: { type: "integer" },
    mode: { type: "string", enum: ["fast", "safe"] },
    code: { type: "string", pattern: "^[a-z]+$", minLength: 2, maxLength: 5 },
    frozen: {
      type: "string",
      maxLength: 64,
      "x-kubernetes-validations": [{ rule: "self == oldSelf", message: "frozen is frozen" }]
    },
    maybe: { type: "string", nullable: true },
    parts: {
      type: "array",
      maxItems: 4,
      "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["name"],
      items: {
        type: "object",
        required: ["name"],
        properties: { name: { type: "string", maxLength: 32 }, weight: { type: "number", default: 1.5 } }
      }
    },
    paths: {
      type: "array",
      maxItems: 4,
      items: { type: "string", maxLength: 64 },
      "x-kubernetes-validations": [{ rule: "self.all(p, p.startsWith('/'))", message: "paths are absolute" }]
    },
    tags: { type: "object", additionalProperties: { type: "string" } },
    port: { "x-kubernetes-int-or-string": true },
    free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
    nested: { type: "object", required: ["must"], properties: { must: { type: "string" } } }
  }
} as const

const versionOf = (name: string, storage: boolean) => ({
  name,
  served: true,
  storage,
  subresources: { status: {} },
  schema: {
    openAPIV3Schema: {
      type: "object",
      properties: {
        spec: gadgetSpec,
        status: {
          type: "object",
          properties: { phase: { type: "string" }, count: { type: "integer" } }
        }
      }
    }
  }
})

export const gadgetDefinition = {
  metadata: { name: "gadgets.conformance.machinist.dev" },
  spec: {
    group: "conformance.machinist.dev",
    scope: "Namespaced",
    names: { plural: "gadgets", singular: "gadget", kind: "Gadget", listKind: "GadgetList" },
    versions: [versionOf("v1", true), versionOf("v1beta1", false)]
  }
} as const

export class World extends Context.Service<World, { readonly client: KubeClientShape }>()(
  "test/conformance/kube/World"
) {
  /** The client, once its server serves Gadgets. */
  static readonly layer = <E>(makeClient: Effect.Effect<KubeClientShape, E, Scope.Scope>) =>
    Layer.effect(
      World,
      Effect.gen(function* () {
        const client = yield* makeClient
        yield* client.create(CustomResourceDefinitions, gadgetDefinition)
        yield* client
          .list(Gadgets)
          .pipe(Effect.retry(Schedule.max([Schedule.spaced(SERVED_INTERVAL_MILLIS), Schedule.recurs(SERVED_ATTEMPTS)])))
        return { client }
      })
    )
}

export type It = Vitest.MethodsNonLive<World>

let namespaces = 0

/** One for each scenario: deleted ones never go away on a server without controllers. */
export const freshNamespace = Effect.gen(function* () {
  const { client } = yield* World
  const name = `conformance-${namespaces++}`
  yield* client.create(Namespaces, { metadata: { name } })
  return name
})

/** The error of what must be refused. */
export const refused = <A, R>(effect: Effect.Effect<A, KubeError, R>): Effect.Effect<KubeError, string, R> =>
  Effect.matchEffect(effect, {
    onFailure: (error) => Effect.succeed(error),
    onSuccess: () => Effect.fail("it was not refused")
  })

export const reasonOf = <A, R>(effect: Effect.Effect<A, KubeError, R>) =>
  Effect.map(refused(effect), (error) => error.reason)

export const names = (list: { readonly items: ReadonlyArray<KubeObject> }): ReadonlyArray<string> =>
  list.items.map((item) => item.metadata.name)

/** An event as the scenarios compare it: what happened to whom. */
export const told = (event: WatchEvent<KubeObject>): string =>
  event._tag === "Bookmark" ? "Bookmark" : `${event._tag} ${event.object.metadata.name}`

/**
 * Starts a watch, runs `act`, and answers with the first `count` events that are not bookmarks. The watch is certain to
 * see what `act` does because it starts from a resourceVersion taken before.
 */
export const watching = <A extends KubeObject, E, R>(
  kind: Kind<A>,
  options: ListOptions & { readonly resourceVersion: string },
  count: number,
  act: Effect.Effect<unknown, E, R>
) =>
  Effect.gen(function* () {
    const { client } = yield* World
    const fiber = yield* Effect.forkChild(
      client.watch(kind, options).pipe(
        Stream.filter(
          (event): event is Exclude<WatchEvent<A>, { readonly _tag: "Bookmark" }> => event._tag !== "Bookmark"
        ),
        Stream.take(count),
        Stream.runCollect
      )
    )
    yield* act
    return yield* Fiber.join(fiber)
  })

/** Watches from the moment of a list of the same selection. */
export const following = <A extends KubeObject, E, R>(
  kind: Kind<A>,
  options: ListOptions,
  count: number,
  act: Effect.Effect<unknown, E, R>
) =>
  Effect.gen(function* () {
    const { client } = yield* World
    const { resourceVersion } = yield* client.list(kind, options)
    return yield* watching(kind, { ...options, resourceVersion }, count, act)
  })

export const assertRefusal = (error: KubeError, reason: KubeError["reason"], message: string) => {
  assert.strictEqual(error.message, message)
  assert.strictEqual(error.reason, reason)
}
