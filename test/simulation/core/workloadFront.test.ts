/**
 * Holds: a simulated workload cluster is served over HTTPS with a certificate of its own authority; a join token opens it
 * for what a kubelet needs and nothing else, for as long as it is good; a kubelet that was let in stays.
 */
import { request } from "node:https"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import { Secrets } from "../../../src/api/Core.ts"
import {
  type BootstrapToken,
  TOKEN_NAMESPACE,
  tokenSecretName,
  workerTokenSecret
} from "../../../src/domain/JoinToken.ts"
import * as SimulatedWorkloads from "../../../src/simulation/core/SimulatedWorkloads.ts"
import { selfSigned } from "../../../src/simulation/core/standins/Certificates.ts"
import * as WorkloadFront from "../../../src/simulation/core/WorkloadFront.ts"

const CLUSTER = { namespace: "default", name: "demo" }
const TOKEN: BootstrapToken = { id: "abcdef", secret: "0123456789abcdef" }
const FAR_FUTURE_MILLIS = 32_503_680_000_000
const NODE = { apiVersion: "v1", kind: "Node", metadata: { name: "m1" } }
/** Of the time of the tests. */
const authority = Effect.runSync(
  Effect.map(Clock.currentTimeMillis, (now) => selfSigned("demo-ca", new Uint8Array(32).fill(7), now))
)

interface Answer {
  readonly code: number
  readonly text: string
}

const ask = (server: string, token: string | undefined, method: string, path: string, body?: unknown) =>
  Effect.callback<Answer, Error>((resume) => {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json"
    const asked = request(
      `${server}${path}`,
      {
        method,
        ca: authority.certificate,
        agent: false,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(text === undefined ? {} : { "content-type": type, "content-length": Buffer.byteLength(text) })
        }
      },
      (response) => {
        let said = ""
        response.on("data", (data: Buffer) => {
          said += data.toString()
        })
        response.on("end", () => resume(Effect.succeed({ code: response.statusCode ?? 0, text: said })))
      }
    )
    asked.on("error", (error) => resume(Effect.fail(error)))
    asked.end(text)
  })

const world = Effect.fnUntraced(function* (host: string) {
  const front = yield* WorkloadFront.make(host)
  const workloads = yield* SimulatedWorkloads.make({ front })
  const { port } = yield* front.endpoint
  const url = `https://${host.includes(":") ? `[${host}]` : host}:${port}`
  const access = { server: url, ca: authority.certificate, token: "admin-token", authorityKey: authority.privateKey }
  const server = yield* workloads.open(CLUSTER, access)
  const { data, metadata, type } = workerTokenSecret(TOKEN, FAR_FUTURE_MILLIS, "default/m1")
  yield* server.kubeClient.create(Secrets, { metadata, type, data })
  return { workloads, access, url, kube: server.kubeClient }
})

const join = `${TOKEN.id}.${TOKEN.secret}`

describe("a workload cluster's HTTPS front", () => {
  for (const host of ["127.0.0.1", "localhost", "::1"])
    it.live(`answers at ${host} with a certificate that its own authority signed`, () =>
      Effect.gen(function* () {
        const { url } = yield* world(host)
        assert.deepInclude(yield* ask(url, "admin-token", "GET", "/readyz"), { code: 200, text: "ok" })
        assert.strictEqual((yield* ask(url, "admin-token", "GET", "/api/v1/secrets")).code, 200)
        assert.strictEqual((yield* ask(url, "another", "GET", "/api/v1/nodes")).code, 401)
        assert.strictEqual((yield* ask(url, undefined, "GET", "/api/v1/nodes")).code, 401)
      }).pipe(Effect.scoped, Effect.provide(SecureRandom.layerWebCrypto))
    )

  it.live("lets a join token register a Node, and do nothing that is not a kubelet's", () =>
    Effect.gen(function* () {
      const { kube, url } = yield* world("127.0.0.1")
      assert.strictEqual((yield* ask(url, `${TOKEN.id}.fedcba9876543210`, "POST", "/api/v1/nodes", NODE)).code, 401)
      for (const [method, path] of [
        ["GET", "/api/v1/secrets"],
        ["GET", `/api/v1/namespaces/kube-system/secrets/${tokenSecretName(TOKEN.id)}`],
        ["DELETE", "/api/v1/nodes/m1"],
        ["POST", "/api/v1/namespaces"]
      ] as const) {
        const refused = yield* ask(url, join, method, path, method === "POST" ? {} : undefined)
        assert.strictEqual(refused.code, 403, `${method} ${path}`)
        assert.include(refused.text, "system:bootstrap:abcdef")
      }
      assert.strictEqual((yield* ask(url, join, "POST", "/api/v1/nodes", NODE)).code, 201)
      // The provider revokes it as soon as the machine has joined: its kubelet is not thrown out by that.
      yield* kube.delete(Secrets, { namespace: TOKEN_NAMESPACE, name: tokenSecretName(TOKEN.id) })
      const status = { status: { conditions: [{ type: "Ready", status: "True" }] } }
      assert.strictEqual((yield* ask(url, join, "PATCH", "/api/v1/nodes/m1/status", status)).code, 200)
      assert.strictEqual((yield* ask(url, join, "GET", "/api/v1/secrets")).code, 403)
    }).pipe(Effect.scoped, Effect.provide(SecureRandom.layerWebCrypto))
  )

  it.live("does not know a token that was revoked before anyone joined with it", () =>
    Effect.gen(function* () {
      const { kube, url } = yield* world("127.0.0.1")
      yield* kube.delete(Secrets, { namespace: TOKEN_NAMESPACE, name: tokenSecretName(TOKEN.id) })
      assert.strictEqual((yield* ask(url, join, "POST", "/api/v1/nodes", NODE)).code, 401)
    }).pipe(Effect.scoped, Effect.provide(SecureRandom.layerWebCrypto))
  )

  it.live("moves when the cluster's address does, and is gone with the cluster", () =>
    Effect.gen(function* () {
      const { access, url, workloads } = yield* world("127.0.0.1")
      const { port } = yield* workloads.front?.endpoint ?? Effect.die("no front")
      const moved = `https://127.0.0.1:${port}`
      yield* workloads.open(CLUSTER, { ...access, server: moved })
      assert.strictEqual((yield* ask(moved, "admin-token", "GET", "/readyz")).code, 200)
      assert.match((yield* Effect.flip(ask(url, "admin-token", "GET", "/readyz"))).message, /ECONNREFUSED/)
      yield* workloads.close(CLUSTER)
      assert.match((yield* Effect.flip(ask(moved, "admin-token", "GET", "/readyz"))).message, /ECONNREFUSED/)
    }).pipe(Effect.scoped, Effect.provide(SecureRandom.layerWebCrypto))
  )

  it.live("says why it can't be: an address of somebody else's, or an authority without a key", () =>
    Effect.gen(function* () {
      const { access, workloads } = yield* world("127.0.0.1")
      const other = { namespace: "default", name: "other" }
      const away = yield* Effect.flip(workloads.open(other, { ...access, server: "https://192.0.2.7:6443" }))
      assert.match(away.message, /192\.0\.2\.7:6443: that is no address of this machine/)
      const keyless = yield* Effect.flip(workloads.open(other, { ...access, authorityKey: undefined }))
      assert.match(keyless.message, /no tls\.key/)
      assert.isUndefined(workloads.server(other))
    }).pipe(Effect.scoped, Effect.provide(SecureRandom.layerWebCrypto))
  )
})
