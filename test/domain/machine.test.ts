/**
 * Holds the decisions of a RemoteMachine (domain/Machine, MachineRecovery): every state x every event; late results never
 * count; deletion always ends, through release or cleaning; a state is found again from what it wrote.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Claim, RunRecord } from "../../src/domain/Claim.ts"
import {
  Activity,
  activity,
  CLEAN_BUDGET,
  CONNECT_BUDGET,
  Event,
  type Failure,
  isFinal,
  type Observed,
  Phase,
  START_OVER_BUDGET,
  STEP_BUDGET,
  type State,
  transition
} from "../../src/domain/Machine.ts"
import { recover } from "../../src/domain/MachineRecovery.ts"
import { durable } from "../../src/domain/MachineStatus.ts"

const claim: Claim = { id: "c1", host: "h1", machine: "default/m1", uid: "u1" }
const run: RunRecord = {
  fence: 3,
  touched: true,
  bootstrapKind: "K0sWorkerConfig",
  dataHash: "d",
  k0sInstallDir: "/usr/local/bin",
  role: "worker"
}
const failure = (retry: Failure["retry"], ofHost = true): Failure => ({
  reason: "R",
  message: "m",
  retry,
  ...(ofHost ? { ofHost: true } : {})
})
const progress = { step: 1, of: 3, name: "one", startedAt: "1970-01-01T00:00:00Z" }
const running = {
  claim,
  run,
  stepAttempt: 1,
  failures: 0,
  wait: 0,
  pace: "connect",
  progress: undefined,
  failure: undefined,
  work: "run"
} as const
const taken = { claim, fence: 0, begunAnew: 0, failures: 0, unreached: 0, failure: undefined, leaving: "no" } as const
const cleaning = { claim, run, tries: 1, wait: 0, work: "clean", failure: undefined } as const

const ATTEMPT = 7
const state = (phase: Phase, halted: State["halted"] = undefined): State => ({
  phase,
  attempt: ATTEMPT,
  halted,
  inputs: "same"
})

const phases: Readonly<Record<string, Phase>> = {
  pending: Phase.Pending({ waiting: [], deleting: false }),
  "pending, waits": Phase.Pending({ waiting: [{ on: "BootstrapData" }], deleting: false }),
  "pending, leaves": Phase.Pending({ waiting: [], deleting: true }),
  claimed: Phase.Claimed(taken),
  "claimed, blocked": Phase.Claimed({ ...taken, failure: failure("waitForChange") }),
  "claimed, leaves": Phase.Claimed({ ...taken, leaving: "deleted" }),
  "claimed, suspect": Phase.Claimed({ ...taken, leaving: "suspect" }),
  "claimed, unclean": Phase.Claimed({ ...taken, leaving: "unclean" }),
  provisioning: Phase.Provisioning(running),
  "provisioning, blocked": Phase.Provisioning({ ...running, failure: failure("budget") }),
  "provisioning, cleans": Phase.Provisioning({ ...running, work: "clean" }),
  ready: Phase.Ready({ claim, run }),
  cleaning: Phase.Cleaning(cleaning),
  "cleaning, quarantine": Phase.Cleaning({ ...cleaning, work: "quarantine" }),
  "cleaning, release": Phase.Cleaning({ ...cleaning, work: "release" }),
  deleted: Phase.Deleted()
}

/** What the objects show when a state has written what is durable of it. */
const observedOf = (phase: Phase, more: Partial<Observed> = {}): Observed => {
  const wrote = durable(state(phase), { address: "10.0.0.1", port: 22 })
  const hasClaim = phase._tag !== "Pending" && phase._tag !== "Deleted"
  const record = wrote.run ?? (phase._tag === "Ready" ? run : undefined)
  return {
    exists: phase._tag !== "Deleted",
    deleting:
      phase._tag === "Cleaning" ||
      (phase._tag === "Pending" && phase.deleting) ||
      (phase._tag === "Claimed" && phase.leaving === "deleted"),
    finalizer: hasClaim || (phase._tag === "Pending" && phase.deleting),
    halted: undefined,
    waiting: phase._tag === "Pending" ? phase.waiting : [],
    claim: hasClaim ? claim : undefined,
    run: record,
    populated: hasClaim,
    providerID: wrote.providerID,
    inputs: "same",
    identity: { uid: "u1", machine: "default/m1" },
    ...more
  }
}

