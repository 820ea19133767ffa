/**
 * Owns what files and directories that a flag names have in common: made where they are missing, read (`-` is standard
 * input), and a sentence that names the flag where that can't be. Does not own what is in them.
 */
import type * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import * as Stdio from "effect/Stdio"
import * as Stream from "effect/Stream"
import { failed } from "./Failed.ts"

const REASONS: Readonly<Record<string, string>> = {
  NotFound: "it does not exist, and can't be made",
  PermissionDenied: "this user may not",
  BadResource: "a part of it is a file, not a directory",
  AlreadyExists: "it is a file, not a directory"
}

const refused = (flag: string, path: string, why: string) => failed(`--${flag} ${path}: ${why}; give another --${flag}`)
const because = (flag: string, path: string) => (error: PlatformError) =>
  refused(flag, path, REASONS[error.reason._tag] ?? error.message)

/** Makes a directory and those above it, level by level: Node's own way never ends below /proc. Absolute `path`. */
export const ensureDirectory = (
  flag: string,
  path: string,
  mode = 0o777
): Effect.Effect<void, CliError.UserError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const { dirname } = yield* Path.Path
    const found = yield* fs.stat(path).pipe(
      Effect.map(({ type }) => type),
      Effect.catchIf(
        ({ reason }) => reason._tag === "NotFound",
        () => Effect.succeed(undefined)
      ),
      Effect.mapError(because(flag, path))
    )
    if (found === "Directory") return
    if (found !== undefined) return yield* refused(flag, path, "it is a file, not a directory")
    if (dirname(path) !== path) yield* ensureDirectory(flag, dirname(path), mode)
    yield* fs.makeDirectory(path, { mode }).pipe(Effect.mapError(because(flag, path)))
  })

/** The text of a file that `-f` names; `shown` is how an error names it. */
export const readText = (
  path: string,
  shown = path
): Effect.Effect<string, CliError.UserError, FileSystem.FileSystem | Stdio.Stdio> => {
  const read: Effect.Effect<string, PlatformError, FileSystem.FileSystem | Stdio.Stdio> =
    path === "-"
      ? Effect.flatMap(Stdio.Stdio, ({ stdin }) => Stream.mkString(Stream.decodeText(stdin)))
      : Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(path))
  return Effect.mapError(read, (error) => {
    const why = error.reason._tag === "NotFound" ? "there is no such file" : error.message
    return failed(`${path === "-" ? "standard input" : shown}: ${why}`, error)
  })
}
