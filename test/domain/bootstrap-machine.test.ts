/**
 * Holds the decisions about a bootstrap config: the table of every state and event, a few whole lives told as stories
 * (golden/bootstrap-*.txt; UPDATE_GOLDEN=1 writes them anew), recovery, and what must hold after any events at all.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Bootstrap from "../../src/domain/Bootstrap.ts"
import { isProgress, status, wantsFinalizer } from "../../src/domain/BootstrapStatus.ts"
import type { Notice } from "../../src/domain/Notice.ts"
import { assertGolden } from "./golden.ts"

const { Event, Phase } = Bootstrap

const seen: Bootstrap.Observed = {
  exists: true,
  deleting: false,
  finalizer: false,
  halted: undefined,
  waiting: [],
  joined: false,
  inputs: "a",
  provisioned: false
}
const gone: Bootstrap.Observed = { ...seen, exists: false, deleting: true }

const unreachable: Bootstrap.Failure = {
  reason: "WorkloadClusterUnreachable",
  message: "connection refused",
  retry: "backoff"
}
const noCa: Bootstrap.Failure = {
  reason: "CertificateAuthorityNotFound",
  message: "Secret default/demo-ca is not there.",
  retry: "waitForChange",
  awaited: { kind: "Secret", name: "demo-ca" }
}

const trying = { failures: 0, wait: 0, failure: undefined }
const stuck = { failures: 1, wait: 1, failure: noCa }
const inPhase = (phase: Bootstrap.Phase): Bootstrap.State => ({
  phase,
  attempt: 1,
  halted: undefined,
  inputs: "a",
  provisioned: false
})

const states: Readonly<Record<string, Bootstrap.State>> = {
  Pending: inPhase(Phase.Pending({ waiting: [{ on: "Cluster" }], minted: false })),
  "Pending (token may exist)": inPhase(Phase.Pending({ waiting: [{ on: "OwnerMachine" }], minted: true })),
  Claimed: inPhase(Phase.Claimed(trying)),
  "Claimed (stuck)": inPhase(Phase.Claimed(stuck)),
  Provisioning: inPhase(Phase.Provisioning(trying)),
  "Provisioning (stuck)": inPhase(Phase.Provisioning(stuck)),
  "Ready (kept)": inPhase(Phase.Ready({ ...trying, token: "kept" })),
  "Ready (revoking)": inPhase(Phase.Ready({ ...trying, token: "revoking" })),
  "Ready (gone)": inPhase(Phase.Ready({ ...trying, token: "gone" })),
  Cleaning: inPhase(Phase.Cleaning(trying)),
  Deleted: inPhase(Phase.Deleted())
}

const events: Readonly<Record<string, Bootstrap.Event>> = {
  seen: Event.Observed({ observed: seen }),
  "seen, other inputs": Event.Observed({ observed: { ...seen, inputs: "b" } }),
  "seen, waits for the control plane": Event.Observed({
    observed: { ...seen, waiting: [{ on: "ControlPlaneInitialized" }] }
  }),
  "seen, refused": Event.Observed({
    observed: { ...seen, waiting: [{ on: "Refused", reason: "NotSupportedYet", message: "no" }] }
  }),
  "seen, joined": Event.Observed({ observed: { ...seen, joined: true } }),
  "seen, paused": Event.Observed({ observed: { ...seen, halted: "paused" } }),
  "seen, paused and deleting": Event.Observed({ observed: { ...seen, halted: "paused", deleting: true } }),
  "seen, deleting": Event.Observed({ observed: { ...seen, deleting: true } }),
  "seen, gone": Event.Observed({ observed: gone }),
  Inspected: Event.Inspected({ attempt: 1 }),
  Provided: Event.Provided({ attempt: 1, adopted: false }),
  Kept: Event.Kept({ attempt: 1 }),
  DataLost: Event.DataLost({ attempt: 1 }),
  Joined: Event.Joined({ attempt: 1 }),
  Revoked: Event.Revoked({ attempt: 1 }),
  "Revoked, left behind": Event.Revoked({ attempt: 1, leftBehind: "no kubeconfig" }),
  "Failed, backoff": Event.Failed({ attempt: 1, failure: unreachable }),
  "Failed, waitForChange": Event.Failed({ attempt: 1, failure: noCa }),
  "Failed, late": Event.Failed({ attempt: 0, failure: unreachable }),
  InputsChanged: Event.InputsChanged()
}

const describePhase = (phase: Bootstrap.Phase): string => {
  const { _tag: tag, ...rest } = phase
  const facts = Object.entries(rest).flatMap(([key, value]) => {
    if (value === undefined || value === false || key === "wait" || value === 0) return []
    if (key === "failure" && typeof value === "object" && "reason" in value) return [`${value.reason}/${value.retry}`]
    if (Array.isArray(value)) return value.map((one) => `for ${one.on}`)
    return [value === true ? key : `${key} ${value}`]
  })
  return facts.length === 0 ? tag : `${tag} [${facts.join(", ")}]`
}

const describeStep = (state: Bootstrap.State, notices: ReadonlyArray<Notice>): string => {
  const activity = Bootstrap.activity(state)
  const does = activity === undefined ? "nothing" : JSON.stringify(activity).replaceAll('"', "")
  const finalizer = { undefined: "as it is", true: "held", false: "let go" }[`${wantsFinalizer(state)}`]
  return [
    `${describePhase(state.phase)}${state.halted === undefined ? "" : ` (${state.halted})`}`,
    `does ${does}; finalizer ${finalizer}`,
    ...notices.map((notice) => `says ${notice.type} ${notice.reason}`)
  ].join("; ")
}

describe("transition", () => {
  it("table of every state and event", () => {
    const rows = Object.entries(states).flatMap(([name, state]) => [
      `## ${name}`,
      ...Object.entries(events).map(([what, event]) => {
        const [next, notices] = Bootstrap.transition(state, event)
        return `${what}: ${next === state && notices.length === 0 ? "-" : describeStep(next, notices)}`
      }),
      ""
    ])
    assertGolden("bootstrap-table.txt", `${rows.join("\n")}`)
  })

  it("nothing of another attempt changes anything", () => {
    const late: ReadonlyArray<Bootstrap.Event> = [
      Event.Inspected({ attempt: 7 }),
      Event.Provided({ attempt: 7, adopted: true }),
      Event.Kept({ attempt: 7 }),
      Event.DataLost({ attempt: 7 }),
      Event.Revoked({ attempt: 7 }),
      Event.Failed({ attempt: 7, failure: noCa })
    ]
    for (const state of Object.values(states))
      for (const event of late) assert.strictEqual(Bootstrap.transition(state, event)[0], state)
  })

  it("a halted state does nothing and writes nothing but conditions", () => {
    for (const state of Object.values(states)) {
      for (const halted of ["paused", "moving"] as const) {
        const [next] = Bootstrap.transition(state, Event.Observed({ observed: { ...seen, halted } }))
        assert.isUndefined(Bootstrap.activity(next))
        assert.isUndefined(wantsFinalizer(next))
        if (next.phase._tag !== "Deleted")
          assert.deepStrictEqual(
            status(next).conditions.map((one) => one.type),
            ["Paused"]
          )
      }
    }
  })
})

const story = (
  title: string,
  start: Bootstrap.Observed,
  data: boolean,
  happens: ReadonlyArray<keyof typeof events>
) => {
  let state = Bootstrap.recover(start, data)
  const lines = [`# ${title}`, `  ${describeStep(state, Bootstrap.opening(state))}`]
  for (const what of happens) {
    const event = events[what]
    if (event === undefined) return assert.fail(what)
    const [next, notices] = Bootstrap.transition(state, event)
    state = next
    lines.push(`- ${what}`, `  ${describeStep(state, notices)}`)
    for (const one of status(state).conditions)
      if (one.type === "Ready") lines.push(`  Ready=${one.status} ${one.reason}: ${one.message}`)
  }
  return `${lines.join("\n")}\n`
}

describe("stories", () => {
  it("are as they were reviewed", () => {
    const stories = [
      story("a whole life", { ...seen, waiting: [{ on: "OwnerMachine" }] }, false, [
        "seen, waits for the control plane",
        "seen",
        "Inspected",
        "Provided",
        "Kept",
        "seen, joined",
        "Revoked",
        "seen, deleting"
      ]),
      story(
        "a controller that joins, and has no Node",
        { ...seen, waiting: [{ on: "FirstController", machine: "c-0" }] },
        false,
        ["seen, waits for the control plane", "seen", "Inspected", "Provided", "Joined", "Revoked", "seen, joined"]
      ),
      story("the workload cluster is away, and comes back", seen, false, ["Inspected", "Failed, backoff", "seen"]),
      story("a certificate is missing, and comes", seen, false, [
        "Failed, waitForChange",
        "Kept",
        "InputsChanged",
        "seen, other inputs"
      ]),
      story("the Secret is deleted", { ...seen, finalizer: true }, true, ["DataLost", "Provided"]),
      story("deleted before it was ready", { ...seen, finalizer: true }, false, [
        "seen, paused and deleting",
        "seen, deleting",
        "Failed, backoff",
        "Revoked"
      ]),
      story("moved here", seen, true, ["Provided", "seen"]),
      story("the cluster is gone with its kubeconfig", { ...seen, deleting: true, finalizer: true }, false, [
        "Revoked, left behind"
      ])
    ]
    assertGolden("bootstrap-stories.txt", stories.join("\n"))
  })
})

describe("a finalizer that this life did not put there", () => {
  const sighted = (state: string, observed: Partial<Bootstrap.Observed>): Bootstrap.State => {
    const before = states[state] ?? inPhase(Phase.Deleted())
    return Bootstrap.transition(before, Event.Observed({ observed: { ...seen, ...observed } }))[0]
  }

  it("stands for another leader's token: it is revoked before the config goes, and once its Machine has joined", () => {
    for (const state of ["Pending", "Claimed", "Claimed (stuck)"]) {
      assert.strictEqual(sighted(state, { deleting: true, finalizer: true }).phase._tag, "Cleaning", state)
      assert.strictEqual(sighted(state, { deleting: true }).phase._tag, "Deleted", state)
      assert.strictEqual(
        describePhase(sighted(state, { joined: true, finalizer: true }).phase),
        "Ready [token revoking]",
        state
      )
    }
  })

  it("is not touched where the config is only not to be seen: the list may have been an old one", () => {
    for (const state of Object.keys(states))
      assert.strictEqual(wantsFinalizer(sighted(state, { exists: false, deleting: true })), undefined, state)
  })
})

describe("recover", () => {
  const tagOf = (observed: Partial<Bootstrap.Observed>, data: boolean): string =>
    describePhase(Bootstrap.recover({ ...seen, ...observed }, data).phase)

  it("finds every state again from finalizer, Secret and Machine, never from status", () => {
    assert.strictEqual(tagOf({ exists: false }, false), "Deleted")
    assert.strictEqual(tagOf({}, false), "Claimed")
    assert.strictEqual(tagOf({ finalizer: true }, false), "Provisioning")
    assert.strictEqual(tagOf({ finalizer: true }, true), "Ready [token kept]")
    assert.strictEqual(tagOf({}, true), "Provisioning")
    assert.strictEqual(tagOf({ joined: true, finalizer: true }, true), "Ready [token revoking]")
    assert.strictEqual(tagOf({ joined: true }, false), "Ready [token gone]")
    assert.strictEqual(tagOf({ deleting: true, finalizer: true }, true), "Cleaning")
    assert.strictEqual(tagOf({ deleting: true }, true), "Deleted")
    assert.strictEqual(tagOf({ waiting: [{ on: "Cluster" }], finalizer: true }, false), "Pending [for Cluster, minted]")
    // Its Secret is there: whatever is missing, it is ready.
    assert.strictEqual(tagOf({ waiting: [{ on: "Cluster" }], finalizer: true }, true), "Ready [token kept]")
  })
})

/** mulberry32; the seed is the test's. */
const drawer = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

