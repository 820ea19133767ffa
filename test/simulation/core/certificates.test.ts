/**
 * Holds: certificates of stand-in control planes are real X.509 that others' code accepts, and the same for the same seed.
 */
import { X509Certificate } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import * as Certificates from "../../../src/simulation/core/standins/Certificates.ts"

const seed = (byte: number) => new Uint8Array(Certificates.KEY_SEED_BYTES).fill(byte)
const NOW = Date.UTC(2026, 10, 21)

describe("certificates", () => {
  it("an authority is self-signed, may sign, and is valid from now for ten years", () => {
    const made = Certificates.selfSigned("demo-ca", seed(1), NOW)
    const read = new X509Certificate(made.certificate)
    assert.strictEqual(read.subject, "CN=demo-ca")
    assert.strictEqual(read.issuer, "CN=demo-ca")
    assert.isTrue(read.ca)
    assert.isTrue(read.verify(read.publicKey))
    assert.strictEqual(Date.parse(read.validFrom), NOW)
    assert.isAbove(Date.parse(read.validTo), NOW + 9 * 365 * 86_400_000)
    assert.strictEqual(read.publicKey.export({ type: "spki", format: "pem" }), made.publicKey)
  })

  it("validity past 2049 has four digits of a year", () => {
    const read = new X509Certificate(Certificates.selfSigned("late", seed(1), Date.UTC(2045, 0, 1)).certificate)
    assert.strictEqual(new Date(read.validTo).getUTCFullYear(), 2054)
  })

  for (const host of ["api.example.com", "127.0.0.1"]) {
    it(`a server certificate for ${host} is signed by its authority`, () => {
      const ca = Certificates.selfSigned("demo-ca", seed(1), NOW)
      const made = Certificates.serverCertificate(
        { commonName: "demo-ca", privateKey: ca.privateKey },
        host,
        seed(2),
        NOW
      )
      const read = new X509Certificate(made.certificate)
      assert.isTrue(read.checkIssued(new X509Certificate(ca.certificate)))
      assert.isTrue(read.verify(new X509Certificate(ca.certificate).publicKey))
      assert.isFalse(read.ca)
      assert.isDefined(host.includes("e") ? read.checkHost(host) : read.checkIP(host))
      assert.isUndefined(read.checkHost("other.example.com"))
    })
  }

  it("one seed gives one certificate, another another", () => {
    const [a, b, c] = [seed(1), seed(1), seed(2)].map((one) => Certificates.selfSigned("ca", one, NOW).certificate)
    assert.strictEqual(a, b)
    assert.notStrictEqual(a, c)
  })
})
