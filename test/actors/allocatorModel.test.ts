/**
 * Holds the PoolAllocator against a trivial model (allocatorModel.ts): random commands, among them crashes at any write
 * and conflicts; a failure is shrunk to the fewest commands. And that the model catches allocators that are wrong.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import type { PoolAllocatorShape } from "../../src/actors/PoolAllocator.ts"
import { type Broken, Command, check } from "./allocatorModel.ts"

const MOST_COMMANDS = 40
const commands = Arbitrary.array(Arbitrary.schema(Command), { maxLength: MOST_COMMANDS })

const options = { seed: process.env["SEED"] ?? "allocator", size: MOST_COMMANDS, maxShrinks: 1_000 }
const RUNS = Number(process.env["MACHINIST_MODEL_RUNS"] ?? 150)

/** A broken one is caught long before that; what is left of a failure is small enough to be read. */
const RUNS_TO_CATCH = 150
const FEW_COMMANDS = 6

const property = (broken?: Broken) => (list: ReadonlyArray<Command>) =>
  Effect.flatMap(Effect.orDie(check(list, broken)), (wrong) =>
    wrong.length === 0 ? Effect.succeed(true) : Effect.fail(wrong.join("\n"))
  )

const broken: Readonly<Record<string, (inner: PoolAllocatorShape) => PoolAllocatorShape>> = {
  "does not look at selectors": (inner) => ({
    ...inner,
    machineSeen: (machine) =>
      inner.machineSeen({
        ...machine,
        metadata: {
          ...machine.metadata,
          annotations: { ...machine.metadata.annotations, "machinist.dev/selector": "" }
        }
      })
  }),
  "does not look at maintenance": (inner) => ({
    ...inner,
    hostSeen: (host) => {
      const { "machinist.dev/maintenance": _, ...annotations } = host.metadata.annotations ?? {}
      return inner.hostSeen({ ...host, metadata: { ...host.metadata, annotations } })
    }
  }),
  "serves the youngest first": (inner) => ({
    ...inner,
    machineSeen: (machine) => {
      const age = Date.parse(machine.metadata.creationTimestamp ?? "")
      const inverted = new Date(4_102_444_800_000 - age).toISOString()
      return inner.machineSeen({ ...machine, metadata: { ...machine.metadata, creationTimestamp: inverted } })
    }
  }),
  "forgets to give back": (inner) => ({ ...inner, release: () => Effect.void }),
  "does not hear of hosts that are gone": (inner) => ({ ...inner, hostGone: () => Effect.void }),
  "hears of a host only once": (inner) => {
    const heard = new Set<string>()
    return {
      ...inner,
      hostSeen: (host) => {
        const { name } = host.metadata
        if (heard.has(name)) return Effect.void
        heard.add(name)
        return inner.hostSeen(host)
      }
    }
  }
}

describe("the allocator, against a model", () => {
  it.effect(
    "whatever happens: each host one machine that may have it, nobody waits for nothing, the oldest first",
    () =>
      Effect.gen(function* () {
        const result = yield* Arbitrary.checkEffect(commands, property(), { ...options, runs: RUNS })
        assert.isUndefined(Arbitrary.formatCheckFailure(result))
      })
  )

  for (const [what, allocator] of Object.entries(broken))
    it.effect(`one that ${what} is caught, and told in a few commands`, () =>
      Effect.gen(function* () {
        const result = yield* Arbitrary.checkEffect(commands, property({ allocator }), {
          ...options,
          runs: RUNS_TO_CATCH
        })
        if (result._tag !== "Falsified") return assert.fail(`${result._tag}: not caught`)
        assert.isAtMost(result.shrunkInput.length, FEW_COMMANDS, JSON.stringify(result.shrunkInput))
      })
    )
})
