/**
 * Owns what a PooledRemoteMachine shows to people (`status.phase`, condition Ready), the freeing by hand of held hosts,
 * and that a machine follows its host's edits. Runs behind the allocator: coalesced, bounded, and nothing depends on it;
 * the truth is in the annotations.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Names from "../api/Names.ts"
import {
  type PooledRemoteMachine,
  type PooledRemoteMachinePhase,
  PooledRemoteMachines
} from "../api/PooledRemoteMachine.ts"
import { type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import type { Claim, RunRecord } from "../domain/Claim.ts"
import { type ConditionInput, findCondition, setConditions } from "../domain/Conditions.ts"
import { CLEANED_AGAIN } from "../domain/MachineNotices.ts"
import * as Pool from "../domain/Pool.ts"
import { addressOf } from "../domain/PoolIndex.ts"
import { rfc3339 } from "../domain/Rfc3339.ts"
import type { JsonObject, KubeClientShape } from "../kube/KubeClient.ts"
import type { KubeError } from "../kube/KubeError.ts"
import * as Coalesced from "../runtime/Coalesced.ts"
import { isUncleanable } from "./HostPlan.ts"
import { annotation, asMachine, claimOf, keyOf, runOf } from "./Objects.ts"
import { conditionsOf, type PoolVerdicts, type Verdict } from "./PoolVerdicts.ts"
import { followed } from "./Population.ts"

/** Changes of one host within this time, milliseconds, become one write; a claim's own writes come first. */
export const STATUS_SETTLE_MILLIS = 500
/** Status writes at one time. */
export const STATUS_WRITES_IN_FLIGHT = 8

interface Sources {
  readonly host: (key: string) => PooledRemoteMachine | undefined
  /** Undefined also while it is paused. */
  readonly machine: (uid: string) => RemoteMachine | undefined
  readonly followed: (machine: RemoteMachine) => Effect.Effect<void>
  readonly verdicts: PoolVerdicts
  readonly state: () => Pool.State
  /** A claim or release of it is under way: its own writes will say the rest. */
  readonly busy: (key: string) => boolean
  readonly free: (host: PooledRemoteMachine, claim: Claim) => Effect.Effect<void, KubeError>
}

interface Shown {
  readonly phase: PooledRemoteMachinePhase
  /** Of the condition Ready; absent: the phase. */
  readonly reason?: string
  /** Absent for the everyday phases. */
  readonly message?: string
}

/** What its claim says of why, and what the object says now of what comes next. */
const quarantined = (host: PooledRemoteMachine, why: string, run: RunRecord | undefined): Shown => {
  const awaits = run !== undefined && isUncleanable(asMachine(host), run)
  return {
    phase: "Quarantined",
    message: `${why} It is ${CLEANED_AGAIN[awaits ? "withCommands" : "seldom"]}; or clean it by hand, then annotate it with ${Names.RELEASE_ANNOTATION}.`
  }
}

/** Pure: what the host is, in one word, and what a person can do about it. `view`: of the host. */
const shown = (
  state: Pool.State,
  host: PooledRemoteMachine,
  view: Pool.HostView,
  verdict: Verdict | undefined
): Shown => {
  if (view.claim?.quarantined !== undefined) return quarantined(host, view.claim.quarantined, view.claim.run)
  if (view.claim !== undefined)
    return Pool.isOrphan(state, view)
      ? {
          phase: "Orphaned",
          message:
            `Claimed by RemoteMachine ${view.claim.machine}, which does not exist (yet) or no longer carries claim ${view.claim.id}. ` +
            `Held until it appears; annotate with ${Names.RELEASE_ANNOTATION} to free the host by hand.`
        }
      : reserved(state, view)
  if (view.heldBy !== undefined) return { phase: "Reserved" }
  if (view.maintenance) return { phase: "Maintenance", message: `Annotated with ${Names.MAINTENANCE_ANNOTATION}` }
  if (view.suspect)
    return {
      phase: "Suspect",
      message: verdict?._tag === "Unreachable" ? verdict.message : "A machine could not connect to it lately"
    }
  if (verdict?._tag === "Unclean") return { phase: "Unclean", reason: verdict.reason, message: verdict.message }
  if (view.unclean) return { phase: "Unclean", message: "A machine found another's tenant on it lately" }
  const why = Pool.unavailable(state, view, "")
  if (why?.startsWith("refused") === true)
    return {
      phase: "Refused",
      message: `Another object has the address ${view.address}:${view.port}: correct or delete one of the two`
    }
  return { phase: "Free" }
}

/** Held by its machine, which may be news to somebody who has just edited or deleted it. */
const reserved = (state: Pool.State, view: Pool.HostView): Shown => {
  const machine = Pool.claimants(state, view.key).find((one) => one.claim?.id === view.claim?.id)
  if (view.deleting)
    return {
      phase: "Reserved",
      reason: "Deleting",
      message: `Being deleted; it goes once RemoteMachine ${view.claim?.machine} is done with the host and has cleaned it`
    }
  const address = addressOf(view)
  if (machine?.address !== undefined && machine.address !== address)
    return {
      phase: "Reserved",
      reason: "AddressChanged",
      message: `RemoteMachine ${machine.key} keeps the host at ${machine.address}; ${address} is used from the next machine on`
    }
  return { phase: "Reserved" }
}

/** What k0smotron's users read of a claim: `clusterctl move` and backups lose it with the rest of the status. */
const unshown = (host: PooledRemoteMachine, { machine }: Claim): JsonObject => {
  const at = machine.indexOf("/")
  const machineRef = { namespace: machine.slice(0, at), name: machine.slice(at + 1) }
  const { reserved, machineRef: shown } = host.status ?? {}
  return reserved === true && shown?.name === machineRef.name && shown.namespace === machineRef.namespace
    ? {}
    : { reserved: true, machineRef }
}

