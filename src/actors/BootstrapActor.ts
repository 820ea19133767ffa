/**
 * Owns the life of one bootstrap config's actor: recover from the object as it stands and its Secret, then the one loop
 * of runtime/Actor with domain/Bootstrap's decisions, ObjectRecorder's writes and BootstrapActivities' deeds. Supervised:
 * a life that ends badly is followed by another, which recovers anew.
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import { Secrets } from "../api/Core.ts"
import * as Names from "../api/Names.ts"
import * as Bootstrap from "../domain/Bootstrap.ts"
import { isProgress, status, wantsFinalizer } from "../domain/BootstrapStatus.ts"
import { TOKEN_TTL_SECONDS } from "../domain/JoinToken.ts"
import type { Notice } from "../domain/Notice.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../kube/KubeClient.ts"
import { absent, KubeError } from "../kube/KubeError.ts"
import { WorkloadClusters } from "../kube/WorkloadClusters.ts"
import * as Actor from "../runtime/Actor.ts"
import { type Mailbox, translated } from "../runtime/Mailbox.ts"
import { supervise } from "../runtime/Supervisor.ts"
import * as Activities from "./BootstrapActivities.ts"
import { ownership } from "./BootstrapDataSecret.ts"
import { type Around, clusterName, GONE, observe } from "./BootstrapInputs.ts"
import {
  type BootstrapConfig,
  type BootstrapKind,
  type BootstrapRole,
  type Renderer,
  renderers
} from "./BootstrapRenderers.ts"
import { EventRecorder } from "./EventRecorder.ts"
import * as Recorder from "./ObjectRecorder.ts"
import { annotation, hasFinalizer, withFinalizer, withoutFinalizer } from "./Objects.ts"

export type { BootstrapConfig, BootstrapKind } from "./BootstrapRenderers.ts"

/** What the provider's watches tell: the object (undefined: gone); also when only its surroundings changed. */
export interface Sighting {
  readonly config: BootstrapConfig | undefined
}

export interface Options {
  readonly kind: BootstrapKind
  readonly namespace: string
  readonly name: string
  readonly uid: string
  /** What the caches show around the config, at the time of asking. */
  readonly around: (config: BootstrapConfig) => Effect.Effect<Around>
  /** Absent: TOKEN_TTL_SECONDS. */
  readonly tokenTtlSeconds?: number
  /** For inspection: every state that is entered. */
  readonly entered?: (state: Bootstrap.State) => void
}

const definition: Actor.Definition<Bootstrap.State, Bootstrap.Event, Bootstrap.Activity, Notice> = {
  transition: Bootstrap.transition,
  activity: Bootstrap.activity,
  isFinal: Bootstrap.isFinal
}

/** Ends when the config is gone, or no longer needs us. */
export const life = (options: Options, mailbox: Mailbox<Sighting | Bootstrap.Event>) =>
  supervise(
    `${options.kind} ${options.namespace}/${options.name}`,
    Effect.scoped(oneLife(options, mailbox)),
    (error) => error._tag === "ObjectChanged" || error instanceof KubeError
  )

