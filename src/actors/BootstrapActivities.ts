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
import { absent } from "../kube/KubeError.ts"
import * as Data from "./BootstrapDataSecret.ts"
import { type Around, clusterName, ownerOf, tokenTtlSeconds } from "./BootstrapInputs.ts"
import { type BootstrapConfig, needsToken, type Renderer, render } from "./BootstrapRenderers.ts"
import * as Sources from "./BootstrapSources.ts"
import * as Tokens from "./BootstrapTokenSecrets.ts"
import * as Controllers from "./ControllerJoin.ts"
import { keyOf, versionOf } from "./Objects.ts"
import { changedSince, changeOf, look } from "./ObjectWatch.ts"
import * as Workload from "./WorkloadAccess.ts"

/** What someone may have mended where no watch shows it is looked at again after this long, milliseconds. */
export const RECHECK_MILLIS = 60_000
/** A token that needs nothing is looked at this often all the same, milliseconds: someone may have deleted it. */
export const KEEP_MILLIS = 3_600_000

export interface Services extends Workload.Reader {
  readonly renderer: Renderer
  /** Of tokens whose config says nothing about it, seconds. */
  readonly tokenTtlSeconds: number
  /** Cryptographically secure bytes. */
  readonly randomBytes: (size: number) => Effect.Effect<Uint8Array>
  readonly current: () => BootstrapConfig
  readonly around: () => Effect.Effect<Around>
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
  const readData = Effect.suspend(() => absent(kube.get(Secrets, place()))).pipe(Effect.mapError(Workload.apiFailure))

  const tokenUse = (config: BootstrapConfig, around: Around): Tokens.TokenUse => ({
    configUid: config.metadata.uid ?? "",
    ttlSeconds: tokenTtlSeconds(config, services.tokenTtlSeconds),
    isWanted: Effect.map(
      absent(kube.get(renderer.kind, place())),
      (now) => now !== undefined && now.metadata.uid === config.metadata.uid && !isDeleting(now)
    ),
    // The config is named like its Machine (CAPI): a fair name while the owner is not to be seen.
    secretFor: (token, end) =>
      renderer.tokenSecret(token, end, ownerOf(around)?.whose ?? `${kindName} ${keyOf(config)}`)
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
      .pipe(Effect.mapError(Workload.apiFailure))
  })

  const rendered = (config: BootstrapConfig, inputs: Sources.Gathered["inputs"], token: BootstrapToken) => {
    const result = render(config, inputs, token)
    return Result.isSuccess(result)
      ? Effect.succeed(result.success)
      : Effect.fail(Workload.inputFailure(result.failure.reason ?? Workload.INVALID, result.failure.message))
  }

