/**
 * Owns the order in which a Machine goes: hooks, cordon, its infrastructure and the wait for it, its bootstrap config,
 * its Node, then the finalizer; and when its Node may be touched at all. Does not own the status (MachineConditions.ts).
 */
import * as Effect from "effect/Effect"
import * as Names from "../../api/Names.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import { jsonAt } from "../apiserver/Json.ts"
import { type Core, INDEX, LOOK_AGAIN_MILLIS } from "./Core.ts"
import type { External, Scene } from "./MachineScene.ts"
import { EXCLUDE_NODE_DRAINING_ANNOTATION, PRE_DRAIN_HOOK_PREFIX, PRE_TERMINATE_HOOK_PREFIX } from "./Names.ts"
import { isDeleting, keyOf, type Raw } from "./Raw.ts"
import * as View from "./View.ts"
import type { Again } from "./WorkQueue.ts"

export interface Deletion {
  readonly reason: string
  readonly message: string
  readonly done: boolean
  readonly again: Again
}

const waiting = (reason: string, message: string): Deletion => ({ reason, message, done: false, again: undefined })

const hooks = (machine: Raw, prefix: string): ReadonlyArray<string> =>
  Object.keys(machine.metadata.annotations ?? {})
    .filter((key) => key.startsWith(prefix))
    .sort()

const hookWait = (machine: Raw, prefix: string, reason: string, which: string): Deletion | undefined => {
  const found = hooks(machine, prefix)
  return found.length === 0
    ? undefined
    : waiting(reason, `Waiting for ${which} hooks to succeed (hooks: ${found.join(",")})`)
}

/**
 * A Node of a cluster that is going needs no care, and the last control plane machine's can't be had any: core asks in
 * this order. Control planes that run elsewhere (K0smotronControlPlane) say so in their status.
 */
const mayDeleteNode = Effect.fnUntraced(function* (core: Core, scene: Scene): Effect.fn.Return<boolean, KubeError> {
  const { cluster, machine, node } = scene
  if (isDeleting(cluster)) return false
  if (node === undefined && View.nodeNameOf(machine) === undefined) return false
  const reference = View.referenceAt(cluster, "controlPlaneRef")
  if (reference !== undefined) {
    const { object } = yield* core.foreign.get(reference)
    if (object !== undefined && isDeleting(object)) return false
    if (object !== undefined && jsonAt(object.status, ["externalManagedControlPlane"]) === true) return true
  }
  const machines = yield* core.machines.byIndex(INDEX.cluster, keyOf(cluster))
  return machines.some((one) => !isDeleting(one) && one.metadata.labels?.[Names.CONTROL_PLANE_LABEL] !== undefined)
})

/** Nothing is evicted: a simulated cluster runs no Pods. */
const cordon = Effect.fnUntraced(function* (core: Core, { cluster, machine, node }: Scene) {
  if (node === undefined || machine.metadata.annotations?.[EXCLUDE_NODE_DRAINING_ANNOTATION] !== undefined) return
  const nodes = yield* core.nodes.current(keyOf(cluster))
  if (nodes !== undefined) yield* nodes.patch(node, { spec: { unschedulable: true } })
})

const removeExternal = Effect.fnUntraced(function* (
  { object, reference, tracked }: External,
  reason: string
): Effect.fn.Return<Deletion | undefined, KubeError> {
  if (object === undefined || reference === undefined || tracked === undefined) return undefined
  if (!isDeleting(object)) yield* tracked.remove(object)
  return waiting(reason, `Waiting for ${reference.kind} to be deleted`)
})

const removeNode = Effect.fnUntraced(function* (
  core: Core,
  { cluster, machine, node }: Scene
): Effect.fn.Return<Deletion | undefined, KubeError> {
  const nodes = yield* core.nodes.current(keyOf(cluster))
  if (nodes === undefined) {
    return {
      ...waiting("DeletingNode", "Error deleting Node, the workload cluster can't be reached"),
      again: LOOK_AGAIN_MILLIS
    }
  }
  const name = View.nodeNameOf(machine)
  const found = node ?? (name === undefined ? undefined : yield* nodes.get({ name }))
  if (found !== undefined) yield* nodes.remove(found)
  return undefined
})

export const deleteMachine = Effect.fnUntraced(function* (
  core: Core,
  scene: Scene
): Effect.fn.Return<Deletion, KubeError> {
  const { machine } = scene
  const nodeToo = yield* mayDeleteNode(core, scene)
  if (nodeToo) {
    const held = hookWait(machine, PRE_DRAIN_HOOK_PREFIX, "WaitingForPreDrainHook", "pre-drain")
    if (held !== undefined) return held
    yield* cordon(core, scene)
  }
  const held = hookWait(machine, PRE_TERMINATE_HOOK_PREFIX, "WaitingForPreTerminateHook", "pre-terminate")
  if (held !== undefined) return held
  const infrastructure = yield* removeExternal(scene.infrastructure, "WaitingForInfrastructureDeletion")
  if (infrastructure !== undefined) return infrastructure
  const bootstrap = yield* removeExternal(scene.bootstrap, "WaitingForBootstrapDeletion")
  if (bootstrap !== undefined) return bootstrap
  const node = nodeToo ? yield* removeNode(core, scene) : undefined
  return node ?? { reason: "DeletionCompleted", message: "Deletion completed", done: true, again: undefined }
})
