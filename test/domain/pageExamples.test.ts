/**
 * Holds: what every K0sWorkerConfig of the pages becomes, as golden texts that say where each part came from
 * (`machinist render --explain`).
 */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import { parse } from "yaml"
import { pageExamples } from "../support/pageExamples.ts"
import { ran, test } from "../support/rendering.ts"
import { assertGolden } from "./golden.ts"

const TOKEN = "abcdef.0123456789abcdef"

describe("the pages' examples", () => {
  for (const { config: example, name } of pageExamples)
    test(
      `${name}: golden, explained, and the same with the comments taken out`,
      Effect.gen(function* () {
        const file = `examples/${name}`
        const fs = yield* FileSystem.FileSystem
        const files = (yield* fs.readDirectory(file))
          .filter((one) => one.endsWith(".yaml"))
          .flatMap((one) => ["--f", `${file}/${one}`])
        const args = [...files, "--config", example.metadata.name, "--token", TOKEN]
        const plain = yield* ran(...args)
        assert.isUndefined(plain.error)
        const explained = yield* ran(...args, "--explain")
        assertGolden(`explained/${name}.yaml`, `${explained.out}\n`)
        assert.strictEqual(explained.out.replaceAll(/^ {2}# <- .*\n/gm, ""), plain.out)
        assert.deepStrictEqual(parse(explained.out), parse(plain.out))
        assert.notInclude(explained.out, "undefined")
      })
    )
})
