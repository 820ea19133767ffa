/**
 * Owns what tests of the bootstrap and cluster actors stand on: a management and a workload cluster in memory, the
 * objects of one cluster with a hosted control plane, and a process that runs the actors and can crash at any write.
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as BootstrapActor from "../../src/actors/BootstrapActor.ts"
import { tokenInData } from "../../src/actors/BootstrapDataSecret.ts"
import { renderers } from "../../src/actors/BootstrapRenderers.ts"
import { EventRecorder } from "../../src/actors/EventRecorder.ts"
import { Clusters, type Machine, MachinePools, Machines } from "../../src/api/ClusterApi.ts"
import { isControlPlaneMachine, ownerMachine, ownerPool } from "../../src/api/ClusterApiView.ts"
import { K0smotronControlPlanes } from "../../src/api/ControlPlanes.ts"
import { Events, type Secret, Secrets, secretBytes, secretData, secretText } from "../../src/api/Core.ts"
import { ControlNodes } from "../../src/api/K0s.ts"
import { type K0sWorkerConfig, K0sWorkerConfigs } from "../../src/api/K0sConfigs.ts"
import type { Kind, KubeObject } from "../../src/api/Kind.ts"
import { BOOTSTRAP_CONFIG_FINALIZER, CONFIG_UID_LABEL } from "../../src/api/Names.ts"
import type * as Bootstrap from "../../src/domain/Bootstrap.ts"
import { type JsonObject, KubeClient, type KubeClientShape, type WatchEvent } from "../../src/kube/KubeClient.ts"
import { KubeError } from "../../src/kube/KubeError.ts"
import { WorkloadClusters } from "../../src/kube/WorkloadClusters.ts"
import * as Registry from "../../src/runtime/Registry.ts"
import { cuttableKubeClient } from "../../src/simulation/Faults.ts"
import * as SimulatedApiServer from "../../src/simulation/SimulatedApiServer.ts"
import { apiServer, CLUSTER, createCluster, NAMESPACE, ref } from "./cluster.ts"

export const CA = "-----BEGIN CERTIFICATE-----\nY2E=\n-----END CERTIFICATE-----\n"
export const NAME = "w1"
/** What stands in for a kubeconfig: the harness maps the text to a server. */
export const WORKLOAD_KUBECONFIG = "kubeconfig of the workload cluster"
export const HOSTING_KUBECONFIG = "kubeconfig of the hosting cluster"

export interface World {
  readonly management: SimulatedApiServer.SimulatedApiServerShape
  readonly workload: SimulatedApiServer.SimulatedApiServerShape
  readonly hosting: SimulatedApiServer.SimulatedApiServerShape
  readonly kube: KubeClientShape
}

const labels = { "cluster.x-k8s.io/cluster-name": CLUSTER }
const meta = (name: string, more: JsonObject = {}) => ({ name, namespace: NAMESPACE, ...more })

/** The Secrets that a control plane provider leaves beside its Cluster. */
export const createControlPlaneSecrets = Effect.fnUntraced(function* (kube: KubeClientShape) {
  yield* kube.create(Secrets, {
    metadata: meta(`${CLUSTER}-ca`, { labels }),
    data: secretData({ "tls.crt": CA, "tls.key": "key" })
  })
  yield* kube.create(Secrets, {
    metadata: meta(`${CLUSTER}-kubeconfig`, { labels }),
    data: secretData({ value: WORKLOAD_KUBECONFIG })
  })
})

/** Empty but for the servers. */
export const servers = Effect.gen(function* () {
  const management = yield* apiServer()
  yield* management.registerKind(K0smotronControlPlanes)
  yield* management.registerKind(MachinePools)
  const workload = yield* SimulatedApiServer.make()
  yield* workload.registerKind(ControlNodes)
  const hosting = yield* SimulatedApiServer.make()
  return { management, workload, hosting, kube: management.kubeClient } satisfies World
})

