/** Holds: Ignition's fields mean over SSH what they mean at a first boot; everything else is refused, all of it at once. */
import { createHash } from "node:crypto"
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { renderIgnition } from "../../src/domain/bootstrap/Ignition.ts"
import { parseIgnition } from "../../src/domain/bootstrap/IgnitionParse.ts"
import { namedStep, type Payload } from "../../src/domain/bootstrap/Payload.ts"
import { ScriptHost } from "./ScriptHost.ts"

const parsed = (config: object) =>
  parseIgnition(Buffer.from(JSON.stringify({ ignition: { version: "3.4.0" }, ...config })))
const ok = (config: object): Payload => Result.getOrThrow(parsed(config))
const failure = (config: object) => {
  const read = parsed(config)
  return Result.isFailure(read) ? read.failure : assert.fail("was accepted")
}
const file = (rest: object): object => ({ storage: { files: [{ path: "/f", ...rest }] } })
const base64 = (content: string | Buffer): string => `data:;base64,${Buffer.from(content).toString("base64")}`
const shown = (payload: Payload) =>
  payload.files.map(({ content, ...rest }) => ({ ...rest, content: Buffer.from(content).toString("utf8") }))

describe("files", () => {
  it("sources, compression, hashes, modes, owners, appends", () => {
    const hash = (kind: string) => `${kind}-${createHash(kind).update("hello").digest("hex")}`
    const read = ok({
      storage: {
        files: [
          { path: "/plain", contents: { source: "data:,a%20b%0A%C3%A4" }, mode: 493, overwrite: true },
          { path: "/b64", contents: { source: base64("hello"), verification: { hash: hash("sha512") } } },
          {
            path: "/gz",
            contents: {
              source: base64(gzipSync("hello")),
              compression: "gzip",
              verification: { hash: hash("sha256") }
            },
            user: { name: "app" },
            group: { id: 7 }
          },
          { path: "/empty", contents: { source: "" }, user: { id: 0 } },
          { path: "/created" },
          { path: "/a", contents: { source: "data:,1" }, append: [{ source: "data:,2" }, { source: "data:,3" }] },
          { path: "/only", append: [{ source: "data:,x" }] }
        ]
      }
    })
    assert.deepStrictEqual(shown(read), [
      { path: "/plain", mode: "0755", content: "a b\nä" },
      { path: "/b64", mode: "0644", content: "hello" },
      { path: "/gz", mode: "0644", owner: "app:7", content: "hello" },
      { path: "/empty", mode: "0644", owner: "0:root", content: "" },
      { path: "/created", mode: "0644", content: "" },
      { path: "/a", mode: "0644", content: "1" },
      { path: "/a", mode: "0644", append: true, content: "2" },
      { path: "/a", mode: "0644", append: true, content: "3" },
      { path: "/only", mode: "0644", append: true, content: "x" }
    ])
  })
  const bad: ReadonlyArray<readonly [object, string]> = [
    [{ path: "f" }, "BadPath"],
    [{ path: "/a\nb" }, "BadPath"],
    [{ mode: "0644" }, "BadField"],
    [{ mode: 65536 }, "BadField"],
    [{ user: { name: "a b" } }, "BadField"],
    [{ contents: "s3cret" }, "BadField"],
    [{ contents: { source: 1 } }, "BadField"],
    [{ contents: { source: "data:;base64,s3cret!" } }, "BadEncoding"],
    [{ contents: { source: "data:,s3cret", compression: "xz" } }, "BadEncoding"],
    [{ contents: { source: "data:,s3cret", compression: "gzip" } }, "BadEncoding"],
    [{ contents: { source: "data:,s3cret", verification: { hash: `sha256-${"0".repeat(64)}` } } }, "BadEncoding"],
    [{ contents: { source: "data:,s3cret", verification: { hash: "md5-0" } } }, "BadField"]
  ]
  for (const [entry, reason] of bad)
    it(`${JSON.stringify(entry)}: ${reason}`, () => {
      const error = failure(file(entry))
      assert.strictEqual(error.reason, reason)
      assert.include(error.message, "storage.files[0]")
      assert.notInclude(error.message, "s3cret")
    })
})

