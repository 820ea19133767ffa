/**
 * Holds the golden stories (*.txt beside this): what happens to a machine, who writes what when, and what its host does.
 * They are read in review like code; UPDATE_GOLDEN=1 writes them anew.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import { TENANCY_FILE } from "../../src/hosts/Protocol.ts"
import { faultyKubeClient, noKubeFaults } from "../../src/simulation/Faults.ts"
import { encodeTenancy } from "../../src/simulation/hosts/Journal.ts"
import { type Line, storyOf } from "../../src/simulation/Story.ts"
import { makeWorld, type World } from "../../src/simulation/World.ts"
import { createMachine, ref } from "../support/cluster.ts"
import { pass } from "../support/world.ts"

interface Telling {
  readonly world: World
  readonly say: (text: string) => Effect.Effect<void>
}

/** Runs `tell` in a world of its own, and compares what happened, line by line, with the golden text. */
const story = (name: string, title: string, tell: (telling: Telling) => Effect.Effect<void, unknown>) =>
  it.effect(title, () =>
    Effect.gen(function* () {
      const world = yield* makeWorld()
      const done: Array<Line> = []
      const say = (text: string) => Effect.map(Clock.currentTimeMillis, (at) => void done.push({ at, text }))
      yield* tell({ world, say })
      const text = `${[`# ${title}`, "", ...storyOf(world, done)].join("\n")}\n`
      const file = new URL(`./${name}.txt`, import.meta.url)
      if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(file, text)
      assert.strictEqual(text, readFileSync(file, "utf8"))
    }).pipe(Random.withSeed(name), Effect.scoped)
  )

/** Every request takes its time: what depends on another thing comes after it, in the text too. */
const start = ({ world }: Telling, name: string) =>
  world.startProvider(name, {
    kube: (inner) =>
      faultyKubeClient(inner, () => ({
        ...noKubeFaults,
        requestDelay: [2, 6],
        responseDelay: [2, 6],
        watchDelay: [1, 4]
      }))
  })

const begin = Effect.fnUntraced(function* (telling: Telling, hosts = 1) {
  const { world, say } = telling
  const all = []
  for (let index = 1; index <= hosts; index++)
    all.push(yield* world.addHost(index, { connectDelay: 40, stepDuration: 500, writeLatency: 2 }))
  yield* createMachine(world.kube, { name: "m1", pool: "default" })
  yield* say("a machine of pool default is created; the provider starts")
  const process = yield* start(telling, "leader-1")
  return { hosts: all, process }
})

const remove = ({ world, say }: Telling) =>
  Effect.andThen(say("the machine is deleted"), world.kube.delete(RemoteMachines, ref("m1")))

describe("stories", () => {
  story("pooled-machine", "A pooled machine's whole life", (telling) =>
    Effect.gen(function* () {
      const { hosts } = yield* begin(telling)
      hosts[0]?.script(/runcmd/, { duration: 2_000, creates: ["/run/cluster-api/bootstrap-success.complete"] })
      yield* pass(20)
      yield* remove(telling)
      yield* pass(10)
    })
  )

  story("deletion-while-provisioning", "A machine is deleted while its bootstrap runs", (telling) =>
    Effect.gen(function* () {
      const { hosts } = yield* begin(telling)
      hosts[0]?.script("runcmd 2", { duration: 60_000 })
      yield* pass(10)
      yield* remove(telling)
      yield* pass(20)
    })
  )

  story("step-fails", "A step fails once, then succeeds", (telling) =>
    Effect.gen(function* () {
      const { hosts } = yield* begin(telling)
      hosts[0]?.script("runcmd 2", { exitCode: 7, stderr: "no route to the mirror\n", times: 1 })
      yield* pass(40)
    })
  )

  story("suspect-host", "A host can't be reached: it is suspected, and another one is found", (telling) =>
    Effect.gen(function* () {
      const { hosts } = yield* begin(telling, 2)
      hosts[0]?.setReachability("refusing")
      yield* pass(60)
    })
  )

  story(
    "foreign-host",
    "A host is another cluster's: it is given back untouched, and another one is taken",
    (telling) =>
      Effect.gen(function* () {
        const { hosts } = yield* begin(telling, 2)
        const record = {
          claim: "other",
          machine: "prod/m7",
          cluster: "u9",
          fence: 3,
          bootId: "b",
          state: "ready"
        } as const
        yield* Effect.orDie(hosts[0]?.disk.write(TENANCY_FILE, encodeTenancy(record)) ?? Effect.void)
        yield* pass(60)
      })
  )

  story("leader-change", "The leader crashes in the middle of a run; the next one re-attaches", (telling) =>
    Effect.gen(function* () {
      const { hosts, process } = yield* begin(telling)
      hosts[0]?.script("runcmd 2", { duration: 20_000 })
      yield* pass(10)
      yield* telling.say("leader-1 crashes")
      yield* process.crash
      yield* pass(5)
      yield* telling.say("leader-2 starts")
      yield* start(telling, "leader-2")
      yield* pass(20)
    })
  )
})
