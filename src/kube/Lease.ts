/**
 * Owns leader election on a coordination.k8s.io/v1 Lease, by client-go's rules: a holder renews; a candidate takes over
 * only after it has itself seen no renewal for the lease's duration, so the clocks of two machines are never compared.
 * Does not own what a leader does. The rules keep two leaders apart only while clocks run at about the same rate; what
 * must not happen twice is fenced elsewhere (on the host).
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { type Lease, Leases } from "../api/Core.ts"
import { KubeClient, type KubeClientShape } from "./KubeClient.ts"
import type { KubeError } from "./KubeError.ts"

/** client-go's and controller-runtime's, in seconds. */
const LEASE_DURATION_S = 15
const RENEW_DEADLINE_S = 10
const RETRY_PERIOD_S = 2
/** Candidates try at intervals of one to this many more retry periods (client-go's JitterFactor). */
const JITTER_FACTOR = 1.2
/** One request that hangs must not use up the whole deadline: it gets this part of it (as controller-runtime has it). */
const ATTEMPTS_PER_DEADLINE = 2
/** Giving a lease back must not hold up the end of the process, in milliseconds. */
const RELEASE_TIMEOUT_MS = 5_000

export interface LeaseOptions {
  readonly namespace: string
  readonly name: string
  /** Of this run of this process (host name and something random): two with one identity would both be leader. */
  readonly identity: string
  /** Seconds without a renewal after which others may take the lease. */
  readonly leaseDuration?: number
  /** Seconds without a successful renewal after which we stop being leader; less than leaseDuration. */
  readonly renewDeadline?: number
  /** Seconds between tries; less than renewDeadline. */
  readonly retryPeriod?: number
  /** Give the lease back when the effect ends or is interrupted, so that the next leader need not wait. Default true. */
  readonly releaseOnStop?: boolean
}

/** Another holds the lease, or it could not be renewed in time. The work was interrupted; run again to be a candidate. */
export class LeadershipLost extends Schema.TaggedError<LeadershipLost>()("LeadershipLost", {
  lease: Schema.String,
  reason: Schema.String
}) {}

const leader = Metric.gauge("machinist_leader", { description: "1 while this process holds the lease" })

/** metav1.MicroTime is parsed with exactly six decimals. */
const microTime = (epochMs: number): string =>
  DateTime.formatIso(DateTime.makeUnsafe(epochMs)).replace(/\.(\d{3})Z$/, ".$1000Z")

type Attempt = "held" | "heldByOther" | "raced"

/** One candidate. `observed` is the last state of the lease that differed from the one before, and when we saw it. */
class Candidate {
  private readonly client: KubeClientShape
  private readonly options: Required<LeaseOptions>
  private observed: { readonly lease: Lease; readonly at: number } | undefined

  constructor(client: KubeClientShape, options: LeaseOptions) {
    this.client = client
    this.options = {
      leaseDuration: LEASE_DURATION_S,
      renewDeadline: RENEW_DEADLINE_S,
      retryPeriod: RETRY_PERIOD_S,
      releaseOnStop: true,
      ...options
    }
  }

  get path(): string {
    return `${this.options.namespace}/${this.options.name}`
  }

  private observe(lease: Lease, now: number): void {
    // resourceVersion moves with every renewal, and also when someone else edits the object: not a sign of life.
    const known = this.observed === undefined ? undefined : JSON.stringify(this.observed.lease.spec)
    const changed = known !== JSON.stringify(lease.spec)
    this.observed = { lease, at: changed || this.observed === undefined ? now : this.observed.at }
  }

  private holds(lease: Lease): boolean {
    return lease.spec?.holderIdentity === this.options.identity
  }

