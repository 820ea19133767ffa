/**
 * Holds, against the real cloud-init: templates come out as it renders them; several parts become the config that it
 * makes of them; and it makes of every sample of other providers' data what we read.
 */
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { gzipSync } from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { instanceData } from "../../src/domain/bootstrap/HostFacts.ts"
import { renderJinja } from "../../src/domain/bootstrap/Jinja.ts"
import { readUserData } from "../../src/domain/bootstrap/UserData.ts"
import { DATA, RENDERED } from "../domain/jinjaCases.ts"

/** Not whatever python comes first: the one that Debian's package is for. */
const python = (program: string, input: string) =>
  spawnSync("/usr/bin/python3", ["-c", program], { input, encoding: "utf8", maxBuffer: 16 * 1024 * 1024 })

const missing = python("import cloudinit", "").status !== 0 && process.env["CI"] !== "true"

const answer = <A>(program: string, input: unknown): A => {
  const done = python(program, JSON.stringify(input))
  if (done.status !== 0) throw new Error(done.stderr)
  return JSON.parse(done.stdout)
}

const RENDER = `
import json, sys
from cloudinit.templater import render_string
given = json.load(sys.stdin)
json.dump([render_string("## template: jinja\\n" + text, given["data"]) for text in given["templates"]], sys.stdout)
`

/** Its own handlers, in its own order: taking apart, jinja, then the merged cloud-config. */
const MERGE = `
import base64, json, sys, logging
from cloudinit import handlers, user_data, util, templater
from cloudinit.handlers.cloud_config import CloudConfigPartHandler
class Paths:
    def get_ipath(self, name): return None
    def get_ipath_cur(self, name=None): return "/nonexistent"
class Collect(CloudConfigPartHandler):
    def _write_cloud_config(self): self.merged = self.cloud_buf
def configs(given):
    paths = Paths()
    user_data.util.fetch_ssl_details = lambda paths: {}
    message = user_data.UserDataProcessor(paths).process(base64.b64decode(given["data"]))
    handler = Collect(paths)
    handler.handle_part(None, handlers.CONTENT_START, None, None, None, {})
    scripts = []
    def part(data, filename, payload, headers):
        kind = headers["Content-Type"]
        if kind == "text/jinja2":
            payload = templater.render_string(payload if isinstance(payload, str) else payload.decode(), given["instance"])
            kind = handlers.type_from_starts_with(payload)
        if isinstance(payload, bytes): payload = payload.decode()
        if kind == "text/cloud-config": handler.handle_part(None, kind, filename, payload, None, headers)
        elif kind == "text/x-shellscript": scripts.append(payload)
    handlers.walk(message, part, None)
    merged = handler.cloud_buf
    return {"config": merged or {}, "scripts": scripts}
json.dump([configs(one) for one in json.load(sys.stdin)], sys.stdout)
`

const SAMPLES = new URL("../domain/providers/", import.meta.url)
const samples = (missing ? [] : readdirSync(SAMPLES).filter((name) => name.endsWith(".yaml"))).map(
  (name) => [name, readFileSync(new URL(name, SAMPLES))] as const
)

const mime = (...parts: ReadonlyArray<readonly [headers: string, body: string]>): Buffer =>
  Buffer.from(
    `MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="==X=="\n\n${parts
      .map(([headers, body]) => `--==X==\n${headers}\n\n${body}\n`)
      .join("")}--==X==--\n`
  )
const CLOUD = "Content-Type: text/cloud-config"
const first =
  "#cloud-config\nruncmd: [a, [b, c]]\nntp: {servers: [x], enabled: true}\nhostname: one\nwrite_files: [{path: /a}]"
const second =
  "#cloud-config\nruncmd: [d]\nntp: {servers: [y], pools: [p]}\nhostname: two\nwrite_files: [{path: /b}]\ntimezone: UTC"
