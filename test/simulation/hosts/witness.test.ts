/** Each query of the witness objects to what it is there for, and to nothing else. */
import { assert, describe, it } from "@effect/vitest"
import {
  dirtyHosts,
  doubleTenants,
  failedStepsRunTwice,
  foreignData,
  holders,
  interruptedReruns,
  makeWitness,
  overlappingSteps,
  type StepIdentity,
  stepsRunTwice,
  type WitnessEntry,
  type WitnessFact
} from "../../../src/simulation/Witness.ts"

const told = (...facts: ReadonlyArray<WitnessFact>): ReadonlyArray<WitnessEntry> => {
  const witness = makeWitness()
  for (const [at, fact] of facts.entries()) witness.tellUnsafe("h1", at, fact)
  return witness.entries()
}
const identity: StepIdentity = {
  verb: "run",
  claim: "a",
  machine: "ns/a",
  attempt: 1,
  step: 0,
  name: "one",
  dataHash: "hash-a"
}
const began = (more: Partial<StepIdentity> = {}, alongside: ReadonlyArray<string> = []): WitnessFact => ({
  _tag: "StepBegan",
  pid: 1,
  alongside,
  ...identity,
  ...more
})
const ended = (code: number, more: Partial<StepIdentity> = {}): WitnessFact => ({
  _tag: "StepEnded",
  pid: 1,
  code,
  ...identity,
  ...more
})
const interrupted: WitnessFact = { _tag: "StepInterrupted", pid: 1, ...identity }
const unrecorded: WitnessFact = { _tag: "StepUnrecorded", pid: 1, ...identity }
const tenant = (
  claim: string,
  residue: ReadonlyArray<string> = [],
  alongside: ReadonlyArray<string> = []
): WitnessFact => ({
  _tag: "Tenant",
  claim,
  machine: `ns/${claim}`,
  cluster: "c",
  fence: 1,
  residue,
  alongside
})
const wiped = (claim: string, residue: ReadonlyArray<string> = []): WitnessFact => ({ _tag: "Wiped", claim, residue })

const all = {
  stepsRunTwice,
  failedStepsRunTwice,
  overlappingSteps,
  interruptedReruns,
  doubleTenants,
  dirtyHosts,
  foreignData
}
/** Which queries find something. */
const objecting = (entries: ReadonlyArray<WitnessEntry>): ReadonlyArray<string> =>
  Object.entries(all)
    .filter(([, query]) => query(entries).length > 0)
    .map(([name]) => name)

const cases: ReadonlyArray<
  readonly [what: string, facts: ReadonlyArray<WitnessFact>, expected: ReadonlyArray<string>]
> = [
  [
    "a life without fault",
    [
      tenant("a"),
      began(),
      ended(0),
      wiped("a"),
      tenant("b"),
      began({ claim: "b", machine: "ns/b", dataHash: "hash-b" })
    ],
    []
  ],
  ["a step that had succeeded and runs again", [began(), ended(0), began()], ["stepsRunTwice"]],
  ["the same after the host was wiped", [began(), ended(0), wiped("a"), began()], []],
  ["the same on a fresh disk", [began(), ended(0), { _tag: "Reimaged" }, began()], []],
  [
    "the same step when cleaning",
    [began({ verb: "clean" }), ended(0, { verb: "clean" }), began({ verb: "clean" })],
    []
  ],
  ["a success that nobody could record", [began(), ended(0), unrecorded, began()], ["interruptedReruns"]],
  ["a failed step in the same attempt", [began(), ended(1), began()], ["failedStepsRunTwice"]],
  ["a failed step in the next attempt", [began(), ended(1), began({ attempt: 2 })], []],
  ["a step that was cut off", [began(), interrupted, began()], ["interruptedReruns"]],
  ["a step that begins while it runs", [began(), began()], ["overlappingSteps"]],
  ["a second tenant without a wipe", [tenant("a"), tenant("b")], ["doubleTenants"]],
  ["a tenant beside another's processes", [tenant("b", [], ["a"])], ["doubleTenants"]],
  ["a step beside another's processes", [began({}, ["b"])], ["doubleTenants"]],
  ["a tenant on a dirty host", [tenant("b", ["/var/lib/k0s"])], ["dirtyHosts"]],
  ["a wipe that left something", [wiped("a", ["/etc/k0s.token"])], ["dirtyHosts"]],
  ["one machine's data run for another", [began(), wiped("a"), began({ claim: "b", machine: "ns/b" })], ["foreignData"]]
]

describe("witness", () => {
  for (const [what, facts, expected] of cases) {
    it(`${what}: ${expected.length === 0 ? "no objection" : expected.join(", ")}`, () => {
      assert.deepStrictEqual(objecting(told(...facts)), expected)
    })
  }

  it("data is judged by its owner where the caller knows it", () => {
    const findings = foreignData(told(began()), () => "ns/other")
    assert.strictEqual(findings.length, 1)
    assert.include(findings[0]?.what, "ns/other")
  })

  it("knows who holds which host", () => {
    assert.deepStrictEqual([...holders(told(tenant("a"), wiped("a"), tenant("b")))], [["h1", "b"]])
  })
})
