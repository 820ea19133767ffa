/**
 * Owns where under --state the clusters of stand-in control planes are kept, and that nothing is left of one that was
 * deleted. Does not own how objects are kept (StateDirectory.ts).
 */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { WorkloadCluster } from "../../kube/WorkloadClusters.ts"
import type { SimulatedApiServerShape } from "../../simulation/SimulatedApiServer.ts"
import { keepIn } from "../../simulation/StateDirectory.ts"

const WORKLOADS = "workloads"

export const keptWorkloads = Effect.fnUntraced(function* (state: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const directory = ({ name, namespace }: WorkloadCluster) => path.join(state, WORKLOADS, `${namespace}_${name}`)
  return {
    prepare: (cluster: WorkloadCluster, server: SimulatedApiServerShape) =>
      keepIn(server, directory(cluster)).pipe(
        Effect.asVoid,
        Effect.orDie,
        Effect.provideService(FileSystem.FileSystem, fs),
        Effect.provideService(Path.Path, path)
      ),
    forget: (cluster: WorkloadCluster) =>
      fs.remove(directory(cluster), { recursive: true, force: true }).pipe(Effect.orDie)
  }
})
