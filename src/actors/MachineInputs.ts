/**
 * Owns how a RemoteMachine and what surrounds it (owner Machine, Cluster) become one observation for its actor.
 * Pure. Where the objects come from is provider/'s.
 */
import * as Result from "effect/Result"
import type { Cluster, Machine } from "../api/ClusterApi.ts"
import { clusterInfrastructureReady, clusterPaused, machineDataSecretName } from "../api/ClusterApiView.ts"
import * as Names from "../api/Names.ts"
import type { RemoteMachine } from "../api/RemoteMachine.ts"
import { parseLabelSelector } from "../domain/LabelSelector.ts"
import { activity, type Observed, type State, type Waiting } from "../domain/Machine.ts"
import { recover } from "../domain/MachineRecovery.ts"
import { pinned } from "./HostPins.ts"
import { annotation, claimOf, hasFinalizer, keyOf, runOf } from "./Objects.ts"

export interface Surroundings {
  readonly owner: Machine | undefined
  readonly cluster: Cluster | undefined
}

export const GONE: Observed = {
  exists: false,
  deleting: true,
  finalizer: false,
  halted: undefined,
  waiting: [],
  claim: undefined,
  run: undefined,
  populated: false,
  providerID: undefined,
  inputs: "",
  identity: { uid: "", machine: "" }
}

export const observe = (machine: RemoteMachine, around: Surroundings): Observed => ({
  exists: true,
  deleting: machine.metadata.deletionTimestamp !== undefined,
  finalizer: hasFinalizer(machine, Names.REMOTE_MACHINE_FINALIZER),
  halted: halted(machine, around),
  waiting: waiting(machine, around),
  claim: claimOf(machine),
  run: runOf(machine),
  populated: machine.spec.address !== undefined,
  providerID: machine.spec.providerID === "" ? undefined : machine.spec.providerID,
  inputs: fingerprint(machine, around),
  pins: pinned(machine),
  identity: { uid: machine.metadata.uid ?? "", machine: keyOf(machine) }
})

/** Whether its actor, were it to start now, would ask the pool allocator for a host. */
export const asksForHost = (machine: RemoteMachine, around: Surroundings): boolean =>
  activity(recover(observe(machine, around)))?._tag === "Claim"

export const halted = (machine: RemoteMachine, { cluster }: Surroundings): State["halted"] => {
  if (annotation(machine, Names.DELETE_FOR_MOVE_ANNOTATION) !== undefined) return "moving"
  if (annotation(machine, Names.PAUSED_ANNOTATION) !== undefined) return "paused"
  return cluster !== undefined && clusterPaused(cluster) ? "paused" : undefined
}

const waiting = (machine: RemoteMachine, { owner, cluster }: Surroundings): ReadonlyArray<Waiting> => {
  if (machine.spec.provisionJob !== undefined && machine.spec.provisionJob !== null)
    return [
      {
        on: "Refused",
        reason: "ProvisionJobNotSupported",
        message: "spec.provisionJob is not supported: this provider connects by itself. Remove the field."
      }
    ]
  const selector = parseLabelSelector(annotation(machine, Names.SELECTOR_ANNOTATION) ?? "")
  if (Result.isFailure(selector) && claimOf(machine) === undefined)
    return [
      {
        on: "Refused",
        reason: "SelectorInvalid",
        message: `Annotation ${Names.SELECTOR_ANNOTATION} is no label selector: ${selector.failure}. Write it as for kubectl -l, e.g. "rack=r1,disk in (ssd,nvme)".`
      }
    ]
  if (owner === undefined) return [{ on: "OwnerMachine" }]
  if (cluster === undefined || !clusterInfrastructureReady(cluster)) return [{ on: "ClusterInfrastructure" }]
  if (machineDataSecretName(owner) === undefined) return [{ on: "BootstrapData" }]
  return []
}

/** Everything of these objects that a person can change to help a machine that is stuck. */
const fingerprint = (machine: RemoteMachine, { owner }: Surroundings): string => {
  const { providerID: _, ...spec } = machine.spec
  return JSON.stringify([
    spec,
    owner === undefined ? null : (machineDataSecretName(owner) ?? null),
    annotation(machine, Names.RETRY_ANNOTATION) ?? null,
    annotation(machine, Names.STEP_TIMEOUT_ANNOTATION) ?? null,
    annotation(machine, Names.BOOTSTRAP_TIMEOUT_ANNOTATION) ?? null,
    annotation(machine, Names.ADOPT_FOREIGN_ANNOTATION) ?? null
  ])
}
