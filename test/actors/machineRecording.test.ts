/**
 * Holds what an object rules out of what its actor decided on, at the moment of the write: with two leaders, the answer to
 * a write may tell more than the watch has.
 */
import { assert, describe, it } from "@effect/vitest"
import { recording } from "../../src/actors/MachineRecording.ts"
import * as Names from "../../src/api/Names.ts"
import type { RemoteMachine } from "../../src/api/RemoteMachine.ts"
import { type Claim, encodeClaim, encodeRun, type RunRecord } from "../../src/domain/Claim.ts"
import type { State } from "../../src/domain/Machine.ts"
import { cleaning, type Phase, provisioning } from "../../src/domain/MachineState.ts"

const claim: Claim = { id: "claim-1", host: "h1", machine: "default/m1", uid: "uid-1" }
const run = (fence: number): RunRecord => ({
  fence,
  touched: true,
  bootstrapKind: "K0sWorkerConfig",
  dataHash: "a".repeat(64),
  k0sInstallDir: "/usr/local/bin",
  role: "worker"
})
const state = (phase: Phase): State => ({ phase, attempt: 1, halted: undefined, inputs: "" })

/** Claimed, with its host's address; `fence` of the run that is written, if one is. */
const machine = (fence: number | undefined, isDeleting: boolean): RemoteMachine => ({
  metadata: {
    name: "m1",
    namespace: "default",
    annotations: {
      [Names.CLAIM_ANNOTATION]: encodeClaim(claim),
      ...(fence === undefined ? {} : { [Names.RUN_ANNOTATION]: encodeRun(run(fence)) })
    },
    ...(isDeleting ? { deletionTimestamp: "2026-01-01T00:00:00Z", finalizers: [Names.REMOTE_MACHINE_FINALIZER] } : {})
  },
  spec: { address: "10.0.0.1" }
})

describe("a machine that is being deleted", () => {
  const contradicts = (fence: number | undefined, isDeleting: boolean, phase: Phase) =>
    recording.contradicts?.(machine(fence, isDeleting), state(phase))

  // Seed 10919 (plain): a late leader began a run on a host that another one had cleaned, and was giving back.
  for (const written of [undefined, 3])
    it(`begins no run ${written === undefined ? "at all" : "with another fence"}`, () => {
      assert.isFalse(contradicts(written, false, provisioning(claim, run(4))))
      assert.isTrue(contradicts(written, true, provisioning(claim, run(4))))
    })

  it("goes on telling of the run that it has, until its actor hears of the deletion", () => {
    assert.isFalse(contradicts(4, true, provisioning(claim, run(4))))
  })

  it("may be cleaned with a new fence", () => {
    assert.isFalse(contradicts(3, true, cleaning(claim, run(4))))
  })
})
