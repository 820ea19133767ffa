/**
 * Owns how a bootstrap config and what surrounds it (owner Machine or MachinePool, Cluster, the cluster's controllers)
 * become one observation for its actor. Pure. Where the objects come from is provider/'s.
 */
import * as Result from "effect/Result"
import type { Machine, MachinePool } from "../api/ClusterApi.ts"
import {
  clusterNameOf,
  clusterPaused,
  controlPlaneEndpoint,
  controlPlaneInitialized,
  hasPausedAnnotation,
  isDeleting,
  machineClusterName,
  machineInfrastructureReady,
  machineNodeName,
  machineVersion,
  ownerPool
} from "../api/ClusterApiView.ts"
import * as Names from "../api/Names.ts"
import type { Observed, State, Waiting } from "../domain/Bootstrap.ts"
import { parseTtl } from "../domain/BootstrapTokens.ts"
import { controllerRole } from "../domain/ControllerRole.ts"
import { type BootstrapConfig, k0sConfigOf, type Renderer } from "./BootstrapRenderers.ts"
import type { Surroundings } from "./MachineInputs.ts"
import { annotation, hasFinalizer, keyOf } from "./Objects.ts"

/** What a bootstrap config looks around in. */
export interface Around extends Surroundings {
  /** Instead of an owner Machine: its machines share the data, and one token. */
  readonly pool?: MachinePool | undefined
  /** All control-plane Machines of the cluster; told to K0sControllerConfigs only. */
  readonly controllers?: ReadonlyArray<Machine>
}

/** Who the data is for. */
export interface Owner {
  /** For people. */
  readonly whose: string
  /** Undefined: many machines. */
  readonly machineName: string | undefined
  readonly version: string | undefined
}

export const ownerOf = ({ owner, pool }: Around): Owner | undefined => {
  if (owner !== undefined)
    return {
      whose: `Machine ${keyOf(owner)}`,
      machineName: owner.metadata.name,
      version: machineVersion(owner)
    }
  return pool === undefined
    ? undefined
    : { whose: `MachinePool ${keyOf(pool)}`, machineName: undefined, version: poolVersion(pool) }
}

const poolVersion = (pool: MachinePool): string | undefined => pool.spec?.template?.spec?.version || undefined

export const GONE: Observed = {
  exists: false,
  deleting: true,
  finalizer: false,
  halted: undefined,
  waiting: [],
  joined: false,
  inputs: "",
  provisioned: false
}

export const observe = (renderer: Renderer, config: BootstrapConfig, around: Around): Observed => ({
  exists: true,
  deleting: isDeleting(config),
  finalizer: hasFinalizer(config, Names.BOOTSTRAP_CONFIG_FINALIZER),
  halted: halted(config, around),
  waiting: waiting(renderer, config, around),
  joined: hasJoined(config, around),
  inputs: fingerprint(config, around),
  provisioned: renderer.role === "controller" && around.owner !== undefined && machineInfrastructureReady(around.owner)
})

const hasJoined = (config: BootstrapConfig, { owner }: Around): boolean =>
  (owner !== undefined && machineNodeName(owner) !== undefined) ||
  annotation(config, Names.JOINED_ANNOTATION) !== undefined

const halted = (config: BootstrapConfig, { cluster }: Surroundings): State["halted"] => {
  if (annotation(config, Names.DELETE_FOR_MOVE_ANNOTATION) !== undefined) return "moving"
  return hasPausedAnnotation(config) || (cluster !== undefined && clusterPaused(cluster)) ? "paused" : undefined
}

const CONTROLLER_POOL: Waiting = {
  on: "Refused",
  reason: "InvalidConfig",
  message: "Owned by a MachinePool: controllers are Machines of their own. Use a K0sControlPlane"
}

/** What a person asked for, if it makes sense. */
export const tokenTtlSeconds = (config: BootstrapConfig, absent: number): number => {
  const text = annotation(config, Names.TOKEN_TTL_ANNOTATION)
  return text === undefined ? absent : Result.getOrElse(parseTtl(text), () => absent)
}

const badTtl = (config: BootstrapConfig): Waiting | undefined => {
  const text = annotation(config, Names.TOKEN_TTL_ANNOTATION)
  const parsed = text === undefined ? undefined : parseTtl(text)
  return parsed === undefined || Result.isSuccess(parsed)
    ? undefined
    : { on: "Refused", reason: "InvalidConfig", message: `Annotation ${Names.TOKEN_TTL_ANNOTATION} ${parsed.failure}` }
}

const waiting = (renderer: Renderer, config: BootstrapConfig, around: Around): ReadonlyArray<Waiting> => {
  const { cluster, owner } = around
  // First: the first controller's Cluster is never initialized before it, and would hide what must be changed.
  const refusal = renderer.refusal(config)
  if (refusal !== undefined) return [{ on: "Refused", ...refusal }]
  const ttl = badTtl(config)
  if (ttl !== undefined) return [ttl]
  if (renderer.role === "controller" && ownerPool(config) !== undefined) return [CONTROLLER_POOL]
  if (ownerOf(around) === undefined) return [{ on: "OwnerMachine" }]
  if (cluster === undefined) return [{ on: "Cluster" }]
  if (controlPlaneEndpoint(cluster) === undefined) return [{ on: "ControlPlaneEndpoint" }]
  if (renderer.role === "controller" && owner !== undefined) {
    const role = controllerRole(owner, around.controllers ?? [])
    // It is what initializes the control plane.
    if (role.as === "first") return []
    if (role.as === "waiting") return [{ on: "FirstController", machine: role.machine }]
  }
  if (!controlPlaneInitialized(cluster)) return [{ on: "ControlPlaneInitialized" }]
  return []
}

/** Everything of these objects that a person can change to help a config that is stuck. */
const fingerprint = (config: BootstrapConfig, around: Around): string => {
  const owner = ownerOf(around)
  const { cluster } = around
  return JSON.stringify([
    config.spec ?? null,
    owner === undefined ? null : [owner.whose, owner.version ?? null],
    cluster === undefined ? null : [controlPlaneEndpoint(cluster) ?? null, cluster.spec?.controlPlaneRef ?? null],
    annotation(config, Names.RETRY_ANNOTATION) ?? null,
    annotation(config, Names.TOKEN_TTL_ANNOTATION) ?? null
  ])
}

/** `spec.api.k0sApiPort` of k0s' own configuration, where controllers join; undefined: k0s' default. */
export const k0sApiPort = (config: BootstrapConfig): number | undefined => {
  const port = at(k0sConfigOf(config), "spec", "api", "k0sApiPort")
  return typeof port === "number" && Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined
}

const at = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined),
    value
  )

/** Known even when owner and Cluster are gone: by the label that core puts on every object of a cluster. */
export const clusterName = (config: BootstrapConfig, { cluster, owner, pool }: Around): string | undefined =>
  cluster?.metadata.name ??
  (owner === undefined ? undefined : machineClusterName(owner)) ??
  (pool?.spec?.clusterName || undefined) ??
  clusterNameOf(config)
