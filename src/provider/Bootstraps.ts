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

const family = <A extends BootstrapActor.BootstrapConfig>(
  core: Core,
  name: BootstrapActor.BootstrapKind,
  kind: Kind<A>
) => {
  const around = Family.surroundings(core)
  return Family.make(core, {
    kind,
    sighting: (config: A | undefined): BootstrapActor.Sighting | Bootstrap.Event => ({ config }),
    life: (config: A, mailbox) => {
      const { namespace = "", name: configName, uid = "" } = config.metadata
      return BootstrapActor.life({ kind: name, namespace, name: configName, uid, around }, mailbox)
    }
  })
}

/** Runs until the scope closes; returns when the watches have synced and every config has its actor. */
export const run = Effect.fnUntraced(function* (core: Core) {
  const workers = yield* family(core, "K0sWorkerConfig", K0sWorkerConfigs)
  const controllers = yield* family(core, "K0sControllerConfig", K0sControllerConfigs)
  yield* Effect.all([workers.reflector.synced, controllers.reflector.synced, core.synced], { discard: true })
  yield* workers.follow
  yield* controllers.follow
})