const events = (attempt: number): Readonly<Record<string, Event>> => ({
  claimed: Event.HostClaimed({ claim }),
  waiting: Event.HostWaiting({ waiting: { on: "Host", reason: "NoFreeHost", message: "m" } }),
  inspected: Event.Inspected({ attempt, run }),
  progressed: Event.Progressed({ attempt, progress }),
  provisioned: Event.Provisioned({ attempt }),
  cleaned: Event.Cleaned({ attempt }),
  unusable: Event.JournalUnusable({ attempt, message: "m" }),
  backoff: Event.Failed({ attempt, failure: failure("backoff") }),
  blocked: Event.Failed({ attempt, failure: failure("waitForChange") }),
  step: Event.Failed({ attempt, failure: failure("budget") }),
  uncleanable: Event.Uncleanable({ attempt, failure: failure("waitForChange") }),
  changed: Event.InputsChanged(),
  released: Event.Released({ leaving: "deleted" }),
  "released, suspect": Event.Released({ leaving: "suspect" }),
  "released, unclean": Event.Released({ leaving: "unclean" })
})

const short = ({ phase, attempt }: State): string => {
  const more =
    "work" in phase ? ` ${phase.work}` : "leaving" in phase && phase.leaving !== "no" ? ` ${phase.leaving}` : ""
  return `${phase._tag}${more}${attempt === ATTEMPT ? "" : " anew"}`
}

/** Only what is not "nothing happens". */
const TABLE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  pending: { claimed: "Claimed anew", waiting: "Pending" },
  "pending, waits": { claimed: "Claimed anew", waiting: "Pending" },
  "pending, leaves": { claimed: "Claimed deleted anew", waiting: "Pending", released: "Deleted anew" },
  claimed: { inspected: "Provisioning run anew", backoff: "Claimed anew", blocked: "Claimed", step: "Claimed" },
  "claimed, blocked": {
    inspected: "Provisioning run anew",
    backoff: "Claimed anew",
    blocked: "Claimed",
    step: "Claimed",
    changed: "Claimed anew"
  },
  "claimed, leaves": { released: "Deleted anew" },
  "claimed, suspect": { "released, suspect": "Pending anew" },
  "claimed, unclean": { "released, unclean": "Pending anew" },
  provisioning: {
    progressed: "Provisioning run",
    provisioned: "Ready",
    unusable: "Provisioning clean anew",
    backoff: "Provisioning run anew",
    blocked: "Provisioning run",
    step: "Provisioning run anew"
  },
  "provisioning, blocked": {
    progressed: "Provisioning run",
    provisioned: "Ready",
    unusable: "Provisioning clean anew",
    backoff: "Provisioning run anew",
    blocked: "Provisioning run",
    step: "Provisioning run anew",
    changed: "Provisioning run anew"
  },
  "provisioning, cleans": {
    progressed: "Provisioning clean",
    cleaned: "Claimed anew",
    unusable: "Provisioning clean anew",
    backoff: "Provisioning clean anew",
    blocked: "Provisioning clean",
    step: "Provisioning clean anew"
  },
  ready: {},
  cleaning: {
    cleaned: "Cleaning release anew",
    backoff: "Cleaning clean anew",
    blocked: "Cleaning clean anew",
    step: "Cleaning clean anew",
    uncleanable: "Cleaning quarantine anew"
  },
  "cleaning, quarantine": { released: "Deleted anew" },
  "cleaning, release": { released: "Deleted anew" },
  deleted: {}
}

const follow = (from: State, ...all: ReadonlyArray<Event>): State =>
  all.reduce((now, event) => transition(now, event)[0], from)