const oneLife = Effect.fnUntraced(function* (options: Options, mailbox: Mailbox<Sighting | Bootstrap.Event>) {
  const kube = yield* KubeClient
  const clusters = yield* WorkloadClusters
  const events = yield* EventRecorder
  const { randomBytes } = yield* SecureRandom.SecureRandom
  const renderer = renderers[options.kind]
  const { namespace, name, uid } = options
  yield* mailbox.clear

  // A fresh read, not the cache: what a life before this one wrote must be seen.
  const first = yield* absent(kube.get(renderer.kind, { namespace, name }))
  if (first === undefined || first.metadata.uid !== uid) return
  const recorder = yield* Recorder.make(kube, first, recording(renderer))
  const surroundings = yield* options.around(first)
  const data = yield* hasData(kube, renderer, first, surroundings)
  const initial = Bootstrap.recover(observe(renderer, first, surroundings), data)
  const notify = (notice: Notice) => events.record(renderer.kind, recorder.current(), notice)
  yield* Effect.forEach(Bootstrap.opening(initial), notify, { discard: true })

  const perform = Activities.make({
    kube,
    clusters,
    renderer,
    tokenTtlSeconds: options.tokenTtlSeconds ?? TOKEN_TTL_SECONDS,
    randomBytes,
    current: recorder.current,
    around: () => options.around(recorder.current())
  })

  /** Sightings become observations here, of the newest object that anyone has seen. */
  const observed = translated<Sighting, Bootstrap.Event>(mailbox, (item) => {
    if ("_tag" in item) return Effect.succeed(item)
    if (item.config === undefined) return Effect.succeed(Bootstrap.Event.Observed({ observed: GONE }))
    recorder.seen(item.config)
    const config = recorder.current()
    return Effect.map(options.around(config), (around) =>
      Bootstrap.Event.Observed({ observed: observe(renderer, config, around) })
    )
  })

  yield* Actor.live(
    definition,
    {
      commit: recorder.commit,
      perform,
      notify,
      ...(options.entered === undefined ? {} : { entered: options.entered })
    },
    observed,
    { initial, previous: initial }
  )
})

const hasData = (kube: KubeClientShape, renderer: Renderer, config: BootstrapConfig, around: Around) => {
  const { namespace = "", name } = config.metadata
  return Effect.map(
    absent(kube.get(Secrets, { namespace, name })),
    (secret) =>
      secret !== undefined && ownership(secret, renderer.kind.kind, config, clusterName(config, around)) !== "foreign"
  )
}

// ---------------------------------------------------------------------------------------------------- writes

const FINALIZER = Names.BOOTSTRAP_CONFIG_FINALIZER

/** A worker's Machine says itself, by its Node, that it has joined. */
const wantsJoined = (role: BootstrapRole, config: BootstrapConfig, { phase, halted }: Bootstrap.State): boolean =>
  role === "controller" &&
  halted === undefined &&
  phase._tag === "Ready" &&
  phase.token !== "kept" &&
  annotation(config, Names.JOINED_ANNOTATION) === undefined

export const durablePatch =
  (role: BootstrapRole) =>
  (config: BootstrapConfig, state: Bootstrap.State): JsonObject | undefined => {
    const wanted = wantsFinalizer(state)
    const changed = wanted !== undefined && wanted !== hasFinalizer(config, FINALIZER)
    const joined = wantsJoined(role, config, state)
    if (!changed && !joined) return undefined
    return {
      metadata: {
        ...(changed
          ? { finalizers: wanted ? withFinalizer(config, FINALIZER) : withoutFinalizer(config, FINALIZER) }
          : {}),
        ...(joined ? { annotations: { [Names.JOINED_ANNOTATION]: "true" } } : {})
      }
    }
  }

export const statusPatch = (config: BootstrapConfig, state: Bootstrap.State, now: string): JsonObject | undefined => {
  const wanted = status(state)
  const before = config.status
  const changes: Record<string, JsonObject[string]> = {}
  // While paused nothing is written but the condition that says so (DESIGN, "Paused").
  if (state.halted === undefined) {
    if (before?.phase !== wanted.phase) changes["phase"] = wanted.phase
    if (wanted.ready) {
      if (before?.dataSecretName !== config.metadata.name) changes["dataSecretName"] = config.metadata.name
      if (before?.ready !== true) changes["ready"] = true
      if (before?.initialization?.dataSecretCreated !== true) changes["initialization"] = { dataSecretCreated: true }
    }
  }
  return Recorder.statusChange(config, wanted.conditions, changes, now)
}

const recording = (renderer: Renderer): Recorder.Recording<BootstrapConfig, Bootstrap.State> => ({
  kind: renderer.kind,
  isFinal: Bootstrap.isFinal,
  durablePatch: durablePatch(renderer.role),
  statusPatch,
  isProgress,
  sameFacts: (before, after) =>
    hasFinalizer(before, FINALIZER) === hasFinalizer(after, FINALIZER) &&
    annotation(before, Names.JOINED_ANNOTATION) === annotation(after, Names.JOINED_ANNOTATION) &&
    before.metadata.deletionTimestamp === after.metadata.deletionTimestamp
})
