/**
 * Owns what every kind with actors needs: its watch, one actor an object, and news of an object's surroundings (owner
 * Machine, Cluster) for the actors they concern. Decides nothing and knows no kind.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Surroundings } from "../actors/MachineInputs.ts"
import type { Machine } from "../api/ClusterApi.ts"
import {
  clusterNameOf,
  isControlPlaneMachine,
  machineClusterName,
  ownerCluster,
  ownerMachine,
  ownerPool
} from "../api/ClusterApiView.ts"
import type { Kind, KubeObject } from "../api/Kind.ts"
import type { KubeClient } from "../kube/KubeClient.ts"
import * as Reflector from "../kube/Reflector.ts"
import type { Mailbox } from "../runtime/Mailbox.ts"
import * as Registry from "../runtime/Registry.ts"
import type { Core } from "./Core.ts"
import { listOptions, ProviderOptions } from "./Options.ts"

/** Indexes of the copy, by `namespace/name` of the owner Machine, of the owner MachinePool, and of the Cluster. */
const OWNER = "owner"
const POOL = "pool"
const CLUSTER = "cluster"

export interface FamilyOptions<A extends KubeObject, Item, R> {
  readonly kind: Kind<A>
  /** News of an object for its actor; `undefined`: it is gone. */
  readonly sighting: (object: A | undefined) => Item
  readonly life: (object: A, mailbox: Mailbox<Item>) => Effect.Effect<void, never, R>
  /** Each looks around among the controllers of its cluster. */
  readonly amongControllers?: boolean
  /** Told before the actor is, also when only its surroundings changed: for others who watch the same kind. */
  readonly seen?: (object: A) => Effect.Effect<void>
  readonly gone?: (object: A) => Effect.Effect<void>
}

export interface Family<A extends KubeObject> {
  readonly reflector: Reflector.Reflector<A>
  /** Starts the actors; call it when everything they look around in has synced. */
  readonly follow: Effect.Effect<void, never, Scope.Scope>
}

const inNamespace = (object: KubeObject, name: string | undefined): ReadonlyArray<string> =>
  name === undefined ? [] : [`${object.metadata.namespace ?? ""}/${name}`]

export const make = <A extends KubeObject, Item, R>(
  core: Core,
  options: FamilyOptions<A, Item, R>
): Effect.Effect<Family<A>, never, KubeClient | Scope.Scope | R> =>
  Effect.gen(function* () {
    const reflector = yield* Reflector.make<A>(options.kind, {
      ...listOptions(yield* ProviderOptions),
      indexes: {
        [OWNER]: (object) => inNamespace(object, ownerMachine(object)?.name),
        [POOL]: (object) => inNamespace(object, ownerPool(object)?.name),
        [CLUSTER]: (object) => inNamespace(object, clusterNameOf(object) ?? ownerCluster(object)?.name)
      }
    })
    /** The newest copy of each living object, for an actor that starts. */
    const living = new Map<string, A>()
    const registry = yield* Registry.make<string, Item, R>((uid, mailbox) =>
      Effect.suspend(() => {
        const object = living.get(uid)
        return object === undefined ? Effect.void : options.life(object, mailbox)
      })
    )
    const uidOf = (object: A): string => object.metadata.uid ?? ""

    /** Only those that are known already: a new object is sighted with its surroundings anyway. */
    const sight = (index: string, key: string): Effect.Effect<void> =>
      Effect.flatMap(reflector.byIndex(index, key), (found) =>
        Effect.forEach(
          found.filter((object) => living.has(uidOf(object))),
          seen,
          { discard: true }
        )
      )
    const sightAll = (index: string) => (around: KubeObject) =>
      sight(index, `${around.metadata.namespace ?? ""}/${around.metadata.name}`)
    const machineChanged = (machine: Machine) =>
      Effect.andThen(
        sightAll(OWNER)(machine),
        options.amongControllers === true && isControlPlaneMachine(machine)
          ? sight(CLUSTER, `${machine.metadata.namespace ?? ""}/${machineClusterName(machine) ?? ""}`)
          : Effect.void
      )
    const scope = yield* Effect.scope
    const followPools = yield* Effect.cached(
      Effect.flatMap(core.pools, (pools) => follow(pools, sightAll(POOL), sightAll(POOL))).pipe(Scope.provide(scope))
    )

    const seen = Effect.fnUntraced(function* (object: A): Effect.fn.Return<void> {
      if (ownerPool(object) !== undefined) yield* followPools
      living.set(uidOf(object), object)
      if (options.seen !== undefined) yield* options.seen(object)
      yield* registry.observe(uidOf(object), options.sighting(object))
    })
    const gone = Effect.fnUntraced(function* (object: A) {
      living.delete(uidOf(object))
      yield* registry.tell(uidOf(object), options.sighting(undefined))
      if (options.gone !== undefined) yield* options.gone(object)
    })
    return {
      reflector,
      follow: Effect.all(
        [
          follow(reflector, seen, gone),
          follow(core.machines, machineChanged, machineChanged),
          follow(core.clusters, sightAll(CLUSTER), sightAll(CLUSTER))
        ],
        { discard: true }
      )
    }
  })

/** Every object there is, then every change, in the background. */
export const follow = <A extends KubeObject>(
  reflector: Reflector.Reflector<A>,
  seen: (object: A) => Effect.Effect<void>,
  deleted: (object: A) => Effect.Effect<void>
) =>
  reflector.changes.pipe(
    Stream.runForEach((change) => (change._tag === "Deleted" ? deleted(change.object) : seen(change.object))),
    Effect.forkScoped
  )

/** The owner Machine, if it is still the one that the reference means, and the Cluster. */
export const surroundings = (core: Core) =>
  Effect.fnUntraced(function* (object: KubeObject): Effect.fn.Return<Surroundings> {
    const reference = ownerMachine(object)
    const found =
      reference === undefined
        ? undefined
        : yield* core.machines.get({ namespace: object.metadata.namespace ?? "", name: reference.name })
    const owner = found?.metadata.uid === reference?.uid ? found : undefined
    return { owner, cluster: yield* core.clusterOf(owner ?? object) }
  })
