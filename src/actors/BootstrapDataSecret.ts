/**
 * Owns the Secret with the bootstrap data: whether the one that is there is the config's own, how it is made, and which
 * join token it carries. Pure; reading and writing are BootstrapActivities'.
 */
import * as Result from "effect/Result"
import { groupOf } from "../api/ClusterApiView.ts"
import { type Secret, secretBytes, secretData, secretText } from "../api/Core.ts"
import { apiVersionOf, type OwnerReference } from "../api/Kind.ts"
import * as Names from "../api/Names.ts"
import type { Rendered } from "../domain/BootstrapData.ts"
import { ignitionContents } from "../domain/bootstrap/Ignition.ts"
import { isMultipart, parseMultipart } from "../domain/bootstrap/Multipart.ts"
import { parseCloudConfig } from "../domain/CloudConfig.ts"
import { type BootstrapToken, decodeJoinToken } from "../domain/JoinToken.ts"
import type { JsonObject } from "../kube/KubeClient.ts"
import type { BootstrapConfig } from "./BootstrapRenderers.ts"

/** `adoptable`: it names this config as its owner, by a uid of another cluster or of before a backup was restored. */
export type Ownership = "own" | "adoptable" | "foreign"

const ownerReferenceTo = (kind: string, config: BootstrapConfig): OwnerReference => ({
  apiVersion: apiVersionOf(Names.BOOTSTRAP_GROUP, Names.API_VERSION),
  kind,
  name: config.metadata.name,
  uid: config.metadata.uid ?? "",
  controller: true
})

const names = (reference: OwnerReference, kind: string, config: BootstrapConfig): boolean =>
  reference.kind === kind &&
  groupOf(reference.apiVersion) === Names.BOOTSTRAP_GROUP &&
  reference.name === config.metadata.name

/**
 * By owner config and cluster label; a config that was deleted takes its Secret along (BootstrapActivities), so a stale
 * uid means a move or a restored backup, never an older config of the same name.
 */
export const ownership = (
  secret: Secret,
  kind: string,
  config: BootstrapConfig,
  cluster: string | undefined
): Ownership => {
  const owner = secret.metadata.ownerReferences?.find((one) => names(one, kind, config))
  const label = secret.metadata.labels?.[Names.CLUSTER_NAME_LABEL]
  if (owner === undefined || (secretBytes(secret, Names.SECRET_VALUE_KEY)?.length ?? 0) === 0) return "foreign"
  if (owner.uid === config.metadata.uid) return "own"
  return label !== undefined && (cluster === undefined || label === cluster) ? "adoptable" : "foreign"
}

/** Makes an adoptable Secret ours, else the garbage collector takes it; its data stays as it is. */
export const adoption = (secret: Secret, kind: string, config: BootstrapConfig): JsonObject => {
  const others = (secret.metadata.ownerReferences ?? []).filter((one) => !names(one, kind, config))
  const owners = [...others.map((one) => ({ ...one, controller: false })), ownerReferenceTo(kind, config)]
  return { metadata: { ownerReferences: owners.map((one) => ({ ...one })) } }
}

export const manifest = (kind: string, config: BootstrapConfig, cluster: string, rendered: Rendered) => {
  const { labels = {}, annotations = {} } = config.spec?.secretMetadata ?? {}
  return {
    metadata: {
      name: config.metadata.name,
      namespace: config.metadata.namespace ?? "",
      // The contract's label can't be overridden: Cluster API finds the Secret's cluster by it.
      labels: { ...labels, [Names.CLUSTER_NAME_LABEL]: cluster },
      ...(Object.keys(annotations).length === 0 ? {} : { annotations: { ...annotations } }),
      ownerReferences: [{ ...ownerReferenceTo(kind, config) }]
    },
    type: Names.CLUSTER_SECRET_TYPE,
    data: secretData({ [Names.SECRET_VALUE_KEY]: rendered.value, [Names.SECRET_FORMAT_KEY]: rendered.format })
  }
}

/** Ours is the first part of a multipart; the user's own may be of a kind that is not ours to read. */
const readable = (value: Uint8Array): ReadonlyArray<Uint8Array> => {
  const text = new TextDecoder().decode(value)
  if (!isMultipart(text)) return [value]
  const parts = parseMultipart(text)
  return Result.isFailure(parts) ? [value] : parts.success.map((part) => new TextEncoder().encode(part.body))
}

interface Written {
  readonly path: string
  readonly content: Uint8Array
}

/** Undefined in the list: a part that can't be read. */
const writtenFiles = (value: Uint8Array, format: string | undefined): ReadonlyArray<Written | undefined> => {
  if (format === "ignition") return [...ignitionContents(value)].map(([path, content]) => ({ path, content }))
  if (format !== undefined && format !== "cloud-config") return [undefined]
  return readable(value).flatMap(
    (part): ReadonlyArray<Written | undefined> =>
      Result.match(parseCloudConfig(part), { onSuccess: ({ files }) => files, onFailure: () => [undefined] })
  )
}

/**
 * The token in the data, ours or k0smotron's: whatever file holds a join token. `none`: there is none, as for the
 * controller that starts a cluster; `unreadable`: then the label in the workload cluster is the only trace.
 */
export type DataToken = BootstrapToken | "none" | "unreadable"

export const tokenInData = (secret: Secret | undefined): DataToken => {
  const value = secret === undefined ? undefined : secretBytes(secret, Names.SECRET_VALUE_KEY)
  const format = secret === undefined ? undefined : secretText(secret, Names.SECRET_FORMAT_KEY)
  if (value === undefined) return "unreadable"
  const files = writtenFiles(value, format)
  for (const file of files) {
    if (file === undefined || !/[./]token$/.test(file.path)) continue
    const join = decodeJoinToken(new TextDecoder().decode(file.content).trim())
    if (Result.isSuccess(join)) return join.success.token
  }
  return files.includes(undefined) ? "unreadable" : "none"
}
