/**
 * Owns the drawing of a state machine from its code: every representative state is given every representative event,
 * and what `transition` answers becomes an edge. docs/states.md shows it; a test holds the page to the code.
 */
import * as Bootstrap from "../../src/domain/Bootstrap.ts"
import type { Claim, RunRecord } from "../../src/domain/Claim.ts"
import * as Machine from "../../src/domain/Machine.ts"

const claim: Claim = { id: "c", host: "h1", machine: "default/m1", uid: "u" }
const run: RunRecord = {
  fence: 1,
  touched: true,
  bootstrapKind: "K0sWorkerConfig",
  dataHash: "0",
  k0sInstallDir: "/usr/local/bin",
  role: "worker"
}
const failure = (retry: "backoff" | "waitForChange" | "budget"): Machine.Failure => ({
  reason: "R",
  message: "m",
  retry,
  ofHost: true
})

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
const cleaning = { claim, run, tries: 1, wait: 0, work: "clean", failure: undefined } as const
const P = Machine.Phase

/** Together they show every branch of the transition function. */
export const machinePhases: ReadonlyArray<Machine.Phase> = [
  P.Pending({ waiting: [], deleting: false }),
  P.Pending({ waiting: [{ on: "BootstrapData" }], deleting: false }),
  P.Pending({ waiting: [], deleting: true }),
  P.Claimed({ claim, fence: 0, begunAnew: 0, failures: 0, unreached: 0, failure: undefined, leaving: "no" }),
  P.Claimed({
    claim,
    fence: 0,
    begunAnew: 0,
    failures: 4,
    unreached: Machine.CONNECT_BUDGET - 1,
    failure: undefined,
    leaving: "no"
  }),
  P.Claimed({
    claim,
    fence: 0,
    begunAnew: 0,
    failures: 0,
    unreached: 0,
    failure: failure("waitForChange"),
    leaving: "no"
  }),
  P.Claimed({ claim, fence: 0, begunAnew: 0, failures: 0, unreached: 0, failure: undefined, leaving: "deleted" }),
  P.Claimed({ claim, fence: 0, begunAnew: 0, failures: 0, unreached: 0, failure: undefined, leaving: "suspect" }),
  P.Claimed({ claim, fence: 0, begunAnew: 0, failures: 0, unreached: 0, failure: undefined, leaving: "unclean" }),
  P.Provisioning(running),
  P.Provisioning({ ...running, stepAttempt: Machine.STEP_BUDGET }),
  P.Provisioning({ ...running, failure: failure("budget") }),
  P.Provisioning({ ...running, work: "clean" }),
  P.Ready({ claim, run }),
  P.Cleaning(cleaning),
  P.Cleaning({ ...cleaning, tries: Machine.CLEAN_BUDGET }),
  P.Cleaning({ ...cleaning, work: "quarantine" }),
  P.Cleaning({ ...cleaning, work: "release" }),
  P.Deleted()
]

const seen: Machine.Observed = {
  exists: true,
  deleting: false,
  finalizer: true,
  halted: undefined,
  waiting: [],
  claim,
  run: undefined,
  populated: true,
  providerID: undefined,
  inputs: "same",
  identity: { uid: "u", machine: "default/m1" }
}
const E = Machine.Event
const ATTEMPT = 7
/** Event and the word it has in the diagram. */
const machineEvents = (attempt: number): ReadonlyArray<readonly [string, Machine.Event]> => [
  ["object gone", E.Observed({ observed: { ...seen, exists: false } })],
  ["deletion", E.Observed({ observed: { ...seen, deleting: true } })],
  ["inputs changed", E.Observed({ observed: { ...seen, inputs: "other" } })],
  ["inputs changed", E.InputsChanged()],
  ["host claimed", E.HostClaimed({ claim })],
  ["host looked at", E.Inspected({ attempt, run })],
  ["step", E.Progressed({ attempt, progress: { step: 1, of: 2, name: "s", startedAt: "" } })],
  ["bootstrap succeeded", E.Provisioned({ attempt })],
  ["journal unusable", E.JournalUnusable({ attempt, message: "m" })],
  ["cleaned", E.Cleaned({ attempt })],
  ["nobody can clean", E.Uncleanable({ attempt, failure: failure("waitForChange") })],
  ["failed, again later", E.Failed({ attempt, failure: failure("backoff") })],
  ["failed, a person is needed", E.Failed({ attempt, failure: failure("waitForChange") })],
  ["step failed", E.Failed({ attempt, failure: failure("budget") })],
  ["released", E.Released({ leaving: "deleted" })],
  ["released as suspect", E.Released({ leaving: "suspect" })],
  ["released as unclean", E.Released({ leaving: "unclean" })]
]

