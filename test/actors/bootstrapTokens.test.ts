/**
 * Holds that a join token never outlives its bootstrap config by a race: whoever makes one for a config that another leader
 * has just seen off takes it back, also where the answer to its making was lost.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { keep, mint, type TokenUse } from "../../src/actors/BootstrapTokenSecrets.ts"
import { Secrets } from "../../src/api/Core.ts"
import { type BootstrapToken, TOKEN_NAMESPACE, workerTokenSecret } from "../../src/domain/JoinToken.ts"
import type { KubeClientShape } from "../../src/kube/KubeClient.ts"
import { KubeError } from "../../src/kube/KubeError.ts"
import { faultyKubeClient, noKubeFaults } from "../../src/simulation/Faults.ts"
import * as SimulatedApiServer from "../../src/simulation/SimulatedApiServer.ts"

const TOKEN: BootstrapToken = { id: "abcdef", secret: "0123456789abcdef" }
const bytes = (count: number) => Effect.succeed(Uint8Array.from({ length: count }, (_, index) => index))
const unavailable = new KubeError({ reason: "Unavailable", verb: "get", kind: "K0sWorkerConfig", message: "down" })

const use = (isWanted: TokenUse["isWanted"]): TokenUse => ({
  configUid: "uid-1",
  ttlSeconds: 3_600,
  secretFor: (token, end) => workerTokenSecret(token, end, "Machine default/m1"),
  isWanted
})

/** The first answer is yes, all later ones are `then`. */
const wantedUntil = (then: TokenUse["isWanted"]): TokenUse["isWanted"] => {
  let asked = 0
  return Effect.suspend(() => (asked++ === 0 ? Effect.succeed(true) : then))
}

/** How it ended, and how many tokens are there then. */
const outcome = <A>(work: (client: KubeClientShape) => Effect.Effect<A, KubeError>) =>
  Effect.gen(function* () {
    const { kubeClient } = yield* SimulatedApiServer.make()
    const fiber = yield* Effect.forkChild(Effect.exit(work(kubeClient)))
    yield* TestClock.adjust("1 minute")
    const exit = yield* Fiber.join(fiber)
    const { items } = yield* kubeClient.list(Secrets, { namespace: TOKEN_NAMESPACE })
    return [exit._tag, items.length]
  }).pipe(Effect.scoped)

describe("a token that was just made", () => {
  it.effect("stays where its config does", () =>
    Effect.gen(function* () {
      const wanted = use(Effect.succeed(true))
      assert.deepStrictEqual(yield* outcome((client) => mint(client, wanted, bytes)), ["Success", 1])
      assert.deepStrictEqual(yield* outcome((client) => keep(client, wanted, TOKEN)), ["Success", 1])
    })
  )

  it.effect("is taken back where the config is gone by now, or nobody can tell", () =>
    Effect.gen(function* () {
      for (const then of [Effect.succeed(false), Effect.fail(unavailable)]) {
        assert.deepStrictEqual(yield* outcome((client) => mint(client, use(wantedUntil(then)), bytes)), ["Failure", 0])
        assert.deepStrictEqual(yield* outcome((client) => keep(client, use(wantedUntil(then)), TOKEN)), ["Failure", 0])
      }
    })
  )

  it.effect("is taken back also when the answer was lost", () =>
    Effect.gen(function* () {
      const losing = (client: KubeClientShape): KubeClientShape => ({
        ...client,
        create: faultyKubeClient(client, () => ({ ...noKubeFaults, lostResponse: 1 })).create
      })
      const gone = use(wantedUntil(Effect.succeed(false)))
      assert.deepStrictEqual(yield* outcome((client) => keep(losing(client), gone, TOKEN)), ["Failure", 0])
    })
  )

  // Seed 5703: a leader that had been held made one for a config of long ago, and ended before it could take it back.
  it.effect("is none at any time where the config is gone already, or nobody can tell", () =>
    Effect.gen(function* () {
      let made = 0
      const counting = (client: KubeClientShape): KubeClientShape => ({
        ...client,
        create: (kind, object) =>
          Effect.andThen(
            Effect.sync(() => made++),
            client.create(kind, object)
          )
      })
      for (const isWanted of [Effect.succeed(false), Effect.fail(unavailable)]) {
        assert.deepStrictEqual(yield* outcome((one) => mint(counting(one), use(isWanted), bytes)), ["Failure", 0])
        assert.deepStrictEqual(yield* outcome((one) => keep(counting(one), use(isWanted), TOKEN)), ["Failure", 0])
      }
      assert.strictEqual(made, 0)
    })
  )
})