describe("transition", () => {
  for (const [name, phase] of Object.entries(phases))
    it(`${name}: what each event does`, () => {
      const table: Record<string, string> = {}
      for (const [word, event] of Object.entries(events(ATTEMPT))) {
        const [next] = transition(state(phase), event)
        if (next.phase !== phase) table[word] = short(next)
      }
      assert.deepStrictEqual(table, TABLE[name])
    })

  it("late and foreign attempts change nothing, in any state", () => {
    const numbered = [
      "inspected",
      "progressed",
      "provisioned",
      "cleaned",
      "unusable",
      "backoff",
      "blocked",
      "step",
      "uncleanable"
    ]
    for (const [name, phase] of Object.entries(phases))
      for (const attempt of [0, 1, ATTEMPT - 1, ATTEMPT + 1])
        for (const word of numbered) {
          const event = events(attempt)[word]
          assert.isDefined(event)
          const before = state(phase)
          if (event !== undefined)
            assert.strictEqual(transition(before, event)[0], before, `${name}, ${word} ${attempt}`)
        }
  })

  it("a new attempt makes what the one before still says mean nothing", () => {
    for (const phase of Object.values(phases))
      for (const event of Object.values(events(ATTEMPT))) {
        const [next] = transition(state(phase), event)
        if (next.attempt === ATTEMPT) continue
        for (const late of ["inspected", "provisioned", "cleaned", "backoff"]) {
          const again = events(ATTEMPT)[late]
          if (again !== undefined) assert.strictEqual(transition(next, again)[0], next)
        }
      }
  })

  it("a halted machine does nothing, and goes on afterwards where it was", () => {
    for (const [name, phase] of Object.entries(phases)) {
      if (phase._tag === "Deleted") continue
      const observed = observedOf(phase)
      const paused = follow(state(phase), Event.Observed({ observed: { ...observed, halted: "paused" } }))
      assert.isUndefined(activity(paused), name)
      assert.strictEqual(follow(paused, Event.Observed({ observed })).phase._tag, phase._tag, name)
    }
  })
})

/** What its activity would report if everything went well. */
const success = (now: State): Event | undefined => {
  const wanted = activity(now)
  return wanted === undefined
    ? undefined
    : Activity.$match(wanted, {
        Claim: () => Event.HostClaimed({ claim }),
        Release: ({ leaving }) => Event.Released({ leaving }),
        Inspect: ({ attempt }) => Event.Inspected({ attempt, run }),
        Run: ({ attempt }) => Event.Provisioned({ attempt }),
        Clean: ({ attempt }) => Event.Cleaned({ attempt }),
        Quarantine: () => Event.Released({ leaving: "deleted" }),
        AwaitChange: () => Event.InputsChanged()
      })
}

describe("deletion", () => {
  for (const [name, phase] of Object.entries(phases))
    it(`${name}: ends in Deleted; a touched host is cleaned first`, () => {
      const touched = phase._tag === "Provisioning" || phase._tag === "Ready"
      let now = follow(state(phase), Event.Observed({ observed: observedOf(phase, { deleting: true }) }))
      const done: Array<string> = []
      while (!isFinal(now) && done.length < 10) {
        const event = success(now)
        if (event === undefined) return assert.fail(`stuck in ${short(now)}`)
        done.push(activity(now)?._tag ?? "")
        now = follow(now, event)
      }
      assert.isTrue(isFinal(now))
      if (phase._tag === "Deleted") return
      assert.include(["Release", "Quarantine"], done.at(-1))
      assert.strictEqual(done.includes("Clean"), touched || name === "cleaning", done.join())
    })

  it("waits for nothing: no owner, no data, no cluster", () => {
    const observed = observedOf(Phase.Pending({ waiting: [{ on: "OwnerMachine" }], deleting: true }))
    assert.strictEqual(activity(recover({ ...observed, claim, finalizer: true }))?._tag, "Release")
  })

  it("gives up cleaning after its budget, and only for reasons that cleaning can have", () => {
    let now = state(Phase.Cleaning(cleaning))
    for (let tries = 1; tries < CLEAN_BUDGET; tries++)
      now = follow(now, Event.Failed({ attempt: now.attempt, failure: failure("budget") }))
    assert.strictEqual(short(now), "Cleaning clean anew")
    now = follow(now, Event.Failed({ attempt: now.attempt, failure: failure("backoff", false) }))
    assert.strictEqual(short(now), "Cleaning clean anew", "the API server's troubles don't count")
    now = follow(now, Event.Failed({ attempt: now.attempt, failure: failure("budget") }))
    assert.strictEqual(short(now), "Cleaning quarantine anew")
  })
})

