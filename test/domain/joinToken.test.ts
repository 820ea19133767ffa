/** Holds: tokens are unbiased, Secrets complete, join tokens what k0s reads, equal input gives equal bytes. */
import { randomBytes } from "node:crypto"
import { gunzipSync, gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parse } from "yaml"
import { freshMillis, parseTtl, renewIn } from "../../src/domain/BootstrapTokens.ts"
import { gunzip, gzipStored } from "../../src/domain/bootstrap/Gzip.ts"
import * as JoinToken from "../../src/domain/JoinToken.ts"

const token = { id: "abc123", secret: "0123456789abcdef" }
const join: JoinToken.JoinToken = {
  server: "https://10.0.0.1:6443",
  ca: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
  user: "kubelet-bootstrap",
  token
}
const plain = (data: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]))

describe("tokenFromBytes", () => {
  it("gives [a-z0-9]{6} and {16}; every letter from equally many bytes", () => {
    const counts = new Map<string, number>()
    for (let byte = 0; byte < 256; byte++) {
      const made = JoinToken.tokenFromBytes(new Uint8Array(22).fill(byte))
      if (Result.isFailure(made)) continue
      const letter = made.success.id.charAt(0)
      counts.set(letter, (counts.get(letter) ?? 0) + 1)
    }
    assert.strictEqual(counts.size, 36)
    assert.deepStrictEqual([...new Set(counts.values())], [7])
    const made = Result.getOrThrow(JoinToken.tokenFromBytes(randomBytes(JoinToken.TOKEN_RANDOM_BYTES)))
    assert.match(`${made.id}.${made.secret}`, /^[a-z0-9]{6}\.[a-z0-9]{16}$/)
  })
  it("fails on too few bytes", () => {
    assert.isTrue(Result.isFailure(JoinToken.tokenFromBytes(randomBytes(10))))
  })
})

describe("token Secrets", () => {
  const expires = Date.UTC(2026, 10, 22, 7, 0, 0)
  it("worker", () => {
    const secret = JoinToken.workerTokenSecret(token, expires, "Machine default/machine-0")
    assert.deepStrictEqual(secret.metadata, { name: "bootstrap-token-abc123", namespace: "kube-system" })
    assert.strictEqual(secret.type, "bootstrap.kubernetes.io/token")
    assert.deepStrictEqual(plain(secret.data), {
      "token-id": "abc123",
      "token-secret": "0123456789abcdef",
      expiration: "2026-11-22T07:00:00Z",
      description: "Worker bootstrap token for Machine default/machine-0, made by Machinist",
      "usage-bootstrap-api-auth": "true",
      "usage-bootstrap-authentication": "true",
      "usage-bootstrap-api-worker-calls": "true"
    })
  })
  it("controller", () => {
    const { data } = JoinToken.controllerTokenSecret(token, expires, "Machine default/c-0")
    const text = plain(data)
    assert.strictEqual(text["usage-controller-join"], "true")
    assert.strictEqual(text["usage-bootstrap-authentication"], "false")
    assert.strictEqual(text["usage-bootstrap-signing"], "false")
    assert.strictEqual(text["usage-bootstrap-api-auth"], "true")
  })
})

describe("a token's life", () => {
  const found = (expiration: string | undefined) => ({ name: "", labels: {}, id: "", secret: "", expiration })
  for (const [text, seconds] of [
    ["24h", 86_400],
    ["1h30m", 5_400],
    ["5m", 300],
    ["600s", 600],
    ["720h", 2_592_000],
    ["", undefined],
    ["4m59s", undefined],
    ["721h", undefined],
    ["soon", undefined],
    ["1.5h", undefined],
    ["30m1h", undefined],
    ["-1h", undefined]
  ] as const)
    it(`${JSON.stringify(text)} is ${seconds ?? "no lifetime"}`, () => {
      assert.strictEqual(Result.getOrUndefined(parseTtl(text)), seconds)
    })
  it("is extended when a quarter is left, whatever its length; one that never ends, never", () => {
    const now = Date.UTC(2026, 0, 1)
    const hour = 3_600_000
    for (const ttl of [3_600, 86_400]) {
      assert.strictEqual(renewIn(found(new Date(now + ttl * 1000).toISOString()), now, ttl), freshMillis(ttl))
      assert.strictEqual(renewIn(found(new Date(now + ttl * 250).toISOString()), now, ttl), 0)
    }
    assert.strictEqual(renewIn(found(new Date(now + 7 * hour).toISOString()), now, 86_400), hour)
    assert.strictEqual(renewIn(found("garbage"), now, 86_400), 0)
    assert.strictEqual(renewIn(found(undefined), now, 86_400), Number.POSITIVE_INFINITY)
  })
})

