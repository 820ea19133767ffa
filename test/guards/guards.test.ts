/**
 * Holds the table of guards to the code: each stands where it says, once, and its tests exist. That the tests miss it when
 * it is gone is `npm run mutate:guards`, which takes minutes.
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { ROOT, read } from "../tidy/Tree.ts"
import { guards, without } from "./Guards.ts"

describe("guards", () => {
  for (const guard of guards)
    it(`${guard.name}: ${guard.promise}`, () => {
      const mutant = without(read(guard.file).text, guard)
      assert.isDefined(mutant, `${guard.file} has it not exactly once`)
      assert.notStrictEqual(mutant, read(guard.file).text)
      for (const test of guard.tests) assert.isTrue(existsSync(join(ROOT, test)), test)
    })

  it("have names of their own", () => {
    const names = guards.map(({ name }) => name)
    assert.deepStrictEqual([...new Set(names)], names)
  })

  it("a guard that is gone, or there twice, is noticed", () => {
    const [guard] = guards
    assert.isDefined(guard)
    assert.isUndefined(without("nothing", guard))
    assert.isUndefined(without(`${guard.guard} ${guard.guard}`, guard))
    assert.strictEqual(without(`a ${guard.guard} b`, guard), `a ${guard.instead} b`)
  })
})