describe("pins", () => {
  const pins = { hostKey: "ssh-ed25519 SHA256:a" }
  const seen = (phase: Phase) => follow(state(phase), Event.HostKeysSeen({ attempt: ATTEMPT, pins }))
  const place = { address: "10.0.0.1", port: 22 }

  it("are written with the record of the first run, before it begins", () => {
    const now = follow(state(Phase.Claimed(taken)), Event.Inspected({ attempt: ATTEMPT, run, pins }))
    const { run: record, pins: pinned } = durable(now, place)
    assert.deepStrictEqual([record, pinned], [run, pins])
    assert.strictEqual(activity(now)?._tag, "Run")
  })

  it("of a host that was in use already are written before its activity begins anew", () => {
    for (const phase of [Phase.Provisioning(running), Phase.Cleaning(cleaning)]) {
      const now = seen(phase)
      assert.deepStrictEqual(durable(now, place).pins, pins)
      assert.strictEqual(now.attempt, ATTEMPT + 1)
      assert.deepStrictEqual(now.phase, phase)
    }
    const before = state(Phase.Provisioning(running))
    assert.strictEqual(follow(before, Event.HostKeysSeen({ attempt: 1, pins })), before)
  })

  it("that come back are no news; one that a person takes away lets a blocked machine go on, and stays away", () => {
    const phase = Phase.Provisioning({ ...running, failure: failure("waitForChange") })
    const now = { ...state(phase), pins }
    assert.strictEqual(follow(now, Event.Observed({ observed: observedOf(phase, { pins }) })), now)
    const without = follow(now, Event.Observed({ observed: observedOf(phase) }))
    assert.strictEqual(activity(without)?._tag, "Run")
    assert.deepStrictEqual(durable(without, place).pins, {})
  })

  it("wait while the machine is paused", () => {
    assert.isUndefined(durable({ ...seen(Phase.Provisioning(running)), halted: "paused" }, place).pins)
  })
})

