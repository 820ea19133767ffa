/**
 * Holds the npm package: built from this tree and put below another project's node_modules, its entries can be imported,
 * have types, and a simulation runs from plain JavaScript; its command starts.
 */
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import manifest from "../../package.json" with { type: "json" }

const ROOT = join(import.meta.dirname, "../..")
const BUILD_LIMIT_MILLIS = 120_000

const inProject = (project: string, args: ReadonlyArray<string>) =>
  spawnSync(process.execPath, [...args], { cwd: project, encoding: "utf8" })

describe("the package", () => {
  const project = mkdtempSync(join(tmpdir(), "machinist-package-"))
  const modules = join(project, "node_modules")
  const installed = join(modules, "machinist")

  beforeAll(() => {
    mkdirSync(installed, { recursive: true })
    // As npm lays dependencies out: beside the package.
    for (const name of readdirSync(join(ROOT, "node_modules")))
      if (name !== ".bin") symlinkSync(join(ROOT, "node_modules", name), join(modules, name))
    const built = spawnSync(process.execPath, ["scripts/build.mjs", "--output", join(installed, "dist")], {
      cwd: ROOT,
      encoding: "utf8"
    })
    assert.strictEqual(built.status, 0, built.stderr + built.stdout)
    for (const name of ["package.json", ...manifest.files])
      if (name !== "dist") cpSync(join(ROOT, name), join(installed, name), { recursive: true })
    writeFileSync(join(project, "package.json"), '{"type": "module"}')
  }, BUILD_LIMIT_MILLIS)
  afterAll(() => rmSync(project, { recursive: true, force: true }))

  it("runs a simulation from plain JavaScript", () => {
    writeFileSync(
      join(project, "simulate.mjs"),
      `import { createSimulation } from "machinist/testing"
const simulation = await createSimulation({ hosts: 2 })
await simulation.addWorkers({ replicas: 2 })
await simulation.until("both run", () => simulation.areRunning(2))
console.log(simulation.claims().length, simulation.violations().length)
await simulation.close()
`
    )
    const result = inProject(project, ["simulate.mjs"])
    assert.strictEqual(result.stdout.trim(), "2 0", result.stderr)
    assert.strictEqual(result.status, 0)
  })

  it("has types for both entries", () => {
    writeFileSync(
      join(project, "typed.ts"),
      `import { Provider } from "machinist"
import { type AsyncSimulation, createSimulation } from "machinist/testing"
export const start = Provider.start
export const make = (): Promise<AsyncSimulation> => createSimulation({ hosts: 1 })
// @ts-expect-error hosts is a number
createSimulation({ hosts: "one" })
`
    )
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc")
    const options = ["--module", "nodenext", "--target", "es2024", "--strict", "--skipLibCheck", "--noEmit"]
    const result = inProject(project, [tsc, ...options, "--types", "node", "typed.ts"])
    assert.strictEqual(result.status, 0, result.stdout)
  })

  it("has its command", () => {
    const result = inProject(project, [join(installed, manifest.bin.machinist), "--version"])
    assert.include(result.stdout, manifest.version, result.stderr)
  })

  it("names no file that is not there", () => {
    for (const entry of Object.values(manifest.exports))
      for (const path of typeof entry === "string" ? [entry] : Object.values(entry))
        assert.isTrue(existsSync(join(installed, path)), path)
  })
})