describe("the whole", () => {
  it("versions", () => {
    for (const version of ["3.0.0", "3.5.0", "2.3.0"])
      assert.isTrue(Result.isSuccess(parsed({ ignition: { version } })), version)
    for (const version of ["1.0.0", "2.4.0", "3.6.0", "4.0.0", "x", undefined])
      assert.include(failure({ ignition: { version } }).message, "3.0 to 3.5 and 2.0 to 2.3")
  })
  it("what needs a first boot or a network is one list; empty sections ask for nothing", () => {
    const remote = { source: "https://s3cret" }
    const error = failure({
      ignition: { version: "3.4.0", config: { merge: [remote], replace: remote } },
      kernelArguments: { shouldExist: ["s3cret"] },
      passwd: { users: [{ name: "core" }], groups: [] },
      storage: {
        disks: [{}],
        luks: [{ name: "s3cret" }],
        files: [
          { path: "/f", contents: remote },
          { path: "/g", append: [remote] }
        ]
      }
    })
    assert.deepStrictEqual(error.unsupported, [
      "ignition.config.merge",
      "ignition.config.replace",
      "kernelArguments.shouldExist",
      "passwd.users",
      "storage.disks",
      "storage.files[0].contents.source",
      "storage.files[1].append",
      "storage.luks"
    ])
    assert.notInclude(error.message, "s3cret")
    const nothing = { passwd: { users: [] }, storage: { disks: null }, kernelArguments: {}, systemd: {} }
    assert.deepStrictEqual(ok({ ignition: { version: "3.1.0", config: { replace: { source: null } } }, ...nothing }), {
      files: [],
      steps: []
    })
  })
  it("spec 2: append of contents, enable, another file system", () => {
    const read = ok({
      ignition: { version: "2.2.0" },
      storage: { files: [{ filesystem: "root", path: "/f", append: true, contents: { source: "data:,x" } }] },
      systemd: { units: [{ name: "a.service", enable: true }] }
    })
    assert.deepStrictEqual(shown(read), [{ path: "/f", mode: "0644", append: true, content: "x" }])
    assert.include(
      read.steps.map((step) => step.name),
      "start a.service"
    )
    assert.deepStrictEqual(failure(file({ filesystem: "oem" })).unsupported, ["storage.files[0].filesystem"])
  })
})

describe("our own rendering", () => {
  it("becomes the steps that it was made of, with the user's own parts before them", () => {
    const payload: Payload = {
      files: [
        { path: "/etc/k0s.token", content: Buffer.from("t"), mode: "0600" },
        { path: "/etc/environment", content: Buffer.from("A=1\n"), mode: "0644", append: true, owner: "root:adm" }
      ],
      steps: Array.from({ length: 11 }, (_, index) => namedStep(`step ${index}`, `echo ${index}`))
    }
    const render = (additionalConfig?: string) =>
      Result.getOrThrow(renderIgnition(payload, { variant: "flatcar", version: "1.1.0", additionalConfig }))
    for (const compressFrom of [undefined, 1])
      assert.deepStrictEqual(Result.getOrThrow(parseIgnition(render()(compressFrom))), payload)
    const butane = "systemd:\n  units:\n    - name: own.service\n      enabled: true\n      contents: '[Service]'\n"
    const read = Result.getOrThrow(parseIgnition(render(butane)()))
    assert.deepStrictEqual(
      read.steps.map((step) => step.name),
      ["systemd units", "start own.service", ...payload.steps.map((step) => step.name)]
    )
    assert.deepStrictEqual(
      read.files.map((file) => file.path),
      ["/etc/k0s.token", "/etc/environment", "/etc/systemd/system/own.service"]
    )
  })
})

