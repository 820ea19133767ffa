/**
 * Owns what each activity of a bootstrap config does in the world: check the inputs, mint and render and write, keep the
 * token valid, revoke it. Every one may be interrupted anywhere and started again; it reports facts, and decides nothing
 * (domain/Bootstrap does).
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import { isDeleting } from "../api/ClusterApiView.ts"
import { ConfigMaps, type Secret, Secrets } from "../api/Core.ts"
import { API_BACKOFF, type BackoffPolicy, backoffMillis, WORKLOAD_BACKOFF } from "../domain/Backoff.ts"
import { Activity, type Awaited, Event, type Failure } from "../domain/Bootstrap.ts"
import type { BootstrapToken } from "../domain/JoinToken.ts"
import type { KubeClientShape } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import * as Data from "./BootstrapDataSecret.ts"
import { clusterName } from "./BootstrapInputs.ts"
import type { BootstrapConfig, Renderer } from "./BootstrapRenderers.ts"
import * as Sources from "./BootstrapSources.ts"
import * as Tokens from "./BootstrapTokenSecrets.ts"
import type { Surroundings } from "./MachineInputs.ts"
import { keyOf } from "./Objects.ts"
import { changedSince, changeOf, look } from "./ObjectWatch.ts"

/** What someone may have mended where no watch shows it is looked at again after this long, milliseconds. */
export const RECHECK_MILLIS = 60_000
/** A token that needs nothing is looked at this often all the same, milliseconds: someone may have deleted it. */
export const KEEP_MILLIS = 3_600_000

export interface Services extends Sources.Reader {
  readonly renderer: Renderer
  /** Cryptographically secure bytes. */
  readonly randomBytes: (size: number) => Effect.Effect<Uint8Array>
  readonly current: () => BootstrapConfig
  readonly around: () => Effect.Effect<Surroundings>
}

type Post = (event: Event) => Effect.Effect<void>

/** Fails a check of rendering no other way: of the same length and alphabet as a real one. */
const PLACEHOLDER: BootstrapToken = { id: "abcdef", secret: "0123456789abcdef" }

