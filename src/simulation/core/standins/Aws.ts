/**
 * Owns the stand-in for the least of AWS that the specification's examples use: AWSCluster is provisioned at once;
 * AWSMachine becomes a host in memory as soon as there is bootstrap data, and runs it there as user data. Does not own
 * the hosts (simulation/hosts).
 *
 * Unlike AWS:
 * - lost-instances: the host is lost with the process: one whose Node had not come yet is started anew, at the same
 *   address; of one that had joined nothing is left to do
 */

import { createHash } from "node:crypto"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Secrets, secretBytes } from "../../../api/Core.ts"
import { CLUSTER_GROUP, INFRASTRUCTURE_GROUP, SECRET_VALUE_KEY } from "../../../api/Names.ts"
import { parseCloudConfig } from "../../../domain/CloudConfig.ts"
import type { HostRunsShape } from "../../../hosts/HostRuns.ts"
import type { KubeError } from "../../../kube/KubeError.ts"
import { firstUse } from "../../../ssh/HostKeys.ts"
import { arrayAt, stringAt } from "../../apiserver/Json.ts"
import { SIMULATED_KEY } from "../../hosts/Accounts.ts"
import type { SimulatedHost } from "../../hosts/SimulatedHost.ts"
import type { SimulatedHosts } from "../../hosts/SimulatedHosts.ts"
import { ensureFinalizer } from "../Core.ts"
import {
  hasFinalizer,
  isDeleting,
  isOwner,
  keyOf,
  namespaceOf,
  type Raw,
  rawKind,
  refOfKey,
  withoutFinalizer
} from "../Raw.ts"
import type { Tracked } from "../Tracked.ts"
import * as View from "../View.ts"
import type { Again } from "../WorkQueue.ts"
import { ensureLabelled, isHeld, ownerCluster, type Surroundings, writeStatus } from "./Surroundings.ts"

const aws = (kind: string, plural: string) =>
  rawKind({ group: INFRASTRUCTURE_GROUP, kind, plural, versions: ["v1beta2", "v1beta1"] })
export const AwsClusters = aws("AWSCluster", "awsclusters")
export const AwsMachines = aws("AWSMachine", "awsmachines")

const MACHINE_FINALIZER = "awsmachine.infrastructure.cluster.x-k8s.io"
const ZONE = "us-east-1a"
const STEP_TIMEOUT_SECONDS = 3_600
/** Hosts a process can have addresses for: 10.64.0.0/16 without its ends. */
const ADDRESSES = 65_000

export const reconcileCluster = Effect.fnUntraced(function* (
  around: Surroundings,
  clusters: Tracked,
  key: string
): Effect.fn.Return<Again, KubeError> {
  const found = yield* clusters.get(refOfKey(key))
  const owner = found === undefined ? undefined : yield* ownerCluster(around, found)
  if (found === undefined || isDeleting(found) || owner === undefined || isHeld(found, owner)) return undefined
  const labelled = yield* ensureLabelled(clusters, found)
  yield* writeStatus(clusters, labelled, { ready: true }, [{ type: "Ready", status: "True", reason: "Ready" }])
  return undefined
})

export interface Instances {
  /** `taken`: addresses of machines that a process before this one launched. */
  readonly launch: (
    machine: Raw,
    userData: Uint8Array,
    cluster: Raw,
    taken: ReadonlySet<string>
  ) => Effect.Effect<SimulatedHost>
  readonly isLaunched: (machine: Raw) => boolean
  readonly terminate: (machine: Raw) => Effect.Effect<void>
}

const instanceId = (machine: Raw): string =>
  `i-${createHash("sha256")
    .update(machine.metadata.uid ?? "")
    .digest("hex")
    .slice(0, 17)}`

const addressOf = (machine: Raw): string | undefined =>
  stringAt(
    arrayAt(machine.status, "addresses").find((one) => stringAt(one, "type") === "InternalIP"),
    "address"
  )

const runUserData = (runs: HostRunsShape, host: SimulatedHost, machine: Raw, userData: Uint8Array, cluster: Raw) => {
  const parsed = parseCloudConfig(userData)
  const where = { machine: keyOf(machine), host: host.name }
  if (Result.isFailure(parsed))
    return Effect.logWarning("user data can't be run").pipe(
      Effect.annotateLogs({ ...where, why: parsed.failure.message })
    )
  const { files, steps } = parsed.success
  const target = {
    address: host.address,
    port: host.port,
    user: "root",
    privateKey: Redacted.make(SIMULATED_KEY),
    hostKeys: firstUse
  }
  return runs
    .run(
      { target, useSudo: false },
      {
        verb: "run",
        tenant: {
          claim: `aws-${machine.metadata.uid ?? ""}`,
          machine: keyOf(machine),
          cluster: cluster.metadata.uid ?? "unknown",
          fence: 1
        },
        dataHash: createHash("sha256").update(userData).digest("hex"),
        attempt: 1,
        files,
        steps,
        sentinel: false,
        stepTimeoutSeconds: STEP_TIMEOUT_SECONDS
      }
    )
    .pipe(
      Stream.runDrain,
      // As cloud-init: nobody is told but the machine's own log. Its Node never comes.
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.interrupt
          : Effect.logWarning("user data failed").pipe(Effect.annotateLogs({ ...where, why: Cause.pretty(cause) }))
      )
    )
}

