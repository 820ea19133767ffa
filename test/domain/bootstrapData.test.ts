/**
 * Holds the way from files and steps to the Secret's bytes: the same inputs give the same bytes, contents are compressed
 * only where they would not fit, what can't fit is refused, and custom user data can't undo the bootstrap.
 */
import { gunzipSync, gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { bootstrapData, type DataOptions, MAX_DATA_BYTES, TOO_LARGE } from "../../src/domain/BootstrapData.ts"
import { workerBootstrap } from "../../src/domain/BootstrapScript.ts"
import { customParts } from "../../src/domain/bootstrap/CustomUserData.ts"
import { gzipDeflated } from "../../src/domain/bootstrap/Gzip.ts"
import { namedStep, type Payload, parseCloudConfig } from "../../src/domain/CloudConfig.ts"
import { encodeJoinToken } from "../../src/domain/JoinToken.ts"

const steps = [namedStep("one", "echo 1"), namedStep("mark success", "touch /run/x")]
const withFile = (content: Uint8Array | string, more: Partial<Payload> = {}): Payload => ({
  files: [{ path: "/etc/large", content: Buffer.from(content), mode: "0644" }],
  steps,
  ...more
})
const made = (payload: Payload, options: DataOptions = {}) => Result.getOrThrow(bootstrapData(payload, options))
const text = (payload: Payload, options: DataOptions = {}): string =>
  Buffer.from(made(payload, options).value).toString()

/** Looks random, is the same in every run, and no compressor makes it shorter. */
const noise = (bytes: number): Uint8Array => {
  let state = 0x2545f491
  return Uint8Array.from({ length: bytes }, () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state & 0xff
  })
}

describe("our compressor", () => {
  it.prop("zlib reads back what it wrote", [Schema.Uint8Array, Schema.String], ([bytes, string]) => {
    for (const content of [bytes, Buffer.from(string), Buffer.from(string.repeat(20))])
      assert.deepStrictEqual(gunzipSync(gzipDeflated(content)), Buffer.from(content))
  })
  it("all lengths and distances of matches", () => {
    const parts: Array<Uint8Array> = []
    const unique = noise(70_000)
    for (let length = 3; length <= 600; length += 7)
      parts.push(unique.subarray(length, 2 * length), unique.subarray(0, 97))
    for (const distance of [1, 2, 5, 257, 4097, 32_767, 32_768, 32_769, 60_000])
      parts.push(unique.subarray(0, distance), unique.subarray(0, 300))
    const content = Buffer.concat(parts)
    const small = gzipDeflated(content)
    assert.deepStrictEqual(gunzipSync(small), content)
    assert.isBelow(small.length, content.length)
  })
  it("compresses about as well as zlib does", () => {
    const content = Buffer.from(
      Array.from({ length: 5000 }, (_, line) => `key-${line % 97} = value ${line}\n`).join("")
    )
    assert.isBelow(gzipDeflated(content).length, 2 * gzipSync(content).length)
  })
})

describe("the same inputs", () => {
  const join = (secret: string): string =>
    encodeJoinToken({ server: "https://c:6443", ca: "CA", user: "kubelet-bootstrap", token: { id: "abcdef", secret } })
  const render = (joinToken: string, options: DataOptions): string => {
    const payload = workerBootstrap({
      machineName: "m",
      joinToken,
      files: [
        { path: "/a", content: "größe" },
        { path: "/b", content: "the same line\n".repeat(90_000) }
      ],
      preStartCommands: ["echo {{ a }}"],
      postStartCommands: ["true"]
    })
    return text(Result.getOrThrow(payload), options)
  }
  const formats: ReadonlyArray<readonly [string, DataOptions]> = [
    ["cloud-config", {}],
    ["a multipart", { customUserData: Buffer.from("runcmd: [echo ä]") }],
    ["Ignition", { ignition: { variant: "fcos", version: "1.5.0" } }]
  ]
  for (const [name, options] of formats)
    it(`give the same bytes but for the token: ${name}`, () => {
      const [one, other] = [join("0123456789abcdef"), join("fedcba9876543210")]
      const first = render(one, options)
      assert.strictEqual(render(one, options), first)
      assert.notStrictEqual(render(other, options), first)
      // A multipart's boundary and base64 follow the content; in the others the token's place is the only difference.
      if (name === "cloud-config") assert.strictEqual(render(other, options).replace(other, one), first)
    })
})

