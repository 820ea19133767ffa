/** Holds: whatever a caller asks for arrives on the host as it was, or is refused before anything is sent. */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { driverText, execOf, inspectText, readExec } from "../../src/hosts/driver/Exec.ts"
import type { CleanRequest, RunRequest } from "../../src/hosts/HostRuns.ts"
import { LineCutter, MAX_LINE_BYTES } from "../../src/hosts/Lines.ts"
import type { HostEvent, Request, TenancyRecord } from "../../src/hosts/Protocol.ts"
import { BLOBS_MARKER, decodeEvent, decodeRequest, encodeEvent, encodeRequest } from "../../src/hosts/Wire.ts"

const tenant = { claim: "claim-1", machine: "default/m-1", cluster: "6f1c", fence: 7 }
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Any text made into one that may stand in a line. */
const line = (text: string): string => text.toWellFormed().replace(/\p{C}/gu, "").trim() || "x"
const path = (text: string): string => `/srv/${line(text).replaceAll("/", "-").replaceAll("..", "-")}`
/** Any text that a shell can be given as a script. */
const scriptOf = (text: string): string => text.toWellFormed().replaceAll("\0", "")
const whole = (n: number): number => Math.abs(n) % 1_000_000

const run = (more: Partial<RunRequest> = {}): RunRequest => ({
  verb: "run",
  tenant,
  dataHash: "ab12",
  attempt: 1,
  files: [],
  steps: [],
  sentinel: true,
  stepTimeoutSeconds: 600,
  ...more
})
const clean = (more: Partial<CleanRequest> = {}): CleanRequest => ({
  verb: "clean",
  tenant,
  attempt: 1,
  steps: [],
  remove: [],
  verify: { k0s: true, paths: [] },
  stepTimeoutSeconds: 600,
  ...more
})

const roundTrip = (request: Request): void => {
  for (const useSudo of [false, true]) {
    const exec = Result.getOrThrow(execOf(request, useSudo))
    const read = readExec(exec.command, exec.stdin)
    assert.isDefined(read)
    if (read !== undefined) assert.deepStrictEqual(Result.getOrThrow(read), { sudo: useSudo, request })
  }
}

describe("requests", () => {
  it.prop(
    "a run arrives as it was",
    [Schema.String, Schema.String, Schema.Uint8Array, Schema.Int, Schema.Boolean],
    ([name, script, content, n, flag]) =>
      roundTrip(
        run({
          attempt: whole(n) + 1,
          sentinel: flag,
          files: [
            { path: path(name), content, mode: "0600" },
            { path: path(script), content: bytes(""), mode: "755", owner: "root:adm", append: true }
          ],
          steps: [
            { name: line(name), script: scriptOf(script) },
            { name: "lines", script: `|${scriptOf(script)}\n\n.x\n#step y` },
            { name: line(script), script: "" },
            { name: "marker", script: `\n${BLOBS_MARKER}\n#machinist-request 4 1 1 1\n#\n#machinist-end 0 run c1 1` }
          ],
          ...(flag ? { workingDir: path(script) } : {})
        })
      )
  )

  it.prop("a cleaning arrives as it was", [Schema.String, Schema.Int, Schema.Boolean], ([name, n, flag]) =>
    roundTrip(
      clean({
        tenant: { ...tenant, fence: whole(n) },
        remove: [path(name), "/a b/c "].map((one) => one.trim()),
        verify: { k0s: flag, paths: [path(name)] },
        steps: [{ name: line(name), script: scriptOf(name) }],
        ...(flag ? { adopt: true } : {})
      })
    )
  )

  it("inspect and quarantine arrive as they were", () => {
    roundTrip({ verb: "inspect", tenant })
    roundTrip({ verb: "quarantine", tenant })
  })

  const file = { path: "/etc/x", content: bytes("secret-content"), mode: "0600" }
  const unfit: ReadonlyArray<readonly [string, Request]> = [
    ["a newline in a path", run({ files: [{ ...file, path: "/etc/secret-content\nverb clean" }] })],
    ["a relative path", run({ files: [{ ...file, path: "etc/x" }] })],
    ["a directory as file", run({ files: [{ ...file, path: "/etc/" }] })],
    ["a mode that is not octal", run({ files: [{ ...file, mode: "rw" }] })],
    ["an owner with a blank", run({ files: [{ ...file, owner: "root -R" }] })],
    ["a step name of two lines", run({ steps: [{ name: "secret-content\nclaim x", script: "true" }] })],
    ["a NUL in a script", run({ steps: [{ name: "a", script: "secret-content\u0000" }] })],
    ["an empty step name", run({ steps: [{ name: "", script: "true" }] })],
    ["a NUL in the working directory", run({ workingDir: "/a\u0000b" })],
    ["attempt 0", run({ attempt: 0 })],
    ["no time for a step", run({ stepTimeoutSeconds: 0 })],
    ["a hash that is a path", run({ dataHash: "../x" })],
    ["a claim that is a path", run({ tenant: { ...tenant, claim: "../x" } })],
    ["a fence that is a fraction", run({ tenant: { ...tenant, fence: 1.5 } })],
    ["a machine of two words", run({ tenant: { ...tenant, machine: "a b" } })],
    ["removal of the root", clean({ remove: ["/"] })],
    ["removal of the root, disguised", clean({ remove: ["//."] })],
    ["removal that climbs", clean({ remove: ["/srv/../etc"] })],
    ["verification of a relative path", clean({ verify: { k0s: true, paths: ["x"] } })]
  ]
  for (const [title, request] of unfit)
    it(`refused, without quoting it: ${title}`, () => {
      const encoded = encodeRequest(request, driverText)
      assert.isTrue(Result.isFailure(encoded))
      if (Result.isFailure(encoded)) assert.notInclude(encoded.failure.message, "secret-content")
    })

  it.prop("a request that was cut short anywhere is none", [Schema.Int], ([n]) => {
    const whole = Result.getOrThrow(
      encodeRequest(run({ files: [file], steps: [{ name: "a", script: "true" }] }), "text\n")
    )
    return Result.isFailure(decodeRequest(whole.subarray(0, Math.abs(n) % whole.length)))
  })

  it("nothing of a request is in the command", () => {
    const one = Result.getOrThrow(execOf(run({ files: [file] }), false)).command
    const other = Result.getOrThrow(execOf(clean({ remove: ["/x"] }), false)).command
    assert.strictEqual(one, other)
    assert.notInclude(one.slice(one.indexOf("'") + 1, -1), "'")
    assert.notMatch(one, /[!\n]/)
  })

  it("the driver text has the failpoint that tests replace, once, and no marker line of its own", () => {
    assert.strictEqual(driverText.split("\nfailpoint() { :; }\n").length, 2)
    for (const text of [driverText, inspectText]) assert.notInclude(text, `\n${BLOBS_MARKER}\n`)
  })

  it("other commands are not ours", () => {
    assert.isUndefined(readExec("uname -a", bytes("")))
  })
})

