/**
 * Holds: what is rendered reads back the same; other people's cloud-config is understood as cloud-init does, or refused
 * by name; no message quotes the data.
 */
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { customParts } from "../../src/domain/bootstrap/CustomUserData.ts"
import { instanceData } from "../../src/domain/bootstrap/HostFacts.ts"
import {
  type BootstrapDataError,
  commandsAsScript,
  namedStep,
  type Payload,
  parseCloudConfig,
  renderCloudConfig
} from "../../src/domain/CloudConfig.ts"
import { ScriptHost } from "./ScriptHost.ts"

const parsed = (text: string | Uint8Array) => parseCloudConfig(typeof text === "string" ? Buffer.from(text) : text)
const ok = (text: string | Uint8Array): Payload => Result.getOrThrow(parsed(text))
const failure = (text: string | Uint8Array): BootstrapDataError => {
  const result = parsed(text)
  return Result.isFailure(result) ? result.failure : assert.fail("was accepted")
}
const config = (yaml: string): string => `#cloud-config\n${yaml}`
const files = (payload: Payload) =>
  payload.files.map(({ content, ...rest }) => ({ ...rest, content: Buffer.from(content).toString("utf8") }))

describe("rendering", () => {
  it.prop(
    "any content and any command come back as they were",
    [Schema.Array(Schema.Uint8Array), Schema.Array(Schema.String)],
    ([contents, commands]) => {
      const payload: Payload = {
        files: contents.map((content, index) => ({ path: `/f${index}`, content: Buffer.from(content), mode: "0600" })),
        steps: commands.map((command, index) => namedStep(`step ${index}`, command.replaceAll("\0", "").toWellFormed()))
      }
      assert.deepStrictEqual(parsed(renderCloudConfig(payload)), Result.succeed(payload))
    }
  )
  it("texts that YAML is known to bend", () => {
    for (const text of [
      "",
      "\n",
      " x\n\n",
      "\tx",
      "x  \n  \n",
      "yes",
      "0644",
      "1:30",
      "- a",
      "\r\n",
      "\u2028\u0085\ufeff\x7f\x07",
      "# c",
      "'\"\\",
      "...\n---\n"
    ]) {
      const payload: Payload = {
        files: [{ path: "/f", content: Buffer.from(text), mode: "0644", owner: "a:b", append: true }],
        steps: [namedStep("s", text)]
      }
      assert.deepStrictEqual(parsed(renderCloudConfig(payload)), Result.succeed(payload), JSON.stringify(text))
    }
  })
  it("claims jinja only where there is nothing for it to render", () => {
    const head = (command: string) =>
      Buffer.from(renderCloudConfig({ files: [], steps: [namedStep("s", command)] }))
        .toString()
        .split("\n", 2)
    assert.deepStrictEqual(head("true"), ["## template: jinja", "#cloud-config"])
    for (const markup of ["echo {{ v1 }}", "x {% raw", `echo \${#name}`])
      assert.strictEqual(head(markup)[0], "#cloud-config")
  })
  it("custom user data comes as a part, before the sentinel, and its lists are added", () => {
    const payload: Payload = {
      files: [{ path: "/a", content: Buffer.from("ä"), mode: "0600" }],
      steps: [namedStep("one", "1"), namedStep("mark success", "2")]
    }
    for (const header of ["", "#cloud-config\n"]) {
      const theirs = `${header}runcmd: [echo custom]\nwrite_files: [{path: /b, content: b}]\n`
      const data = renderCloudConfig(payload, Result.getOrThrow(customParts(Buffer.from(theirs))))
      const read = ok(data)
      assert.deepStrictEqual(
        read.steps.map((step) => step.name),
        ["one", "runcmd 2", "mark success"]
      )
      assert.deepStrictEqual(
        read.files.map((file) => file.path),
        ["/a", "/b"]
      )
    }
    assert.deepStrictEqual(customParts(Buffer.from(" \n")), Result.succeed([]))
  })
})

