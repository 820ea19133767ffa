/**
 * Owns what the npm package holds: src as JavaScript with types, since Node runs no TypeScript below node_modules, and the
 * files beside it that are read at run time (driver, guests, the examples' YAML). `npm pack` calls it.
 *
 *   node scripts/build.mjs [--output DIR]     default: dist
 */
import { cpSync, rmSync } from "node:fs"
import { extname, join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { prepare, root, run } from "./toolchain.mjs"

const { values } = parseArgs({ options: { output: { type: "string", default: join(root, "dist") } } })
const output = resolve(values.output)
const { env, node } = prepare()
rmSync(output, { recursive: true, force: true })
const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
const { code } = await run(node, [tsc, "-p", join(root, "tsconfig.build.json"), "--outDir", output], { env })
if (code !== 0) process.exit(code ?? 1)
// What tsc made, or types, stays tsc's; directories must pass the filter.
cpSync(join(root, "src"), join(output, "src"), { recursive: true, filter: (path) => extname(path) !== ".ts" })
cpSync(join(root, "examples"), join(output, "examples"), {
  recursive: true,
  filter: (path) => extname(path) === "" || extname(path) === ".yaml"
})