const merges = [
  "",
  "list(append)+dict(recurse_array)+str()",
  "list(append)+dict(no_replace,recurse_list)+str()",
  "list(prepend)+dict(recurse_list,recurse_str)+str(append)",
  "dict(replace)+list()+str()",
  "list(no_replace)+dict(recurse_list)",
  "list()+dict(recurse_list)",
  "list(recurse_dict)+dict(recurse_list)",
  "list(append)",
  "dict(allow_delete)+str()"
]

const data: ReadonlyArray<readonly [string, Buffer]> = [
  ...samples,
  ...merges.map((merge) => {
    const header = merge === "" ? CLOUD : `${CLOUD}\nMerge-Type: ${merge}`
    return [`merged by ${merge || "default"}`, mime([CLOUD, first], [header, second])] as const
  }),
  [
    "merge_how in the config",
    mime([CLOUD, first], [CLOUD, `${second}\nmerge_how: list(append)+dict(recurse_list)+str()`])
  ],
  [
    "merge_how as a list",
    mime(
      [CLOUD, first],
      [CLOUD, `${second}\nmerge_how:\n- {name: list, settings: [prepend]}\n- {name: dict, settings: [recurse_list]}`]
    )
  ],
  ["an unknown X- header", mime([CLOUD, first], [`${CLOUD}\nX-Merge-Type: list(append)+dict(recurse_list)`, second])],
  [
    "parts in base64, zipped, and quoted-printable",
    mime(
      [`${CLOUD}\nContent-Transfer-Encoding: base64`, Buffer.from(first).toString("base64")],
      [
        "Content-Type: application/gzip\nContent-Transfer-Encoding: base64",
        gzipSync("#!/bin/sh\necho hi\n").toString("base64")
      ],
      [`${CLOUD}\nContent-Transfer-Encoding: quoted-printable`, "#cloud-config\ntimezone: =\nUTC\nfqdn: a=2Eb"]
    )
  ],
  ["untyped parts", mime(["Content-Type: text/plain", first], ["Content-Type: text/plain", "#!/bin/sh\nx"])],
  [
    "an archive",
    Buffer.from(
      `#cloud-config-archive\n- type: text/cloud-config\n  content: |\n    runcmd: [a]\n- "#!/bin/sh\\necho b\\n"\n`
    )
  ],
  ["zipped as a whole", gzipSync(first)],
  [
    "plain scalars",
    Buffer.from(
      "#cloud-config\nruncmd: [[y, n, Y, 09, 010, 0o7, 0x1F, 12e4, 1.5, 1.5e3, 1.5e+3, .5, 1_000, 1:30, 0:30, +5, ~, null, on, 1.]]\n"
    )
  ],
  [
    "YAML 1.1",
    Buffer.from("#cloud-config\npackage_update: yes\nwrite_files: [{path: /a, permissions: 0640, append: on}]")
  ]
]

const instance = instanceData({
  facts: { hostname: "node-1", machine: "x86_64", distro: "debian", distroVersion: "12" },
  id: "claim-1",
  name: "m1",
  address: "192.0.2.21"
})

interface Theirs {
  readonly config: Readonly<Record<string, unknown>>
  readonly scripts: ReadonlyArray<string>
}

describe.skipIf(missing)("cloud-init itself", () => {
  it("renders templates as we do", () => {
    const theirs = answer<ReadonlyArray<string>>(RENDER, { data: DATA, templates: RENDERED.map(([text]) => text) })
    for (const [index, [template, expected]] of RENDERED.entries()) {
      assert.strictEqual(theirs[index], expected, JSON.stringify(template))
      assert.deepStrictEqual(renderJinja(template, DATA, 2), Result.succeed(expected))
    }
  })
  it("takes data apart and merges it as we do", () => {
    const theirs = answer<ReadonlyArray<Theirs>>(
      MERGE,
      data.map(([, bytes]) => ({ data: bytes.toString("base64"), instance }))
    )
    for (const [index, [name, bytes]] of data.entries()) {
      const { config, scripts } = Result.getOrThrow(readUserData(bytes, instance))
      const { merge_how: _, ...ours } = config
      assert.deepStrictEqual({ config: ours, scripts: scripts.map((one) => one.text) }, theirs[index], name)
    }
  })
})
