/**
 * Holds: one machine's whole life through the real provider on ports in memory: claimed, provisioned, Ready, deleted,
 * host clean and free; with the writes and connections that DESIGN's budget allows, counted exactly.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"

import { claimOf } from "../src/actors/Objects.ts"
import { PooledRemoteMachines } from "../src/api/PooledRemoteMachine.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import { dirtyHosts, doubleTenants, stepsRunTwice } from "../src/simulation/Witness.ts"
import { createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

describe("the provider", () => {
  it.effect("a pooled machine's whole life", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const { kube } = world
      const host = yield* world.addHost(1)
      host.script(/runcmd [12]/, { duration: 2_000 })
      yield* createMachine(kube, { name: "m1", pool: "default" })
      yield* world.startProvider()
      yield* pass(60)
      const ready = yield* kube.get(RemoteMachines, ref("m1"))
      assert.strictEqual(ready.status?.ready, true)
      assert.strictEqual(ready.status?.initialization?.provisioned, true)
      assert.strictEqual(ready.status?.bootstrap?.progress, "3/3")
      assert.strictEqual(ready.spec.providerID, "remote-machine://10.0.0.1:22")
      assert.deepStrictEqual(world.phases("m1"), ["Pending", "Claimed", "Provisioning", "Ready"])
      yield* kube.delete(RemoteMachines, ref("m1"))
      yield* pass(60)
      assert.deepStrictEqual(world.phases("m1"), ["Pending", "Claimed", "Provisioning", "Ready", "Cleaning", "Deleted"])
      const error = yield* Effect.flip(kube.get(RemoteMachines, ref("m1")))
      assert.strictEqual(error.reason, "NotFound")
      const free = yield* kube.get(PooledRemoteMachines, ref("h1"))
      assert.isUndefined(claimOf(free))
      assert.strictEqual(free.status?.phase, "Free")
      assert.deepStrictEqual(host.residue(), [])
      const entries = world.witness.entries()
      assert.deepStrictEqual([...stepsRunTwice(entries), ...doubleTenants(entries), ...dirtyHosts(entries)], [])
    }).pipe(Effect.scoped)
  )
})