export const make = (services: Services) => {
  const { kube, renderer, current, around } = services
  const kindName = renderer.kind.kind
  const pause = (policy: BackoffPolicy, failures: number) =>
    failures === 0
      ? Effect.void
      : Effect.flatMap(Random.next, (random) => Effect.sleep(backoffMillis(policy, failures, random)))
  const place = () => ({ namespace: current().metadata.namespace ?? "", name: current().metadata.name })
  const readData = Effect.suspend(() => optional(kube.get(Secrets, place()))).pipe(Effect.mapError(Sources.apiFailure))

  const tokenUse = (config: BootstrapConfig, { owner }: Surroundings): Tokens.TokenUse => ({
    configUid: config.metadata.uid ?? "",
    // The config is named like its Machine (CAPI): a fair name while the owner is not to be seen.
    secretFor: (token, end) => renderer.tokenSecret(token, end, keyOf(owner ?? config))
  })

  /** Ours, or made ours; fails when the name is taken by another's. */
  const own = Effect.fnUntraced(function* (secret: Secret, cluster: string | undefined) {
    const config = current()
    const whose = Data.ownership(secret, kindName, config, cluster)
    if (whose === "foreign") return yield* Effect.fail(notOurs(config, secret))
    if (whose === "own") return secret
    const { uid, resourceVersion } = secret.metadata
    return yield* kube
      .patch(Secrets, place(), Data.adoption(secret, kindName, config), { uid, resourceVersion })
      .pipe(Effect.mapError(Sources.apiFailure))
  })

  const rendered = (config: BootstrapConfig, inputs: Sources.Gathered["inputs"], token: BootstrapToken) => {
    const result = renderer.render(config, inputs, token)
    return Result.isSuccess(result)
      ? Effect.succeed(result.success)
      : Effect.fail(Sources.inputFailure(result.failure.reason ?? Sources.INVALID, result.failure.message))
  }

  /** Reads everything and renders it once for nothing, so that no token is minted for a config that can't be rendered. */
  const inspect = Effect.fnUntraced(function* (post: Post, attempt: number) {
    const config = current()
    const surroundings = yield* around()
    const secret = yield* readData
    if (secret === undefined) {
      const { inputs } = yield* Sources.gather(services, config, surroundings)
      yield* rendered(config, inputs, PLACEHOLDER)
    } else if (Data.ownership(secret, kindName, config, clusterName(config, surroundings)) === "foreign")
      return yield* Effect.fail(notOurs(config, secret))
    yield* post(Event.Inspected({ attempt }))
  })

  const provision = Effect.fnUntraced(function* (post: Post, attempt: number) {
    const config = current()
    const surroundings = yield* around()
    const secret = yield* readData
    if (secret !== undefined) {
      yield* own(secret, clusterName(config, surroundings))
      return yield* post(Event.Provided({ attempt, adopted: true }))
    }
    const refusal = renderer.refusal(config)
    if (refusal !== undefined) return yield* Effect.fail(Sources.inputFailure(refusal.reason, refusal.message))
    const { inputs, workload, cluster } = yield* Sources.gather(services, config, surroundings)
    const use = tokenUse(config, surroundings)
    const token = yield* Sources.converse(workload, (client) => Tokens.mint(client, use, services.randomBytes))
    const data = yield* rendered(config, inputs, token)
    yield* kube
      .create(Secrets, Data.manifest(kindName, config, cluster, data))
      .pipe(Effect.mapError(Sources.apiFailure))
    yield* post(Event.Provided({ attempt, adopted: false }))
  })

  /** Until the Machine has joined: the Secret is there, and its token valid. */
  const keep = Effect.fnUntraced(function* (post: Post, attempt: number) {
    while (true) {
      const { namespace, name } = place()
      const sight = yield* look(kube, Secrets, namespace, name).pipe(Effect.mapError(Sources.apiFailure))
      if (sight.object === undefined) return yield* post(Event.DataLost({ attempt }))
      const surroundings = yield* around()
      const secret = yield* own(sight.object, clusterName(current(), surroundings))
      const left = yield* Effect.scoped(
        Effect.flatMap(Sources.workload(services, current(), surroundings), (workload) =>
          Sources.converse(workload, (client) =>
            Tokens.keep(client, tokenUse(current(), surroundings), Data.tokenInData(secret))
          )
        )
      )
      yield* post(Event.Kept({ attempt }))
      yield* Effect.raceFirst(
        Effect.sleep(Math.min(left, KEEP_MILLIS)),
        changedSince(kube, Secrets, namespace, name, sight.resourceVersion)
      )
    }
  })

  const revoke = Effect.fnUntraced(function* (post: Post, attempt: number, andData: boolean) {
    const config = current()
    const surroundings = yield* around()
    const secret = yield* readData
    const cluster = clusterName(config, surroundings)
    const mine = secret !== undefined && Data.ownership(secret, kindName, config, cluster) !== "foreign"
    const use = tokenUse(config, surroundings)
    const leftBehind = yield* Effect.flatMap(Sources.workload(services, config, surroundings), (workload) =>
      Sources.converse(workload, (client) => Tokens.revoke(client, use, mine ? Data.tokenInData(secret) : undefined))
    ).pipe(
      Effect.as(undefined),
      Effect.catchIf(
        (failure) => isUnreachableForGood(failure, surroundings),
        (failure) => Effect.succeed(failure.message)
      )
    )
    // A config of the same name must not take this one's data for its own.
    if (andData && mine) {
      yield* optional(kube.delete(Secrets, place(), { uid: secret.metadata.uid })).pipe(
        Effect.mapError(Sources.apiFailure)
      )
    }
    yield* post(Event.Revoked({ attempt, ...(leftBehind === undefined ? {} : { leftBehind }) }))
  })

  /** Ends when what is missing may have come, or it is time to look again. */
  const awaitChange = (awaited: Awaited | undefined, post: Post) => {
    const { namespace } = place()
    const timer = Effect.sleep(RECHECK_MILLIS)
    const change = awaited === undefined ? timer : Effect.raceFirst(timer, watching(kube, namespace, awaited))
    return Effect.andThen(change, post(Event.InputsChanged()))
  }

  return (activity: Activity, post: Post): Effect.Effect<void> => {
    const attempted = (
      policy: BackoffPolicy,
      { attempt, wait }: { readonly attempt: number; readonly wait: number },
      work: Effect.Effect<void, Failure>
    ) =>
      Effect.andThen(pause(policy, wait), work).pipe(
        Effect.catch((failure) => post(Event.Failed({ attempt, failure })))
      )
    return Activity.$match(activity, {
      Inspect: (one) => attempted(API_BACKOFF, one, Effect.scoped(inspect(post, one.attempt))),
      Provision: (one) => attempted(WORKLOAD_BACKOFF, one, Effect.scoped(provision(post, one.attempt))),
      Keep: (one) => attempted(WORKLOAD_BACKOFF, one, keep(post, one.attempt)),
      Revoke: (one) => attempted(WORKLOAD_BACKOFF, one, Effect.scoped(revoke(post, one.attempt, one.andData))),
      AwaitChange: ({ awaited }) => awaitChange(awaited, post)
    })
  }
}

const optional = <A>(read: Effect.Effect<A, KubeError>): Effect.Effect<A | undefined, KubeError> =>
  Effect.catchIf(
    read,
    (error) => error.reason === "NotFound",
    () => Effect.succeed(undefined)
  )

const watching = (kube: KubeClientShape, namespace: string, { kind, name }: Awaited): Effect.Effect<void> =>
  kind === "Secret" ? changeOf(kube, Secrets, namespace, name) : changeOf(kube, ConfigMaps, namespace, name)

/** The way in is gone, and so is, or will be, what it led to. A Cluster that stays gets its kubeconfig back. */
const isUnreachableForGood = (failure: Failure, { cluster }: Surroundings): boolean =>
  GONE_REASONS.has(failure.reason) && (cluster === undefined || isDeleting(cluster))
const GONE_REASONS: ReadonlySet<string> = new Set(["KubeconfigNotFound", "HostingKubeconfigNotFound", "ClusterUnknown"])

const notOurs = (config: BootstrapConfig, secret: Secret): Failure =>
  Sources.inputFailure(
    "DataSecretNotOurs",
    `Secret ${keyOf(secret)} exists, and is not the bootstrap data of ${keyOf(config)}. Delete or rename it.`,
    { kind: "Secret", name: secret.metadata.name }
  )