/** A Cluster whose control plane is up. */
export const world = Effect.gen(function* () {
  const all = yield* servers
  yield* createCluster(all.kube)
  yield* createControlPlaneSecrets(all.kube)
  return all
})

export const createMachine = Effect.fnUntraced(function* (kube: KubeClientShape, name = NAME, version = "v1.33.1") {
  return yield* kube.create(Machines, {
    metadata: meta(name, { labels }),
    spec: {
      clusterName: CLUSTER,
      version,
      bootstrap: { configRef: { apiGroup: "bootstrap.cluster.x-k8s.io", kind: "K0sWorkerConfig", name } }
    }
  })
})

/** A MachinePool, and how it owns its bootstrap config. */
export const createPool = Effect.fnUntraced(function* (kube: KubeClientShape, version = "v1.33.1-k0s.1") {
  const pool = yield* kube.create(MachinePools, {
    metadata: meta("pool", { labels }),
    spec: { clusterName: CLUSTER, replicas: 3, template: { spec: { clusterName: CLUSTER, version } } }
  })
  return {
    apiVersion: "cluster.x-k8s.io/v1beta2",
    kind: "MachinePool",
    name: "pool",
    uid: pool.metadata.uid ?? "",
    controller: true
  }
})

export const machineOwner = (machine: Machine) => ({
  apiVersion: "cluster.x-k8s.io/v1beta2",
  kind: "Machine",
  name: machine.metadata.name,
  uid: machine.metadata.uid ?? "",
  controller: true,
  blockOwnerDeletion: true
})

/** A Machine and its K0sWorkerConfig, as core leaves them. */
export const createWorker = Effect.fnUntraced(function* (
  kube: KubeClientShape,
  spec: JsonObject = {},
  metadata: JsonObject = {}
) {
  const machine = yield* createMachine(kube)
  return yield* kube.create(K0sWorkerConfigs, {
    metadata: meta(NAME, { labels, ownerReferences: [machineOwner(machine)], ...metadata }),
    spec
  })
})

export const join = (kube: KubeClientShape, name = NAME) =>
  kube.patch(Machines, ref(name), { status: { nodeRef: { name } } }, { subresource: "status" })

// ---------------------------------------------------------------------------------------------------- a process

export interface ProcessOptions {
  /** Crash at this write of the process (from 1), to either cluster. */
  readonly crashAt?: number
  /** `after`: the write is carried out, its answer is lost. */
  readonly when?: "before" | "after"
  /** Wraps the client of the management (workload) cluster. */
  readonly wrap?: (kube: KubeClientShape) => KubeClientShape
  readonly wrapWorkload?: (kube: KubeClientShape) => KubeClientShape
  /** Who answers at controllers' join port. */
  readonly answers?: (url: string) => boolean
}

export interface Process {
  readonly states: Array<Bootstrap.State>
  readonly writes: () => number
  readonly crashed: () => boolean
  /** Cuts the clients, then drops the fibers. */
  readonly crash: Effect.Effect<void>
  /** Keys of the actors that live. */
  readonly living: Effect.Effect<ReadonlyArray<string>>
}

