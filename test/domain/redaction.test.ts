/** Holds: known secrets don't get into what people see: whole, in pieces, cut, wrapped, or as base64. */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { payloadSecrets } from "../../src/domain/bootstrap/Secrets.ts"
import { encodeJoinToken } from "../../src/domain/JoinToken.ts"
import { REDACTED, redact } from "../../src/domain/Redaction.ts"

const secret = "s3cr3t-T0ken/with+all=kinds"

describe("redact", () => {
  it("whole, twice, overlapping with another", () => {
    assert.strictEqual(redact(`a ${secret} b ${secret}`, [secret]), `a ${REDACTED} b ${REDACTED}`)
    assert.strictEqual(redact("xabcdefghy", ["abcdef", "defgh"]), `x${REDACTED}y`)
  })
  it("lines of a key, but not short ones", () => {
    const key = "-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\nshort\n-----END KEY-----"
    assert.strictEqual(redact("it says AAAABBBBCCCCDDDD, and short", [key]), `it says ${REDACTED}, and short`)
  })
  it("base64 of it, at every alignment", () => {
    for (const before of ["", "u", "us", "use"]) {
      const text = Buffer.from(`${before}:${secret}:after`).toString("base64")
      const shown = redact(text, [secret])
      assert.include(shown, REDACTED)
      const decoded = Buffer.from(shown.replaceAll(REDACTED, ""), "base64").toString("latin1")
      assert.notInclude(decoded, secret.slice(3, 12))
    }
  })
  it("a tail that begins in the middle, and a wrapped one", () => {
    assert.strictEqual(redact(`${secret.slice(5)} failed`, [secret]), `${REDACTED} failed`)
    const long = `${secret}${secret.toUpperCase()}`
    const wrapped = redact(`${long.slice(0, 25)}\n${long.slice(25)}`, [long])
    assert.strictEqual(wrapped, `${REDACTED}\n${REDACTED}`)
  })
  it("leaves text alone when there is nothing to hide", () => {
    assert.strictEqual(redact("k0s failed", []), "k0s failed")
    assert.strictEqual(redact("a b c", ["", " ", "a"]), "a b c")
  })
  it.prop("no secret of 8 or more characters survives", [Schema.String, Schema.String, Schema.String], ([a, s, b]) => {
    const hidden = s.trim()
    return hidden.length < 8 || REDACTED.includes(hidden) || !redact(a + hidden + b, [s]).includes(hidden)
  })
})

describe("payloadSecrets", () => {
  it("files that not everyone may read, and the token inside a join token", () => {
    const join = encodeJoinToken({
      server: "https://h:1",
      ca: "CA",
      user: "kubelet-bootstrap",
      token: { id: "abc123", secret: "0123456789abcdef" }
    })
    const file = (path: string, content: string, mode: string) => ({ path, content: Buffer.from(content), mode })
    const secrets = payloadSecrets({
      files: [file("/a", "public", "0644"), file("/b", "private", "0640"), file("/etc/k0s.token", join, "0600")],
      steps: []
    })
    assert.deepStrictEqual(secrets, ["private", join, "0123456789abcdef"])
  })
  it("what looks like a token, or is called a secret, in commands and in files that all may read", () => {
    const script = `curl -sfL https://get.k3s.io | K3S_URL=https://10.0.0.1:6443 K3S_TOKEN='mysecret-1' sh -s - agent
kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:1 --certificate-key 0a1b2c3d
curl -H "Authorization: Bearer eyJhbGciOi" https://x; # the token renewal is somebody else's
export PASSWORD="$(cat /etc/pw)" token=true`
    const config = `server: https://10.0.0.1:9345\ntoken: K10${"ab".repeat(32)}::server:cafe\nnode-name: n1\n`
    const secrets = payloadSecrets({
      files: [{ path: "/etc/rancher/rke2/config.yaml", content: Buffer.from(config), mode: "0644" }],
      steps: [{ name: "join", script }]
    })
    assert.deepStrictEqual(
      [...new Set(secrets)].sort(),
      [`K10${"ab".repeat(32)}::server:cafe`, "0a1b2c3d", "abcdef.0123456789abcdef", "eyJhbGciOi", "mysecret-1"].sort()
    )
  })
})
