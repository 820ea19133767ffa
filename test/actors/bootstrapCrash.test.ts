/**
 * Holds: a crash before or after any write, in either cluster, leads the next life to the same end: one token, one Secret
 * with the same bytes, and no token once nobody needs it. So does deletion asked for in the middle, and a storm of
 * conflicts and lost answers.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { Secrets, secretText } from "../../src/api/Core.ts"
import { K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import { tokenIdFor } from "../../src/domain/BootstrapTokens.ts"
import { faultyKubeClient, type KubeFaultPlan, noKubeFaults } from "../../src/simulation/Faults.ts"
import * as B from "../support/bootstrap.ts"
import { ref } from "../support/cluster.ts"

const moments = ["before", "after"] as const
/** More writes than a life has: the test asserts that the last ones never come. */
const MANY = 12

const oneTokenInTheData = Effect.fnUntraced(function* (all: B.World) {
  const secret = yield* B.dataSecret(all)
  const [token, ...others] = yield* B.tokens(all)
  assert.deepStrictEqual(others.map(B.tokenText), [])
  if (token === undefined) return assert.fail("no token")
  assert.strictEqual(B.carriedToken(secret), B.tokenText(token))
  return B.dataText(secret)
})

const isGone = (all: B.World) => Effect.map(B.configNow(all), (config) => config === undefined)

type Story = "delete" | "join"

/** Runs the story in one process until it is over or has crashed. */
const follow = Effect.fnUntraced(function* (all: B.World, process: B.Process, story: Story) {
  const over = (end: Effect.Effect<boolean>) => Effect.map(end, (done) => done || process.crashed())
  yield* B.eventually("ready", over(Effect.map(Effect.all([B.isReady(all), isGone(all)]), ([a, b]) => a || b)))
  if (process.crashed()) return
  const config = yield* B.configNow(all)
  if (story === "join") {
    yield* B.join(all.kube)
    yield* B.eventually("no finalizer", over(Effect.map(B.configNow(all), (found) => !B.hasOurFinalizer(found))))
    return
  }
  if (config !== undefined) yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
  yield* B.eventually("gone", over(isGone(all)))
})

describe("crash at every write", () => {
  for (const story of ["delete", "join"] as const) {
    for (const when of moments) {
      it.effect(`ready, then ${story}: ${when} each write`, () =>
        Effect.gen(function* () {
          let crashes = 0
          for (let crashAt = 1; crashAt <= MANY; crashAt++) {
            yield* Effect.scoped(
              Effect.gen(function* () {
                const all = yield* B.world
                yield* B.createWorker(all.kube)
                const first = yield* B.process(all, { crashAt, when })
                yield* follow(all, first, story)
                if (first.crashed()) crashes += 1
                yield* first.crash
                const left = yield* B.dataSecret(all)
                const tokensLeft = (yield* B.tokens(all)).map(B.tokenText)

                const asked = yield* B.configNow(all)
                const unasked = asked !== undefined && asked.metadata.deletionTimestamp === undefined
                const second = yield* B.process(all)
                if (unasked && asked.metadata.finalizers !== undefined) {
                  yield* B.eventually("ready again", B.isReady(all))
                  yield* B.settle(2_000)
                  const joined = story === "join" && (yield* B.tokens(all)).length === 0
                  const text = joined ? B.dataText(yield* B.dataSecret(all)) : yield* oneTokenInTheData(all)
                  if (left !== undefined) assert.strictEqual(text, B.dataText(left), `bytes, crash ${crashAt}`)
                  if (!joined && tokensLeft.length > 0)
                    assert.deepStrictEqual((yield* B.tokens(all)).map(B.tokenText), tokensLeft)
                }
                yield* follow(all, second, story)
                assert.deepStrictEqual(yield* B.tokens(all), [], `crash ${crashAt}`)
                if (story === "delete") assert.isUndefined(yield* B.dataSecret(all))
                else assert.isDefined(yield* B.dataSecret(all))
              })
            )
          }
          // finalizer, token, Secret, status, and the way out.
          assert.isAtLeast(crashes, 6)
          assert.isBelow(crashes, MANY)
        })
      )
    }
  }

  for (const when of moments) {
    it.effect(`deletion asked for while nobody lives: ${when} each write`, () =>
      Effect.gen(function* () {
        for (let crashAt = 1; crashAt <= 5; crashAt++) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const all = yield* B.world
              yield* B.createWorker(all.kube)
              const first = yield* B.process(all, { crashAt, when })
              yield* B.eventually(
                "crashed or ready",
                Effect.map(B.isReady(all), (ready) => ready || first.crashed())
              )
              yield* first.crash
              yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
              yield* B.process(all)
              yield* B.eventually("gone", isGone(all))
              assert.deepStrictEqual(yield* B.tokens(all), [], `crash ${crashAt}`)
            })
          )
        }
      })
    )
  }
})

