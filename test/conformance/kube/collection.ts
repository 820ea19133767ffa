/**
 * Owns the scenarios about what follows a deletion: garbage collection and the end of a namespace. They need the
 * controllers a bare kube-apiserver lacks. Each waits for the Deleted event of what must go.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { ConfigMaps, Namespaces, Nodes, Secrets } from "../../../src/api/Core.ts"
import type { JsonObject } from "../../../src/kube/KubeClient.ts"
import { following, freshNamespace, type It, names, reasonOf, told, World } from "./World.ts"

const HOLD = "test.machinist.dev/hold"

const make = (namespace: string, name: string, metadata: JsonObject = {}) =>
  Effect.flatMap(World, ({ client }) => client.create(ConfigMaps, { metadata: { namespace, name, ...metadata } }))

const ownedBy = (owner: { readonly metadata: { readonly name: string; readonly uid?: string } }, block = false) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  name: owner.metadata.name,
  uid: owner.metadata.uid ?? "",
  ...(block ? { blockOwnerDeletion: true } : {})
})

export const garbage = (it: It) => {
  it.effect("background: dependents go after their owner, down the tree", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const owner = yield* make(namespace, "owner")
      const child = yield* make(namespace, "child", { ownerReferences: [ownedBy(owner)] })
      yield* make(namespace, "grandchild", { ownerReferences: [ownedBy(child)] })
      yield* make(namespace, "stranger")
      const events = yield* following(
        ConfigMaps,
        { namespace },
        3,
        client.delete(ConfigMaps, { namespace, name: "owner" })
      )
      assert.deepStrictEqual(events.map(told), ["Deleted owner", "Deleted child", "Deleted grandchild"])
      assert.deepStrictEqual(names(yield* client.list(ConfigMaps, { namespace })), ["stranger"])
    })
  )

  it.effect("a cluster-scoped object has no owner in a namespace: it stays when that is gone", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const owner = yield* make(namespace, "owner")
      const metadata = { name: `owned-by-${namespace}`, ownerReferences: [ownedBy(owner)] }
      yield* client.create(Nodes, { metadata })
      yield* make(namespace, "child", { ownerReferences: [ownedBy(owner)] })
      yield* following(ConfigMaps, { namespace }, 2, client.delete(ConfigMaps, { namespace, name: "owner" }))
      const kept = yield* client.get(Nodes, { name: metadata.name })
      assert.lengthOf(kept.metadata.ownerReferences ?? [], 1)
      yield* client.delete(Nodes, { name: metadata.name })
    })
  )

  it.effect("one solid owner keeps a dependent; the reference to the other is taken away", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const [a, b] = [yield* make(namespace, "a"), yield* make(namespace, "b")]
      yield* make(namespace, "child", { ownerReferences: [ownedBy(a), ownedBy(b)] })
      const events = yield* following(ConfigMaps, { namespace }, 2, client.delete(ConfigMaps, { namespace, name: "a" }))
      assert.deepStrictEqual(events.map(told), ["Deleted a", "Modified child"])
      const child = yield* client.get(ConfigMaps, { namespace, name: "child" })
      assert.deepStrictEqual(
        child.metadata.ownerReferences?.map((owner) => owner.name),
        ["b"]
      )
    })
  )

  it.effect("an owner that never was: the dependent goes", () =>
    Effect.gen(function* () {
      const namespace = yield* freshNamespace
      const ghost = { metadata: { name: "ghost", uid: "00000000-0000-4000-8000-000000000000" } }
      const events = yield* following(
        ConfigMaps,
        { namespace },
        2,
        make(namespace, "child", { ownerReferences: [ownedBy(ghost)] })
      )
      assert.deepStrictEqual(events.map(told), ["Added child", "Deleted child"])
    })
  )

  it.effect("an owner in another namespace is no owner", () =>
    Effect.gen(function* () {
      const [here, there] = [yield* freshNamespace, yield* freshNamespace]
      const owner = yield* make(there, "owner")
      const events = yield* following(
        ConfigMaps,
        { namespace: here },
        2,
        make(here, "child", { ownerReferences: [ownedBy(owner)] })
      )
      assert.deepStrictEqual(events.map(told), ["Added child", "Deleted child"])
    })
  )

  it.effect("foreground: the owner waits for the dependents that block it", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const owner = yield* make(namespace, "owner")
      yield* make(namespace, "blocking", { ownerReferences: [ownedBy(owner, true)], finalizers: [HOLD] })
      yield* make(namespace, "loose", { ownerReferences: [ownedBy(owner)] })
      const first = yield* following(
        ConfigMaps,
        { namespace },
        2,
        client.delete(ConfigMaps, { namespace, name: "owner" }, { propagationPolicy: "Foreground" })
      )
      assert.deepStrictEqual(first.map(told), ["Modified owner", "Modified blocking"])
      const waiting = yield* client.get(ConfigMaps, { namespace, name: "owner" })
      assert.deepStrictEqual(waiting.metadata.finalizers, ["foregroundDeletion"])
      const then = yield* following(
        ConfigMaps,
        { namespace },
        3,
        client.patch(ConfigMaps, { namespace, name: "blocking" }, { metadata: { finalizers: null } })
      )
      // What blocks nothing may go at any time, as upstream.
      assert.deepStrictEqual(
        then.map(told).filter((event) => !event.endsWith("loose")),
        ["Deleted blocking", "Deleted owner"]
      )
      assert.deepStrictEqual(names(yield* client.list(ConfigMaps, { namespace })), [])
    })
  )

  it.effect("foreground without blocking dependents ends at once", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      yield* make(namespace, "owner")
      const events = yield* following(
        ConfigMaps,
        { namespace },
        2,
        client.delete(ConfigMaps, { namespace, name: "owner" }, { propagationPolicy: "Foreground" })
      )
      assert.deepStrictEqual(events.map(told), ["Modified owner", "Deleted owner"])
    })
  )

  it.effect("orphan: dependents lose the reference and stay", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const owner = yield* make(namespace, "owner")
      yield* make(namespace, "child", { ownerReferences: [ownedBy(owner)] })
      const events = yield* following(
        ConfigMaps,
        { namespace },
        3,
        client.delete(ConfigMaps, { namespace, name: "owner" }, { propagationPolicy: "Orphan" })
      )
      assert.deepStrictEqual(events.map(told), ["Modified owner", "Modified child", "Deleted owner"])
      const child = yield* client.get(ConfigMaps, { namespace, name: "child" })
      assert.isUndefined(child.metadata.ownerReferences)
    })
  )
}

export const namespaces = (it: It) => {
  it.effect("a deleted namespace takes its content with it, waits for finalizers, and then goes", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      const ref = { namespace, name: "held" }
      yield* make(namespace, "held", { finalizers: [HOLD] })
      yield* make(namespace, "free")
      yield* client.create(Secrets, { metadata: { namespace, name: "s" } })
      const first = yield* following(ConfigMaps, { namespace }, 2, client.delete(Namespaces, { name: namespace }))
      assert.deepStrictEqual(first.map(told).sort(), ["Deleted free", "Modified held"])
      assert.strictEqual((yield* client.get(Namespaces, { name: namespace })).status?.phase, "Terminating")
      const end = yield* following(
        Namespaces,
        { fieldSelector: `metadata.name=${namespace}` },
        1,
        client.patch(ConfigMaps, ref, { metadata: { finalizers: null } })
      )
      assert.deepStrictEqual(end.map(told), [`Deleted ${namespace}`])
      assert.strictEqual(yield* reasonOf(client.get(Secrets, { namespace, name: "s" })), "NotFound")
      // The name is free again.
      yield* client.create(Namespaces, { metadata: { name: namespace } })
      yield* make(namespace, "new")
    })
  )

  it.effect("a namespace's own finalizers hold it after its content is gone", () =>
    Effect.gen(function* () {
      const { client } = yield* World
      const namespace = yield* freshNamespace
      yield* client.patch(Namespaces, { name: namespace }, { metadata: { finalizers: [HOLD] } })
      yield* make(namespace, "free")
      yield* following(ConfigMaps, { namespace }, 1, client.delete(Namespaces, { name: namespace }))
      const fieldSelector = `metadata.name=${namespace}`
      const { resourceVersion } = yield* client.list(Namespaces, { fieldSelector })
      yield* client.patch(Namespaces, { name: namespace }, { metadata: { finalizers: null } })
      const end = yield* client.watch(Namespaces, { fieldSelector, resourceVersion }).pipe(
        Stream.filter((event) => event._tag === "Deleted"),
        Stream.take(1),
        Stream.runCollect
      )
      assert.deepStrictEqual(end.map(told), [`Deleted ${namespace}`])
    })
  )
}
