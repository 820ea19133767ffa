/**
 * Holds that no join token is ever left behind: a hundred machines, one after the other, that join or are deleted while
 * writes conflict, answers get lost, and the process crashes at any of its writes; a seed says which.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Machines } from "../../src/api/ClusterApi.ts"
import { Secrets, secretText } from "../../src/api/Core.ts"
import { K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import { KubeError } from "../../src/kube/KubeError.ts"
import * as B from "../support/bootstrap.ts"
import { ref } from "../support/cluster.ts"

const ROUNDS = 100
const SEED = 20_261
/** More than a whole life has: then nothing crashes. */
const WRITES = 10
/** One in so many writes goes wrong. */
const TROUBLE = 4

/** mulberry32. */
const drawer = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

const broken = (reason: "Conflict" | "Unavailable", verb: string, kind: string): KubeError =>
  new KubeError({ reason, verb, kind, message: reason === "Conflict" ? "the object was changed" : "connection reset" })

/** Conflicts, and answers that are lost after the deed. */
const troubled =
  (draw: (below: number) => number, counts: { conflicts: number; lost: number }) =>
  (kube: KubeClientShape): KubeClientShape => {
    const disturb = <A>(verb: string, kind: string, call: Effect.Effect<A, KubeError>): Effect.Effect<A, KubeError> =>
      Effect.suspend(() => {
        if (kind === "Event" || draw(TROUBLE) > 0) return call
        if (draw(2) === 0) {
          counts.conflicts += 1
          return Effect.fail(broken("Conflict", verb, kind))
        }
        counts.lost += 1
        return Effect.andThen(Effect.exit(call), Effect.fail(broken("Unavailable", verb, kind)))
      })
    return {
      ...kube,
      create: (kind, object) => disturb("create", kind.kind, kube.create(kind, object)),
      patch: (kind, at, patch, options) => disturb("patch", kind.kind, kube.patch(kind, at, patch, options)),
      delete: (kind, at, options) => disturb("delete", kind.kind, kube.delete(kind, at, options))
    }
  }

describe("a hundred rounds", () => {
  it.effect(
    "leave no token, whatever went wrong in between",
    () =>
      Effect.gen(function* () {
        const all = yield* B.world
        const draw = drawer(SEED)
        const counts = { conflicts: 0, lost: 0, crashes: 0, joined: 0, most: 0 }
        const wrap = troubled(draw, counts)
        const start = (crash: boolean) =>
          B.process(all, {
            wrap,
            wrapWorkload: wrap,
            ...(crash
              ? { crashAt: 1 + draw(WRITES), when: draw(2) === 0 ? ("before" as const) : ("after" as const) }
              : {})
          })
        let process = yield* start(true)
        /** Whoever crashed is followed by another, until it is so. */
        const until = Effect.fnUntraced(function* (what: string, isSo: Effect.Effect<boolean>) {
          for (;;) {
            yield* B.eventually(
              what,
              Effect.map(isSo, (done) => done || process.crashed())
            )
            counts.most = Math.max(counts.most, (yield* B.tokens(all)).length)
            if (!process.crashed()) return
            counts.crashes += 1
            yield* process.crash
            process = yield* start(draw(2) === 0)
          }
        })
        const gone = Effect.map(B.configNow(all), (config) => config === undefined)
        for (let round = 0; round < ROUNDS; round++) {
          yield* B.createWorker(all.kube)
          if (draw(2) === 0) yield* until(`ready ${round}`, B.isReady(all))
          else {
            // In the middle of it: after so many writes, or the crash at one of them.
            const enough = process.writes() + draw(4)
            yield* B.eventually(
              `some writes ${round}`,
              Effect.sync(() => process.crashed() || process.writes() >= enough)
            )
          }
          if (draw(2) === 0) {
            counts.joined += 1
            yield* B.join(all.kube)
          }
          yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
          yield* until(`gone ${round}`, gone)
          assert.deepStrictEqual((yield* B.tokens(all)).map(B.tokenText), [], `round ${round}`)
          yield* all.kube.delete(Machines, ref(B.NAME))
          // With a config that never came to its Secret there is none.
          yield* all.kube.delete(Secrets, ref(B.NAME)).pipe(Effect.ignore)
          if (process.crashed() || draw(4) === 0) {
            yield* process.crash
            process = yield* start(true)
          }
        }
        assert.strictEqual(counts.most, 1)
        // It did go wrong often enough to mean something.
        assert.isAbove(counts.crashes, ROUNDS / 5)
        assert.isAbove(counts.conflicts, ROUNDS / 5)
        assert.isAbove(counts.lost, ROUNDS / 5)
        assert.isAbove(counts.joined, ROUNDS / 5)
      }).pipe(Effect.scoped),
    240_000
  )
})

describe("how long a token lives", () => {
  it.effect("as the config's annotation says, and longer while its machine has not joined", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube, {}, { annotations: { "machinist.dev/token-ttl": "1h" } })
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const expiration = Effect.map(B.tokens(all), ([token]) =>
        Date.parse(secretText(token ?? assert.fail("no token"), "expiration") ?? "")
      )
      const HOUR = 3_600_000
      assert.approximately(yield* expiration, HOUR, 60_000)
      const before = B.dataText(yield* B.dataSecret(all))
      for (let hours = 1; hours <= 5; hours++) {
        yield* B.settle(HOUR)
        assert.isAbove(yield* expiration, hours * HOUR)
        assert.isAtMost(yield* expiration, (hours + 1) * HOUR + 60_000)
      }
      assert.strictEqual(B.dataText(yield* B.dataSecret(all)), before)
      yield* all.kube.patch(K0sWorkerConfigs, ref(B.NAME), {
        metadata: { annotations: { "machinist.dev/token-ttl": "10h" } }
      })
      yield* B.settle(HOUR)
      assert.isAbove(yield* expiration, 12 * HOUR)
    }).pipe(Effect.scoped)
  )
})