/** Deletion asked for at the moment the actor enters a state. */
describe("deletion in every state revokes the token", () => {
  for (const tag of ["Claimed", "Provisioning", "Ready"] as const) {
    it.effect(tag, () =>
      Effect.gen(function* () {
        const all = yield* B.world
        yield* B.createWorker(all.kube)
        let stop: "armed" | "fired" = "armed"
        // The world stands still in that state until deletion is on its way.
        const wrap = (kube: B.World["kube"]): B.World["kube"] => ({
          ...kube,
          get: (kind, at) =>
            kind.kind === "Secret" && stop === "armed" && reached(process?.states ?? [])
              ? Effect.andThen(Effect.sleep(5_000), kube.get(kind, at))
              : kube.get(kind, at)
        })
        const reached = (states: B.Process["states"]) => states.at(-1)?.phase._tag === tag
        let process: B.Process | undefined
        process = yield* B.process(all, { wrap })
        const { states } = process
        yield* B.eventually(
          tag,
          Effect.sync(() => states.some(({ phase }) => phase._tag === tag))
        )
        yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
        stop = "fired"
        yield* B.eventually("gone", isGone(all))
        yield* B.settle(60_000)
        assert.deepStrictEqual(yield* B.tokens(all), [])
        assert.isUndefined(yield* B.dataSecret(all))
      }).pipe(Effect.scoped)
    )
  }
})

const storm: KubeFaultPlan = {
  ...noKubeFaults,
  requestDelay: [0, 200],
  responseDelay: [0, 200],
  unavailable: 0.1,
  tooManyRequests: 0.1,
  conflict: 0.25,
  lostResponse: 0.2,
  watchGone: 0.1,
  watchBreak: 0.1
}

describe("storms", () => {
  it.effect("conflicts, lost answers, refused calls in both clusters: one token, one Secret, then none", () =>
    Effect.gen(function* () {
      for (let seed = 0; seed < 25; seed++) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const all = yield* B.world
            yield* B.createWorker(all.kube)
            let plan = storm
            const wrap = (kube: B.World["kube"]) => faultyKubeClient(kube, () => plan)
            const process = yield* B.process(all, { wrap, wrapWorkload: wrap })
            yield* B.eventually(`ready, seed ${seed}`, B.isReady(all))
            plan = noKubeFaults
            yield* B.settle(180_000)
            yield* oneTokenInTheData(all)
            plan = storm
            yield* follow(all, process, seed % 2 === 0 ? "delete" : "join")
            assert.deepStrictEqual(yield* B.tokens(all), [], `seed ${seed}`)
          })
        ).pipe(Random.withSeed(`storm ${seed}`))
      }
    })
  )

  it.effect("someone else writes the config all the time", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      yield* B.createWorker(all.kube)
      let count = 0
      const wrap = (kube: B.World["kube"]): B.World["kube"] => ({
        ...kube,
        patch: (kind, at, patch, options) =>
          kind.kind === "K0sWorkerConfig" && ++count % 3 !== 0
            ? Effect.andThen(
                all.kube.patch(K0sWorkerConfigs, at, { metadata: { labels: { meddler: `${count}` } } }),
                kube.patch(kind, at, patch, options)
              )
            : kube.patch(kind, at, patch, options)
      })
      yield* B.process(all, { wrap })
      yield* B.eventually("ready", B.isReady(all))
      yield* oneTokenInTheData(all)
      assert.isDefined((yield* B.configNow(all))?.metadata.labels?.["meddler"])
    }).pipe(Effect.scoped)
  )
})

describe("two leaders at a time", () => {
  it.effect("end with one token in one Secret", () =>
    Effect.gen(function* () {
      for (let seed = 0; seed < 10; seed++) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const all = yield* B.world
            yield* B.createWorker(all.kube)
            const slow: KubeFaultPlan = { ...noKubeFaults, requestDelay: [0, 500], responseDelay: [0, 500] }
            const wrap = (kube: B.World["kube"]) => faultyKubeClient(kube, () => slow)
            yield* B.process(all, { wrap, wrapWorkload: wrap })
            yield* B.process(all, { wrap, wrapWorkload: wrap })
            yield* B.eventually("ready", B.isReady(all))
            yield* B.settle(120_000)
            yield* oneTokenInTheData(all)
            yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
            yield* B.eventually("gone", isGone(all))
            assert.deepStrictEqual(yield* B.tokens(all), [])
          })
        ).pipe(Random.withSeed(`leaders ${seed}`))
      }
    })
  )

  it.effect("a foreign token in the way of the config's own id: the next id", () =>
    Effect.gen(function* () {
      const all = yield* B.world
      const config = yield* B.createWorker(all.kube)
      const taken = tokenIdFor(config.metadata.uid ?? "", 0)
      yield* all.workload.kubeClient.create(Secrets, {
        metadata: { namespace: "kube-system", name: `bootstrap-token-${taken}` },
        type: "bootstrap.kubernetes.io/token",
        data: { "token-id": Buffer.from(taken).toString("base64") }
      })
      yield* B.process(all)
      yield* B.eventually("ready", B.isReady(all))
      const ids = (yield* B.tokens(all)).map((one) => secretText(one, "token-id"))
      assert.sameMembers(ids, [taken, tokenIdFor(config.metadata.uid ?? "", 1)])
      yield* all.kube.delete(K0sWorkerConfigs, ref(B.NAME))
      yield* B.eventually("gone", isGone(all))
      assert.deepStrictEqual(
        (yield* B.tokens(all)).map((one) => secretText(one, "token-id")),
        [taken]
      )
    }).pipe(Effect.scoped)
  )
})
