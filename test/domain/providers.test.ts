/**
 * Holds: bootstrap data as other providers of Cluster API make it (kubeadm, k3s, RKE2; samples of ours, after their
 * templates) becomes the files and steps that cloud-init or Ignition would have made of it; the golden file shows them
 * whole. What can't be done is one error that lists all of it.
 */
import { readdirSync, readFileSync } from "node:fs"
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { instanceData } from "../../src/domain/bootstrap/HostFacts.ts"
import { parseBootstrapData } from "../../src/domain/bootstrap/ReadBootstrap.ts"
import { payloadSecrets } from "../../src/domain/bootstrap/Secrets.ts"
import type { Payload } from "../../src/domain/CloudConfig.ts"
import { redact } from "../../src/domain/Redaction.ts"
import { assertGolden } from "./golden.ts"

const DIRECTORY = new URL("./providers/", import.meta.url)
const sample = (name: string): Buffer => readFileSync(new URL(name, DIRECTORY))

const instance = instanceData({
  facts: { hostname: "node-1", kernelRelease: "6.1.0-9", machine: "x86_64", distro: "debian", distroVersion: "12" },
  id: "claim-1",
  name: "m1",
  address: "192.0.2.21"
})

const ok = (data: Uint8Array, format?: string): Payload => Result.getOrThrow(parseBootstrapData(data, format, instance))
const failure = (data: Uint8Array | string, format?: string) => {
  const read = parseBootstrapData(typeof data === "string" ? Buffer.from(data) : data, format, instance)
  return Result.isFailure(read) ? read.failure : assert.fail("was accepted")
}

const shown = (name: string, payload: Payload): string =>
  [
    `${"=".repeat(8)} ${name}`,
    ...payload.files.flatMap((file) => [
      `--- ${file.path} ${file.mode} ${file.owner ?? ""}${file.append === true ? " append" : ""}`,
      Buffer.from(file.content).toString("utf8")
    ]),
    ...payload.steps.flatMap((step) => [`>>> ${step.name}`, step.script])
  ].join("\n")

const runnable = ["kubeadm-worker.yaml", "k3s-agent.yaml", "rke2-agent.yaml", "kubeadm-ignition-2.json"]

describe("bootstrap data of other providers", () => {
  it("as files and steps", () => {
    assertGolden("providers.txt", `${runnable.map((name) => shown(name, ok(sample(name)))).join("\n")}\n`)
  })
  it("every sample is tried", () => {
    assert.deepStrictEqual(readdirSync(DIRECTORY).sort(), [...runnable, "kubeadm-users.yaml"].sort())
  })
  it("zipped, as RKE2's provider stores it, it is the same", () => {
    assert.deepStrictEqual(ok(gzipSync(sample("rke2-agent.yaml"))), ok(sample("rke2-agent.yaml")))
    assert.deepStrictEqual(ok(gzipSync(sample("kubeadm-ignition-2.json"))), ok(sample("kubeadm-ignition-2.json")))
  })
  it("what can't be done over SSH is one list", () => {
    const { reason, unsupported } = failure(sample("kubeadm-users.yaml"))
    assert.strictEqual(reason, "Unsupported")
    assert.deepStrictEqual(unsupported, ["disk_setup", "fs_setup", "mounts", "users"])
  })
  it("their tokens are known to be secret", () => {
    const said = "join abcdef.0123456789abcdef with 0123456789abcdef0123456789abcdef or s3cr3t failed"
    for (const [name, secret] of [
      ["kubeadm-worker.yaml", "abcdef.0123456789abcdef"],
      ["k3s-agent.yaml", "0123456789abcdef0123456789abcdef"]
    ] as const)
      assert.notInclude(redact(said, payloadSecrets(ok(sample(name)))), secret)
  })
})

describe("the format", () => {
  const ignition = '{"ignition":{"version":"3.4.0"}}'
  const cloud = "#cloud-config\nruncmd: [a]\n"
  it("is the Secret's, or what the data looks like", () => {
    for (const format of [undefined, "", "ignition"])
      assert.deepStrictEqual(ok(Buffer.from(`\ufeff\n${ignition}`.slice(format === "ignition" ? 2 : 0)), format), {
        files: [],
        steps: []
      })
    for (const format of [undefined, "cloud-config"]) assert.lengthOf(ok(Buffer.from(cloud), format).steps, 1)
  })
  it("wrong ones say so, and quote nothing", () => {
    assert.include(failure(cloud, "s3cret").message, 'format "s3cret" can\'t be run: cloud-config and ignition can')
    assert.strictEqual(failure(cloud, "ignition").reason, "BadJson")
    assert.include(failure(ignition, "cloud-config").message, "format: ignition")
    for (const format of ["ignition", "cloud-config"])
      assert.notInclude(failure('{"s3cret": ', format).message, "s3cret")
  })
})
