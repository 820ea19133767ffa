/**
 * Owns which fields of its spec a claimed machine takes over from its host, and which of these follow the host afterwards.
 * Labels and annotations are HostLabels.ts's. When it is written, and taken back, is ClaimWrites.ts's and PoolStatus.ts's.
 */
import type { PooledRemoteMachine } from "../api/PooledRemoteMachine.ts"
import { HOST_DEFAULTS, type RemoteMachine } from "../api/RemoteMachine.ts"
import type { JsonObject } from "../kube/KubeClient.ts"
import { handedOver } from "./HostLabels.ts"
import { PIN_ANNOTATIONS, pinsOn } from "./HostPins.ts"
import { annotation } from "./Objects.ts"

/** Fields that a claim fills in; the defaults come back by the API server's own defaulting. */
const UNPOPULATED: JsonObject = {
  address: null,
  port: null,
  user: null,
  useSudo: null,
  sshKeyRef: null,
  customCleanUpCommands: null,
  commandsAsScript: null,
  workingDir: null,
  jumpHosts: null
}

/** Of a host that was given up on: its fields, keys, labels and annotations; with other annotations in the same write. */
export const unpopulated = (
  machine: RemoteMachine,
  { annotations, ...metadata }: { readonly annotations?: JsonObject; readonly [key: string]: JsonObject[string] } = {}
): JsonObject => {
  // The next host has another key: with this one's pin it would be taken for an impostor.
  const unpinned = Object.fromEntries(
    PIN_ANNOTATIONS.filter((name) => annotation(machine, name) !== undefined).map((name) => [name, null])
  )
  const taken = handedOver(machine, undefined, { ...unpinned, ...annotations })
  return { metadata: { ...taken, ...metadata }, spec: UNPOPULATED }
}

const jumpsOf = (jumpHosts: PooledRemoteMachine["spec"]["machine"]["jumpHosts"]): ReadonlyArray<JsonObject> =>
  (jumpHosts ?? []).map((jump) => ({ ...jump, sshKeyRef: jump.sshKeyRef && { ...jump.sshKeyRef } }))

/** Every field of a host that a machine takes over, by name: one that is added to the API must be decided on here. */
const populated = ({
  address,
  port,
  user,
  useSudo,
  jumpHosts,
  customCleanUpCommands,
  commandsAsScript,
  workingDir
}: Omit<PooledRemoteMachine["spec"]["machine"], "sshKeyRef">): JsonObject => ({
  address,
  port,
  user,
  useSudo,
  jumpHosts: jumpHosts === undefined ? undefined : jumpsOf(jumpHosts),
  customCleanUpCommands,
  commandsAsScript,
  workingDir
})

const sshKeyOf = ({ name }: { readonly name: string }) => (name === "" ? undefined : { name })

/**
 * How to get in, and what cleans, are followed as long as the machine has the host: whoever mends a key or a user does
 * it on the host. The rest is fixed when it is claimed: where the host is, and what a run in flight was started with.
 */
export const followed = (machine: RemoteMachine, host: PooledRemoteMachine): JsonObject | undefined => {
  const { user, useSudo, sshKeyRef, jumpHosts, customCleanUpCommands } = host.spec.machine
  const { spec } = machine
  const jumps = jumpsOf(jumpHosts)
  const commands = customCleanUpCommands ?? []
  const changes: JsonObject = {
    ...((spec.user ?? HOST_DEFAULTS.user) === (user ?? HOST_DEFAULTS.user) ? {} : { user: user ?? null }),
    ...((spec.useSudo ?? HOST_DEFAULTS.useSudo) === (useSudo ?? HOST_DEFAULTS.useSudo)
      ? {}
      : { useSudo: useSudo ?? null }),
    ...((spec.sshKeyRef?.name ?? "") === sshKeyRef.name ? {} : { sshKeyRef: sshKeyOf(sshKeyRef) ?? null }),
    ...(JSON.stringify(jumpsOf(spec.jumpHosts)) === JSON.stringify(jumps)
      ? {}
      : { jumpHosts: jumps.length === 0 ? null : jumps }),
    ...(JSON.stringify(spec.customCleanUpCommands ?? []) === JSON.stringify(commands)
      ? {}
      : { customCleanUpCommands: commands.length === 0 ? null : commands })
  }
  return Object.keys(changes).length === 0 ? undefined : { spec: changes }
}

export const population = (machine: RemoteMachine, host: PooledRemoteMachine): JsonObject | undefined => {
  if (machine.spec.address !== undefined) return undefined
  const { sshKeyRef, ...fields } = host.spec.machine
  const metadata = handedOver(machine, host, pinsOn(host))
  return {
    ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
    spec: {
      ...populated(fields),
      sshKeyRef: sshKeyOf(sshKeyRef)
    }
  }
}