describe("write_files", () => {
  it("contents, encodings, permissions, owners, defer, append", () => {
    const b64 = Buffer.from("hello").toString("base64")
    const gz = gzipSync("hello").toString("base64")
    const read = files(
      ok(
        config(`write_files:
- {path: /late, defer: true, content: d}
- {path: /plain, content: hello, owner: "app:app", permissions: '0755'}
- {path: /int, content: "", permissions: 0640}
- {path: /b64, encoding: base64, content: "${b64.slice(0, 3)}\\n${b64.slice(3)}"}
- {path: /b, encoding: b64, content: ${b64}, owner: root}
- {path: /gzb, encoding: gz+b64, content: ${gz}, append: true}
- {path: /gz, encoding: gzip, content: !!binary ${gz}, permissions: "4755"}
- {path: /a/../empty, permissions: 0o600}
`)
      )
    )
    assert.deepStrictEqual(read, [
      { path: "/plain", mode: "0755", owner: "app:app", content: "hello" },
      { path: "/int", mode: "0640", content: "" },
      { path: "/b64", mode: "0644", content: "hello" },
      { path: "/b", mode: "0644", content: "hello" },
      { path: "/gzb", mode: "0644", append: true, content: "hello" },
      { path: "/gz", mode: "4755", content: "hello" },
      { path: "/empty", mode: "0600", content: "" },
      { path: "/late", mode: "0644", content: "d" }
    ])
  })
  const bad: ReadonlyArray<readonly [string, string]> = [
    ["{path: etc/x}", "BadPath"],
    ["{content: x}", "BadPath"],
    ["{path: /etc/}", "BadPath"],
    ['{path: "/a\\nb"}', "BadPath"],
    ["{path: /x, encoding: rot13, content: x}", "BadEncoding"],
    ["{path: /x, encoding: b64, content: 's3cret!'}", "BadEncoding"],
    ["{path: /x, encoding: gz, content: s3cret}", "BadEncoding"],
    ["{path: /x, content: [s3cret]}", "BadField"],
    ["{path: /x, permissions: rwx}", "BadField"],
    ["{path: /x, permissions: '99'}", "BadField"],
    ["{path: /x, owner: 'a b'}", "BadField"],
    ["{path: /x, source: {uri: 'https://s3cret'}}", "Unsupported"],
    ["s3cret", "BadField"]
  ]
  for (const [entry, reason] of bad) {
    it(`${entry}: ${reason}`, () => {
      const error = failure(config(`write_files:\n- {path: /ok}\n- ${entry}\n`))
      assert.strictEqual(error.reason, reason)
      assert.include(error.message, "write_files[1]")
      assert.notInclude(error.message, "s3cret")
    })
  }
})

describe("commands", () => {
  it("strings, lists, shells, comments, bootcmd first; unnamed ones get a number, not their text", () => {
    const read = ok(
      config(`runcmd:
- set -e
- echo s3cret
- [ls, -l, "it's", 7, true]
- [/bin/sh, -c, "# step: wait a bit\\nsleep 1"]
- [bash, -c, "# step: with bash\\ntrue"]
- |
  # step: \u0007evil
  x
-
bootcmd:
- [sh, -c, first]
`)
    )
    assert.deepStrictEqual(read.steps, [
      { name: "bootcmd 1", script: "first" },
      { name: "runcmd 1", script: "echo s3cret" },
      { name: "runcmd 2", script: "ls -l 'it'\\''s' 7 True" },
      { name: "wait a bit", script: "# step: wait a bit\nsleep 1" },
      { name: "with bash", script: "bash -c '# step: with bash\ntrue'" },
      { name: "evil", script: "# step: \u0007evil\nx\n" }
    ])
  })
  it("k0smotron's own data", () => {
    const read = ok(`## template: jinja
#cloud-config
write_files:
  - path: /etc/k0s.token
    permissions: "0644"
    content: token
runcmd:
  - curl -sSfL --retry 5 https://get.k0s.sh | K0S_VERSION=v1.27.2+k0s.0 sh
  - mkdir -p /run/cluster-api && touch /run/cluster-api/bootstrap-success.complete
`)
    assert.deepStrictEqual(
      read.steps.map((step) => step.name),
      ["runcmd 1", "runcmd 2"]
    )
  })
  for (const bad of [
    "runcmd: echo",
    "runcmd: [true]",
    "runcmd: [{a: b}]",
    "runcmd: [[ls, [x]]]",
    'runcmd: ["a\\0b"]'
  ]) {
    it(`refuses ${bad}`, () => assert.strictEqual(failure(config(bad)).reason, "BadField"))
  }
})