export const makeInstances = Effect.fnUntraced(function* (
  around: Surroundings,
  hosts: SimulatedHosts,
  runs: HostRunsShape
): Effect.fn.Return<Instances, never, Scope.Scope> {
  const launched = new Map<string, SimulatedHost>()
  const bootstraps = yield* FiberMap.make<string>()
  let count = 0
  const address = (taken: ReadonlySet<string>): string => {
    for (let tries = 0; tries < ADDRESSES; tries++) {
      count += 1
      const n = (count % ADDRESSES) + 1
      const found = `10.64.${n >> 8}.${n & 0xff}`
      if (!taken.has(found)) return found
    }
    throw new Error(`all ${ADDRESSES} addresses of AWSMachines are taken`)
  }
  return {
    isLaunched: (machine) => launched.has(machine.metadata.uid ?? ""),
    launch: Effect.fnUntraced(function* (machine, userData, cluster, taken) {
      const uid = machine.metadata.uid ?? ""
      const known = launched.get(uid)
      if (known !== undefined) return known
      const host = yield* hosts.add({
        name: machine.metadata.name,
        address: addressOf(machine) ?? address(taken),
        k0s: around.workloads.k0s
      })
      launched.set(uid, host)
      yield* FiberMap.run(bootstraps, uid, runUserData(runs, host, machine, userData, cluster))
      return host
    }),
    terminate: Effect.fnUntraced(function* (machine) {
      const uid = machine.metadata.uid ?? ""
      yield* FiberMap.remove(bootstraps, uid)
      const host = launched.get(uid)
      launched.delete(uid)
      if (host !== undefined) yield* host.powerOff
    })
  }
})

const ownerMachine = (around: Surroundings, object: Raw): Effect.Effect<Raw | undefined> => {
  const owner = object.metadata.ownerReferences?.find((one) => isOwner(one, CLUSTER_GROUP, "Machine"))
  return owner === undefined
    ? Effect.succeed(undefined)
    : around.machines.get({ namespace: namespaceOf(object), name: owner.name })
}

const waiting = (machines: Tracked, machine: Raw, reason: string) =>
  writeStatus(machines, machine, { ready: false, instanceState: "pending" }, [
    { type: "Ready", status: "False", reason }
  ])

/** Never its contents in a log or a condition. */
const userDataOf = Effect.fnUntraced(function* (around: Surroundings, owner: Raw) {
  const name = View.nonEmpty(stringAt(owner.spec, "bootstrap", "dataSecretName"))
  if (name === undefined) return undefined
  const secret = yield* around.kube.get(Secrets, { namespace: namespaceOf(owner), name })
  return secretBytes(secret, SECRET_VALUE_KEY)
})

export const reconcileMachine = Effect.fnUntraced(function* (
  around: Surroundings,
  instances: Instances,
  machines: Tracked,
  key: string
): Effect.fn.Return<Again, KubeError> {
  const found = yield* machines.get(refOfKey(key))
  if (found === undefined) return undefined
  const owner = yield* ownerMachine(around, found)
  const clusterName = owner === undefined ? undefined : View.clusterNameOf(owner)
  const cluster =
    clusterName === undefined
      ? undefined
      : yield* around.clusters.get({ namespace: namespaceOf(found), name: clusterName })
  if (isHeld(found, cluster)) return undefined
  if (isDeleting(found)) {
    yield* instances.terminate(found)
    if (hasFinalizer(found, MACHINE_FINALIZER))
      yield* machines.patch(found, { metadata: { finalizers: withoutFinalizer(found, MACHINE_FINALIZER) } })
    return undefined
  }
  if (owner === undefined || cluster === undefined) return undefined
  let machine = yield* ensureFinalizer(machines, found, MACHINE_FINALIZER)
  machine = yield* ensureLabelled(machines, machine)
  const isUp = View.providerIdOf(machine) !== undefined && machine.status?.["ready"] === true
  if (isUp && (instances.isLaunched(machine) || stringAt(owner.status, "nodeRef", "name") !== undefined))
    return undefined
  if (!View.clusterProvisioned(cluster)) {
    yield* waiting(machines, machine, "WaitingForClusterInfrastructure")
    return undefined
  }
  const userData = yield* userDataOf(around, owner)
  if (userData === undefined && isUp) return undefined
  if (userData === undefined) {
    yield* waiting(machines, machine, "WaitingForBootstrapData")
    return undefined
  }
  const taken = new Set((yield* machines.list()).flatMap((one) => addressOf(one) ?? []))
  const host = yield* instances.launch(machine, userData, cluster, taken)
  const id = instanceId(machine)
  machine = yield* machines.patch(machine, { spec: { providerID: `aws:///${ZONE}/${id}`, instanceID: id } })
  yield* writeStatus(
    machines,
    machine,
    {
      ready: true,
      instanceState: "running",
      addresses: [
        { type: "InternalIP", address: host.address },
        { type: "InternalDNS", address: `${host.name}.ec2.internal` }
      ]
    },
    [{ type: "Ready", status: "True", reason: "Ready" }]
  )
  return undefined
})
