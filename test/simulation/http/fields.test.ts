/**
 * Server-side apply as a real kube-apiserver does it: the expectations are what v1.34 answered to the same requests.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { ApiStore } from "../../../src/simulation/apiserver/ApiStore.ts"
import { typeOfDefinition } from "../../../src/simulation/apiserver/builtin/Definitions.ts"
import type { JsonObject } from "../../../src/simulation/apiserver/Json.ts"
import { applyConfig } from "../../../src/simulation/http/fields/Apply.ts"
import {
  difference,
  emptySet,
  equalSets,
  fromFieldsV1,
  intersection,
  isEmpty,
  pathsOf,
  toFieldsV1,
  union,
  within,
  without
} from "../../../src/simulation/http/fields/FieldSet.ts"
import { trackWrites } from "../../../src/simulation/http/fields/ManagedFields.ts"
import { rootNode } from "../../../src/simulation/http/fields/Schema.ts"
import { compare, fieldsOf, mergeTyped } from "../../../src/simulation/http/fields/Typed.ts"
import { nodeFor } from "../../../src/simulation/http/Schemas.ts"
import { widgetDefinition, widgetSchema } from "./Widgets.ts"

const set = (fields: JsonObject) => fromFieldsV1(fields) ?? assert.fail("not FieldsV1")

const a = set({ "f:spec": { ".": {}, "f:a": {}, "f:b": { "f:c": {} } }, "f:x": {} })
const b = set({ "f:spec": { "f:a": {}, "f:b": { ".": {} } } })

describe("sets of fields", () => {
  it("FieldsV1 comes back as it was, whatever the spelling of its keys", () => {
    const fields = {
      "f:metadata": { "f:finalizers": { ".": {}, 'v:"x"': {} } },
      "f:spec": { "f:parts": { 'k:{"a":1,"b":"z"}': { ".": {}, "f:b": {} } } }
    }
    assert.deepStrictEqual(toFieldsV1(set(fields)), fields)
    const spelled = set({ "f:spec": { "f:parts": { 'k:{ "b":"z", "a":1 }': { ".": {}, "f:b": {} } } } })
    assert.deepStrictEqual(toFieldsV1(spelled), { "f:spec": fields["f:spec"] })
  })
  it("what is no FieldsV1 is not read as one", () => {
    for (const bad of [{ spec: {} }, { "f:a": 1 }, { "k:{": {} }, { "v:": {} }, { "i:x": {} }, []]) {
      assert.isUndefined(fromFieldsV1(bad))
    }
  })
  it("union, difference and intersection are about paths, not about what lies below them", () => {
    assert.deepStrictEqual(pathsOf(union(a, b)), [".x", ".spec", ".spec.a", ".spec.b", ".spec.b.c"].sort(byDepth))
    assert.deepStrictEqual(pathsOf(difference(a, b)), [".spec", ".x", ".spec.b.c"])
    assert.deepStrictEqual(pathsOf(intersection(a, b)), [".spec.a"])
    assert.isTrue(isEmpty(difference(a, a)))
    assert.isTrue(equalSets(union(difference(a, b), intersection(a, b)), a))
    assert.isTrue(equalSets(union(a, emptySet), a))
  })
  it("without and within take whole branches", () => {
    const spec = set({ "f:spec": {} })
    assert.deepStrictEqual(pathsOf(without(a, spec)), [".x"])
    assert.deepStrictEqual(pathsOf(within(a, spec)), [".spec", ".spec.a", ".spec.b.c"])
  })
})

const byDepth = (left: string, right: string) => {
  const depth = (path: string) => path.split(".").length
  return depth(left) - depth(right) || (left < right ? -1 : 1)
}

const node = rootNode(widgetSchema)
const widget = (spec: JsonObject): JsonObject => ({ spec })
const paths = (spec: JsonObject) => pathsOf(fieldsOf(widget(spec), node))

describe("values under a schema", () => {
  it("maps by key, set and map lists by item, everything else as a whole", () => {
    assert.deepStrictEqual(
      paths({
        size: 1,
        tags: { a: "b" },
        names: ["x"],
        parts: [{ name: "p", note: "n" }],
        plain: [{ a: "1" }]
      }).toSorted(),
      [
        '.spec.names[="x"]',
        '.spec.parts[name="p"]',
        '.spec.parts[name="p"].name',
        '.spec.parts[name="p"].note',
        ".spec.plain",
        ".spec.size",
        ".spec.tags.a"
      ]
    )
  })
  it("an empty map and a null are fields of their own", () => {
    assert.deepStrictEqual(paths({ tags: {}, free: { deep: { a: 1, b: null } } }).toSorted(), [
      ".spec.free.deep",
      ".spec.free.deep.a",
      ".spec.free.deep.b",
      ".spec.tags"
    ])
  })
  it("compare tells added, changed and removed apart", () => {
    const before = widget({ size: 1, tags: { a: "1", b: "1" }, parts: [{ name: "p", note: "n" }], plain: [{ a: "1" }] })
    const after = widget({ size: 2, tags: { b: "1", c: "1" }, parts: [{ name: "q" }], plain: [{ a: "1" }] })
    const { added, modified, removed } = compare(before, after, node)
    assert.deepStrictEqual(pathsOf(modified), [".spec.size"])
    assert.deepStrictEqual(pathsOf(added), ['.spec.parts[name="q"]', '.spec.parts[name="q"].name', ".spec.tags.c"])
    assert.deepStrictEqual(pathsOf(removed), [
      '.spec.parts[name="p"]',
      '.spec.parts[name="p"].name',
      '.spec.parts[name="p"].note',
      ".spec.tags.a"
    ])
    assert.isTrue(isEmpty(compare(before, structuredClone(before), node).modified))
  })
  it("a merge keeps what only one side has", () => {
    const live = widget({ parts: [{ name: "p", note: "n" }], plain: [{ a: "1" }], tags: { x: "1" } })
    const next = widget({ parts: [{ name: "p", weight: 2 }], plain: [{ a: "2" }], tags: { y: "2" } })
    assert.deepStrictEqual(mergeTyped(live, next, node), {
      spec: { parts: [{ name: "p", note: "n", weight: 2 }], plain: [{ a: "2" }], tags: { x: "1", y: "2" } }
    })
  })
  it("the order of a merged list is kube-apiserver's", () => {
    const cases = [
      ["a,b,c", "c,z,a", "b,c,z,a"],
      ["a,b,c", "b,x", "a,b,c,x"],
      ["a,b,c,d", "d,b", "a,c,d,b"],
      ["a,b,c", "x,c", "a,b,x,c"],
      ["a,b", "c,a", "c,a,b"],
      ["p,a,q,b", "b,a", "p,q,b,a"]
    ] as const
    for (const [live, next, expected] of cases) {
      const merged = mergeTyped(widget({ names: live.split(",") }), widget({ names: next.split(",") }), node)
      assert.deepStrictEqual(merged, widget({ names: expected.split(",") }), `${live} + ${next}`)
    }
  })
})

const type = typeOfDefinition({
  ...widgetDefinition,
  metadata: { name: "widgets.example.com", uid: "u", resourceVersion: "1", creationTimestamp: "2026-11-21T00:00:00Z" }
})

const at = (second: number) => `2026-11-21T00:00:0${second}Z`

const applied = (
  live: JsonObject | undefined,
  manager: string,
  spec: JsonObject,
  options: { force?: boolean; second?: number } = {}
) =>
  applyConfig(live, {
    type,
    apiVersion: "example.com/v1",
    name: "w",
    subresource: undefined,
    node: nodeFor(type, "v1"),
    config: { apiVersion: "example.com/v1", kind: "Widget", metadata: { name: "w" }, spec },
    manager,
    force: options.force ?? false,
    time: at(options.second ?? 0)
  })

const succeed = (outcome: ReturnType<typeof applied>): JsonObject =>
  Result.isSuccess(outcome) ? outcome.success : assert.fail(outcome.failure.message)
const refuse = (outcome: ReturnType<typeof applied>) =>
  Result.isFailure(outcome) ? outcome.failure : assert.fail("it was not refused")

/** Manager to what it owns. */
const owners = (object: JsonObject): Record<string, unknown> => {
  const metadata = object["metadata"]
  const list: ReadonlyArray<{ manager: string; operation: string; fieldsV1: unknown }> =
    JSON.parse(JSON.stringify(metadata)).managedFields ?? []
  return Object.fromEntries(list.map((entry) => [`${entry.manager} ${entry.operation}`, entry.fieldsV1]))
}

