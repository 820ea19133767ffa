/**
 * Owns what goes wrong between a client and the API server: drawn faults a call (Effect's Random, so a seed replays
 * them), broken, delayed, stuck and stuttering watches, stale lists, and the cut that a simulated crash begins with. Wraps
 * any KubeClient. Only faults a real server and network can show are drawn: a watch event is lost only by a watch that gets
 * stuck, breaks or expires, and every stuck one breaks in the end. Does not own the server, nor faults of hosts (hosts/SshFaults.ts).
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { PreventSchedulerYield } from "effect/Scheduler"
import * as Stream from "effect/Stream"
import type { Kind, KubeObject } from "../api/Kind.ts"
import type { KubeClientShape, ListOptions, ObjectList, ObjectRef } from "../kube/KubeClient.ts"
import type { KubeError, KubeErrorReason } from "../kube/KubeError.ts"
import { fail, type Subject, subjectOf } from "../kube/Status.ts"

/** From and below, in virtual milliseconds. */
export type MillisRange = readonly [number, number]

/** Chances are from 0 to 1, and asked for each call (each event, where it says so) anew. */
export interface KubeFaultPlan {
  /** Time a request takes to reach the server, and its answer to come back. */
  readonly requestDelay: MillisRange
  readonly responseDelay: MillisRange
  /** Any call: 503 or a refused connection, before anything was carried out. */
  readonly unavailable: number
  /** Any call: 429 with Retry-After. */
  readonly tooManyRequests: number
  /** Patches: 409 although no precondition was given or it would have held, as upstream gives up after some tries. */
  readonly conflict: number
  /** Writes: carried out, but the client sees the connection break. */
  readonly lostResponse: number
  /** watch: 410 when it opens. */
  readonly watchGone: number
  /** watch, each event: the connection breaks before it. */
  readonly watchBreak: number
  /** watch, each event: comes this much later; the order stays. */
  readonly watchDelay: MillisRange
  /** watch, each event: it comes twice, as after a reconnect. */
  readonly watchRepeat: number
  /** watch, each event: it and all that follow are lost, until the connection is found dead and breaks with 410. */
  readonly watchStuck: number
  /**
   * list of a whole kind, as reflectors make it: what it said the last time, with its old resourceVersion, as the cache of
   * another API server may. A list that asks for something (a namespace, a selector) is consistent, as upstream's are.
   */
  readonly staleList: number
}

export const noKubeFaults: KubeFaultPlan = {
  requestDelay: [0, 0],
  responseDelay: [0, 0],
  unavailable: 0,
  tooManyRequests: 0,
  conflict: 0,
  lostResponse: 0,
  watchGone: 0,
  watchBreak: 0,
  watchDelay: [0, 0],
  watchRepeat: 0,
  watchStuck: 0,
  staleList: 0
}

/** Most of each chance in a drawn plan: a run with all of them at once still makes progress. */
const MOST_FAILED_CALLS = 0.1
const MOST_LOST_RESPONSES = 0.1
const MOST_WATCH_FAULTS = 0.05
const MOST_STALE_LISTS = 0.2
/** Virtual milliseconds until a stuck watch is found dead: as the client's own read timeout would. */
const STUCK_MILLIS = 30_000
/** Most of each delay in a drawn plan, in virtual milliseconds. */
const MOST_DELAY_MILLIS = 500
const MOST_WATCH_DELAY_MILLIS = 3_000
const RETRY_AFTER_SECONDS = 1

/** Every chance of a simulation, from its seed. */
export const drawKubeFaults: Effect.Effect<KubeFaultPlan> = Effect.gen(function* () {
  const upTo = (most: number) => Effect.map(Random.next, (value) => value * most)
  const within = (most: number) => Effect.map(Random.nextIntBetween(1, most), (max) => [0, max] as const)
  return {
    requestDelay: yield* within(MOST_DELAY_MILLIS),
    responseDelay: yield* within(MOST_DELAY_MILLIS),
    unavailable: yield* upTo(MOST_FAILED_CALLS),
    tooManyRequests: yield* upTo(MOST_FAILED_CALLS),
    conflict: yield* upTo(MOST_FAILED_CALLS),
    lostResponse: yield* upTo(MOST_LOST_RESPONSES),
    watchGone: yield* upTo(MOST_WATCH_FAULTS),
    watchBreak: yield* upTo(MOST_WATCH_FAULTS),
    watchDelay: yield* within(MOST_WATCH_DELAY_MILLIS),
    watchRepeat: yield* upTo(MOST_WATCH_FAULTS),
    watchStuck: yield* upTo(MOST_WATCH_FAULTS),
    staleList: yield* upTo(MOST_STALE_LISTS)
  }
})