export const make = Effect.fnUntraced(function* (kube: KubeClientShape, sources: Sources) {
  /** Host -> id of the claim that the host's own record says is over. Bounded by the hosts there are. */
  const proofs = new Map<string, string>()

  const write = Effect.fnUntraced(function* (key: string): Effect.fn.Return<void, KubeError> {
    const host = sources.host(key)
    if (host === undefined) return
    if (sources.busy(key)) return yield* look(key)
    const now = yield* Clock.currentTimeMillis
    const verdict = sources.verdicts.of(host)
    const wanted = shown(sources.state(), host, sources.verdicts.view(host, now), verdict)
    const claim = claimOf(host)
    if (annotation(host, Names.RELEASE_ANNOTATION) !== undefined && claim !== undefined && wanted.phase !== "Reserved")
      return yield* sources.free(host, claim)
    if (
      wanted.phase === "Orphaned" &&
      claim !== undefined &&
      (proofs.get(key) === claim.id || (yield* isAbandoned(host, claim)))
    ) {
      proofs.delete(key)
      return yield* sources.free(host, claim)
    }
    if (claim !== undefined && wanted.phase === "Reserved") yield* follow(host, claim)
    const ready: ConditionInput = {
      type: "Ready",
      status: wanted.message === undefined ? "True" : "False",
      reason: wanted.reason ?? wanted.phase,
      ...(wanted.message === undefined ? {} : { message: wanted.message })
    }
    const before = host.status?.conditions
    // Without a word for it, one that was never False needs no condition to say that it is ready.
    const news = [...conditionsOf(verdict), ready].filter(({ type, status, message = "" }) => {
      const old = findCondition(before, type)
      if (type === "Ready" && status === "True") return old?.status === "False" || host.status?.phase !== wanted.phase
      return old?.status !== status || old.message !== message
    })
    const missing = {
      ...(claim === undefined || wanted.phase !== "Reserved" ? {} : unshown(host, claim)),
      ...(host.status?.observedGeneration === host.metadata.generation
        ? {}
        : { observedGeneration: host.metadata.generation })
    }
    if (host.status?.phase === wanted.phase && news.length === 0 && Object.keys(missing).length === 0) return
    const conditions = setConditions(before, [...conditionsOf(verdict), ready], rfc3339(now))
    yield* kube.patch(
      PooledRemoteMachines,
      { namespace: host.metadata.namespace ?? "", name: host.metadata.name },
      { status: { ...missing, phase: wanted.phase, conditions: conditions.map((one) => ({ ...one })) } },
      // A status that is about to change anyway is not worth a quarrel: a conflict is looked at again.
      { subresource: "status", uid: host.metadata.uid, resourceVersion: host.metadata.resourceVersion }
    )
  })

  const follow = Effect.fnUntraced(function* (host: PooledRemoteMachine, claim: Claim) {
    // Not by the claim's uid: a moved machine has another one.
    const uid = Pool.claimants(sources.state(), keyOf(host)).find((one) => one.claim?.id === claim.id)?.uid
    const machine = uid === undefined ? undefined : sources.machine(uid)
    // While it is not populated yet, its claim's own writes do all this.
    if (machine?.spec.address === undefined || claimOf(machine)?.id !== claim.id) return
    const patch = followed(machine, host)
    if (patch === undefined) return
    const { namespace = "", name, resourceVersion } = machine.metadata
    const after = yield* kube.patch(RemoteMachines, { namespace, name }, patch, { uid, resourceVersion })
    yield* sources.followed(after)
  })

  /**
   * Not absence but evidence: the very machine that the claim was made for is there, and carries another claim or none.
   * It lost this one before it touched the host (two leaders, a crash while a lost race was undone).
   */
  const isAbandoned = (host: PooledRemoteMachine, claim: Claim) => {
    const namespace = host.metadata.namespace ?? ""
    if (!claim.machine.startsWith(`${namespace}/`)) return Effect.succeed(false)
    return kube.get(RemoteMachines, { namespace, name: claim.machine.slice(namespace.length + 1) }).pipe(
      Effect.map((machine) => {
        const carried = claimOf(machine)
        // It touched some host, and does not say which: that may be this one.
        const lost = runOf(machine)?.touched === true && (carried === undefined || machine.spec.address === undefined)
        return machine.metadata.uid === claim.uid && carried?.id !== claim.id && !lost
      }),
      Effect.catchIf(
        (error) => error.reason === "NotFound",
        () => Effect.succeed(false)
      )
    )
  }

  const look: (key: string) => Effect.Effect<void> = yield* Coalesced.make<KubeError, never>({
    settleMillis: STATUS_SETTLE_MILLIS,
    concurrency: STATUS_WRITES_IN_FLIGHT,
    work: (key) =>
      Effect.catchIf(
        write(key),
        (error) => error.reason === "NotFound",
        () => Effect.void
      ),
    failed: (host, failure) =>
      "defect" in failure
        ? Effect.logError("status of a host not written", { host, defect: failure.defect })
        : Effect.logDebug(failure.message)
  })

  return {
    look,
    proven: (key: string, claim: Claim) =>
      Effect.suspend(() => {
        proofs.set(key, claim.id)
        return look(key)
      }),
    lookAtAll: (keys: () => Iterable<string>) => Effect.forEach([...keys()], look, { discard: true })
  }
})
