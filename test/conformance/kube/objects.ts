/**
 * Owns the scenarios about objects of built-in kinds: metadata, names, preconditions, patches, finalizers, selectors.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ConfigMaps, Namespaces, Secrets, secretData, secretText } from "../../../src/api/Core.ts"
import type { Kind } from "../../../src/api/Kind.ts"
import { objectFields } from "../../../src/api/Meta.ts"
import { assertRefusal, freshNamespace, type It, names, reasonOf, refused, World } from "./World.ts"

const StrictConfigMap = Schema.Struct({ ...objectFields, data: Schema.Struct({ must: Schema.String }) })
const StrictConfigMaps: Kind<typeof StrictConfigMap.Type> = { ...ConfigMaps, schema: StrictConfigMap }

const Unserved: Kind<typeof StrictConfigMap.Type> = {
  ...StrictConfigMaps,
  group: "nowhere.machinist.dev",
  plural: "nothings",
  kind: "Nothing"
}

export const creation = (it: It) => {
  it.effect("a created object has uid, resourceVersion, creationTimestamp, and what was asked", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const made = yield* client.create(ConfigMaps, {
        metadata: { namespace, name: "a", labels: { x: "1" }, annotations: { "k/y": "z" }, uid: "mine" },
        data: { k: "v" }
      })
      assert.strictEqual(made.apiVersion, "v1")
      assert.strictEqual(made.kind, "ConfigMap")
      const { uid, resourceVersion, creationTimestamp, generation, ...rest } = made.metadata
      assert.deepStrictEqual(rest, { namespace, name: "a", labels: { x: "1" }, annotations: { "k/y": "z" } })
      assert.match(uid ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      assert.match(resourceVersion ?? "", /^\d+$/)
      assert.match(creationTimestamp ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
      assert.isUndefined(generation)
      assert.deepStrictEqual(yield* client.get(ConfigMaps, { namespace, name: "a" }), made)
    })
  )

  it.effect("generateName makes a new name each time", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const make = client.create(ConfigMaps, { metadata: { namespace, generateName: "gen-" } })
      const [a, b] = [yield* make, yield* make]
      assert.match(a.metadata.name, /^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/)
      assert.notStrictEqual(a.metadata.name, b.metadata.name)
      assert.strictEqual(a.metadata.generateName, "gen-")
    })
  )

  it.effect("a name can be taken once", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const make = client.create(ConfigMaps, { metadata: { namespace, name: "a" } })
      yield* make
      assertRefusal(yield* refused(make), "AlreadyExists", 'configmaps "a" already exists')
    })
  )

  it.effect("bad names, labels, owners and finalizers are refused", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const make = (metadata: { readonly [key: string]: string | object }) =>
        refused(client.create(ConfigMaps, { metadata: { namespace, ...JSON.parse(JSON.stringify(metadata)) } }))
      assert.strictEqual((yield* make({ name: "No" })).reason, "Invalid")
      assertRefusal(
        yield* make({}),
        "Invalid",
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
      )
      assertRefusal(
        yield* make({ name: "Bad_Name" }),
        "Invalid",
        `ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
      )
      assert.strictEqual((yield* make({ name: "l", labels: { a: "not ok!" } })).reason, "Invalid")
      assert.strictEqual((yield* make({ name: "l", labels: { "bad key": "x" } })).reason, "Invalid")
      assert.strictEqual((yield* make({ name: "l", finalizers: ["bad finalizer"] })).reason, "Invalid")
      assert.strictEqual(
        (yield* make({ name: "l", ownerReferences: [{ apiVersion: "v1", kind: "Secret", name: "s", uid: "" }] }))
          .reason,
        "Invalid"
      )
      assert.strictEqual((yield* make({ name: "l", annotations: { big: "x".repeat(256 * 1024) } })).reason, "Invalid")
      assert.strictEqual((yield* make({ name: "l", labels: { a: [] } })).reason, "BadRequest")
    })
  )

  it.effect("only one owner can be the controller", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const owner = (name: string) => ({ apiVersion: "v1", kind: "Secret", name, uid: `uid-${name}`, controller: true })
      const error = yield* refused(
        client.create(ConfigMaps, { metadata: { namespace, name: "a", ownerReferences: [owner("x"), owner("y")] } })
      )
      assert.strictEqual(error.reason, "Invalid")
      assert.include(
        error.message,
        'Only one reference can have Controller set to true. Found "true" in references for Secret/x and Secret/y'
      )
    })
  )

  it.effect("a namespace must exist, and not be terminating", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const lost = client.create(ConfigMaps, { metadata: { namespace: "no-such", name: "a" } })
      assertRefusal(yield* refused(lost), "NotFound", 'namespaces "no-such" not found')
      const namespace = yield* freshNamespace
      yield* client.create(ConfigMaps, {
        metadata: { namespace, name: "held", finalizers: ["test.machinist.dev/hold"] }
      })
      yield* client.delete(Namespaces, { name: namespace })
      const going = yield* client.get(Namespaces, { name: namespace })
      assert.strictEqual(going.status?.phase, "Terminating")
      assert.isString(going.metadata.deletionTimestamp)
      assertRefusal(
        yield* refused(client.create(ConfigMaps, { metadata: { namespace, name: "a" } })),
        "Forbidden",
        `configmaps "a" is forbidden: unable to create new content in namespace ${namespace} because it is being terminated`
      )
      // What is there can still be changed.
      yield* client.patch(ConfigMaps, { namespace, name: "held" }, { data: { a: "b" } })
      yield* client.patch(ConfigMaps, { namespace, name: "held" }, { metadata: { finalizers: null } })
    })
  )

  it.effect("a kind that is not served is Unavailable, never NotFound", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      assert.strictEqual(yield* reasonOf(client.get(Unserved, { namespace: "default", name: "x" })), "Unavailable")
      assert.strictEqual(yield* reasonOf(client.list(Unserved)), "Unavailable")
      assert.strictEqual(
        yield* reasonOf(client.create(Unserved, { metadata: { namespace: "default", name: "x" } })),
        "Unavailable"
      )
    })
  )
}

export const secretsAndMaps = (it: It) => {
  it.effect("stringData becomes data and wins over it; the type defaults to Opaque and never changes", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "s" }
      const made = yield* client.create(Secrets, {
        metadata: ref,
        data: secretData({ a: "data", b: "data" }),
        stringData: { a: "grün" }
      })
      assert.strictEqual(secretText(made, "a"), "grün")
      assert.strictEqual(secretText(made, "b"), "data")
      assert.strictEqual(made.type, "Opaque")
      const more = yield* client.patch(Secrets, ref, { stringData: { c: "3" } })
      assert.strictEqual(secretText(more, "c"), "3")
      assert.strictEqual(secretText(more, "b"), "data")
      assertRefusal(
        yield* refused(client.patch(Secrets, ref, { type: "other" })),
        "Invalid",
        'Secret "s" is invalid: type: Invalid value: "other": field is immutable'
      )
    })
  )

  it.effect("data that is no base64, has bad keys or is over 1 MiB is refused", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const make = (name: string, data: Record<string, string>) =>
        client.create(Secrets, { metadata: { namespace, name }, data })
      assert.strictEqual(yield* reasonOf(make("a", { k: "***" })), "BadRequest")
      assert.strictEqual(yield* reasonOf(make("a", { "bad key": "" })), "Invalid")
      assertRefusal(
        yield* refused(make("a", secretData({ k: "x".repeat(1024 * 1024 + 1) }))),
        "Invalid",
        'Secret "a" is invalid: data: Too long: may not be more than 1048576 bytes'
      )
      yield* make("fits", secretData({ k: "x".repeat(1024 * 1024) }))
      assert.strictEqual(
        yield* reasonOf(
          client.create(Secrets, { metadata: { namespace, name: "t" }, type: "kubernetes.io/tls", data: {} })
        ),
        "Invalid"
      )
    })
  )

  it.effect("an immutable ConfigMap keeps its data", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "c" }
      yield* client.create(ConfigMaps, { metadata: ref, data: { a: "1" }, immutable: true })
      assert.strictEqual(yield* reasonOf(client.patch(ConfigMaps, ref, { data: { a: "2" } })), "Invalid")
      yield* client.patch(ConfigMaps, ref, { metadata: { labels: { still: "ok" } } })
    })
  )
}

export const patching = (it: It) => {
  it.effect("a merge patch sets, merges, and deletes with null", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      yield* client.create(ConfigMaps, { metadata: { ...ref, labels: { a: "1", b: "2" } }, data: { x: "1", y: "2" } })
      const next = yield* client.patch(ConfigMaps, ref, {
        metadata: { labels: { a: null, c: "3" } },
        data: { y: null, z: "3" }
      })
      assert.deepStrictEqual(next.metadata.labels, { b: "2", c: "3" })
      assert.deepStrictEqual(next.data, { x: "1", z: "3" })
      const bare = yield* client.patch(ConfigMaps, ref, { metadata: { labels: null }, data: null })
      assert.isUndefined(bare.metadata.labels)
      assert.isUndefined(bare.data)
    })
  )

  it.effect("a write that changes nothing keeps the resourceVersion; any other takes a higher one", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      const made = yield* client.create(ConfigMaps, { metadata: { ...ref, labels: { a: "1" } }, data: { x: "1" } })
      const same = yield* client.patch(ConfigMaps, ref, {
        metadata: { labels: { a: "1" } },
        data: { x: "1", none: null }
      })
      assert.strictEqual(same.metadata.resourceVersion, made.metadata.resourceVersion)
      const next = yield* client.patch(ConfigMaps, ref, { data: { x: "2" } })
      assert.isAbove(Number(next.metadata.resourceVersion), Number(made.metadata.resourceVersion))
    })
  )

  it.effect("preconditions on resourceVersion and uid are Conflicts when they fail", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      const made = yield* client.create(ConfigMaps, { metadata: ref, data: { x: "1" } })
      const { resourceVersion, uid } = made.metadata
      const next = yield* client.patch(ConfigMaps, ref, { data: { x: "2" } }, { resourceVersion, uid })
      assertRefusal(
        yield* refused(client.patch(ConfigMaps, ref, { data: { x: "3" } }, { resourceVersion })),
        "Conflict",
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again'
      )
      const other = "00000000-0000-4000-8000-000000000000"
      assert.strictEqual(
        yield* reasonOf(client.patch(ConfigMaps, ref, { data: { x: "3" } }, { uid: other })),
        "Conflict"
      )
      assert.strictEqual(yield* reasonOf(client.delete(ConfigMaps, ref, { uid: other })), "Conflict")
      assert.strictEqual(yield* reasonOf(client.delete(ConfigMaps, ref, { resourceVersion })), "Conflict")
      assert.deepStrictEqual(yield* client.get(ConfigMaps, ref), next)
      yield* client.delete(ConfigMaps, ref, { uid, resourceVersion: next.metadata.resourceVersion })
      assert.strictEqual(yield* reasonOf(client.get(ConfigMaps, ref)), "NotFound")
    })
  )

  it.effect("the same change under a stale resourceVersion is a Conflict even when it would change nothing", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      const { resourceVersion } = (yield* client.create(ConfigMaps, { metadata: ref, data: { x: "1" } })).metadata
      yield* client.patch(ConfigMaps, ref, { data: { x: "2" } })
      assert.strictEqual(
        yield* reasonOf(client.patch(ConfigMaps, ref, { data: { x: "2" } }, { resourceVersion })),
        "Conflict"
      )
    })
  )

  it.effect("what the server owns can't be patched", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      const made = yield* client.create(ConfigMaps, { metadata: ref })
      const patch = (metadata: Record<string, string>) => client.patch(ConfigMaps, ref, { metadata })
      assert.strictEqual(yield* reasonOf(patch({ name: "b" })), "BadRequest")
      assert.strictEqual(yield* reasonOf(patch({ namespace: "default" })), "BadRequest")
      assert.strictEqual(yield* reasonOf(patch({ deletionTimestamp: "2020-01-01T00:00:00Z" })), "Invalid")
      // Ignored rather than refused, as upstream.
      const same = yield* patch({ creationTimestamp: "2020-01-01T00:00:00Z" })
      assert.strictEqual(same.metadata.creationTimestamp, made.metadata.creationTimestamp)
      assert.strictEqual(yield* reasonOf(client.patch(ConfigMaps, { namespace, name: "none" }, {})), "NotFound")
    })
  )
}

const HOLD = "test.machinist.dev/hold"

export const deletion = (it: It) => {
  it.effect("without finalizers an object is gone at once", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      yield* client.create(ConfigMaps, { metadata: ref })
      yield* client.delete(ConfigMaps, ref)
      assertRefusal(yield* refused(client.get(ConfigMaps, ref)), "NotFound", 'configmaps "a" not found')
      assert.strictEqual(yield* reasonOf(client.delete(ConfigMaps, ref)), "NotFound")
    })
  )

  it.effect("finalizers hold a deleted object; the removal of the last one lets it go", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      const made = yield* client.create(ConfigMaps, { metadata: { ...ref, finalizers: [HOLD, `${HOLD}2`] } })
      yield* client.delete(ConfigMaps, ref)
      const marked = yield* client.get(ConfigMaps, ref)
      assert.isString(marked.metadata.deletionTimestamp)
      assert.strictEqual(marked.metadata.uid, made.metadata.uid)
      assert.deepStrictEqual(marked.metadata.finalizers, [HOLD, `${HOLD}2`])
      // Deleting again is accepted, and changes nothing.
      yield* client.delete(ConfigMaps, ref)
      assert.deepStrictEqual(yield* client.get(ConfigMaps, ref), marked)
      assertRefusal(
        yield* refused(client.patch(ConfigMaps, ref, { metadata: { finalizers: [HOLD, `${HOLD}2`, `${HOLD}3`] } })),
        "Invalid",
        `ConfigMap "a" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"${HOLD}3"}`
      )
      yield* client.patch(ConfigMaps, ref, { metadata: { finalizers: [HOLD] }, data: { still: "writable" } })
      yield* client.patch(ConfigMaps, ref, { metadata: { finalizers: null } })
      assert.strictEqual(yield* reasonOf(client.get(ConfigMaps, ref)), "NotFound")
    })
  )

  it.effect("a successor of the same name is another object", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      const first = yield* client.create(ConfigMaps, { metadata: ref })
      yield* client.delete(ConfigMaps, ref)
      const second = yield* client.create(ConfigMaps, { metadata: ref })
      assert.notStrictEqual(first.metadata.uid, second.metadata.uid)
      const { uid } = first.metadata
      assert.strictEqual(yield* reasonOf(client.patch(ConfigMaps, ref, { data: { a: "b" } }, { uid })), "Conflict")
      assert.strictEqual(yield* reasonOf(client.delete(ConfigMaps, ref, { uid })), "Conflict")
    })
  )

  it.effect("foreground and orphan deletion wait for their finalizers", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "a" }
      yield* client.create(ConfigMaps, { metadata: { ...ref, finalizers: [HOLD] } })
      yield* client.delete(ConfigMaps, ref, { propagationPolicy: "Foreground" })
      const marked = yield* client.get(ConfigMaps, ref)
      assert.include(marked.metadata.finalizers ?? [], "foregroundDeletion")
      yield* client.delete(ConfigMaps, ref, { propagationPolicy: "Background" })
      assert.deepStrictEqual((yield* client.get(ConfigMaps, ref)).metadata.finalizers, [HOLD])
      yield* client.patch(ConfigMaps, ref, { metadata: { finalizers: [] } })
      assert.strictEqual(yield* reasonOf(client.get(ConfigMaps, ref)), "NotFound")
    })
  )
}

export const listing = (it: It) => {
  it.effect("lists are in order of namespace and name, and know the moment they show", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      for (const name of ["b", "c", "a"]) yield* client.create(Secrets, { metadata: { namespace, name } })
      const list = yield* client.list(Secrets, { namespace })
      assert.deepStrictEqual(names(list), ["a", "b", "c"])
      assert.isAtLeast(
        Number(list.resourceVersion),
        Math.max(...list.items.map((item) => Number(item.metadata.resourceVersion)))
      )
      const everywhere = yield* client.list(Secrets)
      assert.includeMembers(
        everywhere.items.map((item) => `${item.metadata.namespace}/${item.metadata.name}`),
        ["a", "b", "c"].map((name) => `${namespace}/${name}`)
      )
    })
  )

  it.effect("label selectors: every form", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const make = (name: string, labels: Record<string, string>) =>
        client.create(Secrets, { metadata: { namespace, name, labels } })
      yield* make("a", { app: "x", tier: "front" })
      yield* make("b", { app: "y", tier: "back", "k.io/deep": "" })
      yield* make("c", { app: "x" })
      yield* make("n", { size: "10" })
      const select = (labelSelector: string) => Effect.map(client.list(Secrets, { namespace, labelSelector }), names)
      for (const [selector, found] of [
        ["app=x", ["a", "c"]],
        ["app==x,tier=front", ["a"]],
        ["app!=x", ["b", "n"]],
        ["app in (x, y)", ["a", "b", "c"]],
        ["app notin (x)", ["b", "n"]],
        ["tier", ["a", "b"]],
        ["!tier", ["c", "n"]],
        ["tier,app notin (y)", ["a"]],
        ["k.io/deep", ["b"]],
        ["k.io/deep=", ["b"]],
        ["size>5", ["n"]],
        ["size<5", []],
        ["", ["a", "b", "c", "n"]]
      ] as const) {
        assert.deepStrictEqual(yield* select(selector), found, selector)
      }
      assert.strictEqual(yield* reasonOf(client.list(Secrets, { namespace, labelSelector: "a in (b" })), "BadRequest")
      assert.strictEqual(
        yield* reasonOf(client.list(Secrets, { namespace, labelSelector: "bad key=x y" })),
        "BadRequest"
      )
    })
  )

  it.effect("field selectors: names everywhere, type on Secrets, nothing else", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      yield* client.create(Secrets, { metadata: { namespace, name: "a" }, type: "test.machinist.dev/one" })
      yield* client.create(Secrets, { metadata: { namespace, name: "b" } })
      const select = (fieldSelector: string) => Effect.map(client.list(Secrets, { fieldSelector }), names)
      assert.deepStrictEqual(yield* select(`metadata.namespace=${namespace},metadata.name=b`), ["b"])
      assert.deepStrictEqual(yield* select(`type=test.machinist.dev/one,metadata.namespace=${namespace}`), ["a"])
      assert.deepStrictEqual(yield* select(`type!=Opaque,metadata.namespace==${namespace}`), ["a"])
      assert.strictEqual(yield* reasonOf(client.list(Secrets, { fieldSelector: "data.x=1" })), "BadRequest")
    })
  )

  it.effect("what does not decode is named, and hides nothing else", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      yield* client.create(ConfigMaps, { metadata: { namespace, name: "good" }, data: { must: "1" } })
      yield* client.create(ConfigMaps, { metadata: { namespace, name: "odd" }, data: { other: "1" } })
      const list = yield* client.list(StrictConfigMaps, { namespace, fieldSelector: "metadata.name!=kube-root-ca.crt" })
      assert.deepStrictEqual(names(list), ["good"])
      assert.deepStrictEqual(
        list.undecodable?.map((object) => object.name),
        ["odd"]
      )
      assert.strictEqual(yield* reasonOf(client.get(StrictConfigMaps, { namespace, name: "odd" })), "Decode")
    })
  )
}
