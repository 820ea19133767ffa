/**
 * Owns finding the project's own text files for the house rules, without git (a tarball has none). Knows none of the rules.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Source } from "./Source.ts"

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** What we wrote; everything else at the top is somebody else's or generated. */
const OURS = ["src", "test", "bench", "scripts", "docs", "manifests", ".ci"]
const TEXT = /\.(?:ts|mts|mjs|js|json|md|sh|yaml|yml|nix|txt)$|^\.ci\/|^LICENSE$/

const walk = (path: string): ReadonlyArray<string> => {
  const absolute = join(ROOT, path)
  if (!existsSync(absolute)) return []
  if (!statSync(absolute).isDirectory()) return [path]
  return readdirSync(absolute)
    .sort()
    .flatMap((name) => walk(`${path}/${name}`))
}

export const read = (path: string): Source => ({ path, text: readFileSync(join(ROOT, path), "utf8") })

/** Every text file of ours, sorted by directory. */
export const projectFiles = (): ReadonlyArray<Source> =>
  [...readdirSync(ROOT).filter((name) => name !== "package-lock.json" && statSync(join(ROOT, name)).isFile()), ...OURS]
    .flatMap(walk)
    .filter((path) => TEXT.test(path))
    .map(read)

export const under = (files: ReadonlyArray<Source>, directory: string, extension: string): ReadonlyArray<Source> =>
  files.filter(({ path }) => path.startsWith(`${directory}/`) && path.endsWith(extension))