describe("budgets", () => {
  it("a pool host that can't be reached is suspected; the API server's failures don't count", () => {
    let now = state(Phase.Claimed(taken))
    for (let times = 0; times < CONNECT_BUDGET * 2; times++)
      now = follow(now, Event.Failed({ attempt: now.attempt, failure: failure("backoff", false) }))
    for (let times = 1; times < CONNECT_BUDGET; times++)
      now = follow(now, Event.Failed({ attempt: now.attempt, failure: failure("backoff") }))
    assert.strictEqual(activity(now)?._tag, "Inspect")
    now = follow(now, Event.Failed({ attempt: now.attempt, failure: failure("backoff") }))
    assert.strictEqual(short(now), "Claimed suspect anew")
    const away = { ...failure("backoff"), elsewhere: true } as const
    const behind = Array.from({ length: CONNECT_BUDGET * 2 }).reduce<State>(
      (before) => follow(before, Event.Failed({ attempt: before.attempt, failure: away })),
      state(Phase.Claimed(taken))
    )
    assert.strictEqual(activity(behind)?._tag, "Inspect", "nor do a jump host's")
    const own = Phase.Claimed({ ...taken, claim: { ...claim, host: "" }, unreached: CONNECT_BUDGET })
    const still = follow(state(own), Event.Failed({ attempt: ATTEMPT, failure: failure("backoff") }))
    assert.strictEqual(short(still), "Claimed anew", "a machine's own host is all it has")
  })

  it("a host of another tenant is given back only for one that is free, and only if the machine has a pool", () => {
    const foreign = { ...failure("waitForChange"), reason: "ForeignTenant" }
    const failed = (phase: typeof taken, more: { another?: true }) =>
      transition(state(Phase.Claimed(phase)), Event.Failed({ attempt: ATTEMPT, failure: { ...foreign, ...more } }))
    assert.strictEqual(short(failed(taken, {})[0]), "Claimed", "it is looked at again")
    const [leaves, told] = failed(taken, { another: true })
    assert.strictEqual(short(leaves), "Claimed unclean anew")
    assert.deepInclude(activity(leaves), { _tag: "Release", leaving: "unclean" })
    assert.deepStrictEqual(
      told.map(({ reason }) => reason),
      ["ForeignTenant", "HostGivenBack"]
    )
    const [again] = failed({ ...taken, claim: { ...claim, host: "" } }, { another: true })
    assert.strictEqual(short(again), "Claimed")
    const deleted = Phase.Claimed({ ...taken, leaving: "deleted" })
    const late = follow(state(deleted), Event.Failed({ attempt: ATTEMPT, failure: { ...foreign, another: true } }))
    assert.strictEqual(short(late), "Claimed deleted")
  })

  it("a try that waits for its time is made at once when a person asks; it costs no other, and a run that goes on stays", () => {
    const seen = (now: State, inputs: string) =>
      follow(now, Event.Observed({ observed: observedOf(now.phase, { inputs }) }))
    const waits = state(Phase.Claimed({ ...taken, failures: 3, unreached: 3, failure: failure("backoff") }))
    const asked = seen(waits, "retry")
    assert.deepInclude(asked.phase, { failures: 0, unreached: 3 })
    assert.deepInclude(activity(asked), { _tag: "Inspect", wait: 0 })
    assert.isAbove(asked.attempt, waits.attempt)
    assert.strictEqual(seen(asked, "retry"), asked)
    const step = state(
      Phase.Provisioning({ ...running, stepAttempt: 2, failures: 1, wait: 1, failure: failure("backoff") })
    )
    assert.deepInclude(activity(seen(step, "retry")), { _tag: "Run", stepAttempt: 2, wait: 0 })
    const cleans = state(
      Phase.Provisioning({ ...running, work: "clean", failures: 3, wait: 3, failure: failure("backoff") })
    )
    const host = "the host cleans again only for a greater try"
    assert.deepInclude(activity(seen(cleans, "retry")), { _tag: "Clean", tries: 4, wait: 0 }, host)
    const blocked = state(
      Phase.Provisioning({ ...running, work: "clean", failures: 3, failure: failure("waitForChange") })
    )
    assert.deepInclude(activity(follow(blocked, Event.InputsChanged())), { _tag: "Clean", tries: 4, wait: 0 }, host)
    const first = state(Phase.Cleaning(cleaning))
    assert.strictEqual(seen(first, "retry").attempt, first.attempt, "what is cleaned needs no hurry")
    const dirty = follow(first, Event.Failed({ attempt: first.attempt, failure: failure("budget") }))
    assert.deepInclude(activity(dirty), { _tag: "Clean", tries: 2, wait: 1 })
    const now = seen(dirty, "retry")
    assert.isAbove(now.attempt, dirty.attempt)
    assert.deepInclude(activity(now), { _tag: "Clean", tries: 2, wait: 0 })
    assert.deepInclude(now.phase, { failure: failure("budget") }, "still shown")
    assert.strictEqual(seen(now, "again").attempt, now.attempt, "it is being made")
    const runs = state(Phase.Provisioning({ ...running, wait: 1, progress }))
    assert.strictEqual(seen(runs, "retry").attempt, runs.attempt)
  })
  it("a host that loses its journal is begun on anew so often, then a person is needed, whose retry begins with cleaning", () => {
    const lost = (now: State) => follow(now, Event.JournalUnusable({ attempt: now.attempt, message: "lost." }))
    const again = (now: State) => {
      const looks = follow(now, Event.Cleaned({ attempt: now.attempt }))
      // What was looked at knows nothing of what was before; a step that moves forgives nothing.
      const runs = follow(looks, Event.Inspected({ attempt: looks.attempt, run }))
      return follow(runs, Event.Progressed({ attempt: runs.attempt, progress }))
    }
    let now = state(Phase.Provisioning(running))
    for (let time = 1; time <= START_OVER_BUDGET; time++) {
      now = lost(now)
      assert.deepInclude(activity(now), { _tag: "Clean", next: "rerun", wait: time - 1 })
      assert.deepInclude(durable(now, undefined).run, { begunAnew: time })
      now = again(now)
    }
    const spent = lost(now)
    assert.deepStrictEqual(activity(spent), Activity.AwaitChange({ recheck: false, attempt: now.attempt }))
    assert.deepInclude(spent.phase, { work: "run" })
    const next = recover(observedOf(spent.phase))
    assert.strictEqual(activity(lost(next))?._tag, "AwaitChange", "the next leader goes on counting")
    const retried = follow(spent, Event.InputsChanged())
    assert.deepInclude(activity(retried), { _tag: "Clean", wait: 0 })
    assert.deepInclude(activity(lost(again(retried))), { _tag: "Clean", wait: 0 }, "and counts anew")
    const fresh = follow(now, Event.JournalUnusable({ attempt: now.attempt, message: "m", newData: true }))
    assert.deepInclude(activity(fresh), { _tag: "Clean", wait: 0 }, "new data is no fault of the host's")
    assert.notProperty(durable(fresh, undefined).run, "begunAnew")
  })
  it("a step is tried so often, then a person is needed, whose retry is one more try", () => {
    let now = state(Phase.Provisioning(running))
    for (let times = 1; times <= STEP_BUDGET; times++)
      now = follow(now, Event.Failed({ attempt: now.attempt, failure: failure("budget") }))
    assert.strictEqual(activity(now)?._tag, "AwaitChange")
    now = follow(now, Event.InputsChanged())
    assert.deepInclude(now.phase, { stepAttempt: STEP_BUDGET + 1 })
    assert.deepInclude(durable(now, undefined).run, { stepAttempt: STEP_BUDGET + 1 })
    now = follow(now, Event.Failed({ attempt: now.attempt, failure: failure("waitForChange") }), Event.InputsChanged())
    assert.deepInclude(now.phase, { stepAttempt: STEP_BUDGET + 1 }, "a wrong key costs a step nothing")
  })
})

