/** Faults between client and host: each is what it says, draws repeat with the seed, and a cut lets nothing through. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { makeSimulatedHosts } from "../../../src/simulation/hosts/SimulatedHosts.ts"
import {
  cuttable,
  drawSshFaults,
  droppingSshClient,
  faultySshClient,
  makeCut,
  noSshFaults,
  type SshFaultPlan
} from "../../../src/simulation/hosts/SshFaults.ts"
import { runOf, tenant } from "../../conformance/hosts/World.ts"
import { seconds, speak, targetOf } from "./speak.ts"

const ADDRESS = "10.0.0.1"
const inspect = { verb: "inspect", tenant: tenant() } as const
const run = runOf([{ name: "one", script: "true\n" }], { sentinel: false })

const oneHost = Effect.gen(function* () {
  const hosts = yield* makeSimulatedHosts()
  return { hosts, host: yield* hosts.add({ address: ADDRESS }) }
})

describe("faults", () => {
  const phases: ReadonlyArray<readonly [fault: Partial<SshFaultPlan>, phase: string, began: boolean]> = [
    [{ refuse: 1 }, "connect", false],
    [{ refuseKey: 1 }, "authentication", false],
    [{ loseRequest: 1 }, "closed", false],
    [{ drop: 1, dropAfterLines: 0 }, "closed", true]
  ]
  for (const [fault, phase, began] of phases) {
    it.effect(`${JSON.stringify(fault)}: ${phase}, and the run ${began ? "went on" : "never began"}`, () =>
      Effect.gen(function* () {
        const { host, hosts } = yield* oneHost
        const client = faultySshClient(hosts.client, () => ({ ...noSshFaults, ...fault }))
        const error = yield* Effect.flip(speak(client, targetOf(ADDRESS), run))
        assert.strictEqual(error.phase, phase)
        yield* seconds(60)
        assert.strictEqual(host.tenancy()?.state, began ? "ready" : undefined)
      })
    )
  }

  it.effect("half open: no answer, no error, and the run goes on", () =>
    Effect.gen(function* () {
      const { host, hosts } = yield* oneHost
      const client = faultySshClient(hosts.client, () => ({ ...noSshFaults, halfOpen: 1 }))
      const call = yield* Effect.forkChild(speak(client, targetOf(ADDRESS), run))
      yield* seconds(120)
      assert.isUndefined(call.pollUnsafe())
      assert.strictEqual(host.tenancy()?.state, "ready")
    })
  )

  it.effect("a drop lets exactly so many lines through", () =>
    Effect.gen(function* () {
      const { hosts } = yield* oneHost
      const all = yield* speak(hosts.client, targetOf(ADDRESS), run)
      for (let lines = 0; lines < all.length; lines += 1) {
        const client = droppingSshClient(hosts.client, () => lines)
        const error = yield* Effect.flip(speak(client, targetOf(ADDRESS), run))
        assert.strictEqual(error.phase, "closed")
      }
      const healed = droppingSshClient(hosts.client, () => undefined)
      assert.strictEqual((yield* speak(healed, targetOf(ADDRESS), run)).at(-1)?._tag, "RunSucceeded")
    })
  )

  it.effect("what a seed draws, it draws again", () =>
    Effect.gen(function* () {
      const fates = (seed: number) =>
        Effect.gen(function* () {
          const { hosts } = yield* oneHost
          const plan = yield* drawSshFaults
          // Half open means for ever.
          const client = faultySshClient(hosts.client, () => ({ ...plan, delay: 0, halfOpen: 0 }))
          return yield* Effect.forEach(Array.from({ length: 40 }), () =>
            speak(client, targetOf(ADDRESS), inspect).pipe(
              Effect.as("well"),
              Effect.catch(({ message }) => Effect.succeed(message))
            )
          )
        }).pipe(Effect.scoped, Random.withSeed(seed))
      const first = yield* fates(3)
      assert.include(first, "well")
      assert.isAbove(new Set(first).size, 1)
      assert.deepStrictEqual(yield* fates(3), first)
      assert.notDeepEqual(yield* fates(4), first)
    })
  )
})

describe("cut", () => {
  it.effect("after it nothing reaches a host, not even from finalizers, and what was on its way never arrives", () =>
    Effect.gen(function* () {
      const { host, hosts } = yield* oneHost
      host.script("slow", { duration: 30_000 })
      const cut = makeCut()
      const client = cuttable(hosts.client, cut)
      const slow = runOf([{ name: "slow", script: "?" }], { sentinel: false })
      const following = yield* Effect.forkChild(speak(client, targetOf(ADDRESS), slow))
      const parting = yield* Effect.forkChild(
        Effect.never.pipe(Effect.ensuring(Effect.ignore(speak(client, targetOf(ADDRESS), inspect))))
      )
      yield* seconds(1)
      const before = host.connectsSeen()
      cut.throwNow()
      const late = yield* Effect.forkChild(speak(client, targetOf(ADDRESS), inspect))
      yield* seconds(120)
      assert.isUndefined(following.pollUnsafe(), "the end of the run was told through the cut")
      assert.isUndefined(late.pollUnsafe())
      for (const fiber of [parting, following, late]) yield* Fiber.interrupt(fiber)
      assert.strictEqual(host.connectsSeen(), before)
      assert.strictEqual(host.tenancy()?.state, "ready", "the run itself lives on the host")
    })
  )
})
