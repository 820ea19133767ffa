/**
 * Owns what a claimed machine takes over from its host: the fields of its spec, labels and annotations, and what its
 * Machine lacks of the latter; and which of these follow the host afterwards. When it is written, and taken back, is
 * ClaimWrites.ts's and PoolStatus.ts's.
 */
import * as Effect from "effect/Effect"
import { Machines } from "../api/ClusterApi.ts"
import * as Names from "../api/Names.ts"
import type { PooledRemoteMachine } from "../api/PooledRemoteMachine.ts"
import { HOST_DEFAULTS, type RemoteMachine } from "../api/RemoteMachine.ts"
import type { JsonObject, KubeClientShape } from "../kube/KubeClient.ts"
import { PIN_ANNOTATIONS, pinsOn } from "./HostPins.ts"
import { annotation, inherited } from "./Objects.ts"

/** What the Machine lacks of the host's labels and annotations (k0smotron #1288); a lost write is no harm. */
export const labelOwner = (kube: KubeClientShape, machine: RemoteMachine, host: PooledRemoteMachine) =>
  Effect.gen(function* () {
    const labels = inherited(host.metadata.labels)
    const annotations = inherited(host.metadata.annotations)
    const owner = machine.metadata.ownerReferences?.find((one) => one.kind === "Machine")
    if (owner === undefined || (labels === undefined && annotations === undefined)) return
    const ref = { namespace: machine.metadata.namespace ?? "", name: owner.name }
    const object = yield* kube.get(Machines, ref)
    const missing = {
      labels: overlaid(lacking(labels, object.metadata.labels), labels, object.metadata.labels),
      annotations: lacking(annotations, object.metadata.annotations)
    }
    if (missing.labels === undefined && missing.annotations === undefined) return
    yield* kube.patch(Machines, ref, { metadata: missing }, { uid: object.metadata.uid })
  }).pipe(Effect.catch((error) => Effect.logDebug("labels of the host did not reach the Machine", error.message)))

const lacking = (
  wanted: { readonly [key: string]: string } | undefined,
  present: Readonly<Record<string, string>> | undefined
): { readonly [key: string]: string } | undefined => {
  const missing = Object.entries(wanted ?? {}).filter(([key]) => present?.[key] === undefined)
  return missing.length === 0 ? undefined : Object.fromEntries(missing)
}

/** Where the host is, nobody but the host can say: a template's word about it gives way. */
const overlaid = (
  missing: { readonly [key: string]: string } | undefined,
  wanted: { readonly [key: string]: string } | undefined,
  present: Readonly<Record<string, string>> | undefined
): { readonly [key: string]: string } | undefined => {
  const places = [Names.ZONE_LABEL, Names.REGION_LABEL].flatMap((key) => {
    const place = wanted?.[key]
    return place === undefined || present?.[key] === place ? [] : [[key, place] as const]
  })
  return places.length === 0 ? missing : { ...missing, ...Object.fromEntries(places) }
}

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

/** Of a host that was given up on: its fields, keys, and where it was; with other annotations in the same write. */
export const unpopulated = (
  machine: RemoteMachine,
  { annotations, ...metadata }: { readonly annotations?: JsonObject; readonly [key: string]: JsonObject[string] } = {}
): JsonObject => {
  const places = [Names.ZONE_LABEL, Names.REGION_LABEL].filter((key) => machine.metadata.labels?.[key] !== undefined)
  const labels = places.length === 0 ? {} : { labels: Object.fromEntries(places.map((key) => [key, null])) }
  // The next host has another key: with this one's pin it would be taken for an impostor.
  const unpinned = Object.fromEntries(
    PIN_ANNOTATIONS.filter((name) => annotation(machine, name) !== undefined).map((name) => [name, null])
  )
  const all = { ...unpinned, ...annotations }
  return {
    metadata: { ...labels, ...metadata, ...(Object.keys(all).length === 0 ? {} : { annotations: all }) },
    spec: UNPOPULATED
  }
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
  const wanted = inherited(host.metadata.labels)
  const labels = overlaid(lacking(wanted, machine.metadata.labels), wanted, machine.metadata.labels)
  const pins = pinsOn(host)
  const given = lacking(inherited(host.metadata.annotations), machine.metadata.annotations)
  const annotations = given === undefined && Object.keys(pins).length === 0 ? undefined : { ...given, ...pins }
  const metadata =
    labels === undefined && annotations === undefined
      ? {}
      : {
          metadata: {
            ...(labels === undefined ? {} : { labels }),
            ...(annotations === undefined ? {} : { annotations })
          }
        }
  return {
    ...metadata,
    spec: {
      ...populated(fields),
      sshKeyRef: sshKeyOf(sshKeyRef)
    }
  }
}