describe("join token", () => {
  it("is base64 of gzip of a kubeconfig named k0s, always the same bytes", () => {
    const encoded = JoinToken.encodeJoinToken(join)
    assert.strictEqual(encoded, JoinToken.encodeJoinToken(join))
    const gz = Buffer.from(encoded, "base64")
    assert.deepStrictEqual([...gz.subarray(4, 8)], [0, 0, 0, 0], "mtime")
    const config = parse(gunzipSync(gz).toString())
    assert.strictEqual(config["current-context"], "k0s")
    assert.deepStrictEqual(config.contexts, [{ context: { cluster: "k0s", user: "kubelet-bootstrap" }, name: "k0s" }])
    assert.deepStrictEqual(config.users, [{ name: "kubelet-bootstrap", user: { token: "abc123.0123456789abcdef" } }])
    assert.strictEqual(config.clusters[0].cluster.server, join.server)
    assert.strictEqual(
      Buffer.from(config.clusters[0].cluster["certificate-authority-data"], "base64").toString(),
      join.ca
    )
  })
  it("decodes its own, and compressed ones of others", () => {
    const encoded = JoinToken.encodeJoinToken(join)
    assert.deepStrictEqual(JoinToken.decodeJoinToken(encoded), Result.succeed(join))
    const compressed = gzipSync(gunzipSync(Buffer.from(encoded, "base64"))).toString("base64")
    assert.deepStrictEqual(JoinToken.decodeJoinToken(`${compressed}\n`), Result.succeed(join))
  })
  it("refuses anything else without quoting it", () => {
    for (const bad of ["", "not base64!", Buffer.from("x").toString("base64"), gzipSync("a: [").toString("base64")]) {
      const decoded = JoinToken.decodeJoinToken(bad)
      assert.isTrue(Result.isFailure(decoded))
      if (Result.isFailure(decoded) && bad !== "") assert.notInclude(decoded.failure.message, bad)
    }
  })
  it("servers: endpoint, ingress, brackets for IPv6", () => {
    const endpoint = { host: "10.0.0.1", port: 6443 }
    assert.strictEqual(JoinToken.workerJoinServer(endpoint), "https://10.0.0.1:6443")
    assert.strictEqual(JoinToken.workerJoinServer({ host: "fd00::1", port: 6443 }), "https://[fd00::1]:6443")
    assert.strictEqual(JoinToken.workerJoinServer({ host: "[fd00::1]", port: 6443 }), "https://[fd00::1]:6443")
    assert.strictEqual(JoinToken.workerJoinServer(endpoint, { apiHost: "api.example" }), "https://api.example:443")
    assert.strictEqual(
      JoinToken.workerJoinServer(endpoint, { apiHost: "api.example", port: 8443 }),
      "https://api.example:8443"
    )
    assert.strictEqual(JoinToken.controllerJoinServer("fd00::1"), "https://[fd00::1]:9443")
  })
})

describe("gzipStored", () => {
  it.prop("round trip", [Schema.Uint8Array], ([bytes]) => Buffer.from(gunzipSync(gzipStored(bytes))).equals(bytes))
  it("content longer than a block, and a bomb", () => {
    const big = randomBytes(200_000)
    assert.isTrue(gunzipSync(gzipStored(big)).equals(big))
    assert.isTrue(Result.isFailure(gunzip(gzipSync(Buffer.alloc(17 * 1024 * 1024)))))
  })
})
