/**
 * Owns what the tests of the simulated management cluster begin with: the cluster with the real provider at work, hosts in
 * memory, the examples applied in a namespace of their own, and virtual time that passes until something is so.
 */

import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { parseAllDocuments } from "yaml"
import { Namespaces, Secrets, secretData } from "../../../src/api/Core.ts"
import { RULES } from "../../../src/api/install/Rbac.ts"
import { PooledRemoteMachines } from "../../../src/api/PooledRemoteMachine.ts"
import * as LiveHostRuns from "../../../src/hosts/LiveHostRuns.ts"
import { type JsonObject, KubeClient } from "../../../src/kube/KubeClient.ts"
import type { WorkloadClusters } from "../../../src/kube/WorkloadClusters.ts"
import { HALVES, ProviderOptions } from "../../../src/provider/Options.ts"
import * as Provider from "../../../src/provider/Provider.ts"
import { objectAt, stringAt } from "../../../src/simulation/apiserver/Json.ts"
import * as ManagementCluster from "../../../src/simulation/core/ManagementCluster.ts"
import * as Demo from "../../../src/simulation/demo/Examples.ts"
import { root, SIMULATED_KEY, sudoer } from "../../../src/simulation/hosts/Accounts.ts"
import { makeSimulatedHosts } from "../../../src/simulation/hosts/SimulatedHosts.ts"
import * as SimulatedApiServer from "../../../src/simulation/SimulatedApiServer.ts"
import { seededSecureRandom } from "../../../src/simulation/Surroundings.ts"
import { restricted } from "../../support/rights.ts"

const EXAMPLES = join(import.meta.dirname, "../../../examples")

/** Virtual milliseconds between two looks, and how many there are: an hour. */
const LOOK_MILLIS = 500
const LOOKS = 7_200

/** Lets virtual time pass until it is so. */
export const eventually = Effect.fnUntraced(function* <E, R>(what: string, isSo: Effect.Effect<boolean, E, R>) {
  for (let look = 0; look < LOOKS; look++) {
    if (yield* isSo) return
    yield* TestClock.adjust(LOOK_MILLIS)
  }
  return assert.fail(`${what}: not within ${(LOOKS * LOOK_MILLIS) / 60_000} virtual minutes`)
})

export interface WorldOptions {
  /** Absent: true. */
  readonly provider?: boolean
  /** Between the provider and the workload clusters. */
  readonly workloads?: (clusters: Layer.Layer<WorkloadClusters>) => Layer.Layer<WorkloadClusters>
}

export const makeWorld = Effect.fnUntraced(function* (options: WorldOptions = {}) {
  const server = yield* SimulatedApiServer.make()
  const hosts = yield* makeSimulatedHosts()
  const management = yield* ManagementCluster.make({ client: server.client, hosts })
  // As clusterctl installs it: each half in a process of its own, with the rights of its own role.
  for (const half of options.provider === false ? [] : HALVES) {
    const { kube, refused } = restricted(server.client(half), RULES[half])
    yield* Effect.addFinalizer(() => Effect.sync(() => assert.deepStrictEqual(refused(), [], `rights of ${half}`)))
    const ports = yield* Layer.build(
      Layer.mergeAll(
        Layer.succeed(KubeClient, kube),
        LiveHostRuns.layer.pipe(Layer.provide(hosts.layer)),
        options.workloads?.(management.workloads.clusters) ?? management.workloads.clusters,
        seededSecureRandom
      )
    )
    yield* Provider.start().pipe(
      Effect.provideContext(ports),
      Effect.provideService(ProviderOptions, { ...(yield* ProviderOptions), halves: [half] })
    )
  }
  const kube = server.kubeClient

  /** A pool host, in memory and as an object, with its key. */
  const addHost = Effect.fnUntraced(function* (
    namespace: string,
    name: string,
    address: string,
    stepDuration?: readonly [number, number]
  ) {
    const slow = stepDuration === undefined ? {} : { stepDuration }
    yield* hosts.add({ name, address, k0s: management.workloads.k0s, ...slow })
    yield* kube.create(Secrets, {
      metadata: { name: `key-${name}`, namespace },
      data: secretData({ value: SIMULATED_KEY })
    })
    yield* kube.create(PooledRemoteMachines, {
      metadata: { name, namespace },
      spec: { pool: "default", machine: { address, port: 22, user: "root", sshKeyRef: { name: `key-${name}` } } }
    })
  })

  /** Every document of an example, in a namespace of its own, with the hosts and keys that it names. */
  const apply = Effect.fnUntraced(function* (example: string) {
    const manifests = documents(example).map((document) => inNamespace(document, example))
    yield* kube.create(Namespaces, { metadata: { name: example } })
    for (const [address, key] of named(manifests)) {
      const accounts = { root: root(SIMULATED_KEY), "my-user": sudoer(SIMULATED_KEY) }
      yield* hosts.add({ address, accounts, k0s: management.workloads.k0s })
      yield* kube.create(Secrets, {
        metadata: { name: key, namespace: example },
        data: secretData({ value: SIMULATED_KEY })
      })
    }
    for (const manifest of manifests) yield* server.apply(manifest)
  })
  return { server, kube, hosts, management, addHost, apply }
})
export type World = Effect.Success<ReturnType<typeof makeWorld>>

const documents = (example: string): ReadonlyArray<JsonObject> => {
  const directory = join(EXAMPLES, example)
  return readdirSync(directory)
    .sort()
    .flatMap((file) => parseAllDocuments(readFileSync(join(directory, file), "utf8")))
    .map((document): JsonObject => JSON.parse(JSON.stringify(document.toJS())))
}

/** Addresses of hosts, each with the name of its key's Secret. */
const named = (manifests: ReadonlyArray<JsonObject>): ReadonlyMap<string, string> =>
  new Map(
    manifests.flatMap((manifest) => {
      const spec = [objectAt(manifest, "spec"), objectAt(manifest, "spec", "machine")]
      return spec.flatMap((one) => {
        const address = stringAt(one, "address")
        return address === undefined ? [] : [[address, stringAt(one, "sshKeyRef", "name") ?? ""] as const]
      })
    })
  )

export const exampleNames: ReadonlyArray<string> = Demo.exampleNames()

const inNamespace = (document: JsonObject, namespace: string): JsonObject => {
  const text = JSON.stringify(document).replaceAll('"namespace":"default"', `"namespace":"${namespace}"`)
  const moved: { readonly metadata: JsonObject } & JsonObject = JSON.parse(text)
  return { ...moved, metadata: { ...moved.metadata, namespace } }
}
