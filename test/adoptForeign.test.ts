/**
 * Holds: two management clusters can't share a host by accident: the second machine is refused, terminally and clearly;
 * with annotation adopt-foreign the host is cleaned first, then provisioned (DESIGN, "On the host").
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import * as World from "../src/simulation/World.ts"
import { createMachine, ref } from "./support/cluster.ts"
import { pass } from "./support/world.ts"

const spec = { address: "10.0.0.1", sshKeyRef: { name: "key" } }

describe("a host of another management cluster", () => {
  it.effect("is refused, and adopted only when a person says so", () =>
    Effect.gen(function* () {
      const first = yield* World.makeWorld()
      yield* first.hosts.add({ address: "10.0.0.1", name: "h1" })
      yield* createMachine(first.kube, { name: "theirs", spec })
      yield* first.startProvider("first")
      yield* pass(20)
      const second = yield* World.makeWorld({ hosts: first.hosts })
      yield* createMachine(second.kube, { name: "ours", spec })
      yield* second.startProvider("second")
      yield* pass(20)
      const refused = yield* second.kube.get(RemoteMachines, ref("ours"))
      const ready = refused.status?.conditions?.find((one) => one.type === "Ready")
      assert.strictEqual(ready?.reason, "ForeignTenant")
      assert.match(ready?.message ?? "", /10\.0\.0\.1.*default\/theirs.*adopt-foreign/s)
      // Seen before anything was said to the host: whoever deletes "ours" now has nothing to clean there.
      assert.deepStrictEqual(second.phases("ours"), ["Pending", "Claimed"])
      assert.isUndefined(refused.metadata.annotations?.["machinist.dev/run"])
      const stepsBefore = first.witness.entries().filter((one) => one._tag === "Tenant").length
      assert.strictEqual(stepsBefore, 1)
      yield* second.kube.patch(RemoteMachines, ref("ours"), {
        metadata: { annotations: { "machinist.dev/adopt-foreign": "" } }
      })
      yield* pass(120)
      const adopted = yield* second.kube.get(RemoteMachines, ref("ours"))
      assert.strictEqual(adopted.status?.ready, true, JSON.stringify(adopted.status?.conditions))
      assert.strictEqual(first.hosts.host("10.0.0.1")?.tenancy()?.machine, "default/ours")
      assert.strictEqual(first.witness.entries().filter((one) => one._tag === "Wiped").length, 1)
    }).pipe(Effect.scoped)
  )
})
