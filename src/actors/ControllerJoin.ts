/**
 * Owns how a controller is seen to have joined: k0s makes a ControlNode of its name in the workload cluster. Controllers
 * that run no workloads have no Node, so Cluster API can't tell. Reads only; never fails: who can't be asked has not said.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type ControlNode, ControlNodes } from "../api/K0s.ts"
import type { KubeObject } from "../api/Kind.ts"
import type { Failure } from "../domain/Bootstrap.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import { WORKLOAD_TIMEOUT_MILLIS, type Workload } from "./WorkloadAccess.ts"

/** A cluster that can't say (not up yet, no autopilot) is asked again after this long, milliseconds. */
export const ASK_AGAIN_MILLIS = 60_000
/** The same once the machine is up, and it may be any moment. */
export const ASK_SOON_MILLIS = 5_000

/** One of an earlier machine of the same name says nothing about this one. */
const isOf = (node: ControlNode, config: KubeObject): boolean =>
  node.metadata.name === config.metadata.name &&
  (node.metadata.creationTimestamp ?? "") >= (config.metadata.creationTimestamp ?? "")

const find = (workload: KubeClientShape, config: KubeObject) =>
  Effect.map(
    workload.list(ControlNodes, { fieldSelector: `metadata.name=${config.metadata.name}` }),
    ({ items, resourceVersion }) => ({ joined: items.some((node) => isOf(node, config)), resourceVersion })
  )

export const hasJoined = (workload: KubeClientShape, config: KubeObject): Effect.Effect<boolean> =>
  find(workload, config).pipe(
    Effect.timeout(WORKLOAD_TIMEOUT_MILLIS),
    Effect.map(({ joined }) => joined),
    Effect.catch(() => Effect.succeed(false))
  )

const watched = Effect.fnUntraced(function* (workload: KubeClientShape, config: KubeObject) {
  const { joined, resourceVersion } = yield* find(workload, config).pipe(Effect.timeout(WORKLOAD_TIMEOUT_MILLIS))
  if (joined) return true
  const seen = yield* workload
    .watch(ControlNodes, { fieldSelector: `metadata.name=${config.metadata.name}`, resourceVersion })
    .pipe(
      Stream.filter((event) => event._tag === "Added" && isOf(event.object, config)),
      Stream.runHead
    )
  return seen._tag === "Some"
})

/** Ends when it has joined; `open` is the way into its cluster, taken anew each time. `soon`: its machine is up. */
export const untilJoined = (
  open: Effect.Effect<Workload, Failure, Scope.Scope>,
  config: KubeObject,
  soon: boolean
): Effect.Effect<void> =>
  Effect.scoped(Effect.flatMap(open, ({ kube }) => watched(kube, config))).pipe(
    Effect.catch(() => Effect.succeed(false)),
    Effect.flatMap((joined) =>
      joined ? Effect.succeed(true) : Effect.as(Effect.sleep(soon ? ASK_SOON_MILLIS : ASK_AGAIN_MILLIS), false)
    ),
    Effect.repeat({ until: (joined) => joined }),
    Effect.asVoid
  )
