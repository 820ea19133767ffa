/** Holds: `machinist crds` writes what it would print, and notices files that have drifted. */

import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FileSystem from "effect/FileSystem"
import { crdFileName, crdJson, crdYaml, ourCrds } from "../../src/api/crd/Render.ts"
import { crds } from "../../src/cli/crds.ts"

const run = (...args: ReadonlyArray<string>) => Effect.exit(Command.runWith(crds, { version: "0.0.0" })(args))

describe("machinist crds", () => {
  it.effect("--output writes a file a CRD; --check finds drift and missing files", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = `${yield* fs.makeTempDirectoryScoped()}/new/crds`
      assert.isTrue(Exit.isFailure(yield* run("--output", directory, "--check")))
      assert.isTrue(Exit.isSuccess(yield* run("--output", directory)))
      for (const crd of ourCrds) {
        assert.strictEqual(yield* fs.readFileString(`${directory}/${crdFileName(crd, "yaml")}`), crdYaml(crd))
      }
      assert.isTrue(Exit.isSuccess(yield* run("--output", directory, "--check")))
      const [first] = yield* fs.readDirectory(directory)
      yield* fs.writeFileString(`${directory}/${first}`, "kind: Other\n")
      assert.isTrue(Exit.isFailure(yield* run("--output", directory, "--check")))
      assert.strictEqual(yield* fs.readFileString(`${directory}/${first}`), "kind: Other\n")
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("--json writes JSON", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped()
      assert.isTrue(Exit.isSuccess(yield* run("--output", directory, "--json")))
      const names = yield* fs.readDirectory(directory)
      assert.sameMembers(
        [...names],
        ourCrds.map((crd) => crdFileName(crd, "json"))
      )
      for (const crd of ourCrds) {
        assert.strictEqual(yield* fs.readFileString(`${directory}/${crdFileName(crd, "json")}`), crdJson(crd))
      }
    }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("a directory that can't be made, or --check of nothing, fails", () =>
    Effect.gen(function* () {
      assert.isTrue(Exit.isFailure(yield* run("--output", "/dev/null/crds")))
      assert.isTrue(Exit.isFailure(yield* run("--check")))
    }).pipe(Effect.provide(NodeServices.layer))
  )
})
