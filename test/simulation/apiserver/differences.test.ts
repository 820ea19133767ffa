/**
 * Holds what the in-memory API server does otherwise than kube-apiserver and kube-controller-manager to what its header
 * says, so that nobody is surprised: where one of these fails, the difference is gone, and its line in the header with it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { ConfigMaps, Namespaces, Secrets } from "../../../src/api/Core.ts"
import type { JsonObject } from "../../../src/kube/KubeClient.ts"
import { rawKind } from "../../../src/simulation/core/Raw.ts"
import { make } from "../../../src/simulation/SimulatedApiServer.ts"

const things = rawKind({ group: "example.com", kind: "Thing", plural: "things", versions: ["v1"] })
const core = (kind: string, plural: string) => rawKind({ group: "", kind, plural, versions: ["v1"] })
const namespaces = rawKind({ group: "", kind: "Namespace", plural: "namespaces", versions: ["v1"], namespaced: false })

/** A definition whose spec has this schema. */
const definition = (spec: JsonObject): JsonObject => ({
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "things.example.com" },
  spec: {
    group: "example.com",
    scope: "Namespaced",
    names: { plural: "things", singular: "thing", kind: "Thing", listKind: "ThingList" },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: "object", properties: { spec: { type: "object", ...spec } } } }
      }
    ]
  }
})

const at = (name: string) => ({ namespace: "default", name })

describe("the in-memory API server, unlike a real one", () => {
  it.effect(
    "shows every write to every read at once, also to one that would take an older moment (unlike: never-stale)",
    () =>
      Effect.gen(function* () {
        const { kubeClient, reads, store } = yield* make()
        yield* kubeClient.create(ConfigMaps, { metadata: at("a") })
        const type = store.registry.byResource("", "configmaps")
        assert.isDefined(type)
        const listed = reads.list({ type, version: "v1", namespace: "default", resourceVersion: "0" })
        assert.include(JSON.stringify(listed), '"name":"a"')
      }).pipe(Effect.scoped)
  )

  it.effect(
    "makes nothing by itself: no default ServiceAccount, no root certificates, no Service (unlike: empty-namespaces)",
    () =>
      Effect.gen(function* () {
        const { kubeClient, settled } = yield* make()
        yield* kubeClient.create(Namespaces, { metadata: { name: "fresh" } })
        yield* settled
        for (const kind of [core("ServiceAccount", "serviceaccounts"), core("Service", "services")])
          for (const namespace of ["fresh", "default"])
            assert.deepStrictEqual(
              (yield* kubeClient.list(kind, { namespace })).items,
              [],
              `${kind.kind} in ${namespace}`
            )
        assert.deepStrictEqual((yield* kubeClient.list(ConfigMaps, { namespace: "fresh" })).items, [])
      }).pipe(Effect.scoped)
  )

  it.effect("does not say why a namespace is not gone yet (unlike: no-namespace-conditions)", () =>
    Effect.gen(function* () {
      const { kubeClient, settled } = yield* make()
      yield* kubeClient.create(Namespaces, { metadata: { name: "stuck" } })
      yield* kubeClient.create(ConfigMaps, { metadata: { namespace: "stuck", name: "held", finalizers: ["x/hold"] } })
      yield* kubeClient.delete(Namespaces, { name: "stuck" })
      yield* settled
      const found = yield* kubeClient.get(namespaces, { name: "stuck" })
      assert.deepStrictEqual(found.status, { phase: "Terminating" })
    }).pipe(Effect.scoped)
  )

  it.effect("collects garbage at once, before any time has passed (unlike: prompt-controllers)", () =>
    Effect.gen(function* () {
      const { kubeClient, settled } = yield* make()
      const owner = yield* kubeClient.create(ConfigMaps, { metadata: at("owner") })
      const ownerReferences = [{ apiVersion: "v1", kind: "ConfigMap", name: "owner", uid: owner.metadata.uid ?? "" }]
      yield* kubeClient.create(Secrets, { metadata: { ...at("dependent"), ownerReferences } })
      yield* kubeClient.delete(ConfigMaps, at("owner"))
      yield* settled
      assert.deepStrictEqual((yield* kubeClient.list(Secrets, { namespace: "default" })).items, [])
    }).pipe(Effect.scoped)
  )

  it.effect("keeps no managedFields while nobody comes over HTTP (unlike: unmanaged-fields)", () =>
    Effect.gen(function* () {
      const { client, store } = yield* make()
      yield* client("someone").create(ConfigMaps, { metadata: at("a") })
      const type = store.registry.byResource("", "configmaps")
      const stored = type === undefined ? undefined : store.storage.get({ type, ...at("a") })
      assert.isDefined(stored)
      assert.notProperty(stored?.metadata, "managedFields")
    }).pipe(Effect.scoped)
  )

  it.effect("keeps objects of any size (unlike: no-size-limit)", () =>
    Effect.gen(function* () {
      const { apply, kubeClient } = yield* make()
      yield* apply(definition({ properties: { text: { type: "string" } } }))
      // etcd takes no request of more than 1.5 MiB.
      const text = "x".repeat(2 * 1024 * 1024)
      const made = yield* kubeClient.create(things, { metadata: at("big"), spec: { text } })
      assert.strictEqual(made.spec?.["text"], text)
    }).pipe(Effect.scoped)
  )

  it.effect("serves a kind as soon as its definition is written (unlike: established-at-once)", () =>
    Effect.gen(function* () {
      const { apply, kubeClient } = yield* make()
      yield* apply(definition({}))
      assert.strictEqual((yield* kubeClient.create(things, { metadata: at("a") })).metadata.name, "a")
    }).pipe(Effect.scoped)
  )

  it.effect("does not estimate what a CEL rule costs (unlike: no-cel-budget)", () =>
    Effect.gen(function* () {
      const { apply } = yield* make()
      const items = { type: "array", items: { type: "string" } }
      const rule = "self.items.all(a, self.items.all(b, self.items.all(c, a + b != c)))"
      yield* apply(definition({ properties: { items }, "x-kubernetes-validations": [{ rule }] }))
    }).pipe(Effect.scoped)
  )

  it.effect("does not check the types of a CEL rule before it is used (unlike: no-cel-types)", () =>
    Effect.gen(function* () {
      const { apply, kubeClient } = yield* make()
      const rule = "self.nope == 1"
      yield* apply(definition({ properties: { size: { type: "integer" } }, "x-kubernetes-validations": [{ rule }] }))
      const refused = yield* Effect.flip(kubeClient.create(things, { metadata: at("a"), spec: { size: 1 } }))
      assert.strictEqual(refused.reason, "Invalid")
    }).pipe(Effect.scoped)
  )

  it.effect("reads patterns as JavaScript does, not as RE2 (unlike: javascript-patterns)", () =>
    Effect.gen(function* () {
      const { apply, kubeClient } = yield* make()
      // A look-ahead, which RE2 has none of: a real server refuses the definition.
      yield* apply(definition({ properties: { name: { type: "string", pattern: "^(?!x)" } } }))
      yield* kubeClient.create(things, { metadata: at("a"), spec: { name: "y" } })
      const refused = yield* Effect.flip(kubeClient.create(things, { metadata: at("b"), spec: { name: "x" } }))
      assert.strictEqual(refused.reason, "Invalid")
    }).pipe(Effect.scoped)
  )
})