describe("recover", () => {
  for (const [name, phase] of Object.entries(phases))
    it(`${name}: is found again from what it wrote`, () => {
      const found = recover(observedOf(phase))
      // Untouched and leaving: the release is idempotent, and needs no claim to begin with.
      const leaves = phase._tag === "Claimed" && phase.leaving === "deleted"
      assert.strictEqual(found.phase._tag, leaves ? "Pending" : phase._tag)
      if (leaves || name === "pending, leaves") assert.strictEqual(activity(found)?._tag, "Release")
    })

  it("takes over with a greater fence and the same try of the step", () => {
    const observed = observedOf(Phase.Provisioning({ ...running, stepAttempt: 3 }))
    const found = recover(observed).phase
    assert.strictEqual(found._tag === "Provisioning" ? found.run.fence : 0, run.fence + 1)
    assert.deepInclude(found, { stepAttempt: 3 })
  })

  it("another leader's word counts, wherever this one is", () => {
    const other = { ...claim, id: "c2", host: "h2" }
    const seen = (phase: Phase, more: Partial<Observed>) =>
      short(follow(state(phase), Event.Observed({ observed: observedOf(phase, more) })))
    assert.strictEqual(seen(Phase.Claimed(taken), { claim: other }), "Claimed anew")
    assert.strictEqual(seen(Phase.Claimed(taken), { claim: undefined, populated: false }), "Pending anew")
    assert.strictEqual(seen(Phase.Claimed(taken), { populated: false }), "Pending anew")
    assert.strictEqual(seen(Phase.Claimed(taken), { run }), "Provisioning run anew")
    assert.strictEqual(seen(Phase.Claimed({ ...taken, leaving: "suspect" }), { run }), "Provisioning run anew")
    assert.strictEqual(seen(Phase.Claimed({ ...taken, fence: run.fence }), { run }), "Claimed")
    assert.strictEqual(seen(Phase.Provisioning(running), { claim: other }), "Provisioning run anew")
    assert.strictEqual(seen(Phase.Provisioning(running), { claim: undefined }), "Provisioning run")
  })
})