/** A token may exist. */
const holds = ({ phase }: Bootstrap.State): boolean => {
  switch (phase._tag) {
    case "Pending":
      return phase.minted
    case "Provisioning":
    case "Cleaning":
      return true
    case "Ready":
      return phase.token !== "gone"
    case "Claimed":
    case "Deleted":
      return false
  }
}

/** As an activity of this state would report it. */
const ofAttempt = (event: Bootstrap.Event, attempt: number): Bootstrap.Event =>
  Event.$match(event, {
    Observed: (one) => one,
    InputsChanged: (one) => one,
    Inspected: () => Event.Inspected({ attempt }),
    Provided: ({ adopted }) => Event.Provided({ attempt, adopted }),
    Kept: () => Event.Kept({ attempt }),
    DataLost: () => Event.DataLost({ attempt }),
    Joined: () => Event.Joined({ attempt }),
    Revoked: (one) => Event.Revoked({ ...one, attempt }),
    Failed: ({ failure }) => Event.Failed({ attempt, failure })
  })

describe("after any events at all", () => {
  it("a token is let go of only when it is revoked or the budget is spent, and deletion always ends", () => {
    const all = Object.values(events)
    for (let seed = 0; seed < 2_000; seed++) {
      const draw = drawer(seed)
      let state = Bootstrap.recover({ ...seen, finalizer: draw(2) === 0, joined: draw(5) === 0 }, draw(3) === 0)
      for (let step = 0; step < 60; step++) {
        const drawn = all[draw(all.length)]
        if (drawn === undefined) return assert.fail("no event")
        const event = draw(3) > 0 ? ofAttempt(drawn, state.attempt) : drawn
        const [next, said] = Bootstrap.transition(state, event)
        if (holds(state) && !holds(next)) {
          const vanished = event._tag === "Observed" && !event.observed.exists
          const spent = event._tag === "Failed" && said.some((one) => one.reason === "TokenNotRevoked")
          const where = `seed ${seed}, step ${step}: ${describePhase(state.phase)} on ${event._tag}`
          assert.isTrue(vanished || spent || event._tag === "Revoked", where)
        }
        if (next.phase._tag === "Deleted" || state.phase._tag === "Cleaning")
          assert.include(["Cleaning", "Deleted"], next.phase._tag)
        if (state.phase._tag === "Deleted") assert.strictEqual(next.phase._tag, "Deleted")
        assert.isAtLeast(next.attempt, state.attempt)
        state = next
      }
      // From wherever it is: deletion and a workload cluster that never answers end after the budget.
      const deleting = Event.Observed({ observed: { ...seen, deleting: true } })
      state = Bootstrap.transition(state, deleting)[0]
      for (let failure = 0; failure < Bootstrap.REVOKE_BUDGET && state.phase._tag === "Cleaning"; failure++)
        state = Bootstrap.transition(state, Event.Failed({ attempt: state.attempt, failure: unreachable }))[0]
      assert.strictEqual(state.phase._tag, "Deleted", `seed ${seed}`)
    }
  })
})

