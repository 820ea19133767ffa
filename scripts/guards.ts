/**
 * Owns `npm run mutate:guards`: takes each named guard (test/guards/Guards.ts) out of a copy of the project, one at a time,
 * and runs the tests that are said to hold it. They must fail: a guard that no test misses is not proven.
 *
 *   npm run mutate:guards -- [--list] [--json] [--quick] [NAME…]
 *
 * `--quick`: only those whose tests are pure functions' (CI takes these each time, all with MACHINIST_GUARDS=all).
 * Exit code 1 when one survives, or is not where the table says. The tree itself is never touched.
 */
import { spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { type Guard, guards, without } from "../test/guards/Guards.ts"

const ROOT = join(import.meta.dirname, "..")
/** A mutant that hangs instead of failing is caught as well. */
const LIMIT_MILLIS = 300_000
/** What tests read; the rest of the tree would only cost time. */
const COPIED = readdirSync(ROOT).filter((name) => ![".git", "node_modules", "dist"].includes(name))

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    list: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false }
  }
})

const copyOfTree = (): string => {
  const copy = mkdtempSync(join(tmpdir(), "machinist-guards-"))
  for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true })
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"))
  return copy
}

/** Whether the tests pass; undefined: they did not come to an end. */
const passes = (copy: string, { tests }: Guard): boolean | undefined => {
  const vitest = join(ROOT, "node_modules", "vitest", "vitest.mjs")
  const args = [vitest, "run", "--project", "unit", "--root", copy, "--bail", "1", "--reporter", "dot", ...tests]
  const result = spawnSync(process.execPath, args, {
    cwd: copy,
    env: { ...process.env, MACHINIST_SEEDS: process.env["MACHINIST_SEEDS"] ?? "60" },
    stdio: "ignore",
    timeout: LIMIT_MILLIS,
    killSignal: "SIGKILL"
  })
  return result.status === null ? undefined : result.status === 0
}

/** `hangs`: caught, if this machine is not merely too busy for the tests. */
type Verdict = "caught" | "hangs" | "SURVIVED" | "not found"

const prove = (copy: string, guard: Guard): Verdict => {
  const file = join(copy, guard.file)
  const text = readFileSync(file, "utf8")
  const mutant = without(text, guard)
  if (mutant === undefined) return "not found"
  writeFileSync(file, mutant)
  try {
    const passed = passes(copy, guard)
    return passed === undefined ? "hangs" : passed ? "SURVIVED" : "caught"
  } finally {
    writeFileSync(file, text)
  }
}

const isQuick = ({ tests }: Guard): boolean => tests.every((path) => path.startsWith("test/domain/"))
const chosen = guards
  .filter(({ name }) => positionals.length === 0 || positionals.includes(name))
  .filter((guard) => !values.quick || isQuick(guard))
if (values.list) {
  for (const { file, name, promise } of guards) console.log(`${name}  ${file}\n    ${promise}`)
} else {
  const copy = copyOfTree()
  process.on("exit", () => rmSync(copy, { recursive: true, force: true }))
  const verdicts = chosen.map((guard) => {
    const verdict = prove(copy, guard)
    if (!values.json) console.log(`${verdict.padEnd(9)}  ${guard.name}  (${guard.file}: ${guard.promise})`)
    return { name: guard.name, verdict }
  })
  const survived = verdicts.filter(({ verdict }) => verdict !== "caught" && verdict !== "hangs")
  if (values.json) console.log(JSON.stringify({ guards: verdicts.length, survived: survived.map(({ name }) => name) }))
  else console.log(`${verdicts.length} guards, ${survived.length} not proven`)
  if (survived.length > 0 || verdicts.length === 0) process.exitCode = 1
}