/** Every configuration of the management cluster gets its actor, as the provider would have it. */
export const process = Effect.fnUntraced(function* (all: World, options: ProcessOptions = {}) {
  let cut = false
  let writes = 0
  const write = <A>(call: Effect.Effect<A, KubeError>): Effect.Effect<A, KubeError> =>
    Effect.suspend(() => {
      writes += 1
      if (writes !== options.crashAt) return call
      const die = Effect.suspend(() => {
        cut = true
        return Effect.interruptible(Effect.never)
      })
      return options.when === "after" ? Effect.andThen(Effect.exit(call), die) : die
    })
  const counting = (inner: KubeClientShape): KubeClientShape =>
    cuttableKubeClient(
      {
        ...inner,
        create: (kind, object) =>
          kind.kind === "Event" ? inner.create(kind, object) : write(inner.create(kind, object)),
        patch: (kind, at, patch, more) =>
          kind.kind === "Event" ? inner.patch(kind, at, patch, more) : write(inner.patch(kind, at, patch, more)),
        delete: (kind, at, more) => write(inner.delete(kind, at, more))
      },
      { isCut: () => cut }
    )
  const same = (kube: KubeClientShape) => kube
  const management = counting((options.wrap ?? same)(all.management.client("provider")))
  const workload = counting((options.wrapWorkload ?? same)(all.workload.client("provider")))
  const hosting = counting(all.hosting.client("provider"))

  const scope = yield* Scope.make()
  const states: Array<Bootstrap.State> = []
  const services = yield* Layer.build(
    Layer.mergeAll(
      EventRecorder.layer,
      WorkloadClusters.layerOf(
        (_, kubeconfig) =>
          kubeconfig === WORKLOAD_KUBECONFIG
            ? Effect.succeed(workload)
            : kubeconfig === HOSTING_KUBECONFIG
              ? Effect.succeed(hosting)
              : Effect.fail(
                  new KubeError({
                    reason: "BadRequest",
                    verb: "configure",
                    kind: "Kubeconfig",
                    message: `kubeconfig: is not a kubeconfig\nquoted: ${kubeconfig}`
                  })
                ),
        (url) => Effect.sync(() => options.answers?.(url) ?? false)
      ),
      SecureRandom.layerWebCrypto
    ).pipe(Layer.provideMerge(Layer.succeed(KubeClient, management)))
  ).pipe(Scope.provide(scope))
  const living = yield* actors(all, states).pipe(Effect.provideContext(services), Scope.provide(scope))
  return {
    states,
    writes: () => writes,
    crashed: () => cut,
    crash: Effect.suspend(() => {
      cut = true
      return Scope.close(scope, Exit.void)
    }),
    living
  } satisfies Process
})

const actors = Effect.fnUntraced(function* (all: World, states: Array<Bootstrap.State>) {
  const { kube } = all
  const around = Effect.fnUntraced(function* (config: BootstrapActor.BootstrapConfig) {
    const reference = ownerMachine(config)
    const machines = (yield* kube.list(Machines).pipe(Effect.orDie)).items
    const clusters = (yield* kube.list(Clusters).pipe(Effect.orDie)).items
    const pools = (yield* kube.list(MachinePools).pipe(Effect.orDie)).items
    return {
      owner: machines.find((one) => one.metadata.name === reference?.name),
      pool: pools.find((one) => one.metadata.name === ownerPool(config)?.name),
      cluster: clusters.find((one) => one.metadata.name === config.metadata.labels?.["cluster.x-k8s.io/cluster-name"]),
      controllers: machines.filter(isControlPlaneMachine)
    }
  })
  const known = new Map<string, { readonly kind: BootstrapActor.BootstrapKind; readonly name: string }>()
  const registry = yield* Registry.make<string, BootstrapActor.Sighting | Bootstrap.Event, LifeServices>(
    (uid, mailbox) =>
      Effect.suspend(() => {
        const one = known.get(uid)
        if (one === undefined) return Effect.void
        const entered = (state: Bootstrap.State) => states.push(state)
        return BootstrapActor.life({ ...one, namespace: NAMESPACE, uid, around, entered }, mailbox)
      })
  )
  const kinds = ["K0sWorkerConfig", "K0sControllerConfig"] as const
  const sightAll = Effect.gen(function* () {
    for (const kind of kinds) {
      for (const config of (yield* kube.list(renderers[kind].kind)).items) {
        const { uid = "", name } = config.metadata
        known.set(uid, { kind, name })
        yield* registry.observe(uid, { config })
      }
    }
  })
  /** The server closes watches after a while. */
  const following = <A extends KubeObject>(kind: Kind<A>, react: (event: WatchEvent<A>) => Effect.Effect<void>) =>
    Effect.gen(function* () {
      const { resourceVersion } = yield* kube.list(kind)
      yield* sightAll
      yield* Stream.runForEach(kube.watch(kind, { resourceVersion }), react)
    }).pipe(Effect.orDie, Effect.forever, Effect.forkScoped)
  const again = () => Effect.orDie(sightAll)
  for (const kind of kinds) {
    yield* following(renderers[kind].kind, (event) =>
      event._tag === "Deleted" ? registry.tell(event.object.metadata.uid ?? "", { config: undefined }) : again()
    )
  }
  yield* following(Machines, again)
  yield* following(MachinePools, again)
  yield* following(Clusters, again)
  return registry.keys
})
type LifeServices = Effect.Services<ReturnType<typeof BootstrapActor.life>>

