/** Holds: backoff is bounded and grows; versions and download URLs as CONTRACT section 3 has them. */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Backoff from "../../src/domain/Backoff.ts"
import { DownloadSource, downloadSource, parseDownloadUrl } from "../../src/domain/DownloadUrl.ts"
import { k0sVersion, validateSpecVersion } from "../../src/domain/K0sVersion.ts"

describe("Backoff", () => {
  const policies = [
    Backoff.CONNECT_BACKOFF,
    Backoff.STEP_BACKOFF,
    Backoff.CLEAN_BACKOFF,
    Backoff.API_BACKOFF,
    Backoff.WORKLOAD_BACKOFF
  ]
  it.prop("stays within half of the full wait and the cap, and never shrinks", [Schema.Int], ([seed]) => {
    const attempt = Math.abs(seed % 2000)
    const random = (Math.abs(seed) % 1000) / 1000
    return policies.every((policy) => {
      const wait = Backoff.backoffMillis(policy, attempt, random)
      return (
        wait >= policy.baseMillis / 2 &&
        wait <= policy.capMillis &&
        wait <= Backoff.backoffMillis(policy, attempt + 1, random)
      )
    })
  })
  it("doubles", () => {
    const waits = [1, 2, 3, 4, 20].map((attempt) => Backoff.backoffMillis(Backoff.CONNECT_BACKOFF, attempt, 1))
    assert.deepStrictEqual(waits, [1000, 2000, 4000, 8000, 60_000])
    assert.strictEqual(Backoff.backoffMillis(Backoff.CONNECT_BACKOFF, 1, 0), 500)
  })
})

describe("K0sVersion", () => {
  const cases: ReadonlyArray<readonly [string | undefined, string | undefined, string | undefined]> = [
    ["v1.27.2+k0s.0", "v1.30.0", "v1.27.2+k0s.0"],
    [undefined, "v1.27.2-k0s.0", "v1.27.2+k0s.0"],
    ["", "v1.27.2", "v1.27.2+k0s.0"],
    ["v1.30.0-rc.1+k0s.2", undefined, "v1.30.0-rc.1+k0s.2"],
    [undefined, "v1.30.0-alpha-k0s.1", "v1.30.0-alpha+k0s.1"],
    [undefined, undefined, undefined],
    ["", "", undefined]
  ]
  for (const [spec, owner, wanted] of cases) {
    it(`${spec}, owner ${owner}: ${wanted}`, () => {
      assert.deepStrictEqual(k0sVersion(spec, owner), Result.succeed(wanted))
    })
  }
  it("admission refuses -k0s. and says what to write", () => {
    const refused = validateSpecVersion("v1.27.2-k0s.0")
    assert.isTrue(Result.isFailure(refused) && refused.failure.message.includes("v1.27.2+k0s.0"))
    for (const good of ["", "v1.27.2+k0s.0", "v1.27.2"]) assert.isTrue(Result.isSuccess(validateSpecVersion(good)))
    for (const bad of ["v1; rm -rf /", "v1 ", "$(x)"]) {
      assert.isTrue(Result.isFailure(validateSpecVersion(bad)))
      assert.isTrue(Result.isFailure(k0sVersion(bad, undefined)))
    }
  })
})

describe("DownloadUrl", () => {
  it("preinstalled, then URL, then the installer", () => {
    const both = { preInstalledK0s: true, downloadURL: "https://x/k0s", version: "v1" }
    assert.deepStrictEqual(downloadSource(both), Result.succeed(DownloadSource.PreInstalled()))
    assert.deepStrictEqual(
      downloadSource({ ...both, preInstalledK0s: false }),
      Result.succeed(DownloadSource.Http({ url: "https://x/k0s", secret: false }))
    )
    assert.deepStrictEqual(
      downloadSource({ downloadURL: "", version: "v1" }),
      Result.succeed(DownloadSource.Installer({ version: "v1" }))
    )
  })
  it("takes http, https and oci, in any case", () => {
    const oci = `ghcr.io:443/k0s/k0s@sha256:${"ab".repeat(32)}`
    assert.deepStrictEqual(parseDownloadUrl(`OCI://${oci}`), Result.succeed(DownloadSource.Oci({ reference: oci })))
    assert.deepStrictEqual(
      parseDownloadUrl("HTTP://h/p"),
      Result.succeed(DownloadSource.Http({ url: "HTTP://h/p", secret: false }))
    )
    for (const url of ["https://u:p@h/k0s", "https://h/k0s?sig=1"]) {
      assert.deepStrictEqual(parseDownloadUrl(url), Result.succeed(DownloadSource.Http({ url, secret: true })))
    }
  })
  for (const bad of [
    "ftp://h/k0s",
    "file:///k0s",
    "h/k0s",
    "https://",
    "https://h/k 0s",
    "https://h/\n",
    "oci://h",
    "oci://h/r",
    "oci://h/r@sha256:$(x)"
  ]) {
    it(`refuses ${JSON.stringify(bad)} without repeating it`, () => {
      const parsed = parseDownloadUrl(bad)
      assert.isTrue(Result.isFailure(parsed))
      if (Result.isFailure(parsed)) assert.notInclude(parsed.failure.message, bad)
    })
  }
})
