/**
 * Owns our finalizer on SSH key Secrets (DESIGN, "Keys"): it is there before a host is touched with the key, so that a
 * namespace deletion can't take the key away before the host is clean, and it goes with the last machine that needs it.
 * Decided by evidence each time, never by counting: held as long as the caches show a machine that needs the key, let go
 * only when the API server shows none. What a machine does with its key, and how long it may hold it (cleaning is
 * bounded), is not decided here.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import { type Secret, Secrets } from "../api/Core.ts"
import * as Names from "../api/Names.ts"
import { type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import type { Failure } from "../domain/Machine.ts"
import { KubeClient, type KubeClientShape } from "../kube/KubeClient.ts"
import { absent, type KubeError } from "../kube/KubeError.ts"
import * as Coalesced from "../runtime/Coalesced.ts"
import { keySecrets } from "./HostPlan.ts"
import { inputFailure, readFailure } from "./MachineFailures.ts"
import { annotation, hasFinalizer, keyOf, withFinalizer, withoutFinalizer } from "./Objects.ts"

/** A Secret is let go this long after its last machine, milliseconds: often the next one is there already. */
export const KEY_SETTLE_MILLIS = 1_000
/** Secrets looked at at one time. */
export const KEYS_IN_FLIGHT = 8
/** How often one write reads again after a conflict until it is left to the next look. */
export const KEY_CONFLICT_RETRIES = 5
/** Between two tries to find the Secrets that a crash left held, milliseconds at first, and at most. */
const SWEEP_FIRST_MILLIS = 1_000
const SWEEP_CAP_MILLIS = 60_000

export interface KeyGuardShape {
  /** Returns when the key of this claimed machine can't be taken away any more; fails with what its actor shows. */
  readonly hold: (machine: RemoteMachine) => Effect.Effect<void, Failure>
  /** `paused`: nothing is written on its account, but what it needs is kept. */
  readonly machineSeen: (machine: RemoteMachine, paused: boolean) => Effect.Effect<void>
  readonly machineGone: (machine: RemoteMachine) => Effect.Effect<void>
  /** All machines were seen: what no machine needs any more, a crash may have left. */
  readonly synced: (namespace: string | undefined) => Effect.Effect<void>
}

export class KeyGuard extends Context.Service<KeyGuard, KeyGuardShape>()("machinist/actors/KeyGuard") {
  static readonly layer = Layer.effect(
    KeyGuard,
    Effect.suspend(() => make)
  )
}

/**
 * Key Secrets, as `namespace/name`, without which this machine's host could not be cleaned: its own, and those of the
 * jump hosts on the way. None once its finalizer is
 * gone, and none for an object that is moved to another management cluster.
 */
export const keysNeededBy = (machine: RemoteMachine): ReadonlyArray<string> => {
  const { metadata, spec } = machine
  const holdsHost =
    annotation(machine, Names.CLAIM_ANNOTATION) !== undefined ||
    annotation(machine, Names.RUN_ANNOTATION) !== undefined ||
    (spec.providerID ?? "") !== ""
  const left = metadata.deletionTimestamp !== undefined && !hasFinalizer(machine, Names.REMOTE_MACHINE_FINALIZER)
  const moved = annotation(machine, Names.DELETE_FOR_MOVE_ANNOTATION) !== undefined
  return !holdsHost || left || moved ? [] : keySecrets(machine).map((name) => `${metadata.namespace ?? ""}/${name}`)
}

/** What an untouched machine needs is kept, but nothing is written before it gets as far as its host (`hold`). */
const isTouched = (machine: RemoteMachine): boolean =>
  annotation(machine, Names.RUN_ANNOTATION) !== undefined || (machine.spec.providerID ?? "") !== ""

interface Known {
  readonly needs: ReadonlyArray<string>
  /** Its host was touched, and nothing keeps us from seeing to it that the key is held. */
  readonly acts: boolean
  readonly resourceVersion: number
}

const refOf = (key: string) => {
  const at = key.indexOf("/")
  return { namespace: key.slice(0, at), name: key.slice(at + 1) }
}