  /** Reads everything and renders it once for nothing, so that no token is minted for a config that can't be rendered. */
  const inspect = Effect.fnUntraced(function* (post: Post, attempt: number) {
    const config = current()
    const surroundings = yield* around()
    const secret = yield* readData
    if (secret === undefined) {
      const { inputs, workload } = yield* Sources.gather(services, renderer.role, config, surroundings)
      if (needsToken(inputs)) yield* workload
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
    if (refusal !== undefined) return yield* Effect.fail(Workload.inputFailure(refusal.reason, refusal.message))
    const { inputs, workload, cluster } = yield* Sources.gather(services, renderer.role, config, surroundings)
    const use = tokenUse(config, surroundings)
    const token = needsToken(inputs)
      ? yield* Workload.converse(yield* workload, (client) => Tokens.mint(client, use, services.randomBytes))
      : PLACEHOLDER
    const data = yield* rendered(config, inputs, token)
    const written = yield* kube
      .create(Secrets, Data.manifest(kindName, config, cluster, data))
      .pipe(Effect.mapError(Workload.apiFailure))
    if (needsToken(inputs)) read = { version: versionOf(written), token }
    yield* post(Event.Provided({ attempt, adopted: false }))
  })

  /** The token of the data that was written or read last: reading it anew costs more than all the rest of a look. */
  let read: { readonly version: string; readonly token: Data.DataToken } | undefined

  /** A worker's data without a token is data that we don't understand. */
  const tokenIn = (secret: Secret): Data.DataToken => {
    const version = versionOf(secret)
    if (read?.version !== version) read = { version, token: Data.tokenInData(secret) }
    return read.token === "none" && renderer.role === "worker" ? "unreadable" : read.token
  }

  const workloadOf = (config: BootstrapConfig, surroundings: Around) =>
    Effect.flatMap(Sources.targetOf(config, surroundings), (target) => Workload.workload(services, target))

  /** Keeps the token of a machine that has not joined valid; how long it may be left alone, or that it has joined. */
  const tend = Effect.fnUntraced(function* (token: Exclude<Data.DataToken, "none">) {
    const config = current()
    const surroundings = yield* around()
    const workload = yield* workloadOf(config, surroundings)
    const known = token === "unreadable" ? undefined : token
    // First: a token that was revoked because its machine had joined must not come back.
    if (renderer.role === "controller" && (yield* Controllers.hasJoined(workload.kube, config))) return "joined"
    return yield* Workload.converse(workload, (client) => Tokens.keep(client, tokenUse(config, surroundings), known))
  })

  /** Of a controller there may never be a Node: its cluster itself says when it is there. */
  const joins = (provisioned: boolean) => {
    if (renderer.role !== "controller") return Effect.never
    const open = Effect.flatMap(around(), (surroundings) => workloadOf(current(), surroundings))
    return Controllers.untilJoined(open, current(), provisioned)
  }

  /** Until the Machine has joined: the Secret is there, and its token valid. */
  const keep = Effect.fnUntraced(function* (post: Post, attempt: number, provisioned: boolean) {
    while (true) {
      const { namespace, name } = place()
      const sight = yield* look(kube, Secrets, namespace, name).pipe(Effect.mapError(Workload.apiFailure))
      if (sight.object === undefined) return yield* post(Event.DataLost({ attempt }))
      const secret = yield* own(sight.object, clusterName(current(), yield* around()))
      const token = tokenIn(secret)
      const left = token === "none" ? KEEP_MILLIS : yield* Effect.scoped(tend(token))
      if (left === "joined") return yield* post(Event.Joined({ attempt }))
      yield* post(Event.Kept({ attempt }))
      const change = yield* Effect.raceAllFirst([
        Effect.as(Effect.sleep(Math.min(left, KEEP_MILLIS)), "look" as const),
        Effect.as(changedSince(kube, Secrets, namespace, name, sight.resourceVersion), "look" as const),
        Effect.as(joins(provisioned), "joined" as const)
      ])
      if (change === "joined") return yield* post(Event.Joined({ attempt }))
    }
  })

  /** Answers why it could not be looked for, when that will never be possible. */
  const revokeToken = (config: BootstrapConfig, surroundings: Around, token: Exclude<Data.DataToken, "none">) =>
    Effect.flatMap(workloadOf(config, surroundings), (workload) =>
      Workload.converse(workload, (client) =>
        Tokens.revoke(client, tokenUse(config, surroundings), token === "unreadable" ? undefined : token)
      )
    ).pipe(
      Effect.as(undefined),
      Effect.catchIf(
        (failure) => isUnreachableForGood(failure, surroundings),
        (failure) => Effect.succeed(failure.message)
      )
    )

  const revoke = Effect.fnUntraced(function* (post: Post, attempt: number, andData: boolean) {
    const config = current()
    const surroundings = yield* around()
    const secret = yield* readData
    const cluster = clusterName(config, surroundings)
    const mine = secret !== undefined && Data.ownership(secret, kindName, config, cluster) !== "foreign"
    const token = mine ? tokenIn(secret) : "unreadable"
    const leftBehind = token === "none" ? undefined : yield* revokeToken(config, surroundings, token)
    // A config of the same name must not take this one's data for its own.
    if (andData && mine) {
      yield* absent(kube.delete(Secrets, place(), { uid: secret.metadata.uid })).pipe(
        Effect.mapError(Workload.apiFailure)
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
      Keep: (one) => attempted(WORKLOAD_BACKOFF, one, keep(post, one.attempt, one.provisioned)),
      Revoke: (one) => attempted(WORKLOAD_BACKOFF, one, Effect.scoped(revoke(post, one.attempt, one.andData))),
      AwaitChange: ({ awaited }) => awaitChange(awaited, post)
    })
  }
}

const watching = (kube: KubeClientShape, namespace: string, { kind, name }: Awaited): Effect.Effect<void> =>
  kind === "Secret" ? changeOf(kube, Secrets, namespace, name) : changeOf(kube, ConfigMaps, namespace, name)

/** The way in is gone, and so is, or will be, what it led to. A Cluster that stays gets its kubeconfig back. */
const isUnreachableForGood = (failure: Failure, { cluster }: Around): boolean =>
  GONE_REASONS.has(failure.reason) && (cluster === undefined || isDeleting(cluster))
const GONE_REASONS: ReadonlySet<string> = new Set(["KubeconfigNotFound", "HostingKubeconfigNotFound", "ClusterUnknown"])

const notOurs = (config: BootstrapConfig, secret: Secret): Failure =>
  Workload.inputFailure(
    "DataSecretNotOurs",
    `Secret ${keyOf(secret)} exists, and is not the bootstrap data of ${keyOf(config)}. Delete or rename it.`,
    { kind: "Secret", name: secret.metadata.name }
  )
