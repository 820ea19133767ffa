/**
 * Holds: a host whose journal can't be used is cleaned and begun on anew, ever more seldom, and not for ever: then a
 * condition says why, and a person's retry lets it go on. New bootstrap data is no fault of the host's, and costs nothing.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Secrets, secretData } from "../src/api/Core.ts"
import { RemoteMachines } from "../src/api/RemoteMachine.ts"
import { START_OVER_BUDGET } from "../src/domain/Machine.ts"
import { HostError } from "../src/hosts/HostError.ts"
import type { HostRunsShape } from "../src/hosts/HostRuns.ts"
import type { World } from "../src/simulation/World.ts"
import { CLOUD_CONFIG, createMachine, ref } from "./support/cluster.ts"
import { makeWorld, pass } from "./support/world.ts"

const ready = (world: World) =>
  Effect.map(world.kube.get(RemoteMachines, ref("m1")), ({ status }) =>
    status?.conditions?.find(({ type }) => type === "Ready")
  )

const annotate = (world: World, retry: string) =>
  world.kube.patch(RemoteMachines, ref("m1"), { metadata: { annotations: { "machinist.dev/retry": retry } } })

/** A host that says so whenever a run is asked for, as long as `lost` is true. */
const losing = (lost: () => boolean) => {
  const begun: { runs: number; cleanings: number } = { runs: 0, cleanings: 0 }
  const hosts = (inner: HostRunsShape): HostRunsShape => ({
    ...inner,
    run: (access, request) => {
      begun.runs += 1
      const host = access.target.address
      return lost()
        ? Stream.fail(new HostError({ reason: "JournalLost", host, message: `${host}: its journal is gone.` }))
        : inner.run(access, request)
    },
    clean: (access, request) => {
      begun.cleanings += 1
      return inner.clean(access, request)
    }
  })
  return { begun, hosts }
}

describe("a host that says for ever that its journal is lost", () => {
  it.effect("is begun on anew ever more seldom, then a person is asked, whose retry cleans it and begins anew", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      let lost = true
      const { begun, hosts } = losing(() => lost)
      const first = yield* world.startProvider("provider", { hosts })
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      // The first time at once; the second after 2.5 to 5 s, then twice as long each time.
      yield* pass(3)
      assert.deepStrictEqual(begun, { runs: 2, cleanings: 1 })
      yield* pass(90)
      assert.deepStrictEqual(begun, { runs: START_OVER_BUDGET + 1, cleanings: START_OVER_BUDGET })
      const told = yield* ready(world)
      assert.strictEqual(told?.reason, "JournalUnusable")
      assert.match(told?.message ?? "", /10\.0\.0\.1: its journal is gone\. .*5 times.*machinist\.dev\/retry/)
      yield* pass(45)
      assert.strictEqual(begun.runs, START_OVER_BUDGET + 1)

      // The next leader asks the host once, and does not begin counting anew.
      yield* first.crash
      yield* world.startProvider("next", { hosts })
      yield* pass(90)
      assert.deepStrictEqual(begun, { runs: START_OVER_BUDGET + 2, cleanings: START_OVER_BUDGET })
      assert.strictEqual((yield* ready(world))?.reason, "JournalUnusable")

      lost = false
      yield* annotate(world, "now")
      yield* pass(20)
      assert.strictEqual((yield* ready(world))?.status, "True")
      assert.strictEqual(begun.cleanings, START_OVER_BUDGET + 1)
    }).pipe(Effect.scoped)
  )

  it.effect("is begun on at once when a person asks for it", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      yield* world.addHost(1)
      const { begun, hosts } = losing(() => true)
      yield* world.startProvider("provider", { hosts })
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      // It waits before the fourth time: at least 10 s.
      yield* pass(19)
      while (begun.runs < 4) yield* pass(1)
      yield* pass(1)
      assert.strictEqual((yield* ready(world))?.reason, "JournalUnusable")
      const before = begun.runs
      yield* annotate(world, "now")
      yield* pass(2)
      assert.strictEqual(begun.runs, before + 1)
    }).pipe(Effect.scoped)
  )

  it.effect("new bootstrap data is begun with however often it comes", () =>
    Effect.gen(function* () {
      const world = yield* makeWorld
      const host = yield* world.addHost(1)
      host.script("runcmd 2", { exitCode: 7 })
      const { begun, hosts } = losing(() => false)
      yield* world.startProvider("provider", { hosts })
      yield* createMachine(world.kube, { name: "m1", pool: "default" })
      // Three tries, then a person is needed.
      yield* pass(45)
      for (let time = 1; time <= START_OVER_BUDGET + 2; time++) {
        const value = CLOUD_CONFIG.replace("echo one", `echo ${time}`)
        yield* world.kube.patch(Secrets, ref("m1-bootstrap"), { data: secretData({ value }) })
        yield* pass(45)
        assert.strictEqual(begun.cleanings, time)
        assert.strictEqual((yield* ready(world))?.reason, "StepFailed")
      }
    }).pipe(Effect.scoped)
  )
})