describe("server-side apply", () => {
  const first = succeed(
    applied(undefined, "x", { size: 3, names: ["x"], parts: [{ name: "p", note: "n" }], tags: { a: "b" } })
  )

  it("what is applied first is owned whole", () => {
    assert.deepStrictEqual(owners(first), {
      "x Apply": {
        "f:spec": {
          "f:names": { 'v:"x"': {} },
          "f:parts": { 'k:{"name":"p"}': { ".": {}, "f:name": {}, "f:note": {} } },
          "f:size": {},
          "f:tags": { "f:a": {} }
        }
      }
    })
  })
  it("another's field of another value is a conflict, told with owner and path", () => {
    const status = refuse(applied(first, "y", { size: 5, parts: [{ name: "p", note: "m" }] }))
    assert.strictEqual(status.code, 409)
    assert.strictEqual(
      status.message,
      'Apply failed with 2 conflicts: conflicts with "x":\n- .spec.size\n- .spec.parts[name="p"].note'
    )
    assert.deepStrictEqual(status.details?.causes?.[0], {
      reason: "FieldManagerConflict",
      message: 'conflict with "x"',
      field: ".spec.size"
    })
    assert.strictEqual(
      refuse(applied(first, "y", { size: 5 })).message,
      'Apply failed with 1 conflict: conflict with "x": .spec.size'
    )
  })
  it("another's field of the same value is shared, and outlives one of its owners", () => {
    const shared = succeed(applied(first, "y", { size: 3 }))
    const left = succeed(applied(shared, "x", { names: ["x"] }))
    assert.deepStrictEqual(left["spec"], { size: 3, names: ["x"] })
    assert.deepStrictEqual(owners(left)["y Apply"], { "f:spec": { "f:size": {} } })
  })
  it("force takes over, and leaves the other what was not contested", () => {
    const forced = succeed(
      applied(first, "y", { size: 5, names: ["y"], parts: [{ name: "p", note: "m" }] }, { force: true })
    )
    assert.deepStrictEqual(forced["spec"], {
      size: 5,
      names: ["x", "y"],
      parts: [{ name: "p", note: "m" }],
      tags: { a: "b" }
    })
    assert.deepStrictEqual(owners(forced)["x Apply"], {
      "f:spec": {
        "f:names": { 'v:"x"': {} },
        "f:parts": { 'k:{"name":"p"}': { ".": {}, "f:name": {} } },
        "f:tags": { "f:a": {} }
      }
    })
  })
  it("what is no longer applied goes, unless another owns it; containers left empty go too", () => {
    const both = succeed(applied(first, "y", { parts: [{ name: "p" }, { name: "q" }], tags: { z: "1" } }))
    const less = succeed(applied(both, "y", {}))
    assert.deepStrictEqual(less["spec"], first["spec"])
    const nothing = succeed(applied(first, "x", {}))
    assert.deepStrictEqual(nothing["spec"], {})
    assert.deepStrictEqual(owners(nothing), { "x Apply": { "f:spec": {} } })
  })
  it("the same again changes nothing, not even a time", () => {
    const again = succeed(
      applied(first, "x", { size: 3, names: ["x"], parts: [{ name: "p", note: "n" }], tags: { a: "b" } }, { second: 5 })
    )
    assert.strictEqual(again, first)
  })
  it("an object nobody owned was somebody's before", () => {
    const live = { apiVersion: "example.com/v1", kind: "Widget", metadata: { name: "w" }, spec: { size: 1 } }
    assert.strictEqual(
      refuse(applied(live, "x", { size: 2 })).message,
      'Apply failed with 1 conflict: conflict with "before-first-apply" using example.com/v1: .spec.size'
    )
  })
  it("what the schema doesn't know, or can't name, is refused with its path", () => {
    const told = (spec: JsonObject) => refuse(applied(first, "x", spec)).message
    const prefix = "failed to create typed patch object (/w; example.com/v1, Kind=Widget): "
    assert.strictEqual(told({ bogus: 1 }), `${prefix}.spec.bogus: field not declared in schema`)
    assert.include(told({ parts: [{ note: "n" }] }), 'omits key field "name"')
    assert.include(told({ names: ["x", "x"] }), "duplicate entries")
  })
})