describe("what a Secret can carry", () => {
  it("is readable as long as it fits", () => {
    assert.include(text(withFile("plain text\n".repeat(50_000))), "      plain text\n")
    assert.notInclude(text(withFile("plain text\n".repeat(50_000))), "gz+b64")
  })
  it("is compressed when it would not, large contents only", () => {
    const files = [
      { path: "/etc/large", content: Buffer.from("plain text\n".repeat(100_000)), mode: "0644" },
      { path: "/etc/small", content: Buffer.from("small text\n"), mode: "0644" }
    ]
    const data = made({ files, steps })
    assert.isBelow(data.value.length, 20_000)
    assert.include(Buffer.from(data.value).toString(), "      small text\n")
    assert.deepStrictEqual(Result.getOrThrow(parseCloudConfig(data.value)).files, files)
  })
  it("is refused when that is not enough, and the largest file named", () => {
    for (const options of [{}, { ignition: { variant: "fcos", version: "1.5.0" } }]) {
      const refused = bootstrapData(withFile(noise(900_000)), options)
      if (Result.isSuccess(refused)) assert.fail("was accepted")
      assert.strictEqual(refused.failure.reason, TOO_LARGE)
      assert.match(refused.failure.message, /\/etc\/large is 879 KiB/)
    }
  })
  it("binary of just under the limit passes", () => {
    const size = made(withFile(noise(780_000))).value.length
    assert.isAtMost(size, MAX_DATA_BYTES)
  })
})

describe("custom user data", () => {
  const bad: ReadonlyArray<readonly [string, string | Uint8Array, string]> = [
    ["bad YAML", "runcmd: [s3cret", "is not valid YAML"],
    ["no mapping", "- s3cret", "is not a YAML mapping"],
    ["only a header", "#cloud-config\n", "is not a YAML mapping"],
    ["a string for commands", "runcmd: s3cret", "has a runcmd that is not a list"],
    ["a mapping for files", "write_files: {a: s3cret}", "has a write_files that is not a list"],
    ["a merge that replaces", "merge_how: s3cret\nruncmd: [a]", "says how it is merged"],
    ["the same in jinja", "## template: jinja\n#cloud-config\nmerge_type: s3cret\n", "says how it is merged"],
    ["bytes that are no text", Uint8Array.of(0x73, 0xff, 0xfe), "is not UTF-8"],
    ["half a gzip", Uint8Array.of(0x1f, 0x8b, 8, 0), "starts like gzip and is not"],
    ["a multipart without a boundary", "Content-Type: multipart/mixed\n\ns3cret", "is a multipart that can't be read"],
    [
      "a multipart whose part replaces",
      'Content-Type: multipart/mixed; boundary="B"\n\n--B\nContent-Type: text/cloud-config\nMerge-Type: dict(replace)\n\n#cloud-config\nruncmd: [s3cret]\n--B--\n',
      "says how it is merged"
    ]
  ]
  for (const [name, data, why] of bad)
    it(`${name} is refused, without showing it`, () => {
      const refused = bootstrapData(withFile("x"), { customUserData: Buffer.from(data) })
      if (Result.isSuccess(refused)) assert.fail("was accepted")
      assert.strictEqual(refused.failure.field, "spec.customUserDataRef")
      assert.include(refused.failure.message, why)
      assert.notInclude(refused.failure.message, "s3cret")
    })
  it("gzip, jinja, scripts and multiparts keep their type, and ours stays around them", () => {
    const types = (data: string | Uint8Array) =>
      Result.getOrThrow(customParts(Buffer.from(data))).map(({ headers, type }) => [
        type,
        headers["Merge-Type"] !== undefined
      ])
    assert.deepStrictEqual(types("runcmd: [a]"), [["text/cloud-config", true]])
    assert.deepStrictEqual(types(gzipSync("#cloud-config\nruncmd: [a]")), [["text/cloud-config", true]])
    assert.deepStrictEqual(types("## template: jinja\n#cloud-config\nruncmd: ['{{ a }}']"), [["text/jinja2", true]])
    assert.deepStrictEqual(types("#!/bin/sh\ntrue"), [["text/plain", false]])
    assert.deepStrictEqual(
      types(
        'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="B"\n\n--B\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--B--\n'
      ),
      [["text/x-shellscript", false]]
    )
    const data = text(withFile("x"), { customUserData: Buffer.from("#!/bin/sh\ntrue") })
    assert.isBelow(data.indexOf("step 1 of 2"), data.indexOf("#!/bin/sh\ntrue"))
    assert.isBelow(data.indexOf("#!/bin/sh\ntrue"), data.indexOf("step 2 of 2"))
  })
})
