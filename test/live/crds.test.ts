/**
 * Holds: a real API server establishes our CRDs, finds nothing to complain of in them, and accepts and refuses exactly
 * what the table of admission cases says.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ourCrds } from "../../src/api/crd/Render.ts"
import type { Kind } from "../../src/api/Kind.ts"
import { ourKinds } from "../../src/api/OurKinds.ts"
import type { JsonObject, KubeClientShape } from "../../src/kube/KubeClient.ts"
import { makeKubeClient } from "../../src/kube/LiveKubeClient.ts"
import { type AdmissionCase, admissionCases } from "../api/admissionCases.ts"
import { applyCrds, available, start } from "./apiserver/ApiServer.ts"

class Live extends Context.Service<Live, { readonly client: KubeClientShape; readonly installed: number }>()(
  "test/live/crds/Live"
) {
  static readonly layer = Layer.effect(
    Live,
    Effect.gen(function* () {
      const server = yield* start
      const client = yield* makeKubeClient({ _tag: "Files", path: server.kubeconfigPath })
      return { client, installed: (yield* applyCrds(client)).length }
    })
  )
}

const Condition = Schema.Struct({
  type: Schema.String,
  status: Schema.String,
  reason: Schema.String,
  message: Schema.String
})
const CrdStatus = Schema.Struct({
  metadata: Schema.Struct({ name: Schema.String }),
  status: Schema.Struct({
    conditions: Schema.Array(Condition),
    storedVersions: Schema.Array(Schema.String)
  })
})
const CrdStatuses: Kind<typeof CrdStatus.Type> = {
  group: "apiextensions.k8s.io",
  versions: ["v1"],
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  namespaced: false,
  schema: CrdStatus
}

/** Whatever its spec: what the server takes is what is asked here, not what we decode. */
const Anything = Schema.Struct({
  metadata: Schema.Struct({ name: Schema.String }),
  spec: Schema.optionalKey(Schema.Json)
})
const kindOf = (plural: string): Kind<typeof Anything.Type> => {
  const definition = ourKinds.find((one) => one.plural === plural)
  if (definition === undefined) throw new Error(`no kind ${plural}`)
  const { group, kind, versions } = definition
  return { group, kind, plural, versions: [versions[0] ?? ""], namespaced: true, schema: Anything }
}

/** Every write of a case; the message of the first one that is refused. */
const play = (client: KubeClientShape, one: AdmissionCase, index: number) =>
  Effect.gen(function* () {
    const kind = kindOf(one.plural)
    const ref = { namespace: "default", name: `case-${index}` }
    // Through JSON: the table is plain data, and the port wants JSON.
    const json = (value: unknown): JsonObject => JSON.parse(JSON.stringify(value))
    const writes = [
      client.create(kind, { ...json({ spec: one.spec }), metadata: ref }),
      ...(one.patches ?? []).map((spec) => client.patch(kind, ref, json({ spec })))
    ]
    for (const [at, write] of writes.entries()) {
      const refusal = yield* write.pipe(
        Effect.match({ onSuccess: () => undefined, onFailure: (error) => error.message })
      )
      if (refusal !== undefined) return { refusal, last: at === writes.length - 1 }
    }
    return { refusal: undefined, last: true }
  })

describe.skipIf(!available)("our CRDs on a real kube-apiserver", () => {
  it.layer(Live.layer, { timeout: "15 minutes", excludeTestServices: true })((it) => {
    it.effect("are all established, structural, and approved", () =>
      Effect.gen(function* () {
        const { client, installed } = yield* Live
        assert.strictEqual(installed, ourCrds.length)
        for (const crd of ourCrds) {
          const { status } = yield* client.get(CrdStatuses, { name: crd.metadata.name })
          const conditions = new Map(status.conditions.map((one) => [one.type, one]))
          assert.strictEqual(conditions.get("Established")?.status, "True", crd.metadata.name)
          assert.strictEqual(conditions.get("NamesAccepted")?.status, "True", crd.metadata.name)
          const complaints = ["NonStructuralSchema", "KubernetesAPIApprovalPolicyConformant"].flatMap((type) => {
            const found = conditions.get(type)
            return found === undefined || (type !== "NonStructuralSchema" && found.status === "True") ? [] : [found]
          })
          assert.deepStrictEqual(complaints, [], crd.metadata.name)
          assert.deepStrictEqual(status.storedVersions, ["v1beta1"])
        }
      })
    )

    it.effect.each(admissionCases.map((one, index) => ({ ...one, index })))("$plural: $name", (one) =>
      Effect.gen(function* () {
        const { client } = yield* Live
        const { refusal, last } = yield* play(client, one, one.index)
        if (one.refused === undefined) return assert.isUndefined(refusal)
        assert.include(refusal ?? "accepted", one.refused)
        assert.isTrue(last, "only the last write may be refused")
      })
    )
  })
})
