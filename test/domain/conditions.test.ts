/** Holds: conditions as the API server takes them, transition times that mean something, no needless writes. */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Conditions from "../../src/domain/Conditions.ts"
import { rfc3339 } from "../../src/domain/Rfc3339.ts"
import { shortened } from "../../src/domain/Shorten.ts"

const T1 = "2026-11-21T07:00:00Z"
const T2 = "2026-11-21T08:00:00Z"
const ready = (status: Conditions.ConditionStatus, message = "") => ({
  type: "Ready",
  status,
  reason: "Because",
  message
})

describe("Conditions", () => {
  it("keeps lastTransitionTime while the status stays, and moves it when the status does", () => {
    const first = Conditions.setCondition(undefined, ready("False"), T1)
    const again = Conditions.setCondition(first, { ...ready("False"), reason: "Other", message: "new" }, T2)
    assert.deepStrictEqual(again, [
      { type: "Ready", status: "False", reason: "Other", message: "new", lastTransitionTime: T1 }
    ])
    assert.strictEqual(Conditions.setCondition(again, ready("True"), T2)[0]?.lastTransitionTime, T2)
  })

  it("orders Ready first, then by type, whatever came in", () => {
    const inputs = ["Paused", "Zebra", "Ready", "Available"].map((type) => ({ ...ready("True"), type }))
    for (const order of [inputs, inputs.toReversed()]) {
      assert.deepStrictEqual(
        Conditions.setConditions([], order, T1).map((c) => c.type),
        ["Ready", "Available", "Paused", "Zebra"]
      )
    }
  })

  it("cuts long messages in the middle, without leaving half a character: the last words are kept", () => {
    const said = `Step 2 of 3 (a) failed. Its last output: ${"y".repeat(2048)} E: no such package`
    assert.strictEqual(Conditions.setCondition([], ready("True", said), T1)[0]?.message, said)
    for (let before = 0; before < 4; before++) {
      const text = shortened(`${"x".repeat(before)}${"😀".repeat(700)} the end`, 1024)
      assert.isAtMost(text.length, 1024)
      assert.isTrue(text.isWellFormed() && text.includes(" … ") && text.endsWith("😀 the end"))
    }
    const message = "😀".repeat(5000)
    const [condition] = Conditions.setCondition([], ready("True", message), T1)
    assert.isAtMost(condition?.message.length ?? 9999, Conditions.MAX_CONDITION_MESSAGE_LENGTH)
    assert.include(condition?.message, " … ")
    assert.isTrue(condition?.message.isWellFormed())
  })

  it("has no nulls or strange fields, even when the object read had", () => {
    const stored = [{ ...ready("True"), lastTransitionTime: T1, observedGeneration: undefined, severity: null }]
    const list = Conditions.setCondition(
      JSON.parse(JSON.stringify(stored).replace("}", ',"observedGeneration":null}')),
      { ...ready("True"), type: "Other", observedGeneration: 3 },
      T2
    )
    assert.deepStrictEqual(list, [
      { ...ready("True"), lastTransitionTime: T1 },
      { ...ready("True"), type: "Other", lastTransitionTime: T2, observedGeneration: 3 }
    ])
  })

  it("sameConditions ignores order alone", () => {
    const list = Conditions.setConditions([], [ready("True"), { ...ready("True"), type: "A" }], T1)
    assert.isTrue(Conditions.sameConditions(list, list.toReversed()))
    assert.isTrue(Conditions.sameConditions(undefined, []))
    assert.isFalse(Conditions.sameConditions(list, Conditions.removeCondition(list, "A")))
    for (const change of [{ status: "False" }, { reason: "R" }, { message: "m" }, { observedGeneration: 2 }] as const) {
      assert.isFalse(
        Conditions.sameConditions(list, Conditions.setCondition(list, { ...ready("True"), ...change }, T1))
      )
    }
  })

  it.prop(
    "setting the same again changes nothing",
    [Schema.Array(Schema.String), Schema.String],
    ([types, message]) => {
      const inputs = types.map((type) => ({ type, status: "True" as const, reason: "R", message }))
      const once = Conditions.setConditions([], inputs, T1)
      return Conditions.sameConditions(once, Conditions.setConditions(once, inputs, T2))
    }
  )

  it("rfc3339 has whole seconds, cut", () => {
    assert.strictEqual(rfc3339(Date.UTC(2026, 10, 21, 7, 0, 0, 999)), T1)
  })
})
