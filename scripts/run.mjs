/**
 * Owns `node scripts/run.mjs FILE.ts [ARGS…]`: runs a TypeScript entry of this repository on a fresh clone, whatever Node
 * starts it. Arguments, terminal and exit code are passed through.
 */
import { resolve } from "node:path"
import { prepare, root, run } from "./toolchain.mjs"

const [entry, ...args] = process.argv.slice(2)
if (entry === undefined) {
  console.error("usage: node scripts/run.mjs FILE.ts [ARGS…]")
  process.exit(2)
}
try {
  const { node, env } = prepare()
  const { code } = await run(node, [resolve(root, entry), ...args], { env })
  process.exitCode = code
} catch (error) {
  console.error(`machinist: ${error.message}`)
  process.exitCode = 1
}