describe("a controller's machine that came up", () => {
  it("is a reason to look at once, and no reason to do anything else again", () => {
    const kept = inPhase(Phase.Ready({ ...trying, token: "kept" }))
    const up = Event.Observed({ observed: { ...seen, provisioned: true } })
    const [next, said] = Bootstrap.transition(kept, up)
    assert.deepStrictEqual(said, [])
    assert.notDeepEqual(Bootstrap.activity(next), Bootstrap.activity(kept))
    assert.strictEqual(Bootstrap.transition(next, up)[0], next)
    const claimed = inPhase(Phase.Claimed(trying))
    assert.deepStrictEqual(Bootstrap.activity(Bootstrap.transition(claimed, up)[0]), Bootstrap.activity(claimed))
  })
})

describe("status", () => {
  it("Ready is told at once, progress may wait", () => {
    for (const [name, state] of Object.entries(states)) {
      const waits = isProgress(undefined, state)
      assert.strictEqual(waits, name === "Claimed" || name === "Provisioning", name)
    }
  })
  it("says why the token is not kept, and stays Ready", () => {
    const [state] = Bootstrap.transition(
      inPhase(Phase.Ready({ ...trying, token: "kept" })),
      Event.Failed({ attempt: 1, failure: noCa })
    )
    const ready = status(state).conditions.find((one) => one.type === "Ready")
    assert.strictEqual(ready?.status, "True")
    assert.include(ready?.message ?? "", noCa.message)
    // Even what waits for a change is tried again: the token must not lapse.
    assert.strictEqual(Bootstrap.activity(state)?._tag, "Keep")
  })
})
