/**
 * Owns the conformance suite of CAPI's core: what CONTRACT section 2 lists, held by SimulatedCore now, and by CAPI's real
 * manager through the same scenarios. Where the two differ, the real one is right. The scenarios are in core/; what only
 * the simulation has (stand-ins, simulated workload clusters) is tested in test/simulation/core.
 */
import { describe, it } from "@effect/vitest"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { clusters } from "./core/clusters.ts"
import { deployments } from "./core/deployments.ts"
import { machines } from "./core/machines.ts"
import { nodes } from "./core/nodes.ts"
import { preflight } from "./core/preflight.ts"
import { type CoreUnderTest, World } from "./core/World.ts"

export type { CoreUnderTest } from "./core/World.ts"

/** For the start of a real manager, which may have to be built first. */
const START_TIMEOUT = "15 minutes"

export const coreConformance = <E>(
  name: string,
  make: Effect.Effect<CoreUnderTest, E, Scope.Scope>,
  options: { readonly skip?: boolean; readonly concurrent?: boolean } = {}
): void => {
  // Each scenario has a namespace of its own; a real manager's requeues make most of it waiting.
  const { concurrent = false } = options
  describe.skipIf(options.skip === true)(`${name}: CAPI's core`, { concurrent }, () => {
    // Real services: a real manager knows nothing of a test clock.
    it.layer(World.layer(make), { timeout: START_TIMEOUT, excludeTestServices: true })((it) => {
      describe("Cluster", () => clusters(it))
      describe("Machine", () => machines(it))
      describe("Machine and Node", () => nodes(it))
      describe("MachineSet and MachineDeployment", () => deployments(it))
      describe("MachineSet's preflight checks", () => preflight(it))
    })
  })
}
