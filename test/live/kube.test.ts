/**
 * The live client against a real kube-apiserver: every verb, preconditions, errors by reason, watches.
 * What needs a server that misbehaves on command is in test/kube.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ConfigMaps, Namespaces, Secrets, secretData, secretText } from "../../src/api/Core.ts"
import type { Kind } from "../../src/api/Kind.ts"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import type { KubeError, KubeErrorReason } from "../../src/kube/KubeError.ts"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { type ApiServer, applyCrds, available, installCrd, start } from "./apiserver/ApiServer.ts"

class Live extends Context.Service<
  Live,
  { readonly server: ApiServer; readonly client: KubeClientShape; readonly crds: ReadonlyArray<string> }
>()("test/live/Live") {
  static readonly layer = Layer.effect(
    Live,
    Effect.gen(function* () {
      const server = yield* start
      const client = yield* makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
      return { server, client, crds: yield* applyCrds(client) }
    })
  )
}

/** A namespace of its own for a test: deleted ones never go away here. */
let namespaces = 0
const freshNamespace = Effect.gen(function* () {
  const { client } = yield* Live
  const name = `test-${namespaces++}`
  yield* client.create(Namespaces, { metadata: { name } })
  return name
})

const refusal = <A>(effect: Effect.Effect<A, KubeError>): Effect.Effect<KubeErrorReason | "success"> =>
  effect.pipe(Effect.match({ onSuccess: () => "success" as const, onFailure: (error) => error.reason }))

const Widget = Schema.Struct({
  metadata: Schema.Struct({ name: Schema.String, resourceVersion: Schema.String }),
  spec: Schema.Struct({ size: Schema.Number })
})
const Widgets: Kind<typeof Widget.Type> = {
  group: "test.machinist.dev",
  versions: ["v2", "v1"],
  kind: "Widget",
  plural: "widgets",
  namespaced: true,
  schema: Widget
}

const widgetCrd = {
  metadata: { name: "widgets.test.machinist.dev" },
  spec: {
    group: "test.machinist.dev",
    scope: "Namespaced",
    names: { plural: "widgets", singular: "widget", kind: "Widget", listKind: "WidgetList" },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: { spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true } }
          }
        }
      }
    ]
  }
}

