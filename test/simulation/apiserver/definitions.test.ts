/**
 * CustomResourceDefinitions on the in-memory server: ours are judged as the real one judges them, CEL has the functions
 * rules use, and a deleted definition takes its objects with it.
 */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { parse } from "yaml"
import { CustomResourceDefinitions, Secrets } from "../../../src/api/Core.ts"
import { opaque } from "../../../src/api/Field.ts"
import type { Kind } from "../../../src/api/Kind.ts"
import { objectFields } from "../../../src/api/Meta.ts"
import type { Json, JsonObject } from "../../../src/kube/KubeClient.ts"
import { objectAt, stringAt } from "../../../src/simulation/apiserver/Json.ts"
import { fieldErrorText } from "../../../src/simulation/apiserver/Status.ts"
import { validateRules } from "../../../src/simulation/apiserver/schema/Cel.ts"
import { compileSchema } from "../../../src/simulation/apiserver/schema/Structural.ts"
import { validate } from "../../../src/simulation/apiserver/schema/Validate.ts"
import { make } from "../../../src/simulation/SimulatedApiServer.ts"
import { admissionCases } from "../../api/admissionCases.ts"
import { Gadgets, gadgetDefinition } from "../../conformance/kube/World.ts"

const manifests = fileURLToPath(new URL("../../../manifests/crds/", import.meta.url))

/** YAML is JSON here: what the generator wrote. */
const isJson = (_value: unknown): _value is JsonObject => true
const definitions: ReadonlyArray<JsonObject> = readdirSync(manifests)
  .map((file): unknown => parse(readFileSync(`${manifests}${file}`, "utf8")))
  .filter(isJson)

const anything = Schema.Struct({ ...objectFields, spec: Schema.optionalKey(opaque) })

const kindOf = (plural: string): Kind<typeof anything.Type> => {
  const spec = objectAt(
    definitions.find((definition) => stringAt(definition, "spec", "names", "plural") === plural),
    "spec"
  )
  return {
    group: stringAt(spec, "group") ?? "",
    versions: ["v1beta1"],
    kind: stringAt(spec, "names", "kind") ?? "",
    plural,
    namespaced: true,
    schema: anything
  }
}

const json = (value: unknown): Json => JSON.parse(JSON.stringify(value))

describe("our definitions on the in-memory API server", () => {
  it.effect("all are accepted", () =>
    Effect.gen(function* () {
      const server = yield* make()
      assert.isAbove(definitions.length, 0)
      for (const definition of definitions) yield* server.apply(definition)
      const { items } = yield* server.kubeClient.list(CustomResourceDefinitions)
      assert.strictEqual(items.length, definitions.length)
    })
  )

  for (const { name, plural, spec, patches = [], refused } of admissionCases) {
    it.effect(`${plural}: ${name} is ${refused === undefined ? "accepted" : "refused"}`, () =>
      Effect.gen(function* () {
        const server = yield* make()
        for (const definition of definitions) yield* server.apply(definition)
        const kind = kindOf(plural)
        const ref = { namespace: "default", name: "x" }
        const writes = [
          server.kubeClient.create(kind, { metadata: ref, ...(spec === undefined ? {} : { spec: json(spec) }) }),
          ...patches.map((patch) => server.kubeClient.patch(kind, ref, { spec: json(patch) }))
        ]
        for (const write of writes.slice(0, -1)) yield* write
        const outcome = yield* Effect.result(writes.at(-1) ?? Effect.die("no write"))
        if (refused === undefined) {
          assert.isTrue(Result.isSuccess(outcome), Result.isFailure(outcome) ? outcome.failure.message : "")
        } else {
          assert.isTrue(Result.isFailure(outcome), "it was accepted")
          if (Result.isFailure(outcome)) assert.include(outcome.failure.message, refused)
        }
      })
    )
  }
})