/** Thrown once, for ever: the client's process has crashed. */
export interface CutSwitch {
  readonly isCut: () => boolean
}

export type KubeFault =
  | "unavailable"
  | "tooManyRequests"
  | "conflict"
  | "lostResponse"
  | "watchGone"
  | "watchBreak"
  | "watchRepeat"
  | "watchStuck"
  | "staleList"

const happens = (chance: number): Effect.Effect<boolean> =>
  chance === 0 ? Effect.succeed(false) : Effect.map(Random.next, (value) => value < chance)

const pass = ([from, below]: MillisRange): Effect.Effect<void> =>
  below === 0
    ? Effect.void
    : Effect.flatMap(Random.nextIntBetween(from, Math.max(from + 1, below), { halfOpen: true }), Effect.sleep)

/** How each verb is asked about: a write may be carried out and its answer lost. */
type Around = <A>(subject: Subject, write: boolean, call: Effect.Effect<A, KubeError>) => Effect.Effect<A, KubeError>

type AroundWatch = <A>(subject: Subject, events: Stream.Stream<A, KubeError>) => Stream.Stream<A, KubeError>

const wrap = (inner: KubeClientShape, around: Around, aroundWatch: AroundWatch): KubeClientShape => {
  const about = (verb: Subject["verb"], kind: Kind<KubeObject>, ref?: Partial<ObjectRef>) =>
    subjectOf(verb, kind.kind, ref)
  const text = (value: unknown) => (typeof value === "string" ? value : undefined)
  return {
    get: (kind, ref) => around(about("get", kind, ref), false, inner.get(kind, ref)),
    list: (kind, options) =>
      around(
        about("list", kind, options?.namespace === undefined ? {} : { namespace: options.namespace }),
        false,
        inner.list(kind, options)
      ),
    watch: (kind, options) =>
      aroundWatch(
        about("watch", kind, options.namespace === undefined ? {} : { namespace: options.namespace }),
        inner.watch(kind, options)
      ),
    create: (kind, object) =>
      around(
        {
          verb: "create",
          kind: kind.kind,
          namespace: text(object.metadata["namespace"]),
          name: text(object.metadata["name"])
        },
        true,
        inner.create(kind, object)
      ),
    patch: (kind, ref, changes, options) =>
      around(about("patch", kind, ref), true, inner.patch(kind, ref, changes, options)),
    delete: (kind, ref, options) => around(about("delete", kind, ref), true, inner.delete(kind, ref, options))
  }
}

/** The drawn faults of `plan` (asked for at each call, so that a run can heal by changing it). */
export const faultyKubeClient = (
  inner: KubeClientShape,
  plan: () => KubeFaultPlan,
  onFault: (fault: KubeFault, subject: Subject) => void = () => {}
): KubeClientShape => {
  const inject = (subject: Subject, fault: KubeFault, reason: KubeErrorReason, message: string, seconds?: number) =>
    Effect.suspend(() => {
      onFault(fault, subject)
      return Effect.fail(fail(subject, reason, message, seconds))
    })

  const before = Effect.fnUntraced(function* (subject: Subject) {
    const now = plan()
    yield* pass(now.requestDelay)
    if (yield* happens(now.unavailable)) {
      return yield* inject(subject, "unavailable", "Unavailable", "connection refused (injected)")
    }
    if (yield* happens(now.tooManyRequests)) {
      return yield* inject(
        subject,
        "tooManyRequests",
        "TooManyRequests",
        "too many requests (injected)",
        RETRY_AFTER_SECONDS
      )
    }
    if (subject.verb === "patch" && (yield* happens(now.conflict))) {
      return yield* inject(subject, "conflict", "Conflict", "the object has been modified (injected)")
    }
  })

  const around: Around = (subject, write, call) =>
    Effect.gen(function* () {
      yield* before(subject)
      const exit = yield* Effect.exit(call)
      const now = plan()
      yield* pass(now.responseDelay)
      if (write && (yield* happens(now.lostResponse))) {
        return yield* inject(subject, "lostResponse", "Unavailable", "connection reset (injected)")
      }
      return yield* exit
    })

  const aroundWatch: AroundWatch = (subject, events) => {
    const opened = Effect.gen(function* () {
      yield* before(subject)
      if (yield* happens(plan().watchGone)) {
        return yield* inject(subject, "watchGone", "Gone", "too old resource version (injected)")
      }
      return Stream.flatMap(events, (event) =>
        Stream.unwrap(
          Effect.gen(function* () {
            const now = plan()
            yield* pass(now.watchDelay)
            if (yield* happens(now.watchBreak)) {
              return yield* inject(subject, "watchBreak", "Unavailable", "connection reset (injected)")
            }
            if (yield* happens(now.watchStuck)) {
              yield* Effect.sleep(STUCK_MILLIS)
              return yield* inject(subject, "watchStuck", "Gone", "too old resource version (injected)")
            }
            if (!(yield* happens(now.watchRepeat))) return Stream.succeed(event)
            onFault("watchRepeat", subject)
            return Stream.make(event, event)
          })
        )
      )
    })
    return Stream.unwrap(opened)
  }

  return staleLists(
    wrap(inner, around, aroundWatch),
    () => plan().staleList,
    (subject) => onFault("staleList", subject)
  )
}