const edgesOf = <Phase extends { readonly _tag: string }, Event>(
  phases: ReadonlyArray<Phase>,
  events: ReadonlyArray<readonly [string, Event]>,
  next: (phase: Phase, event: Event) => Phase
): ReadonlyArray<string> => {
  const edges = new Map<string, Set<string>>()
  for (const phase of phases)
    for (const [word, event] of events) {
      const after = next(phase, event)
      if (after._tag === phase._tag) continue
      const edge = `${phase._tag} --> ${after._tag}`
      edges.set(edge, (edges.get(edge) ?? new Set()).add(word))
    }
  return [...edges].map(([edge, words]) => `    ${edge}: ${[...words].join(" / ")}`)
}

const diagram = (edges: ReadonlyArray<string>): string =>
  ["```mermaid", "stateDiagram-v2", "    [*] --> Pending", ...edges, "    Deleted --> [*]", "```"].join("\n")

export const machineDiagram = (): string =>
  diagram(
    edgesOf(
      machinePhases,
      machineEvents(ATTEMPT),
      (phase, event) =>
        Machine.transition({ phase, attempt: ATTEMPT, halted: undefined, inputs: "same" }, event)[0].phase
    )
  )

const trying = { failures: 0, wait: 0, failure: undefined } as const
const B = Bootstrap.Phase
const config: Bootstrap.Observed = {
  exists: true,
  deleting: false,
  finalizer: true,
  halted: undefined,
  waiting: [],
  joined: false,
  inputs: "same",
  provisioned: false
}
const trouble: Bootstrap.Failure = { reason: "R", message: "m", retry: "backoff" }
const F = Bootstrap.Event
const bootstrapEvents = (): ReadonlyArray<readonly [string, Bootstrap.Event]> => [
  ["object gone", F.Observed({ observed: { ...config, exists: false } })],
  ["deletion", F.Observed({ observed: { ...config, deleting: true } })],
  ["inputs missing", F.Observed({ observed: { ...config, waiting: [{ on: "Cluster" }] } })],
  ["all inputs there", F.Observed({ observed: config })],
  ["inputs changed", F.Observed({ observed: { ...config, inputs: "other" } })],
  ["machine joined", F.Observed({ observed: { ...config, joined: true } })],
  ["inputs checked", F.Inspected({ attempt: ATTEMPT })],
  ["Secret written", F.Provided({ attempt: ATTEMPT, adopted: false })],
  ["token lives", F.Kept({ attempt: ATTEMPT })],
  ["machine joined", F.Joined({ attempt: ATTEMPT })],
  ["Secret lost", F.DataLost({ attempt: ATTEMPT })],
  ["token revoked", F.Revoked({ attempt: ATTEMPT })],
  ["failed, again later", F.Failed({ attempt: ATTEMPT, failure: trouble })]
]

export const bootstrapDiagram = (): string =>
  diagram(
    edgesOf(
      [
        B.Pending({ waiting: [{ on: "Cluster" }], minted: false }),
        B.Pending({ waiting: [{ on: "Cluster" }], minted: true }),
        B.Claimed(trying),
        B.Provisioning(trying),
        B.Ready({ ...trying, token: "kept" }),
        B.Ready({ ...trying, token: "revoking" }),
        B.Ready({ ...trying, token: "gone" }),
        B.Cleaning(trying),
        B.Deleted()
      ],
      bootstrapEvents(),
      (phase, event) =>
        Bootstrap.transition(
          { phase, attempt: ATTEMPT, halted: undefined, inputs: "same", provisioned: false },
          event
        )[0].phase
    )
  )
