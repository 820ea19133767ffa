/**
 * Owns the whole provider as one scoped effect: watches to registries to actors. Its ports (KubeClient, SshClient or
 * HostRuns) come from outside: live in `machinist controller`, in memory in simulations.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { EventRecorder } from "../actors/EventRecorder.ts"
import { KeyGuard } from "../actors/KeyGuard.ts"
import { PoolAllocator } from "../actors/PoolAllocator.ts"
import * as ProgressPace from "../actors/ProgressPace.ts"
import * as Bootstraps from "./Bootstraps.ts"
import * as Clusters from "./Clusters.ts"
import * as Core from "./Core.ts"
import * as Machines from "./Machines.ts"
import * as Nodes from "./Nodes.ts"
import { HALVES, ProviderOptions } from "./Options.ts"

export type { Inspection } from "./Machines.ts"

/** Returns when everything is watched and every object has its actor; all of it ends with the scope. */
export const start = (inspection: Machines.Inspection = {}) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(Layer.mergeAll(PoolAllocator.layer, KeyGuard.layer, EventRecorder.layer))
    yield* Effect.gen(function* () {
      const core = yield* Core.make
      const { halves = HALVES } = yield* ProviderOptions
      const hasHosts = halves.includes("infrastructure")
      // Who makes nodes of machines says which Node is which Machine.
      const nodes = halves.includes("bootstrap") ? yield* Nodes.make(core, hasHosts) : undefined
      const infrastructure = hasHosts ? [Clusters.run(core), Machines.run(core, inspection, nodes)] : []
      const bootstrap = nodes === undefined ? [] : [Bootstraps.run(core, nodes)]
      // Side by side: a kind whose CRD is not installed must not hold up the others.
      yield* Effect.all([...infrastructure, ...bootstrap], { concurrency: "unbounded", discard: true })
    }).pipe(Effect.provideContext(services), Effect.provideService(ProgressPace.ProgressPace, ProgressPace.make()))
  })
