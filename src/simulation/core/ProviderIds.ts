/**
 * Owns a stand-in for what CONTRACT section 3 gives to the provider ("Nodes"): `spec.providerID` on a Node that has none
 * and whose name, or label `k0smotron.io/machine-name`, is that of a Machine with a providerID. To be removed, with the
 * option that switches it on, when the provider does it.
 */
import * as Effect from "effect/Effect"
import type { KubeError } from "../../kube/KubeError.ts"
import type { Core } from "./Core.ts"
import { keyIn, namespaceOf, refOfKey } from "./Raw.ts"
import { clusterNameOf, providerIdOf } from "./View.ts"
import { ofMachine, providerId } from "./WorkloadNodes.ts"
import type { Again } from "./WorkQueue.ts"

type Reconcile = (core: Core, key: string) => Effect.Effect<Again, KubeError>

const assign = Effect.fnUntraced(function* (core: Core, key: string): Effect.fn.Return<void, KubeError> {
  const machine = yield* core.machines.get(refOfKey(key))
  const id = machine === undefined ? undefined : providerIdOf(machine)
  if (machine === undefined || id === undefined) return
  const nodes = yield* core.nodes.current(keyIn(namespaceOf(machine), clusterNameOf(machine) ?? ""))
  if (nodes === undefined) return
  const named = yield* ofMachine(nodes, machine.metadata.name)
  for (const node of named) if (providerId(node) === undefined) yield* nodes.patch(node, { spec: { providerID: id } })
})

export const before =
  (reconcile: Reconcile): Reconcile =>
  (core, key) =>
    Effect.andThen(assign(core, key), reconcile(core, key))
