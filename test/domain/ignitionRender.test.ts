/**
 * Holds: what a bootstrap becomes as Ignition, that Debian's ignition-validate takes it, what additional Butane
 * configuration turns into, and each refusal by field and place. That it works when run is test/live/ignition.test.ts.
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { bootstrapData } from "../../src/domain/BootstrapData.ts"
import { parseButane } from "../../src/domain/bootstrap/Butane.ts"
import { type IgnitionOptions, ignitionContents, renderIgnition } from "../../src/domain/bootstrap/Ignition.ts"
import { namedStep, type Payload } from "../../src/domain/CloudConfig.ts"
import { assertGolden } from "./golden.ts"

const payload: Payload = {
  files: [
    { path: "/etc/k0s.token", content: Buffer.from("H4sIJOINTOKEN"), mode: "0600" },
    { path: "/etc/app.conf", content: Buffer.from("größe\n"), mode: "0755", owner: "app:web" },
    { path: "/etc/hosts", content: Buffer.from("10.0.0.1 db\n"), mode: "0644", append: true }
  ],
  steps: [namedStep("pre-start 1", "echo {{ $HOME }}"), namedStep("mark success", "touch /run/x")]
}
const fcos = (additionalConfig?: string): IgnitionOptions => ({ variant: "fcos", version: "1.4.0", additionalConfig })
const rendered = (options: IgnitionOptions, of = payload): Uint8Array =>
  Result.getOrThrow(bootstrapData(of, { ignition: options })).value
const json = (options: IgnitionOptions) => JSON.parse(Buffer.from(rendered(options)).toString())

const VALIDATE = "/usr/bin/ignition-validate"
const validated = (config: Uint8Array): string => {
  const { status, stderr, stdout } = spawnSync(VALIDATE, ["-"], { input: config, encoding: "utf8" })
  return status === 0 ? `${stdout}${stderr}`.trim() : `exit ${status}: ${stdout}${stderr}`
}

const EVERYTHING = `variant: fcos
version: 1.4.0
ignition:
  timeouts: {http_total: 5}
  security: {tls: {certificate_authorities: [{inline: "-----BEGIN CERTIFICATE-----"}]}}
  proxy: {https_proxy: "https://proxy", no_proxy: [a, b]}
storage:
  disks:
    - device: /dev/vdb
      wipe_table: true
      partitions: [{number: 1, size_mib: 512, start_mib: 0, type_guid: 0FC63DAF-8483-4772-8E79-3D69D8477DE4}]
  raid: [{name: data, level: raid1, devices: [/dev/vdc, /dev/vdd]}]
  filesystems:
    - {device: /dev/vdb1, path: /var/lib/my data, format: ext4, with_mount_unit: true, mount_options: [noatime]}
    - {device: /dev/vdb2, format: swap, with_mount_unit: true}
  luks: [{name: secret, device: /dev/vde, key_file: {inline: key}, wipe_volume: true, clevis: {tpm2: true}}]
  files:
    - {path: /etc/mode, mode: 0600, contents: {inline: "a\\n"}, user: {name: core}}
    - {path: /etc/new, mode: 0o640, overwrite: true, contents: {source: "https://example.org/x", verification: {hash: sha256-0000000000000000000000000000000000000000000000000000000000000000}}}
    - {path: /etc/more, append: [{inline: more}]}
  directories: [{path: /srv/x, mode: 0755, group: {id: 10}}]
  links: [{path: /etc/link, target: /srv/x, hard: false}]
systemd:
  units:
    - {name: a.service, enabled: true, contents: "[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n"}
    - {name: b.service, mask: true, dropins: [{name: c.conf, contents: "[Service]\\n"}]}
passwd:
  users: [{name: core, ssh_authorized_keys: [ssh-ed25519 AAAA], home_dir: /home/core, no_create_home: true, uid: 1000}]
  groups: [{name: web, gid: 80}]
kernel_arguments: {should_exist: [quiet], should_not_exist: [debug]}
`

describe("a bootstrap as Ignition", () => {
  it("golden, with everything that Butane may add", () => {
    assertGolden("ignition.ign", `${JSON.stringify(json(fcos(EVERYTHING)), null, 2)}\n`)
  })
  it("has the version of Ignition that Butane's table says", () => {
    const cases: ReadonlyArray<readonly [string, string, string]> = [
      ["fcos", "1.0.0", "3.0.0"],
      ["fcos", "1.6.0", "3.5.0"],
      ["flatcar", "1.1.0", "3.4.0"],
      ["openshift", "4.14.0", "3.4.0"],
      ["r4e", "1.0.0", "3.3.0"],
      ["fiot", "1.0.0", "3.4.0"]
    ]
    for (const [variant, version, ignition] of cases)
      assert.strictEqual(json({ variant, version }).ignition.version, ignition)
  })
  it.skipIf(!existsSync(VALIDATE))("is valid for ignition-validate (package ignition)", () => {
    for (const options of [fcos(), fcos(EVERYTHING), { variant: "fcos", version: "1.0.0" }])
      assert.strictEqual(validated(rendered(options)), "")
    // It would tell.
    assert.include(
      validated(Buffer.from('{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"x"}]}}')),
      "exit 1"
    )
  })
  it.prop(
    "any content and any command come back as they were",
    [Schema.Array(Schema.Uint8Array), Schema.Array(Schema.String)],
    ([contents, commands]) => {
      const files = contents.map((content, index) => ({
        path: `/f${index}`,
        content: Buffer.from(content),
        mode: "0600"
      }))
      const steps = commands.map((command, index) => namedStep(`step ${index}`, command.toWellFormed()))
      const written = ignitionContents(rendered(fcos(), { files, steps }))
      for (const file of files) assert.deepStrictEqual(written.get(file.path), file.content)
      for (const [index, step] of steps.entries())
        assert.strictEqual(
          Buffer.from(written.get(`/etc/machinist/bootstrap/step-${index + 1}`) ?? []).toString(),
          step.script
        )
    }
  )
  it("compresses where it would not fit, and reads that back", () => {
    const content = Buffer.from("the same line over and over\n".repeat(60_000))
    const data = rendered(fcos(), { files: [{ path: "/etc/large", content, mode: "0644" }], steps: [] })
    assert.isBelow(data.length, 1024 * 1024)
    assert.deepStrictEqual(Buffer.from(ignitionContents(data).get("/etc/large") ?? []), content)
  })
  it("reads contents that others wrote as text, and nothing where there is none", () => {
    const others = { storage: { files: [{ path: "/a", contents: { source: "data:,a%20b" } }, { path: "/b" }, 7] } }
    assert.deepStrictEqual([...ignitionContents(Buffer.from(JSON.stringify(others)))], [["/a", Buffer.from("a b")]])
    for (const text of [
      "",
      "{",
      "[]",
      '{"storage":1}',
      '{"storage":{"files":[{"path":"/a","contents":{"source":"data:,%"}}]}}'
    ])
      assert.isAtMost(ignitionContents(Buffer.from(text)).size, 1)
  })
})

describe("refusals", () => {
  const cases: ReadonlyArray<readonly [IgnitionOptions, string, string]> = [
    [{ variant: "arch", version: "1.0.0" }, "variant", "must be one of fcos, flatcar"],
    [{ variant: "constructor", version: "1.0.0" }, "variant", "must be one of fcos, flatcar"],
    [{ variant: "flatcar", version: "1.5.0" }, "version", "of flatcar must be one of 1.0.0, 1.1.0"],
    [{ variant: "fcos", version: "toString" }, "version", "of fcos must be one of"],
    [fcos("variant: flatcar"), "additionalConfig", "has another variant than spec.ignition.variant"],
    [fcos("version: 1.5.0"), "additionalConfig", "has another version than spec.ignition.version"],
    [fcos("a: [s3cret"), "additionalConfig", "is not valid YAML in line 1"],
    [fcos("- s3cret"), "additionalConfig", "is not a mapping"],
    [
      fcos("storage: {files: [{path: /a, modee: 1}]}"),
      "additionalConfig",
      "storage.files[0].modee, which is not a field"
    ],
    [fcos("storage: {files: {path: /a}}"), "additionalConfig", "storage.files, which is not a list"],
    [
      fcos("storage: {files: [{path: /a, mode: rw}]}"),
      "additionalConfig",
      "storage.files[0].mode, which is not an integer"
    ],
    [fcos("storage: {files: [{path: /a, contents: {local: x}}]}"), "additionalConfig", "names a file beside the YAML"],
    [fcos("storage: {trees: [{local: x}]}"), "additionalConfig", "storage.trees, which names directories"],
    [
      fcos("storage: {files: [{path: /a, contents: {inline: a, source: b}}]}"),
      "additionalConfig",
      "both inline and source"
    ],
    [fcos("boot_device: {mirror: {}}"), "additionalConfig", "boot_device, which is not supported"],
    [fcos("storage: {files: [{path: /etc/k0s.token}]}"), "additionalConfig", "/etc/k0s.token, which is written twice"],
    [fcos("storage: {links: [{path: /a}, {path: /a}]}"), "additionalConfig", "/a, which is written twice"],
    [fcos("storage: {files: [{path: a}]}"), "additionalConfig", "without an absolute path"],
    [fcos("storage: {filesystems: [{device: /dev/a, with_mount_unit: true}]}"), "additionalConfig", "with_mount_unit"],
    [fcos("systemd: {units: [{name: k0s-bootstrap.service}]}"), "additionalConfig", "or is the bootstrap's"],
    [fcos("systemd: {units: [{enabled: true}]}"), "additionalConfig", "unit without a name"],
    [fcos("'s3cret key': 1"), "additionalConfig", "a key that names no field"]
  ]
  for (const [options, field, why] of cases)
    it(`${options.additionalConfig ?? `${options.variant} ${options.version}`}: ${why}`, () => {
      const made = renderIgnition(payload, options)
      if (Result.isSuccess(made)) assert.fail("was accepted")
      assert.strictEqual(made.failure.field, field)
      assert.include(made.failure.why, why)
      assert.notInclude(made.failure.why, "s3cret")
    })
  it("what an older Ignition would leave out", () => {
    const files = [{ path: "/bin/x", content: Buffer.from("x"), mode: "4755" }]
    const made = (version: string, of: Payload, additionalConfig?: string) =>
      Result.match(renderIgnition(of, { variant: "fcos", version, additionalConfig }), {
        onSuccess: () => "",
        onFailure: ({ field, why }) => `${field} ${why}`
      })
    assert.match(made("1.4.0", { files, steps: [] }), /^version is too old for setuid.*\/bin\/x/)
    assert.strictEqual(made("1.5.0", { files, steps: [] }), "")
    assert.match(made("1.4.0", payload, "storage: {directories: [{path: /t, mode: 01777}]}"), /\/t/)
    const quiet = "kernel_arguments: {should_exist: [quiet]}"
    assert.match(made("1.3.0", payload, quiet), /^version is too old for kernel_arguments/)
    assert.strictEqual(made("1.4.0", payload, quiet), "")
  })
  it("custom user data has no place in it", () => {
    const made = bootstrapData(payload, { ignition: fcos(), customUserData: Buffer.from("runcmd: []") })
    assert.strictEqual(Result.isFailure(made) ? made.failure.field : "", "spec.customUserDataRef")
  })
  it("a YAML bomb", () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${[..."bcdefghij"].map((c, i) => `${c}: &${c} [${`*${"abcdefghi"[i]},`.repeat(9)}]`).join("\n")}`
    assert.isTrue(Result.isFailure(parseButane(bomb)))
  })
})
