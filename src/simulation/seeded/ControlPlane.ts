/**
 * Owns the part of a seeded run that has a control plane on machines: a Cluster of its own whose K0sControlPlane (a
 * stand-in, core/standins) makes K0sControllerConfigs and Machines one at a time; what people ask of it; and what they do
 * when none of its controllers answers any more, which no provider can mend. Does not own what a plan draws (Plan.ts).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Machines } from "../../api/ClusterApi.ts"
import * as Names from "../../api/Names.ts"
import { LEAVE_STEP, LEAVE_TRIES } from "../../domain/Cleaning.ts"
import type { JsonObject } from "../../kube/KubeClient.ts"
import type { KubeError } from "../../kube/KubeError.ts"
import { NAMESPACE, ref } from "../ClusterObjects.ts"
import { K0sControlPlanes } from "../core/standins/K0sControlPlanes.ts"
import type { World } from "../World.ts"
import type { PlannedControlPlane } from "./Plan.ts"
import type { Unsettled } from "./Settled.ts"

export const OWN_CLUSTER = "own"
const AT = { namespace: NAMESPACE, name: OWN_CLUSTER }
const API = "v1beta1"
const VERSION = "v1.33.1+k0s.0"
/** A control plane that does not answer for so long, milliseconds, is given up: its Machines are deleted. */
const PATIENCE_MILLIS = 1_200_000

const object = (group: string, kind: string, spec: JsonObject): JsonObject => ({
  apiVersion: `${group}/${API}`,
  kind,
  metadata: AT,
  spec
})

const reference = (group: string, kind: string) => ({ apiVersion: `${group}/${API}`, kind, ...AT })

export const controlPlaneOf = ({ pool, replicas }: PlannedControlPlane): ReadonlyArray<JsonObject> => [
  object(Names.CLUSTER_GROUP, "Cluster", {
    controlPlaneEndpoint: { host: "10.9.9.9", port: 6443 },
    infrastructureRef: reference(Names.INFRASTRUCTURE_GROUP, "RemoteCluster"),
    controlPlaneRef: reference(Names.CONTROL_PLANE_GROUP, "K0sControlPlane")
  }),
  object(Names.INFRASTRUCTURE_GROUP, "RemoteCluster", {}),
  object(Names.INFRASTRUCTURE_GROUP, "RemoteMachineTemplate", { template: { spec: { pool } } }),
  object(Names.CONTROL_PLANE_GROUP, "K0sControlPlane", {
    replicas,
    version: VERSION,
    updateStrategy: "Recreate",
    k0sConfigSpec: {},
    machineTemplate: { infrastructureRef: reference(Names.INFRASTRUCTURE_GROUP, "RemoteMachineTemplate") }
  })
]

export const scaleControlPlane = ({ kube }: World, replicas: number) =>
  kube.patch(K0sControlPlanes, AT, { spec: { replicas } })

/** Recreate: one controller after the other is replaced. */
export const upgradeControlPlane = Effect.fnUntraced(function* ({ kube }: World) {
  const patch = Math.floor((yield* Clock.currentTimeMillis) / 1_000)
  return yield* kube.patch(K0sControlPlanes, AT, { spec: { version: `v1.34.${patch}+k0s.0` } })
})

const controllers = ({ kube }: World) =>
  Effect.map(kube.list(Machines, { namespace: NAMESPACE }), ({ items }) =>
    items.filter(({ metadata }) => metadata.labels?.[Names.CLUSTER_NAME_LABEL] === OWN_CLUSTER)
  )

/** Whoever would join needs somebody who answers: with nobody left a person begins anew. */
export const beginAnew = Effect.fnUntraced(function* (world: World) {
  if (world.workloads?.isUp(AT) !== false) return
  const now = yield* Clock.currentTimeMillis
  for (const { metadata } of yield* controllers(world))
    if (now - Date.parse(metadata.creationTimestamp ?? "") > PATIENCE_MILLIS)
      yield* Effect.ignore(world.kube.delete(Machines, ref(metadata.name)))
})

/** What the witness says of how a host's last tenant left etcd; undefined: it was not wiped since. */
const leave = (world: World, host: string): { readonly failures: number } | undefined => {
  const entries = world.witness.entries().filter((one) => one.host === host)
  const last = entries.findLast((one) => one._tag === "Wiped" || one._tag === "Tenant")
  if (last?._tag !== "Wiped") return undefined
  const failed = entries.filter(
    (one) => one._tag === "StepEnded" && one.claim === last.claim && one.name === LEAVE_STEP && one.code !== 0
  )
  return { failures: failed.length }
}

/**
 * Members of etcd whose Machines are gone and whose hosts are clean: they count for the quorum, and answer nobody. Rightly
 * so only if etcd was asked often enough to let them go.
 */
export const membersLeft = Effect.fnUntraced(function* (
  world: World
): Effect.fn.Return<ReadonlyArray<Unsettled>, KubeError> {
  const members = world.workloads?.members(AT) ?? []
  if (members.length === 0) return []
  const names = new Set((yield* controllers(world)).map(({ metadata }) => metadata.name))
  return members.flatMap(({ host, name }) => {
    const left = names.has(name) ? undefined : leave(world, host)
    return left === undefined || left.failures >= LEAVE_TRIES
      ? []
      : [{ what: `${host} was wiped, and ${name} is a member of etcd still` }]
  })
})
