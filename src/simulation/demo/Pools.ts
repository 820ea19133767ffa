/**
 * Owns PooledRemoteMachines that a demo makes of hosts, and what of a user's own YAML the list of hosts completes: account
 * and key of hosts that it names, and hosts for a pool that it leaves empty. Pure. Does not own the hosts (Farm.ts).
 */
import * as Result from "effect/Result"
import type { JsonObject } from "../../kube/KubeClient.ts"
import { isJsonObject, objectAt, stringAt } from "../apiserver/Json.ts"
import type { FarmHost } from "./Farm.ts"
import { hostKeyOf } from "./HostsFile.ts"
import { type Address, type Manifest, ManifestError, namespaceOf } from "./Manifests.ts"

const API_VERSION = "infrastructure.cluster.x-k8s.io/v1beta1"
const DEFAULT_PORT = 22

/** The `index`th of `count`. */
export const pooledHost = (
  pool: string,
  host: FarmHost,
  key: string,
  [index, count]: readonly [number, number]
): Manifest => ({
  origin: `host ${index + 1} of pool ${pool}`,
  object: {
    apiVersion: API_VERSION,
    kind: "PooledRemoteMachine",
    metadata: { name: `host-${String(index + 1).padStart(String(count).length, "0")}` },
    spec: { pool, machine: { user: "root", ...host, sshKeyRef: { name: key } } }
  }
})

/** Of the Secret with the key of one host. */
export const keyNameOf = ({ address, port }: Address): string =>
  `ssh-${address.toLowerCase().replaceAll(/[^a-z0-9.-]/g, "-")}-${port}`

const withHost = (spec: JsonObject, known: (address: Address) => FarmHost | undefined): JsonObject => {
  const address = stringAt(spec, "address")
  if (address === undefined) return spec
  const port = spec["port"]
  const host = known({ address, port: typeof port === "number" ? port : DEFAULT_PORT })
  return host === undefined ? spec : { ...host, sshKeyRef: { name: keyNameOf(host) }, ...spec }
}

/** What the YAML says stays; what it leaves out of hosts that it names is as the list has it. */
export const completed = (
  { object, origin }: Manifest,
  known: (address: Address) => FarmHost | undefined
): Manifest => {
  const spec = object["spec"]
  if (!isJsonObject(spec)) return { object, origin }
  switch (stringAt(object, "kind")) {
    case "RemoteMachine":
      return { origin, object: { ...object, spec: withHost(spec, known) } }
    case "PooledRemoteMachine":
      return { origin, object: { ...object, spec: { ...spec, machine: withHost(objectAt(spec, "machine"), known) } } }
    default:
      return { object, origin }
  }
}

interface Pool {
  readonly namespace: string
  readonly pool: string
}

const poolsAsked = (manifests: ReadonlyArray<Manifest>): ReadonlyArray<Pool> =>
  manifests.flatMap(({ object }) => {
    const path = stringAt(object, "kind") === "RemoteMachineTemplate" ? ["spec", "template", "spec"] : ["spec"]
    const asks = ["RemoteMachine", "RemoteMachineTemplate"].includes(stringAt(object, "kind") ?? "")
    const pool = asks ? stringAt(object, ...path, "pool") : undefined
    return pool === undefined || pool === "" ? [] : [{ namespace: namespaceOf(object), pool }]
  })

const poolsFilled = (manifests: ReadonlyArray<Manifest>): ReadonlyArray<Pool> =>
  manifests.flatMap(({ object }) =>
    stringAt(object, "kind") === "PooledRemoteMachine"
      ? [{ namespace: namespaceOf(object), pool: stringAt(object, "spec", "pool") ?? "" }]
      : []
  )

const nameOf = ({ namespace, pool }: Pool): string => `${namespace}/${pool}`

/** The one pool that the YAML takes machines from and puts no host in gets the hosts that nobody named. */
export const filled = (
  manifests: ReadonlyArray<Manifest>,
  free: ReadonlyArray<FarmHost>
): Result.Result<ReadonlyArray<Manifest>, ManifestError> => {
  const has = new Set(poolsFilled(manifests).map(nameOf))
  const empty = new Map(
    poolsAsked(manifests)
      .filter((pool) => !has.has(nameOf(pool)))
      .map((pool) => [nameOf(pool), pool])
  )
  const [only, ...others] = [...empty.values()]
  if (only === undefined || free.length === 0) return Result.succeed([])
  if (others.length > 0)
    return Result.fail(
      new ManifestError({
        message: `pools ${[...empty.keys()].join(", ")} have no hosts: say with PooledRemoteMachines which of ${free.map(hostKeyOf).join(", ")} goes where`
      })
    )
  return Result.succeed(
    free.map((host, index) => {
      const made = pooledHost(only.pool, host, keyNameOf(host), [index, free.length])
      const name = `host-${hostKeyOf(host)
        .toLowerCase()
        .replaceAll(/[^a-z0-9.-]/g, "-")}`
      return { ...made, object: { ...made.object, metadata: { name, namespace: only.namespace } } }
    })
  )
}
