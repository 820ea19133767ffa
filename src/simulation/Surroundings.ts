/**
 * Owns the ports that a simulated provider needs besides API server and hosts: randomness that a seed replays, and the
 * workload clusters of a world that has none. Does not own workload clusters that answer (core/).
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import { KubeError } from "../kube/KubeError.ts"
import { WorkloadClusters } from "../kube/WorkloadClusters.ts"

/** Every kubeconfig leads nowhere: bootstrap configs wait, machines with data of their own do not care. */
export const noWorkloadClusters: Layer.Layer<WorkloadClusters> = WorkloadClusters.layerOf((cluster) =>
  Effect.fail(
    new KubeError({
      reason: "Unavailable",
      verb: "configure",
      kind: "Kubeconfig",
      namespace: cluster.namespace,
      name: cluster.name,
      message: "this simulation has no workload clusters"
    })
  )
)

/** 32-bit xorshift over a seed drawn from Effect's Random: replayable, and so never for a real cluster. */
export const seededSecureRandom: Layer.Layer<SecureRandom.SecureRandom> = Layer.effect(
  SecureRandom.SecureRandom,
  Effect.map(Random.nextIntBetween(1, 0x7fff_ffff), (seed) => {
    let state = seed
    const byte = (): number => {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      return state & 0xff
    }
    return SecureRandom.SecureRandom.of(SecureRandom.make((size) => Uint8Array.from({ length: size }, byte)))
  })
)
