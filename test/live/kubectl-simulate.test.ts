/**
 * `machinist simulate` as a process: says where it serves, is found again as it was after SIGKILL, ends on Ctrl-C.
 */
import { once } from "node:events"
import { statSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { ConfigMaps, Namespaces } from "../../src/api/Core.ts"
import { RemoteMachines } from "../../src/api/RemoteMachine.ts"
import * as CommandLine from "../support/CommandLine.ts"

const { firstLine, signalled, start, using } = CommandLine

/** Times that the server is killed, and writes that are answered before each. */
const KILLS = 4
const WRITES_A_ROUND = 60
const WRITERS = [0, 1, 2, 3, 4, 5, 6, 7] as const

describe("machinist simulate", () => {
  it.live("what was answered before a SIGKILL is there after it, under the same kubeconfig", () =>
    Effect.gen(function* () {
      const directory = yield* CommandLine.directory
      const kubeconfig = join(directory, "new", "kubeconfig")
      const args = ["simulate", "--json", "--kubeconfig", kubeconfig, "--state", join(directory, "state")]
      const first = yield* start(args)
      const said = JSON.parse(yield* firstLine(first))
      assert.deepInclude(said, { kubeconfig, continued: false })
      assert.strictEqual(statSync(kubeconfig).mode & 0o777, 0o600)
      for (let index = 0; index < 20; index++) {
        yield* using(kubeconfig, (client) => client.create(Namespaces, { metadata: { name: `n${index}` } }))
      }
      yield* signalled(first, "SIGKILL")
      const second = yield* start([...args, "--port", new URL(said.url).port])
      assert.deepInclude(JSON.parse(yield* firstLine(second)), { url: said.url, continued: true })
      const found = yield* using(kubeconfig, (client) => client.list(Namespaces))
      for (let index = 0; index < 20; index++) {
        assert.include(
          found.items.map((each) => each.metadata.name),
          `n${index}`
        )
      }
      assert.deepStrictEqual((yield* using(kubeconfig, (client) => client.list(RemoteMachines))).items, [])
      assert.strictEqual(yield* signalled(second, "SIGINT"), 0)
    }).pipe(Effect.scoped)
  )

  it.live("killed in the middle of writes, nothing that was answered or watched is lost", () =>
    Effect.gen(function* () {
      const directory = yield* CommandLine.directory
      const kubeconfig = join(directory, "kubeconfig")
      const args = ["simulate", "--json", "--no-core", "--kubeconfig", kubeconfig, "--state", join(directory, "state")]
      const answered = new Map<string, number>()
      const watched = new Set<string>()
      for (let round = 0; round < KILLS; round++) {
        const child = yield* start(args)
        assert.deepInclude(JSON.parse(yield* firstLine(child)), { continued: round > 0 })
        const dead = once(child, "exit")
        let writes = 0
        const wrote = (name: string, count: number) => {
          answered.set(name, count)
          writes += 1
          // While others are being written.
          if (writes === WRITES_A_ROUND + round) child.kill("SIGKILL")
        }
        yield* using(kubeconfig, (client) => {
          const write = Effect.fnUntraced(function* (writer: number) {
            for (let index = 0; ; index++) {
              const name = `c-${round}-${writer}-${index}`
              const ref = { namespace: "default", name }
              yield* client.create(ConfigMaps, { metadata: ref, data: { count: "1" } })
              wrote(name, 1)
              yield* client.patch(ConfigMaps, ref, { data: { count: "2" } })
              wrote(name, 2)
            }
          })
          const watch = client
            .watch(ConfigMaps, { resourceVersion: "0" })
            .pipe(
              Stream.runForEach((event) =>
                Effect.sync(() => event._tag !== "Bookmark" && watched.add(event.object.metadata.name))
              )
            )
          return Effect.raceFirst(
            Effect.promise(() => dead),
            Effect.all([Effect.ignore(watch), ...WRITERS.map((writer) => Effect.ignore(write(writer)))], {
              concurrency: "unbounded"
            })
          )
        })
        yield* Effect.promise(() => dead)
      }
      const last = yield* start(args)
      yield* firstLine(last)
      const { items } = yield* using(kubeconfig, (client) => client.list(ConfigMaps, { namespace: "default" }))
      const found = new Map(items.map(({ data, metadata }) => [metadata.name, Number(data?.["count"])]))
      assert.isAtLeast(answered.size, (KILLS * WRITES_A_ROUND) / 2)
      for (const [name, count] of answered) assert.isAtLeast(found.get(name) ?? 0, count, name)
      for (const name of watched) assert.isTrue(found.has(name), `${name} was told to a watch, and is gone`)
    }).pipe(Effect.scoped)
  )
})