describe("plain writes are tracked, too", () => {
  const store = () => {
    const made = new ApiStore({ seed: 1, historyEvents: 10, writeLogEntries: 10, formatTime: (millis) => at(millis) })
    made.registry.register({ ...type, namespaced: false })
    made.fieldTracker = trackWrites(nodeFor)
    return made
  }
  const request = (kind: ReturnType<typeof store>, manager: string, second: number) => ({
    client: "c",
    fieldManager: manager,
    nowMillis: second,
    type: kind.registry.byKind("example.com", "Widget") ?? assert.fail("no type"),
    version: "v1",
    namespace: "",
    name: "w"
  })
  it.effect("who sets a field owns it alone; who removes it leaves it to nobody", () =>
    Effect.gen(function* () {
      const api = store()
      yield* Effect.fromResult(
        api.create({
          ...request(api, "me", 0),
          object: { metadata: { name: "w" }, spec: { size: 1, tags: { a: "1" } } }
        })
      )
      const changed = yield* Effect.fromResult(
        api.patch({
          ...request(api, "you", 1),
          patch: { type: "merge", body: { spec: { size: 2, tags: { a: null } } } }
        })
      )
      assert.deepStrictEqual(owners(changed), {
        "me Update": { "f:spec": { ".": {}, "f:tags": {} } },
        "you Update": { "f:spec": { "f:size": {} } }
      })
      const same = yield* Effect.fromResult(
        api.patch({ ...request(api, "they", 2), patch: { type: "merge", body: { spec: { size: 2 } } } })
      )
      assert.strictEqual(same.metadata.resourceVersion, changed.metadata.resourceVersion)
    })
  )
  it.effect("status is owned through its subresource", () =>
    Effect.gen(function* () {
      const api = store()
      yield* Effect.fromResult(
        api.create({
          ...request(api, "me", 0),
          object: { metadata: { name: "w" }, spec: { size: 1 }, status: { replicas: 1 } }
        })
      )
      const changed = yield* Effect.fromResult(
        api.patch({
          ...request(api, "me", 1),
          subresource: "status",
          patch: { type: "merge", body: { spec: { size: 7 }, status: { replicas: 2 } } }
        })
      )
      const entries = changed.metadata.managedFields ?? []
      assert.strictEqual(entries.length, 2)
      assert.deepInclude(JSON.parse(JSON.stringify(entries))[1], {
        subresource: "status",
        fieldsV1: { "f:status": { ".": {}, "f:replicas": {} } }
      })
    })
  )
  it.effect("many writers are told as a few, and one empty entry forgets them all", () =>
    Effect.gen(function* () {
      const api = store()
      const tags = Object.fromEntries(Array.from({ length: 14 }, (_, index) => [`t${index}`, "1"]))
      yield* Effect.fromResult(
        api.create({ ...request(api, "me", 0), object: { metadata: { name: "w" }, spec: { tags: {} } } })
      )
      let last = yield* Effect.fromResult(api.patch({ ...request(api, "me", 0), patch: { type: "merge", body: {} } }))
      for (const [index, key] of Object.keys(tags).entries()) {
        last = yield* Effect.fromResult(
          api.patch({
            ...request(api, `m${index}`, Math.min(9, index)),
            patch: { type: "merge", body: { spec: { tags: { [key]: "1" } } } }
          })
        )
      }
      assert.isAtMost(last.metadata.managedFields?.length ?? 99, 10)
      assert.property(owners(last), "ancient-changes Update")
      const reset = yield* Effect.fromResult(
        api.patch({
          ...request(api, "me", 9),
          patch: { type: "json", operations: [{ op: "replace", path: "/metadata/managedFields", value: [{}] }] }
        })
      )
      assert.isUndefined(reset.metadata.managedFields)
    })
  )
})
