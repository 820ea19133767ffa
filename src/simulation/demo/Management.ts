/**
 * Owns the management cluster of a demo: the API server in memory with our CRDs, CAPI's and the stand-ins', CAPI's core,
 * the stand-ins and the provider, all in this process and in one scope. Does not own hosts (Farm.ts), what is applied, nor
 * who watches.
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { ourCrds } from "../../api/crd/Render.ts"
import * as LiveHostRuns from "../../hosts/LiveHostRuns.ts"
import { type JsonObject, KubeClient } from "../../kube/KubeClient.ts"
import { WorkloadClusters } from "../../kube/WorkloadClusters.ts"
import * as Provider from "../../provider/Provider.ts"
import { SshClient, type SshClientShape } from "../../ssh/SshClient.ts"
import { coreCrds } from "../core/crds.ts"
import * as SimulatedCore from "../core/SimulatedCore.ts"
import type { SimulatedWorkloads } from "../core/SimulatedWorkloads.ts"
import { standInCrds } from "../core/standins/crds.ts"
import * as StandIns from "../core/standins/StandIns.ts"
import * as SimulatedApiServer from "../SimulatedApiServer.ts"

/** Who writes when core and stand-ins do. */
const CORE_CLIENT = "capi"
const STAND_IN_CLIENT = "stand-ins"
const PROVIDER_CLIENT = "machinist"

export type Prepare<E> = (server: SimulatedApiServer.SimulatedApiServerShape) => Effect.Effect<void, E, Scope.Scope>

/** The API server alone, with every kind that the demo knows; `prepare` comes before anyone talks to it. */
export const managementServer = Effect.fnUntraced(function* <E = never>(
  prepare?: Prepare<E>
): Effect.fn.Return<SimulatedApiServer.SimulatedApiServerShape, E, Scope.Scope> {
  const server = yield* SimulatedApiServer.make()
  if (prepare !== undefined) yield* prepare(server)
  const crds: ReadonlyArray<JsonObject> = [
    ...ourCrds.map((crd): JsonObject => JSON.parse(JSON.stringify(crd))),
    ...coreCrds,
    ...standInCrds
  ]
  yield* Effect.forEach(crds, server.apply, { discard: true }).pipe(Effect.orDie)
  return server
})

/** Core and stand-ins, as if they were installed there. */
export const startCore = Effect.fnUntraced(function* (
  server: SimulatedApiServer.SimulatedApiServerShape,
  workloads: SimulatedWorkloads
): Effect.fn.Return<void, never, Scope.Scope> {
  yield* Effect.gen(function* () {
    const workloadClusters = yield* WorkloadClusters
    yield* SimulatedCore.make({ kube: server.client(CORE_CLIENT), workloadClusters })
    yield* StandIns.make({ kube: server.client(STAND_IN_CLIENT), workloads })
    return yield* Effect.never
  }).pipe(
    Effect.provide(Layer.merge(workloads.clusters, SecureRandom.layerWebCrypto)),
    Effect.scoped,
    Effect.forkScoped
  )
})

/** The real provider; only its ports are ours. */
export const startProvider = Effect.fnUntraced(function* (
  server: SimulatedApiServer.SimulatedApiServerShape,
  workloads: SimulatedWorkloads,
  ssh: SshClientShape
): Effect.fn.Return<void, never, Scope.Scope> {
  const ports = Layer.mergeAll(
    Layer.succeed(KubeClient, server.client(PROVIDER_CLIENT)),
    LiveHostRuns.layer.pipe(Layer.provide(Layer.succeed(SshClient, ssh))),
    workloads.clusters,
    SecureRandom.layerWebCrypto
  )
  yield* Provider.start().pipe(Effect.andThen(Effect.never), Effect.provide(ports), Effect.scoped, Effect.forkScoped)
})
