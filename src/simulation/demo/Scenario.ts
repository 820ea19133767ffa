/**
 * Owns what a demo does: which YAML goes to which namespace, on which hosts and with which keys; and taking all of it
 * away again. Does not own waiting for it to come true (Engine.ts), nor the cluster and hosts themselves.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { Namespaces, Secrets, secretData } from "../../api/Core.ts"
import {
  BOOTSTRAP_GROUP,
  INFRASTRUCTURE_GROUP,
  SECRET_KNOWN_HOSTS_KEY,
  SECRET_PASSPHRASE_KEY,
  SECRET_VALUE_KEY
} from "../../api/Names.ts"
import { stringAt } from "../apiserver/Json.ts"
import { rawKind } from "../core/Raw.ts"
import type { WorkloadFront } from "../core/WorkloadFront.ts"
import type { SimulatedApiServerShape } from "../SimulatedApiServer.ts"
import { type Example, examples, POOLED, scaled } from "./Examples.ts"
import type { Farm, FarmHost, FarmKey } from "./Farm.ts"
import { hostKeyOf } from "./HostsFile.ts"
import { type Address, hostsOf, type Manifest, ManifestError, namespaceOf, type Placement, place } from "./Manifests.ts"
import { completed, filled, keyNameOf } from "./Pools.ts"

export interface Stage {
  readonly server: SimulatedApiServerShape
  readonly farm: Farm
  /** Where control planes are served, if hosts reach them over the network. */
  readonly front: WorkloadFront | undefined
}

const refusal = (error: { readonly message: string }) => new ManifestError({ message: error.message })

const isThere = (error: { readonly reason: string }) => error.reason === "AlreadyExists"

const ensureNamespace = (server: SimulatedApiServerShape, name: string) =>
  server.kubeClient.create(Namespaces, { metadata: { name } }).pipe(
    Effect.catchIf(isThere, () => Effect.void),
    Effect.asVoid,
    Effect.mapError(refusal)
  )

/** A key of the list of hosts may be another one next time: then it is replaced. */
const ensureKey = ({ farm, server }: Stage, namespace: string, name: string, key: FarmKey) => {
  const data = keyData(key)
  const gone = Object.fromEntries(OPTIONAL_KEYS.filter((one) => !(one in data)).map((one) => [one, null]))
  return server.kubeClient.create(Secrets, { metadata: { namespace, name }, data }).pipe(
    Effect.catchIf(isThere, () =>
      farm.kind === "ssh"
        ? server.kubeClient.patch(Secrets, { namespace, name }, { data: { ...data, ...gone } })
        : Effect.void
    ),
    Effect.asVoid,
    Effect.mapError(refusal)
  )
}

const OPTIONAL_KEYS = [SECRET_PASSPHRASE_KEY, SECRET_KNOWN_HOSTS_KEY]

const keyData = ({ knownHosts, passphrase, privateKey }: FarmKey) =>
  secretData({
    [SECRET_VALUE_KEY]: Redacted.value(privateKey),
    ...(passphrase === undefined ? {} : { [SECRET_PASSPHRASE_KEY]: Redacted.value(passphrase) }),
    ...(knownHosts === undefined ? {} : { [SECRET_KNOWN_HOSTS_KEY]: knownHosts })
  })

/** The Secrets that the hosts' keys are read from, where the YAML does not bring them. */
const applyKeys = Effect.fnUntraced(function* (stage: Stage, manifests: ReadonlyArray<Manifest>) {
  const brought = new Set(
    manifests.flatMap(({ object }) =>
      stringAt(object, "kind") === "Secret"
        ? [`${namespaceOf(object)}/${stringAt(object, "metadata", "name") ?? ""}`]
        : []
    )
  )
  const made = new Map<string, string>()
  const make = Effect.fnUntraced(function* (namespace: string, name: string, of: string, key: FarmKey | undefined) {
    const id = `${namespace}/${name}`
    if (brought.has(id)) return
    if (key === undefined)
      return yield* new ManifestError({ message: `Secret ${id}, with the key of ${of}, is missing` })
    const text = JSON.stringify(keyData(key))
    const other = made.get(id)
    if (other !== undefined && other !== text)
      return yield* new ManifestError({
        message: `Secret ${id} is named by hosts with different identityFiles: give each a sshKeyRef of its own, or leave it out`
      })
    if (other === undefined) yield* ensureKey(stage, namespace, name, key)
    made.set(id, text)
  })
  for (const { address, jumpKeys, key, namespace, port } of hostsOf(manifests)) {
    if (key !== undefined) yield* make(namespace, key, address, stage.farm.keyOf({ address, port }))
    // Those that the YAML names itself are its own.
    for (const name of jumpKeys) {
      const known = stage.farm.jumpKey(name)
      if (known !== undefined) yield* make(namespace, name, address, known)
    }
  }
})

const applyOne = ({ server }: Stage, manifest: Manifest) =>
  server
    .apply(manifest.object)
    .pipe(Effect.mapError((error) => new ManifestError({ message: `${manifest.origin}: ${error.message}` })))

/** References before what refers to them, as a person would order them; the API takes any order. */
const apply = Effect.fnUntraced(function* (stage: Stage, manifests: ReadonlyArray<Manifest>) {
  for (const namespace of new Set(manifests.map(({ object }) => namespaceOf(object))))
    yield* ensureNamespace(stage.server, namespace)
  yield* applyKeys(stage, manifests)
  yield* Effect.forEach(manifests, (manifest) => applyOne(stage, manifest), { discard: true })
})

