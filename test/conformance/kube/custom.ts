/**
 * Owns the scenarios about custom resources: the status subresource, generations, versions, and what the definition's
 * schema does to an object (defaults, pruning, validation, CEL).
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { CustomResourceDefinitions } from "../../../src/api/Core.ts"
import type { JsonObject } from "../../../src/kube/KubeClient.ts"
import {
  assertRefusal,
  freshNamespace,
  Gadgets,
  gadgetDefinition,
  type It,
  OldGadgets,
  reasonOf,
  refused,
  World
} from "./World.ts"

const gadget = (spec: JsonObject, status?: JsonObject) =>
  Effect.gen(function* () {
    const { client } = yield* World
    const namespace = yield* freshNamespace
    const ref = { namespace, name: "g" }
    const made = yield* client.create(Gadgets, { metadata: ref, spec, ...(status === undefined ? {} : { status }) })
    return { client, ref, made }
  })

const refusal = (spec: JsonObject) =>
  Effect.gen(function* () {
    const { client } = yield* World
    return yield* refused(client.create(Gadgets, { metadata: { namespace: "default", name: "g" }, spec }))
  })

export const types = (it: It) => {
  it.effect("a patch can't make another kind or version of an object, nor take them away", () =>
    Effect.gen(function* () {
      const { client, ref } = yield* gadget({ size: 1 })
      for (const [patch, says] of [
        [{ kind: "Other" }, /^Other\.conformance\.machinist\.dev "g" is invalid: kind: .*must be Gadget/],
        [
          { apiVersion: "conformance.machinist.dev/v2" },
          /apiVersion: Invalid value: .*must be conformance\.machinist\.dev\/v1/
        ],
        [{ apiVersion: "other/v1" }, /^Gadget\.other "g" is invalid/],
        [{ kind: null }, /^ "" is invalid: patch/]
      ] as const) {
        const error = yield* refused(client.patch(Gadgets, ref, patch))
        assert.strictEqual(error.reason, "Invalid", JSON.stringify(patch))
        assert.match(error.message, says)
      }
    })
  )

  it.effect("a null that may not be is as absent, also where the schema keeps what it does not know", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const spec = { size: 1, free: null }
      const made = yield* client.create(Gadgets, { metadata: { namespace, name: "g" }, spec })
      assert.deepStrictEqual(Object.keys(made.spec ?? {}).includes("free"), false)
    })
  )
}

export const subresources = (it: It) => {
  it.effect("status is written through its subresource alone, and only status", () =>
    Effect.gen(function* () {
      const { client, ref, made } = yield* gadget({ size: 1 }, { phase: "Dropped" })
      assert.isUndefined(made.status)
      const ignored = yield* client.patch(Gadgets, ref, { status: { phase: "No" }, spec: { size: 2 } })
      assert.isUndefined(ignored.status)
      const status = yield* client.patch(
        Gadgets,
        ref,
        { status: { phase: "Yes" }, spec: { size: 5 }, metadata: { labels: { no: "no" } } },
        { subresource: "status" }
      )
      assert.deepStrictEqual(status.status, { phase: "Yes" })
      assert.deepStrictEqual(status.spec, { size: 2 })
      assert.isUndefined(status.metadata.labels)
      const kept = yield* client.patch(Gadgets, ref, { spec: { size: 3 }, status: null })
      assert.deepStrictEqual(kept.status, { phase: "Yes" })
    })
  )

  it.effect("the generation counts changes of the spec: not of metadata, not of status", () =>
    Effect.gen(function* () {
      const { client, ref, made } = yield* gadget({ size: 1 })
      assert.strictEqual(made.metadata.generation, 1)
      const labelled = yield* client.patch(Gadgets, ref, { metadata: { labels: { a: "b" } } })
      assert.strictEqual(labelled.metadata.generation, 1)
      const status = yield* client.patch(Gadgets, ref, { status: { phase: "A" } }, { subresource: "status" })
      assert.strictEqual(status.metadata.generation, 1)
      const changed = yield* client.patch(Gadgets, ref, { spec: { size: 2 } })
      assert.strictEqual(changed.metadata.generation, 2)
      const asked = yield* client.patch(Gadgets, ref, { metadata: { generation: 17 } })
      assert.strictEqual(asked.metadata.generation, 2)
    })
  )

  it.effect("asking for deletion counts as a generation, too", () =>
    Effect.gen(function* () {
      const { client, ref } = yield* gadget({ size: 1 })
      yield* client.patch(Gadgets, ref, { metadata: { finalizers: ["test.machinist.dev/hold"] } })
      yield* client.delete(Gadgets, ref)
      assert.strictEqual((yield* client.get(Gadgets, ref)).metadata.generation, 2)
      yield* client.patch(Gadgets, ref, { metadata: { finalizers: null } })
      assert.strictEqual(yield* reasonOf(client.get(Gadgets, ref)), "NotFound")
    })
  )

  it.effect("preconditions hold on the status subresource", () =>
    Effect.gen(function* () {
      const { client, ref, made } = yield* gadget({ size: 1 })
      yield* client.patch(Gadgets, ref, { spec: { size: 2 } })
      const { resourceVersion } = made.metadata
      assertRefusal(
        yield* refused(
          client.patch(Gadgets, ref, { status: { phase: "A" } }, { subresource: "status", resourceVersion })
        ),
        "Conflict",
        'Operation cannot be fulfilled on gadgets.conformance.machinist.dev "g": the object has been modified; please apply your changes to the latest version and try again'
      )
    })
  )

  it.effect("the first version that is served is used, and says so", () =>
    Effect.gen(function* () {
      const { client, ref, made } = yield* gadget({ size: 1 })
      assert.strictEqual(made.apiVersion, "conformance.machinist.dev/v1")
      const old = yield* client.get(OldGadgets, ref)
      assert.strictEqual(old.apiVersion, "conformance.machinist.dev/v1beta1")
      assert.strictEqual(old.metadata.resourceVersion, made.metadata.resourceVersion)
      const patched = yield* client.patch(OldGadgets, ref, { spec: { size: 2 } })
      assert.strictEqual(patched.apiVersion, "conformance.machinist.dev/v1beta1")
      assert.strictEqual((yield* client.get(Gadgets, ref)).apiVersion, "conformance.machinist.dev/v1")
    })
  )
}

export const schemas = (it: It) => {
  it.effect("defaults fill what is absent, unknown fields vanish, stray nulls are as absent", () =>
    Effect.gen(function* () {
      const { made, client, ref } = yield* gadget({
        unknown: 1,
        parts: [
          { name: "a", strange: true },
          { name: "b", weight: 2 }
        ],
        free: { any: { thing: [1, null] } },
        maybe: null,
        mode: null,
        size: null,
        tags: { a: "b" }
      })
      assert.deepStrictEqual(made.spec, {
        size: 3,
        parts: [
          { name: "a", weight: 1.5 },
          { name: "b", weight: 2 }
        ],
        free: { any: { thing: [1, null] } },
        maybe: null,
        tags: { a: "b" }
      })
      const again = yield* client.patch(Gadgets, ref, { spec: { size: null, alien: 1 } })
      assert.deepStrictEqual(again, made)
    })
  )

  it.effect("each kind of schema error, in the server's words", () =>
    Effect.gen(function* () {
      const head = 'Gadget.conformance.machinist.dev "g" is invalid: '
      const tail =
        ", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]"
      for (const [spec, message, stopsRules] of [
        [
          { size: "1" },
          'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"',
          true
        ],
        [{ size: 0 }, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1", false],
        [{ size: 11 }, "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10", false],
        [{ mode: "slow" }, 'spec.mode: Unsupported value: "slow": supported values: "fast", "safe"', true],
        [{ code: "ABC" }, "spec.code: Invalid value: \"ABC\": spec.code in body should match '^[a-z]+$'", false],
        [{ code: "a" }, 'spec.code: Invalid value: "a": spec.code in body should be at least 2 chars long', false],
        [{ code: "abcdef" }, "spec.code: Too long: may not be more than 5 bytes", true],
        [{ nested: {} }, "spec.nested.must: Required value", true],
        [{ paths: ["/1", "/2", "/3", "/4", "/5"] }, "spec.paths: Too many: 5: must have at most 4 items", true],
        [{ parts: [{ weight: 1 }] }, "spec.parts[0].name: Required value", true],
        [
          { tags: { a: 1 } },
          'spec.tags.a: Invalid value: "integer": spec.tags.a in body must be of type string: "integer"',
          true
        ],
        [
          { port: true },
          'spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
          true
        ]
      ] as const) {
        const error = yield* refusal(spec)
        assert.strictEqual(error.message, stopsRules ? `${head}[${message}${tail}` : `${head}${message}`)
        assert.strictEqual(error.reason, "Invalid")
      }
    })
  )

  it.effect("items of a map-list are unique by their keys", () =>
    Effect.gen(function* () {
      const error = yield* refusal({ parts: [{ name: "a" }, { name: "b" }, { name: "a", weight: 9 }] })
      assert.strictEqual(error.reason, "Invalid")
      assert.include(error.message, 'spec.parts[2]: Duplicate value: {"name":"a"}')
    })
  )

  it.effect("CEL rules refuse with their message", () =>
    Effect.gen(function* () {
      const head = 'Gadget.conformance.machinist.dev "g" is invalid: '
      assertRefusal(
        yield* refusal({ size: 5, limit: 4 }),
        "Invalid",
        `${head}spec: Invalid value: "object": size is above the limit`
      )
      assertRefusal(
        yield* refusal({ paths: ["/a", "b"] }),
        "Invalid",
        `${head}spec.paths: Invalid value: "array": paths are absolute`
      )
    })
  )

  it.effect("transition rules compare with what was", () =>
    Effect.gen(function* () {
      const { client, ref } = yield* gadget({ frozen: "x" })
      yield* client.patch(Gadgets, ref, { spec: { id: "1" } })
      yield* client.patch(Gadgets, ref, { spec: { id: "1", frozen: "x" } })
      const head = 'Gadget.conformance.machinist.dev "g" is invalid: '
      assertRefusal(
        yield* refused(client.patch(Gadgets, ref, { spec: { id: "2" } })),
        "Invalid",
        `${head}spec: Invalid value: "object": id is immutable once set`
      )
      assertRefusal(
        yield* refused(client.patch(Gadgets, ref, { spec: { id: null } })),
        "Invalid",
        `${head}spec: Invalid value: "object": id is immutable once set`
      )
      assertRefusal(
        yield* refused(client.patch(Gadgets, ref, { spec: { frozen: "y" } })),
        "Invalid",
        `${head}spec.frozen: Invalid value: "string": frozen is frozen`
      )
      // A rule on an optional field has nothing to say when the field goes away.
      yield* client.patch(Gadgets, ref, { spec: { frozen: null } })
    })
  )

  it.effect("a status that breaks the schema is refused", () =>
    Effect.gen(function* () {
      const { client, ref } = yield* gadget({})
      const error = yield* refused(client.patch(Gadgets, ref, { status: { count: "x" } }, { subresource: "status" }))
      assert.strictEqual(error.reason, "Invalid")
      assert.include(error.message, 'status.count: Invalid value: "string"')
    })
  )

  it.effect("a definition without a schema, with a wrong name or a broken rule is refused", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const [version] = gadgetDefinition.spec.versions
      const define = (name: string, change: JsonObject) =>
        reasonOf(
          client.create(CustomResourceDefinitions, {
            metadata: { name },
            spec: {
              ...gadgetDefinition.spec,
              group: "broken.machinist.dev",
              versions: [{ ...version, ...change }]
            }
          })
        )
      const name = "gadgets.broken.machinist.dev"
      const schema = (spec: JsonObject) => ({ schema: { openAPIV3Schema: { type: "object", properties: { spec } } } })
      assert.strictEqual(yield* define("other.broken.machinist.dev", {}), "Invalid")
      assert.strictEqual(yield* define(name, { schema: {} }), "Invalid")
      assert.strictEqual(yield* define(name, { storage: false }), "Invalid")
      assert.strictEqual(yield* define(name, schema({ properties: { untyped: {} } })), "Invalid")
      const rule = (text: string) => schema({ type: "object", "x-kubernetes-validations": [{ rule: text }] })
      assert.strictEqual(yield* define(name, rule("self.(")), "Invalid")
      assert.strictEqual(yield* define(name, rule("noSuchFunction(self)")), "Invalid")
    })
  )
}
