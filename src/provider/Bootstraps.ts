/**
 * Owns the wiring of bootstrap configs: one family a kind. Decides nothing.
 */
import * as Effect from "effect/Effect"
import * as BootstrapActor from "../actors/BootstrapActor.ts"
import { K0sControllerConfigs, K0sWorkerConfigs } from "../api/K0sConfigs.ts"
import type { Kind } from "../api/Kind.ts"
import type * as Bootstrap from "../domain/Bootstrap.ts"
import type { Core } from "./Core.ts"
import * as Family from "./Family.ts"
import type { Nodes } from "./Nodes.ts"
import { ProviderOptions } from "./Options.ts"

interface FamilyOptions<A> {
  readonly amongControllers: boolean
  readonly tokenTtlSeconds: number
  readonly seen?: (config: A) => Effect.Effect<void>
  readonly gone?: (config: A) => Effect.Effect<void>
}

const family = <A extends BootstrapActor.BootstrapConfig>(
  core: Core,
  name: BootstrapActor.BootstrapKind,
  kind: Kind<A>,
  { amongControllers, tokenTtlSeconds, seen, gone }: FamilyOptions<A>
) => {
  const machineAround = Family.surroundings(core)
  const around = Effect.fnUntraced(function* (config: BootstrapActor.BootstrapConfig) {
    const { owner, cluster } = yield* machineAround(config)
    const pool = owner === undefined ? yield* core.poolOf(config) : undefined
    // A MachinePool is of a Cluster like a Machine is.
    const found = cluster ?? (pool === undefined ? undefined : yield* core.clusterOf(pool))
    const controllers = amongControllers && found !== undefined ? yield* core.controllersOf(found) : []
    return { owner, cluster: found, pool, controllers }
  })
  return Family.make(core, {
    kind,
    amongControllers,
    ...(seen === undefined ? {} : { seen }),
    ...(gone === undefined ? {} : { gone }),
    sighting: (config: A | undefined): BootstrapActor.Sighting | Bootstrap.Event => ({ config }),
    life: (config: A, mailbox) => {
      const { namespace = "", name: configName, uid = "" } = config.metadata
      return BootstrapActor.life({ kind: name, namespace, name: configName, uid, around, tokenTtlSeconds }, mailbox)
    }
  })
}

/** Runs until the scope closes; returns when the watches have synced and every config has its actor. */
export const run = Effect.fnUntraced(function* (core: Core, nodes: Nodes) {
  const { tokenTtlSeconds } = yield* ProviderOptions
  const options = { amongControllers: false, tokenTtlSeconds }
  const workers = yield* family(core, "K0sWorkerConfig", K0sWorkerConfigs, options)
  const controllers = yield* family(core, "K0sControllerConfig", K0sControllerConfigs, {
    ...options,
    amongControllers: true,
    seen: nodes.controllerSeen,
    gone: nodes.controllerGone
  })
  yield* Effect.all([workers.reflector.synced, controllers.reflector.synced, core.synced], { discard: true })
  yield* workers.follow
  yield* controllers.follow
})
