/**
 * Leader election under virtual time: never two leaders, takeover by observed time only, loss, release, and what a
 * server that is away does to a leader. Against a store with compare-and-swap, like the API server's.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { type Lease as LeaseObject, LeaseSchema } from "../../src/api/Core.ts"
import type { Kind, KubeObject } from "../../src/api/Kind.ts"
import { KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import { KubeError, type KubeErrorReason } from "../../src/kube/KubeError.ts"
import * as Lease from "../../src/kube/Lease.ts"

const refused = (reason: KubeErrorReason) => new KubeError({ reason, verb: "test", kind: "Lease", message: "scripted" })

/** One lease with compare-and-swap; `broken` is what every request fails with (`hang`: never answers). */
interface Store {
  lease: LeaseObject | undefined
  broken: KubeErrorReason | "hang" | undefined
  requests: number
  readonly remove: () => void
  readonly edit: (spec: Partial<NonNullable<LeaseObject["spec"]>>) => LeaseObject
  readonly client: () => KubeClientShape
}

const makeStore = (): Store => {
  const store: Store = {
    lease: undefined,
    broken: undefined,
    requests: 0,
    remove: () => {
      store.lease = undefined
    },
    edit: (spec: Partial<NonNullable<LeaseObject["spec"]>>) => {
      const lease = store.lease
      const version = String(Number(lease?.metadata.resourceVersion ?? "0") + 1)
      const edited: LeaseObject = {
        metadata: { name: "lock", namespace: "ns", uid: "u", resourceVersion: version },
        spec: { ...lease?.spec, ...spec }
      }
      store.lease = edited
      return edited
    },
    client: (): KubeClientShape => {
      const guarded = <A>(act: () => Effect.Effect<A, KubeError>) =>
        Effect.suspend(() => {
          store.requests++
          if (store.broken === "hang") return Effect.never
          return store.broken === undefined ? act() : Effect.fail(refused(store.broken))
        })
      // The port is generic in the kind: what is stored goes through that kind's Schema, as it would elsewhere.
      const typed = <A extends KubeObject>(kind: Kind<A>, lease: LeaseObject): A =>
        Schema.decodeUnknownSync(kind.schema)(lease)
      const specOf = (object: { readonly [key: string]: unknown }) =>
        Schema.decodeUnknownSync(LeaseSchema.fields.spec)(object["spec"]) ?? {}
      return {
        get: (kind) =>
          guarded(() =>
            store.lease === undefined ? Effect.fail(refused("NotFound")) : Effect.succeed(typed(kind, store.lease))
          ),
        create: (kind, object) =>
          guarded(() =>
            store.lease === undefined
              ? Effect.succeed(typed(kind, store.edit(specOf(object))))
              : Effect.fail(refused("AlreadyExists"))
          ),
        patch: (kind, _ref, patch, options) =>
          guarded(() => {
            if (store.lease === undefined) return Effect.fail(refused("NotFound"))
            assert.isDefined(options?.resourceVersion, "every write of the lease must be conditional")
            return options?.resourceVersion === store.lease.metadata.resourceVersion
              ? Effect.succeed(typed(kind, store.edit(specOf(patch))))
              : Effect.fail(refused("Conflict"))
          }),
        list: () => Effect.die("not used"),
        watch: () => assert.fail("not used"),
        delete: () => Effect.die("not used")
      }
    }
  }
  return store
}

/** Who leads now; more than one is the fault all of this is against. */
const makeWitness = () => {
  const leading = new Set<string>()
  const log: Array<string> = []
  return {
    log,
    now: () => [...leading],
    lead: (identity: string) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          leading.add(identity)
          log.push(`${identity} leads`)
          assert.isAtMost(leading.size, 1, `leaders: ${[...leading].join(", ")}`)
        }),
        () =>
          Effect.sync(() => {
            leading.delete(identity)
            log.push(`${identity} stops`)
          })
      ).pipe(Effect.andThen(Effect.never), Effect.scoped)
  }
}

const setup = () => {
  const store = makeStore()
  const witness = makeWitness()
  const candidate = (identity: string, options: Partial<Lease.LeaseOptions> = {}) =>
    Lease.run({ namespace: "ns", name: "lock", identity, ...options }, witness.lead(identity)).pipe(
      Effect.provideService(KubeClient, store.client()),
      Effect.forkChild
    )
  return { store, witness, candidate }
}

/** In small steps, so that every timer in between fires in its turn. */
const pass = (seconds: number) =>
  Effect.forEach(Array.from({ length: seconds * 4 }), () => TestClock.adjust("250 millis"), { discard: true })

