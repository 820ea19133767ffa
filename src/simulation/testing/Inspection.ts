/**
 * Owns what a test may look at: the states of a machine's actors, claims as they stand on the hosts' objects, what ran on
 * a host by the host's own account, Events, and the judgement of everything so far. Reads; never asks the provider.
 */
import * as Names from "../../api/Names.ts"
import { decodeClaim } from "../../domain/Claim.ts"
import type * as Machine from "../../domain/Machine.ts"
import type { ApiStore } from "../apiserver/ApiStore.ts"
import { jsonAt, stringAt } from "../apiserver/Json.ts"
import { judge, type Violation } from "../Checkers.ts"
import type { History } from "../History.ts"
import { type Entered, type Process, phasesOf } from "../Processes.ts"
import type { SimulatedApiServerShape } from "../SimulatedApiServer.ts"
import { type Line, storyOf } from "../Story.ts"
import type { Witness, WitnessEntry } from "../Witness.ts"

export interface MachineView {
  /** As the last actor that lived entered it; undefined: no actor has seen the machine. */
  readonly state: Machine.State | undefined
  /** Every state that any actor of it entered, oldest first. */
  readonly history: ReadonlyArray<Entered>
  /** Of the history, repetitions left out: `Pending, Claimed, Provisioning, Ready`. */
  readonly phases: ReadonlyArray<string>
}

export interface ClaimView {
  /** `namespace/name` of the PooledRemoteMachine. */
  readonly host: string
  /** `namespace/name` of the RemoteMachine. */
  readonly machine: string
  readonly id: string
  readonly quarantined: boolean
}

/** One execution of a step. */
export interface StepView {
  readonly verb: "run" | "clean"
  readonly machine: string
  /** From 1. */
  readonly step: number
  readonly name: string
  /** `running` still; `interrupted`: cut off, or its code could not be recorded. */
  readonly outcome: "running" | "interrupted" | { readonly code: number }
}

export interface EventView {
  readonly type: string
  readonly reason: string
  readonly message: string
  readonly count: number
}

export interface Inspected {
  readonly server: SimulatedApiServerShape
  readonly witness: Witness
  readonly history: History
  readonly entered: ReadonlyArray<Entered>
  readonly processes: ReadonlyArray<Process>
  readonly told: ReadonlyArray<Line>
}

export interface Inspection {
  /** `name` (of namespace default) or `namespace/name` of a RemoteMachine. */
  readonly machine: (name: string) => MachineView
  readonly claims: () => ReadonlyArray<ClaimView>
  /** Name of a simulated host. */
  readonly journal: (host: string) => ReadonlyArray<StepView>
  /** Events on an object, `Kind name` or `Kind namespace/name`, oldest first. */
  readonly events: (object: string) => ReadonlyArray<EventView>
  /**
   * What must never happen and did: steps run twice, hosts with two tenants or given back dirty, finalizers lost too
   * early, and (with `canaries`, texts of Secrets) secrets in objects. Empty when all was well.
   */
  readonly violations: (canaries?: ReadonlyArray<string>) => ReadonlyArray<Violation>
  /** Who did what when, one line each. */
  readonly story: () => ReadonlyArray<string>
}

const DEFAULT_NAMESPACE = "default"
const qualified = (name: string): string => (name.includes("/") ? name : `${DEFAULT_NAMESPACE}/${name}`)

const listOf = (store: ApiStore, group: string, kind: string) => {
  const type = store.registry.byKind(group, kind)
  return type === undefined ? [] : store.storage.list(type)
}

const claimsIn = (store: ApiStore): ReadonlyArray<ClaimView> =>
  listOf(store, Names.INFRASTRUCTURE_GROUP, "PooledRemoteMachine").flatMap(({ metadata }) => {
    const text = metadata.annotations?.[Names.CLAIM_ANNOTATION]
    const claim = text === undefined ? undefined : decodeClaim(text)
    if (claim === undefined) return []
    const host = `${metadata.namespace ?? ""}/${metadata.name}`
    return [{ host, machine: claim.machine, id: claim.id, quarantined: claim.quarantined !== undefined }]
  })

const journalOf = (entries: ReadonlyArray<WitnessEntry>, host: string): ReadonlyArray<StepView> => {
  const executions = new Map<string, StepView>()
  for (const entry of entries) {
    if (entry.host !== host || !("step" in entry)) continue
    const { machine, name, verb } = entry
    const outcome: StepView["outcome"] =
      entry._tag === "StepBegan" ? "running" : entry._tag === "StepEnded" ? { code: entry.code } : "interrupted"
    const key = `${entry.claim} ${verb} ${entry.attempt} ${entry.step} ${entry.pid}`
    executions.set(key, { verb, machine, step: entry.step + 1, name, outcome })
  }
  return [...executions.values()]
}

const eventsOf = (store: ApiStore, object: string): ReadonlyArray<EventView> => {
  const [kind = "", name = ""] = object.split(" ")
  return listOf(store, "", "Event").flatMap((event) => {
    const involved = `${stringAt(event, "involvedObject", "namespace") ?? ""}/${stringAt(event, "involvedObject", "name")}`
    if (stringAt(event, "involvedObject", "kind") !== kind || involved !== qualified(name)) return []
    const text = (field: string) => stringAt(event, field) ?? ""
    const count = jsonAt(event, ["count"])
    const times = typeof count === "number" ? count : 1
    return [{ type: text("type"), reason: text("reason"), message: text("message"), count: times }]
  })
}

export const inspect = (all: Inspected): Inspection => ({
  machine: (name) => {
    const history = all.entered.filter(({ machine }) => machine === qualified(name))
    return { state: history.at(-1)?.state, history, phases: phasesOf(history, qualified(name)) }
  },
  claims: () => claimsIn(all.server.store),
  journal: (host) => journalOf(all.witness.entries(), host),
  events: (object) => eventsOf(all.server.store, object),
  violations: (canaries = []) => {
    const providers = new Set(all.processes.map(({ name }) => name))
    const lost = all.history.lost() + all.witness.lost()
    // What was not recorded can't be judged, and must not pass for well.
    if (lost > 0) return [{ checker: "complete", at: 0, what: `${lost} happenings are not on record: too long a run` }]
    return judge({
      witness: all.witness.entries(),
      versions: all.history.versions(),
      writes: all.server.writes(),
      logs: [],
      canaries,
      dataOwner: () => undefined,
      isProvider: (client) => providers.has(client),
      lives: all.processes.length
    })
  },
  story: () => storyOf(all, all.told)
})
