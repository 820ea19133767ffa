/**
 * Holds the house rules (DESIGN "Layout and direction of imports", STYLE) on every file, and shows that each rule can fail.
 * The rules themselves are in tidy/Rules.ts. Lists of exceptions are here, each with its reason.
 */

import { createHash } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import * as Rules from "./tidy/Rules.ts"
import { codeOf, importsOf, type Source } from "./tidy/Source.ts"
import { projectFiles, under } from "./tidy/Tree.ts"

/** Where a Node API forces a forbidden call. An entry that is no longer needed fails. */
const EDGES: Rules.EdgeList = {}

/** Files that may be longer than the limit. It is empty, and meant to stay so. */
const GRACE: ReadonlyArray<string> = []

/** Digests of names of tools that a text generator may sign with; see Rules.foreignWords. */
const FOREIGN = new Set(["c857d09db23e", "c70eca6b0f88", "60965168ce76", "7d3194f79e64", "3ea125d0bff3"])
const digest = (word: string): string => createHash("sha256").update(word).digest("hex").slice(0, 12)

const files = projectFiles()
const src = under(files, "src", ".ts")
const shell = under(files, "src", ".sh")
const typescript = [
  ...src,
  ...under(files, "test", ".ts"),
  ...under(files, "bench", ".ts"),
  ...under(files, "scripts", ".ts")
]

/** Violations are compared with none, so that a failure prints all of them. */
const none = (violations: ReadonlyArray<Rules.Violation>) => assert.deepStrictEqual([...violations], [])

describe("the project keeps its own rules", () => {
  it("has files to look at", () => {
    assert.isAbove(src.length, 5)
    assert.isAbove(typescript.length, src.length)
  })
  it("imports go one way only", () => none(Rules.directions(src)))
  it("no files import each other in a loop", () => none(Rules.loops(src)))
  it("no actor knows another actor", () => none(Rules.actorsApart(src)))
  it("packages stay at their edge", () => none(src.flatMap(Rules.packagesAtTheirEdge)))
  it("effect is imported by module, and nothing of Effect 3's or unstable paths", () =>
    none(src.flatMap(Rules.effectImports)))
  it("every source file says first what it owns", () =>
    none([...typescript.filter(({ path }) => !path.startsWith("test/")), ...shell].flatMap(Rules.header)))
  it("time, randomness and output come from services", () => none(Rules.forbiddenCalls(src, EDGES)))
  it("every queue of the product is bounded", () => none(src.flatMap(Rules.unboundedQueues)))
  it("what is simulated lists its differences, each with a test", () =>
    none(Rules.differences(under(files, "src/simulation", ".ts"), under(files, "test/simulation", ".ts"))))
  it("no source file is longer than the limit", () =>
    none([...src, ...shell].flatMap((source) => Rules.tooLong(source, GRACE))))
  it("no file names a desk it was written at", () => none(files.flatMap(Rules.deskPaths)))
  it("no file names what it was written with", () =>
    none(files.flatMap((source) => Rules.foreignWords(source, (word) => FOREIGN.has(digest(word))))))
})

const at = (path: string, text: string): Source => ({ path, text })
const importing = (path: string, target: string): Source => at(path, `import { x } from "${target}"\n`)
const counts = (violations: ReadonlyArray<Rules.Violation>, expected: number) =>
  assert.strictEqual(violations.length, expected, violations.join("\n"))

