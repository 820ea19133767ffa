/**
 * Holds docs/annotations.md to the code: every name of ours is in its table once, each is one that the code knows and
 * uses, and there is no other spelling of one anywhere.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Names from "../src/api/Names.ts"
import { projectFiles, read } from "./tidy/Tree.ts"

const rows = read("docs/annotations.md")
  .text.split("\n")
  .filter((line) => line.startsWith("| `"))
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .map(([, name = "", what = "", on = "", by = "", , means = ""]) => ({
    name: name.replaceAll("`", ""),
    what,
    on,
    by,
    means
  }))

const kindOf = (constant: string): string => constant.slice(constant.lastIndexOf("_") + 1).toLowerCase()

/** Constant -> its name, of those that are ours. */
const ours = Object.entries(Names).flatMap(([constant, value]) =>
  typeof value === "string" &&
  (value.startsWith(Names.MACHINIST_PREFIX) || constant === "REMOTE_MACHINE_FINALIZER") &&
  constant !== "MACHINIST_PREFIX"
    ? [{ constant, name: value }]
    : []
)

const sources = projectFiles().filter(({ path }) => path.startsWith("src/") && path.endsWith(".ts"))

describe("docs/annotations.md", () => {
  it("has every name of ours, as what it is, once", () => {
    assert.deepStrictEqual(rows.map(({ name }) => name).sort(), [...new Set(ours.map(({ name }) => name))].sort())
    for (const { constant, name } of ours)
      assert.include(rows.find((row) => row.name === name)?.what ?? "", kindOf(constant), constant)
  })

  it("says where it is, who writes it, and what it means", () => {
    for (const { name, on, by, means } of rows) {
      assert.notStrictEqual(on, "", name)
      assert.match(by, /^(Machinist|a person)/, name)
      assert.isAbove(means.length, 20, name)
    }
  })

  it("speaks of nothing that the code does not use", () => {
    const unused = ours.filter(
      ({ constant }) => !sources.some(({ path, text }) => path !== "src/api/Names.ts" && text.includes(constant))
    )
    assert.deepStrictEqual(unused, [])
  })

  it("knows every name that the code, its messages and the other pages speak of", () => {
    const known = new Set(ours.map(({ name }) => name))
    const pages = projectFiles().filter(({ path }) => path === "README.md" || /^docs\/[^/]+\.md$/.test(path))
    const unknown = [...sources.filter(({ path }) => !path.startsWith("src/simulation/")), ...pages].flatMap(
      ({ path, text }) =>
        [...text.matchAll(/machinist\.dev\/([a-z][a-z-]*)/g)]
          // `kubectl annotate … NAME-` takes one away.
          .map(([name]) => name.replace(/-$/, ""))
          // What a token's id is hashed from.
          .filter((name) => !known.has(name) && name !== "machinist.dev/token")
          .map((name) => `${path}: ${name}`)
    )
    assert.deepStrictEqual(unknown, [])
  })
})
