/** Owns golden texts: compares with test/domain/golden/NAME, or writes it when UPDATE_GOLDEN=1. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { assert } from "@effect/vitest"

const update = process.env["UPDATE_GOLDEN"] === "1"

export const assertText = (path: string, actual: string): void => {
  if (update) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, actual)
    return
  }
  assert.isTrue(existsSync(path), `${path} is missing: run with UPDATE_GOLDEN=1`)
  assert.strictEqual(actual, readFileSync(path, "utf8"), `${path} differs: run with UPDATE_GOLDEN=1 and review`)
}

export const assertGolden = (name: string, actual: string): void =>
  assertText(new URL(`./golden/${name}`, import.meta.url).pathname, actual)