describe("the whole", () => {
  it("plain scalars are what PyYAML takes them for: a token is never a number", () => {
    assert.strictEqual(
      ok(config("runcmd: [[join, 123e456, y, 09, 010, 1.5]]")).steps[0]?.script,
      "join 123e456 y 09 8 1.5"
    )
    assert.deepStrictEqual(files(ok(config("write_files: [{path: /t, content: 12e45}]")))[0]?.content, "12e45")
  })
  it("gzip, byte order mark, blank lines before, nothing in it", () => {
    assert.deepStrictEqual(ok(gzipSync(config("runcmd: [a]"))).steps, [{ name: "runcmd 1", script: "a" }])
    assert.deepStrictEqual(ok(`\ufeff\n\n${config("runcmd: [a]")}`).steps.length, 1)
    assert.deepStrictEqual(ok("#cloud-config\n"), { files: [], steps: [] })
  })
  it("is refused when it is something else, without showing what", () => {
    for (const text of ["", '{"s3cret":1}', "s3cret: 1", "#cloud-configs3cret"]) {
      const error = failure(text)
      assert.strictEqual(error.reason, "NotCloudConfig")
      assert.include(error.message, "first line must be #cloud-config")
      assert.notInclude(error.message, "s3cret")
    }
    assert.strictEqual(failure(Uint8Array.of(0x1f, 0x8b, 1)).reason, "BadEncoding")
    assert.strictEqual(failure(Uint8Array.of(0xff, 0xfe)).reason, "BadEncoding")
  })
  it("bad YAML: the line, not its text", () => {
    const cases: ReadonlyArray<readonly [string, number]> = [
      ["runcmd:\n- 'a\n", 4],
      ["a: 1\nb: [s3cret\nc: 2\n", 4],
      ["runcmd: [s3cret]\nwrite_files: []\nruncmd: [b]\n", 4]
    ]
    for (const [yaml, line] of cases) {
      const error = failure(config(yaml))
      assert.strictEqual(error.reason, "BadYaml")
      assert.strictEqual(error.line, line, yaml)
      assert.notInclude(error.message, "s3cret")
    }
    assert.strictEqual(failure(`## template: jinja\n#cloud-config\na: [`).line, 3)
    assert.strictEqual(failure(config("- s3cret")).reason, "BadYaml")
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${[..."bcdefghij"].map((c, i) => `${c}: &${c} [${`*${"abcdefghi"[i]},`.repeat(9)}]`).join("\n")}`
    assert.strictEqual(failure(config(bomb)).reason, "BadYaml")
  })
  it("jinja: fine without markup or without the header; with both it needs to know the host", () => {
    assert.strictEqual(ok("## template: jinja\n#cloud-config\nruncmd: [a]").steps.length, 1)
    assert.strictEqual(ok(config("runcmd: ['echo {{ a }}']")).steps[0]?.script, "echo {{ a }}")
    const template = "## template: jinja\n#cloud-config\nruncmd: ['echo {{ v1.local_hostname }}']\nbad: [\n"
    assert.strictEqual(failure(template).reason, "FactsNeeded")
    const instance = instanceData({ facts: { hostname: "h1" }, id: "i", name: "m", address: "10.0.0.1" })
    const good = parseCloudConfig(Buffer.from(template.replace("bad: [\n", "")), instance)
    assert.strictEqual(Result.getOrThrow(good).steps[0]?.script, "echo h1")
    const bad = parseCloudConfig(Buffer.from(template), instance)
    assert.strictEqual(Result.isFailure(bad) ? bad.failure.line : 0, 5)
  })
  it("everything that needs cloud-init is listed at once; empty, off and harmless modules are not", () => {
    const error = failure(
      config(
        "users: [default, {name: a}]\n's3cret key': 1\ndisk_setup: {a: b}\npower_state: {mode: reboot}\nmanage_etc_hosts: true\n" +
          "ntp: {ntp_client: ntpd, config: {template: s3cret}}\nwrite_files: [{path: /x, source: {uri: 'https://s3cret'}}]"
      )
    )
    assert.deepStrictEqual(error.unsupported, [
      "(a key that names no module)",
      "disk_setup",
      "manage_etc_hosts",
      "ntp.config",
      "ntp.ntp_client (chrony and systemd-timesyncd can be had)",
      "power_state",
      "users",
      "write_files[0].source"
    ])
    assert.include(error.message, "power_state, users, write_files[0].source can't be done over SSH")
    assert.notInclude(error.message, "s3cret")
    const fine = ok(
      config(
        "users: [default]\npackages:\nntp: {enabled: false}\npackage_update: false\nfinal_message: hi\noutput: {all: x}\n" +
          "growpart: {mode: off}\nresize_rootfs: false\nlocale: en_GB.UTF-8\nmounts: []\npreserve_hostname: true\nhostname: h"
      )
    )
    assert.deepStrictEqual(fine, { files: [], steps: [] })
  })
})

describe("multipart of others", () => {
  const mime = (merge: string, type = "text/cloud-config") =>
    `MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=XX\r\n\r\npreamble\r\n--XX\r\nContent-Type: text/cloud-config\r\n\r\n#cloud-config\r\nruncmd: [a]\r\n--XX\r\nContent-Type: ${type}\r\n${merge}\r\n#cloud-config\r\nruncmd: [b]\r\n\r\n--XX--\r\nepilogue`
  it("the later part replaces, unless its Merge-Type appends", () => {
    assert.deepStrictEqual(
      ok(mime("")).steps.map((step) => step.script),
      ["b"]
    )
    assert.deepStrictEqual(
      ok(mime("Merge-Type: list(append)+dict(recurse_list)+str()\r\n")).steps.map((step) => step.script),
      ["a", "b"]
    )
  })
  it("parts that need cloud-init are refused by number and type; bad encodings; no boundary", () => {
    assert.deepStrictEqual(failure(mime("", "text/x-include-url")).unsupported, ["part 2 (text/x-include-url)"])
    assert.strictEqual(failure(mime("Content-Transfer-Encoding: uuencode\r\n")).reason, "BadEncoding")
    assert.strictEqual(failure("Content-Type: text/plain\n\nx").reason, "BadEncoding")
  })
  it("a part is what its first line says, when its type says nothing", () => {
    assert.deepStrictEqual(
      ok(mime("", "text/plain")).steps.map((step) => step.script),
      ["b"]
    )
    assert.strictEqual(
      failure(mime("", "text/plain").replace("#cloud-config\r\nruncmd: [b]", "s3cret")).reason,
      "NotCloudConfig"
    )
  })
  const nested = (encoding: string, body: string) =>
    `MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: multipart/mixed; boundary="B"\n\n--B\nContent-Type: text/cloud-config\nContent-Transfer-Encoding: ${encoding}\n\n${body}\n--B--\n--A\nContent-Type: text/cloud-config\nMerge-Type: list(append)+dict(recurse_list)\n\nruncmd: [last]\n--A--\n`
  it("nested, zipped and quoted-printable parts", () => {
    for (const [encoding, body] of [
      ["7bit", "#cloud-config\nruncmd: ['echo ä=1']"],
      ["quoted-printable", "#cloud-config\nruncmd: ['echo =C3=A4=\n=3D1']   "],
      ["base64", gzipSync("#cloud-config\nruncmd: ['echo ä=1']").toString("base64")]
    ] as const)
      assert.deepStrictEqual(
        ok(nested(encoding, body)).steps.map((step) => step.script),
        ["echo ä=1", "last"],
        encoding
      )
    const deep = Array.from(
      { length: 20 },
      (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\n\n--b${i}\n`
    ).join("")
    assert.strictEqual(failure(deep).reason, "BadEncoding")
  })
})

describe("scripts and archives", () => {
  const part = (type: string, name: string, body: string) =>
    `--X\nContent-Type: ${type}\n${name === "" ? "" : `Content-Disposition: attachment; filename="${name}"\n`}\n${body}\n`
  const mime = (...parts: ReadonlyArray<string>) =>
    `MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=X\n\n${parts.join("")}--X--\n`
  const names = (text: string) => ok(text).steps.map((step) => step.name)
  it("in cloud-init's order: boothooks, bootcmd, once, then runcmd among the scripts by file name", () => {
    const text = mime(
      part("text/x-shellscript", "zz.sh", "#!/bin/sh\nz"),
      part("text/cloud-config", "", "#cloud-config\nruncmd: [r]\nbootcmd: [b]"),
      part("text/x-shellscript", "", "#!/bin/sh\na"),
      part("text/x-shellscript-per-boot", "p.sh", "#!/bin/sh\np"),
      part("text/cloud-boothook", "", "#cloud-boothook\n#!/bin/sh\nh")
    )
    assert.deepStrictEqual(names(text), [
      "script of part 5",
      "bootcmd 1",
      "script of part 4",
      "script of part 3",
      "runcmd 1",
      "script of part 1"
    ])
  })
  it("user data that is a script is run by its own interpreter; what it says and leaves is its own", () => {
    using host = new ScriptHost()
    const [step] = ok('#!/bin/sh -e\necho "$0" >>/etc/trace\necho END_OF_STEP\nfalse\necho no >>/etc/trace\n').steps
    assert.strictEqual(host.run(step?.script ?? "").code, 1)
    assert.match(host.read("/etc/trace"), /^\/\S+\/script\n$/)
    const [env] = ok("#!/usr/bin/env sh\nexit 7").steps
    assert.include(env?.script ?? "", `/usr/bin/env sh "$directory/script"`)
    assert.strictEqual(host.run(env?.script ?? "").code, 7)
  })
  it("an archive is a list of parts", () => {
    const archive = `#cloud-config-archive
- type: text/cloud-config
  content: |
    runcmd: [a]
- "#!/bin/sh\\necho b"
- {content: "runcmd: [c]", filename: x}
`
    assert.deepStrictEqual(names(archive), ["script of part 3", "runcmd 1"])
    assert.strictEqual(failure("#cloud-config-archive\n- [s3cret]").reason, "BadField")
    assert.strictEqual(failure("#cloud-config-archive\na: s3cret").reason, "BadYaml")
    assert.deepStrictEqual(
      failure("#cloud-config-archive\n- {type: text/x-include-url, content: s3cret}").unsupported,
      ["part 2 (text/x-include-url)"]
    )
  })
})

describe("smaller modules", () => {
  it("each is a step, in cloud-init's order, between bootcmd and runcmd", () => {
    const read = ok(
      config(`bootcmd: [b]
runcmd: [r]
fqdn: node-1.example.org
prefer_fqdn_over_hostname: true
timezone: Europe/Berlin
ntp: {enabled: true, servers: [10.0.0.1], pools: [pool.ntp.org]}
package_upgrade: true
packages: [jq, [curl, "7.88"]]
`)
    )
    assert.deepStrictEqual(
      read.steps.map((step) => step.name),
      ["bootcmd 1", "set the host name", "synchronise the clock", "set the time zone", "install packages", "runcmd 1"]
    )
    assert.include(read.steps[1]?.script ?? "", "name=node-1.example.org")
    assert.include(read.steps[4]?.script ?? "", "install jq curl=7.88")
    assert.deepStrictEqual(
      files(read).map((file) => [file.path, file.content.split("\n").slice(1).join("|")]),
      [
        ["/etc/systemd/timesyncd.conf.d/machinist.conf", "[Time]|NTP=10.0.0.1 pool.ntp.org|"],
        ["/etc/chrony/sources.d/machinist.sources", "server 10.0.0.1 iburst|pool pool.ntp.org iburst|"]
      ]
    )
  })
  for (const bad of [
    "hostname: 'a b'",
    "hostname: -x",
    "timezone: ../../etc/passwd",
    "packages: jq",
    "packages: ['--allow']",
    "packages: [{snap: [x]}]",
    "ntp: {servers: [{a: b}]}"
  ]) {
    it(`refuses ${bad}`, () => assert.strictEqual(failure(config(bad)).reason, "BadField"))
  }
  it("packages: by whichever package manager is there, or a word about it", () => {
    using host = new ScriptHost()
    const [step] = ok(config("packages: [jq, [curl, '1']]")).steps
    const none = host.run(step?.script ?? "")
    assert.strictEqual(none.code, 1)
    assert.include(none.stderr, "no package manager")
    const said: Array<string> = []
    for (const tool of ["apk", "zypper", "dnf", "apt-get"]) {
      host.stub(tool)
      host.write("/log", "")
      assert.strictEqual(host.run(step?.script ?? "").code, 0)
      said.push(...host.log())
    }
    assert.deepStrictEqual(said, [
      "apk update",
      "apk add jq curl=1",
      "zypper --non-interactive --gpg-auto-import-keys refresh",
      "zypper --non-interactive install jq curl=1",
      "dnf -q -y makecache",
      "dnf -y install jq curl-1",
      "apt-get -q update",
      "apt-get -q -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install jq curl=1"
    ])
  })
})

describe("commandsAsScript", () => {
  const steps = [
    namedStep("a", "cd /etc\nX=1\necho a >>/etc/trace"),
    namedStep("b", 'echo "b$X $(pwd | tr -d a-z0-9A-Z_.-)" >>/etc/trace\nEND_OF_STEP() { :; }\nEND_OF_STEP\nexit 7'),
    namedStep("c", "echo c >>/etc/trace")
  ]
  it("each in a shell of its own; the first failure ends it, by name and code; nothing is left", () => {
    using host = new ScriptHost()
    const outcome = host.run(commandsAsScript(steps).script)
    assert.strictEqual(outcome.code, 7)
    assert.include(outcome.stderr, "step failed: b")
    assert.match(host.read("/etc/trace"), /^a\nb \/+\n$/)
    assert.notInclude(host.run("ls").stdout, "tmp.")
  })
  it("cleaning goes on, and tells in the end", () => {
    using host = new ScriptHost()
    assert.strictEqual(host.run(commandsAsScript(steps, "keepGoing").script).code, 7)
    assert.isTrue(host.read("/etc/trace").endsWith("c\n"))
    assert.strictEqual(host.run(commandsAsScript(steps.slice(0, 1)).script).code, 0)
  })
})
