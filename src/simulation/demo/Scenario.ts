/**
 * Owns what a demo does: which YAML goes to which namespace, on which hosts and with which keys; and taking all of it
 * away again. Does not own waiting for it to come true (Engine.ts), nor the cluster and hosts themselves.
 */
import * as Effect from "effect/Effect"
import { Namespaces, Secrets, secretData } from "../../api/Core.ts"
import { rawKind } from "../core/Raw.ts"
import type { SimulatedApiServerShape } from "../SimulatedApiServer.ts"
import { type Example, examples, POOLED, scaled } from "./Examples.ts"
import type { Farm } from "./Farm.ts"
import { type Address, hostsOf, type Manifest, ManifestError, namespaceOf, place } from "./Manifests.ts"

export interface Stage {
  readonly server: SimulatedApiServerShape
  readonly farm: Farm
}

const isMissing = (error: { readonly reason: string }) => error.reason === "AlreadyExists"

const ensureNamespace = (server: SimulatedApiServerShape, name: string) =>
  server.kubeClient.create(Namespaces, { metadata: { name } }).pipe(
    Effect.catchIf(isMissing, () => Effect.void),
    Effect.asVoid,
    Effect.mapError((error) => new ManifestError({ message: error.message }))
  )

const ensureKey = (server: SimulatedApiServerShape, namespace: string, name: string, value: string) =>
  server.kubeClient.create(Secrets, { metadata: { namespace, name }, data: secretData({ value }) }).pipe(
    Effect.catchIf(isMissing, () => Effect.void),
    Effect.asVoid,
    Effect.mapError((error) => new ManifestError({ message: error.message }))
  )

const applyOne = ({ server }: Stage, manifest: Manifest) =>
  server
    .apply(manifest.object)
    .pipe(Effect.mapError((error) => new ManifestError({ message: `${manifest.origin}: ${error.message}` })))

/** References before what refers to them, as a person would order them; the API takes any order. */
const apply = Effect.fnUntraced(function* (stage: Stage, manifests: ReadonlyArray<Manifest>) {
  for (const namespace of new Set(manifests.map(({ object }) => namespaceOf(object))))
    yield* ensureNamespace(stage.server, namespace)
  for (const { key, namespace } of hostsOf(manifests))
    if (key !== undefined) yield* ensureKey(stage.server, namespace, key, stage.farm.privateKey)
  yield* Effect.forEach(manifests, (manifest) => applyOne(stage, manifest), { discard: true })
})

/** A host for every address that the example names, and the example moved to them. */
const moved = Effect.fnUntraced(function* (farm: Farm, example: Example) {
  const named = hostsOf(example.manifests)
  const places = new Map<string, Address>()
  for (const { address, user } of named)
    if (!places.has(address)) places.set(address, yield* farm.add(`${example.name}/${address}`, user))
  const placement = { namespace: example.name, address: (from: Address) => places.get(from.address) }
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
  const whole = scaled(example, hosts)
  const placement = { namespace: example.name, address: () => undefined }
  yield* apply(
    stage,
    whole.manifests.map((manifest) => place(manifest, placement))
  )
})

/** Every example in a namespace of its own; the pooled workers with `machines` hosts. Answers the namespaces. */
export const applyExamples = Effect.fnUntraced(function* (stage: Stage, machines: number) {
  const all = yield* Effect.fromResult(examples())
  // Side by side: each waits for hosts of its own to boot.
  yield* Effect.forEach(
    all,
    (example) =>
      example.name === POOLED
        ? pooled(stage, example, machines)
        : Effect.flatMap(moved(stage.farm, example), (manifests) => apply(stage, manifests)),
    { concurrency: "unbounded", discard: true }
  )
  return all.map(({ name }) => name)
})

/** A user's own YAML, where it says; every host it names is stood in for at its own address. */
export const applyFiles = Effect.fnUntraced(function* (stage: Stage, manifests: ReadonlyArray<Manifest>) {
  const seen = new Set<string>()
  for (const { address, port, user } of hostsOf(manifests)) {
    const key = `${address} ${port}`
    if (seen.has(key)) continue
    seen.add(key)
    yield* stage.farm.add(key, user, { address, port })
  }
  yield* apply(stage, manifests)
  return [...new Set(manifests.map(({ object }) => namespaceOf(object)))].filter((name) => name !== "default")
})

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

/** Then what no Cluster owns: pools, templates, keys, with their namespaces. */
export const deleteNamespaces = Effect.fnUntraced(function* ({ server }: Stage, names: ReadonlyArray<string>) {
  for (const name of names) yield* server.kubeClient.delete(Namespaces, { name }).pipe(Effect.ignore)
})
