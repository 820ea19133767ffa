/**
 * Owns `npm run manifests`: everything in manifests/, generated from src/api. The CRDs alone are also `machinist crds`.
 *
 *   node scripts/manifests.ts --output DIR
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { crdFileName, crdYaml, ourCrds } from "../src/api/crd/Render.ts"
import { installationFiles } from "../src/api/install/Components.ts"

const [flag, output] = process.argv.slice(2)
if (flag !== "--output" || output === undefined) {
  console.error("usage: node scripts/manifests.ts --output DIR")
  process.exit(2)
}

const { version }: { readonly version: string } = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8")
)
const files = {
  ...Object.fromEntries(ourCrds.map((crd) => [join("crds", crdFileName(crd, "yaml")), crdYaml(crd)])),
  ...installationFiles(version)
}
mkdirSync(join(output, "crds"), { recursive: true })
for (const [name, text] of Object.entries(files)) writeFileSync(join(output, name), text)
console.error(`${Object.keys(files).length} files written to ${output}`)