describe("each rule fails on what it forbids", () => {
  it("differences: without a test, without a line, with one name twice", () => {
    const part = (...names: ReadonlyArray<string>) =>
      at(
        "src/simulation/X.ts",
        `/**\n * Owns x.\n *\n * Unlike y:\n${names.map((n) => ` * - ${n}: z\n`).join("")} */\n`
      )
    const test = (...names: ReadonlyArray<string>) =>
      at("test/simulation/x.test.ts", names.map((name) => `it("does (unlike: ${name})", () => {})\n`).join(""))
    counts(Rules.differences([part("a", "b, c")], [test("a, b", "c")]), 0)
    counts(Rules.differences([part("a", "b")], [test("a")]), 1)
    counts(Rules.differences([part("a")], [test("a", "b")]), 1)
    counts(Rules.differences([part("a"), part("a")], [test("a")]), 1)
    counts(Rules.differences([at("src/simulation/X.ts", "/** Owns x. */\n")], []), 0)
  })
  it("directions: upwards, sideways, out of src", () => {
    counts(Rules.directions([importing("src/api/Kind.ts", "../domain/Machine.ts")]), 1)
    counts(Rules.directions([importing("src/kube/Lease.ts", "../domain/Backoff.ts")]), 1)
    counts(Rules.directions([importing("src/ssh/SshClient.ts", "../api/Kind.ts")]), 1)
    counts(Rules.directions([importing("src/runtime/Actor.ts", "../kube/KubeClient.ts")]), 1)
    counts(Rules.directions([importing("src/hosts/HostRuns.ts", "../kube/KubeClient.ts")]), 1)
    counts(Rules.directions([importing("src/actors/MachineActor.ts", "../provider/Provider.ts")]), 1)
    counts(Rules.directions([importing("src/provider/Provider.ts", "../simulation/Faults.ts")]), 1)
    counts(Rules.directions([importing("src/cli/controller.ts", "../simulation/Faults.ts")]), 1)
    counts(Rules.directions([importing("src/index.ts", "./simulation/Faults.ts")]), 1)
    counts(Rules.directions([importing("src/cli/deep/er.ts", "../../simulation/Faults.ts")]), 1)
    counts(Rules.directions([importing("src/hosts/HostRuns.ts", "../../test/hosts/LocalShell.ts")]), 1)
    counts(Rules.directions([importing("src/newcomer/Thing.ts", "../api/Kind.ts")]), 1)
  })
  it("directions: what is allowed passes", () => {
    counts(Rules.directions([importing("src/hosts/HostRuns.ts", "../ssh/SshClient.ts")]), 0)
    counts(Rules.directions([importing("src/kube/Lease.ts", "../api/Lease.ts")]), 0)
    counts(Rules.directions([importing("src/cli/demo.ts", "../simulation/Faults.ts")]), 0)
    counts(Rules.directions([importing("src/cli/simulate/Front.ts", "../../simulation/Faults.ts")]), 0)
    counts(Rules.directions([importing("src/testing.ts", "./simulation/Faults.ts")]), 0)
    counts(Rules.directions([importing("src/api/Kind.ts", "effect/Schema")]), 0)
  })
  it("loops: of two files, of three, and types count; a file that two import is none", () => {
    const types = (path: string, target: string) => at(path, `import type { X } from "${target}"\n`)
    counts(Rules.loops([importing("src/api/A.ts", "./B.ts"), types("src/api/B.ts", "./A.ts")]), 1)
    const three = [importing("src/api/A.ts", "./B.ts"), importing("src/api/B.ts", "./C.ts")]
    counts(Rules.loops([...three, importing("src/api/C.ts", "./A.ts")]), 1)
    counts(Rules.loops([...three, importing("src/api/D.ts", "./C.ts")]), 0)
  })
  it("directions: every way of importing counts, comments and prose do not", () => {
    const bad = [
      'export * from "../kube/KubeClient.ts"',
      'import type { A } from "../kube/KubeClient.ts"',
      'import "../kube/KubeClient.ts"',
      'const m = await import("../kube/KubeClient.ts")',
      'import {\n  a,\n  b\n} from "../kube/KubeClient.ts"'
    ]
    for (const text of bad) counts(Rules.directions([at("src/domain/X.ts", text)]), 1)
    const fine = ['// import "../kube/KubeClient.ts"', '/** from "../kube/KubeClient.ts" */']
    for (const text of fine) counts(Rules.directions([at("src/domain/X.ts", text)]), 0)
  })
  it("actorsApart: directly, through a third file, and not through a service", () => {
    const loop = 'import { live } from "../runtime/Actor.ts"\n'
    const allocator = at("src/actors/PoolAllocator.ts", loop)
    const service = at("src/actors/Allocation.ts", "export interface Allocation {}\n")
    const knows = (target: string) => at("src/actors/MachineActor.ts", `${loop}import { x } from "${target}"\n`)
    counts(Rules.actorsApart([allocator, knows("./PoolAllocator.ts")]), 1)
    const between = importing("src/actors/Between.ts", "./PoolAllocator.ts")
    counts(Rules.actorsApart([allocator, between, knows("./Between.ts")]), 1)
    counts(Rules.actorsApart([allocator, service, knows("./Allocation.ts")]), 0)
    const inner = at("src/actors/machine/Loop.ts", 'import { live } from "../../runtime/Actor.ts"\n')
    const outer = at(
      "src/actors/machine/Actor.ts",
      'import "./Loop.ts"\nimport { live } from "../../runtime/Actor.ts"\n'
    )
    counts(Rules.actorsApart([inner, outer]), 0)
  })
  it("packages: an edge's package anywhere else", () => {
    counts(Rules.packagesAtTheirEdge(importing("src/hosts/LiveHostRuns.ts", "ssh2")), 1)
    counts(Rules.packagesAtTheirEdge(importing("src/actors/X.ts", "@effect/platform-node/NodeHttpClient")), 1)
    counts(Rules.packagesAtTheirEdge(importing("src/ssh/LiveSshClient.ts", "ssh2")), 0)
  })
  it("effect imports: barrel and unstable", () => {
    counts(Rules.effectImports(importing("src/api/X.ts", "effect")), 1)
    counts(Rules.effectImports(importing("src/api/X.ts", "effect/unstable/cli")), 1)
    counts(Rules.effectImports(importing("src/api/X.ts", "effect/Effect")), 0)
  })
  it("header: code first, a line comment first", () => {
    counts(Rules.header(at("src/x.ts", "export const x = 1\n")), 1)
    counts(Rules.header(at("src/x.ts", "// owns nothing\n")), 1)
    counts(Rules.header(at("src/x.ts", "/** Owns x. */\n")), 0)
    counts(Rules.header(at("src/main.ts", "#!/usr/bin/env node\n/** Owns x. */\n")), 0)
    counts(Rules.header(at("src/x.sh", "#!/bin/sh\nset -eu\n")), 1)
    counts(Rules.header(at("src/x.sh", "#!/bin/sh\n# Owns x.\n")), 0)
  })
  it("forbidden calls: each of them, but not in prose, strings or templates", () => {
    const bad = [
      "const t = Date.now()",
      "const t = new Date()",
      "const t = new  Date( )",
      "const t = new Date",
      "const t = Date()",
      "const r = Math.random()",
      "setTimeout(f, 1)",
      "globalThis.setInterval(f, 1)",
      "console.log(1)",
      "const x = `$" + "{Date.now()}`",
      "const id = randomUUID()"
    ]
    for (const text of bad) counts(Rules.forbiddenCalls([at("src/x.ts", text)], {}), 1)
    const fine = [
      "// Date.now()",
      "/* Math.random() */",
      'const s = "setTimeout"',
      "const s = `console.log`",
      "const d: Date = x",
      "const d = new Date(millis)",
      'const d = new Date("2026-01-01")',
      "const r = /Date.now/",
      "const isoDate = toDate(x)"
    ]
    for (const text of fine) counts(Rules.forbiddenCalls([at("src/x.ts", text)], {}), 0)
  })
  it("forbidden calls: the edge list admits a call in a file, and must not outlive its need", () => {
    const edges = { "src/x.ts": { calls: ["setTimeout"], why: "test" } }
    counts(Rules.forbiddenCalls([at("src/x.ts", "setTimeout(f, 1)")], edges), 0)
    counts(Rules.forbiddenCalls([at("src/x.ts", "setTimeout(f, 1)\nDate.now()")], edges), 1)
    counts(Rules.forbiddenCalls([at("src/y.ts", "setTimeout(f, 1)"), at("src/x.ts", "")], edges), 2)
  })
  it("queues: unbounded ones, but in the simulation", () => {
    counts(Rules.unboundedQueues(at("src/actors/x.ts", "yield* Queue.unbounded<string>()")), 1)
    counts(Rules.unboundedQueues(at("src/actors/x.ts", "yield* PubSub.unbounded()")), 1)
    counts(Rules.unboundedQueues(at("src/actors/x.ts", "yield* Queue.bounded<string>(LIMIT)")), 0)
    counts(Rules.unboundedQueues(at("src/simulation/x.ts", "yield* Queue.unbounded<string>()")), 0)
  })
  it("length: one line too many, and the grace list", () => {
    counts(Rules.tooLong(at("src/x.ts", "x\n".repeat(Rules.MAX_LINES)), []), 0)
    counts(Rules.tooLong(at("src/x.ts", "x\n".repeat(Rules.MAX_LINES + 1)), []), 1)
    counts(Rules.tooLong(at("src/x.ts", "x\n".repeat(Rules.MAX_LINES + 1)), ["src/x.ts"]), 0)
  })
  it("desk paths and foreign words", () => {
    counts(Rules.deskPaths(at("docs/x.md", ["see ", "work", "main/src"].join("/"))), 1)
    counts(Rules.deskPaths(at("docs/x.md", "see src/main.ts, homework/main")), 0)
    counts(
      Rules.foreignWords(at("docs/x.md", "Made with Hammers"), (word) => word === "hammers"),
      1
    )
    counts(
      Rules.foreignWords(at("docs/x.md", "made by hand"), (word) => word === "hammers"),
      0
    )
    assert.isTrue(FOREIGN.has(digest(["c", "laude"].join(""))))
  })
})

