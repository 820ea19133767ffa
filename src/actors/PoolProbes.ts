/**
 * Owns the probing of pool hosts that nobody uses: slowly, a few at a time, jittered; `HostRuns.inspect` changes nothing
 * on them. Says whether a machine could use them (reached, key accepted, root or sudo) and whether they are nobody's,
 * and finds the proof that frees an orphaned host. What follows from a verdict is the allocator's (PoolVerdicts.ts).
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { PooledRemoteMachine } from "../api/PooledRemoteMachine.ts"
import { backoffMillis } from "../domain/Backoff.ts"
import type { Failure } from "../domain/Machine.ts"
import type { HostError } from "../hosts/HostError.ts"
import { HostRuns } from "../hosts/HostRuns.ts"
import type { TenancyRecord, Tenant } from "../hosts/Protocol.ts"
import { KubeClient } from "../kube/KubeClient.ts"
import * as HostPlan from "./HostPlan.ts"
import { hostFailure } from "./MachineFailures.ts"
import { asMachine, claimOf, keyOf } from "./Objects.ts"
import { PoolAllocator } from "./PoolAllocator.ts"
import type { Verdict } from "./PoolVerdicts.ts"

/** Probes at one time: those of machines must not wait for them. */
export const PROBES_IN_FLIGHT = 4
/** A probe that takes longer, milliseconds, is over: the host does not answer. */
export const PROBE_TIMEOUT_MILLIS = 30_000
/** How often it is looked who is due, milliseconds. */
export const PROBE_TICK_MILLIS = 5_000
/** A host that nothing is known of yet is probed within this time, milliseconds, or the interval if that is shorter. */
export const FIRST_PROBE_MILLIS = 60_000
/** A host whose last probe failed is looked at again sooner: it may have been mended. Never later than the interval. */
const FAILED_PROBE_MILLIS = 30_000
/** Part of the interval that is drawn, so that hosts which came together are not probed together. */
const JITTER = 0.5

/** As a probe says who asks: it holds nothing, so no host can have seen it. */
const prober = (host: PooledRemoteMachine): Tenant => ({
  claim: "probe",
  machine: keyOf(host),
  cluster: "unknown",
  fence: 0
})

export interface Finding {
  /** Undefined: the probe itself could not be made. */
  readonly verdict: Verdict | undefined
  readonly tenancy: TenancyRecord | undefined
}

const unknown: Finding = { verdict: undefined, tenancy: undefined }

const unreachable = ({ reason, message }: Failure): Finding => ({
  verdict: { _tag: "Unreachable", reason, message },
  tenancy: undefined
})

/** Pure: what the host's own record means for one that no object here claims. */
export const judge = (tenancy: TenancyRecord | undefined): Verdict => {
  if (tenancy === undefined || tenancy.state === "free") return { _tag: "Usable" }
  const remedy =
    "Clean it by hand and remove /var/lib/machinist, or let a machine take it over with machinist.dev/adopt-foreign."
  return tenancy.state === "quarantined"
    ? {
        _tag: "Unclean",
        reason: "Quarantined",
        message: `The host's own record says that cleaning it after RemoteMachine ${tenancy.machine} was given up on. ${remedy}`
      }
    : {
        _tag: "Unclean",
        reason: "ForeignTenant",
        message: `The host's own record names RemoteMachine ${tenancy.machine} (claim ${tenancy.claim}), which no object here claims it for. ${remedy}`
      }
}

const probe = Effect.fnUntraced(
  function* (host: PooledRemoteMachine) {
    const kube = yield* KubeClient
    const hosts = yield* HostRuns
    const machine = asMachine(host)
    const access = yield* HostPlan.access(kube, machine)
    const report = yield* hosts.inspect(access, prober(host)).pipe(
      Effect.mapError((error: HostError) => hostFailure(error, machine, HostPlan.redaction(undefined, access))),
      Effect.timeoutOrElse({
        duration: PROBE_TIMEOUT_MILLIS,
        orElse: () =>
          Effect.fail<Failure>({
            reason: "ConnectFailed",
            message: `${access.target.address}:${access.target.port} did not answer within ${PROBE_TIMEOUT_MILLIS / 1000} s`,
            retry: "backoff",
            ofHost: true
          })
      })
    )
    return { verdict: judge(report.tenancy), tenancy: report.tenancy } satisfies Finding
  },
  Effect.catch((failure: Failure) => Effect.succeed(isAboutHost(failure) ? unreachable(failure) : unknown))
)

/** Our own limits and rights say nothing about the host: without them all hosts at once would be doubted. */
const ABOUT_US: ReadonlySet<string> = new Set(["SessionLimit", "APIServerForbidden"])

/** Nor does trouble with the API server; a missing key does. */
const isAboutHost = ({ reason, retry, ofHost }: Failure): boolean =>
  !ABOUT_US.has(reason) && (ofHost === true || retry === "waitForChange")

/** Runs until it is interrupted. */
export const run = Effect.fnUntraced(function* (intervalMillis: number) {
  const allocator = yield* PoolAllocator
  /** By uid: when it is due, and how often in a row it was found unusable. */
  const due = new Map<string, { readonly at: number; readonly failures: number }>()

  const next = Effect.fnUntraced(function* (failures: number) {
    const random = yield* Random.next
    const policy = { baseMillis: FAILED_PROBE_MILLIS, factor: 2, capMillis: intervalMillis, jitter: JITTER }
    return failures === 0 ? intervalMillis * (1 - JITTER * random) : backoffMillis(policy, failures, random)
  })

  const one = Effect.fnUntraced(function* (host: PooledRemoteMachine) {
    const uid = host.metadata.uid ?? ""
    const { verdict, tenancy } = yield* probe(host)
    const failed = verdict === undefined || verdict._tag === "Unreachable"
    const failures = failed ? (due.get(uid)?.failures ?? 0) + 1 : 0
    due.set(uid, { at: (yield* Clock.currentTimeMillis) + (yield* next(failures)), failures })
    const claim = claimOf(host)
    if (claim === undefined) {
      if (verdict !== undefined) yield* allocator.probed(host, verdict)
    } else if (tenancy?.state === "free" && tenancy.claim === claim.id) yield* allocator.proven(host, claim)
  })

  const tick = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const idle = yield* allocator.idle
    const uids = new Set(idle.map(({ metadata }) => metadata.uid ?? ""))
    // Bounded by the hosts there are; a host that was used meanwhile is as good as new.
    for (const uid of due.keys()) if (!uids.has(uid)) due.delete(uid)
    for (const uid of uids)
      if (!due.has(uid))
        due.set(uid, {
          at: now + Math.min(FIRST_PROBE_MILLIS, intervalMillis) * (yield* Random.next),
          failures: 0
        })
    const ready = idle.filter(({ metadata }) => (due.get(metadata.uid ?? "")?.at ?? 0) <= now)
    yield* Effect.forEach(
      ready,
      (host) =>
        Effect.catchDefect(one(host), (defect) =>
          Effect.logError("a host was not probed", { host: keyOf(host), defect })
        ),
      { concurrency: PROBES_IN_FLIGHT, discard: true }
    )
  })

  return yield* Effect.forever(Effect.andThen(Effect.sleep(Math.min(PROBE_TICK_MILLIS, intervalMillis)), tick))
})
