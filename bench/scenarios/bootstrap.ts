/**
 * Owns the scenarios of the bootstrap provider: `render`, the pure part alone, and `bootstrap`, from K0sWorkerConfigs to
 * their Secrets with a join token each, on simulated clusters in memory.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Clusters, MachinePools, Machines } from "../../src/api/ClusterApi.ts"
import { ConfigMaps, Secrets, secretData } from "../../src/api/Core.ts"
import { crdJson, ourCrds } from "../../src/api/crd/Render.ts"
import { K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import * as Names from "../../src/api/Names.ts"
import { bootstrapData } from "../../src/domain/BootstrapData.ts"
import { workerBootstrap } from "../../src/domain/BootstrapScript.ts"
import { encodeJoinToken, TOKEN_TTL_SECONDS } from "../../src/domain/JoinToken.ts"
import * as LiveHostRuns from "../../src/hosts/LiveHostRuns.ts"
import { type JsonObject, KubeClient, type KubeClientShape } from "../../src/kube/KubeClient.ts"
import { WorkloadClusters } from "../../src/kube/WorkloadClusters.ts"
import { ProviderOptions } from "../../src/provider/Options.ts"
import * as Provider from "../../src/provider/Provider.ts"
import { makeSimulatedHosts } from "../../src/simulation/hosts/SimulatedHosts.ts"
import * as SimulatedApiServer from "../../src/simulation/SimulatedApiServer.ts"
import { seededSecureRandom } from "../../src/simulation/Surroundings.ts"
import { SshClient } from "../../src/ssh/SshClient.ts"
import { BenchError, type Scenario, timed } from "../Scenario.ts"

const CA = "-----BEGIN CERTIFICATE-----\nbench\n-----END CERTIFICATE-----\n"
const COMMANDS = {
  preStartCommands: ["apt-get update", "mkdir -p /etc/app"],
  postStartCommands: ["systemctl start agent"]
}
const FILES = [{ path: "/etc/app/app.conf", content: "key = value\n".repeat(40), permissions: "0600" }]

const renderOne = (index: number): number => {
  const joinToken = encodeJoinToken({
    server: "https://control-plane:6443",
    ca: CA,
    user: "kubelet-bootstrap",
    token: { id: "abcdef", secret: "0123456789abcdef" }
  })
  const payload = workerBootstrap({
    machineName: `machine-${index}`,
    version: "v1.34.2+k0s.0",
    joinToken,
    files: FILES,
    ...COMMANDS
  })
  return Result.getOrThrow(bootstrapData(Result.getOrThrow(payload), {})).value.length
}

export const rendering: Scenario = {
  name: "render",
  description:
    "N K0sWorkerConfigs with two files and three commands become cloud-config, one after the other, nothing else.",
  unit: "configs/s",
  better: "more",
  limit: "the same bytes, rendered once before, copied.",
  parameters: { machines: 1000 },
  unavailable: Effect.succeed(undefined),
  setup: Effect.fnUntraced(function* ({ machines }) {
    const bytes = renderOne(0)
    const content = Buffer.alloc(bytes, "x").toString("latin1")
    const perSecond = (work: (index: number) => number) =>
      Effect.map(
        timed(
          Effect.sync(() => {
            let sum = 0
            for (let index = 0; index < machines; index++) sum += work(index)
            return sum
          })
        ),
        ({ value }) => ({ value: machines / (value / 1000), also: { bytesPerConfig: bytes } })
      )
    return yield* Effect.succeed({
      run: perSecond(renderOne),
      limit: perSecond(() => Buffer.from(content, "latin1").length)
    })
  })
}

const NAMESPACE = "default"
const CLUSTER = "bench"
/** Objects written at once while a round is set up. */
const WRITES_AT_ONCE = 32
/** A round that takes longer hangs. */
const ROUND_LIMIT = "5 minutes"
/** Between two looks at whether all are gone. */
const LOOK_INTERVAL = "50 millis"
/** What the contract can't do without: the token, the Secret, the finalizer, the status. */
const LEAST_WRITES = 4

