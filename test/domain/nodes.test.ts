/**
 * Holds which Node is which Machine and what is done about it, by a table; and when a workload cluster's Nodes are watched,
 * as a story.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Equal from "effect/Equal"
import type { Failure } from "../../src/domain/Bootstrap.ts"
import { deeds, type Need, type NodeView } from "../../src/domain/Nodes.ts"
import * as Watch from "../../src/domain/NodeWatch.ts"

const ID = "remote-machine://10.0.0.1:22"
const node = (name: string, more: Partial<NodeView> = {}): NodeView => ({
  name,
  uid: `uid of ${name}`,
  resourceVersion: "1",
  providerID: undefined,
  says: [],
  ...more
})
const need = (machine: string, more: Partial<Need> = {}): Need => ({ machine, providerID: ID, assign: true, ...more })
const said = (nodes: ReadonlyArray<NodeView>, needs: ReadonlyArray<Need>, living: ReadonlyArray<string>) =>
  deeds(nodes, needs, new Set(living)).map((deed) => `${deed._tag.toLowerCase()} ${deed.node.name}`)

describe("deeds", () => {
  const former = node("old", { providerID: ID, says: ["old"] })
  const cases: ReadonlyArray<
    readonly [string, ReadonlyArray<NodeView>, ReadonlyArray<Need>, ReadonlyArray<string>, ReadonlyArray<string>]
  > = [
    ["the Node of the Machine's name", [node("a"), node("b")], [need("a")], ["a", "b"], ["assign a"]],
    ["the one that says so", [node("host-1", { says: ["a"] })], [need("a")], ["a"], ["assign host-1"]],
    ["the name before the label", [node("a"), node("x", { says: ["a"] })], [need("a")], ["a"], ["assign a"]],
    ["two that say so: neither", [node("x", { says: ["a"] }), node("y", { says: ["a"] })], [need("a")], ["a"], []],
    ["no such Node", [node("b")], [need("a")], ["a", "b"], []],
    ["it has it already", [node("a", { providerID: ID })], [need("a")], ["a"], []],
    ["another one is never overwritten", [node("a", { providerID: "aws:///i-1" })], [need("a")], ["a"], []],
    ["its bootstrap is not over", [node("a")], [need("a", { assign: false })], ["a"], []],
    ["the former tenant goes first", [former, node("a")], [need("a")], ["a"], ["remove old", "assign a"]],
    [
      "the former tenant goes before the new one is there",
      [former],
      [need("a", { assign: false })],
      ["a"],
      ["remove old"]
    ],
    [
      "also when the host's own name is the Node's",
      [node("host-1", { providerID: ID, says: ["old"] })],
      [need("a", { assign: false })],
      ["a"],
      ["remove host-1"]
    ],
    [
      "never taken for the new one",
      [node("host-1", { providerID: ID, says: ["old"] })],
      [need("a")],
      ["a"],
      ["remove host-1"]
    ],
    ["its Machine is there: nobody is removed, nobody gets its id", [former, node("a")], [need("a")], ["a", "old"], []],
    [
      "a Node of a living Machine's name stays",
      [node("b", { providerID: ID, says: ["old"] })],
      [need("a")],
      ["a", "b"],
      []
    ],
    [
      "one that says nothing may be the cloud's: it stays",
      [node("ip-10-0-0-1", { providerID: ID })],
      [need("a")],
      ["a"],
      []
    ],
    ["another host's Node stays", [node("old", { providerID: "other", says: ["old"] })], [need("a")], ["a"], []],
    [
      "each its own",
      [node("a"), node("b")],
      [need("a"), need("b", { providerID: "other" })],
      ["a", "b"],
      ["assign a", "assign b"]
    ]
  ]
  for (const [what, nodes, needs, living, expected] of cases)
    it(what, () => {
      assert.deepStrictEqual(said(nodes, needs, living), expected)
      // The order of a list is nobody's promise.
      assert.sameMembers([...said(nodes.toReversed(), needs.toReversed(), living.toReversed())], [...expected])
    })
})

describe("the watch", () => {
  const failure: Failure = { reason: "WorkloadClusterUnreachable", message: "refused", retry: "backoff" }
  const seen = (needed: boolean) => Watch.Event.Observed({ needed })
  const lived = (...events: ReadonlyArray<Watch.Event>) => {
    let state = Watch.initial
    const notices: Array<string> = []
    for (const event of events) {
      const [next, told] = Watch.transition(state, event)
      notices.push(...told.map((one) => one._tag))
      state = next
    }
    return { state, notices, activity: Watch.activity(state) }
  }
  const broke = (attempt: number) => Watch.Event.Broke({ attempt, failure })

  it("goes on while it is needed, whatever is seen and answered", () => {
    const { activity, notices } = lived(seen(true), Watch.Event.Answered({ attempt: 1 }), seen(true))
    assert.isTrue(Equal.equals(activity, Watch.activity(Watch.initial)))
    assert.deepStrictEqual(notices, [])
  })
  it("is over when nobody needs it, and stays so", () => {
    const { activity, state } = lived(seen(false), seen(true), broke(1))
    assert.strictEqual(state._tag, "Over")
    assert.isUndefined(activity)
    assert.isTrue(Watch.isFinal(state))
  })
  it("is made again, later each time; people hear of the first failure, and of the end", () => {
    const { activity, notices } = lived(broke(1), broke(2), broke(3))
    assert.deepStrictEqual(activity, { attempt: 4, wait: 3 })
    assert.deepStrictEqual(notices, ["Lost"])
    const again = lived(broke(1), broke(2), Watch.Event.Answered({ attempt: 3 }))
    assert.deepStrictEqual(again.notices, ["Lost", "Found"])
    // It goes on as it is; the next failure is a first one.
    assert.deepStrictEqual(again.activity, { attempt: 3, wait: 2 })
    assert.deepStrictEqual(lived(broke(1), broke(2), Watch.Event.Answered({ attempt: 3 }), broke(3)).activity, {
      attempt: 4,
      wait: 1
    })
  })
  it("that there is no way in yet is no news", () => {
    const noKubeconfig = { ...failure, reason: "KubeconfigNotFound" }
    const { activity, notices } = lived(Watch.Event.Broke({ attempt: 1, failure: noKubeconfig }))
    assert.deepStrictEqual(notices, [])
    assert.deepStrictEqual(activity, { attempt: 2, wait: 1 })
  })
  it("late results of an attempt before mean nothing", () => {
    assert.deepStrictEqual(lived(broke(1), broke(1), Watch.Event.Answered({ attempt: 1 })).activity, {
      attempt: 2,
      wait: 1
    })
  })
})