const make = Effect.gen(function* () {
  const kube = yield* KubeClient
  const machines = new Map<string, Known>()
  /** key -> uids of machines that need it. */
  const users = new Map<string, Set<string>>()
  /** Keys that are being let go right now. */
  const leaving = new Set<string>()
  const locks = new Map<string, Semaphore.Semaphore>()
  const locked = <A, E>(key: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      const lock = locks.get(key) ?? Semaphore.makeUnsafe(1)
      locks.set(key, lock)
      return lock.withPermit(effect)
    })
  const isNeeded = (key: string): boolean => (users.get(key)?.size ?? 0) > 0

  /** Synchronous: what is known of a machine changes in one step. Returns the keys that have to be looked at. */
  const know = (uid: string, next: Known | undefined): ReadonlyArray<string> => {
    const before = machines.get(uid)
    if (before !== undefined && next !== undefined && next.resourceVersion < before.resourceVersion) return []
    if (next === undefined) machines.delete(uid)
    else machines.set(uid, next)
    const gone = before?.needs.filter((key) => next?.needs.includes(key) !== true) ?? []
    for (const key of gone) {
      users.get(key)?.delete(uid)
      if (!isNeeded(key)) users.delete(key)
    }
    for (const key of next?.needs ?? []) users.set(key, (users.get(key) ?? new Set()).add(uid))
    const held = before?.acts === true ? before.needs : []
    const added = next?.acts === true ? next.needs.filter((key) => !held.includes(key)) : []
    return [...gone.filter((key) => !isNeeded(key)), ...added]
  }

  // ------------------------------------------------------------------------------------------------ one Secret

  /** `machine`: what is written on the Secret depends on what is read from it, at most a few times. */
  const hold = (machine: RemoteMachine): Effect.Effect<void, Failure> =>
    Effect.forEach(
      keysNeededBy(machine),
      (key) =>
        Effect.suspend(() => {
          // Before the Secret is read: who lets go of it looks for this first. A machine that is gone needs nothing.
          const uid = machine.metadata.uid ?? ""
          if (machines.has(uid)) know(uid, knownOf(machine, false))
          const wasLeaving = leaving.has(key)
          return Effect.flatMap(read(key), (secret) =>
            isHeld(secret) && !isDeleting(secret) && !wasLeaving
              ? Effect.void
              : locked(key, Effect.flatMap(read(key), take))
          )
        }),
      { discard: true }
    )

  const read = (key: string): Effect.Effect<Secret, Failure> =>
    kube.get(Secrets, refOf(key)).pipe(Effect.mapError((error) => readFailure("SSH Key Secret", error)))

  const take = (secret: Secret): Effect.Effect<void, Failure> => {
    const at = keyOf(secret)
    if (isDeleting(secret))
      return Effect.fail(
        inputFailure(
          "SSHKeySecretDeleting",
          `Secret ${at} is being deleted, and without its key the host could not be cleaned one day: the host is not touched. Create it again, or name another Secret.`
        )
      )
    return Effect.mapError(
      put(kube, secret),
      (error): Failure =>
        error.retry === "backoff"
          ? { reason: "APIServerUnavailable", message: error.message, retry: "backoff" }
          : inputFailure(
              "SSHKeySecretNotHeld",
              `${error.message}. The finalizer ${Names.SSH_KEY_FINALIZER} could not be put on Secret ${at}: the provider needs the permission to patch Secrets.`
            )
    )
  }

  /** Level-triggered; also after a crash at any point of it. */
  const look = (key: string): Effect.Effect<void, KubeError> =>
    locked(
      key,
      Effect.gen(function* () {
        if (isNeeded(key)) return yield* keep(key)
        leaving.add(key)
        yield* Effect.ensuring(
          letGo(key),
          Effect.sync(() => leaving.delete(key))
        )
      })
    )

  const keep = Effect.fnUntraced(function* (key: string) {
    const secret = yield* absent(kube.get(Secrets, refOf(key)))
    // Nothing can be added to what is being deleted; its machine's cleaning says what is missing, and is bounded.
    if (secret === undefined || isHeld(secret) || isDeleting(secret)) return
    yield* put(kube, secret)
  })

  const letGo = Effect.fnUntraced(function* (key: string) {
    const secret = yield* absent(kube.get(Secrets, refOf(key)))
    if (secret === undefined || !isHeld(secret)) return
    if (yield* isNeededByAny(kube, key)) return
    yield* kube.patch(
      Secrets,
      refOf(key),
      {
        metadata: {
          finalizers: withoutFinalizer(secret, Names.SSH_KEY_FINALIZER),
          labels: { [Names.SSH_KEY_LABEL]: null }
        }
      },
      { uid: secret.metadata.uid, resourceVersion: secret.metadata.resourceVersion }
    )
    // Another leader's machine may have come between the look and the write.
    if (!isDeleting(secret) && (yield* isNeededByAny(kube, key))) yield* keep(key)
  })

  const ask = yield* Coalesced.make<KubeError, never>({
    settleMillis: KEY_SETTLE_MILLIS,
    concurrency: KEYS_IN_FLIGHT,
    work: (key) =>
      Effect.catchIf(
        look(key),
        (error) => error.reason === "NotFound",
        () => Effect.void
      ),
    failed: (secret, failure) =>
      "defect" in failure
        ? Effect.logError("an SSH key Secret was not looked at", { secret, defect: failure.defect })
        : Effect.logDebug("an SSH key Secret is looked at again", { secret, why: failure.message })
  })
  const askAll = (keys: ReadonlyArray<string>) => Effect.forEach(keys, ask, { discard: true })

  return KeyGuard.of({
    hold,
    machineSeen: (machine, paused) =>
      Effect.suspend(() => askAll(know(machine.metadata.uid ?? "", knownOf(machine, paused)))),
    machineGone: (machine) => Effect.suspend(() => askAll(know(machine.metadata.uid ?? "", undefined))),
    synced: (namespace) =>
      kube
        .list(Secrets, { labelSelector: Names.SSH_KEY_LABEL, ...(namespace === undefined ? {} : { namespace }) })
        .pipe(
          Effect.flatMap(({ items }) => askAll(items.map(keyOf))),
          Effect.retry({
            schedule: Schedule.min([Schedule.exponential(SWEEP_FIRST_MILLIS), Schedule.spaced(SWEEP_CAP_MILLIS)]),
            while: (error) => error.retry === "backoff"
          }),
          Effect.catch((error) => Effect.logWarning("SSH key Secrets are not looked through", { why: error.message }))
        )
  })
})