/** Every call but watches, which are one a kind. */
const counting = (kube: KubeClientShape, count: () => void): KubeClientShape => {
  const counted = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => Effect.andThen(Effect.sync(count), effect)
  return {
    watch: kube.watch,
    get: (kind, ref) => counted(kube.get(kind, ref)),
    list: (kind, options) => counted(kube.list(kind, options)),
    create: (kind, object) => counted(kube.create(kind, object)),
    patch: (kind, ref, patch, options) => counted(kube.patch(kind, ref, patch, options)),
    delete: (kind, ref, options) => counted(kube.delete(kind, ref, options))
  }
}

const failed = (error: { readonly message: string }) =>
  new BenchError({ scenario: "bootstrap", message: error.message })

const makeManagement = Effect.gen(function* () {
  const server = yield* SimulatedApiServer.make()
  const user = server.client("user")
  for (const crd of ourCrds) {
    const manifest: JsonObject = JSON.parse(crdJson(crd))
    yield* server.apply(manifest)
  }
  yield* server.registerKind(Clusters)
  yield* server.registerKind(Machines)
  yield* server.registerKind(MachinePools)
  const secret = (name: string, data: Readonly<Record<string, string>>) =>
    user.create(Secrets, { metadata: { namespace: NAMESPACE, name }, data: secretData(data) })
  yield* secret(`${CLUSTER}-ca`, { "tls.crt": CA, "tls.key": "key" })
  yield* secret(`${CLUSTER}-kubeconfig`, { value: "kubeconfig" })
  yield* user.create(Clusters, {
    metadata: { namespace: NAMESPACE, name: CLUSTER },
    spec: { controlPlaneEndpoint: { host: "control-plane", port: 6443 } }
  })
  const status = { initialization: { infrastructureProvisioned: true, controlPlaneInitialized: true } }
  yield* user.patch(Clusters, { namespace: NAMESPACE, name: CLUSTER }, { status }, { subresource: "status" })
  return { server, user }
})

/** Ends when `expected` configs said that they are ready. */
const watchReady = Effect.fnUntraced(function* (user: KubeClientShape) {
  const ready = new Set<string>()
  let expected = { count: 0, done: Deferred.makeUnsafe<void>() }
  const { resourceVersion } = yield* user.list(K0sWorkerConfigs, { namespace: NAMESPACE })
  yield* user.watch(K0sWorkerConfigs, { namespace: NAMESPACE, resourceVersion }).pipe(
    Stream.runForEach((event) =>
      Effect.sync(() => {
        if (event._tag === "Bookmark" || event.object.status?.ready !== true) return
        ready.add(event.object.metadata.name)
        if (ready.size === expected.count) Deferred.doneUnsafe(expected.done, Effect.void)
      })
    ),
    Effect.ignore,
    Effect.forkScoped
  )
  return (count: number) => {
    ready.clear()
    expected = { count, done: Deferred.makeUnsafe<void>() }
    return Deferred.await(expected.done)
  }
})