describe("the life of a definition", () => {
  it.effect("its deletion takes its objects along, waits for their finalizers, and ends the kind", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const client = server.kubeClient
      yield* client.create(CustomResourceDefinitions, gadgetDefinition)
      const established = yield* client.get(CustomResourceDefinitions, gadgetDefinition.metadata)
      assert.deepStrictEqual(
        established.status?.conditions?.map(({ type, status }) => `${type}=${status}`),
        ["NamesAccepted=True", "Established=True"]
      )
      const held = { namespace: "default", name: "held" }
      yield* client.create(Gadgets, { metadata: { ...held, finalizers: ["test.machinist.dev/hold"] }, spec: {} })
      yield* client.create(Gadgets, { metadata: { namespace: "default", name: "free" }, spec: {} })
      yield* client.delete(CustomResourceDefinitions, gadgetDefinition.metadata)
      yield* server.settled
      assert.strictEqual((yield* client.list(Gadgets)).items.length, 1)
      const closed = yield* Effect.flip(
        client.create(Gadgets, { metadata: { namespace: "default", name: "late" }, spec: {} })
      )
      assert.include(closed.message, "create not allowed while custom resource definition is terminating")
      const { resourceVersion } = yield* client.list(Gadgets)
      const watch = yield* Effect.forkChild(Stream.runCollect(client.watch(Gadgets, { resourceVersion })))
      yield* Effect.yieldNow
      yield* client.patch(Gadgets, held, { metadata: { finalizers: null } })
      yield* server.settled
      assert.deepStrictEqual(
        (yield* Fiber.join(watch)).map((event) => event._tag),
        ["Deleted"]
      )
      assert.strictEqual((yield* Effect.flip(client.list(Gadgets))).reason, "Unavailable")
      assert.strictEqual((yield* client.list(CustomResourceDefinitions)).items.length, 0)
      // The same kind can come again, empty.
      yield* client.create(CustomResourceDefinitions, gadgetDefinition)
      assert.strictEqual((yield* client.list(Gadgets)).items.length, 0)
    })
  )

  it.effect("a changed definition judges from then on, and keeps what is stored", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const client = server.kubeClient
      yield* client.create(CustomResourceDefinitions, gadgetDefinition)
      const ref = { namespace: "default", name: "g" }
      yield* client.create(Gadgets, { metadata: ref, spec: { code: "abc" } })
      const versions = json(gadgetDefinition.spec.versions)
      const stricter: Json = JSON.parse(JSON.stringify(versions).replaceAll("^[a-z]+$", "^[x-z]+$"))
      yield* client.patch(CustomResourceDefinitions, gadgetDefinition.metadata, { spec: { versions: stricter } })
      assert.strictEqual((yield* client.get(Gadgets, ref)).metadata.name, "g")
      const refused = yield* Effect.flip(
        client.create(Gadgets, { metadata: { namespace: "default", name: "h" }, spec: { code: "abc" } })
      )
      assert.include(refused.message, "should match '^[x-z]+$'")
    })
  )

  it.effect("a kind registered without a schema keeps whatever it is given, in each of its versions", () =>
    Effect.gen(function* () {
      const server = yield* make()
      const kind: Kind<typeof anything.Type> = {
        group: "cluster.x-k8s.io",
        versions: ["v1beta2", "v1beta1"],
        kind: "Machine",
        plural: "machines",
        namespaced: true,
        schema: anything
      }
      const ref = { namespace: "default", name: "m" }
      yield* server.registerKind(kind, { served: ["v1beta1"] })
      const old = yield* server.kubeClient.create(kind, { metadata: ref, spec: { any: { thing: [1] } } })
      assert.strictEqual(old.apiVersion, "cluster.x-k8s.io/v1beta1")
      assert.deepStrictEqual(old.spec, { any: { thing: [1] } })
      yield* server.registerKind(kind)
      assert.strictEqual((yield* server.kubeClient.get(kind, ref)).apiVersion, "cluster.x-k8s.io/v1beta2")
      assert.strictEqual((yield* server.kubeClient.list(Secrets)).items.length, 0)
    })
  )
})

/** The texts of what a schema finds wrong with a value. */
const problems = (schema: JsonObject, value: Json, old?: Json): ReadonlyArray<string> => {
  const compiled = compileSchema(schema, "")
  assert.deepStrictEqual(compiled.errors, [])
  const errors = [...validate(value, compiled.schema, "x"), ...validateRules(value, old, compiled.schema, "x")]
  return errors.map(fieldErrorText)
}