  private write(lease: Lease, now: number): Effect.Effect<Attempt, KubeError> {
    const ours = this.holds(lease)
    const { namespace, name, identity, leaseDuration } = this.options
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: leaseDuration,
      renewTime: microTime(now),
      ...(ours ? {} : { acquireTime: microTime(now), leaseTransitions: (lease.spec?.leaseTransitions ?? 0) + 1 })
    }
    const { uid, resourceVersion } = lease.metadata
    return this.client.patch(Leases, { namespace, name }, { spec }, { uid, resourceVersion }).pipe(
      Effect.map((written): Attempt => {
        this.observe(written, now)
        return "held"
      }),
      Effect.catchIf(
        (error) => error.reason === "Conflict",
        () => Effect.succeed<Attempt>("raced")
      )
    )
  }

  private create(now: number): Effect.Effect<Attempt, KubeError> {
    const { namespace, name, identity, leaseDuration } = this.options
    const time = microTime(now)
    return this.client
      .create(Leases, {
        metadata: { namespace, name },
        spec: {
          holderIdentity: identity,
          leaseDurationSeconds: leaseDuration,
          acquireTime: time,
          renewTime: time,
          leaseTransitions: 0
        }
      })
      .pipe(
        Effect.map((created): Attempt => {
          this.observe(created, now)
          return "held"
        }),
        Effect.catchIf(
          (error) => error.reason === "AlreadyExists",
          () => Effect.succeed<Attempt>("raced")
        )
      )
  }

  /** client-go's tryAcquireOrRenew. */
  readonly attempt: Effect.Effect<Attempt, KubeError> = Effect.gen({ self: this }, function* () {
    const { namespace, name, leaseDuration } = this.options
    const known = this.observed?.lease
    if (known !== undefined && this.holds(known)) {
      // Nobody else is expected to have written it: one request instead of two.
      const renewed = yield* this.write(known, yield* Clock.currentTimeMillis).pipe(
        Effect.catchIf(
          (error) => error.reason === "NotFound",
          () => Effect.succeed<Attempt>("raced")
        )
      )
      if (renewed === "held") return renewed
    }
    const found = yield* this.client.get(Leases, { namespace, name }).pipe(
      Effect.asSome,
      Effect.catchIf(
        (error) => error.reason === "NotFound",
        () => Effect.succeedNone
      )
    )
    const now = yield* Clock.currentTimeMillis
    if (Option.isNone(found)) return yield* this.create(now)
    this.observe(found.value, now)
    const { spec } = found.value
    const holder = spec?.holderIdentity ?? ""
    const expires = (this.observed?.at ?? now) + (spec?.leaseDurationSeconds ?? leaseDuration) * 1000
    if (holder !== "" && !this.holds(found.value) && now < expires) return "heldByOther"
    return yield* this.write(found.value, now)
  })

  /** Tries until the lease is ours; ends with when the try that succeeded began (epoch ms). */
  readonly acquire: Effect.Effect<number> = Effect.gen({ self: this }, function* () {
    const { renewDeadline, retryPeriod } = this.options
    for (;;) {
      const begun = yield* Clock.currentTimeMillis
      const attempt = yield* this.attempt.pipe(
        Effect.timeoutOption((renewDeadline * 1000) / ATTEMPTS_PER_DEADLINE),
        Effect.map(Option.getOrElse((): Attempt => "raced")),
        Effect.catch((error) => Effect.as(this.warn("the lease can't be taken", error), "raced" as const))
      )
      if (attempt === "held") return begun
      yield* Effect.sleep(retryPeriod * 1000 * (1 + JITTER_FACTOR * (yield* Random.next)))
    }
  })

  /** Renews until that fails for good: then it fails with LeadershipLost. */
  readonly renew = (acquiredAt: number): Effect.Effect<never, LeadershipLost> =>
    Effect.gen({ self: this }, function* () {
      const { renewDeadline, retryPeriod } = this.options
      let last = acquiredAt
      for (;;) {
        // Counted from before the request: the server's renewal can't be older than that.
        const left = () => Effect.map(Clock.currentTimeMillis, (now) => last + renewDeadline * 1000 - now)
        yield* Effect.sleep(Math.max(0, Math.min(retryPeriod * 1000, yield* left())))
        const remaining = yield* left()
        if (remaining <= 0) {
          return yield* new LeadershipLost({ lease: this.path, reason: `not renewed for ${renewDeadline} s` })
        }
        const begun = yield* Clock.currentTimeMillis
        const attempt = yield* this.attempt.pipe(
          Effect.timeoutOption(Math.min(remaining, (renewDeadline * 1000) / ATTEMPTS_PER_DEADLINE)),
          Effect.map(Option.getOrElse((): Attempt => "raced")),
          Effect.catch((error) => Effect.as(this.warn("the lease can't be renewed", error), "raced" as const))
        )
        if (attempt === "held") last = begun
        if (attempt === "heldByOther") {
          const holder = this.observed?.lease.spec?.holderIdentity ?? "another"
          return yield* new LeadershipLost({ lease: this.path, reason: `held by ${holder}` })
        }
      }
    })

  /** Gives the lease back; best effort. */
  readonly release: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    const lease = this.observed?.lease
    if (lease === undefined || !this.holds(lease) || !this.options.releaseOnStop) return
    const now = microTime(yield* Clock.currentTimeMillis)
    const { namespace, name } = this.options
    const { uid, resourceVersion } = lease.metadata
    const spec = { holderIdentity: "", leaseDurationSeconds: 1, acquireTime: now, renewTime: now }
    yield* this.client.patch(Leases, { namespace, name }, { spec }, { uid, resourceVersion }).pipe(
      Effect.asVoid,
      Effect.timeoutOption(RELEASE_TIMEOUT_MS),
      Effect.catch((error) => this.warn("the lease was not given back", error))
    )
  })

  private warn(what: string, error: KubeError): Effect.Effect<void> {
    return Effect.logWarning(what).pipe(
      Effect.annotateLogs({ lease: this.path, reason: error.reason, message: error.message })
    )
  }
}

/**
 * Waits until this process holds the lease, then runs `whileLeader`, renewing. Ends as `whileLeader` ends; when
 * leadership is lost, `whileLeader` is interrupted first (and its finalizers waited for), then this fails with
 * LeadershipLost. `leaseDuration - renewDeadline` is the time those finalizers have before another may lead.
 */
export const run = <A, E, R>(
  options: LeaseOptions,
  whileLeader: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LeadershipLost, R | KubeClient> =>
  Effect.gen(function* () {
    const candidate = new Candidate(yield* KubeClient, options)
    const gauge = Metric.withAttributes(leader, { lease: candidate.path })
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const acquiredAt = yield* restore(candidate.acquire)
        yield* Metric.update(gauge, 1)
        yield* Effect.logInfo("became leader").pipe(Effect.annotateLogs({ lease: candidate.path }))
        return yield* restore(Effect.raceFirst(whileLeader, candidate.renew(acquiredAt))).pipe(
          Effect.onExit((exit) =>
            Effect.gen(function* () {
              yield* Metric.update(gauge, 0)
              const lost = Exit.isFailure(exit) && exit.cause.reasons.some(isLost)
              yield* Effect.logInfo("no longer leader").pipe(Effect.annotateLogs({ lease: candidate.path, lost }))
              // A lease that was lost is not ours to give back.
              if (!lost) yield* candidate.release
            })
          )
        )
      })
    )
  })

const isLost = (reason: { readonly _tag: string; readonly error?: unknown }): boolean =>
  reason._tag === "Fail" && reason.error instanceof LeadershipLost