const setup: Scenario["setup"] = Effect.fnUntraced(function* ({ machines }) {
  const { server, user } = yield* Effect.mapError(makeManagement, failed)
  const workload = yield* SimulatedApiServer.make()
  let calls = 0
  const count = (): void => {
    calls += 1
  }
  const network = yield* makeSimulatedHosts()
  const hostRuns = yield* Layer.build(Layer.provide(LiveHostRuns.layer, Layer.succeed(SshClient, network.client)))
  const workloads = WorkloadClusters.layerOf(() => Effect.succeed(counting(workload.client("provider"), count)))
  const surroundings = yield* Layer.build(Layer.merge(workloads, seededSecureRandom))
  yield* Provider.start().pipe(
    Effect.provideContext(hostRuns),
    Effect.provideService(KubeClient, counting(server.client("provider"), count)),
    Effect.provideService(ProviderOptions, {
      namespace: undefined,
      watchFilter: undefined,
      tokenTtlSeconds: TOKEN_TTL_SECONDS,
      halves: ["bootstrap"]
    }),
    Effect.provideContext(surroundings),
    Effect.mapError(failed)
  )
  const expect = yield* Effect.mapError(watchReady(user), failed)
  const each = <A>(work: (index: number) => Effect.Effect<A, { readonly message: string }>) =>
    Effect.forEach(Array.from({ length: machines }), (_, index) => work(index), { concurrency: WRITES_AT_ONCE }).pipe(
      Effect.mapError(failed)
    )
  let rounds = 0
  const labels = { [Names.CLUSTER_NAME_LABEL]: CLUSTER }
  const round = Effect.gen(function* () {
    const number = rounds++
    const named = (index: number) => ({ namespace: NAMESPACE, name: `m-${number}-${index}` })
    const owners = yield* each((index) =>
      user.create(Machines, {
        metadata: { ...named(index), labels },
        spec: { clusterName: CLUSTER, version: "v1.34.2" }
      })
    )
    const config = (index: number) =>
      user.create(K0sWorkerConfigs, {
        metadata: {
          ...named(index),
          labels,
          ownerReferences: [
            {
              apiVersion: `${Names.CLUSTER_GROUP}/v1beta2`,
              kind: "Machine",
              name: named(index).name,
              uid: owners[index]?.metadata.uid ?? "",
              controller: true
            }
          ]
        },
        spec: { ...COMMANDS, files: FILES }
      })
    calls = 0
    const ready = expect(machines)
    const heapBefore = process.memoryUsage().heapUsed
    const sample = yield* timed(Effect.andThen(each(config), ready)).pipe(
      Effect.timeoutOrElse({
        duration: ROUND_LIMIT,
        orElse: () => Effect.fail(failed({ message: "not all configs became ready" }))
      })
    )
    const also = {
      callsPerConfig: calls / machines,
      heapKiBPerConfig: (process.memoryUsage().heapUsed - heapBefore) / 1024 / machines
    }
    yield* each((index) => user.delete(K0sWorkerConfigs, named(index)))
    // Revoking their tokens is the provider's too, and must not fall into the next round.
    yield* user
      .list(K0sWorkerConfigs, { namespace: NAMESPACE })
      .pipe(
        Effect.repeat({ schedule: Schedule.spaced(LOOK_INTERVAL), until: ({ items }) => items.length === 0 }),
        Effect.mapError(failed)
      )
    yield* each((index) => user.delete(Machines, named(index)))
    return { ...sample, also }
  })
  const limit = Effect.gen(function* () {
    const number = rounds++
    const sample = yield* timed(
      each(
        Effect.fnUntraced(function* (index: number) {
          const ref = { namespace: NAMESPACE, name: `m-${number}-${index}` }
          yield* user.create(ConfigMaps, { metadata: ref })
          for (let write = 1; write < LEAST_WRITES; write++)
            yield* user.patch(ConfigMaps, ref, { data: { write: `${write}` } })
        })
      )
    )
    yield* each((index) => user.delete(ConfigMaps, { namespace: NAMESPACE, name: `m-${number}-${index}` }))
    return sample
  })
  return { run: round, limit }
})

export const bootstrap: Scenario = {
  name: "bootstrap",
  description:
    "The real provider takes N K0sWorkerConfigs from creation to Ready: token minted in the workload cluster, rendered, Secret written; both clusters simulated, in memory.",
  unit: "ms",
  better: "less",
  limit: `${LEAST_WRITES} writes of a small object a config, to the same API server: what the contract can't do without.`,
  parameters: { machines: 1000 },
  unavailable: Effect.succeed(undefined),
  setup
}
