/**
 * Holds: docs/states.md is what the code does. The diagrams are drawn from the transition functions (UPDATE_GOLDEN=1
 * redraws them), every state has a section, and the budgets it names are the code's.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Bootstrap from "../src/domain/Bootstrap.ts"
import * as Machine from "../src/domain/Machine.ts"
import { bootstrapDiagram, machineDiagram, machinePhases } from "./support/stateDiagram.ts"

const PAGE = new URL("../docs/states.md", import.meta.url)
const between = (name: string) => new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(\n<!-- /${name} -->)`)

const drawn = (page: string): string =>
  page
    .replace(between("machine"), (_, open: string, close: string) => `${open}${machineDiagram()}${close}`)
    .replace(between("bootstrap"), (_, open: string, close: string) => `${open}${bootstrapDiagram()}${close}`)

describe("docs/states.md", () => {
  it("shows the diagrams that the code draws", () => {
    const page = readFileSync(PAGE, "utf8")
    if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(PAGE, drawn(page))
    assert.strictEqual(readFileSync(PAGE, "utf8"), drawn(page))
    assert.include(page, "<!-- machine -->")
    assert.include(page, "<!-- bootstrap -->")
  })

  it("has a section for every state", () => {
    const page = readFileSync(PAGE, "utf8")
    const headings = [...page.matchAll(/^### (\w+)$/gm)].map((match) => match[1])
    assert.deepStrictEqual([...new Set(machinePhases.map((phase) => phase._tag))], headings)
  })

  it("names the budgets that the code has", () => {
    const page = readFileSync(PAGE, "utf8")
    for (const [name, value] of Object.entries({
      CONNECT_BUDGET: Machine.CONNECT_BUDGET,
      STEP_BUDGET: Machine.STEP_BUDGET,
      CLEAN_BUDGET: Machine.CLEAN_BUDGET,
      REVOKE_BUDGET: Bootstrap.REVOKE_BUDGET
    }))
      assert.include(page, `\`${name}\` (${value})`)
  })
})
