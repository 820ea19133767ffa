/**
 * Owns what one RemoteMachine's actor writes on its own object: which facts are durable, and what status shows. Both are
 * computed from the state (domain/MachineStatus). How and when it is written is ObjectRecorder.ts's.
 */
import * as Equal from "effect/Equal"
import * as Names from "../api/Names.ts"
import { HOST_DEFAULTS, type RemoteMachine, RemoteMachines } from "../api/RemoteMachine.ts"
import { encodeRun } from "../domain/Claim.ts"
import { isFinal, type State } from "../domain/Machine.ts"
import { contradicts } from "../domain/MachineRecovery.ts"
import { durable, isProgress, type Place, status } from "../domain/MachineStatus.ts"
import type { JsonObject } from "../kube/KubeClient.ts"
import { pinned, pinPatch } from "./HostPins.ts"
import { type Recording, statusChange } from "./ObjectRecorder.ts"
import { annotation, claimOf, runOf } from "./Objects.ts"

export const placeOf = (machine: RemoteMachine): Place | undefined =>
  machine.spec.address === undefined
    ? undefined
    : { address: machine.spec.address, port: machine.spec.port ?? HOST_DEFAULTS.port }

export const durablePatch = (machine: RemoteMachine, state: State): JsonObject | undefined => {
  if (isFinal(state)) return undefined
  const wanted = durable(state, placeOf(machine))
  const run = wanted.run === undefined ? undefined : encodeRun(wanted.run)
  const annotations: Record<string, string | null> = {}
  if (run !== undefined && annotation(machine, Names.RUN_ANNOTATION) !== run) annotations[Names.RUN_ANNOTATION] = run
  Object.assign(annotations, pinPatch(machine, wanted.pins))
  const blocked = annotation(machine, Names.BLOCK_MOVE_ANNOTATION) !== undefined
  if (wanted.blockMove !== blocked) annotations[Names.BLOCK_MOVE_ANNOTATION] = wanted.blockMove ? "" : null
  // A providerID that is there stays: it is immutable, and may be older than we are.
  const providerID = machine.spec.providerID === undefined ? wanted.providerID : undefined
  const changes = Object.keys(annotations).length > 0
  if (!changes && providerID === undefined) return undefined
  return {
    ...(changes ? { metadata: { annotations } } : {}),
    ...(providerID === undefined ? {} : { spec: { providerID } })
  }
}

export const statusPatch = (machine: RemoteMachine, state: State, now: string): JsonObject | undefined => {
  const place = placeOf(machine)
  const wanted = status(state, place)
  const before = machine.status
  const changes: Record<string, JsonObject[string]> = {}
  // While paused nothing is written but the condition that says so (DESIGN, "Paused").
  if (state.halted === undefined) {
    if (before?.phase !== wanted.phase) changes["phase"] = wanted.phase
    if (wanted.host !== undefined && before?.host !== wanted.host) changes["host"] = wanted.host
    // k0smotron's, and terminal for core up to v1.10: there is nothing that only another machine mends (docs/errors.md).
    for (const left of ["failureReason", "failureMessage"] as const)
      if (before?.[left] !== undefined) changes[left] = null
    // Of a pool's host it was taken over with the address (Population.ts); on other machines a person sets it.
    const zone = place === undefined ? undefined : machine.metadata.labels?.[Names.ZONE_LABEL]
    if (before?.failureDomain !== zone) changes["failureDomain"] = zone ?? null
    if (wanted.bootstrap !== undefined && !sameProgress(before?.bootstrap, wanted.bootstrap))
      changes["bootstrap"] = wanted.bootstrap
    if (wanted.ready === true && before?.ready !== true && place !== undefined) {
      changes["ready"] = true
      changes["initialization"] = { provisioned: true }
      changes["addresses"] = [{ type: "ExternalIP", address: place.address }]
    }
  }
  return statusChange(machine, wanted.conditions, changes, now)
}

const sameProgress = (
  before: { readonly progress?: string | undefined; readonly attempt?: number | undefined } | undefined,
  after: { readonly progress: string; readonly attempt?: number }
): boolean => before?.progress === after.progress && (after.attempt === undefined || before.attempt === after.attempt)

/** What a life decided on: another claim, run or identity means that somebody else acts for this machine. */
const sameFacts = (before: RemoteMachine, after: RemoteMachine): boolean =>
  claimOf(after)?.id === claimOf(before)?.id &&
  annotation(after, Names.RUN_ANNOTATION) === annotation(before, Names.RUN_ANNOTATION) &&
  after.spec.providerID === before.spec.providerID &&
  // A pin that a person has just taken away must not be written again.
  Equal.equals(pinned(after), pinned(before)) &&
  // A host must not be touched for a machine that lost its address, or is leaving.
  after.spec.address === before.spec.address &&
  (after.metadata.deletionTimestamp === undefined) === (before.metadata.deletionTimestamp === undefined)

/** Its host has not been touched by this life: what says that it will be is to be written first. */
const isToBegin = (machine: RemoteMachine, { phase }: State): boolean =>
  phase._tag === "Provisioning" && (runOf(machine)?.fence ?? 0) < phase.run.fence

export const recording: Recording<RemoteMachine, State> = {
  kind: RemoteMachines,
  isFinal,
  durablePatch,
  statusPatch,
  isProgress,
  sameFacts,
  contradicts: (machine, state) =>
    // The answer to a write of ours may tell of a deletion before the watch does: another leader may be done with it.
    (machine.metadata.deletionTimestamp !== undefined && isToBegin(machine, state)) ||
    contradicts(state.phase, {
      claim: claimOf(machine),
      run: runOf(machine),
      populated: machine.spec.address !== undefined
    })
}