describe("directories and links", () => {
  const run = (host: ScriptHost, config: object) => host.run(ok({ storage: config }).steps[0]?.script ?? "exit 99")
  it("are made, with parents, twice without harm", () => {
    using host = new ScriptHost()
    host.write("/data/target", "x")
    const config = {
      directories: [{ path: "/data/b/c", mode: 448 }, { path: "/data/a" }],
      links: [
        { path: "/data/l/soft", target: "../target" },
        { path: "/data/hard", target: "/data/target", hard: true },
        { path: "/data/etc", target: "/data/b" }
      ]
    }
    for (const time of [1, 2]) {
      const done = run(host, config)
      assert.strictEqual(done.code, 0, `${time}: ${done.stderr}`)
    }
    assert.strictEqual(host.read("/data/l/soft"), "x")
    assert.strictEqual(host.read("/data/hard"), "x")
    assert.isFalse(host.exists("/data/b/b"))
    assert.strictEqual(host.run("ls -ld /data/b/c").stdout.slice(0, 10), "drwx------")
  })
  it("what is made is noted for cleaning, once; what was there is not", () => {
    using host = new ScriptHost()
    host.write("/data/old", "x")
    const { steps } = ok({
      storage: {
        directories: [{ path: "/data/d/e" }],
        links: [
          { path: "/data/l", target: "/x" },
          { path: "/data/old", target: "/x" }
        ]
      }
    })
    for (const _ of [1, 2]) host.run(`MACHINIST_WRITTEN=/run/written\n${steps[0]?.script ?? ""}`)
    assert.deepStrictEqual(host.read("/run/written").replaceAll(host.root, "").trim().split("\n"), [
      "d /data/d",
      "d /data/d/e",
      "c /data/l"
    ])
  })
  it("a link never goes into a directory that is there", () => {
    using host = new ScriptHost()
    host.write("/data/dir/x", "")
    const done = run(host, { links: [{ path: "/data/dir", target: "/x" }] })
    assert.strictEqual(done.code, 1)
    assert.include(done.stderr, "/data/dir is a directory")
  })
  for (const bad of [
    { links: [{ path: "/l" }] },
    { links: [{ path: "l", target: "/x" }] },
    { directories: [{ path: "d" }] }
  ])
    it(`refuses ${JSON.stringify(bad)}`, () => assert.strictEqual(failure({ storage: bad }).reason, "BadPath"))
})

describe("units", () => {
  it("contents and drop-ins are files; enabled ones are started in order, and waited for", () => {
    const read = ok({
      systemd: {
        units: [
          { name: "a.service", contents: "[Unit]\n", enabled: true },
          { name: "b.timer", enabled: false, dropins: [{ name: "x.conf", contents: "[Timer]\n" }, { name: "y.conf" }] },
          { name: "c.service", mask: true, enabled: true },
          { name: "d.service", enabled: true }
        ]
      }
    })
    assert.deepStrictEqual(shown(read), [
      { path: "/etc/systemd/system/a.service", mode: "0644", content: "[Unit]\n" },
      { path: "/etc/systemd/system/b.timer.d/x.conf", mode: "0644", content: "[Timer]\n" }
    ])
    assert.deepStrictEqual(
      read.steps.map((step) => step.name),
      ["systemd units", "start a.service", "start d.service", "wait for the units"]
    )
    assert.include(read.steps[0]?.script ?? "", "systemctl mask c.service")
    assert.include(read.steps[0]?.script ?? "", "systemctl disable b.timer")
  })
  it("on a host without systemd the step says so", () => {
    using host = new ScriptHost()
    const done = host.run(ok({ systemd: { units: [{ name: "a.service", mask: true }] } }).steps[0]?.script ?? "")
    assert.strictEqual(done.code, 1)
    assert.include(done.stderr, "units need a host that runs systemd")
  })
  it("a unit that fails ends the wait, with its last words", () => {
    using host = new ScriptHost()
    host.stub("systemctl", "exit 0")
    host.stub("journalctl", "echo last words")
    const { steps } = ok({ systemd: { units: [{ name: "a.service", enabled: true }] } })
    const done = host.run(steps.at(-1)?.script ?? "")
    assert.strictEqual(done.code, 1)
    assert.match(done.stderr, /a\.service failed\nlast words/)
    host.write("/run/cluster-api/bootstrap-success.complete", "")
    assert.strictEqual(host.run(steps.at(-1)?.script ?? "").code, 0)
  })
  for (const bad of [
    { name: "a" },
    { name: "../a.service" },
    { name: "a.service", contents: 1 },
    { name: "a.service", dropins: [{ name: "x" }] },
    { name: "a.service", dropins: "x" }
  ])
    it(`refuses ${JSON.stringify(bad)}`, () =>
      assert.strictEqual(failure({ systemd: { units: [bad] } }).reason, "BadField"))
})