/** What each list said the last time, by kind and options. */
class LastLists {
  readonly #byKind = new WeakMap<object, Map<string, unknown>>()

  of<A extends KubeObject>(kind: Kind<A>): Map<string, ObjectList<A>> {
    const known = this.#byKind.get(kind)
    // Only `of` writes, under the kind whose objects the lists have.
    if (known !== undefined) return known as Map<string, ObjectList<A>>
    const fresh = new Map<string, ObjectList<A>>()
    this.#byKind.set(kind, fresh)
    return fresh
  }
}

/** An old list has its old resourceVersion: the client watches from there, and catches up. */
const staleLists = (
  inner: KubeClientShape,
  chance: () => number,
  onStale: (subject: Subject) => void
): KubeClientShape => {
  const last = new LastLists()
  return {
    ...inner,
    list: Effect.fnUntraced(function* <A extends KubeObject>(kind: Kind<A>, options: ListOptions = {}) {
      const lists = last.of(kind)
      const key = JSON.stringify(options)
      const before = key === "{}" ? lists.get(key) : undefined
      if (before !== undefined && (yield* happens(chance()))) {
        onStale(subjectOf("list", kind.kind, {}))
        return before
      }
      const found = yield* inner.list(kind, options)
      lists.set(key, found)
      return found
    })
  }
}

/**
 * Once the switch is thrown nothing of this client reaches the server any more, not even from finalizers, and nothing
 * comes back. `hang`: calls never end (but can be interrupted, also within a finalizer); `fail`: they are Unavailable.
 * Must be the wrapper next to the server: a request delayed on its way there is cut, too.
 */
export const cuttableKubeClient = (
  inner: KubeClientShape,
  cut: CutSwitch,
  afterwards: "hang" | "fail" = "hang"
): KubeClientShape => {
  const dead = (subject: Subject): Effect.Effect<never, KubeError> =>
    afterwards === "hang"
      ? Effect.interruptible(Effect.never)
      : Effect.fail(fail(subject, "Unavailable", "the client is cut off"))

  const around: Around = (subject, _write, call) =>
    // Without a chance to yield between the look at the switch and the request: else it could be thrown in between.
    Effect.suspend(() => (cut.isCut() ? dead(subject) : call)).pipe(
      Effect.provideService(PreventSchedulerYield, true),
      Effect.exit,
      Effect.flatMap((exit) => (cut.isCut() ? dead(subject) : exit))
    )

  const aroundWatch: AroundWatch = (subject, events) =>
    Stream.unwrap(
      Effect.suspend(() =>
        cut.isCut()
          ? dead(subject)
          : Effect.succeed(
              Stream.mapEffect(events, (event) =>
                Effect.suspend(() => (cut.isCut() ? dead(subject) : Effect.succeed(event)))
              )
            )
      )
    )

  return wrap(inner, around, aroundWatch)
}

/** While `open` waits, nothing of this client gets to the server and nothing comes back: a process that was stopped, and goes on later. */
export const heldKubeClient = (inner: KubeClientShape, open: Effect.Effect<void>): KubeClientShape =>
  wrap(
    inner,
    (_subject, _write, call) =>
      Effect.andThen(
        open,
        Effect.tap(call, () => open)
      ),
    (_subject, events) =>
      Stream.unwrap(
        Effect.as(
          open,
          Stream.tap(events, () => open)
        )
      )
  )