describe.skipIf(!available)("live KubeClient on a real kube-apiserver", () => {
  it.layer(Live.layer, { timeout: "15 minutes", excludeTestServices: true })((it) => {
    it.effect("creates, reads, lists, patches and deletes", () =>
      Effect.gen(function* () {
        const { client } = yield* Live
        const namespace = yield* freshNamespace
        const ref = { namespace, name: "s" }
        const created = yield* client.create(Secrets, {
          metadata: { ...ref, labels: { app: "a" } },
          type: "Opaque",
          data: secretData({ value: "grün" })
        })
        assert.strictEqual(secretText(created, "value"), "grün")
        assert.strictEqual((yield* client.get(Secrets, ref)).metadata.uid, created.metadata.uid)

        const patched = yield* client.patch(Secrets, ref, { metadata: { labels: { app: null, tier: "b" } } })
        assert.deepStrictEqual(patched.metadata.labels, { tier: "b" })

        yield* client.create(Secrets, { metadata: { namespace, name: "other" } })
        const all = yield* client.list(Secrets, { namespace })
        assert.deepStrictEqual(
          all.items.map((secret) => [secret.apiVersion, secret.metadata.name]),
          [
            ["v1", "other"],
            ["v1", "s"]
          ]
        )
        const some = yield* client.list(Secrets, { namespace, labelSelector: "tier in (b)" })
        assert.deepStrictEqual(
          some.items.map((secret) => secret.metadata.name),
          ["s"]
        )
        const typed = yield* client.list(Secrets, {
          fieldSelector: `metadata.namespace=${namespace},metadata.name=other`
        })
        assert.deepStrictEqual(
          typed.items.map((secret) => secret.metadata.name),
          ["other"]
        )

        yield* client.delete(Secrets, ref)
        assert.strictEqual(yield* refusal(client.get(Secrets, ref)), "NotFound")
        assert.strictEqual(yield* refusal(client.delete(Secrets, ref)), "NotFound")
      })
    )

    it.effect("refuses writes whose preconditions do not hold, as Conflict", () =>
      Effect.gen(function* () {
        const { client } = yield* Live
        const namespace = yield* freshNamespace
        const ref = { namespace, name: "c" }
        const first = yield* client.create(ConfigMaps, { metadata: ref, data: { a: "1" } })
        const { uid, resourceVersion } = first.metadata
        const change = { data: { a: "2" } }
        assert.strictEqual(yield* refusal(client.patch(ConfigMaps, ref, change, { uid: "other" })), "Conflict")
        yield* client.patch(ConfigMaps, ref, change, { uid, resourceVersion })
        assert.strictEqual(
          yield* refusal(client.patch(ConfigMaps, ref, { data: { a: "3" } }, { resourceVersion })),
          "Conflict"
        )
        assert.deepStrictEqual((yield* client.get(ConfigMaps, ref)).data, { a: "2" })
        assert.strictEqual(yield* refusal(client.delete(ConfigMaps, ref, { resourceVersion })), "Conflict")
        assert.strictEqual(yield* refusal(client.delete(ConfigMaps, ref, { uid: "other" })), "Conflict")
        yield* client.delete(ConfigMaps, ref, { uid })
      })
    )

    it.effect("tells the reasons of refusals apart", () =>
      Effect.gen(function* () {
        const { client, server } = yield* Live
        const namespace = yield* freshNamespace
        const metadata = { namespace, name: "c" }
        yield* client.create(ConfigMaps, { metadata })
        const reasons = {
          taken: yield* refusal(client.create(ConfigMaps, { metadata })),
          badName: yield* refusal(client.create(ConfigMaps, { metadata: { namespace, name: "No_Such" } })),
          noNamespace: yield* refusal(client.create(ConfigMaps, { metadata: { namespace: "absent", name: "c" } })),
          unserved: yield* refusal(client.get({ ...Widgets, plural: "gadgets", versions: ["v1"] }, metadata)),
          undiscovered: yield* refusal(client.get({ ...Widgets, group: "absent.dev" }, metadata)),
          collection: yield* refusal(client.delete(ConfigMaps, { namespace, name: "" }))
        }
        assert.deepStrictEqual(reasons, {
          taken: "AlreadyExists",
          badName: "Invalid",
          noNamespace: "NotFound",
          unserved: "Unavailable",
          undiscovered: "Unavailable",
          collection: "BadRequest"
        })
        const powerless = yield* makeKubeClient({
          _tag: "Text",
          kubeconfig: server.kubeconfig.replace(server.token, server.powerlessToken)
        })
        assert.strictEqual(yield* refusal(powerless.get(ConfigMaps, metadata)), "Forbidden")
        const nobody = yield* makeKubeClient({
          _tag: "Text",
          kubeconfig: server.kubeconfig.replace(server.token, "wrong")
        })
        assert.strictEqual(yield* refusal(nobody.get(ConfigMaps, metadata)), "Unauthorized")
      }).pipe(Effect.scoped)
    )

    it.effect("refuses creation in a terminating namespace as Forbidden", () =>
      Effect.gen(function* () {
        const { client } = yield* Live
        const namespace = yield* freshNamespace
        yield* client.delete(Namespaces, { name: namespace })
        assert.strictEqual(
          yield* refusal(client.create(ConfigMaps, { metadata: { namespace, name: "c" } })),
          "Forbidden"
        )
      })
    )

    it.effect("lists more than one page as one snapshot", () =>
      Effect.gen(function* () {
        const { client } = yield* Live
        const namespace = yield* freshNamespace
        const names = Array.from({ length: 1100 }, (_, index) => `c${String(index).padStart(4, "0")}`)
        yield* Effect.forEach(names, (name) => client.create(ConfigMaps, { metadata: { namespace, name } }), {
          concurrency: 32,
          discard: true
        })
        const { items } = yield* client.list(ConfigMaps, { namespace })
        assert.deepStrictEqual(
          items.map((item) => item.metadata.name),
          names
        )
      })
    )

    it.effect("watches from just after a resourceVersion, through all three events", () =>
      Effect.gen(function* () {
        const { client } = yield* Live
        const namespace = yield* freshNamespace
        const ref = { namespace, name: "w" }
        const { resourceVersion } = yield* client.list(ConfigMaps, { namespace })
        const watching = yield* client.watch(ConfigMaps, { namespace, resourceVersion }).pipe(
          Stream.filter((event) => event._tag !== "Bookmark"),
          Stream.take(3),
          Stream.runCollect,
          Effect.forkChild
        )
        yield* client.create(ConfigMaps, { metadata: ref })
        yield* client.patch(ConfigMaps, ref, { data: { a: "1" } })
        yield* client.delete(ConfigMaps, ref)
        const events = yield* Fiber.join(watching)
        assert.deepStrictEqual(
          events.map((event) => [event._tag, event.object.metadata.name]),
          [
            ["Added", "w"],
            ["Modified", "w"],
            ["Deleted", "w"]
          ]
        )
      })
    )

    it.effect("finds the version that is served, and skips what does not decode without losing sight of it", () =>
      Effect.gen(function* () {
        const { client } = yield* Live
        yield* installCrd(client, widgetCrd)
        const namespace = yield* freshNamespace
        const { resourceVersion } = yield* client.list(Widgets, { namespace })
        yield* client.create(Widgets, { metadata: { namespace, name: "good" }, spec: { size: 1 } })
        const bad = yield* client.create(
          { ...Widgets, schema: Schema.Struct({ metadata: Widget.fields.metadata }) },
          { metadata: { namespace, name: "bad" }, spec: { size: "password" } }
        )
        const listed = yield* client.list(Widgets, { namespace })
        assert.deepStrictEqual(
          listed.items.map((item) => item.metadata.name),
          ["good"]
        )
        assert.deepStrictEqual(
          listed.undecodable?.map((item) => item.name),
          ["bad"]
        )
        assert.notInclude(JSON.stringify(listed.undecodable), "password")
        const last = yield* client.watch(Widgets, { namespace, resourceVersion }).pipe(
          Stream.filter((event) => event._tag === "Bookmark" && event.skipped !== undefined),
          Stream.runHead
        )
        assert.deepStrictEqual(
          Option.map(last, (event) => event._tag === "Bookmark" && [event.resourceVersion, event.skipped?.name]),
          Option.some([bad.metadata.resourceVersion, "bad"])
        )
        assert.strictEqual(yield* refusal(client.get(Widgets, { namespace, name: "bad" })), "Decode")
      })
    )

    it.effect("serves our own CRDs", () =>
      Effect.gen(function* () {
        const { crds, client } = yield* Live
        if (crds.length === 0) return
        const names = yield* Effect.forEach(["remotemachines", "k0sworkerconfigs"], (plural) =>
          client.list({
            group: plural.startsWith("k0s") ? "bootstrap.cluster.x-k8s.io" : "infrastructure.cluster.x-k8s.io",
            versions: ["v1beta1"],
            kind: plural,
            plural,
            namespaced: true,
            schema: Schema.Struct({ metadata: Schema.Struct({ name: Schema.String }) })
          })
        )
        assert.deepStrictEqual(
          names.map(({ items }) => items),
          [[], []]
        )
      })
    )
  })
})