// ---------------------------------------------------------------------------------------------------- looking

/** Virtual time between two looks, and how long is looked at most: half an hour, longer than any budget. */
const LOOK_MILLIS = 500
const LOOKS = 3_600

/** Turns of the scheduler in which everything that can go on without time passing has done so. */
const TURNS = 200
const quiet = Effect.forEach(Array.from({ length: TURNS }), () => Effect.yieldNow, { discard: true })

/** Lets virtual time pass until `check` holds; fails with `what` when it never does. */
export const eventually = Effect.fnUntraced(function* <E, R>(what: string, check: Effect.Effect<boolean, E, R>) {
  for (let look = 0; look < LOOKS; look++) {
    yield* quiet
    if (yield* check) return
    yield* TestClock.adjust(LOOK_MILLIS)
  }
  return yield* Effect.die(new Error(`never came true: ${what}`))
})

export const settle = Effect.fnUntraced(function* (millis: number) {
  const steps = Math.max(1, Math.min(100, Math.ceil(millis / LOOK_MILLIS)))
  for (let step = 0; step < steps; step++) {
    yield* quiet
    yield* TestClock.adjust(millis / steps)
  }
  yield* quiet
})

export const configNow = (all: World, name = NAME): Effect.Effect<K0sWorkerConfig | undefined> =>
  all.kube.get(K0sWorkerConfigs, ref(name)).pipe(Effect.catch(() => Effect.succeed(undefined)))

export const dataSecret = (all: World, name = NAME): Effect.Effect<Secret | undefined> =>
  all.kube.get(Secrets, ref(name)).pipe(Effect.catch(() => Effect.succeed(undefined)))

export const dataText = (secret: Secret | undefined): string =>
  secret === undefined ? "" : new TextDecoder().decode(secretBytes(secret, "value"))

export const tokens = (all: World) =>
  Effect.map(all.workload.kubeClient.list(Secrets, { namespace: "kube-system" }), ({ items }) =>
    items.filter((one) => one.type === "bootstrap.kubernetes.io/token")
  )

export const tokenText = (secret: Secret): string =>
  `${secretText(secret, "token-id")}.${secretText(secret, "token-secret")}`

/** What the machine will show. */
export const carriedToken = (secret: Secret | undefined): string => {
  const token = tokenInData(secret)
  return typeof token === "string" ? token : `${token.id}.${token.secret}`
}

export const labelOf = (secret: Secret): string | undefined => secret.metadata.labels?.[CONFIG_UID_LABEL]

export const conditionOf = (config: K0sWorkerConfig | undefined, type: string) =>
  config?.status?.conditions?.find((one) => one.type === type)

export const isReady = (all: World) =>
  Effect.map(configNow(all), (config) => conditionOf(config, "Ready")?.status === "True")

export const readyReason = (all: World) => Effect.map(configNow(all), (config) => conditionOf(config, "Ready")?.reason)

export const hasOurFinalizer = (config: K0sWorkerConfig | undefined): boolean =>
  config?.metadata.finalizers?.includes(BOOTSTRAP_CONFIG_FINALIZER) ?? false

export const eventReasons = (all: World) =>
  Effect.map(all.kube.list(Events, { namespace: NAMESPACE }), ({ items }) => items.map((one) => one.reason))

/** Tags of the phases that were entered, repetitions of one tag folded. */
export const phases = (states: ReadonlyArray<Bootstrap.State>): ReadonlyArray<string> =>
  states.map(({ phase }) => phase._tag).filter((tag, index, all) => tag !== all[index - 1])