describe("CEL rules", () => {
  const schema = (rule: JsonObject): JsonObject => ({
    type: "object",
    properties: {
      s: { type: "string" },
      n: { type: "integer" },
      d: { type: "number" },
      when: { type: "string", format: "date-time" },
      "dash-ed": { type: "string" },
      namespace: { type: "string" },
      list: { type: "array", items: { type: "string" } },
      tags: { type: "object", additionalProperties: { type: "integer" } },
      io: { "x-kubernetes-int-or-string": true }
    },
    "x-kubernetes-validations": [rule]
  })

  it("know the functions that rules use", () => {
    const value = {
      s: "Ab,c",
      n: 3,
      d: 1.5,
      when: "2026-01-02T03:04:05Z",
      "dash-ed": "x",
      namespace: "y",
      list: ["a", "b"],
      tags: { one: 1 },
      io: 5
    }
    for (const rule of [
      "self.s.matches('^[A-Z]') && self.s.startsWith('A') && self.s.endsWith('c') && self.s.contains(',')",
      "size(self.s) == 4 && self.s.size() == 4 && self.list.size() == 2 && size(self.tags) == 1",
      "self.s.split(',').size() == 2 && self.s.lowerAscii() == 'ab,c' && self.s.indexOf('b') == 1",
      "self.s.replace('A', 'x') == 'xb,c' && self.s.find('[a-z]') == 'b' && self.s.findAll('[a-z]') == ['b', 'c']",
      "self.list.all(x, x.size() == 1) && self.list.exists(x, x == 'b') && self.list.exists_one(x, x == 'a')",
      "self.list.map(x, x + '!')[0] == 'a!' && self.list.filter(x, x != 'a') == ['b'] && 'a' in self.list",
      "self.list.isSorted() && self.list.join('-') == 'a-b'",
      "has(self.s) && !has(self.tags.none) && 'one' in self.tags && self.tags.all(k, self.tags[k] < 2)",
      "self.n + 1 == 4 && self.n > 2 && self.d < 2.0 && self.n * 2 == 6 && self.n % 2 == 1",
      "self.when > timestamp('2026-01-01T00:00:00Z') && duration('1h') > duration('59m')",
      "self.__namespace__ == 'y' && self.dash__dash__ed == 'x'",
      "self.io == 5 && type(self.io) == int",
      "isURL('https://example.com/x') && !isURL('nope')",
      "self.n == 3 ? true : self.nothing == 1"
    ]) {
      assert.deepStrictEqual(problems(schema({ rule }), value), [], rule)
    }
  })

  it("that can't be evaluated refuse, and say why", () => {
    assert.match(
      problems(schema({ rule: "self.n == 1", message: "n must be 1" }), {})[0] ?? "",
      /^x: Invalid value: "object": .*n evaluating rule: n must be 1$/
    )
  })

  it("may name reason, field and a computed message", () => {
    const rule = {
      rule: "self.n < 2",
      messageExpression: "'n is ' + string(self.n)",
      reason: "FieldValueForbidden",
      fieldPath: ".n"
    }
    assert.deepStrictEqual(problems(schema(rule), { n: 3 }), ["x.n: Forbidden: n is 3"])
    assert.deepStrictEqual(problems(schema({ rule: "self.n < 2" }), { n: 3 }), [
      'x: Invalid value: "object": failed rule: self.n < 2'
    ])
  })

  it("about what was are asked only where it can be found again", () => {
    const item = (listType: string): JsonObject => ({
      type: "array",
      "x-kubernetes-list-type": listType,
      "x-kubernetes-list-map-keys": ["k"],
      items: {
        type: "object",
        required: ["k"],
        properties: { k: { type: "string" }, v: { type: "integer" } },
        "x-kubernetes-validations": [{ rule: "self.v >= oldSelf.v", message: "v only grows" }]
      }
    })
    const before = [
      { k: "a", v: 5 },
      { k: "b", v: 1 }
    ]
    const after = [
      { k: "b", v: 2 },
      { k: "a", v: 4 },
      { k: "new", v: 0 }
    ]
    assert.deepStrictEqual(problems(item("map"), after, before), ['x[1]: Invalid value: "object": v only grows'])
    assert.deepStrictEqual(problems(item("atomic"), after, before), [])
  })
})
