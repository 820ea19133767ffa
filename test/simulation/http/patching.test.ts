/**
 * The four patch types over HTTP, and protobuf bodies: what each kind takes, what comes out. Expectations are what
 * kube-apiserver v1.34 answers.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { JsonObject } from "../../../src/simulation/apiserver/Json.ts"
import { nodeOf, type SchemaNode } from "../../../src/simulation/http/fields/Schema.ts"
import { decodeProtobuf } from "../../../src/simulation/http/Protobuf.ts"
import { strategicMerge } from "../../../src/simulation/http/StrategicMerge.ts"
import { type Answer, type Ask, fronted } from "./Fronted.ts"
import { widgetDefinition } from "./Widgets.ts"

const ONE = "/apis/example.com/v1/namespaces/default/widgets/one"
const MAP = "/api/v1/namespaces/default/configmaps/map"
const TYPES = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml"
} as const

type Patch = (path: string, type: keyof typeof TYPES, body: unknown) => Effect.Effect<Answer, Error>

const world = <A, E>(
  use: (patch: Patch, ask: (path: string, options?: Ask) => Effect.Effect<Answer, Error>) => Effect.Effect<A, E>
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { ask, server } = yield* fronted()
      yield* server.apply(widgetDefinition)
      yield* ask("/apis/example.com/v1/namespaces/default/widgets", {
        body: {
          apiVersion: "example.com/v1",
          kind: "Widget",
          metadata: { name: "one" },
          spec: { size: 4, tags: { a: "b" } }
        }
      })
      yield* ask("/api/v1/namespaces/default/configmaps", {
        body: { metadata: { name: "map", finalizers: ["a.b/c"] }, data: { a: "b" } }
      })
      return yield* use((path, type, body) => ask(path, { method: "PATCH", contentType: TYPES[type], body }), ask)
    })
  )

const told = (answer: Answer): string =>
  `${answer.code} ${answer.body?.reason ?? ""}: ${answer.body?.message ?? answer.text}`

describe("merge and JSON patches", () => {
  it.live("change what they name", () =>
    world((patch) =>
      Effect.gen(function* () {
        const merged = yield* patch(ONE, "merge", { spec: { size: 5, tags: { a: null, c: "d" } } })
        assert.deepStrictEqual(merged.body.spec, { size: 5, tags: { c: "d" } })
        const edited = yield* patch(ONE, "json", [
          { op: "test", path: "/spec/size", value: 5 },
          { op: "replace", path: "/spec/size", value: 6 },
          { op: "add", path: "/metadata/labels", value: { x: "y" } }
        ])
        assert.strictEqual(edited.body.spec.size, 6)
        assert.deepStrictEqual(edited.body.metadata.labels, { x: "y" })
        assert.strictEqual(edited.body.metadata.generation, 3)
      })
    )
  )
  it.live("are refused as upstream refuses them", () =>
    world((patch, ask) =>
      Effect.gen(function* () {
        const unfitting = "422 Invalid: the server rejected our request due to an error in our request"
        assert.strictEqual(
          told(yield* patch(ONE, "json", [{ op: "add", path: "/spec/nope/foo", value: 1 }])),
          unfitting
        )
        assert.strictEqual(told(yield* patch(ONE, "json", [{ op: "test", path: "/spec/size", value: 1 }])), unfitting)
        assert.strictEqual(
          told(yield* patch(ONE, "json", { op: "test" })),
          "400 BadRequest: error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
        assert.include(told(yield* patch(ONE, "merge", "[1")), "400 BadRequest: error decoding patch: ")
        assert.include(
          told(yield* patch(ONE, "strategic", {})),
          "accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        )
        const strict = yield* ask(`${ONE}?fieldValidation=Strict`, {
          method: "PATCH",
          contentType: TYPES.merge,
          body: { spec: { foo: 1 } }
        })
        assert.strictEqual(
          told(strict),
          `422 Invalid:  "" is invalid: patch: Invalid value: "{\\"spec\\":{\\"foo\\":1}}": strict decoding error: unknown field "spec.foo"`
        )
        const forced = yield* ask(`${ONE}?force=1`, { method: "PATCH", contentType: TYPES.merge, body: {} })
        assert.strictEqual(
          told(forced),
          '422 Invalid: PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
        )
        assert.strictEqual(
          told(yield* patch(`${ONE}x`, "merge", {})),
          '404 NotFound: widgets.example.com "onex" not found'
        )
        assert.strictEqual((yield* patch(ONE, "merge", { metadata: { resourceVersion: "1" } })).code, 409)
      })
    )
  )
  it.live("status goes through its subresource", () =>
    world((patch) =>
      Effect.gen(function* () {
        assert.notProperty((yield* patch(ONE, "merge", { status: { replicas: 1 } })).body, "status")
        const status = yield* patch(`${ONE}/status`, "merge", { spec: { size: 9 }, status: { replicas: 2 } })
        assert.deepStrictEqual([status.body.spec.size, status.body.status], [4, { replicas: 2 }])
      })
    )
  )
})

describe("strategic merge patches", () => {
  it.live("merge what the schema says, with their directives", () =>
    world((patch) =>
      Effect.gen(function* () {
        const patched = yield* patch(MAP, "strategic", {
          metadata: { "$setElementOrder/finalizers": ["x.y/z", "a.b/c"], finalizers: ["x.y/z"] },
          data: { c: "d", a: null }
        })
        assert.deepStrictEqual(patched.body.metadata.finalizers, ["x.y/z", "a.b/c"])
        assert.deepStrictEqual(patched.body.data, { c: "d" })
        const less = yield* patch(MAP, "strategic", { metadata: { "$deleteFromPrimitiveList/finalizers": ["a.b/c"] } })
        assert.deepStrictEqual(less.body.metadata.finalizers, ["x.y/z"])
      })
    )
  )

  const node: SchemaNode = nodeOf({
    type: "object",
    properties: {
      items: {
        type: "array",
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": "name",
        items: { type: "object", properties: { name: { type: "string" }, value: { type: "string" } } }
      },
      plain: { type: "array", items: { type: "string" } },
      map: { type: "object", additionalProperties: { type: "string" } }
    }
  })
  const original: JsonObject = {
    items: [
      { name: "a", value: "1" },
      { name: "b", value: "2" }
    ],
    plain: ["x"],
    map: { k: "v", l: "w" }
  }
  const patched = (patch: JsonObject) => strategicMerge(original, patch, node)

  it("items are found by their key, added, changed, deleted, replaced and ordered", () => {
    assert.deepStrictEqual(patched({ items: [{ name: "b", value: "3" }, { name: "c" }] })["items"], [
      { name: "a", value: "1" },
      { name: "b", value: "3" },
      { name: "c" }
    ])
    assert.deepStrictEqual(patched({ items: [{ name: "a", $patch: "delete" }] })["items"], [{ name: "b", value: "2" }])
    assert.deepStrictEqual(patched({ items: [{ $patch: "replace" }, { name: "z" }] })["items"], [{ name: "z" }])
    assert.deepStrictEqual(
      patched({ "$setElementOrder/items": [{ name: "c" }, { name: "b" }, { name: "a" }], items: [{ name: "c" }] })[
        "items"
      ],
      [{ name: "c" }, { name: "b", value: "2" }, { name: "a", value: "1" }]
    )
  })
  it("lists without a strategy and maps with a directive are replaced", () => {
    assert.deepStrictEqual(patched({ plain: ["y"] })["plain"], ["y"])
    assert.deepStrictEqual(patched({ map: { $patch: "replace", m: "n" } })["map"], { m: "n" })
    assert.deepStrictEqual(patched({ map: { $retainKeys: ["k", "m"], m: "n" } })["map"], { k: "v", m: "n" })
    assert.deepStrictEqual(patched({ map: null, other: { a: null, b: 1 } }), {
      items: original["items"],
      plain: ["x"],
      other: { b: 1 }
    })
    assert.deepStrictEqual(patched({ $patch: "delete" }), {})
  })
})

describe("apply over HTTP", () => {
  const config = (spec: object) =>
    `apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: two}\nspec: ${JSON.stringify(spec)}\n`
  const TWO = ONE.replace("one", "two")

  it.live("creates, changes, and conflicts with those who wrote without it", () =>
    world((patch, ask) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* patch(`${TWO}?fieldManager=x`, "apply", config({ size: 2 }))).code, 201)
        assert.strictEqual((yield* patch(`${TWO}?fieldManager=x`, "apply", config({ size: 3 }))).code, 200)
        yield* ask(`${TWO}?fieldManager=other`, {
          method: "PATCH",
          contentType: TYPES.merge,
          body: { spec: { size: 4 } }
        })
        assert.strictEqual(
          told(yield* patch(`${TWO}?fieldManager=x`, "apply", config({ size: 5 }))),
          '409 Conflict: Apply failed with 1 conflict: conflict with "other" using example.com/v1: .spec.size'
        )
        assert.strictEqual(
          (yield* patch(`${TWO}?fieldManager=x&force=true`, "apply", config({ size: 5 }))).body.spec.size,
          5
        )
        const dry = yield* patch(`${TWO}?fieldManager=x&dryRun=All`, "apply", config({ size: 6 }))
        assert.strictEqual(dry.body.spec.size, 6)
        assert.strictEqual((yield* ask(TWO)).body.spec.size, 5)
      })
    )
  )
  it.live("keeps client-side apply's annotation true, for kubectl alone", () =>
    world((patch, ask) =>
      Effect.gen(function* () {
        const LAST = "kubectl.kubernetes.io/last-applied-configuration"
        yield* ask(TWO.replace("/two", ""), {
          body: {
            apiVersion: "example.com/v1",
            kind: "Widget",
            metadata: { name: "two", annotations: { [LAST]: "old" } },
            spec: { size: 2 }
          }
        })
        const other = yield* patch(`${TWO}?fieldManager=x`, "apply", config({ size: 2 }))
        assert.strictEqual(other.body.metadata.annotations[LAST], "old")
        const kubectl = yield* patch(`${TWO}?fieldManager=kubectl`, "apply", config({ size: 2 }))
        assert.deepInclude(JSON.parse(kubectl.body.metadata.annotations[LAST]), { spec: { size: 2 } })
      })
    )
  )
  it.live("takes over from client-side apply what is still as that left it", () =>
    world((patch, ask) =>
      Effect.gen(function* () {
        const last = JSON.stringify({
          apiVersion: "example.com/v1",
          kind: "Widget",
          metadata: { name: "two" },
          spec: { size: 2, replicas: 1 }
        })
        const annotations = { "kubectl.kubernetes.io/last-applied-configuration": last }
        yield* ask(`${TWO.replace("/two", "")}?fieldManager=kubectl-client-side-apply`, {
          body: {
            apiVersion: "example.com/v1",
            kind: "Widget",
            metadata: { name: "two", annotations },
            spec: { size: 2, replicas: 1 }
          }
        })
        yield* ask(`${TWO}?fieldManager=me`, {
          method: "PATCH",
          contentType: TYPES.merge,
          body: { spec: { replicas: 5 } }
        })
        assert.strictEqual(
          told(yield* patch(`${TWO}?fieldManager=kubectl`, "apply", config({ size: 3, replicas: 2 }))),
          '409 Conflict: Apply failed with 1 conflict: conflict with "me" using example.com/v1: .spec.replicas'
        )
        assert.strictEqual(
          (yield* patch(`${TWO}?fieldManager=kubectl`, "apply", config({ size: 3 }))).body.spec.size,
          3
        )
        assert.strictEqual((yield* patch(`${TWO}?fieldManager=x`, "apply", config({ size: 4 }))).code, 409)
      })
    )
  )
  it.live("is refused where it is no apply", () =>
    world((patch) =>
      Effect.gen(function* () {
        assert.strictEqual(
          told(yield* patch(TWO, "apply", config({}))),
          '422 Invalid: PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        )
        assert.strictEqual(
          told(yield* patch(`${TWO}?fieldManager=x`, "apply", "{}")),
          "400 BadRequest: invalid object type: /, Kind="
        )
        assert.strictEqual(
          told(yield* patch(`${ONE}?fieldManager=x`, "apply", config({}))),
          "400 BadRequest: the name of the object (two) does not match the name on the URL (one)"
        )
        assert.strictEqual((yield* patch(`${TWO}/status?fieldManager=x`, "apply", config({}))).code, 404)
        assert.include(
          told(yield* patch(`${TWO}?fieldManager=x`, "apply", "a: [")),
          "400 BadRequest: error decoding patch: error decoding YAML"
        )
        assert.strictEqual(
          told(
            yield* patch(
              `${TWO}?fieldManager=x`,
              "apply",
              "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: two, managedFields: []}\n"
            )
          ),
          "400 BadRequest: metadata.managedFields must be nil"
        )
      })
    )
  )
})

describe("protobuf bodies", () => {
  // Written by client-go: `kubectl create namespace hello`, and a Secret with a label, a key and no data but one byte.
  const field = (number: number, value: string | Buffer) =>
    Buffer.concat([Buffer.from([(number << 3) | 2, Buffer.byteLength(value)]), Buffer.from(value)])
  const envelope = (kind: string, raw: Buffer) =>
    Buffer.concat([
      Buffer.from("6b387300", "hex"),
      field(1, Buffer.concat([field(1, "v1"), field(2, kind)])),
      field(2, raw),
      field(3, ""),
      field(4, "")
    ])
  const decoded = (body: Buffer) => {
    const outcome = decodeProtobuf(body)
    return Result.isSuccess(outcome) ? outcome.success : assert.fail(outcome.failure.message)
  }
  const time = (seconds: number) => Buffer.concat([Buffer.from([8]), Buffer.from([seconds & 0x7f])])

  it("are the JSON they stand for; what Go writes as zero is absent", () => {
    const metadata = Buffer.concat([
      field(1, "hello"),
      field(2, ""),
      field(8, ""),
      field(11, Buffer.concat([field(1, "k"), field(2, "v")]))
    ])
    assert.deepStrictEqual(
      decoded(envelope("Namespace", Buffer.concat([field(1, metadata), field(2, ""), field(3, field(1, ""))]))),
      {
        kind: "Namespace",
        apiVersion: "v1",
        metadata: { name: "hello", labels: { k: "v" } },
        spec: {},
        status: {}
      }
    )
    const secret = Buffer.concat([
      field(1, field(1, "s")),
      field(2, Buffer.concat([field(1, "key"), field(2, Buffer.from([255]))])),
      field(3, "Opaque")
    ])
    assert.deepInclude(decoded(envelope("Secret", secret)), { data: { key: "/w==" }, type: "Opaque" })
    const owner = Buffer.concat([field(1, "Machine"), Buffer.from([0x30, 1]), Buffer.from([0x38, 0])])
    const owned = Buffer.concat([field(13, owner), field(8, time(60))])
    assert.deepInclude(decoded(envelope("ConfigMap", field(1, owned))), {
      metadata: {
        ownerReferences: [{ kind: "Machine", controller: true, blockOwnerDeletion: false }],
        creationTimestamp: "1970-01-01T00:01:00Z"
      }
    })
  })
  it("of kinds not read here are told apart from what is no protobuf", () => {
    assert.isUndefined(decoded(envelope("Deployment", Buffer.alloc(0))))
    for (const bad of [
      Buffer.from("{}"),
      envelope("Secret", Buffer.from([0x0a, 0x50])),
      envelope("Secret", Buffer.from([0x0f]))
    ]) {
      const outcome = decodeProtobuf(bad)
      assert.isTrue(Result.isFailure(outcome) && outcome.failure.code === 400)
    }
  })
})
