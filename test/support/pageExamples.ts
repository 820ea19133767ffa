/**
 * Owns the K0sWorkerConfigs of the specification's pages, read from examples/ as they stand there, and what each becomes
 * for a machine: for tests that run them. Not the rest of an example (its Cluster, its hosts).
 */
import { globSync, readFileSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parseAllDocuments } from "yaml"
import { type K0sWorkerConfig, K0sWorkerConfigSchema } from "../../src/api/K0sConfigs.ts"
import { type WorkerBootstrapInput, workerBootstrap } from "../../src/domain/BootstrapScript.ts"
import type { Payload } from "../../src/domain/CloudConfig.ts"

const DIRECTORY = join(import.meta.dirname, "../../examples")
const PAGE = /^# Page "/m

export interface PageExample {
  /** Of its directory. */
  readonly name: string
  readonly config: K0sWorkerConfig
}

export const pageExamples: ReadonlyArray<PageExample> = globSync("*/*.yaml", { cwd: DIRECTORY })
  .sort()
  .map((file) => ({ file, text: readFileSync(join(DIRECTORY, file), "utf8") }))
  .filter(({ text }) => PAGE.test(text))
  .flatMap(({ file, text }) =>
    parseAllDocuments(text).flatMap((document): ReadonlyArray<PageExample> => {
      const object: unknown = document.toJS()
      if (typeof object !== "object" || object === null || !("kind" in object)) return []
      return object.kind === "K0sWorkerConfig"
        ? [{ name: basename(dirname(file)), config: Schema.decodeUnknownSync(K0sWorkerConfigSchema)(object) }]
        : []
    })
  )

/** Files of the pages' examples have their contents with them. */
export const workerInput = ({ spec }: K0sWorkerConfig): Partial<WorkerBootstrapInput> => ({
  version: spec?.version,
  args: spec?.args,
  files: spec?.files?.map(({ path, content = "", permissions }) => ({ path, content, permissions })),
  preStartCommands: spec?.preStartCommands,
  postStartCommands: spec?.postStartCommands
})

export const payloadOf = (
  input: Partial<WorkerBootstrapInput> & Pick<WorkerBootstrapInput, "machineName" | "joinToken">
): Payload => Result.getOrThrow(workerBootstrap(input))
