/**
 * Owns `machinist crds`: prints the CustomResourceDefinitions, writes them to files, or checks that files are what
 * would be written. Does not own their content (api/crd).
 */
import * as Console from "effect/Console"
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import { crdFileName, crdJson, crdsJson, crdsYaml, crdYaml, ourCrds } from "../api/crd/Render.ts"
import { ensureDirectory } from "./Files.ts"

type Format = "yaml" | "json"

const files = (format: Format) =>
  ourCrds.map((crd) => ({
    name: crdFileName(crd, format),
    text: format === "json" ? crdJson(crd) : crdYaml(crd)
  }))

const failed = (what: string) => (cause: { readonly message: string }) =>
  new CliError.UserError({ cause, userMessage: `${what}: ${cause.message}` })

const write = Effect.fnUntraced(function* (directory: string, format: Format) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* ensureDirectory("output", path.resolve(directory))
  for (const { name, text } of files(format)) {
    yield* fs
      .writeFileString(path.join(directory, name), text)
      .pipe(Effect.mapError(failed(`cannot write ${name} to ${directory}`)))
  }
  yield* Console.error(`${ourCrds.length} CRDs written to ${directory}`)
})

/** Names of the files that are missing or differ. */
const drift = Effect.fnUntraced(function* (directory: string, format: Format) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  return yield* Effect.filter(files(format), ({ name, text }) =>
    fs.readFileString(path.join(directory, name)).pipe(
      Effect.map((found) => found !== text),
      Effect.orElseSucceed(() => true)
    )
  )
})

const check = Effect.fnUntraced(function* (directory: string, format: Format) {
  const different = yield* drift(directory, format)
  if (different.length > 0) {
    const names = different.map(({ name }) => name).join(", ")
    return yield* new CliError.UserError({
      cause: names,
      userMessage: `not up to date in ${directory}: ${names}. Run: machinist crds --output ${directory}`
    })
  }
  yield* Console.error(`${ourCrds.length} CRDs in ${directory} are up to date`)
})

export const crds = Command.make(
  "crds",
  {
    output: Flag.Directory("output").pipe(
      Flag.withDescription("Write one file a CRD to this directory, instead of all to standard output"),
      Flag.optional
    ),
    check: Flag.Boolean("check").pipe(
      Flag.withDescription("Write nothing; fail if the files in --output are not what would be written"),
      Flag.withDefault(false)
    ),
    json: Flag.Boolean("json").pipe(Flag.withDescription("JSON instead of YAML"), Flag.withDefault(false))
  },
  Effect.fnUntraced(function* (input) {
    const format = input.json ? "json" : "yaml"
    if (Option.isSome(input.output)) {
      return yield* input.check ? check(input.output.value, format) : write(input.output.value, format)
    }
    if (input.check) {
      return yield* new CliError.UserError({ cause: "--check", userMessage: "--check needs --output DIRECTORY" })
    }
    const text = input.json ? crdsJson(ourCrds) : crdsYaml(ourCrds)
    yield* Console.log(text.trimEnd())
  })
).pipe(
  Command.withDescription("Print the CustomResourceDefinitions of Machinist"),
  Command.withExamples([
    { command: "machinist crds | kubectl apply -f -", description: "Install them" },
    { command: "machinist crds --output manifests/crds", description: "Write one file a CRD" }
  ])
)