describe("Lease", () => {
  it.effect("is created, renewed every 2 s, and written as client-go writes it", () =>
    Effect.gen(function* () {
      const { store, witness, candidate } = setup()
      yield* candidate("a")
      yield* pass(1)
      assert.deepStrictEqual(witness.now(), ["a"])
      assert.deepStrictEqual(store.lease?.spec, {
        holderIdentity: "a",
        leaseDurationSeconds: 15,
        acquireTime: "1970-01-01T00:00:00.000000Z",
        renewTime: "1970-01-01T00:00:00.000000Z",
        leaseTransitions: 0
      })
      yield* pass(60)
      assert.deepStrictEqual(witness.now(), ["a"])
      assert.strictEqual(store.lease?.spec?.acquireTime, "1970-01-01T00:00:00.000000Z")
      // 61 s: 30 renewals, one request each.
      assert.strictEqual(store.lease?.spec?.renewTime, "1970-01-01T00:01:00.000000Z")
      assert.strictEqual(store.requests, 2 + 30)
    })
  )

  it.effect("has one leader, and passes at once when that one is stopped", () =>
    Effect.gen(function* () {
      const { store, witness, candidate } = setup()
      const first = yield* candidate("a")
      yield* pass(1)
      yield* candidate("b")
      yield* pass(60)
      assert.deepStrictEqual(witness.now(), ["a"])
      yield* Fiber.interrupt(first)
      assert.strictEqual(store.lease?.spec?.holderIdentity, "")
      // A retry period and its jitter, not the lease's duration.
      yield* pass(5)
      assert.deepStrictEqual(witness.log, ["a leads", "a stops", "b leads"])
      assert.strictEqual(store.lease?.spec?.leaseTransitions, 1)
    })
  )

  it.effect("of a leader that vanished is taken after 15 s without a sign of life, whatever its times say", () =>
    Effect.gen(function* () {
      const { store, witness, candidate } = setup()
      // Renewed in the far past by its own clock: expired, if clocks were compared.
      store.edit({ holderIdentity: "dead", leaseDurationSeconds: 15, renewTime: "1960-01-01T00:00:00.000000Z" })
      yield* candidate("a")
      yield* pass(12)
      // An edit of the object by someone else is no sign of life; a renewal is.
      store.edit({})
      yield* pass(2)
      assert.deepStrictEqual(witness.now(), [])
      store.edit({ renewTime: "1960-01-01T00:00:02.000000Z" })
      yield* pass(14)
      assert.deepStrictEqual(witness.now(), [])
      yield* pass(10)
      assert.deepStrictEqual(witness.now(), ["a"])
      assert.strictEqual(store.lease?.spec?.leaseTransitions, 1)
    })
  )

  it.effect("that can't be renewed for 10 s is lost, before anyone else may take it, and not given back", () =>
    Effect.gen(function* () {
      for (const broken of ["Unavailable", "hang"] as const) {
        const { store, witness, candidate } = setup()
        const first = yield* candidate("a")
        yield* pass(5)
        store.broken = broken
        yield* pass(7)
        assert.deepStrictEqual(witness.now(), ["a"], broken)
        yield* pass(4)
        assert.deepStrictEqual(witness.now(), [], broken)
        const exit = yield* Fiber.await(first)
        assert.isTrue(
          Exit.isFailure(exit) && exit.cause.reasons.some((r) => r._tag === "Fail" && r.error._tag === "LeadershipLost")
        )
        assert.strictEqual(store.lease?.spec?.holderIdentity, "a")
      }
    })
  )

  it.effect("survives failures shorter than the deadline, and edits by others", () =>
    Effect.gen(function* () {
      const { store, witness, candidate } = setup()
      yield* candidate("a")
      for (const broken of ["Unavailable", "TooManyRequests", "hang"] as const) {
        yield* pass(10)
        store.broken = broken
        yield* pass(6)
        store.broken = undefined
        yield* pass(4)
        store.edit({})
      }
      yield* pass(20)
      store.remove()
      yield* pass(20)
      assert.deepStrictEqual(witness.log, ["a leads"])
      assert.strictEqual(store.lease?.spec?.holderIdentity, "a")
    })
  )

  it.effect("that another took is lost at the next renewal", () =>
    Effect.gen(function* () {
      const { store, witness, candidate } = setup()
      const first = yield* candidate("a")
      yield* pass(5)
      store.edit({ holderIdentity: "b", renewTime: "x" })
      yield* pass(3)
      assert.deepStrictEqual(witness.log, ["a leads", "a stops"])
      const error = yield* Effect.flip(Fiber.join(first))
      assert.deepInclude(error, { _tag: "LeadershipLost", lease: "ns/lock", reason: "held by b" })
      assert.strictEqual(store.lease?.spec?.holderIdentity, "b")
    })
  )

  it.effect("never has two leaders while candidates come, go and vanish", () =>
    Effect.gen(function* () {
      const { store, witness, candidate } = setup()
      for (let round = 0; round < 20; round++) {
        const three = yield* Effect.forEach(["a", "b", "c"], (name) =>
          // Every other round the leader goes without giving the lease back.
          candidate(`${name}${round}`, { releaseOnStop: round % 2 === 0 })
        )
        yield* pass(3)
        if (round % 3 === 0) {
          store.broken = "Unavailable"
          yield* pass(12)
          store.broken = undefined
        }
        yield* pass(25)
        if (round % 3 !== 0) assert.lengthOf(witness.now(), 1)
        yield* Effect.forEach(three, Fiber.interrupt)
        assert.lengthOf(witness.now(), 0)
      }
    })
  )

  it.effect("is given back when the work ends, whose result is the result", () =>
    Effect.gen(function* () {
      const store = makeStore()
      const go = yield* Deferred.make<number>()
      const running = yield* Lease.run({ namespace: "ns", name: "lock", identity: "a" }, Deferred.await(go)).pipe(
        Effect.provideService(KubeClient, store.client()),
        Effect.forkChild
      )
      yield* pass(5)
      yield* Deferred.succeed(go, 7)
      assert.strictEqual(yield* Fiber.join(running), 7)
      assert.strictEqual(store.lease?.spec?.holderIdentity, "")
    })
  )

  it.effect("does not hold up the end when it can't be given back", () =>
    Effect.gen(function* () {
      const { store, witness, candidate } = setup()
      const first = yield* candidate("a")
      yield* pass(1)
      store.broken = "hang"
      const ending = yield* Effect.forkChild(Fiber.interrupt(first))
      yield* pass(6)
      yield* Fiber.join(ending)
      assert.deepStrictEqual(witness.log, ["a leads", "a stops"])
    })
  )
})