const knownOf = (machine: RemoteMachine, paused: boolean): Known => ({
  needs: keysNeededBy(machine),
  acts: !paused && isTouched(machine),
  resourceVersion: Number(machine.metadata.resourceVersion ?? 0)
})

const isHeld = (secret: Secret): boolean => hasFinalizer(secret, Names.SSH_KEY_FINALIZER)
const isDeleting = (secret: Secret): boolean => secret.metadata.deletionTimestamp !== undefined

/** The one write of a Secret, however many machines share it. */
const put = (kube: KubeClientShape, first: Secret): Effect.Effect<void, KubeError> => {
  const ref = { namespace: first.metadata.namespace ?? "", name: first.metadata.name }
  const attempt = (secret: Secret, left: number): Effect.Effect<void, KubeError> =>
    isHeld(secret)
      ? Effect.void
      : kube
          .patch(
            Secrets,
            ref,
            {
              metadata: {
                finalizers: withFinalizer(secret, Names.SSH_KEY_FINALIZER),
                labels: { [Names.SSH_KEY_LABEL]: "" }
              }
            },
            { uid: secret.metadata.uid, resourceVersion: secret.metadata.resourceVersion }
          )
          .pipe(
            Effect.asVoid,
            Effect.catchIf(
              (error) => error.reason === "Conflict" && left > 0,
              () => Effect.flatMap(kube.get(Secrets, ref), (fresh) => attempt(fresh, left - 1))
            )
          )
  return attempt(first, KEY_CONFLICT_RETRIES)
}

/** The API server's word, whatever the caches are narrowed to; an object that can't be read may need it, too. */
const isNeededByAny = (kube: KubeClientShape, key: string): Effect.Effect<boolean, KubeError> =>
  Effect.map(
    kube.list(RemoteMachines, { namespace: refOf(key).namespace }),
    ({ items, undecodable = [] }) =>
      undecodable.length > 0 || items.some((machine) => keysNeededBy(machine).includes(key))
  )
