/**
 * Holds what the HTTPS front does otherwise than kube-apiserver to what its header says, so that nobody is surprised: where
 * one of these fails, the difference is gone, and its line in the header with it.
 */
import { connect } from "node:tls"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type Answer, type Fronted, fronted } from "./Fronted.ts"
import { widgetDefinition } from "./Widgets.ts"

const CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
const PODS = "/api/v1/namespaces/default/pods"
const WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"

const withFront = <A, E>(use: (world: Fronted) => Effect.Effect<A, E>) => Effect.scoped(Effect.flatMap(fronted(), use))

const reasonOf = ({ body, code }: Answer): string => `${code} ${body?.reason ?? ""}`

const configMap = (name: string) => ({ apiVersion: "v1", kind: "ConfigMap", metadata: { name } })

describe("the HTTPS front, unlike kube-apiserver", () => {
  it.live("lets whoever has the token do everything, and serves no RBAC to say otherwise (unlike: no-rbac)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* ask("/apis/rbac.authorization.k8s.io/v1")).code, 404)
        assert.strictEqual((yield* ask("/api/v1/secrets")).code, 200)
        const who = yield* ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", {
          body: { kind: "SelfSubjectReview", apiVersion: "authentication.k8s.io/v1" }
        })
        assert.deepStrictEqual(who.body.status.userInfo.groups, ["system:masters", "system:authenticated"])
      })
    )
  )

  it.live("answers in JSON, never in protobuf or CBOR (unlike: json-answers)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        for (const accept of ["application/vnd.kubernetes.protobuf", "application/cbor"]) {
          assert.strictEqual((yield* ask(CONFIG_MAPS, { accept })).code, 406, accept)
          const either = yield* ask(CONFIG_MAPS, { accept: `${accept},application/json` })
          assert.strictEqual(either.headers["content-type"], "application/json")
        }
      })
    )
  )

  it.live("has nothing to say in OpenAPI v2 to who reads it as protobuf (unlike: empty-openapi-v2)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        const binary = yield* ask("/openapi/v2", { accept })
        assert.strictEqual(binary.code, 200)
        // The version of OpenAPI and a name.
        assert.isBelow(binary.text.length, 40)
        assert.property(
          (yield* ask("/openapi/v2", { accept: "application/json" })).body.definitions,
          "io.k8s.api.core.v1.Secret"
        )
      })
    )
  )

  it.live("never asks for patience, however many ask at once (unlike: no-rate-limits)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const answers = yield* Effect.forEach(
          Array.from({ length: 150 }, (_, index) => index),
          () => ask(CONFIG_MAPS),
          { concurrency: 100 }
        )
        assert.deepStrictEqual([...new Set(answers.map(({ code }) => code))], [200])
        assert.notProperty(answers[0]?.headers, "x-kubernetes-pf-flowschema-uid")
      })
    )
  )

  it.live("speaks HTTP/1.1 alone (unlike: http1)", () =>
    withFront(({ front }) =>
      Effect.callback<void>((resume) => {
        const socket = connect(
          { host: "127.0.0.1", port: front.port, ca: front.caPem, ALPNProtocols: ["h2", "http/1.1"] },
          () => {
            assert.notStrictEqual(socket.alpnProtocol, "h2")
            socket.destroy()
            resume(Effect.void)
          }
        )
        socket.on("error", () => resume(Effect.void))
      })
    )
  )

  it.live("has no admission webhooks or policies, and aggregates no other server (unlike: no-webhooks)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        for (const group of ["admissionregistration.k8s.io", "apiregistration.k8s.io"])
          assert.strictEqual((yield* ask(`/apis/${group}/v1`)).code, 404, group)
      })
    )
  )

  it.live("converts a kind by its apiVersion alone, also where a webhook was to do it (unlike: no-conversion)", () =>
    withFront(({ ask, server }) =>
      Effect.gen(function* () {
        const [first] = widgetDefinition.spec.versions
        const strategy = {
          strategy: "Webhook",
          webhook: { conversionReviewVersions: ["v1"], clientConfig: { url: "https://127.0.0.1:1/convert" } }
        }
        const versions = [first, { ...first, name: "v2", storage: false }]
        const spec = { ...widgetDefinition.spec, versions, conversion: strategy }
        yield* server.apply(JSON.parse(JSON.stringify({ ...widgetDefinition, spec })))
        const widget = { apiVersion: "example.com/v1", kind: "Widget", metadata: { name: "w" }, spec: { size: 2 } }
        yield* ask(WIDGETS, { body: widget })
        const other = yield* ask("/apis/example.com/v2/namespaces/default/widgets/w")
        assert.deepStrictEqual([other.body.apiVersion, other.body.spec.size], ["example.com/v2", 2])
      })
    )
  )

  it.live("lists the present, or nothing: of the past it says Expired (unlike: no-past-lists)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const before = (yield* ask(CONFIG_MAPS)).body.metadata.resourceVersion
        yield* ask(CONFIG_MAPS, { body: configMap("a") })
        const past = yield* ask(`${CONFIG_MAPS}?resourceVersion=${before}&resourceVersionMatch=Exact`)
        assert.strictEqual(reasonOf(past), "410 Expired")
        const now = (yield* ask(CONFIG_MAPS)).body.metadata.resourceVersion
        const present = yield* ask(`${CONFIG_MAPS}?resourceVersion=${now}&resourceVersionMatch=Exact`)
        assert.lengthOf(present.body.items, 1)
      })
    )
  )

  it.live("does not tell of fields that a body has twice (unlike: duplicate-fields)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const body =
          '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"twice"},"data":{"a":"1"},"data":{"a":"2"}}'
        const made = yield* ask(`${CONFIG_MAPS}?fieldValidation=Strict`, { body, contentType: "application/json" })
        assert.strictEqual(made.code, 201)
        assert.deepStrictEqual(made.body.data, { a: "2" })
      })
    )
  )

  it.live("has no subresources but status and scale (unlike: few-subresources)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "p" }, spec: { containers: [] } }
        yield* ask(PODS, { body: pod })
        for (const one of ["log", "exec", "attach", "portforward", "proxy", "eviction", "binding"])
          assert.strictEqual((yield* ask(`${PODS}/p/${one}`)).code, 404, one)
        const accounts = "/api/v1/namespaces/default/serviceaccounts"
        yield* ask(accounts, { body: { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "s" } } })
        assert.strictEqual((yield* ask(`${accounts}/s/token`, { body: {} })).code, 404)
        const finalize = yield* ask("/api/v1/namespaces/default/finalize", { method: "PUT", body: {} })
        assert.strictEqual(finalize.code, 404)
      })
    )
  )

  it.live("serves few kinds of its own: no workloads, no events.k8s.io (unlike: few-kinds)", () =>
    withFront(({ ask }) =>
      Effect.gen(function* () {
        for (const group of ["apps", "batch", "events.k8s.io", "networking.k8s.io", "policy", "storage.k8s.io"])
          assert.strictEqual((yield* ask(`/apis/${group}`)).code, 404, group)
        for (const plural of ["persistentvolumeclaims", "endpoints", "resourcequotas", "limitranges"])
          assert.strictEqual((yield* ask(`/api/v1/namespaces/default/${plural}`)).code, 404, plural)
      })
    )
  )
})
