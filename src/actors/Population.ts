/**
 * Owns what a claimed machine takes over from its host: the fields of its spec, labels and annotations, and what its
 * Machine lacks of the latter. When it is written, and taken back, is ClaimWrites.ts's.
 */
import * as Effect from "effect/Effect"
import { Machines } from "../api/ClusterApi.ts"
import * as Names from "../api/Names.ts"
import type { PooledRemoteMachine } from "../api/PooledRemoteMachine.ts"
import type { RemoteMachine } from "../api/RemoteMachine.ts"
import type { JsonObject, KubeClientShape } from "../kube/KubeClient.ts"
import { inherited } from "./Objects.ts"

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
  workingDir: null
}

/** Of a host that was given up on: its fields, and where it was; with `metadata` in the same write. */
export const unpopulated = (machine: RemoteMachine, metadata: JsonObject = {}): JsonObject => {
  const places = [Names.ZONE_LABEL, Names.REGION_LABEL].filter((key) => machine.metadata.labels?.[key] !== undefined)
  const labels = places.length === 0 ? {} : { labels: Object.fromEntries(places.map((key) => [key, null])) }
  return { metadata: { ...labels, ...metadata }, spec: UNPOPULATED }
}

export const population = (machine: RemoteMachine, host: PooledRemoteMachine): JsonObject | undefined => {
  if (machine.spec.address !== undefined) return undefined
  const { address, port, user, useSudo, sshKeyRef, customCleanUpCommands, commandsAsScript, workingDir } =
    host.spec.machine
  const wanted = inherited(host.metadata.labels)
  const labels = overlaid(lacking(wanted, machine.metadata.labels), wanted, machine.metadata.labels)
  const annotations = lacking(inherited(host.metadata.annotations), machine.metadata.annotations)
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
      address,
      port,
      user,
      useSudo,
      sshKeyRef: sshKeyRef.name === "" ? undefined : { name: sshKeyRef.name },
      customCleanUpCommands,
      commandsAsScript,
      workingDir
    }
  }
}