/** Where the example's control plane is served, if that is not the host that it names. */
const endpointOf = ({ front }: Stage): Effect.Effect<Address | undefined, ManifestError> =>
  front === undefined
    ? Effect.succeed(undefined)
    : front.endpoint.pipe(
        Effect.map(({ host, port }) => ({ address: host, port })),
        Effect.mapError(refusal)
      )

/** A host for every address that the example names, and the example moved to them. */
const moved = Effect.fnUntraced(function* (stage: Stage, example: Example) {
  const named = hostsOf(example.manifests)
  const places = new Map<string, FarmHost>()
  for (const { address, user } of named)
    if (!places.has(address)) places.set(address, yield* stage.farm.add(`${example.name}/${address}`, user))
  const endpoint = yield* endpointOf(stage)
  const placement: Placement = {
    namespace: example.name,
    address: (from) => places.get(from.address),
    endpoint: () => endpoint
  }
  return example.manifests.map((manifest) => place(manifest, placement))
})

const pooled = Effect.fnUntraced(function* (stage: Stage, example: Example, machines: number) {
  const hosts = yield* Effect.forEach(
    Array.from({ length: machines }),
    (_, index) => stage.farm.add(`${example.name}/${index + 1}`, "root"),
    {
      concurrency: "unbounded"
    }
  )
  const whole = stage.farm.kind === "ssh" ? scaled(example, hosts, keyNameOf) : scaled(example, hosts)
  const placement = { namespace: example.name, address: () => undefined }
  yield* apply(
    stage,
    whole.manifests.map((manifest) => place(manifest, placement))
  )
})

/** Every example in a namespace of its own; the pooled workers with `machines` hosts. Answers the namespaces. */
export const applyExamples = Effect.fnUntraced(function* (stage: Stage, machines: number) {
  const all = yield* Effect.fromResult(examples())
  yield* Effect.forEach(
    all,
    (example) =>
      example.name === POOLED
        ? pooled(stage, example, machines)
        : Effect.flatMap(moved(stage, example), (manifests) => apply(stage, manifests)),
    // Side by side, for each waits for hosts of its own to boot; hosts of a list are given out in its order.
    { concurrency: stage.farm.kind === "ssh" ? 1 : "unbounded", discard: true }
  )
  return all.map(({ name }) => name)
})

/** What of the list of hosts goes into a user's YAML: hosts in memory and with a shell stand in for what it names. */
const fitted = Effect.fnUntraced(function* (stage: Stage, manifests: ReadonlyArray<Manifest>) {
  const named = new Map<string, FarmHost>()
  for (const { address, port, user } of hostsOf(manifests)) {
    const key = hostKeyOf({ address, port })
    if (!named.has(key)) named.set(key, yield* stage.farm.add(key, user, { address, port }))
  }
  if (stage.farm.kind !== "ssh") return manifests
  const whole = manifests.map((manifest) => completed(manifest, (address) => named.get(hostKeyOf(address))))
  return [...whole, ...(yield* Effect.fromResult(filled(whole, stage.farm.free())))]
})

/** A user's own YAML, where it says. */
export const applyFiles = Effect.fnUntraced(function* (stage: Stage, manifests: ReadonlyArray<Manifest>) {
  yield* apply(stage, yield* fitted(stage, manifests))
})

/** Those of a user's YAML, but the one that can't be deleted. */
export const namespacesOf = (manifests: ReadonlyArray<Manifest>): ReadonlyArray<string> =>
  [...new Set(manifests.map(({ object }) => namespaceOf(object)))].filter((name) => name !== "default")

const clusters = rawKind({
  group: "cluster.x-k8s.io",
  kind: "Cluster",
  plural: "clusters",
  versions: ["v1beta2", "v1beta1"]
})

/** The Clusters first, as a person should: each takes its machines along. */
export const deleteClusters = Effect.fnUntraced(function* ({ server }: Stage) {
  const { items } = yield* server.kubeClient.list(clusters)
  for (const { metadata } of items)
    yield* server.kubeClient
      .delete(clusters, { namespace: metadata.namespace ?? "", name: metadata.name })
      .pipe(Effect.ignore)
})

/** What the demo can't take along with a namespace: kinds of which objects may be in `default`. */
const LEFT = [
  ["RemoteMachine", "remotemachines"],
  ["PooledRemoteMachine", "pooledremotemachines"],
  ["RemoteCluster", "remoteclusters"],
  ["RemoteMachineTemplate", "remotemachinetemplates"]
].map(([kind = "", plural = ""]) => rawKind({ group: INFRASTRUCTURE_GROUP, kind, plural, versions: ["v1beta1"] }))
const LEFT_CONFIGS = [
  ["K0sWorkerConfig", "k0sworkerconfigs"],
  ["K0sWorkerConfigTemplate", "k0sworkerconfigtemplates"],
  ["K0sControllerConfig", "k0scontrollerconfigs"]
].map(([kind = "", plural = ""]) => rawKind({ group: BOOTSTRAP_GROUP, kind, plural, versions: ["v1beta1"] }))

/** Then what no Cluster owns and no namespace of ours holds: pools, templates, machines without a Cluster. */
export const deleteLeft = Effect.fnUntraced(function* ({ server }: Stage) {
  for (const kind of [...LEFT, ...LEFT_CONFIGS]) {
    const { items } = yield* server.kubeClient.list(kind)
    for (const { metadata } of items)
      yield* server.kubeClient
        .delete(kind, { namespace: metadata.namespace ?? "", name: metadata.name })
        .pipe(Effect.ignore)
  }
})

/** And the rest of it: keys, with their namespaces. */
export const deleteNamespaces = Effect.fnUntraced(function* ({ server }: Stage, names: ReadonlyArray<string>) {
  for (const name of names) yield* server.kubeClient.delete(Namespaces, { name }).pipe(Effect.ignore)
})