const record: TenancyRecord = { ...tenant, bootId: "b-1", state: "cleaning" }

describe("events", () => {
  const events: ReadonlyArray<HostEvent> = [
    { _tag: "Facts", bootId: "b-1", serviceManager: "openrc", hostname: "node 1", uid: 0 },
    { _tag: "System" },
    { _tag: "System", kernelRelease: "6.1.0-9-amd64", machine: "x86_64", distro: "sles", distroVersion: "15.6" },
    { _tag: "Tenancy", record: undefined },
    { _tag: "Tenancy", record },
    { _tag: "Refused", refusal: { why: "foreign", record } },
    { _tag: "Refused", refusal: { why: "quarantined", record: { ...record, state: "quarantined" } } },
    { _tag: "Refused", refusal: { why: "fence", fence: 9 } },
    { _tag: "Refused", refusal: { why: "released" } },
    { _tag: "Refused", refusal: { why: "data" } },
    { _tag: "Refused", refusal: { why: "journal-lost" } },
    { _tag: "Refused", refusal: { why: "unsupported", detail: "the host lacks awk" } },
    { _tag: "Attached", how: "resumed" },
    { _tag: "StepStarted", step: 0 },
    { _tag: "StepEnded", step: 3, code: 127 },
    { _tag: "StepInterrupted", step: 2 },
    { _tag: "Stderr", text: "  curl: (6) Could not resolve host " },
    { _tag: "Stderr", text: "" },
    { _tag: "RunSucceeded" },
    { _tag: "RunFailed", step: 1, code: 1 },
    { _tag: "NoSentinel" },
    { _tag: "Leftover", what: "process 12 (k0s) of k0s" },
    { _tag: "Cleaned" },
    { _tag: "Dirty" },
    { _tag: "DriverError", detail: "no space left" }
  ]
  for (const event of events)
    it(`round trip: ${encodeEvent(event)}`, () => assert.deepStrictEqual(decodeEvent(encodeEvent(event)), event))

  it.prop("any text of stderr round trips", [Schema.String], ([raw]) => {
    const text = line(raw)
    const event = decodeEvent(encodeEvent({ _tag: "Stderr", text }))
    return event?._tag === "Stderr" && event.text === text
  })

  for (const noise of [
    "",
    "Welcome to node 1",
    "machinist",
    "machinist alive",
    "machinist StepStarted",
    "machinist StepStarted one",
    "machinist StepEnded 1",
    "machinist StepStarted 1 2",
    "machinist RunSucceeded really",
    "machinist Refused fence x",
    "machinist Refused foreign c 1 running",
    "machinist Tenancy c one free b u m",
    "machinist Facts b upstart 0 h",
    "machinist System a b c d",
    "machinist System a b c d $(e)",
    " machinist RunSucceeded"
  ])
    it(`noise: "${noise}"`, () => assert.isUndefined(decodeEvent(noise)))

  it.prop("no line whatever throws", [Schema.String], ([text]) => {
    decodeEvent(text)
    decodeEvent(`machinist ${text}`)
    return true
  })
})

describe("lines", () => {
  it.prop("lines are the same however the bytes are cut", [Schema.Array(Schema.String), Schema.Int], ([texts, n]) => {
    const lines = texts.map((text) => text.toWellFormed().replaceAll("\n", ""))
    const all = bytes(lines.map((text) => `${text}\n`).join(""))
    const cutter = new LineCutter()
    const size = (Math.abs(n) % 7) + 1
    const got: Array<string> = []
    for (let at = 0; at < all.length; at += size) got.push(...cutter.push(all.subarray(at, at + size)))
    // A byte order mark at a line's start is no text.
    assert.deepStrictEqual(
      got,
      lines.map((text) => text.replace(/^\uFEFF/, ""))
    )
  })

  it("a line without end is dropped, and the next one is not", () => {
    const cutter = new LineCutter()
    const long = bytes("x".repeat(MAX_LINE_BYTES))
    assert.deepStrictEqual(cutter.push(long), [])
    assert.deepStrictEqual(cutter.push(long), [])
    assert.deepStrictEqual(cutter.push(bytes("\nmachinist Cleaned\n")), ["machinist Cleaned"])
  })
})
