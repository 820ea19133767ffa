/**
 * Owns how a bootstrap config and what surrounds it (owner Machine, Cluster) become one observation for its actor.
 * Pure. Where the objects come from is provider/'s.
 */
import {
  clusterNameOf,
  clusterPaused,
  controlPlaneEndpoint,
  controlPlaneInitialized,
  hasPausedAnnotation,
  isDeleting,
  machineClusterName,
  machineNodeName,
  machineVersion,
  ownerOf
} from "../api/ClusterApiView.ts"
import * as Names from "../api/Names.ts"
import type { Observed, State, Waiting } from "../domain/Bootstrap.ts"
import { type BootstrapConfig, NOT_SUPPORTED_YET, type Renderer } from "./BootstrapRenderers.ts"
import type { Surroundings } from "./MachineInputs.ts"
import { annotation, hasFinalizer } from "./Objects.ts"

export const GONE: Observed = {
  exists: false,
  deleting: true,
  finalizer: false,
  halted: undefined,
  waiting: [],
  joined: false,
  inputs: ""
}

export const observe = (renderer: Renderer, config: BootstrapConfig, around: Surroundings): Observed => ({
  exists: true,
  deleting: isDeleting(config),
  finalizer: hasFinalizer(config, Names.BOOTSTRAP_CONFIG_FINALIZER),
  halted: halted(config, around),
  waiting: waiting(renderer, config, around),
  joined: around.owner !== undefined && machineNodeName(around.owner) !== undefined,
  inputs: fingerprint(config, around)
})

const halted = (config: BootstrapConfig, { cluster }: Surroundings): State["halted"] => {
  if (annotation(config, Names.DELETE_FOR_MOVE_ANNOTATION) !== undefined) return "moving"
  return hasPausedAnnotation(config) || (cluster !== undefined && clusterPaused(cluster)) ? "paused" : undefined
}

const MACHINE_POOL: Waiting = {
  on: "Refused",
  reason: NOT_SUPPORTED_YET,
  message: "Owned by a MachinePool, which is not supported yet: use a MachineDeployment"
}

const waiting = (
  renderer: Renderer,
  config: BootstrapConfig,
  { owner, cluster }: Surroundings
): ReadonlyArray<Waiting> => {
  // First: the first controller's Cluster is never initialized before it, and would hide what must be changed.
  const refusal = renderer.refusal(config)
  if (refusal !== undefined) return [{ on: "Refused", ...refusal }]
  if (owner === undefined)
    return [ownerOf(config, Names.CLUSTER_GROUP, "MachinePool") === undefined ? { on: "OwnerMachine" } : MACHINE_POOL]
  if (cluster === undefined) return [{ on: "Cluster" }]
  if (controlPlaneEndpoint(cluster) === undefined) return [{ on: "ControlPlaneEndpoint" }]
  if (!controlPlaneInitialized(cluster)) return [{ on: "ControlPlaneInitialized" }]
  return []
}

/** Everything of these objects that a person can change to help a config that is stuck. */
const fingerprint = (config: BootstrapConfig, { owner, cluster }: Surroundings): string =>
  JSON.stringify([
    config.spec ?? null,
    owner === undefined ? null : [owner.metadata.name, machineVersion(owner) ?? null],
    cluster === undefined ? null : [controlPlaneEndpoint(cluster) ?? null, cluster.spec?.controlPlaneRef ?? null],
    annotation(config, Names.RETRY_ANNOTATION) ?? null
  ])

/** Known even when owner and Cluster are gone: by the label that core puts on every object of a cluster. */
export const clusterName = (config: BootstrapConfig, { owner, cluster }: Surroundings): string | undefined =>
  cluster?.metadata.name ?? (owner === undefined ? undefined : machineClusterName(owner)) ?? clusterNameOf(config)
