/**
 * Owns `npm run drift`: every file that is generated from src is generated again into a temporary directory and compared with
 * what is in the tree. Says which file differs and what regenerates it. Writes nothing in the tree.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root } from "./toolchain.mjs"

/** `tracked` is a directory, compared as a whole: a file that is no longer generated is drift too. */
const generated = [
  { tracked: "manifests", args: ["scripts/manifests.ts", "--output"], mend: "npm run manifests" },
  { tracked: "docs/reference", args: ["scripts/reference.ts", "--output"], mend: "npm run docs" }
]

const listing = (directory) =>
  existsSync(directory)
    ? readdirSync(directory, { recursive: true })
        .map(String)
        .filter((name) => statSync(join(directory, name)).isFile())
        .sort()
    : []

const compare = (tracked, fresh) => {
  const before = listing(tracked)
  const after = listing(fresh)
  return [
    ...before.filter((name) => !after.includes(name)).map((name) => `${name} is no longer generated`),
    ...after.filter((name) => !before.includes(name)).map((name) => `${name} is missing`),
    ...after
      .filter((name) => before.includes(name))
      .filter((name) => readFileSync(join(tracked, name), "utf8") !== readFileSync(join(fresh, name), "utf8"))
      .map((name) => `${name} differs`)
  ]
}

let drifted = 0
for (const { tracked, args, mend } of generated) {
  const scratch = mkdtempSync(join(tmpdir(), "machinist-drift-"))
  try {
    const { status } = spawnSync(process.execPath, [...args, scratch], {
      cwd: root,
      stdio: ["ignore", "ignore", "inherit"]
    })
    const differences =
      status === 0 ? compare(join(root, tracked), scratch) : [`generating it failed (exit code ${status})`]
    for (const difference of differences) console.error(`drift: ${tracked}: ${difference}; ${mend} regenerates it`)
    if (differences.length > 0) drifted++
    else console.log(`drift: ${tracked}: as generated`)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
process.exitCode = drifted > 0 ? 1 : 0
