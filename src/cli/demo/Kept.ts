/**
 * Owns what of a demo outlives its process, and where in the directory given with --state: the management cluster, the
 * workload clusters, hosts' disks, certificate and token, and whether the examples were applied. Does not own how objects
 * are kept (StateDirectory.ts), nor hosts (Roster.ts).
 */
import type * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { Keep } from "../../simulation/demo/Engine.ts"
import { keepIn } from "../../simulation/StateDirectory.ts"
import { failed } from "../Failed.ts"
import { ensureDirectory } from "../Files.ts"
import { keptWorkloads } from "./KeptWorkloads.ts"

const MANAGEMENT = "management"
const HOSTS = "hosts"
const APPLIED = "examples-applied"

export interface Kept {
  readonly keep: Keep<CliError.UserError>
  /** Of the hosts. */
  readonly hosts: string
  /** Of the server's certificate and token. */
  readonly identity: string
  readonly kubeconfig: string
}

const told = (error: { readonly message: string }) => failed(error.message, error)

export const keepInDirectory = Effect.fnUntraced(function* (given: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = path.resolve(given)
  yield* ensureDirectory("state", directory, 0o700)
  const marker = path.join(directory, APPLIED)
  const workloads = yield* keptWorkloads(directory)
  const kept: Kept = {
    hosts: path.join(directory, HOSTS),
    identity: directory,
    kubeconfig: path.join(directory, "kubeconfig"),
    keep: {
      management: (server) =>
        keepIn(server, path.join(directory, MANAGEMENT)).pipe(
          Effect.asVoid,
          Effect.mapError(told),
          Effect.provideService(FileSystem.FileSystem, fs),
          Effect.provideService(Path.Path, path)
        ),
      workload: workloads.prepare,
      forget: workloads.forget,
      isApplied: yield* fs.exists(marker).pipe(Effect.mapError(told)),
      applied: fs.writeFileString(marker, "").pipe(Effect.orDie),
      removed: fs.remove(marker, { force: true }).pipe(Effect.orDie)
    }
  }
  return kept
})
