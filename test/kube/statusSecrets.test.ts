/**
 * Holds: what a server quotes of an object in a refusal never reaches an error of ours: it may be a Secret's data.
 */
import { assert, describe, it } from "@effect/vitest"
import { fromStatus } from "../../src/kube/Status.ts"

describe("a refusal", () => {
  it("keeps its words, but not the object that a server quotes for a patch that does not decode", () => {
    const subject = { verb: "patch", kind: "Secret", namespace: "default", name: "key" } as const
    const quoted = fromStatus(subject, 422, {
      kind: "Status",
      reason: "Invalid",
      message: ` "" is invalid: patch: Invalid value: "{\\"data\\":{\\"value\\":\\"Q0FOQVJZ\\"}}": json: cannot unmarshal number`
    })
    assert.strictEqual(quoted.reason, "Invalid")
    assert.notInclude(quoted.message, "Q0FOQVJZ")
    assert.include(quoted.message, "patch: Invalid value")
    const plain = fromStatus(subject, 422, {
      kind: "Status",
      reason: "Invalid",
      message: "spec.port: Invalid value: 0"
    })
    assert.strictEqual(plain.message, "spec.port: Invalid value: 0")
  })
})