describe("the lexer behind the rules", () => {
  it("keeps lines and columns", () => {
    const text = 'a /* x\n y */ b "s" // t\nc'
    assert.strictEqual(codeOf(text), `a     \n      b " "${" ".repeat(5)}\nc`)
    assert.strictEqual(codeOf(text).length, text.length)
  })
  it("knows nested templates, escapes, and division from regular expressions", () => {
    assert.include(codeOf("const x = `a$" + "{f({ k: `$" + "{g()}` })}b` + h()"), "f({ k:")
    assert.include(codeOf("const x = `a$" + "{f({ k: `$" + "{g()}` })}b` + h()"), "g()")
    assert.include(codeOf("const x = `a` + h()"), "h()")
    assert.include(codeOf('const x = "\\"" + h()'), "h()")
    assert.include(codeOf("const x = a / b; h() / 2"), "h()")
    assert.include(codeOf('const x = /[/"]/.test(y) + h()'), "h()")
    assert.notInclude(codeOf("const x = /h()/"), "h()")
  })
  it("finds imports with their lines", () => {
    assert.deepStrictEqual(importsOf('\nimport {\n a\n} from "./x.ts"\nimport "y"\n'), [
      { specifier: "./x.ts", line: 4 },
      { specifier: "y", line: 5 }
    ])
  })
})
